//! Both ends of the protocol in memory, with a realm of the tests.

use super::*;
use crate::id::Name;
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::invitation::{Invitation, MemoryRealm, invite};
use crate::identity::issuer::{Answered, Issuer, Served};
use crate::identity::ledger::Contacts;
use crate::time::{EpochLength, Unix};
use core::time::Duration;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_100_000_000);
const LENGTH: EpochLength = EpochLength::HOUR;

struct Realm {
    realm: MemoryRealm,
    rng: ChaCha20Rng,
}

fn realm(seed: u8) -> Realm {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    Realm { realm: MemoryRealm::found(LENGTH, NOW, &mut rng).expect("a realm"), rng }
}

fn name(name: &str) -> Name {
    Name::new(name).expect("a name")
}

impl Realm {
    fn ticket(&mut self, of: &str) -> Ticket {
        let invitation = Invitation::new(name(of), Contacts::All);
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        invite(issuer, book, bulletin, invitation, NOW, &mut self.rng).expect("a ticket")
    }

    fn answer(&mut self, hello: &EnrolHello, at: Unix) -> Answered {
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        issuer.answer(hello, book, bulletin, at, &mut self.rng)
    }

    fn join(&mut self, pending: &PendingEnrolment, at: Unix) -> Result<Membership, EnrolmentError> {
        let hello = pending.hello(&mut self.rng).expect("a sound key");
        let answered = self.answer(&hello, at);
        assert!(answered.reply.refused.is_none(), "an answer to a sound request is sealed");
        finish_join(pending, &answered.reply.sealed.expect("sealed"))
    }

    fn begin(&mut self, of: &str) -> PendingEnrolment {
        let ticket = self.ticket(of);
        begin_join_for(&ticket, 4, &mut self.rng)
    }
}

#[test]
fn a_ticket_makes_a_member_whose_credentials_hold() {
    let mut realm = realm(1);
    let ticket = realm.ticket("meter-17");
    let pending = begin_join(&ticket, &mut realm.rng);
    let member = realm.join(&pending, NOW).expect("a member");
    assert_eq!((member.name(), member.realm()), (&name("meter-17"), ticket.realm));
    let device = realm.realm.device(&name("meter-17")).expect("in the ledger");
    let mut handles = std::collections::BTreeSet::new();
    for hour in 0..168 {
        let at = NOW + Duration::from_secs(3_600 * hour);
        let own = member.credential(at).expect("a credential for each epoch of the batch");
        let peer = member.bulletin().verify_credential(&own.signed, at).expect("it holds");
        assert_eq!(peer.body.key, member.pseudonym(NOW));
        let opened = realm.realm.founding.auditor.open(&peer.body.sealed_id);
        assert_eq!(opened, Ok((device, LENGTH.epoch_at(at))));
        assert_eq!(own.signed.len(), member.credential(NOW).expect("a credential").signed.len());
        handles.insert(own.body.handle);
    }
    assert_eq!(handles.len(), 168);
    assert!(member.credential(NOW + Duration::from_secs(3_600 * 168)).is_none());
    let stored = member.to_stored();
    let again = Membership::from_stored(&stored).expect("it comes back");
    assert!(again.to_stored() == stored);
}

/// Invariant 1 of identity::ledger.
#[test]
fn a_ticket_serves_one_set_of_keys_and_their_retries() {
    let mut realm = realm(1);
    let ticket = realm.ticket("a");
    let first = begin_join_for(&ticket, 4, &mut realm.rng);
    let member = realm.join(&first, NOW).expect("a member");
    // The answer got lost; the same keys ask again, from disk, even after the ticket's time.
    let stored = PendingEnrolment::from_stored(&first.to_stored(), &ticket).expect("stored");
    let late = NOW + Duration::from_secs(90_000);
    let again = realm.join(&stored, late).expect("answered again");
    assert_eq!((again.device(), again.pseudonym(NOW)), (member.device(), member.pseudonym(NOW)));
    assert_eq!(realm.realm.book.devices().len(), 1);
    let second = begin_join_for(&ticket, 4, &mut realm.rng);
    assert_eq!(realm.join(&second, NOW).err(), Some(Refusal::TicketUsed.into()));
    let other = realm.ticket("b");
    assert_eq!(PendingEnrolment::from_stored(&first.to_stored(), &other), Err(EnrolmentError::OtherTicket));
}

#[test]
fn tickets_expired_unknown_or_foreign_are_refused() {
    let mut realm = realm(1);
    let pending = realm.begin("a");
    let late = NOW + Duration::from_secs(86_401);
    assert_eq!(realm.join(&pending, late).err(), Some(Refusal::TicketExpired.into()));
    assert!(realm.join(&pending, NOW + Duration::from_secs(86_400)).is_ok());

    let ticket = realm.ticket("b");
    let unknown = begin_join_for(&Ticket { secret: [7; 32], ..ticket.clone() }, 4, &mut realm.rng);
    assert_eq!(realm.join(&unknown, NOW).err(), Some(Refusal::UnknownTicket.into()));

    let foreign = super::tests::realm(2).begin("a").hello(&mut realm.rng).expect("a sound key");
    let answered = realm.answer(&foreign, NOW);
    assert_eq!(answered.reply.refused, Some(Refusal::ForeignRealm));
    assert!(answered.reply.sealed.is_none());
}

#[test]
fn a_changed_request_or_answer_is_noticed() {
    let mut realm = realm(1);
    let pending = realm.begin("a");
    let hello = pending.hello(&mut realm.rng).expect("a sound key");
    for at in (0..hello.sealed.len()).step_by(7) {
        let mut changed = hello.clone();
        changed.sealed[at] ^= 1;
        assert_eq!(realm.answer(&changed, NOW).outcome, Err(Refusal::Malformed), "byte {at}");
    }
    assert!(realm.realm.book.devices().is_empty());
    let answered = realm.answer(&hello, NOW);
    assert_eq!(answered.outcome, Ok(Served { name: name("a"), new: true }));
    let answer = answered.reply.sealed.expect("sealed");
    for at in (0..answer.len()).step_by(7) {
        let mut changed = answer.clone();
        changed[at] ^= 1;
        assert!(finish_join(&pending, &changed).is_err(), "byte {at}");
    }
}

/// An answer can be sealed by anybody who sees the request's answer key: what counts is who signed it.
/// Invariant 1 of identity.
/// Invariant 1 of identity::batch.
#[test]
fn an_answer_by_another_than_the_issuer_is_refused() {
    let (mut realm, mut impostor) = (realm(1), realm(2));
    let (ticket, own) = (realm.ticket("a"), impostor.ticket("a"));
    let false_ticket = Ticket { seal: own.seal, issuer: own.issuer, secret: own.secret, ..ticket.clone() };
    let mut pending = begin_join_for(&false_ticket, 4, &mut realm.rng);
    let hello = pending.hello(&mut realm.rng).expect("a sound key");
    pending.issuer = ticket.issuer;

    // With the realm's own bulletin, which is no secret to members, and credentials that the impostor signs.
    let MemoryRealm { founding, book, bulletin, .. } = &mut impostor.realm;
    let forger = Issuer::new(ticket.realm, &founding.issuer);
    let mut forge = |bulletin: &VerifiedBulletin| {
        let forged = forger.answer(&hello, book, bulletin, NOW, &mut realm.rng);
        finish_join(&pending, &forged.reply.sealed.expect("sealed")).err()
    };
    assert_eq!(forge(&realm.realm.bulletin), Some(EnrolmentError::Foreign));
    // With a bulletin of the impostor's own.
    assert_eq!(forge(bulletin), Some(BulletinError::Realm.into()));
}

/// Invariant 2 of identity::batch.
#[test]
fn a_renewal_goes_on_where_the_batch_ends_and_wipes_the_past() {
    let mut realm = realm(1);
    let pending = realm.begin("a");
    let mut member = realm.join(&pending, NOW).expect("a member");
    assert!(!member.renewal_due(NOW));
    let later = NOW + Duration::from_secs(2 * 3_600);
    assert!(member.renewal_due(later + Duration::from_secs(1_800)));
    let (until, used) = (member.valid_until(), member.credential(later).expect("a credential").hash);
    let (hello, renewal) = member.begin_renewal(later, &mut realm.rng).expect("an issuer");
    let answer = realm.answer(&hello, later);
    assert_eq!(answer.outcome, Ok(Served { name: name("a"), new: false }));
    let sealed = answer.reply.sealed.expect("sealed");
    let renewed = member.finish_renewal(&renewal, &sealed, later, later).expect("renewed");
    assert!(renewed.credentials && !renewed.bulletin);
    assert!(member.valid_until() > until);
    assert_eq!(member.credential(later).expect("a credential").hash, used, "what is in use stays");
    assert!(member.credential(NOW + Duration::from_secs(3_600)).is_some(), "the epoch before drains");
    assert!(member.credential(NOW).is_none(), "older ones are gone with their keys");
    let far = later + Duration::from_secs(100 * 3_600);
    let own = member.credential(far).expect("a new one");
    assert!(member.bulletin().verify_credential(&own.signed, far).is_ok());
    assert!(!member.renewal_due(later));
    assert!(Membership::from_stored(&member.to_stored()).is_ok());
}

#[test]
fn only_known_and_modest_requests_are_renewed() {
    let mut realm = realm(1);
    let pending = realm.begin("a");
    let mut member = realm.join(&pending, NOW).expect("a member");
    let ahead = NOW + Duration::from_secs(400 * 3_600);
    let (hello, renewal) = member.begin_renewal(ahead, &mut realm.rng).expect("an issuer");
    let answered = realm.answer(&hello, NOW);
    assert_eq!(answered.outcome, Err(Refusal::Epochs));
    let refused = member.finish_renewal(&renewal, &answered.reply.sealed.expect("sealed"), NOW, NOW);
    assert_eq!(refused, Err(Refusal::Epochs.into()));

    for first in [1, u64::MAX] {
        let mut odd = renewal.clone();
        odd.first_epoch = Epoch(first);
        let hello = odd.hello(&mut realm.rng).expect("a sound key");
        assert_eq!(realm.answer(&hello, NOW).outcome, Err(Refusal::Epochs));
    }

    let (hello, _) = member.begin_renewal(NOW, &mut realm.rng).expect("an issuer");
    realm.realm.book = Default::default();
    assert_eq!(realm.answer(&hello, NOW).outcome, Err(Refusal::UnknownDevice));
}

#[test]
fn a_pull_brings_the_cards_of_new_contacts() {
    let mut realm = realm(1);
    let first = realm.begin("a");
    let mut member = realm.join(&first, NOW).expect("a member");
    let second = realm.begin("b");
    let mut other = realm.join(&second, NOW).expect("a member");
    assert!(member.contacts().get(&name("b")).is_none());
    let (hello, pull) = member.begin_pull(&mut realm.rng).expect("an issuer");
    let answer = realm.answer(&hello, NOW).reply.sealed.expect("sealed");
    let until = member.valid_until();
    let renewed = member.finish_renewal(&pull, &answer, NOW, NOW).expect("pulled");
    assert_eq!((renewed.cards, renewed.credentials, member.valid_until()), (1, false, until));
    // Each now finds the other by the handle in its credential.
    let handle = other.credential(NOW).expect("a credential").body.handle;
    assert_eq!(member.contacts().handle_of(&name("b"), NOW), Some(handle));
    let handle = member.credential(NOW).expect("a credential").body.handle;
    assert_eq!(other.contacts().resolve(&handle, NOW).map(|card| card.name.clone()), Some(name("a")));
    assert!(member.credential_of(&handle, NOW).is_some());
}
