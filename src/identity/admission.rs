//! Admission: what a member says of itself on a new connection, and whether another is let in.
//!
//! The node publishes an [`AdmissionView`], which never changes, and the transport judges hellos against it before
//! libp2p's Swarm knows of the connection. The cheap checks come first, so that rubbish costs no signature: it
//! decodes · a common protocol version · the credential's version, realm, issuer and time · its key is the
//! connection's · the issuer's signature · not revoked · a common segment.
//!
//! Invariants
//! 1. An [`AdmittedPeer`] exists only after all of these checks.
//! 2. Every refusal has one reason, and every reason one code that does not change: logs and tests rely on it.

use crate::id::Pseudonym;
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::time::Unix;
use crate::wire::codec::decode_within;
use crate::wire::encode;
use crate::wire::hello::{Hello, MAX_HELLO};
use core::fmt;
use std::sync::Arc;

/// What is needed to judge a hello and to say one's own.
#[derive(Clone)]
pub struct AdmissionView {
    bulletin: Arc<VerifiedBulletin>,
    /// In the order of their epochs; never empty.
    own: Vec<Arc<OwnCredential>>,
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
}

impl AdmissionView {
    /// From the bulletin in force and this device's credentials in the order of their epochs.
    pub fn new(bulletin: Arc<VerifiedBulletin>, own: Vec<Arc<OwnCredential>>) -> Self {
        Self { bulletin, own }
    }

    /// This device's encoded [`Hello`]. Without a credential for `at` it is the newest one's before, which the other
    /// side refuses with the right reason.
    pub fn hello(&self, at: Unix) -> Vec<u8> {
        encode(&Hello {
            lowest: LOWEST_VERSION,
            highest: HIGHEST_VERSION,
            credential: self.own_at(at).map(|own| own.signed.to_vec()).unwrap_or_default(),
            bulletin: self.bulletin.version(),
            seconds: at.seconds(),
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
        Ok(AdmittedPeer { credential, bulletin: hello.bulletin, seconds: hello.seconds, version })
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

/// Why a connection is not admitted. The first ones are this module's, the others the transport's.
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
    /// No permit free.
    #[error("too many connections are being admitted")]
    Busy,
    /// No permit free for that source address.
    #[error("too many connections from that address are being admitted")]
    SourceBusy,
    /// Not done in time.
    #[error("admission took too long")]
    Timeout,
    /// More bytes than a hello may have.
    #[error("the hello is too long")]
    Oversize,
    /// More substreams than admission needs.
    #[error("too many substreams before admission")]
    EarlyStreams,
    /// The other side refused this device.
    #[error("the other side refused")]
    PeerRefused,
    /// The connection broke.
    #[error("the connection broke")]
    Io,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 17] = [
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
        Self::Busy,
        Self::SourceBusy,
        Self::Timeout,
        Self::Oversize,
        Self::EarlyStreams,
        Self::PeerRefused,
        Self::Io,
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
            Self::Busy => "busy",
            Self::SourceBusy => "source-busy",
            Self::Timeout => "timeout",
            Self::Oversize => "oversize",
            Self::EarlyStreams => "early-streams",
            Self::PeerRefused => "peer-refused",
            Self::Io => "io",
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
