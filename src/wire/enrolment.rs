//! Enrolment and renewal: what a device asks an issuer for, and what it gets.
//!
//! The request is sealed to the issuer, the answer to a fresh key of the request; the members that relay them see
//! lengths only. The device generates every private key itself.

use crate::id::{AgreementKey, DeviceId, IssuerId, Name, Pseudonym, RealmId, Signature, Tag};
use crate::time::{Day, Epoch, EpochLength};
use crate::wire::contact::{ContactCard, MailPrekey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Signature context of a request.
pub const CONTEXT: &str = "m2mesh/1 enrolment";
/// Signature context of the proofs that the requester holds the epochs' keys.
pub const KEY_CONTEXT: &str = "m2mesh/1 epoch key";
/// Longest sealed request, in bytes: 168 epochs of 64 bytes and a proof of 64 bytes each, keys and a seal.
pub const MAX_REQUEST: usize = 24 * 1024;
/// Longest sealed answer, in bytes: 168 epochs of 136 bytes, the bulletin, documents, path keys, 1,024 cards.
pub const MAX_ANSWER: usize = 400 * 1024;
/// Most bytes of the bulletin's documents in an answer.
pub const MAX_DOCUMENTS: usize = 64 * 1024;
/// Most cards in an answer; the newest contacts go first, the rest come with the next renewal.
pub const MAX_CARDS: usize = 1_024;

/// A request, signed by [`Request::signer`] (the ticket's key, or the device's renewal key) and then sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Version of the request: 1.
    pub version: u8,
    /// The realm that the request is for.
    pub realm: RealmId,
    /// The issuer that the request is for.
    pub issuer: IssuerId,
    /// Ed25519 key that signs the request: a ticket's, or a device's renewal key. Its PeerId makes the connection.
    pub signer: Pseudonym,
    /// The device's lasting public keys, at a first enrolment; `None` in a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<DeviceKeys>,
    /// X25519 key to which the answer is sealed.
    pub answer_key: AgreementKey,
    /// First epoch asked for; zero means the issuer's present one.
    pub first_epoch: Epoch,
    /// One Ed25519 and one X25519 public key (32 + 32 bytes) for each epoch, in order. Empty if only cards and bulletin
    /// are asked for.
    #[serde(with = "serde_bytes")]
    pub epochs: Vec<u8>,
    /// A new mail prekey for the device's card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey: Option<MailPrekey>,
}

/// The public halves of the keys that a device keeps for its whole life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeys {
    /// The device's static X25519 contact key.
    pub contact: AgreementKey,
    /// Ed25519 key that signs renewals.
    pub renewal: Pseudonym,
}

/// The sealed plaintext of a request: body and signature, as in [`Signed`](super::Signed), and the proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// An encoded [`Request`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
    /// The signature over the body by its signer.
    pub signature: Signature,
    /// For each Ed25519 key among those of the epochs, once, in the order of first appearance: its signature over the
    /// body, with context [`KEY_CONTEXT`]. So nobody has a key certified that another holds.
    #[serde(with = "serde_bytes")]
    pub proofs: Vec<u8>,
}

/// The issuer's answer, sealed to [`Request::answer_key`]: exactly one of its fields is present.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The grant, if the request is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Grant>,
    /// The reason, if the request is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// Why an issuer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The ticket was never issued here, or was withdrawn.
    #[error("the issuer does not know this ticket")]
    UnknownTicket,
    /// Another device has enrolled with the ticket.
    #[error("the ticket has been used")]
    TicketUsed,
    /// The ticket has expired.
    #[error("the ticket has expired")]
    TicketExpired,
    /// The ticket or the request belongs to another realm.
    #[error("the ticket belongs to another realm")]
    ForeignRealm,
    /// No device has this renewal key.
    #[error("the issuer does not know this device")]
    UnknownDevice,
    /// The device is revoked.
    #[error("the device has been revoked")]
    Revoked,
    /// The epochs asked for are too far ahead or too many.
    #[error("the request asks for epochs that the issuer does not grant")]
    Epochs,
    /// The request did not open, decode or verify.
    #[error("the request is malformed")]
    Malformed,
    /// The relay knows no path to the issuer.
    #[error("no way to the issuer of this ticket at the moment")]
    NoIssuer,
    /// There are too many requests; the device may try again later.
    #[error("the mesh is busy with other enrolments; try again in a minute")]
    Busy,
    /// The issuer cannot write its ledger.
    #[error("the issuer cannot record the enrolment at the moment")]
    Unavailable,
    /// Another key has been certified for one of the epochs, or one of the keys is another device's.
    #[error("the issuer has certified another key for this time, or this key for another device")]
    KeyTaken,
}

/// What a device needs to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The device's name.
    pub name: Name,
    /// The device's lasting id.
    pub device: DeviceId,
    /// Generation of the device's resolution-key chain.
    pub generation: u32,
    /// The day of `resolution_key`.
    pub day: Day,
    /// The device's own RK(day), from which it computes its handles.
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// Length of the device's epochs.
    pub epoch_length: EpochLength,
    /// The first epoch granted.
    pub first_epoch: Epoch,
    /// The device's segments, as in the credentials.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
    /// The device's roles, as in the credentials.
    #[serde(with = "serde_bytes")]
    pub roles: [u8; 2],
    /// One sealed id and one signature (72 + 64 bytes) for each epoch, in order.
    #[serde(with = "serde_bytes")]
    pub epochs: Vec<u8>,
    /// The signed bulletin.
    #[serde(with = "serde_bytes")]
    pub bulletin: Vec<u8>,
    /// The device's leaf in the group key tree, and the keys from the root down to it.
    pub path: PathKeys,
    /// The keys of those versions in the bulletin that the device is entitled to.
    pub group_keys: Vec<GroupKeyGrant>,
    /// For a new device, the documents that the bulletin names, up to [`MAX_DOCUMENTS`] bytes: it asks its neighbours
    /// for the others.
    pub documents: Vec<ByteBuf>,
    /// The cards of the device's contacts.
    pub cards: Vec<ContactCard>,
    /// The issuer's clock, in unix seconds: a lower bound for the device's.
    pub time: u64,
    /// For each restricted group that the device may publish to: its permits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permits: Vec<Permits>,
}

/// A device's permits for one restricted group.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permits {
    /// Tag of the group's name.
    pub group: Tag,
    /// Generation of the right to publish.
    pub generation: u32,
    /// For each permit, by epochs: its epoch (8 bytes) and the issuer's signature (64 bytes).
    #[serde(with = "serde_bytes")]
    pub permits: Vec<u8>,
}

impl core::fmt::Debug for Permits {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Permits").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// The publishing key of a restricted group, granted to a device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publishing {
    /// Generation of the right to publish.
    pub generation: u32,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

impl core::fmt::Debug for Publishing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Publishing").field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// One version of a group's key, granted to a device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKeyGrant {
    /// Tag of the group's name, as in [`GroupVersion`](super::bulletin::GroupVersion); `None` for the realm's root key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Number of the version.
    pub version: u32,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
    /// Present if only some may publish to the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publishing: Option<Publishing>,
}

impl core::fmt::Debug for GroupKeyGrant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GroupKeyGrant").field("version", &self.version).finish_non_exhaustive()
    }
}

/// The keys of the path from the root of the key tree to one leaf.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathKeys {
    /// The leaf, from 0; leaves are allocated in order and never reused.
    pub leaf: u32,
    /// 32 bytes for each node from the root down to the leaf.
    #[serde(with = "serde_bytes")]
    pub keys: Vec<u8>,
}

impl core::fmt::Debug for PathKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PathKeys").field("leaf", &self.leaf).finish_non_exhaustive()
    }
}
