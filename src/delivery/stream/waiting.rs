//! What waits in the lanes of a stream: how much there is, and what goes before what.

use super::{Lane, RECORD, Stream};
use crate::time::Unix;

impl<T> Stream<T> {
    /// The bytes of the records that wait in a lane; it counts no further than `most`.
    pub(in crate::delivery) fn queued_in(&self, lane: &Lane, most: usize) -> usize {
        let queue = self.queues.get(lane).into_iter().flatten();
        let mut bytes = 0;
        for slot in queue.filter_map(|sequence| self.slot(*sequence)) {
            bytes += RECORD + slot.message.payload.len();
            if bytes >= most {
                break;
            }
        }
        bytes
    }

    /// Moves the message of a lane that expires first to the front. Returns whether it was not there before.
    pub(in crate::delivery) fn advance_soonest(&mut self, lane: &Lane) -> bool {
        let Some(mut queue) = self.queues.remove(lane) else { return false };
        queue.retain(|sequence| self.slot(*sequence).is_some());
        let expiry = |sequence: u64| self.slot(sequence).map(|slot| slot.expiry);
        let soonest = (0..queue.len()).min_by_key(|at| expiry(queue[*at]));
        let sooner = soonest.filter(|at| expiry(queue[*at]) < expiry(queue[0]));
        if let Some(sequence) = sooner.and_then(|at| queue.remove(at)) {
            queue.push_front(sequence);
        }
        self.queues.insert(lane.clone(), queue);
        sooner.is_some()
    }

    /// Moves messages at the front of a lane that have less time left than the headroom behind the others.
    pub(in crate::delivery) fn pass_over_hurried(&mut self, lane: &Lane, now: Unix) {
        let headroom = self.headroom[lane.class as usize].get();
        if !headroom.is_zero() {
            self.pass_over(lane, now + headroom);
        }
    }

    /// Moves messages at the front of a lane that expire by `ends_by` behind the others. Returns whether another
    /// message is next.
    pub(in crate::delivery) fn pass_over(&mut self, lane: &Lane, ends_by: Unix) -> bool {
        let Some(mut queue) = self.queues.remove(lane) else { return false };
        let ends = |sequence: &&u64| self.slot(**sequence).is_none_or(|slot| slot.expiry <= ends_by);
        let over = queue.iter().take_while(ends).count();
        let others = over > 0 && over < queue.len();
        if others {
            queue.rotate_left(over);
        }
        self.queues.insert(lane.clone(), queue);
        others
    }
}
