//! Slot: an open message of a stream, with what became of it so far.

use super::message::Submission;
use crate::time::{Time, Unix};

/// An open message.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) message: Submission<T>,
    pub(super) submitted: Time,
    pub(super) expiry: Unix,
    /// When the message last left, and in which flight; `None` while it is queued.
    pub(super) departed: Option<(Time, u64)>,
    /// The flight in which the message last left, whether it is still in flight or queued again.
    pub(super) last_flight: Option<u64>,
    /// Whether the path that the message left on has longer receipt times than the usual one.
    pub(super) far: bool,
    /// Whether the message ever left, as far as is known.
    pub(super) has_left: bool,
    /// Whether the message left more than once.
    pub(super) again: bool,
    /// Whether the latest known of the message is that the receiver had no room for it.
    pub(super) unplaced: bool,
    /// Whether another keeps the message for the receiver.
    pub(super) kept: bool,
}

impl<T> Slot<T> {
    /// The flight that the message is in; `None` while it is queued.
    pub(super) fn flight(&self) -> Option<u64> {
        self.departed.map(|(_, flight)| flight)
    }
}
