//! Departures: what a batch leaves with, and what is known of it once it is taken from the queues.
//!
//! A batch travels on one path, which is chosen for its first message. Other messages of the lane join it only as far
//! as that serves them: the batch does not grow beyond what the links of the path carry in a moment, and a message does
//! not join if it expires before the batch arrives, or if it has time for a path that its send policy prefers.

use crate::id::{Handle, OuterId};
use crate::time::{Now, Unix};
use crate::wire::batch::Ack;
use core::time::Duration;

/// The most bytes of a batch's plaintext besides its messages.
pub const PLAIN_OVERHEAD: usize = 256;

/// The parameters of a departing batch.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// The id of the frame that carries the batch; the next hop acknowledges it.
    pub attempt: OuterId,
    /// The handles under which receipts find the sender.
    pub reply: &'a [Handle],
    /// The caller's number of this flight; it is handed back with what becomes of the batch.
    pub flight: u64,
    /// How long the receipt is expected to take; `None` if it is unknown.
    pub expected: Option<Duration>,
    /// The most bytes of plaintext of the batch. The first message is taken however long it is.
    pub most: usize,
    /// When the batch is expected to arrive. A message that expires before this does not join: it becomes the next
    /// first message, and may get another path.
    pub arrives: Unix,
    /// If the path is a more expensive one, chosen because time is short: when the batch would arrive on the path that
    /// the send policy prefers. A message that lives until then does not join either.
    pub spares: Option<Unix>,
    /// Whether it goes as mail, which others may keep.
    pub mail: bool,
    /// The time of departure.
    pub now: Now,
    /// By how many microseconds that is wrong at most; `None` if nobody knows.
    pub error: Option<u64>,
    /// Whether this device only pushes, which its messages say.
    pub push_only: bool,
}

impl Departure<'_> {
    /// Whether a message that expires at `expiry` may join the first one: it does not expire on the path, and has no
    /// time for a path that its send policy prefers.
    pub(super) fn suits(&self, expiry: Unix) -> bool {
        expiry >= self.arrives && self.spares.is_none_or(|spares| expiry < spares)
    }
}

/// A batch that was just taken. Its plaintext has been appended to the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The number of messages in the batch.
    pub messages: usize,
    /// The acknowledgement that its messages ask for.
    pub ack: Ack,
    /// The latest deadline among its messages.
    pub expiry: Unix,
    /// Whether the application has named one of the messages. A named message must be on disk before it leaves;
    /// otherwise it could be submitted again after a crash and be delivered twice.
    pub named: bool,
}
