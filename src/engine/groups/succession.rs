//! Succession: which of a publisher's streams follows which, and how long one waits for the one before it.
//!
//! The streams of one contact in a group follow each other: those under one credential by their ordinals, others in the
//! order in which they came. A stream waits while its predecessor holds frames back, or, across the turn of an epoch,
//! for a moment until the predecessor has ended. The first stream after a restart of its publisher waits for a moment
//! if none from before the restart is known. Once its successor has been heard, a stream is closed, and its further
//! messages are reported as missed. A publisher that is no contact has a new pseudonym each epoch, and no subscriber
//! knows which of these belong together.
//!
//! Invariants
//! 1. A stream that is closed stays closed, and no stream waits for it.
//! - No frame is held back for longer than `delivery::reorder` allows: then the streams before it give up their gaps as
//!   well.

use crate::engine::core::Core;
use crate::engine::groups::missing::GRACE;
use crate::engine::groups::streams::{Incoming, Key, Streams};
use crate::engine::groups::{Groups, ordinals};
use crate::id::Name;
use crate::time::Time;
use core::time::Duration;

/// How long a stream waits for one of an earlier epoch or process to end.
const TURN: Duration = Duration::from_millis(500);

/// How recently a publisher must have been heard in an epoch for a stream of an earlier epoch to count as late. After a
/// longer silence the publisher may have been restarted with its clock in that earlier epoch.
const STARTED_AGAIN: Duration = Duration::from_secs(5);

/// A stream's place among those of the same contact.
#[derive(Debug, Default)]
pub(in crate::engine) struct Succession {
    /// The stream that it follows, and until when it waits for that to end.
    pub(in crate::engine) predecessor: Option<(Key, Time)>,
    /// The stream that follows it.
    pub(in crate::engine) successor: Option<Key>,
    /// Until when it waits for a stream from before a restart of its publisher; `None` if it does not.
    pub(in crate::engine) alone_until: Option<Time>,
    /// Whether no frame of its publisher's stream of the epoch before has been heard, though there was such a stream.
    pub(in crate::engine) orphaned: bool,
}

impl Streams {
    /// Puts a new stream before or behind the latest one of its publisher. Under one credential, the lower ordinal is
    /// the earlier one. Otherwise the one of the later epoch comes second, unless the one of the earlier epoch begins
    /// to be heard after the other has been silent for [`STARTED_AGAIN`]: a device that was restarted may have another
    /// time. So the times at which they began by their publisher's clock say little.
    pub(in crate::engine) fn take_place(
        &mut self,
        key: Key,
        stream: &mut Incoming,
        place: (Name, String),
        epoch: Duration,
        now: Time,
    ) {
        let latest = self.latest.get(&place).copied();
        let process = |key: &Key| (key.0, ordinals::process_of(&key.1));
        let knows = latest.is_some_and(|latest| latest.0 == key.0 && process(&latest).1 + 1 >= process(&key).1);
        if process(&key).1 > 0 && stream.began.is_some() && !knows {
            stream.succession.alone_until = Some(now + TURN);
        }
        let before = latest.and_then(|latest| self.streams.get(&latest)).map(|before| before.start);
        stream.succession.orphaned =
            ordinals::continues(&key.1) && before.is_none_or(|before| before + epoch < stream.start);
        if stream.succession.orphaned {
            self.doubts.insert((now + GRACE, key));
        }
        // Of two streams of one process in the same epoch, the earlier one has ended. Otherwise more of its frames may
        // still come.
        let until = |before: &Key, after: &Key| if process(before) == process(after) { now } else { now + TURN };
        match latest.and_then(|latest| Some((latest, self.streams.get_mut(&latest)?))) {
            Some((last, later)) if comes_before((&key, stream), (&last, later), now) => {
                // It comes late: its messages must not follow those of its successor that have been heard.
                stream.closed = !later.topics.is_empty() || later.succession.predecessor.is_some();
                later.succession.orphaned &= stream.start + epoch < later.start;
                if !stream.closed {
                    later.succession.predecessor = Some((key, until(&key, &last)));
                    stream.succession.successor = Some(last);
                }
            }
            Some((before, earlier)) => {
                earlier.succession.successor = Some(key);
                stream.succession.predecessor = Some((before, until(&before, &key)));
                self.latest.insert(place, key);
            }
            None => drop(self.latest.insert(place, key)),
        }
    }

    /// Whether a stream has to wait for the one before it.
    pub(in crate::engine) fn waits(&self, key: &Key, now: Time) -> bool {
        let Some(stream) = self.streams.get(key) else { return false };
        let Some((before, until)) = stream.succession.predecessor else {
            return stream.succession.alone_until.is_some_and(|at| now < at);
        };
        let Some(before) = self.streams.get(&before).filter(|before| !before.closed) else { return false };
        before.order.holds() || (!before.ended && now < until)
    }
}

impl Groups {
    /// Closes the stream before this one.
    pub(in crate::engine) fn close_predecessor(&mut self, core: &Core, key: &Key) {
        let streams = &mut self.multicast.streams;
        let Some(stream) = streams.streams.get_mut(key) else { return };
        let Some((before, _)) = stream.succession.predecessor.take() else { return };
        let now = core.now.time;
        if let Some(stream) = streams.streams.get_mut(&before) {
            // The gap at its beginning is no longer reported: its further messages are reported as missed one by one.
            (stream.closed, stream.succession.successor, stream.began) = (true, None, None);
            if !stream.topics.is_empty() {
                stream.concerns = Some(stream.concerns.map_or(stream.entered, |since| since.max(stream.entered)));
            }
            if stream.ended {
                streams.forget_topics(&before);
            } else if !stream.topics.is_empty() {
                streams.doubts.insert((now + GRACE, before));
            }
        }
        streams.holding.remove(&before);
    }

    /// Has the streams before this one give up what they still lack, since the frames that this one holds have waited
    /// long enough.
    pub(in crate::engine) fn give_up_before(&mut self, core: &mut Core, key: Key) {
        let now = core.now.time;
        let streams = &mut self.multicast.streams;
        let mut chain = vec![key];
        while let Some(stream) = chain.last().and_then(|key| streams.streams.get_mut(key)) {
            stream.succession.alone_until = None;
            let Some((before, until)) = &mut stream.succession.predecessor else { break };
            *until = now;
            let before = *before;
            let Some(before_that) = streams.streams.get_mut(&before).filter(|before| !before.closed) else { break };
            before_that.order.give_up(now);
            chain.push(before);
        }
        for key in chain.into_iter().skip(1).rev() {
            self.hand_over(core, key);
        }
    }
}

/// Whether a new stream comes before the latest one of the same contact.
fn comes_before((key, stream): (&Key, &Incoming), (last, later): (&Key, &Incoming), now: Time) -> bool {
    let (ordinal, after) = (ordinals::ordinal_of(&key.1), ordinals::ordinal_of(&last.1));
    if key.0 == last.0 && ordinal != after {
        return ordinal < after;
    }
    // A stream of a later epoch never does, however late the other has come.
    stream.start <= later.start
        && (stream.came < later.came || (stream.start < later.start && now < later.latest + STARTED_AGAIN))
}
