//! Consumers: who reads the inbox, and how far each has consumed it.
//!
//! A consumer has a cursor: it has consumed every message up to that number. A named consumer exists from the moment it
//! is made until it is forgotten; it begins with the messages that lie in the inbox when it is made. The unnamed
//! consumer always exists. Reading does not make a consumer.
//!
//! Invariants
//! 1. No message is removed before every consumer has consumed it.
//! 2. At most [`MAX_CONSUMERS`] consumers have names. Drop policy: the newest is refused.

use crate::engine::api::Refused;
use crate::engine::store::{INBOX_CURSORS, Table, Write};
use crate::wire;
use serde::{Deserialize, Serialize};

/// Most named consumers.
pub(in crate::engine) const MAX_CONSUMERS: usize = 16;

/// How far each consumer has come, as stored in [`Table::Meta`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Consumers {
    /// The number of the last message that may be removed.
    gone: u64,
    /// One cursor for each consumer, the unnamed one included.
    of: Vec<Cursor>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    consumer: String,
    up_to: u64,
}

impl Default for Consumers {
    fn default() -> Self {
        Self { gone: 0, of: vec![Cursor { consumer: String::new(), up_to: 0 }] }
    }
}

impl Consumers {
    /// The number of the last message that a consumer has consumed.
    pub(in crate::engine) fn of(&self, consumer: &str) -> u64 {
        let known = self.of.iter().find(|cursor| cursor.consumer == consumer);
        known.map_or(self.gone, |cursor| cursor.up_to.max(self.gone))
    }

    /// The number of the last message that may be removed.
    pub(in crate::engine) fn gone(&self) -> u64 {
        self.gone
    }

    /// The greatest number that any consumer has consumed.
    pub(in crate::engine) fn furthest(&self) -> u64 {
        self.of.iter().map(|cursor| cursor.up_to).max().unwrap_or(0).max(self.gone)
    }

    /// The write that stores these cursors.
    pub(in crate::engine) fn write(&self) -> Write {
        Write::Put { table: Table::Meta, key: INBOX_CURSORS.to_vec(), value: wire::encode(self) }
    }

    fn knows(&self, consumer: &str) -> bool {
        self.of.iter().any(|cursor| cursor.consumer == consumer)
    }

    /// Makes a consumer. Returns whether it is a new one.
    pub(in crate::engine) fn make(&mut self, consumer: &str) -> Result<bool, Refused> {
        if self.knows(consumer) {
            return Ok(false);
        }
        if self.of.iter().filter(|cursor| !cursor.consumer.is_empty()).count() >= MAX_CONSUMERS {
            return Err(Refused::Consumers { limit: MAX_CONSUMERS });
        }
        self.of.push(Cursor { consumer: consumer.to_owned(), up_to: self.gone });
        Ok(true)
    }

    /// Refuses a consumer that nobody has made.
    pub(in crate::engine) fn check(&self, consumer: &str) -> Result<(), Refused> {
        if self.knows(consumer) { Ok(()) } else { Err(Refused::NoSuchConsumer(consumer.to_owned())) }
    }

    /// Forgets a named consumer. Returns whether it existed.
    pub(in crate::engine) fn forget(&mut self, consumer: &str) -> bool {
        let before = self.of.len();
        self.of.retain(|cursor| cursor.consumer.is_empty() || cursor.consumer != consumer);
        self.of.len() < before
    }

    /// Notes that a consumer has consumed every message up to a number. Returns whether that moves its cursor.
    pub(in crate::engine) fn consume(&mut self, consumer: &str, up_to: u64) -> bool {
        let cursor = self.of.iter_mut().find(|cursor| cursor.consumer == consumer && cursor.up_to < up_to);
        cursor.map(|cursor| cursor.up_to = up_to).is_some()
    }

    /// Moves the limit of what may be removed to what all consumers have consumed. Returns the number of the last
    /// message that may be removed.
    pub(in crate::engine) fn trim(&mut self) -> u64 {
        let behind = self.of.iter().map(|cursor| cursor.up_to).min();
        self.gone = self.gone.max(behind.unwrap_or(self.gone));
        self.gone
    }
}
