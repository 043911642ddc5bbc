//! What an issuer certifies, for whom, and how often.

use super::*;
use crate::identity::enrolment::{EnrolmentError, PendingEnrolment, begin_join_for, finish_join};
use crate::identity::invitation::{Invitation, MemoryRealm, invite};
use crate::identity::ledger::{Book, Contacts};
use crate::identity::membership::Membership;
use core::time::Duration;
use rand_chacha::rand_core::SeedableRng;

const NOW: Unix = Unix(1_800_000_100_000_000);
const LENGTH: EpochLength = EpochLength::HOUR;

struct Realm {
    realm: MemoryRealm,
    rng: ChaCha20Rng,
}

fn realm() -> Realm {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    Realm { realm: MemoryRealm::found(LENGTH, NOW, &mut rng).expect("a realm"), rng }
}

fn hours(hours: u64) -> Duration {
    Duration::from_secs(3_600 * hours)
}

impl Realm {
    fn begin(&mut self, name: &str, epochs: usize) -> PendingEnrolment {
        let invitation = Invitation::new(Name::new(name).expect("a name"), Contacts::All);
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        let ticket = invite(issuer, book, bulletin, invitation, NOW, &mut self.rng).expect("a ticket");
        begin_join_for(&ticket, epochs, &mut self.rng)
    }

    fn ask(&mut self, hello: &EnrolHello, at: Unix) -> Answered {
        let MemoryRealm { issuer, book, bulletin, .. } = &mut self.realm;
        issuer.answer(hello, book, bulletin, at, &mut self.rng)
    }

    fn join(&mut self, pending: &PendingEnrolment, at: Unix) -> Result<Membership, EnrolmentError> {
        let hello = pending.hello(&mut self.rng)?;
        finish_join(pending, &self.ask(&hello, at).reply.sealed.expect("sealed"))
    }

    fn member(&mut self, name: &str, epochs: usize) -> Membership {
        let pending = self.begin(name, epochs);
        self.join(&pending, NOW).expect("a member")
    }

    /// Makes the request of somebody with the device's renewal key and keys of their own choice for the epochs.
    fn chosen(&mut self, by: &SigningKey, first: u64, keys: &[(&SigningKey, u8)], proofs: &[&SigningKey]) -> Refused {
        let (issuer, realm) = (self.realm.issuer.id(), self.realm.bulletin.realm());
        let keys = keys.iter().map(|(key, agreement)| [sign::public(key).0, [*agreement; 32]].concat());
        let body = encode(&Request {
            version: REQUEST_VERSION,
            realm,
            issuer,
            signer: sign::public(by),
            keys: None,
            answer_key: seal::agreement_public(&seal::new_secret(&mut self.rng)),
            first_epoch: Epoch(first),
            epochs: keys.flatten().collect(),
            prekey: None,
        });
        let proofs = proofs.iter().flat_map(|key| sign::sign(key, KEY_CONTEXT, &body).0).collect();
        let signed = SignedRequest { signature: sign::sign(by, CONTEXT, &body), body, proofs };
        let to = self.realm.issuer.seal_key();
        let sealed = seal::seal(&mut self.rng, &to, label::ENROL_REQUEST, &encode(&signed)).expect("a sound key");
        self.ask(&EnrolHello { realm, issuer, sealed }, NOW).outcome.map(|_| ())
    }
}

type Refused = Result<(), Refusal>;

/// A device whose renewal key the test holds.
fn enter(realm: &mut Realm, name: &str, seed: u8) -> SigningKey {
    realm.member(name, 1);
    let renewal = SigningKey::from_bytes(&[seed; 32]);
    let book = &mut realm.realm.book;
    let mut record = book.named(&Name::new(name).expect("a name")).expect("it has enrolled").clone();
    record.renewal = sign::public(&renewal);
    book.load_device(record);
    renewal
}

/// Invariant 2 of identity::ledger.
#[test]
fn a_device_has_one_key_an_epoch_certified_and_the_same_again() {
    let mut realm = realm();
    let renewal = enter(&mut realm, "a", 1);
    let (one, other) = (SigningKey::from_bytes(&[11; 32]), SigningKey::from_bytes(&[12; 32]));
    let first = LENGTH.epoch_at(NOW).0 + 3;
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1), (&one, 2)], &[&one]), Ok(()));
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1), (&one, 2)], &[&one]), Ok(()), "the same is answered again");
    let taken = Err(Refusal::KeyTaken);
    assert_eq!(realm.chosen(&renewal, first, &[(&other, 1)], &[&other]), taken);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 9)], &[&one]), taken, "another agreement key is another key");
    assert_eq!(realm.chosen(&renewal, first - 1, &[(&one, 0), (&one, 9)], &[&one]), taken);
    assert_eq!(realm.chosen(&renewal, first - 1, &[(&one, 0), (&one, 1)], &[&one]), Ok(()), "nothing of it was noted");
    assert_eq!(realm.chosen(&renewal, first + 2, &[(&other, 1)], &[&other]), Ok(()), "a later epoch, another key");
}

/// Invariant 2 of identity::ledger.
#[test]
fn another_devices_pseudonym_is_not_certified() {
    let mut realm = realm();
    let (a, b) = (enter(&mut realm, "a", 1), enter(&mut realm, "b", 2));
    let (key, first) = (SigningKey::from_bytes(&[11; 32]), LENGTH.epoch_at(NOW).0 + 3);
    assert_eq!(realm.chosen(&a, first, &[(&key, 1)], &[&key]), Ok(()));
    // Even if the two conspire, so that it can prove that it holds the key.
    assert_eq!(realm.chosen(&b, first + 9, &[(&key, 2)], &[&key]), Err(Refusal::KeyTaken));
}

#[test]
fn who_does_not_hold_a_key_does_not_have_it_certified() {
    let mut realm = realm();
    let renewal = enter(&mut realm, "a", 1);
    let (one, two) = (SigningKey::from_bytes(&[11; 32]), SigningKey::from_bytes(&[12; 32]));
    let (first, malformed) = (LENGTH.epoch_at(NOW).0 + 3, Err(Refusal::Malformed));
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1)], &[]), malformed);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1)], &[&two]), malformed);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1), (&two, 2)], &[&one]), malformed);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1), (&two, 2)], &[&two, &one]), malformed);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1)], &[&one, &one]), malformed);
    assert_eq!(realm.chosen(&renewal, first, &[(&one, 1), (&two, 2), (&one, 3)], &[&one, &two]), Ok(()));
}

#[test]
fn a_lost_answer_costs_nothing() {
    let mut realm = realm();
    let pending = realm.begin("a", 24);
    // The first answer, and those to two renewals, never arrive.
    let hello = pending.hello(&mut realm.rng).expect("a sound key");
    realm.ask(&hello, NOW);
    let mut member = realm.join(&pending, NOW + hours(5)).expect("the same keys, hours later");
    assert!(member.credential(NOW + hours(5)).is_some() && member.credential(NOW + hours(23)).is_some());
    assert!(member.credential(NOW + hours(24)).is_none(), "the keys are those of the epochs of the first answer");
    let stored = member.to_stored();
    for hour in [12, 14] {
        let (hello, _) = member.begin_renewal(NOW + hours(hour), &mut realm.rng).expect("an issuer");
        assert!(realm.ask(&hello, NOW + hours(hour)).outcome.is_ok());
    }
    // A disk that was restored to an earlier state asks for the same keys.
    let mut member = Membership::from_stored(&stored).expect("stored");
    let at = NOW + hours(30);
    let (hello, pending) = member.begin_renewal(at, &mut realm.rng).expect("an issuer");
    let sealed = realm.ask(&hello, at).reply.sealed.expect("sealed");
    assert!(member.finish_renewal(&pending, &sealed, at, at).expect("renewed").credentials);
    assert!(member.credential(at).is_some());
    assert!(!member.renewal_due(at));
}

#[test]
fn only_what_is_sealed_for_a_request_is_the_issuers_answer_to_it() {
    let mut realm = realm();
    let (pending, other) = (realm.begin("a", 4), realm.begin("b", 4));
    let (hello, foreign) = (pending.hello(&mut realm.rng), other.hello(&mut realm.rng));
    let (hello, foreign) = (hello.expect("a sound key"), foreign.expect("a sound key"));
    let judge = pending.judge();
    let yes = realm.ask(&hello, NOW).reply;
    // A sealed refusal counts as a sealed grant does.
    let no = realm.ask(&hello, NOW + hours(400)).reply;
    assert!(judge.accepts(&yes) && judge.accepts(&no));
    assert!(!judge.accepts(&realm.ask(&foreign, NOW).reply));
    let unsealed = EnrolReply { sealed: None, refused: Some(Refusal::Revoked) };
    assert!(!judge.accepts(&unsealed) && !judge.accepts(&EnrolReply { sealed: None, refused: None }));
    let mut changed = yes;
    changed.sealed.as_mut().expect("sealed")[40] ^= 1;
    assert!(!judge.accepts(&changed));
}

#[test]
fn a_clock_that_was_ahead_leaves_no_gap() {
    let mut realm = realm();
    let mut member = realm.member("a", 4);
    let ahead = NOW + hours(72);
    let (hello, pending) = member.begin_renewal(ahead, &mut realm.rng).expect("an issuer");
    let sealed = realm.ask(&hello, NOW).reply.sealed.expect("sealed");
    member.finish_renewal(&pending, &sealed, ahead, ahead).expect("renewed");
    assert!(member.credential(ahead).is_some() && member.credential(NOW + hours(5)).is_none());
    assert!(member.credential(NOW).is_some(), "by the issuer's clock it is needed still");
    let at = NOW + hours(5);
    let (hello, pending) = member.begin_renewal(at, &mut realm.rng).expect("an issuer");
    let sealed = realm.ask(&hello, at).reply.sealed.expect("sealed");
    member.finish_renewal(&pending, &sealed, at, at).expect("renewed");
    assert!((5..160).all(|hour| member.credential(NOW + hours(hour)).is_some()));
}

/// The issuer's clock was ahead when it enrolled the device, or when it was asked by its own.
/// Invariant 3 of identity::batch.
#[test]
fn an_issuer_whose_clock_was_ahead_spends_no_epochs_before() {
    let mut realm = realm();
    let pending = realm.begin("a", 24);
    let mut member = realm.join(&pending, NOW + hours(23)).expect("a member");
    assert!(member.credential(NOW).is_none() && member.renewal_due(NOW));
    let renew = |realm: &mut Realm, member: &mut Membership, at: Unix, sure: Unix| {
        let (hello, pending) = member.begin_renewal(at, &mut realm.rng).expect("an issuer");
        let sealed = realm.ask(&hello, at).reply.sealed.expect("sealed");
        member.finish_renewal(&pending, &sealed, at, sure).expect("renewed");
    };
    renew(&mut realm, &mut member, NOW, NOW);
    assert!((0..168).all(|hour| member.credential(NOW + hours(hour)).is_some()));
    member.erase_past(NOW + hours(1));
    let agreement = |member: &Membership| member.credential(NOW + hours(2)).map(|own| own.body.agreement);
    let before = agreement(&member);
    // By its own clock alone the time is 200 hours on.
    renew(&mut realm, &mut member, NOW + hours(200), Unix(0));
    renew(&mut realm, &mut member, NOW + hours(2), NOW + hours(2));
    assert!((2..168).all(|hour| member.credential(NOW + hours(hour)).is_some()));
    assert_eq!(agreement(&member), before);
    assert!(!member.renewal_due(NOW + hours(2)));
    // Credentials held beyond the week do not put off the next renewal.
    assert!(member.credential(NOW + hours(300)).is_some() && member.renewal_due(NOW + hours(110)));
}

/// Invariant 2 of identity::ledger.
#[test]
fn a_ledger_keeps_no_keys_of_epochs_that_have_passed() {
    let mut realm = realm();
    let mut member = realm.member("a", 168);
    realm.member("lost", 168);
    let held = |book: &Book| book.devices().iter().map(|device| encode(&device.certified).len()).max();
    let most = held(&realm.realm.book);
    for step in 1..12 {
        let at = NOW + hours(84 * step);
        let (hello, pending) = member.begin_renewal(at, &mut realm.rng).expect("an issuer");
        let sealed = realm.ask(&hello, at).reply.sealed.expect("sealed");
        member.finish_renewal(&pending, &sealed, at, at).expect("renewed");
        // An epoch before the present one, and one after the batch, may be there.
        assert!(held(&realm.realm.book).zip(most).is_some_and(|(now, most)| now <= most + 2 * 40));
    }
    let now = (NOW + hours(84 * 11)).seconds();
    let passed = realm.realm.book.passed(now, 8);
    assert_eq!(passed.len(), 1, "one that has not come back");
    realm.realm.book.forget_passed(passed[0], now);
    assert!(realm.realm.book.passed(now, 8).is_empty());
}

#[test]
fn nobody_is_granted_more_than_a_batch_from_now() {
    let mut realm = realm();
    let renewal = enter(&mut realm, "a", 1);
    let key = SigningKey::from_bytes(&[11; 32]);
    let many: Vec<(&SigningKey, u8)> = (0..168).map(|place| (&key, place)).collect();
    let present = LENGTH.epoch_at(NOW).0;
    assert_eq!(realm.chosen(&renewal, present + 160, &many, &[&key]), Ok(()));
    let record = realm.realm.book.named(&Name::new("a").expect("a name")).expect("a device");
    assert_eq!(record.until, LENGTH.start(Epoch(present + 169)).seconds());
}
