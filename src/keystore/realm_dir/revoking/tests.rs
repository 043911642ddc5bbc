//! Revocations in a realm's directory: in which order, and what is left of one that was interrupted.

use super::*;
use crate::identity::issuer::Answered;
use crate::identity::ticket;
use crate::keystore::realm_dir::{Invite, InviteContacts};
use crate::time::EpochLength;
use crate::wire::enrolment::Refusal;
use core::time::Duration;
use rand_chacha::rand_core::SeedableRng;
use std::path::PathBuf;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);

struct Realm {
    directory: TempDir,
    /// As the node that runs there has it open.
    running: RealmDir,
    rng: ChaCha20Rng,
}

fn realm() -> Realm {
    let directory = tempfile::tempdir().expect("a directory");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let first = Name::new("first").expect("a name");
    RealmDir::init(directory.path(), &first, EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let running = RealmDir::open(directory.path()).expect("it opens");
    Realm { directory, running, rng }
}

impl Realm {
    fn ticket(&mut self, name: &str) -> String {
        let name = Name::new(name).expect("a name");
        let (contacts, lifetime) = (InviteContacts::All, Duration::from_secs(3_600));
        let invite = Invite { name, segments: vec![], roles: vec![], contacts, lifetime, addresses: vec![] };
        self.running.invite(invite, NOW, &mut self.rng).expect("a ticket")
    }

    fn join(&mut self, text: &str) -> Answered {
        let ticket = ticket::from_text(text, NOW).expect("a ticket");
        let pending = crate::identity::enrolment::begin_join_for(&ticket, 4, &mut self.rng);
        self.running.answer(&pending.hello(&mut self.rng).expect("a request"), NOW, &mut self.rng)
    }

    fn device(&mut self, name: &str) {
        let ticket = self.ticket(name);
        assert!(self.join(&ticket).outcome.is_ok());
    }

    fn revoke(&mut self, devices: &[&str]) -> Result<Revoked, RealmDirError> {
        let devices = devices.iter().map(|device| (*device).to_owned()).collect();
        let revoke = Revoke { devices, reason: "stolen".into(), by: "me".into() };
        RealmDir::revoke(self.directory.path(), &Keyring::default(), &revoke, NOW, &mut self.rng)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join("realm").join(name)
    }

    fn listed(&mut self, name: &str) -> DeviceRecord {
        let listing = self.running.list(NOW).expect("a listing");
        listing.devices.into_iter().find(|device| device.name.as_str() == name).expect("a device")
    }
}

#[test]
fn a_revocation_is_kept_with_who_when_and_why_and_the_running_issuer_heeds_it() {
    let mut realm = realm();
    realm.device("pump");
    realm.device("meter");
    let id = realm.listed("meter").device.to_string();
    let revoked = realm.revoke(&["pump", &id, "pump"]).expect("revoked");
    assert_eq!((revoked.devices.len(), revoked.new, revoked.bulletin.version()), (2, true, 2));
    assert_eq!(revoked.bulletin.body().revocations.len(), 2);
    let record = realm.listed("pump").revocation.expect("it is said");
    assert_eq!((record.by.as_str(), record.reason.as_str(), record.at), ("me", "stolen", NOW.seconds()));
    assert_eq!(record.bulletin, Some(2));
    // Whoever joins at the node that runs there has the new bulletin and the new keys.
    realm.device("next");
    assert_eq!(realm.running.bulletin().version(), 2);
    let again = RealmDir::open(realm.directory.path()).expect("it opens");
    assert!(again.bulletin().missing().is_empty());
    // Again nothing happens, and a name that is free again goes to another device.
    let again = realm.revoke(&["pump"]).expect("it is");
    assert_eq!((again.new, again.bulletin.version(), again.devices[0].leaf), (false, 2, 1));
    realm.device("pump");
    let again = realm.revoke(&["pump"]).expect("revoked");
    assert_eq!((again.new, again.bulletin.version(), again.devices[0].leaf), (true, 3, 4));
}

#[test]
fn an_open_ticket_is_void_once_it_is_revoked() {
    let mut realm = realm();
    let ticket = realm.ticket("meter");
    let revoked = realm.revoke(&["meter"]).expect("revoked");
    assert_eq!((revoked.tickets.len(), revoked.devices.len(), revoked.new), (1, 0, false));
    assert_eq!(realm.join(&ticket).outcome.err(), Some(Refusal::UnknownTicket));
    realm.device("meter");
}

/// Wherever it ends, the device has nothing more from then on, and whoever takes it up again finishes it.
#[test]
fn a_revocation_that_was_interrupted_is_finished_when_it_is_made_again() {
    for steps in 1..=3 {
        let mut realm = realm();
        realm.device("pump");
        realm.device("meter");
        let (meter, before) = (realm.listed("meter").device, realm.listed("pump").generation);
        let record = RevocationRecord { at: NOW.seconds(), by: "me".into(), reason: String::new(), bulletin: None };
        let mut other = RealmDir::open(realm.directory.path()).expect("it opens");
        other.ledger.revoke(&meter, &record).expect("written");
        if steps > 1 {
            other.ledger.renew_cards().expect("written");
        }
        if steps > 2 {
            let operator = other.own_operator(&Keyring::default()).expect("its key");
            let devices = other.ledger.every_device().expect("read");
            let RealmDir { issuer, bulletin, place, .. } = &mut other;
            let revoking = Revoking { operator: &operator, issuer, before: bulletin, devices: &[], record: &record };
            let mut copy = Book::default();
            devices.into_iter().for_each(|device| copy.load_device(device));
            let written = revoking.take(&mut copy, NOW, &mut realm.rng, |bulletin| keep(place, bulletin));
            assert_eq!(written.expect("written").bulletin.version(), 2);
        }
        assert!(realm.listed("meter").is_pending());
        let revoked = realm.revoke(&["meter"]).expect("finished");
        assert!(revoked.new && revoked.bulletin.version() >= 2, "after {steps} steps");
        assert_eq!(revoked.bulletin.body().revocations.len(), 1);
        assert_eq!(
            realm.listed("meter").revocation.and_then(|record| record.bulletin),
            Some(revoked.bulletin.version())
        );
        assert!(realm.listed("pump").generation > before);
    }
}

#[test]
fn without_the_operators_key_or_a_device_nothing_is_written() {
    let mut realm = realm();
    realm.device("meter");
    let refused = |realm: &mut Realm, device: &str| realm.revoke(&[device]).map(|_| ()).expect_err("refused");
    assert!(matches!(refused(&mut realm, "nobody"), RealmDirError::Unknown(_)));
    assert!(matches!(refused(&mut realm, "first"), RealmDirError::IsIssuer(_)));
    std::fs::rename(realm.file(OPERATOR), realm.file("away")).expect("carried away");
    let said = refused(&mut realm, "meter").to_string();
    assert!(said.contains("operator.key") && said.contains("bring"), "{said}");
    assert!(!realm.listed("meter").revoked);
    std::fs::rename(realm.file("away"), realm.file(OPERATOR)).expect("brought back");
    assert!(realm.revoke(&["meter"]).is_ok());
}
