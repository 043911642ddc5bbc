//! Bulletin: the one operator-signed document of a realm, with a version that only grows.
//!
//! It lists who may sign credentials, the revoked devices, the group keys in force and the managers. The operator,
//! whose public key is inside, signs it with context [`CONTEXT`]: the realm id is that key's SHA-256, so the document
//! proves itself to whoever knows the realm id.

use crate::id::{AgreementKey, IssuerId, Pseudonym, RealmId, Tag};
use crate::time::{Day, EpochLength};
use crate::wire::document::DocumentHash;
use serde::{Deserialize, Serialize};

/// Signature context of a bulletin.
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
    /// Format of the bulletin: 1.
    pub format: u8,
    /// Version of the bulletin: it grows with every change, and a node never goes back.
    pub version: u64,
    /// The realm that the bulletin is of.
    pub realm: RealmId,
    /// Operator's Ed25519 public key.
    pub operator: Pseudonym,
    /// Unix seconds of the realm's founding: day 0 of every resolution-key chain.
    pub founded: u64,
    /// Unix seconds at which this version was issued: a lower bound for clocks.
    pub issued: u64,
    /// Unix seconds by which the operator issues the next version. If that time passes without one, the operator has
    /// failed to, or the new version is kept away: devices report it and go on.
    pub next_update: u64,
    /// The realm's default epoch length.
    pub epoch_length: EpochLength,
    /// Auditor's X25519 public key, to which identities are sealed.
    pub auditor: AgreementKey,
    /// The issuers that may sign credentials.
    pub issuers: Vec<IssuerCertificate>,
    /// The revoked devices.
    pub revocations: Vec<Revocation>,
    /// Versions of group keys, at most [`MAX_GROUPS`]; those without a group are versions of the realm's root key.
    pub groups: Vec<GroupReference>,
    /// The managers that may sign management commands, and which commands.
    pub managers: Vec<Manager>,
    /// Segments other than the default one.
    pub segments: Vec<Segment>,
}

/// An issuer, certified by its entry in the bulletin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerCertificate {
    /// The issuer's id: the first 8 bytes of the SHA-256 of `key`.
    pub id: IssuerId,
    /// Ed25519 public key that verifies the issuer's credentials.
    pub key: Pseudonym,
    /// X25519 public key to which enrolment requests are sealed.
    pub seal: AgreementKey,
    /// Unix seconds from which the issuer may sign.
    pub not_before: u64,
    /// Unix seconds until which credentials that the issuer has signed are accepted.
    pub not_after: u64,
}

/// A revoked device: from a day on, every node can compute its handles, and refuses them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// The day from which the revocation is in force.
    pub day: Day,
    /// The device's resolution key of that day.
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// The device's epoch length.
    pub epoch_length: EpochLength,
    /// Unix seconds at which the device's last credential has run out: then the entry is removed.
    pub until: u64,
}

/// Names a version of a group's key by the hash of its document, a [`GroupVersion`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupReference {
    /// Tag of the group's name; `None` for the realm's root key, from which the key of every unlisted group derives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Number of the version, which grows with every re-key.
    pub version: u32,
    /// Unix seconds from which frames are sealed with this version. Of several versions the highest whose time has come
    /// is in force.
    pub from: u64,
    /// SHA-256 of the document.
    #[serde(with = "serde_bytes")]
    pub hash: DocumentHash,
}

/// A manager: a key whose management commands count, and which of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// Ed25519 public key that verifies the manager's commands.
    pub key: Pseudonym,
    /// The manager's rights, as a bit map of 2 bytes, big endian; see [`Right`].
    #[serde(with = "serde_bytes")]
    pub rights: [u8; 2],
    /// Segments whose devices the manager may command, as a bit map of 8 bytes, big endian.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
}

/// A right of a manager: one bit in [`Manager::rights`].
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
    /// Whether the manager has a right over a device in these segments.
    pub fn may(&self, right: Right, segments: u64) -> bool {
        u16::from_be_bytes(self.rights) & right as u16 != 0 && u64::from_be_bytes(self.segments) & segments != 0
    }
}

/// One version of a group's key, sealed to the path keys of the members' subtrees: a document of its own, of at most
/// [`MAX_DOCUMENT`](super::codec::MAX_DOCUMENT) bytes, which the bulletin names by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupVersion {
    /// Format of the document: 1.
    pub format: u8,
    /// Tag of the group's name; `None` for the realm's root key, from which the key of every unlisted group derives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Number of the version, which grows with every re-key.
    pub version: u32,
    /// Leaves that were assigned when this version was made: a later device gets the key at its enrolment.
    pub leaves: u32,
    /// Random salt, so that two documents never seal under one key, whatever their versions.
    #[serde(with = "serde_bytes")]
    pub salt: [u8; 16],
    /// The key, sealed once for each subtree.
    #[serde(with = "covers")]
    pub cover: Vec<Cover>,
    /// Present if only some may publish to the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restriction: Option<Restriction>,
}

/// The publishing key of a group to which only some may publish, for those who have the group's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restriction {
    /// Generation of the right to publish, which only grows.
    pub generation: u32,
    /// The publishing key, sealed under the version's key: 32 bytes and a tag.
    #[serde(with = "serde_bytes")]
    pub sealed: [u8; 48],
}

/// A key sealed to one node of the key tree. Covers travel as one byte string, [`COVER`] bytes each: a realm with many excluded devices
/// has hundreds of them, and every device fetches them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// Node of the key tree, a complete binary tree, in heap order, the root being 1.
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

/// A segment, and the segments that it may exchange frames with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The segment's bit in credentials, 1 to 63; bit 0 is the default segment.
    pub bit: u8,
    /// The segment's name, for the command line.
    pub name: String,
    /// Segments that its devices may reach besides the segment itself, as a bit map of 8 bytes, big endian.
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
    /// The version that the asking node has.
    pub have: u64,
}
