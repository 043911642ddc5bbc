//! Who is let in, who is not, and for which reason.

use super::*;
use crate::id::Name;
use crate::identity::handle::DayKey;
use crate::identity::invitation::{Invitation, MemoryRealm, enrol_all};
use crate::identity::ledger::Contacts;
use crate::identity::membership::Membership;
use crate::time::{EpochLength, Time};
use crate::wire::bulletin::{Bulletin, Revocation, Segment};
use crate::wire::decode;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const LENGTH: EpochLength = EpochLength::HOUR;

/// Ten seconds into an epoch.
fn now() -> Unix {
    LENGTH.start(LENGTH.epoch_at(Unix(1_800_000_000_000_000))) + Duration::from_secs(10)
}

struct Realm {
    realm: MemoryRealm,
    one: Membership,
    two: Membership,
    rng: ChaCha20Rng,
}

fn realm(seed: u8) -> Realm {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut realm = MemoryRealm::found(LENGTH, now(), &mut rng).expect("a realm");
    let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
    let mut members = realm.enrol(names, 2, now(), &mut rng).expect("two members");
    let two = members.pop().expect("two members");
    Realm { realm, one: members.pop().expect("two members"), two, rng }
}

impl Realm {
    fn verify(&self, hello: &[u8], at: Unix) -> Result<AdmittedPeer, Reason> {
        self.two.admission_view().verify(hello, &self.one.pseudonym(now()), at)
    }

    fn hello(&self) -> Hello {
        decode(&self.one.admission_view().hello(now(), 7)).expect("a hello")
    }

    /// Two's view after the operator has changed the bulletin.
    fn view_after(&mut self, change: impl FnOnce(&mut Bulletin)) -> AdmissionView {
        let mut body = self.realm.bulletin.body().clone();
        body.version = self.two.bulletin().version() + 1;
        change(&mut body);
        let bulletin = self.realm.founding.operator.sign(&body).expect("the operator's");
        assert_eq!(self.two.accept_bulletin(bulletin.signed()), Ok(true));
        self.two.admission_view()
    }
}

#[test]
fn a_member_is_admitted_with_what_it_said() {
    let realm = realm(1);
    let peer = realm.verify(&realm.one.admission_view().hello(now(), 7), now()).expect("a member");
    let own = realm.one.credential(now()).expect("a credential");
    assert_eq!((peer.credential.hash, peer.credential.body), (own.hash, own.body.clone()));
    assert_eq!((peer.bulletin, peer.seconds, peer.version, peer.process), (1, now().seconds(), 1, 7));
}

/// Invariant 1: whatever byte is changed, nobody gets in with a credential that the issuer did not sign.
/// Invariant 1 of identity::credential.
#[test]
fn no_changed_credential_gets_in() {
    let realm = realm(1);
    let (hello, credential) = (realm.one.admission_view().hello(now(), 7), realm.hello().credential);
    let start = hello.windows(credential.len()).position(|part| part == credential).expect("it is inside");
    for at in 0..hello.len() {
        for bit in [0x01, 0x80] {
            let mut changed = hello.clone();
            changed[at] ^= bit;
            let admitted = realm.verify(&changed, now());
            if (start..start + credential.len()).contains(&at) {
                assert!(admitted.is_err(), "byte {at}");
            } else if let Ok(peer) = admitted {
                assert_eq!(*peer.credential.signed, *credential);
            }
        }
    }
    for cut in 0..hello.len() {
        assert!(realm.verify(&hello[..cut], now()).is_err());
    }
}

/// Invariants 1 and 2.
/// Invariant 2 of identity::credential.
#[test]
fn every_refusal_has_its_reason() {
    let mut realm = realm(1);
    let hello = realm.hello();
    let refused = |realm: &Realm, hello: &Hello, at| realm.verify(&encode(hello), at).err();
    assert_eq!(realm.verify(b"rubbish", now()).err(), Some(Reason::Malformed));
    assert_eq!(realm.verify(&[0; MAX_HELLO + 1], now()).err(), Some(Reason::Malformed));
    let later = Hello { lowest: 2, highest: 3, ..hello.clone() };
    assert_eq!(refused(&realm, &later, now()), Some(Reason::Version));
    let foreign = super::tests::realm(2).hello();
    assert_eq!(refused(&realm, &foreign, now()), Some(Reason::Realm));

    let mut forged = hello.clone();
    *forged.credential.last_mut().expect("a signature") ^= 1;
    assert_eq!(refused(&realm, &forged, now()), Some(Reason::Signature));

    let (start, skew) = (LENGTH.start(LENGTH.epoch_at(now())), LENGTH.skew());
    let end = LENGTH.end(LENGTH.epoch_at(now()));
    let instant = Duration::from_micros(1);
    assert_eq!(refused(&realm, &hello, start - skew), None);
    assert_eq!(refused(&realm, &hello, start - skew - instant), Some(Reason::NotYetValid));
    assert_eq!(refused(&realm, &hello, end + skew * 2), None);
    assert_eq!(refused(&realm, &hello, end + skew * 2 + instant), Some(Reason::Expired));

    let view = realm.two.admission_view();
    let other = view.verify(&encode(&hello), &realm.two.pseudonym(now()), now());
    assert_eq!(other.err(), Some(Reason::WrongPeer));

    let view = realm.view_after(|bulletin| bulletin.issuers.clear());
    assert_eq!(view.verify(&encode(&hello), &realm.one.pseudonym(now()), now()).err(), Some(Reason::Issuer));
}

#[test]
fn whom_nothing_but_the_clock_keeps_out_is_told_from_all_others() {
    let mut realm = realm(1);
    let skewed =
        |realm: &Realm, hello: &[u8], at| realm.two.admission_view().skewed(hello, &realm.one.pseudonym(now()), at);
    let hello = realm.one.admission_view().hello(now(), 7);
    let hours = |count: u32| Duration::from_secs(3_600) * count;
    // Either clock may be the one that is wrong.
    for at in [now() + hours(3), now() - hours(3)] {
        assert_eq!(skewed(&realm, &hello, at), Some(now().seconds()));
    }
    assert_eq!(skewed(&realm, &hello, now()), None, "let in");
    // Its credentials have run out by its own clock, too.
    let lapsed = encode(&Hello { seconds: (now() + hours(3)).seconds(), ..realm.hello() });
    assert_eq!(skewed(&realm, &lapsed, now() + hours(3)), None);
    for seconds in [0, u64::MAX] {
        assert_eq!(skewed(&realm, &encode(&Hello { seconds, ..realm.hello() }), now() + hours(3)), None);
    }
    // Somebody who forges a credential learns nothing.
    let mut forged = realm.hello();
    *forged.credential.last_mut().expect("a signature") ^= 1;
    assert_eq!(skewed(&realm, &encode(&forged), now() + hours(3)), None);
    let view = realm.view_after(|bulletin| bulletin.issuers.clear());
    assert_eq!(view.skewed(&hello, &realm.one.pseudonym(now()), now() + hours(3)), None);
}

/// A device whose clock is not set, and one that knows the time.
#[test]
fn who_does_not_know_the_time_judges_by_the_others_clock_but_not_below_its_floor() {
    let realm = realm(4);
    let raw = Now { time: Time(5_000_000), unix: Unix(7) };
    let hours = |count: u32| Duration::from_secs(3_600) * count;
    let (one, lost) = (realm.one.admission_view(), realm.two.admission_view());
    let (floor, later) = (now(), now() + hours(1));
    let from = |floor| lost.clone().by(NodeClock::start(raw, true, floor, Unix(0)));
    let lost = from(floor);
    assert_eq!(lost.read(raw).unix, floor);
    let judged = |hello: &[u8]| lost.verify(hello, &realm.one.pseudonym(now()), lost.judging_time(hello, raw));
    assert!(judged(&one.hello(later, 7)).is_ok());
    assert_eq!(one.verify(&one.hello(later, 7), &realm.one.pseudonym(now()), floor).err(), Some(Reason::NotYetValid));
    let (early, higher) = (one.hello(floor, 7), from(later + Duration::from_secs(700)));
    let at = higher.judging_time(&early, raw);
    assert_eq!(higher.verify(&early, &realm.one.pseudonym(now()), at).err(), Some(Reason::Expired), "below the floor");
    let lie = Hello { seconds: (now() + hours(300)).seconds(), ..realm.hello() };
    assert_eq!(judged(&encode(&lie)).err(), Some(Reason::Expired), "not by its own clock either");
    // What it says of itself is of that time too, and of its clock the truth.
    let asked = one.hello(later, 7);
    let told = lost.hello_at(later, raw, 7).expect("by another's clock");
    for said in [lost.answer(&asked, raw, 7), told] {
        assert!(one.verify(&said, &realm.two.pseudonym(now()), later).is_ok());
        assert_eq!(decode::<Hello>(&said).map(|said| said.seconds), Ok(floor.seconds()));
    }
    for nonsense in [floor - Duration::from_secs(1), now() + hours(300), Unix(u64::MAX)] {
        assert_eq!(lost.hello_at(nonsense, raw, 7), None, "{nonsense}");
    }
    assert_eq!(one.hello_at(later, raw, 7), None, "it knows the time itself");
}

#[test]
fn an_issuer_counts_within_its_time_only() {
    let mut realm = realm(1);
    let hello = encode(&realm.hello());
    let view = realm.view_after(|bulletin| bulletin.issuers[0].not_after = now().seconds() - 1);
    assert_eq!(view.verify(&hello, &realm.one.pseudonym(now()), now()).err(), Some(Reason::Issuer));
}

/// Invariant 1.
/// Invariant 2 of identity::bulletin.
#[test]
fn a_revoked_device_is_refused_and_no_other() {
    let mut realm = realm(1);
    let (hello, pseudonym) = (encode(&realm.hello()), realm.one.pseudonym(now()));
    let card = realm.two.contacts().get(realm.one.name()).expect("a card").clone();
    let view = realm.view_after(|bulletin| {
        let key = DayKey::of(card.day, card.resolution_key);
        let revocation = Revocation {
            day: key.day(),
            resolution_key: **key.key(),
            epoch_length: LENGTH,
            until: now().seconds() + 7 * 86_400,
        };
        bulletin.revocations.push(revocation);
    });
    assert_eq!(view.verify(&hello, &pseudonym, now()).err(), Some(Reason::Revoked));
    let other = view.hello(now(), 7);
    assert!(view.verify(&other, &realm.two.pseudonym(now()), now()).is_ok());
}

/// With as many revocations as a large realm has, a credential costs a look-up.
/// Invariant 1 of identity::revoked.
#[test]
fn revoked_handles_are_derived_once_an_epoch() {
    const MANY: u64 = 800;
    let mut realm = realm(1);
    let (hello, pseudonym) = (encode(&realm.hello()), realm.one.pseudonym(now()));
    let view = realm.view_after(|bulletin| {
        let revocation = |number: u64| Revocation {
            day: now().day_since(bulletin.founded),
            resolution_key: crate::identity::kdf::sha256(&[&number.to_be_bytes()]),
            epoch_length: LENGTH,
            until: now().seconds() + 7 * 86_400,
        };
        bulletin.revocations = (0..MANY).map(revocation).collect();
    });
    let derived = || crate::identity::kdf::derived();
    let before = derived();
    let peer = view.verify(&hello, &pseudonym, now()).expect("a member");
    assert_eq!(derived() - before, MANY, "each revocation once");
    for _ in 0..100 {
        assert!(view.verify(&hello, &pseudonym, now()).is_ok());
        assert_eq!(view.bulletin().recheck(&peer.credential, now()), Ok(()));
    }
    // Another view by the same bulletin, as after the turn of an epoch.
    assert!(realm.two.admission_view().verify(&hello, &pseudonym, now()).is_ok());
    assert_eq!(derived() - before, MANY, "and not again");
}

/// Invariant 1 of identity::bulletin.
#[test]
fn what_was_verified_once_is_accepted_as_long_as_all_but_its_signature_holds() {
    let mut realm = realm(1);
    let peer = realm.verify(&realm.one.admission_view().hello(now(), 7), now()).expect("a member").credential;
    let bulletin = realm.two.bulletin().clone();
    assert_eq!(bulletin.recheck(&peer, now()), Ok(()));
    let day = Duration::from_secs(86_400);
    assert_eq!(bulletin.recheck(&peer, now() + day), Err(CredentialError::Expired));
    assert_eq!(bulletin.recheck(&peer, Unix(now().0 - 86_400_000_000)), Err(CredentialError::Issuer));
    let card = realm.two.contacts().get(realm.one.name()).expect("a card").clone();
    let view = realm.view_after(|bulletin| {
        let (day, resolution_key, until) = (card.day, card.resolution_key, u64::MAX);
        bulletin.revocations.push(Revocation { day, resolution_key, epoch_length: LENGTH, until });
    });
    assert_eq!(view.bulletin().recheck(&peer, now()), Err(CredentialError::Revoked));
    let view = realm.view_after(|bulletin| bulletin.issuers.clear());
    assert_eq!(view.bulletin().recheck(&peer, now()), Err(CredentialError::Issuer));
}

/// Invariant 1.
#[test]
fn segments_are_kept_apart_unless_one_reaches_the_other() {
    let mut realm = realm(1);
    let apart = Invitation { segments: 0b10, ..Invitation::new(Name::new("apart").expect("a name"), Contacts::All) };
    let MemoryRealm { issuer, book, bulletin, .. } = &mut realm.realm;
    let mut members = enrol_all(issuer, book, bulletin, vec![apart], 1, now(), &mut realm.rng).expect("a member");
    let apart = members.pop().expect("a member");
    let (hello, pseudonym) = (apart.admission_view().hello(now(), 7), apart.pseudonym(now()));
    let verify = |view: &AdmissionView| view.verify(&hello, &pseudonym, now()).map(|_| ());
    assert_eq!(verify(&realm.two.admission_view()), Err(Reason::Segment));
    let view = realm.view_after(|bulletin| {
        let reaches = 1u64.to_be_bytes();
        bulletin.segments.push(Segment { bit: 1, name: "apart".into(), reaches });
    });
    assert_eq!(verify(&view), Ok(()));
}

#[test]
fn who_is_in_quarantine_is_refused_by_its_pseudonym_and_by_its_handle_and_nobody_else_is() {
    let realm = realm(1);
    let (hello, pseudonym) = (realm.one.admission_view().hello(now(), 7), realm.one.pseudonym(now()));
    let handle = realm.verify(&hello, now()).expect("a member").credential.body.handle;
    let without = |keys: &[Pseudonym], handles: &[Handle]| {
        let shunned = Shunned { keys: keys.iter().copied().collect(), handles: handles.iter().copied().collect() };
        realm.two.admission_view().without(Arc::new(shunned)).verify(&hello, &pseudonym, now()).map(|_| ())
    };
    assert_eq!(without(&[pseudonym], &[]), Err(Reason::Quarantined));
    assert_eq!(without(&[], &[handle]), Err(Reason::Quarantined));
    assert_eq!(without(&[Pseudonym([1; 32])], &[Handle([1; 16])]), Ok(()));
}

/// Invariant 2.
#[test]
fn codes_are_distinct_and_in_kebab_case() {
    let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
}
