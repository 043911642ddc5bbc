//! Bulletins that follow each other on disk.

use super::*;
use crate::id::Name;
use crate::time::EpochLength;
use crate::wire::bulletin::{GroupReference, Segment};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);

fn realm(seed: u8) -> (TempDir, RealmDir) {
    let place = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let name = Name::new("first").expect("a name");
    let (realm, _) = RealmDir::init(place.path(), &name, EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    (place, realm)
}

fn segment(name: &str) -> Segment {
    Segment { bit: 1, name: name.to_owned(), reaches: [0; 8] }
}

/// Invariant 1.
#[test]
fn of_two_changes_at_one_time_neither_is_lost() {
    let (place, realm) = realm(1);
    let operator = realm.operator(None, &Keyring::default()).expect("the key");
    let change = |at: usize| {
        let mut own = RealmDir::open(place.path()).expect("it opens");
        for n in 0..8 {
            let added = own.amend(&operator, NOW, |_, body| {
                body.segments.push(segment(&format!("{at}-{n}")));
                Ok(((), Vec::new()))
            });
            added.expect("changed");
        }
    };
    std::thread::scope(|scope| {
        for at in 0..3 {
            scope.spawn(move || change(at));
        }
    });
    let last = RealmDir::open(place.path()).expect("it opens");
    assert_eq!((last.bulletin().version(), last.bulletin().body().segments.len()), (25, 24));
}

/// Invariant 2, also where a clock went back or the next update is overdue.
#[test]
fn each_bulletin_follows_the_one_before() {
    let (_place, mut realm) = realm(1);
    let operator = realm.operator(None, &Keyring::default()).expect("the key");
    let nothing = |_: &mut RealmDir, _: &mut Bulletin| Ok(((), Vec::new()));
    let (first, due) = (realm.bulletin().body().issued, realm.bulletin().body().next_update);
    realm.amend(&operator, NOW - Duration::from_secs(86_400), nothing).expect("changed");
    assert_eq!((realm.bulletin().version(), realm.bulletin().body().issued), (2, first));
    assert_eq!(realm.bulletin().body().next_update, due);
    let late = Unix::from_seconds(due) + Duration::from_secs(60);
    realm.amend(&operator, late, nothing).expect("changed");
    assert_eq!((realm.bulletin().version(), realm.bulletin().body().issued), (3, late.seconds()));
    assert!(realm.bulletin().body().next_update > late.seconds());
}

/// Invariant 3.
#[test]
fn a_bulletin_that_would_be_too_long_is_not_written() {
    let (place, mut realm) = realm(1);
    let operator = realm.operator(None, &Keyring::default()).expect("the key");
    let long = realm.amend(&operator, NOW, |_, body| {
        body.segments.push(segment(&"x".repeat(MAX_BULLETIN)));
        Ok(((), Vec::new()))
    });
    assert!(matches!(long, Err(AmendError::TooLong(length)) if length > MAX_BULLETIN));
    let many = realm.amend(&operator, NOW, |_, body| {
        let version = |version| GroupReference { group: None, version, from: NOW.seconds(), hash: [0; 32] };
        body.groups.extend((2..300).map(version));
        Ok(((), Vec::new()))
    });
    assert!(matches!(many, Err(AmendError::TooManyVersions(299))));
    assert_eq!(RealmDir::open(place.path()).expect("it opens").bulletin().version(), 1);
}

#[test]
fn the_operators_key_may_lie_elsewhere_and_is_the_realms() {
    let (place, realm) = realm(1);
    let keys = Keyring::default();
    let away = place.path().join("operator.key");
    std::fs::rename(realm.operator_path(), &away).expect("moved");
    let error = realm.operator(None, &keys).expect_err("it is away").to_string();
    assert!(error.contains("--operator-key"), "{error}");
    assert!(realm.operator(Some(&away), &keys).is_ok());
    let (_other_place, other) = self::realm(2);
    let foreign = realm.operator(Some(&other.operator_path()), &keys);
    assert!(matches!(foreign, Err(AmendError::ForeignKey { .. })));
    let none = realm.operator(Some(&place.path().join("realm").join(BULLETIN)), &keys);
    assert!(matches!(none, Err(AmendError::Key { .. })));
}
