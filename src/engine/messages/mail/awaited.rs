//! Awaited: frames of mail that have left from here, of which the next one is to state that it keeps them.
//!
//! Invariants
//! 1. A statement counts only for a frame that has left from here under that id, with that sealed part.
//! - At most [`MAX_AWAITED`] frames are remembered. Drop policy: the oldest is forgotten; its mail is sent again.

use crate::id::{Handle, Name, OuterId};
use crate::time::Unix;
use crate::wire::data::Class;
use std::collections::{BTreeMap, VecDeque};

/// The most frames of which a statement is awaited.
pub(in crate::engine) const MAX_AWAITED: usize = 8_192;

/// What the frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Messages of this device.
    Own,
    /// A mail that is kept here, by its number.
    Kept(u64),
}

/// A frame of which a statement is awaited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The receiver, if it is a contact.
    pub(super) to: Option<Name>,
    /// The handle of the receiver in the frame's header.
    pub(super) handle: Handle,
    /// The hash of the sealed part.
    pub(super) seal: [u8; 32],
    pub(super) held: Held,
    pub(super) class: Class,
    /// When it is of no use any more.
    pub(super) expiry: Unix,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Awaited {
    frames: BTreeMap<OuterId, Entry>,
    order: VecDeque<OuterId>,
}

impl Awaited {
    pub(super) fn insert(&mut self, frame: OuterId, entry: Entry) {
        self.frames.insert(frame, entry);
        self.order.push_back(frame);
        if self.order.len() > MAX_AWAITED
            && let Some(oldest) = self.order.pop_front()
        {
            self.frames.remove(&oldest);
        }
    }

    pub(super) fn get(&self, frame: &OuterId) -> Option<&Entry> {
        self.frames.get(frame)
    }

    /// How many frames are remembered.
    pub(in crate::engine) fn len(&self) -> usize {
        self.order.len()
    }
}
