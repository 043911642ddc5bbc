//! Queued: what waits in a lane, for those who decide whether it leaves now.

use super::Outgoing;
use crate::delivery::lane::Lane;
use crate::delivery::stream::Stream;
use crate::id::Name;

impl<T: Clone> Outgoing<T> {
    /// The bytes of the records that wait in a lane for this destination; it counts no further than about `most`.
    pub fn queued_in(&self, to: &Name, lane: &Lane, most: usize) -> usize {
        let streams = self.streams.get(to).into_iter().flatten();
        streams.map(|stream| stream.queued_in(lane, most)).sum()
    }

    /// Moves the message of a lane that expires first before the others of its stream. Returns whether that changed
    /// which message is next.
    pub fn advance_soonest(&mut self, to: &Name, lane: &Lane) -> bool {
        let mut streams = self.streams.get_mut(to).into_iter().flatten();
        let next = streams.find(|stream: &&mut Stream<T>| stream.next_in(lane).is_some());
        next.is_some_and(|stream| stream.advance_soonest(lane))
    }
}
