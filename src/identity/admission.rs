//! Admission: what a member says of itself on a new connection, and whether another is let in.
//!
//! The node publishes an [`AdmissionView`], which never changes, and the transport judges hellos against it before
//! libp2p's Swarm knows of the connection. The cheap checks come first, so that rubbish costs no signature: it
//! decodes · a common protocol version · the credential's version, realm, issuer and time · its key is the
//! connection's · the issuer's signature · not revoked · a common segment.
//!
//! **Without the time.** A device that is not sure of the time judges a hello at the time that this names as its sender's, no earlier than the
//! floor of its own clock, and answers with its credential of that time. It judges anew once it is sure. What an outsider gains by
//! it are old keys that count once more: those of members of epochs since the floor.
//!
//! Invariants
//! 1. An [`AdmittedPeer`] exists only after all of these checks.
//! 2. Every refusal has one reason, and every reason one code that does not change: logs and tests rely on it.

use crate::id::Pseudonym;
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::clock::NodeClock;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential, acceptance};
use crate::time::{Now, Unix};
use crate::wire::codec::decode_within;
use crate::wire::encode;
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, Hello, MAX_HELLO};
use core::fmt;
use std::sync::Arc;

/// What is needed to judge a hello and to say one's own.
#[derive(Clone)]
pub struct AdmissionView {
    bulletin: Arc<VerifiedBulletin>,
    /// In the order of their epochs; never empty.
    own: Vec<Arc<OwnCredential>>,
    clock: NodeClock,
}

/// A member that has been let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmittedPeer {
    /// Its credential.
    pub credential: PeerCredential,
    /// Version of its bulletin.
    pub bulletin: u64,
    /// Its clock, in unix seconds.
    pub seconds: u64,
    /// The protocol version that both speak.
    pub version: u8,
    /// Number of its process.
    pub process: u64,
}

impl AdmissionView {
    /// From the bulletin in force and this device's credentials in the order of their epochs.
    pub fn new(bulletin: Arc<VerifiedBulletin>, own: Vec<Arc<OwnCredential>>) -> Self {
        Self { bulletin, own, clock: NodeClock::default() }
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

    /// This device's encoded [`Hello`] in answer to another's that was let in.
    pub fn answer(&self, theirs: &[u8], raw: Now, process: u64) -> Vec<u8> {
        let at = self.judging_time(theirs, raw);
        self.encode(self.own_at(at), self.read(raw).unix, process)
    }

    /// This device's encoded [`Hello`], said by the process of this number. Without a credential for `at` it is the newest one's before, which the other
    /// side refuses with the right reason.
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

    /// Judges another's hello on a connection whose key is `peer`.
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

    /// What its clock says of whom [`Self::verify`] refuses, if nothing but the time speaks against it: at the time by its
    /// own clock it would be let in. Whose credentials have run out by its own clock is not among them.
    pub fn skewed(&self, hello: &[u8], peer: &Pseudonym, at: Unix) -> Option<u64> {
        let seconds = decode_within::<Hello>(hello, MAX_HELLO).ok()?.seconds;
        let theirs = Unix::from_seconds(seconds);
        let is_late =
            matches!(self.verify(hello, peer, at), Err(Reason::NotYetValid | Reason::Expired | Reason::Issuer));
        (is_late && self.verify(hello, peer, theirs).is_ok()).then_some(seconds)
    }

    /// Whether a request for enrolment is for this realm and an issuer that it has; if not, what to say to it.
    pub fn enrols(&self, hello: &EnrolHello, at: Unix) -> Result<(), Refusal> {
        if hello.realm != self.bulletin.realm() {
            return Err(Refusal::ForeignRealm);
        }
        self.bulletin.issuer_at(&hello.issuer, at).map(|_| ()).ok_or(Refusal::NoIssuer)
    }

    /// The bulletin it judges by.
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
    /// Not a hello, or no credential in it.
    #[error("the hello is malformed")]
    Malformed,
    /// No protocol or credential version in common.
    #[error("the other side speaks another version")]
    Version,
    /// A member of another realm.
    #[error("the other side belongs to another realm")]
    Realm,
    /// Credential of an issuer that the bulletin does not list.
    #[error("the credential's issuer is not listed")]
    Issuer,
    /// Credential that its issuer has not signed.
    #[error("the credential's signature does not hold")]
    Signature,
    /// Credential of an epoch to come.
    #[error("the credential's epoch has not begun")]
    NotYetValid,
    /// Credential of an epoch that is over.
    #[error("the credential's epoch is over")]
    Expired,
    /// Credential of another than the one who made the connection.
    #[error("the credential belongs to another key than the connection's")]
    WrongPeer,
    /// Credential of a revoked device.
    #[error("the device has been revoked")]
    Revoked,
    /// No segment in common.
    #[error("no segment in common")]
    Segment,
}

impl Reason {
    /// Every reason.
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

    /// Its code in the event log and in counters.
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

/// Lowest protocol version spoken here.
pub const LOWEST_VERSION: u8 = 1;
/// Highest protocol version spoken here.
pub const HIGHEST_VERSION: u8 = 1;

#[cfg(test)]
mod tests;
