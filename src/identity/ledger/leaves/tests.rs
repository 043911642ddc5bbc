//! Leaves that are numbered anew: whom versions of keys reach before, during and after it.

use super::*;
use crate::id::{Name, Tag};
use crate::identity::group::name_tag;
use crate::identity::group_tree::{GroupTree, is_long, open_version};
use crate::identity::invitation::{Invitation, MemoryRealm};
use crate::identity::ledger::{Contacts, Ledger, RevocationRecord};
use crate::identity::membership::Membership;
use crate::time::EpochLength;
use crate::wire::bulletin::GroupVersion;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_100_000_000);
const EPOCHS: u64 = 4;

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}

fn names(count: usize) -> Vec<Name> {
    (0..count).map(|number| Name::new(format!("d{number}")).expect("a name")).collect()
}

struct Rig {
    realm: MemoryRealm,
    rng: ChaCha20Rng,
    members: Vec<Membership>,
}

fn rig(count: usize) -> Rig {
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let members = realm.enrol(names(count), EPOCHS as usize, NOW, &mut rng).expect("members");
    Rig { realm, rng, members }
}

impl Rig {
    /// The newest version of a group's key, or of the root's.
    fn newest(&self, group: Option<Tag>) -> GroupVersion {
        let versions = self.realm.bulletin.group_versions().filter(|(named, _)| named.group == group);
        versions
            .filter_map(|(_, document)| document)
            .max_by_key(|document| document.version)
            .expect("there is one")
            .clone()
    }

    /// The member is granted credentials, and what goes with them.
    fn renew(&mut self, at: usize, now: Unix) {
        let member = &mut self.members[at];
        let (hello, pending) = member.begin_renewal(now, &mut self.rng).expect("an issuer");
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        let answered = issuer.answer(&hello, book, bulletin, now, &mut self.rng);
        member.finish_renewal(&pending, &answered.reply.sealed.expect("sealed"), now, now).expect("it holds");
    }

    /// Whether a member has the newest version of a group's key, from the documents or from what it was granted.
    fn reads(&mut self, at: usize, group: &str, now: Unix) -> bool {
        let tag = name_tag(self.realm.bulletin.realm(), group);
        self.has(self.newest(Some(tag)).version, at, group, now)
    }

    /// The same of a group whose key derives from the root's.
    fn reads_as_all(&mut self, at: usize, group: &str, now: Unix) -> bool {
        self.has(self.newest(None).version, at, group, now)
    }

    fn has(&mut self, newest: u32, at: usize, group: &str, now: Unix) -> bool {
        let member = &mut self.members[at];
        member.accept_bulletin(self.realm.bulletin.signed()).expect("the operator's");
        for document in self.realm.bulletin.documents() {
            member.accept_document(document).expect("named");
        }
        let mut keys = member.groups().clone();
        keys.set_time(now);
        keys.version(group) == Some(newest)
    }
}

/// Invariants 1, 2 and 3, of a listed group: its readers read on through it, whether or not they have heard of their new leaf, and so do they
/// once nobody seals to the old ones; nobody else does.
#[test]
fn readers_read_on_and_nobody_else_while_leaves_are_numbered_anew() {
    let mut rig = rig(6);
    let all = names(6);
    rig.realm.add_group("alarms", Some(&[all[1].clone(), all[3].clone()]), NOW, &mut rig.rng).expect("a group");
    let until = rig.realm.book.number_anew(NOW).expect("leaves").expect("it begins");
    assert_eq!(rig.realm.book.number_anew(NOW), Ok(None), "they hold two leaves");
    let leaves: Vec<u32> = rig.realm.book.devices().iter().map(|device| device.leaf).collect();
    assert_eq!(leaves, (6..12).collect::<Vec<_>>(), "one beside the other");
    // One of the readers has the path to its new leaf, the other has not.
    rig.renew(1, NOW + hours(1));
    for now in [NOW + hours(1), Unix::from_seconds(until) + hours(1)] {
        rig.realm.rekey_group("alarms", now, &mut rig.rng).expect("another key");
        if now > NOW + hours(1) {
            (0..6).for_each(|at| rig.renew(at, now));
        }
        let reads: Vec<bool> = (0..6).map(|at| rig.reads(at, "alarms", now)).collect();
        assert_eq!(reads, [false, true, false, true, false, false]);
    }
    let tag = name_tag(rig.realm.bulletin.realm(), "alarms");
    let reached = Reached::of(&rig.newest(Some(tag)));
    let former = rig.realm.book.devices().iter().map(|device| device.former.leaves[0]).collect::<Vec<_>>();
    assert!(former.iter().all(|leaf| !reached.holds(*leaf)), "nobody seals to the old ones");
    // And once more, though the key is of before.
    rig.realm.book.number_anew(Unix::from_seconds(until) + hours(2)).expect("leaves").expect("it begins");
    let later = Unix::from_seconds(until) + hours(3);
    (0..6).for_each(|at| rig.renew(at, later));
    let reads: Vec<bool> = (0..6).map(|at| rig.reads(at, "alarms", later)).collect();
    assert_eq!(reads, [false, true, false, true, false, false]);
}

/// A realm of a thousand of which every other device is cut off: its document is long, the devices are numbered anew by themselves, and the
/// next one after that is short. Who is cut off opens none of them, by either leaf.
#[test]
fn a_key_that_takes_many_seals_takes_few_once_its_devices_are_numbered_anew() {
    let mut rig = rig(1);
    let tree = GroupTree::new(rig.realm.founding.issuer.tree.clone());
    let alone = |name| Invitation::new(name, Contacts::Some(Vec::new()));
    let invitations = names(1_000).into_iter().skip(1).map(alone).collect();
    rig.realm.enter(invitations, 1, NOW, &mut rig.rng).expect("entered");
    let gone: Vec<_> = names(1_000).into_iter().skip(1).step_by(2).collect();
    rig.realm.revoke(&gone, NOW, &mut rig.rng).expect("a bulletin");
    let long = rig.newest(None);
    assert!(is_long(&long), "{} seals", long.cover.len());
    let devices = rig.realm.book.devices().into_iter().cloned().collect::<Vec<_>>();
    assert!(devices.iter().all(|device| device.former.is_empty() == device.revoked), "all in force have another leaf");
    // One more is cut off at once, and one when the old leaves are over.
    let until = devices.iter().map(|device| device.former.until).max().expect("some");
    let mut seals = Vec::new();
    for (name, now) in [("d2", NOW + hours(1)), ("d4", Unix::from_seconds(until) + hours(1))] {
        rig.realm.revoke(&[Name::new(name).expect("a name")], now, &mut rig.rng).expect("a bulletin");
        let version = rig.newest(None);
        seals.push(version.cover.len());
        for device in rig.realm.book.devices() {
            let opens = |leaf| tree.path(leaf).and_then(|path| open_version(&path, &version)).is_some();
            let former = device.former.leaves.first().copied();
            assert_eq!(opens(device.leaf), !device.revoked, "{} at {now}", device.name);
            let holds_both = now.seconds() <= device.former.until && !device.revoked;
            assert!(former.is_none_or(|former| opens(former) == holds_both), "{} at {now}", device.name);
        }
    }
    assert!(seals[0] >= 400 && seals[1] <= 40, "{seals:?}");
    let again = rig.realm.book.devices().iter().filter(|device| device.former.leaves.len() > 1).count();
    assert_eq!(again, 0, "what is short is left as it is");
}

/// A realm of 21,000 devices of which every other one was cut off, at some time or other: a key takes more seals than a document holds. All in force
/// are numbered anew before the next device is cut off, and the key reaches them by that leaf alone, once they are granted something.
#[test]
fn a_key_that_takes_more_seals_than_a_document_holds_is_sealed_to_leaves_that_are_numbered_anew() {
    let mut rig = rig(2);
    let first = rig.realm.book.devices()[0].clone();
    for leaf in 2..21_000_u32 {
        let id = |of: u8| {
            let mut id = [of; 32];
            id[..4].copy_from_slice(&leaf.to_be_bytes());
            id
        };
        let mut device = DeviceRecord { leaf, contacts: Contacts::Some(Vec::new()), ..first.clone() };
        device.name = Name::new(format!("d{leaf}")).expect("a name");
        device.device.0.copy_from_slice(&id(1)[..16]);
        (device.ticket.0, device.renewal.0) = (id(2), id(3));
        (device.certified, device.reach) = Default::default();
        device.revoked = leaf % 2 == 1;
        let record = RevocationRecord { at: 0, by: String::new(), reason: String::new(), bulletin: Some(1) };
        (device.revocation, device.until) = (device.revoked.then_some(record), 0);
        rig.realm.book.load_device(device);
    }
    for (gone, given) in [("d2", 10_500), ("d4", 0)] {
        let before = rig.realm.book.devices().last().map_or(0, |device| device.leaf);
        rig.realm.revoke(&[Name::new(gone).expect("a name")], NOW, &mut rig.rng).expect("a bulletin");
        let last = rig.realm.book.devices().last().map_or(0, |device| device.leaf);
        assert_eq!(last - before, given, "leaves that were given when {gone} was cut off");
    }
    let version = rig.newest(None);
    assert!(version.cover.len() < 100, "{} seals", version.cover.len());
    let tree = GroupTree::new(rig.realm.founding.issuer.tree.clone());
    for device in rig.realm.book.devices().into_iter().step_by(7) {
        let opens = tree.path(device.leaf).and_then(|path| open_version(&path, &version)).is_some();
        assert_eq!(opens, !device.revoked, "{}", device.name);
    }
    // A device that has heard of the bulletin asks the issuer, and has the key from then on.
    let begun = NOW + hours(1);
    assert!(!rig.reads_as_all(0, "plant", begun));
    rig.renew(0, NOW);
    assert!(rig.reads_as_all(0, "plant", begun));
}
