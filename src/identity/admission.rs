//! Admission: what a member says of itself on a new connection, and whether its neighbour is let in.
//!
//! The node publishes an immutable [`AdmissionView`], and the transport judges hellos against it before libp2p's Swarm
//! learns of the connection. The cheap checks come first, so that an invalid hello costs no signature verification: the
//! hello decodes · a protocol version in common · the credential's version, realm, issuer and time · its key is the
//! connection's · the issuer's signature · the device is not revoked · a segment in common.
//!
//! Invariants
//! 1. An [`AdmittedPeer`] exists only after all of these checks.
//! 2. Every refusal has one reason, and every reason one code of its own.
//! - The code of a reason never changes: logs and tests rely on it.

use crate::id::Pseudonym;
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::time::Unix;
use crate::wire::codec::decode_within;
use crate::wire::encode;
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, Hello, MAX_HELLO};
use core::fmt;
use std::sync::Arc;

/// What a device needs to judge the hello of another and to write its own: the bulletin in force and its own
/// credentials.
#[derive(Clone)]
pub struct AdmissionView {
    bulletin: Arc<VerifiedBulletin>,
    /// This device's credentials in the order of their epochs; never empty.
    own: Vec<Arc<OwnCredential>>,
}

/// A member that has been let in, with what its hello says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedPeer {
    /// The member's credential, verified.
    pub credential: PeerCredential,
    /// Version of the bulletin that the member has.
    pub bulletin: u64,
    /// The member's clock at its hello, in unix seconds.
    pub seconds: u64,
    /// The highest protocol version that both ends speak.
    pub version: u8,
    /// Number of the member's process, another after each start.
    pub process: u64,
}

impl AdmissionView {
    /// Makes a view of the bulletin in force and this device's credentials, which are in the order of their epochs.
    pub fn new(bulletin: Arc<VerifiedBulletin>, own: Vec<Arc<OwnCredential>>) -> Self {
        Self { bulletin, own }
    }

    /// Returns this device's encoded [`Hello`] at the time `at`, for the process of this number. It carries the newest
    /// credential whose epoch has begun at `at`, or the first one if none has; the other side refuses one that is out
    /// of date with the right reason.
    pub fn hello(&self, at: Unix, process: u64) -> Vec<u8> {
        encode(&Hello {
            lowest: LOWEST_VERSION,
            highest: HIGHEST_VERSION,
            credential: self.own_at(at).map(|own| own.signed.to_vec()).unwrap_or_default(),
            bulletin: self.bulletin.version(),
            seconds: at.seconds(),
            process,
        })
    }

    /// Judges the hello of the device at the other end of a connection whose key is `peer`.
    ///
    /// # Errors
    /// Returns the reason of the first check that fails, in the order of the module's documentation.
    pub fn verify(&self, hello: &[u8], peer: &Pseudonym, at: Unix) -> Result<AdmittedPeer, Reason> {
        let hello: Hello = decode_within(hello, MAX_HELLO).map_err(|_| Reason::Malformed)?;
        let version = hello.highest.min(HIGHEST_VERSION);
        if version < hello.lowest.max(LOWEST_VERSION) {
            return Err(Reason::Version);
        }
        let (document, body) = self.bulletin.screen_credential(&hello.credential, at)?;
        if body.key != *peer {
            return Err(Reason::WrongPeer);
        }
        let credential = self.bulletin.finish_credential(&hello.credential, &document, body)?;
        if !self.shares_segment(&credential, at) {
            return Err(Reason::Segment);
        }
        let Hello { bulletin, seconds, process, .. } = hello;
        Ok(AdmittedPeer { credential, bulletin, seconds, version, process })
    }

    /// Returns the clock, in unix seconds, that a hello refused by [`Self::verify`] states, if the time alone speaks
    /// against it: at that time it would be let in. Returns `None` for every other hello, also for one whose
    /// credentials are out of date by its own clock.
    pub fn skewed(&self, hello: &[u8], peer: &Pseudonym, at: Unix) -> Option<u64> {
        let seconds = decode_within::<Hello>(hello, MAX_HELLO).ok()?.seconds;
        let theirs = Unix::from_seconds(seconds);
        let is_late =
            matches!(self.verify(hello, peer, at), Err(Reason::NotYetValid | Reason::Expired | Reason::Issuer));
        (is_late && self.verify(hello, peer, theirs).is_ok()).then_some(seconds)
    }

    /// Checks that a request for enrolment is for this realm and for an issuer that may sign at `at`.
    ///
    /// # Errors
    /// Returns the refusal to answer with: another realm, or no such issuer.
    pub fn enrols(&self, hello: &EnrolHello, at: Unix) -> Result<(), Refusal> {
        if hello.realm != self.bulletin.realm() {
            return Err(Refusal::ForeignRealm);
        }
        self.bulletin.issuer_at(&hello.issuer, at).map(|_| ()).ok_or(Refusal::NoIssuer)
    }

    /// The bulletin that hellos are judged by.
    pub fn bulletin(&self) -> &Arc<VerifiedBulletin> {
        &self.bulletin
    }

    /// This device's pseudonym.
    pub fn pseudonym(&self) -> Option<Pseudonym> {
        self.own.last().map(|own| own.pseudonym())
    }

    /// Whether either device may reach a segment that the other is in.
    fn shares_segment(&self, peer: &PeerCredential, at: Unix) -> bool {
        let own = self.own_at(at).map_or(0, |own| own.body.segments());
        let theirs = peer.body.segments();
        self.bulletin.reach(own) & theirs != 0 || self.bulletin.reach(theirs) & own != 0
    }

    fn own_at(&self, at: Unix) -> Option<&Arc<OwnCredential>> {
        let begun = self.own.iter().rev().find(|own| {
            crate::identity::credential::epoch_length(&own.body)
                .is_some_and(|length| length.start(own.body.epoch) <= at)
        });
        begun.or(self.own.first())
    }
}

impl fmt::Debug for AdmissionView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionView").field("bulletin", &self.bulletin).finish_non_exhaustive()
    }
}

/// Why a hello is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// The bytes are no hello, or hold no credential.
    #[error("the hello is malformed")]
    Malformed,
    /// The two ends have no version of the protocol or of the credential in common.
    #[error("the other side speaks another version")]
    Version,
    /// The credential belongs to another realm.
    #[error("the other side belongs to another realm")]
    Realm,
    /// The bulletin does not list the credential's issuer for this time.
    #[error("the credential's issuer is not listed")]
    Issuer,
    /// The issuer's signature on the credential does not verify.
    #[error("the credential's signature does not hold")]
    Signature,
    /// The credential's epoch has not begun.
    #[error("the credential's epoch has not begun")]
    NotYetValid,
    /// The credential's epoch is over.
    #[error("the credential's epoch is over")]
    Expired,
    /// The credential's key is not the key of the connection.
    #[error("the credential belongs to another key than the connection's")]
    WrongPeer,
    /// The credential belongs to a revoked device.
    #[error("the device has been revoked")]
    Revoked,
    /// Neither device may reach a segment that the other is in.
    #[error("no segment in common")]
    Segment,
}

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 10] = [
        Self::Malformed,
        Self::Version,
        Self::Realm,
        Self::Issuer,
        Self::Signature,
        Self::NotYetValid,
        Self::Expired,
        Self::WrongPeer,
        Self::Revoked,
        Self::Segment,
    ];

    /// The reason's code in the event log and in counters, in kebab case.
    pub fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Version => "version",
            Self::Realm => "realm",
            Self::Issuer => "issuer",
            Self::Signature => "signature",
            Self::NotYetValid => "not-yet-valid",
            Self::Expired => "expired",
            Self::WrongPeer => "wrong-peer",
            Self::Revoked => "revoked",
            Self::Segment => "segment",
        }
    }
}

impl From<CredentialError> for Reason {
    fn from(error: CredentialError) -> Self {
        match error {
            CredentialError::Malformed => Self::Malformed,
            CredentialError::Version => Self::Version,
            CredentialError::Realm => Self::Realm,
            CredentialError::Issuer => Self::Issuer,
            CredentialError::Signature => Self::Signature,
            CredentialError::NotYetValid => Self::NotYetValid,
            CredentialError::Expired => Self::Expired,
            CredentialError::Revoked => Self::Revoked,
        }
    }
}

/// Lowest protocol version that this node speaks.
pub const LOWEST_VERSION: u8 = 1;
/// Highest protocol version that this node speaks.
pub const HIGHEST_VERSION: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::handle::DayKey;
    use crate::identity::invitation::{Invitation, MemoryRealm, enrol_all};
    use crate::identity::ledger::Contacts;
    use crate::identity::membership::Membership;
    use crate::time::EpochLength;
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

    /// With as many revocations as a large realm has, checking a credential costs one look-up.
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
        let apart =
            Invitation { segments: 0b10, ..Invitation::new(Name::new("apart").expect("a name"), Contacts::All) };
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

    /// Invariant 2.
    #[test]
    fn codes_are_distinct_and_in_kebab_case() {
        let codes: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        assert_eq!(codes.len(), Reason::ALL.len());
        assert!(codes.iter().all(|code| code.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }
}
