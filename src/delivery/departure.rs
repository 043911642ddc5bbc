//! Departures: what a batch leaves with, and what is said of it once it is taken from the queues.
//!
//! A batch goes one way, which is chosen for its first message. The others ride along as far as that serves them: not beyond
//! what its links carry in a moment, and not if they end before it arrives, or have time for a way that is liked better.

use crate::id::{Handle, OuterId};
use crate::time::{Now, Unix};
use crate::wire::batch::Ack;
use core::time::Duration;

/// Bytes of a batch's plaintext besides its messages, at most.
pub const PLAIN_OVERHEAD: usize = 256;

/// What a batch leaves with.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// The frame that will carry it: what the next hop acknowledges.
    pub attempt: OuterId,
    /// Handles under which receipts find the sender.
    pub reply: &'a [Handle],
    /// The caller's number for it, handed back with what becomes of it.
    pub flight: u64,
    /// How long a receipt should take, as far as the caller knows.
    pub expected: Option<Duration>,
    /// Bytes of plaintext that it is to have at most; its first message goes however long it is.
    pub most: usize,
    /// When it arrives, as far as is known of its way. A message that ends before that is not to ride with one that has time:
    /// it is next, and may have another way.
    pub arrives: Unix,
    /// Where its way is a dearer one, taken for want of time: when it would arrive on the one that its send policy like best. What
    /// has that long is not to ride with it either.
    pub spares: Option<Unix>,
    /// When.
    pub now: Now,
}

impl Departure<'_> {
    /// Whether a message that is over at `expiry` may ride along with the first: it is not over on the way, and has no time for a way that
    /// its send policy like better.
    pub(super) fn suits(&self, expiry: Unix) -> bool {
        expiry >= self.arrives && self.spares.is_none_or(|spares| expiry < spares)
    }
}

/// A batch just taken: its plaintext has been appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Messages in it.
    pub messages: usize,
    /// What they ask for.
    pub ack: Ack,
    /// Latest deadline among them.
    pub expiry: Unix,
    /// Whether the application has named one of them: it must be on disk before it leaves, or it could be handed in again
    /// after a crash and be delivered twice.
    pub named: bool,
}
