//! Bulletin: the one operator-signed document of a realm, with a version that only grows.
//!
//! It says who may sign credentials, who is revoked, which group keys hold and who manages. Signed with context
//! [`CONTEXT`] by the operator, whose public key is inside: the realm id is that key's SHA-256, so the document
//! proves itself to whoever knows the realm id.

use crate::id::{AgreementKey, IssuerId, Pseudonym, RealmId, Tag};
use crate::time::{Day, EpochLength};
use crate::wire::document::DocumentHash;
use serde::{Deserialize, Serialize};

/// Signature context.
pub const CONTEXT: &str = "m2mesh/1 bulletin";
/// Longest signed bulletin that a frame carries, in bytes.
pub const MAX_BULLETIN: usize = 64 * 1024;
/// Bytes of one cover of a group version, on the wire.
pub const COVER: usize = 4 + 32 + 16;
/// Most versions of group keys in a bulletin.
pub const MAX_GROUPS: usize = 256;

/// The body of a bulletin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bulletin {
    /// 1.
    pub format: u8,
    /// Grows with every change; a node never goes back.
    pub version: u64,
    /// Whose.
    pub realm: RealmId,
    /// Operator's Ed25519 public key.
    pub operator: Pseudonym,
    /// Unix seconds of the realm's founding: day 0 of every resolution-key chain.
    pub founded: u64,
    /// Unix seconds of this version: a floor for clocks.
    pub issued: u64,
    /// Unix seconds by which the operator issues the next version. Where that time passes without one, something is wrong, or
    /// keeps it away: devices say so and go on.
    pub next_update: u64,
    /// The realm's default epoch length.
    pub epoch_length: EpochLength,
    /// Auditor's X25519 public key, to which identities are sealed.
    pub auditor: AgreementKey,
    /// Who may sign credentials.
    pub issuers: Vec<IssuerCertificate>,
    /// Devices cut off.
    pub revocations: Vec<Revocation>,
    /// Versions of group keys, at most [`MAX_GROUPS`]; those without a group are the realm's root.
    pub groups: Vec<GroupReference>,
    /// Who may sign management commands, and which.
    pub managers: Vec<Manager>,
    /// Segments other than the default one.
    pub segments: Vec<Segment>,
}

/// An issuer, certified by standing in the bulletin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerCertificate {
    /// First 8 bytes of the key's SHA-256.
    pub id: IssuerId,
    /// Ed25519: signs credentials.
    pub key: Pseudonym,
    /// X25519: enrolment requests are sealed to it.
    pub seal: AgreementKey,
    /// Unix seconds from which it may sign.
    pub not_before: u64,
    /// Unix seconds until which credentials of its signing are accepted.
    pub not_after: u64,
}

/// A revoked device: from this day on, everyone can compute its handles, and refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The day from which it holds.
    pub day: Day,
    /// The device's resolution key of that day.
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// The device's epoch length.
    pub epoch_length: EpochLength,
    /// Unix seconds when its last credential has run out: then the entry leaves.
    pub until: u64,
}

/// A version of a group's key by the hash of its document, a [`GroupVersion`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReference {
    /// Tag of the group's name; absent for the realm's root, from which every unlisted group derives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Grows with every re-key.
    pub version: u32,
    /// Unix seconds from which it is sealed with. Of several versions the highest whose time has come holds.
    pub from: u64,
    /// SHA-256 of the document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
}

/// Whose management commands count, and which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// Ed25519: signs the commands.
    pub key: Pseudonym,
    /// What it may sign, as a bit map of 2 bytes, big endian; see [`Right`].
    #[serde(with = "serde_bytes")]
    pub rights: [u8; 2],
    /// Segments whose devices it may command, as a bit map of 8 bytes, big endian.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
}

/// What a manager may sign: one bit each in [`Manager::rights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Right {
    /// Requests for logs, counters and settings.
    Read = 1,
    /// Changes of settings.
    Configure = 2,
    /// Starting, stopping and restarting.
    Control = 4,
    /// New software.
    Update = 8,
}

impl Manager {
    /// Whether it may sign that for a device in these segments.
    pub fn may(&self, right: Right, segments: u64) -> bool {
        u16::from_be_bytes(self.rights) & right as u16 != 0 && u64::from_be_bytes(self.segments) & segments != 0
    }
}

/// One version of a group's key, sealed to the path keys of the members' subtrees: a document of its own, of at most
/// [`MAX_DOCUMENT`](super::codec::MAX_DOCUMENT) bytes, which the bulletin names by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupVersion {
    /// 1.
    pub format: u8,
    /// Tag of the group's name; absent for the realm's root, from which every unlisted group derives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Grows with every re-key.
    pub version: u32,
    /// Leaves assigned when this version was made: a later device gets the key at enrolment.
    pub leaves: u32,
    /// Random: two documents never seal under one key, whatever version they bear.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// The key, sealed once for each subtree.
    #[serde(with = "covers")]
    pub cover: Vec<Cover>,
}

/// A key sealed to one node of the key tree. Covers travel as one byte string, [`COVER`] bytes each: a realm with many excluded devices
/// has hundreds of them, and every device fetches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Node of the complete binary tree in heap order, the root being 1.
    pub node: u32,
    /// 32 bytes of key and a 16-byte tag.
    pub sealed: [u8; COVER - 4],
}

/// Serde for covers: `node:u32 ‖ sealed:48`, one behind the other.
mod covers {
    use super::{COVER, Cover};
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(covers: &[Cover], serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(COVER * covers.len());
        for Cover { node, sealed } in covers {
            bytes.extend_from_slice(&node.to_be_bytes());
            bytes.extend_from_slice(sealed);
        }
        serializer.serialize_bytes(&bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Cover>, D::Error> {
        let bytes: &[u8] = serde_bytes::deserialize(deserializer)?;
        let (covers, []) = bytes.as_chunks::<COVER>() else {
            return Err(D::Error::custom("the covers do not have 52 bytes each"));
        };
        let cover = |bytes: &[u8; COVER]| {
            let (node, sealed) = bytes.split_first_chunk::<4>()?;
            Some(Cover { node: u32::from_be_bytes(*node), sealed: *sealed.first_chunk()? })
        };
        Ok(covers.iter().filter_map(cover).collect())
    }
}

/// A segment and what it may exchange frames with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Its bit in credentials, 0 to 63; bit 0 is the default segment, which is listed only if it reaches others.
    pub bit: u8,
    /// Its name, for the command line.
    pub name: String,
    /// Segments it may reach besides itself, as a bit map of 8 bytes, big endian.
    #[serde(with = "serde_bytes")]
    pub reaches: [u8; 8],
}

impl Segment {
    /// The segments it may reach besides itself, as a number.
    pub fn reach(&self) -> u64 {
        u64::from_be_bytes(self.reaches)
    }
}

/// Asks a neighbour for its bulletin, if it is newer than this version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulletinRequest {
    /// The version at hand.
    pub have: u64,
}
