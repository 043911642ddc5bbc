//! Keys of groups in a realm on disk: who has which version, and who does not.

use super::*;
use crate::identity::anonymity::Anonymity;
use crate::identity::group::GroupKeys;
use crate::identity::ledger::DeviceRecord;
use crate::identity::membership::Membership;
use crate::keystore::device_dir::DeviceDir;
use crate::keystore::keyring::Keyring;
use crate::time::{Epoch, EpochLength};
use data_encoding::HEXLOWER;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_000_000_000);
const LENGTH: EpochLength = EpochLength::HOUR;
const AFTER: Duration = Duration::from_secs(300);
const EPOCH: Epoch = Epoch(500_000);

struct Rig {
    place: TempDir,
    realm: RealmDir,
    operator: Operator,
    rng: ChaCha20Rng,
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

fn some(names: &[&str]) -> Readers {
    Readers::Some(names.iter().map(|text| name(text)).collect())
}

/// A realm with the devices `first`, `a` and `b`.
fn rig() -> Rig {
    let place = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (realm, _) = RealmDir::init(place.path(), &name("first"), LENGTH, NOW, &mut rng).expect("a realm");
    let operator = realm.operator(None, &Keyring::default()).expect("the operator's key");
    let mut rig = Rig { place, realm, operator, rng };
    rig.join("a");
    rig.join("b");
    rig
}

impl Rig {
    fn join(&mut self, device: &str) {
        let place = self.place.path().join(device);
        self.realm
            .create_devices(&[(name(device), place)], 1, Anonymity::Stable, NOW, &mut self.rng)
            .expect("a device");
    }

    /// The device, which has heard of the newest bulletin and all that it names.
    fn member(&self, device: &str) -> Membership {
        let place = if device == "first" { self.place.path().to_path_buf() } else { self.place.path().join(device) };
        let mut member = DeviceDir::new(place).load().expect("a device");
        member.accept_bulletin(self.realm.bulletin().signed()).expect("the operator's");
        for document in self.realm.bulletin().documents() {
            member.accept_document(document).expect("named");
        }
        member
    }

    fn keys(&self, device: &str, at: Unix) -> GroupKeys {
        let mut keys = self.member(device).groups().clone();
        keys.set_time(at);
        keys
    }

    fn add(&mut self, group: &str, readers: Readers, at: Unix) -> Made {
        self.realm.add_group(&self.operator, (group, readers), (at, AFTER), &mut self.rng).expect("added")
    }

    fn rekey(&mut self, rekey: Rekey, at: Unix) -> Made {
        self.realm.rekey(&self.operator, rekey, (at, AFTER), &mut self.rng).expect("another key")
    }

    /// Notes in the ledger on disk that a device is cut off.
    fn revoke(&mut self, device: &str) {
        let id = self.realm.ledger.book().expect("read").named(&name(device)).expect("in force").device;
        let path = self.place.path().join("realm/ledger/devices").join(HEXLOWER.encode(&id.0));
        let record: DeviceRecord = decode(&private_file::read(&path).expect("there")).expect("a record");
        private_file::write(&path, &encode(&DeviceRecord { revoked: true, ..record })).expect("written");
        self.realm = RealmDir::open(self.place.path()).expect("it opens");
    }
}

#[test]
fn a_group_with_readers_has_a_key_that_the_others_do_not_have() {
    let mut rig = rig();
    let made = rig.add("alarms", some(&["a"]), NOW);
    assert_eq!((made.version, made.from, made.seals), (1, NOW + AFTER, 1));
    rig.join("later");
    let [a, b, later] = ["a", "b", "later"].map(|device| rig.keys(device, NOW + AFTER));
    assert_eq!((a.version("alarms"), b.version("alarms"), later.version("alarms")), (Some(1), None, None));
    assert_ne!(a.tag("alarms", EPOCH), b.tag("alarms", EPOCH), "nobody else can listen to it or publish to it");
    assert_eq!(a.tag("other", EPOCH), b.tag("other", EPOCH));
    // Until its time has come, everybody has the one that derives from the root's.
    let [a, b] = ["a", "b"].map(|device| rig.keys(device, NOW));
    assert_eq!(a.tag("alarms", EPOCH), b.tag("alarms", EPOCH));
}

#[test]
fn a_group_that_is_open_is_open_to_those_who_come_later() {
    let mut rig = rig();
    rig.add("alarms", Readers::All, NOW);
    rig.join("later");
    let tags = ["a", "b", "later"].map(|device| rig.keys(device, NOW + AFTER).tag("alarms", EPOCH));
    assert!(tags[0] == tags[1] && tags[1] == tags[2]);
}

/// Invariant 2: who leaves does not read on, who comes does not read back.
#[test]
fn another_key_is_for_the_readers_of_then_alone() {
    let mut rig = rig();
    rig.add("alarms", some(&["a", "b"]), NOW);
    let before = rig.keys("a", NOW + AFTER).tag("alarms", EPOCH);
    assert_eq!(rig.keys("b", NOW + AFTER).tag("alarms", EPOCH), before);
    rig.join("c");
    let later = NOW + Duration::from_secs(3_600);
    let made = rig.rekey(Rekey::Group("alarms".into(), Some(some(&["a", "c"]))), later);
    assert_eq!((made.version, made.from), (2, later + AFTER));
    let at = made.from + LENGTH.skew() + Duration::from_secs(1);
    let [a, b, c] = ["a", "b", "c"].map(|device| rig.keys(device, at));
    let after = a.tag("alarms", EPOCH);
    assert_ne!(after, before);
    assert_eq!((b.version("alarms"), b.tags("alarms", EPOCH)), (None, Vec::new()), "b does not read on");
    assert_eq!((c.version("alarms"), c.tags("alarms", EPOCH)), (Some(2), vec![after]));
    let around = rig.keys("c", made.from - LENGTH.skew());
    assert!(!around.tags("alarms", EPOCH).contains(&before), "c does not read back");
    // The same readers again: the key is another one all the same.
    let third = rig.rekey(Rekey::Group("alarms".into(), None), at);
    let [a, c] = ["a", "c"].map(|device| rig.keys(device, third.from).tag("alarms", EPOCH));
    assert!(a == c && a != after);
}

/// Invariant 2: of a device that is cut off; it is reached by no key that is made from then on, the root's neither.
#[test]
fn a_revoked_device_gets_no_key_that_is_made_afterwards() {
    let mut rig = rig();
    rig.add("open", Readers::All, NOW);
    rig.add("alarms", some(&["a", "b"]), NOW);
    rig.revoke("b");
    let later = NOW + Duration::from_secs(3_600);
    let root = rig.rekey(Rekey::Root, later);
    rig.rekey(Rekey::Group("open".into(), None), later);
    let last = rig.rekey(Rekey::Group("alarms".into(), None), later);
    assert_eq!((root.version, last.version, last.seals), (2, 2, 1));
    let [first, a, b] = ["first", "a", "b"].map(|device| rig.keys(device, last.from));
    for group in ["open", "alarms", "unlisted"] {
        assert_eq!((a.version(group), b.version(group)), (Some(2), None), "{group}");
        assert_eq!(first.tag(group, EPOCH) == a.tag(group, EPOCH), group != "alarms", "{group}");
    }
}

/// Invariant 1.
#[test]
fn versions_are_counted_over_a_removal() {
    let mut rig = rig();
    rig.add("alarms", some(&["a"]), NOW);
    rig.realm.remove_group(&rig.operator, "alarms", NOW).expect("removed");
    let [a, b] = ["a", "b"].map(|device| rig.keys(device, NOW + AFTER).tag("alarms", EPOCH));
    assert_eq!(a, b, "every member reads it again");
    let made = rig.add("alarms", Readers::All, NOW);
    assert_eq!(made.version, 2);
    let list = rig.realm.group_list().expect("a list");
    let short: Vec<_> =
        list.iter().map(|entry| (entry.name.as_deref(), entry.versions[0].0, entry.readers.clone())).collect();
    assert_eq!(short, [(None, 1, Some(Readers::All)), (Some("alarms"), 2, Some(Readers::All))]);
}

#[test]
fn the_version_before_is_listed_for_as_long_as_it_opens() {
    let mut rig = rig();
    rig.add("alarms", Readers::All, NOW);
    let made = rig.rekey(Rekey::Group("alarms".into(), None), NOW);
    let listed = |rig: &mut Rig| {
        let list = rig.realm.group_list().expect("a list");
        list.iter().flat_map(|entry| entry.versions.iter().map(|version| version.0)).collect::<Vec<_>>()
    };
    assert_eq!(listed(&mut rig), [1, 2, 1], "the root's, and two of the group");
    let over = made.from + LENGTH.skew();
    rig.rekey(Rekey::Root, over);
    assert_eq!(listed(&mut rig), [2, 1, 2, 1]);
    rig.rekey(Rekey::Root, over + Duration::from_secs(1));
    assert_eq!(listed(&mut rig), [3, 2, 1, 2], "what nobody seals or opens any more is gone");
    let documents = private_file::names(&rig.place.path().join("realm/groups")).expect("read");
    assert_eq!(documents.len(), 4, "and so is its document");
}

#[test]
fn what_cannot_be_is_said() {
    let mut rig = rig();
    rig.add("alarms", Readers::All, NOW);
    let version = rig.realm.bulletin().version();
    for (group, readers, expected) in [
        ("alarms", Readers::All, "rekey alarms"),
        ("plant/a", Readers::All, "first level, plant"),
        ("+", Readers::All, "without + and #"),
        ("", Readers::All, "1 to"),
        ("plant", some(&["nobody"]), "realm list"),
    ] {
        let refused = rig.realm.add_group(&rig.operator, (group, readers), (NOW, AFTER), &mut rig.rng);
        let error = refused.expect_err("refused").to_string();
        assert!(error.contains(expected), "{group}: {error}");
    }
    let refused = rig.realm.rekey(&rig.operator, Rekey::Group("plant".into(), None), (NOW, AFTER), &mut rig.rng);
    assert!(refused.expect_err("refused").to_string().contains("group DIR add plant"));
    let refused = rig.realm.remove_group(&rig.operator, "plant", NOW);
    assert!(refused.expect_err("refused").to_string().contains("no key of its own"));
    assert_eq!(rig.realm.bulletin().version(), version);
    // The list of readers is lost: the key stays, and who is to read the next one has to be said.
    std::fs::remove_file(rig.realm.readers_path()).expect("removed");
    let refused = rig.realm.rekey(&rig.operator, Rekey::Group("alarms".into(), None), (NOW, AFTER), &mut rig.rng);
    assert!(refused.expect_err("refused").to_string().contains("--readers"));
    assert_eq!(rig.realm.group_list().expect("a list")[1].readers, None);
    assert_eq!(rig.rekey(Rekey::Group("alarms".into(), Some(Readers::All)), NOW).version, 2);
}

/// A revocation makes new keys of all groups; one for readers stays one for readers, also towards those who come later.
#[test]
fn a_revocation_opens_no_group_to_others_than_its_readers() {
    let mut rig = rig();
    rig.add("alarms", some(&["a", "b"]), NOW);
    let later = NOW + Duration::from_secs(3_600);
    let revoke = super::super::Revoke { devices: vec!["b".into()], reason: String::new(), by: "test".into() };
    let keys = Keyring::default();
    RealmDir::revoke(rig.place.path(), &keys, &revoke, later, &mut rig.rng).expect("revoked");
    rig.realm = RealmDir::open(rig.place.path()).expect("it opens");
    rig.join("later");
    let at = later + Duration::from_secs(600);
    let [a, b, newcomer] = ["a", "b", "later"].map(|device| rig.keys(device, at).version("alarms"));
    assert_eq!((a, b, newcomer), (Some(2), None, None));
}
