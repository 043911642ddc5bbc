//! Admission: what a member says of itself on a new connection, and whether its neighbour is let in.
//!
//! The node publishes an immutable [`AdmissionView`], and the transport judges hellos against it before libp2p's Swarm
//! learns of the connection. The cheap checks come first, so that an invalid hello costs no signature verification: the
//! hello decodes · a protocol version in common · the credential's version, realm, issuer and time · its key is the
//! connection's · not in quarantine here · the issuer's signature · the device is not revoked · a segment in common.
//!
//! **Without the time.** A device that is not sure of the time judges a hello at the time that this names as its sender's, no earlier than the
//! floor of its own clock, and answers with its credential of that time. It judges anew once it is sure. What an outsider gains by
//! it are old keys that count once more: those of members of epochs since the floor.
//!
//! Invariants
//! 1. An [`AdmittedPeer`] exists only after all of these checks.
//! 2. Every refusal has one reason, and every reason one code of its own.
//! - The code of a reason never changes: logs and tests rely on it.

use crate::id::{Handle, Pseudonym};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::clock::NodeClock;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential, acceptance};
use crate::time::{Now, Unix};
use crate::wire::codec::decode_within;
use crate::wire::encode;
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, Hello, MAX_HELLO};
use core::fmt;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What a device needs to judge the hello of another and to write its own: the bulletin in force and its own
/// credentials.
#[derive(Clone)]
pub struct AdmissionView {
    bulletin: Arc<VerifiedBulletin>,
    /// This device's credentials in the order of their epochs; never empty.
    own: Vec<Arc<OwnCredential>>,
    clock: NodeClock,
    /// Handles of this device under its other pseudonyms: no member to link to.
    others: Arc<[Handle]>,
    shunned: Arc<Shunned>,
}

/// Members that are let in for now by nobody here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shunned {
    /// Their pseudonyms.
    pub keys: BTreeSet<Pseudonym>,
    /// The handles that they may have under other pseudonyms.
    pub handles: BTreeSet<Handle>,
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
        Self { bulletin, own, clock: NodeClock::default(), others: [].into(), shunned: Arc::default() }
    }

    /// The same with the handles that this device has under its other pseudonyms.
    pub fn besides(self, others: Arc<[Handle]>) -> Self {
        Self { others, ..self }
    }

    /// The same with members that are not let in for now.
    pub fn without(self, shunned: Arc<Shunned>) -> Self {
        Self { shunned, ..self }
    }

    /// Whether a handle is this device's under another pseudonym.
    pub fn is_another_own(&self, handle: &Handle) -> bool {
        self.others.contains(handle)
    }

    /// The same by the node's own clock.
    pub fn by(self, clock: NodeClock) -> Self {
        Self { clock, ..self }
    }

    /// What the node's clocks say when the machine's say this.
    pub fn read(&self, raw: Now) -> Now {
        self.clock.read(raw)
    }

    /// The time at which another's hello is to be judged: the node's own, or the other's where the node is not sure of it.
    pub fn judging_time(&self, hello: &[u8], raw: Now) -> Unix {
        let own = self.read(raw).unix;
        let theirs = decode_within::<Hello>(hello, MAX_HELLO).ok().filter(|_| !self.clock.is_sure());
        theirs.map_or(own, |hello| Unix::from_seconds(hello.seconds).max(self.clock.floor_at(raw.time)))
    }

    /// This device's encoded [`Hello`] with its credential for a time that another has told; `None` where the node is sure of the
    /// time itself, where that time is below the floor, and where there is no credential for it.
    pub fn hello_at(&self, told: Unix, raw: Now, process: u64) -> Option<Vec<u8>> {
        let by_theirs = !self.clock.is_sure() && told >= self.clock.floor_at(raw.time);
        let own = self.own_at(told).filter(|own| {
            acceptance(&own.body).is_some_and(|(from, until)| from <= told && told <= until) && by_theirs
        })?;
        Some(self.encode(Some(own), self.read(raw).unix, process))
    }

    /// Whether this device, which is not sure of the time, has no credential under the view's key for the time that another has told: it may
    /// have one under another of its pseudonyms.
    pub fn is_elsewhere_at(&self, told: Unix, raw: Now) -> bool {
        let fits =
            |own: &Arc<OwnCredential>| acceptance(&own.body).is_some_and(|(from, until)| from <= told && told <= until);
        !self.clock.is_sure() && told >= self.clock.floor_at(raw.time) && !self.own.iter().any(fits)
    }

    /// This device's encoded [`Hello`] in answer to another's that was let in.
    pub fn answer(&self, theirs: &[u8], raw: Now, process: u64) -> Vec<u8> {
        let at = self.judging_time(theirs, raw);
        self.encode(self.own_at(at), self.read(raw).unix, process)
    }

    /// Returns this device's encoded [`Hello`] at the time `at`, for the process of this number. It carries the newest
    /// credential whose epoch has begun at `at`, or the first one if none has; the other side refuses one that is out
    /// of date with the right reason.
    pub fn hello(&self, at: Unix, process: u64) -> Vec<u8> {
        self.encode(self.own_at(at), at, process)
    }

    fn encode(&self, own: Option<&Arc<OwnCredential>>, at: Unix, process: u64) -> Vec<u8> {
        encode(&Hello {
            lowest: LOWEST_VERSION,
            highest: HIGHEST_VERSION,
            credential: own.map(|own| own.signed.to_vec()).unwrap_or_default(),
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
        if self.shunned.keys.contains(peer) || self.shunned.handles.contains(&body.handle) {
            return Err(Reason::Quarantined);
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
    /// The device is in quarantine for what it has sent.
    #[error("the device is in quarantine")]
    Quarantined,
}

impl Reason {
    /// Every reason, in the order of declaration.
    pub const ALL: [Self; 11] = [
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
        Self::Quarantined,
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
            Self::Quarantined => "quarantined",
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
mod tests;
