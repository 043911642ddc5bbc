//! Tests of a realm on disk: what it keeps, to whom it opens, and how it reports damage.

use super::*;
use crate::identity::anonymity::Anonymity;
use crate::wire::enrolment::Refusal;
use rand_chacha::rand_core::SeedableRng;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

fn new_realm() -> (TempDir, RealmDir, ChaCha20Rng) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let (realm, member) =
        RealmDir::init(directory.path(), &name("first"), EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    assert_eq!(member.name(), &name("first"));
    (directory, realm, rng)
}

fn invite(name: Name, contacts: InviteContacts) -> Invite {
    let lifetime = Duration::from_secs(3_600);
    Invite { name, segments: Vec::new(), roles: Vec::new(), contacts, lifetime, addresses: Vec::new() }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found
}

/// Invariant 1.
#[test]
fn everything_is_private_to_its_owner() {
    let (directory, mut realm, mut rng) = new_realm();
    realm.invite(invite(name("a"), InviteContacts::All), NOW, &mut rng).expect("a ticket");
    let files = files(directory.path());
    assert!(files.len() > 12, "{files:?}");
    for path in files {
        let mode = std::fs::metadata(&path).expect("there").mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn a_ticket_enrols_one_device_also_after_a_restart() {
    let (directory, mut realm, mut rng) = new_realm();
    let text = realm.invite(invite(name("a"), InviteContacts::Operator), NOW, &mut rng).expect("a ticket");
    let ticket = ticket::from_text(&text, NOW).expect("a ticket");
    let device = DeviceDir::new(directory.path().join("a"));
    assert!(matches!(device.load(), Err(DeviceDirError::NoDevice { .. })));
    let pending = device.begin_join(&ticket, Anonymity::Stable, &mut rng).expect("begun");
    assert!(matches!(device.load(), Err(DeviceDirError::Unfinished { .. })));
    let lost = realm.answer(&pending.hello(&mut rng).expect("a hello"), NOW, &mut rng);
    assert!(lost.outcome.is_ok());
    drop(realm);

    // Both ends start again: the device with the keys on disk, the issuer with its ledger.
    let mut realm = RealmDir::open(directory.path()).expect("it opens");
    let pending = device.begin_join(&ticket, Anonymity::Stable, &mut rng).expect("goes on");
    let answer = realm.answer(&pending.hello(&mut rng).expect("a hello"), NOW, &mut rng);
    device.finish_join(&pending, &answer.reply.sealed.expect("sealed")).expect("stored");
    let mut member = device.load().expect("a device");
    assert!(member.contacts().get(&name("first")).is_some());
    assert!(matches!(device.begin_join(&ticket, Anonymity::Stable, &mut rng), Err(DeviceDirError::Occupied { .. })));

    let thief = DeviceDir::new(directory.path().join("thief"));
    let pending = thief.begin_join(&ticket, Anonymity::Stable, &mut rng).expect("begun");
    let refused = realm.answer(&pending.hello(&mut rng).expect("a hello"), NOW, &mut rng);
    assert_eq!(refused.outcome, Err(Refusal::TicketUsed));
    let listing = realm.list(NOW).expect("a listing");
    assert_eq!(listing.devices.iter().map(|device| device.leaf).collect::<Vec<_>>(), [0, 1]);
    assert!(listing.tickets.is_empty());
}

/// The node and the command line use a realm at the same time.
#[test]
fn two_processes_see_each_others_entries() {
    let (directory, mut one, mut rng) = new_realm();
    let mut two = RealmDir::open(directory.path()).expect("it opens");
    let mut leaves = Vec::new();
    for number in 0..4 {
        let (inviter, enroller) = if number % 2 == 0 { (&mut one, &mut two) } else { (&mut two, &mut one) };
        let invitation = invite(name(&format!("d{number}")), InviteContacts::All);
        let text = inviter.invite(invitation, NOW, &mut rng).expect("a ticket");
        let ticket = ticket::from_text(&text, NOW).expect("a ticket");
        let device = DeviceDir::new(directory.path().join(number.to_string()));
        let pending = device.begin_join(&ticket, Anonymity::Stable, &mut rng).expect("begun");
        let answer = enroller.answer(&pending.hello(&mut rng).expect("a hello"), NOW, &mut rng);
        assert!(answer.outcome.is_ok());
        leaves = inviter.list(NOW).expect("a listing").devices.iter().map(|device| device.leaf).collect();
    }
    assert_eq!(leaves, [0, 1, 2, 3, 4]);
}

#[test]
fn names_are_given_once() {
    let (_directory, mut realm, mut rng) = new_realm();
    let taken = |result| matches!(result, Err(RealmDirError::Ledger(LedgerError::NameTaken(_))));
    assert!(taken(realm.invite(invite(name("first"), InviteContacts::All), NOW, &mut rng)));
    realm.invite(invite(name("a"), InviteContacts::All), NOW, &mut rng).expect("a ticket");
    assert!(taken(realm.invite(invite(name("a"), InviteContacts::All), NOW, &mut rng)));
    let later = NOW + Duration::from_secs(3_601);
    assert!(realm.invite(invite(name("a"), InviteContacts::All), later, &mut rng).is_ok(), "the ticket expired");
    let unknown = InviteContacts::Names(vec![name("nobody")]);
    assert!(matches!(realm.invite(invite(name("b"), unknown), NOW, &mut rng), Err(RealmDirError::NoDevice(_))));
}

#[test]
fn twenty_devices_know_each_other_at_once() {
    let (directory, mut realm, mut rng) = new_realm();
    let devices: Vec<_> = (1..=20)
        .map(|number| (name(&format!("node-{number}")), directory.path().join(format!("node-{number}"))))
        .collect();
    let started = std::time::Instant::now();
    realm.create_devices(&devices, 8, Anonymity::Stable, NOW, &mut rng).expect("twenty devices");
    println!("20 devices in {:?}", started.elapsed());
    for (_, path) in &devices {
        let member = DeviceDir::new(path).load().expect("a device");
        assert_eq!(member.contact_book().len(), 20, "the others and the first");
        assert!(member.credential(NOW).is_some());
    }
    assert!(matches!(
        realm.create_devices(&devices[..1], 8, Anonymity::Stable, NOW, &mut rng),
        Err(RealmDirError::Device(DeviceDirError::Occupied { .. }))
    ));
}

/// Invariant 1 of keystore::ledger_dir.
#[test]
fn damage_is_named() {
    let (directory, _, mut rng) = new_realm();
    let error = |result: Result<RealmDir, RealmDirError>| result.expect_err("refused").to_string();
    let ledger = directory.path().join("realm").join("ledger");
    let entry = private_file::names(&ledger.join("devices")).expect("read").remove(0);
    let path = ledger.join("devices").join(&entry);
    let bytes = private_file::read(&path).expect("an entry");
    private_file::write(&path, &bytes[..bytes.len() - 1]).expect("cut");
    assert!(error(RealmDir::open(directory.path())).contains(&entry));
    private_file::write(&path, &bytes).expect("mended");
    private_file::write(&ledger.join("tickets").join("notes.txt"), b"mine").expect("written");
    assert!(error(RealmDir::open(directory.path())).contains("notes.txt"));
    private_file::remove(&ledger.join("tickets").join("notes.txt")).expect("removed");
    let key = directory.path().join("realm").join("issuer.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("changed");
    assert!(error(RealmDir::open(directory.path())).contains("issuer.key"));
    assert!(error(RealmDir::open(&directory.path().join("elsewhere"))).contains("realm init"));
    let again = RealmDir::init(directory.path(), &name("x"), EpochLength::HOUR, NOW, &mut rng);
    assert!(matches!(again, Err(RealmDirError::Occupied { .. })));

    let device = DeviceDir::new(directory.path());
    let credentials = directory.path().join("identity").join("credentials");
    private_file::write(&credentials, b"rubbish").expect("written");
    assert!(device.load().expect_err("damaged").to_string().contains("credentials"));
    private_file::remove(&credentials).expect("removed");
    assert!(device.load().expect_err("missing").to_string().contains("credentials is missing"));
}
