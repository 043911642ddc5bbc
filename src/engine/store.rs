//! Store: what the engine asks of a disk: tables of keys and values, written in order, durable in groups.
//!
//! The engine never touches a disk. It says what to write ([`Write`]) and numbers its commits by
//! [`Lsn`](crate::id::Lsn); outputs that must not be seen before a commit is durable carry its number. The store on
//! floor 5 does the rest.

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
    /// The dedupe state of senders' streams. Key: stream id; value: CBOR.
    Dedupe = 2,
    /// The event log. Key: sequence number, 8 bytes big endian; value: one record.
    Log = 3,
    /// Outgoing messages. Key and value: see [`kept`](crate::delivery::persisted).
    Outbox = 4,
    /// Outcomes of messages that the application may ask about again. Key: a number, 8 bytes big endian.
    Outcomes = 5,
    /// Calls that the application has been given and has not answered. Key: the call's number, 8 bytes big endian.
    Calls = 6,
    /// Measurements of links. Key: the neighbour's pseudonym and the bearer's number; value: an
    /// [`Estimator`](crate::link::estimate::Estimator).
    Links = 7,
    /// The marks up to which publishers were heard. Key: hash of the publisher's credential; value: CBOR.
    Heard = 8,
    /// Blobs, and what is sent and offered of them. Key: a byte for each of these, and its id; value: CBOR.
    Blobs = 9,
    /// Messages that are not to leave yet. Key: a number, 8 bytes big endian; value: CBOR.
    Held = 10,
    /// Mail that is kept for others. Key: a number, 8 bytes big endian; value: CBOR.
    Mail = 11,
    /// Devices whose parent this one is. Key: the device's name; no value.
    Sleepers = 12,
    /// Requests that the application has named. Key: the name; value: CBOR.
    Requests = 13,
    /// Named requests to groups, and their answers. Key: the name, and that of the device that answered; value: CBOR.
    GroupRequests = 14,
}

/// The keys in [`Table::Meta`] whose values must not go back to older ones: numbers would be given twice, and frames
/// that were heard would be new. A store that has lost its newest part restores their newest values.
pub const WITNESSED: [&[u8]; 3] = [event_log::HEAD_KEY, INBOX_CURSORS, HEARD];

/// Key in [`Table::Meta`] of the cursors of the inbox's consumers.
pub const INBOX_CURSORS: &[u8] = b"inbox-cursors";

/// Key in [`Table::Meta`] of the time up to which all publishers may have been heard.
pub const HEARD: &[u8] = b"heard";

/// Key in [`Table::Meta`] of the last number that the inbox had given when the store lost its newest part, 8 bytes big
/// endian. Set by the store alone.
pub const INBOX_FLOOR: &[u8] = b"inbox-floor";

/// Key in [`Table::Meta`] of what the store has set aside since it was last opened ([`SetAside`](event_log::SetAside)),
/// kept until the log holds it. Set by the store alone.
pub const SET_ASIDE: &[u8] = b"set-aside";

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Sets a key.
    Put {
        /// The table.
        table: Table,
        /// The key within the table.
        key: Vec<u8>,
        /// The value, of 64 KiB and a little at most.
        value: Vec<u8>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// The table.
        table: Table,
        /// The key within the table.
        key: Vec<u8>,
    },
}

/// Changes that become durable together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// Its number: one more than the commit before.
    pub lsn: Lsn,
    /// Its writes, in order.
    pub writes: Vec<Write>,
}

/// A key within its table, and its value.
pub type Entry = (Vec<u8>, Vec<u8>);

/// A reader of the store: at boot the engine loads its state from one, and queries are answered from one.
pub trait Read {
    /// Returns the value of a key; `None` if the table does not have it.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;

    /// Calls `each` for every entry with `from <= key`, in ascending order, until it returns `false`.
    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError>;

    /// Returns the entry with the greatest key; `None` if the table is empty.
    fn last(&self, table: Table) -> Result<Option<Entry>, ReadError>;
}

/// The store cannot be read; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct ReadError(pub String);
