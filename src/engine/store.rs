//! What the engine asks of a disk: tables of keys and values, written in order, durable in groups.
//!
//! The engine never touches a disk. It says what to write ([`Write`]) and numbers its writes by [`Lsn`](crate::id::Lsn);
//! outputs that must not be seen before a write is safe carry that number. The store on floor 5 does the rest.

use crate::event_log;
use crate::id::Lsn;

/// A table of the store. The number is the first byte of its keys, so that one batch over several is atomic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Small facts: heads, versions, counters. Key: a name.
    Meta = 0,
    /// Messages for the application. Key: number of the first message, 8 bytes big endian; value: an
    /// [`InboxRecord`](super::api::InboxRecord).
    Inbox = 1,
    /// Dedupe state. Key: stream id; value: CBOR.
    Dedupe = 2,
    /// The event log. Key: sequence number, 8 bytes big endian; value: one record.
    Log = 3,
    /// Messages on their way out. Key and value: see [`kept`](crate::delivery::persisted).
    Outbox = 4,
    /// How messages ended that the application may ask about again. Key: a number, 8 bytes big endian.
    Outcomes = 5,
    /// Calls that the application has been given and not answered. Key: the call's number, 8 bytes big endian.
    Calls = 6,
    /// What was measured of links. Key: the neighbour's pseudonym and the bearer's number; value: an
    /// [`Estimator`](crate::link::estimate::Estimator).
    Links = 7,
    /// Up to where publishers were heard. Key: hash of the publisher's credential; value: CBOR.
    Heard = 8,
}

/// Small facts, by their keys in [`Table::Meta`], that must not go back to older ones: numbers would be given twice, and what was heard would be new. A store
/// that has lost its newest part brings them back.
pub const WITNESSED: [&[u8]; 3] = [event_log::HEAD_KEY, INBOX_CURSORS, HEARD];

/// Key in [`Table::Meta`] of how far consumers of the inbox have come.
pub const INBOX_CURSORS: &[u8] = b"inbox-cursors";

/// Key in [`Table::Meta`] of up to where all publishers may have been heard.
pub const HEARD: &[u8] = b"heard";

/// Key in [`Table::Meta`] of the last number that the inbox had given when the store lost its newest part, 8 bytes big
/// endian. Set by the store alone.
pub const INBOX_FLOOR: &[u8] = b"inbox-floor";

/// Key in [`Table::Meta`] of what the store has set aside since it was opened last ([`SetAside`](event_log::SetAside)), until
/// the log says so. Set by the store alone.
pub const SET_ASIDE: &[u8] = b"set-aside";

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// Where.
        table: Table,
        /// Key within the table.
        key: Vec<u8>,
        /// Value, at most 64 KiB and a little.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Where.
        table: Table,
        /// Key within the table.
        key: Vec<u8>,
    },
}

/// Changes that become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its number: one more than the commit before.
    pub lsn: Lsn,
    /// In order.
    pub writes: Vec<Write>,
}

/// A key within its table, and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A reader's view of a table: at boot the engine loads its state from one, queries go through one.
pub trait Read {
    /// Value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Calls `each` for every entry with `from <= key`, ascending, until it answers `false`.
    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError>;

    /// The entry with the greatest key.
    fn last(&self, table: Table) -> Result<Option<Entry>, ReadError>;
}

/// The disk did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(pub String);
