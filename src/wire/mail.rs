//! Mail: a message sealed to a sleeping device's prekey of the day, kept by mailboxes until it wakes.

use crate::id::AgreementKey;
use serde::{Deserialize, Serialize};

/// The sealed part of a data frame of form [`Form::Mail`](super::data::Form). The prekey that it is sealed to and the
/// box that keeps it are named in the [header](super::data::MailBox), so that mailboxes need not decode the sealed
/// part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail<'a> {
    /// The sender's fresh X25519 public key.
    pub ephemeral: AgreementKey,
    /// The sender's signed credential, sealed under the ephemeral key and the prekey.
    #[serde(borrow, with = "serde_bytes")]
    pub credential: &'a [u8],
    /// A [`Batch`](super::batch::Batch), sealed under all keys, the contact keys among them.
    #[serde(borrow, with = "serde_bytes")]
    pub sealed: &'a [u8],
}
