//! Cursors: who reads the inbox, and how far each reader has come.
//!
//! **Mechanism.** Messages of the inbox are numbered from 1 on. A *consumer* has a cursor: the last number that the consumer has consumed. A
//! consumer with a name exists from when it is made until it is forgotten, and begins with what lies in the inbox when it is made. The
//! consumer without a name always exists. Reading makes no consumer. What every consumer has consumed may be dropped.
//!
//! Invariants
//! 1. No message is dropped that a consumer has not consumed.
//! 2. At most [`MAX_CONSUMERS`] consumers have names. Drop policy: the newest is refused.

use serde::{Deserialize, Serialize};

/// Most consumers with a name.
pub const MAX_CONSUMERS: usize = 16;

/// How far each consumer has come, in the form in which it is kept on disk.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cursors {
    /// The last number that may be dropped.
    gone: u64,
    /// The consumer without a name is among them.
    of: Vec<Cursor>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Cursor {
    consumer: String,
    up_to: u64,
}

/// There are as many consumers with names as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl Default for Cursors {
    fn default() -> Self {
        Self { gone: 0, of: vec![Cursor { consumer: String::new(), up_to: 0 }] }
    }
}

impl Cursors {
    /// The last number that a consumer has consumed; of one that does not exist, the last that may be dropped.
    pub fn of(&self, consumer: &str) -> u64 {
        let known = self.of.iter().find(|cursor| cursor.consumer == consumer);
        known.map_or(self.gone, |cursor| cursor.up_to.max(self.gone))
    }

    /// The last number that may be dropped.
    pub fn gone(&self) -> u64 {
        self.gone
    }

    /// The greatest number that any consumer has consumed.
    pub fn furthest(&self) -> u64 {
        self.of.iter().map(|cursor| cursor.up_to).max().unwrap_or(0).max(self.gone)
    }

    /// Whether there is a consumer of that name.
    pub fn knows(&self, consumer: &str) -> bool {
        self.of.iter().any(|cursor| cursor.consumer == consumer)
    }

    /// Makes a consumer. Returns whether it is a new one.
    ///
    /// # Errors
    /// There are [`MAX_CONSUMERS`] already.
    pub fn make(&mut self, consumer: &str) -> Result<bool, TooMany> {
        if self.knows(consumer) {
            return Ok(false);
        }
        if self.of.iter().filter(|cursor| !cursor.consumer.is_empty()).count() >= MAX_CONSUMERS {
            return Err(TooMany);
        }
        self.of.push(Cursor { consumer: consumer.to_owned(), up_to: self.gone });
        Ok(true)
    }

    /// Forgets a consumer with a name. Returns whether it existed.
    pub fn forget(&mut self, consumer: &str) -> bool {
        let before = self.of.len();
        self.of.retain(|cursor| cursor.consumer.is_empty() || cursor.consumer != consumer);
        self.of.len() < before
    }

    /// A consumer has consumed everything up to that number. Returns whether its cursor has moved.
    pub fn consume(&mut self, consumer: &str, up_to: u64) -> bool {
        let cursor = self.of.iter_mut().find(|cursor| cursor.consumer == consumer && cursor.up_to < up_to);
        cursor.map(|cursor| cursor.up_to = up_to).is_some()
    }

    /// What every consumer has consumed may be dropped. Returns the last number of that.
    pub fn trim(&mut self) -> u64 {
        let behind = self.of.iter().map(|cursor| cursor.up_to).min();
        self.gone = self.gone.max(behind.unwrap_or(self.gone));
        self.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 1.
    #[test]
    fn what_one_has_not_consumed_stays() {
        let mut cursors = Cursors::default();
        assert!(cursors.consume("", 5));
        assert_eq!(cursors.trim(), 5);
        assert_eq!(cursors.make("log"), Ok(true));
        assert_eq!((cursors.make("log"), cursors.of("log"), cursors.of("nobody")), (Ok(false), 5, 5));
        assert!(cursors.consume("", 9) && !cursors.consume("", 8) && !cursors.consume("nobody", 9));
        assert_eq!((cursors.trim(), cursors.furthest()), (5, 9));
        assert!(cursors.consume("log", 7));
        assert_eq!(cursors.trim(), 7);
        assert!(cursors.forget("log") && !cursors.forget("log") && !cursors.forget(""));
        assert_eq!((cursors.trim(), cursors.gone()), (9, 9));
    }

    /// Invariant 2.
    #[test]
    fn names_are_bounded_and_one_that_is_forgotten_leaves_room() {
        let mut cursors = Cursors::default();
        let made = (0..20).filter(|number| cursors.make(&number.to_string()).is_ok()).count();
        assert_eq!((made, cursors.make("another")), (MAX_CONSUMERS, Err(TooMany)));
        assert!(cursors.forget("3"));
        assert_eq!(cursors.make("another"), Ok(true));
        assert!(cursors.knows("another") && !cursors.knows("3") && cursors.knows(""));
    }
}
