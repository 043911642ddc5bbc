//! Who may publish, on disk: the ledger, the bulletin and what is said of both.

use super::*;
use crate::identity::anonymity::Anonymity;
use crate::keystore::keyring::Keyring;
use crate::keystore::private_file;
use crate::time::EpochLength;
use core::time::Duration;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_000_000_000);
const AFTER: Duration = Duration::from_secs(300);

struct Rig {
    place: TempDir,
    realm: RealmDir,
    operator: Operator,
    rng: ChaCha20Rng,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name")
}

fn names(texts: &[&str]) -> Vec<Name> {
    texts.iter().map(|text| name(text)).collect()
}

fn some(texts: &[&str]) -> Readers {
    Readers::Some(names(texts))
}

/// A realm with the devices `first`, `a` and `b`.
fn rig() -> Rig {
    let place = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (mut realm, _) =
        RealmDir::init(place.path(), &name("first"), EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let operator = realm.operator(None, &Keyring::default()).expect("the operator's key");
    for device in ["a", "b"] {
        let device = [(name(device), place.path().join(device))];
        realm.create_devices(&device, 1, Anonymity::Stable, NOW, &mut rng).expect("a device");
    }
    Rig { place, realm, operator, rng }
}

impl Rig {
    fn add(&mut self, group: &str, readers: Readers, publishers: Readers) -> Result<Made, AmendError> {
        self.realm.add_group_for(&self.operator, (group, readers, publishers), (NOW, AFTER), &mut self.rng)
    }

    fn change(&mut self, group: &str, change: Change) -> Result<Changed, AmendError> {
        self.realm.set_publishers(&self.operator, (group, change), NOW, &mut self.rng)
    }

    fn some(&mut self, group: &str, add: &[&str], remove: &[&str]) -> Changed {
        self.change(group, Change::Some(names(add), names(remove))).expect("changed")
    }

    fn generation(&self, group: &str) -> Option<u32> {
        self.realm.generation(group).expect("listed")
    }

    fn sorted(publishers: &Readers) -> Option<Vec<String>> {
        let Readers::Some(names) = publishers else { return None };
        let mut names: Vec<String> = names.iter().map(Name::to_string).collect();
        names.sort();
        Some(names)
    }

    fn listed(&mut self, group: &str) -> Option<Vec<String>> {
        let list = self.realm.group_list().expect("a list");
        let entry = list.into_iter().find(|entry| entry.name.as_deref() == Some(group)).expect("listed");
        Self::sorted(&entry.publishers.expect("known"))
    }
}

#[test]
fn a_right_that_is_given_needs_no_key_and_one_that_is_taken_a_generation_of_its_own() {
    let mut rig = rig();
    let made = rig.add("orders", Readers::All, some(&["a"])).expect("added");
    assert!(made.from <= NOW - Duration::from_secs(600), "in force by every clock");
    assert_eq!(
        (made.version, rig.generation("orders"), rig.listed("orders").as_deref()),
        (1, Some(1), Some(&["a".to_owned()][..]))
    );
    let bulletin = rig.realm.bulletin().version();
    let given = rig.some("orders", &["b"], &[]);
    assert!(given.new && given.made.is_none() && rig.realm.bulletin().version() == bulletin + 1, "devices ask for it");
    let same = rig.some("orders", &["b"], &["first"]);
    assert!(!same.new && rig.realm.bulletin().version() == bulletin + 1);
    let taken = rig.some("orders", &[], &["a"]);
    assert_eq!(taken.made.map(|made| made.version), Some(2));
    assert_eq!((rig.generation("orders"), rig.listed("orders")), (Some(2), Some(vec!["b".into()])));
    // Another key leaves the right as it is.
    let rekey = super::super::groups::Rekey::Group("orders".into(), None);
    let made = rig.realm.rekey(&rig.operator, rekey, (NOW, AFTER), &mut rig.rng).expect("another key");
    assert_eq!((made.version, rig.generation("orders")), (3, Some(2)));
    let open = rig.change("orders", Change::All).expect("changed");
    assert_eq!((open.publishers, rig.generation("orders"), rig.listed("orders")), (Readers::All, None, None));
    // A group that was open is everybody's until then.
    let nobody = rig.some("orders", &[], &["a"]);
    assert_eq!((nobody.publishers, rig.generation("orders"), rig.listed("orders")), (some(&[]), Some(5), Some(vec![])));
    rig.realm.remove_group(&rig.operator, "orders", NOW).expect("removed");
    assert_eq!(
        rig.realm.ledger.book().expect("read").publishers(name_tag(rig.realm.bulletin.realm(), "orders")),
        BTreeSet::new()
    );
}

#[test]
fn what_cannot_be_is_said_and_changes_nothing() {
    let mut rig = rig();
    let refused = rig.add("orders", some(&["a"]), some(&["b"])).expect_err("b does not read it").to_string();
    assert!(
        refused.contains("b would publish to orders without reading it") && refused.contains("--remove b"),
        "{refused}"
    );
    rig.add("orders", some(&["a", "first"]), some(&["a"])).expect("added");
    let bulletin = rig.realm.bulletin().version();
    for (group, change, expected) in [
        ("orders", Change::Some(names(&["b"]), vec![]), "without reading"),
        ("orders", Change::Some(names(&["nobody"]), vec![]), "realm list"),
        ("yard", Change::All, "group DIR add yard"),
    ] {
        let error = rig.change(group, change).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
    // Who publishes cannot be left without the key.
    let rekey = super::super::groups::Rekey::Group("orders".into(), Some(some(&["first"])));
    let error = rig.realm.rekey(&rig.operator, rekey, (NOW, AFTER), &mut rig.rng).expect_err("refused").to_string();
    assert!(error.contains("a would publish to orders"), "{error}");
    assert_eq!((rig.realm.bulletin().version(), rig.generation("orders")), (bulletin, Some(1)));
    let documents = rig.place.path().join("realm/groups");
    std::fs::remove_dir_all(&documents).expect("removed");
    rig.realm = RealmDir::open(rig.place.path()).expect("it opens");
    let error = rig.change("orders", Change::All).expect_err("refused").to_string();
    assert!(error.contains("not at hand"), "{error}");
}

/// Invariants 1 and 2.
#[test]
fn a_change_that_was_interrupted_is_finished_by_the_next() {
    let mut rig = rig();
    rig.add("orders", Readers::All, some(&["a", "b"])).expect("added");
    // The process ends before the bulletin is written, and after the ledger is: what the ledger does not hold is as it was.
    let place = rig.place.path().join("realm");
    let documents = |place: &std::path::Path| {
        let names = private_file::names(&place.join("groups")).expect("read");
        names.into_iter().map(|name| (place.join("groups").join(&name), name)).collect::<Vec<_>>()
    };
    let read = |(path, _): &(std::path::PathBuf, String)| (path.clone(), std::fs::read(path).expect("read"));
    let kept: Vec<_> = documents(&place).iter().map(read).collect();
    let bulletin = std::fs::read(place.join("bulletin")).expect("read");
    let taken = rig.some("orders", &[], &["a"]);
    assert!(taken.made.is_some());
    for (path, bytes) in &kept {
        private_file::write(path, bytes).expect("written");
    }
    private_file::write(&place.join("bulletin"), &bulletin).expect("written");
    rig.realm = RealmDir::open(rig.place.path()).expect("it opens");
    let tag = name_tag(rig.realm.bulletin.realm(), "orders");
    assert_eq!(rig.realm.ledger.book().expect("read").publishers(tag).len(), 1, "the ledger says so first");
    assert_eq!(rig.generation("orders"), Some(1));
    let again = rig.some("orders", &[], &["a"]);
    assert!(again.new && again.made.is_some_and(|made| made.version == 3));
    assert_eq!(rig.generation("orders"), Some(3));
}
