//! Who reads the inbox, and how far each has come.
//!
//! A consumer has a cursor: what is up to it the consumer has behind it. One with a name is there from when it is made until
//! it is forgotten, and begins with what lies in the inbox when it is made. The one without a name is always there. Reading
//! makes no consumer.
//!
//! Invariants
//! 1. Nothing is gone that a consumer has not behind it.
//! 2. At most [`MAX_CONSUMERS`] have names. Drop policy: refuse the newest.

use crate::engine::api::Refused;
use crate::engine::store::{INBOX_CURSORS, Table, Write};
use crate::wire;
use serde::{Deserialize, Serialize};

/// Most consumers with a name.
pub(in crate::engine) const MAX_CONSUMERS: usize = 16;

/// How far each consumer has come, as it is kept in [`Table::Meta`].
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::engine) struct Consumers {
    /// Last number that may be gone.
    gone: u64,
    /// The one without a name is among them.
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
    /// Last number that a consumer has behind it.
    pub(in crate::engine) fn of(&self, consumer: &str) -> u64 {
        let known = self.of.iter().find(|cursor| cursor.consumer == consumer);
        known.map_or(self.gone, |cursor| cursor.up_to.max(self.gone))
    }

    /// Last number that may be gone.
    pub(in crate::engine) fn gone(&self) -> u64 {
        self.gone
    }

    /// The greatest number that one has behind it.
    pub(in crate::engine) fn furthest(&self) -> u64 {
        self.of.iter().map(|cursor| cursor.up_to).max().unwrap_or(0).max(self.gone)
    }

    /// As it is to be stored.
    pub(in crate::engine) fn write(&self) -> Write {
        Write::Put { table: Table::Meta, key: INBOX_CURSORS.to_vec(), value: wire::encode(self) }
    }

    fn knows(&self, consumer: &str) -> bool {
        self.of.iter().any(|cursor| cursor.consumer == consumer)
    }

    /// Makes a consumer. Answers whether it is a new one.
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

    /// Refuses one that nobody made.
    pub(in crate::engine) fn check(&self, consumer: &str) -> Result<(), Refused> {
        if self.knows(consumer) { Ok(()) } else { Err(Refused::NoSuchConsumer(consumer.to_owned())) }
    }

    /// Forgets one with a name. Answers whether there was one.
    pub(in crate::engine) fn forget(&mut self, consumer: &str) -> bool {
        let before = self.of.len();
        self.of.retain(|cursor| cursor.consumer.is_empty() || cursor.consumer != consumer);
        self.of.len() < before
    }

    /// One has behind it what is up to that number. Answers whether that is news.
    pub(in crate::engine) fn consume(&mut self, consumer: &str, up_to: u64) -> bool {
        let cursor = self.of.iter_mut().find(|cursor| cursor.consumer == consumer && cursor.up_to < up_to);
        cursor.map(|cursor| cursor.up_to = up_to).is_some()
    }

    /// What all have behind them may go. Answers the last number of that.
    pub(in crate::engine) fn trim(&mut self) -> u64 {
        let behind = self.of.iter().map(|cursor| cursor.up_to).min();
        self.gone = self.gone.max(behind.unwrap_or(self.gone));
        self.gone
    }
}
