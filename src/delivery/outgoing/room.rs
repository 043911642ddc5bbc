//! Room: how much waits for each destination, whether more does, and what gives way to it.

use super::super::retry::Retry;
use super::super::stream::Stream;
use super::{End, Fate, Full, MAX_BYTES, MAX_BYTES_OF_ONE, Outgoing};
use crate::id::{InnerId, Name};
use crate::time::Time;
use core::time::Duration;

impl<T: Clone> Outgoing<T> {
    /// Ends the message that gives way to a newer one of its key: the last one, unless it is under way.
    pub fn supersede(&mut self, to: &Name, key: &str, now: Time, ends: &mut Vec<End<T>>) {
        let streams = self.streams.get(to).into_iter().flatten();
        let found =
            streams.filter_map(|stream| Some(InnerId { stream: stream.id(), sequence: stream.superseded(key)? }));
        for id in found.collect::<Vec<_>>() {
            self.end_one(to, id, Fate::Superseded, now, ends);
        }
    }

    /// Since when each destination has had no room for messages, as far as is known, and how many wait for it.
    pub fn full(&self) -> impl Iterator<Item = (&Name, Time, usize)> {
        self.streams.iter().filter_map(|(to, streams)| {
            let since = streams.iter().filter_map(Stream::full_since).min()?;
            Some((to, since, streams.iter().map(Stream::len).sum()))
        })
    }

    /// Since when one destination has had no room for messages; `None` if it has, as far as is known.
    pub fn full_since(&self, to: &Name) -> Option<Time> {
        self.streams.get(to)?.iter().filter_map(Stream::full_since).min()
    }

    /// How many messages to a destination have not ended, roughly.
    pub fn open_to(&self, to: &Name) -> usize {
        self.streams.get(to).into_iter().flatten().map(Stream::len).sum()
    }

    /// Whether [`Self::submit`] would take `bytes` more for this destination. It does not check the number of
    /// destinations.
    pub fn has_room(&self, to: &Name, bytes: usize) -> bool {
        let stream = self.streams.get(to).and_then(|streams| streams.last());
        self.bytes + bytes <= MAX_BYTES
            && self.bytes_of(to) + bytes <= MAX_BYTES_OF_ONE
            && stream.is_none_or(|stream| stream.is_closed() || stream.has_room())
    }

    /// How long a message that leaves now may go without a receipt before its receiver is taken for silent: the retransmission
    /// time-out as it is measured, else that of a path with this round trip.
    pub fn silent_after(&self, to: &Name, round_trip: Duration) -> Duration {
        let measured = self.streams.get(to).into_iter().flatten().rev().find_map(Stream::measured_after);
        measured.unwrap_or_else(|| Retry::expecting(round_trip).suspicious_after())
    }

    /// Takes a message back: it is sent no more, and has no end. Whether it has arrived is not known.
    pub fn withdraw(&mut self, to: &Name, id: InnerId, now: Time) {
        let mut unsaid = Vec::new();
        self.end_one(to, id, Fate::Superseded, now, &mut unsaid);
    }

    pub(super) fn bytes_of(&self, to: &Name) -> usize {
        self.streams.get(to).into_iter().flatten().map(Stream::bytes).sum()
    }

    /// Whether there is room for so many bytes more to a destination.
    pub(super) fn check_bytes(&self, to: &Name, bytes: usize) -> Result<(), Full> {
        if self.bytes + bytes > MAX_BYTES {
            return Err(Full::Bytes);
        }
        if self.bytes_of(to) + bytes > MAX_BYTES_OF_ONE {
            return Err(Full::Share);
        }
        Ok(())
    }
}
