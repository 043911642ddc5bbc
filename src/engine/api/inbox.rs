//! Inbox: messages as the store keeps them, and as they are read.

use super::Attached;
use crate::id::{InnerId, Name, StreamId};
use crate::time::Unix;
use crate::wire::parcel::Records;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Messages as the inbox keeps them: the value that the store keeps under
/// [`Table::Inbox`](crate::engine::store::Table).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRecord<'a> {
    /// The inbox number of the first message, from 1; the others follow without gaps.
    pub first: u64,
    /// The sender.
    pub from: Name,
    /// The sender's stream.
    pub stream: StreamId,
    /// The sequence number of the first message in that stream.
    pub base: u64,
    /// When the sender sent it, by the sender's clock.
    pub sent: Unix,
    /// When it was received, by this node's clock.
    pub received: Unix,
    /// The messages, as [`wire::parcel`](crate::wire::parcel) packs them.
    #[serde(borrow, with = "serde_bytes")]
    pub records: Cow<'a, [u8]>,
    /// The blob that the one message consists of, whose payload is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Attached>,
    /// By how many microseconds `sent` is wrong at most, as the sender says; `None` if it does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_error: Option<u64>,
}

/// A message of the inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxMessage {
    /// Its inbox number, from 1, without gaps in the order of receipt.
    pub number: u64,
    /// The sender.
    pub from: Name,
    /// Its lasting identity.
    pub id: InnerId,
    /// When the sender sent it, by the sender's clock.
    pub sent: Unix,
    /// When it was received, by this node's clock.
    pub received: Unix,
    /// The payload.
    pub payload: Vec<u8>,
    /// The blob that it consists of, instead of a payload.
    pub blob: Option<Attached>,
    /// By how many microseconds `sent` is wrong at most, as the sender says; `None` if it does not know.
    pub sent_error: Option<u64>,
}

impl InboxRecord<'_> {
    /// Returns the inbox number of the last message.
    pub fn last(&self) -> u64 {
        self.first.saturating_add(Records(&self.records).count() as u64).saturating_sub(1)
    }

    /// Returns the payloads in order.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        Records(&self.records).map(|record| record.payload)
    }

    /// Returns the messages in order.
    pub fn messages(&self) -> impl Iterator<Item = InboxMessage> {
        (0..).zip(self.payloads()).map(|(index, payload)| InboxMessage {
            number: self.first.saturating_add(index),
            from: self.from.clone(),
            id: InnerId { stream: self.stream, sequence: self.base.saturating_add(index) },
            sent: self.sent,
            received: self.received,
            payload: payload.to_vec(),
            blob: self.blob.clone(),
            sent_error: self.sent_error,
        })
    }
}
