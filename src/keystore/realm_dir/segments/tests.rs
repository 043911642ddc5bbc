//! Segments of a realm on disk: what the bulletin says of them, and what a device's credentials do.

use super::*;
use crate::identity::anonymity::Anonymity;
use crate::identity::membership::Membership;
use crate::keystore::device_dir::DeviceDir;
use crate::keystore::keyring::Keyring;
use crate::time::EpochLength;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::Path;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

/// A realm with the devices `first` and `pump`, the second with credentials for two epochs.
fn realm() -> (TempDir, RealmDir, Operator, ChaCha20Rng) {
    let place = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (mut realm, _) =
        RealmDir::init(place.path(), &name("first"), EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    realm
        .create_devices(&[(name("pump"), place.path().join("pump"))], 2, Anonymity::Stable, NOW, &mut rng)
        .expect("a device");
    let operator = realm.operator(None, &Keyring::default()).expect("the operator's key");
    (place, realm, operator, rng)
}

fn renewed(realm: &mut RealmDir, place: &Path, rng: &mut ChaCha20Rng) -> Membership {
    let mut member = DeviceDir::new(place.join("pump")).load().expect("a device");
    let (hello, pending) = member.begin_renewal(NOW, rng).expect("a request");
    let answer = realm.answer(&hello, NOW, rng).reply.sealed.expect("granted");
    member.finish_renewal(&pending, &answer, NOW, Unix(0)).expect("it holds");
    member
}

/// Invariant 2.
#[test]
fn segments_stand_in_the_bulletin_with_what_they_reach() {
    let (place, mut realm, operator, _) = realm();
    let version = realm.bulletin().version();
    assert_eq!(realm.add_segment(&operator, &name("it"), NOW).expect("added"), 1);
    assert_eq!(realm.add_segment(&operator, &name("ot"), NOW).expect("added"), 2);
    assert_eq!(realm.bulletin().version(), version + 2);
    assert!(realm.set_reach(&operator, ("it", "ot"), true, NOW).expect("set"));
    assert!(!realm.set_reach(&operator, ("it", "ot"), true, NOW).expect("as before"), "no news");
    assert!(realm.set_reach(&operator, ("default", "it"), true, NOW).expect("set"));
    assert_eq!(realm.bulletin().version(), version + 4);
    let reach = |realm: &RealmDir, segments| realm.bulletin().reach(segments);
    assert_eq!((reach(&realm, 0b010), reach(&realm, 0b100), reach(&realm, 0b001)), (0b110, 0b100, 0b011));
    assert!(realm.set_reach(&operator, ("it", "ot"), false, NOW).expect("set"));
    // What was written is what another process reads.
    let mut again = RealmDir::open(place.path()).expect("it opens");
    assert_eq!((again.bulletin().version(), reach(&again, 0b010)), (version + 5, 0b010));
    let list = again.segment_list().expect("a list");
    let short: Vec<_> = list.iter().map(|s| (s.bit, s.name.as_str(), s.reaches.len(), s.devices.len())).collect();
    assert_eq!(short, [(0, "default", 1, 2), (1, "it", 0, 0), (2, "ot", 0, 0)]);
}

/// Invariant 1: bits that are given stay given.
#[test]
fn what_cannot_be_is_said_and_changes_nothing() {
    let (_place, mut realm, operator, _) = realm();
    realm.add_segment(&operator, &name("it"), NOW).expect("added");
    let version = realm.bulletin().version();
    for taken in ["it", "default"] {
        let error = realm.add_segment(&operator, &name(taken), NOW).expect_err("taken").to_string();
        assert!(error.contains(taken) && error.contains("choose another"), "{error}");
    }
    for (from, to) in [("it", "nowhere"), ("nowhere", "it"), ("it", "it")] {
        assert!(realm.set_reach(&operator, (from, to), true, NOW).is_err());
    }
    assert!(realm.assign_segments(&name("nobody"), &["it".into()]).is_err());
    assert!(matches!(
        realm.assign_segments(&name("pump"), &["it".into(), "ot".into()]),
        Err(RealmDirError::NoSegment(segment)) if segment == "ot"
    ));
    assert_eq!(realm.bulletin().version(), version);
    for bit in 2..=LAST {
        assert_eq!(realm.add_segment(&operator, &name(&format!("s{bit}")), NOW).expect("added"), bit);
    }
    let error = realm.add_segment(&operator, &name("one-more"), NOW).expect_err("no bit is free").to_string();
    assert!(error.contains("63"), "{error}");
}

/// The credentials granted from then on carry it, those of before do not.
#[test]
fn a_device_carries_its_segments_from_its_next_credentials_on() {
    let (place, mut realm, operator, mut rng) = realm();
    realm.add_segment(&operator, &name("ot"), NOW).expect("added");
    let assigned = realm.assign_segments(&name("pump"), &["ot".into(), "default".into()]).expect("assigned");
    assert!(assigned.changed);
    assert_eq!(Unix::from_seconds(assigned.until), EpochLength::HOUR.start(EpochLength::HOUR.epoch_at(NOW)) + hours(2));
    assert!(!realm.assign_segments(&name("pump"), &["default".into(), "ot".into()]).expect("again").changed);
    // By another process, as the node that runs in the directory is one.
    let mut issuer = RealmDir::open(place.path()).expect("it opens");
    let member = renewed(&mut issuer, place.path(), &mut rng);
    let segments = |at| member.credential(at).expect("a credential").body.segments();
    assert_eq!((segments(NOW), segments(NOW + hours(1)), segments(NOW + hours(2))), (1, 1, 0b11));
    assert_eq!(member.bulletin().version(), realm.bulletin().version());
    let list = realm.segment_list().expect("a list");
    assert_eq!(list.iter().map(|segment| segment.devices.len()).collect::<Vec<_>>(), [2, 1]);
}

/// The issuer's node has the directory open while the operator changes it.
#[test]
fn who_has_the_directory_open_grants_the_newest_bulletin() {
    let (place, mut realm, operator, mut rng) = realm();
    let mut issuer = RealmDir::open(place.path()).expect("it opens");
    realm.add_segment(&operator, &name("ot"), NOW).expect("added");
    let member = renewed(&mut issuer, place.path(), &mut rng);
    assert_eq!(member.bulletin().body().segments.len(), 1);
    // Both change it, one after the other, and neither change is lost.
    issuer.add_segment(&operator, &name("it"), NOW).expect("added");
    realm.add_segment(&operator, &name("lab"), NOW).expect("added");
    let names: Vec<_> = realm.bulletin().body().segments.iter().map(|segment| segment.name.as_str()).collect();
    assert_eq!(names, ["ot", "it", "lab"]);
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}
