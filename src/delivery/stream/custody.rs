//! Custody: messages that others keep for the receiver, which is away.
//!
//! They are in nobody's way meanwhile: no receipt of them is waited for until they are sent again, in case that who keeps them has
//! lost them for good. What is let go of before that is sent again at once.

use super::Stream;
use super::entrusted::LAG;
use crate::id::OuterId;
use crate::time::{Time, Unix};
use crate::wire::batch::Ack;

impl<T> Stream<T> {
    /// Notes that a frame is kept by another, and sent again at a time that `again` says for each message's deadline. Returns the messages of it that ask
    /// for no confirmation by the receiver: they have ended.
    pub(in crate::delivery) fn keep(&mut self, frame: &OuterId, again: Time) -> Option<Vec<u64>> {
        let sequences = self.hops.get(frame)?.clone();
        let mut ended = Vec::new();
        for sequence in sequences {
            let Some(slot) = self.slot_mut(sequence) else { continue };
            if slot.message.ack != Ack::End {
                ended.push((sequence, slot.expiry));
                continue;
            }
            let Some((at, flight)) = slot.departed.filter(|_| !slot.kept) else { continue };
            slot.kept = true;
            // It is not overdue with those that left with it.
            slot.departed = Some((Time(at.0 + 1), flight));
            self.under_way.acquit(flight);
            self.kept.insert((again, sequence));
        }
        let kept = |(sequence, expiry)| {
            self.entrusted.insert(sequence, expiry);
            sequence
        };
        Some(ended.into_iter().map(kept).collect())
    }

    /// The number below which the receiver need not wait for any message: those have ended, and nobody keeps them for it. What was kept
    /// before a restart is not known.
    pub(super) fn told_floor(&mut self, now: Unix) -> u64 {
        match self.closed {
            true => self.floor.saturating_sub(LAG).max(1),
            false => self.entrusted.floor(self.floor, now),
        }
    }

    /// Queues the messages of a frame again that is not kept, or not any more. Returns whether it is a frame of this stream.
    pub(in crate::delivery) fn let_go(&mut self, frame: &OuterId) -> bool {
        let Some(sequences) = self.hops.remove(frame) else { return false };
        self.kept.retain(|(_, sequence)| !sequences.contains(sequence));
        self.requeue(sequences);
        true
    }

    /// Takes the messages that are to be sent again although they are kept.
    pub(super) fn take_kept(&mut self, now: Time) -> Vec<u64> {
        let later = self.kept.split_off(&(Time(now.0 + 1), 0));
        core::mem::replace(&mut self.kept, later).into_iter().map(|(_, sequence)| sequence).collect()
    }

    /// How many messages others keep.
    pub(in crate::delivery) fn kept(&self) -> usize {
        self.kept.iter().filter(|(_, sequence)| self.slot(*sequence).is_some()).count()
    }

    /// When [`Self::take_kept`] has something.
    pub(super) fn next_kept(&self) -> Option<Time> {
        self.kept.first().map(|(at, _)| *at)
    }
}
