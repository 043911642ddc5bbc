//! Enrolment and renewal: what a device asks an issuer for, and what it gets.
//!
//! The request is sealed to the issuer, the answer to a fresh key of the request; whoever relays them sees
//! lengths only. The device makes every private key itself.

use crate::id::{AgreementKey, DeviceId, IssuerId, Name, Pseudonym, RealmId, Signature, Tag};
use crate::time::{Day, Epoch, EpochLength};
use crate::wire::contact::{ContactCard, MailPrekey};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// Signature context of a request.
pub const CONTEXT: &str = "m2mesh/1 enrolment";
/// Context of the proofs that the requester holds the epochs' keys.
pub const KEY_CONTEXT: &str = "m2mesh/1 epoch key";
/// Longest sealed request, in bytes: 168 epochs of 64 bytes and a proof of 64 bytes each, keys and a seal.
pub const MAX_REQUEST: usize = 24 * 1024;
/// Longest sealed answer, in bytes: 168 epochs of 136 bytes, the bulletin, documents, path keys, 1,024 cards.
pub const MAX_ANSWER: usize = 400 * 1024;
/// Most bytes of documents in an answer.
pub const MAX_DOCUMENTS: usize = 64 * 1024;
/// Most cards in an answer; the newest relations go first, the rest come with the next renewal.
pub const MAX_CARDS: usize = 1_024;

/// What is signed by [`Request::signer`] (the ticket's key, or the device's renewal key) and then sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// 1.
    pub version: u8,
    /// The realm it is for.
    pub realm: RealmId,
    /// The issuer it is for.
    pub issuer: IssuerId,
    /// Ed25519 key that signed this: a ticket's, or a device's renewal key. Its PeerId made the connection.
    pub signer: Pseudonym,
    /// For a first enrolment: the keys that are to last. Absent in a renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<DeviceKeys>,
    /// X25519 key to which the answer is sealed.
    pub answer_key: AgreementKey,
    /// First epoch asked for; by zero the issuer's present one is meant.
    pub first_epoch: Epoch,
    /// One Ed25519 and one X25519 public key (32 + 32 bytes) for each epoch, in order. None: cards and bulletin only.
    #[serde(with = "serde_bytes")]
    pub epochs: Vec<u8>,
    /// New mail prekeys to put on the device's card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey: Option<MailPrekey>,
}

/// Public halves of the keys that outlive epochs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeys {
    /// Static X25519 contact key.
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
    /// By its signer.
    pub signature: Signature,
    /// For each Ed25519 key among the epochs', once, in the order in which they first stand there: its signature over the
    /// body, with context [`KEY_CONTEXT`]. So nobody has a key certified that another holds.
    #[serde(with = "serde_bytes")]
    pub proofs: Vec<u8>,
}

/// The issuer's answer, sealed to [`Request::answer_key`]: exactly one of its fields is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When it is granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Grant>,
    /// When it is not: why, see [`Refusal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
}

/// Why an issuer refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// Never issued here, or withdrawn.
    #[error("the issuer does not know this ticket")]
    UnknownTicket,
    /// Another device has enrolled with it.
    #[error("the ticket has been used")]
    TicketUsed,
    /// Too late.
    #[error("the ticket has expired")]
    TicketExpired,
    /// Ticket or request of another realm.
    #[error("the ticket belongs to another realm")]
    ForeignRealm,
    /// No device has this renewal key.
    #[error("the issuer does not know this device")]
    UnknownDevice,
    /// The device is revoked.
    #[error("the device has been revoked")]
    Revoked,
    /// Epochs too far ahead or too many.
    #[error("the request asks for epochs that the issuer does not grant")]
    Epochs,
    /// The request did not open, decode or verify.
    #[error("the request is malformed")]
    Malformed,
    /// The relay has no way to the issuer.
    #[error("no way to the issuer of this ticket at the moment")]
    NoIssuer,
    /// Too many requests; try again later.
    #[error("the mesh is busy with other enrolments; try again in a minute")]
    Busy,
    /// The issuer cannot write its ledger.
    #[error("the issuer cannot record the enrolment at the moment")]
    Unavailable,
    /// Another key has been certified for one of the epochs, or one of the keys is another device's.
    #[error("the issuer has certified another key for this time, or this key for another device")]
    KeyTaken,
}

/// What the device needs to be a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub name: Name,
    /// Its lasting id.
    pub device: DeviceId,
    /// Generation of its resolution-key chain.
    pub generation: u32,
    /// The day of `resolution_key`.
    pub day: Day,
    /// Its own RK(day): it computes its handles from it.
    #[serde(with = "serde_bytes")]
    pub resolution_key: [u8; 32],
    /// Length of its epochs.
    pub epoch_length: EpochLength,
    /// First epoch granted.
    pub first_epoch: Epoch,
    /// As in the credentials.
    #[serde(with = "serde_bytes")]
    pub segments: [u8; 8],
    /// As in the credentials.
    #[serde(with = "serde_bytes")]
    pub roles: [u8; 2],
    /// One sealed id and one signature (72 + 64 bytes) for each epoch, in order.
    #[serde(with = "serde_bytes")]
    pub epochs: Vec<u8>,
    /// The signed bulletin.
    #[serde(with = "serde_bytes")]
    pub bulletin: Vec<u8>,
    /// Its leaf in the group key tree, and the keys from the root down to it.
    pub path: PathKeys,
    /// Keys of all group versions of the bulletin that it may have.
    pub group_keys: Vec<GroupKeyGrant>,
    /// For a device that is new, the documents that the bulletin names, up to [`MAX_DOCUMENTS`]: the others it asks its
    /// neighbours for.
    pub documents: Vec<ByteBuf>,
    /// Cards of its contacts.
    pub cards: Vec<ContactCard>,
    /// The issuer's clock, in unix seconds: a floor for the device's.
    pub time: u64,
}

/// One version of a group's key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupKeyGrant {
    /// As in [`GroupVersion`](super::bulletin::GroupVersion): absent for the realm's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Tag>,
    /// Its version.
    pub version: u32,
    /// The key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

impl core::fmt::Debug for GroupKeyGrant {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("GroupKeyGrant").field("version", &self.version).finish_non_exhaustive()
    }
}

/// Keys of one leaf's path in the complete tree.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathKeys {
    /// The leaf, from 0, allocated in order and never reused.
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
