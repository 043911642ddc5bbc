//! Documents that have become long, by whichever change: leaves are numbered anew for each of them, and that is told.

use super::*;
use crate::id::Name;
use crate::identity::group_tree::LONG_DOCUMENT;
use crate::identity::ledger::{DeviceRecord, RevocationRecord};
use crate::keystore::realm_dir::groups::Readers;
use crate::keystore::realm_dir::publishers::Change;
use crate::keystore::realm_dir::revoking::Revoke;
use crate::time::EpochLength;
use core::time::Duration;
use data_encoding::HEXLOWER;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);
/// Every other one of them takes a seal of its own, and as many seals are more than 16 kB.
const DEVICES: usize = 640;

struct Rig {
    place: TempDir,
    realm: RealmDir,
    operator: Operator,
    rng: ChaCha20Rng,
}

fn name(at: usize) -> Name {
    Name::new(format!("d{at}")).expect("a name")
}

/// A realm with entries in its ledger for all devices.
fn rig() -> Rig {
    let place = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (mut realm, _) = RealmDir::init(place.path(), &name(0), EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let first = realm.list(NOW).expect("it can be read").devices.remove(0);
    let mut devices = Vec::new();
    for (at, leaf) in (0..DEVICES).zip(0_u32..).skip(1) {
        let mut device = DeviceRecord { name: name(at), leaf, roles: 0, until: 0, ..first.clone() };
        for id in [&mut device.device.0[..], &mut device.ticket.0, &mut device.renewal.0] {
            id[..4].copy_from_slice(&leaf.to_be_bytes());
        }
        (device.certified, device.reach) = Default::default();
        devices.push(device);
    }
    enter(&place, &devices);
    let realm = RealmDir::open(place.path()).expect("a realm");
    let operator = realm.operator(None, &Keyring::default()).expect("the key");
    Rig { place, realm, operator, rng }
}

/// Writes entries; who opens the realm after that reads them.
fn enter(place: &TempDir, devices: &[DeviceRecord]) {
    let directory = place.path().join("realm/ledger/devices");
    let entry = |device: &DeviceRecord| (directory.join(HEXLOWER.encode(&device.device.0)), encode(device));
    private_file::write_all(&devices.iter().map(entry).collect::<Vec<_>>()).expect("they can be written");
}

impl Rig {
    /// Every other device is cut off in the ledger, but for the last of them; the bulletin does not say so yet.
    fn cut_off_all_but_one(&mut self) {
        let devices = self.realm.list(NOW).expect("it can be read").devices;
        let gone = devices[..DEVICES - 2].iter().skip(1).step_by(2);
        let record = RevocationRecord { at: NOW.seconds(), by: "me".into(), reason: String::new(), bulletin: None };
        let cut_off =
            |device: &DeviceRecord| DeviceRecord { revoked: true, revocation: Some(record.clone()), ..device.clone() };
        let gone: Vec<_> = gone.map(cut_off).collect();
        enter(&self.place, &gone);
        self.realm = RealmDir::open(self.place.path()).expect("a realm");
    }

    /// How many devices hold two leaves.
    fn numbered_anew(&mut self) -> usize {
        let listing = self.realm.list(NOW).expect("it can be read");
        listing.devices.iter().filter(|device| !device.former.is_empty()).count()
    }
}

#[test]
fn a_group_for_readers_who_lie_scattered_has_leaves_numbered_anew_once() {
    let mut rig = rig();
    let readers = Readers::Some((0..DEVICES).step_by(2).map(name).collect());
    let after = (NOW, Duration::from_secs(300));
    let made = rig.realm.add_group(&rig.operator, ("alarms", readers.clone()), after, &mut rig.rng).expect("added");
    assert!(made.bytes > LONG_DOCUMENT && made.numbered_anew_until.is_some_and(|until| until > NOW), "{made:?}");
    assert_eq!(rig.numbered_anew(), DEVICES);
    let made = rig.realm.add_group(&rig.operator, ("other", readers), after, &mut rig.rng).expect("added");
    assert_eq!(made.numbered_anew_until, None, "they hold two leaves");
}

#[test]
fn a_group_that_becomes_restricted_has_leaves_numbered_anew_where_its_document_is_long() {
    let mut rig = rig();
    let after = (NOW, Duration::from_secs(300));
    let short = rig.realm.add_group(&rig.operator, ("orders", Readers::All), after, &mut rig.rng).expect("added");
    assert_eq!(short.numbered_anew_until, None);
    rig.cut_off_all_but_one();
    let change = Change::Some(vec![name(0)], Vec::new());
    let changed = rig.realm.set_publishers(&rig.operator, ("orders", change), NOW, &mut rig.rng).expect("changed");
    let made = changed.made.expect("a version of its key");
    assert!(made.bytes > LONG_DOCUMENT && made.numbered_anew_until.is_some(), "{made:?}");
    assert_eq!(rig.numbered_anew(), DEVICES / 2 + 1);
}

#[test]
fn a_revocation_tells_until_when_leaves_are_numbered_anew() {
    let mut rig = rig();
    rig.cut_off_all_but_one();
    let revoke = Revoke { devices: vec![name(DEVICES - 1).to_string()], reason: String::new(), by: "me".into() };
    let mut revoked = || RealmDir::revoke(rig.place.path(), &Keyring::default(), &revoke, NOW, &mut rig.rng);
    let first = revoked().expect("revoked");
    assert!(first.new && first.numbered_anew_until.is_some_and(|until| until > NOW));
    let again = revoked().expect("it is");
    assert!(!again.new && again.numbered_anew_until.is_none());
    assert_eq!(rig.numbered_anew(), DEVICES / 2);
}
