//! Heard: up to which time of sending subscribers may have heard each publisher, kept on disk, so that no frame is
//! handed over twice.
//!
//! A group frame is valid until it expires, and any device that kept it can send it again. The frames that this process
//! has put in order are known by their streams. For the rest, namely those of a process before this one and of streams
//! that were forgotten, a time is known: of a stream that begins here, only frames are handed over that were *sent
//! later* than any that may have been heard.
//!
//! **Mechanism.** Times of sending are by the publisher's clock, and a commit for each frame would cost too much. So
//! two limits are written before they are used: until when, by this device's clock, frames may be handed over at all
//! (*alive*, for [`SPAN`], and extended once less than [`MARGIN`] of it is left), and by how much each publisher's time
//! of sending may then be ahead of this clock (its *mark*, which is written once and hardly ever changes). A frame
//! within both limits was sent before alive + mark: after a restart, everything up to that time is taken for heard. If
//! a publisher's clock was ahead and no longer is, its mark is lowered to the present difference, and keeps the latest
//! time of sending that may have been heard until then (its *peak*). A frame beyond a limit extends that limit, and its
//! replies wait for the commit that holds the extension. So traffic costs one small write a second, however many
//! devices publish. After a crash, up to [`SPAN`] and [`SLACK`] of what a publisher sends may go unheard; a node that
//! is stopped in good order gives back the part of the span that it has not used.
//!
//! A mark is removed when its credential is no longer accepted, or, when there are too many, if it is the lowest of
//! them. Then the *floor* rises to it: frames sent before the floor are taken for heard of every publisher without a
//! mark.
//!
//! Invariants
//! 1. No frame is handed over before a commit is durable after which a restart takes it for heard.
//! 2. A frame that was handed over never becomes new again because a stream or a mark is forgotten.
//! 3. A publisher's times of sending affect its own frames alone: the floor is never above the end of the epoch of the
//!    credential whose mark has raised it.
//! 4. There are at most [`MAX_MARKS`] marks, one for each credential; an issuer gives a device one credential an epoch.
//!    Drop policy: the mark whose latest heard frame was sent first goes (`group_publishers_forgotten`).

use crate::engine::store::{HEARD, Read, ReadError, Table, Write};
use crate::id::{CredentialHash, Lsn};
use crate::time::Unix;
use crate::wire;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most credentials of publishers that have a mark.
pub(in crate::engine) const MAX_MARKS: usize = 8_192;
/// For how long frames may be handed over on one commit.
const SPAN: Duration = Duration::from_secs(2);
/// When less than this is left of the span, the next one is written.
const MARGIN: Duration = Duration::from_secs(1);
/// How much further ahead than observed a publisher's clock may be: transit times of frames differ.
const SLACK: Duration = Duration::from_millis(200);
/// A publisher whose frames are ahead by more than this has a clock that is ahead.
const AHEAD: Duration = Duration::from_secs(1);
/// By how much the difference must have shrunk before the mark is lowered.
const LESS: Duration = Duration::from_secs(5);
/// Least time between two lowerings of a mark: a publisher whose clock seems to go to and fro causes no write for each
/// frame.
const REST: Duration = Duration::from_secs(10);

/// The limits common to all publishers, as they are kept in [`Table::Meta`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Common {
    alive: Unix,
    floor: Unix,
}

/// The mark of a publisher, as it is kept in [`Table::Heard`] under the credential's hash.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stored {
    /// By how many microseconds times of sending may be ahead of this device's clock.
    ahead: i64,
    term: Term,
    /// The latest time of sending that may have been heard before the mark was last lowered.
    #[serde(default, skip_serializing_if = "is_none")]
    peak: Unix,
}

fn is_none(peak: &Unix) -> bool {
    peak.0 == 0
}

/// The times of a publisher's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Term {
    /// The end of the credential's epoch: no frame is sent under it later.
    pub(in crate::engine) end: Unix,
    /// When the credential is no longer accepted.
    pub(in crate::engine) until: Unix,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    stored: Stored,
    /// The commit that holds this mark.
    after: Lsn,
    /// Frames sent up to this time are taken for heard in streams that begin.
    barred: Unix,
    /// The latest time of sending of the frames that this process has handed over.
    last: Unix,
    /// When the mark was last lowered.
    down: Unix,
}

impl Mark {
    fn heard(&self) -> Unix {
        self.barred.max(self.last)
    }
}

/// All marks, the floor and the span in which frames may be handed over.
#[derive(Debug)]
pub(in crate::engine) struct Heard {
    most: usize,
    marks: BTreeMap<CredentialHash, Mark>,
    floor: Unix,
    /// Until when the commit `given` allows frames to be handed over, and the same for the commit that was written
    /// before its end.
    alive: Unix,
    given: Lsn,
    next: Unix,
    next_after: Lsn,
    /// When a frame was last handed over.
    latest: Unix,
}

/// The conditions on which a frame may be handed over, and what they cost.
#[derive(Debug, Default)]
pub(in crate::engine) struct Passed {
    /// The commit that the frame's replies wait for.
    pub(in crate::engine) after: Lsn,
    /// The writes that the turn's commit has to hold.
    pub(in crate::engine) writes: Vec<Write>,
    /// How many marks were dropped to make room.
    pub(in crate::engine) forgotten: u64,
}

impl Heard {
    /// Loads the marks and the limits that the store holds.
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let common = store.get(Table::Meta, HEARD)?.and_then(|value| wire::decode::<Common>(&value).ok());
        let Common { alive, floor } = common.unwrap_or_default();
        let mut heard = Self::new(MAX_MARKS, alive, floor);
        store.scan(Table::Heard, &[], &mut |key, value| {
            if let (Some(publisher), Ok(stored)) = (CredentialHash::from_slice(key), wire::decode::<Stored>(value)) {
                let barred = Unix(alive.0.saturating_add_signed(stored.ahead)).max(stored.peak);
                heard.marks.insert(publisher, Mark { stored, after: Lsn(0), barred, last: Unix(0), down: Unix(0) });
            }
            true
        })?;
        Ok(heard)
    }

    fn new(most: usize, alive: Unix, floor: Unix) -> Self {
        let (marks, none) = (BTreeMap::new(), Lsn(0));
        Self { most, marks, floor, alive, given: none, next: alive, next_after: none, latest: Unix(0) }
    }

    /// Returns the time up to which frames of this publisher are taken for heard in a stream that begins here.
    pub(in crate::engine) fn barred(&self, publisher: &CredentialHash) -> Unix {
        self.marks.get(publisher).map_or(self.floor, |mark| mark.barred)
    }

    /// Handles that a stream of a publisher is forgotten: the frames sent in it so far are taken for heard.
    pub(in crate::engine) fn forget_stream(&mut self, publisher: &CredentialHash) {
        if let Some(mark) = self.marks.get_mut(publisher) {
            mark.barred = mark.heard();
        }
    }

    /// Prepares the hand-over of a frame in the turn whose commit has the number `turn`.
    pub(in crate::engine) fn pass(
        &mut self,
        (publisher, term): (CredentialHash, Term),
        sent: Unix,
        now: Unix,
        turn: Lsn,
    ) -> Passed {
        let mut passed = Passed::default();
        if self.next > now + SPAN * 2 {
            self.step_back(now, turn, &mut passed.writes);
        }
        self.live(now, turn, &mut passed.writes);
        if !self.marks.contains_key(&publisher) {
            self.make_room(now, &mut passed);
            let stored = Stored { ahead: i64::MIN, term, peak: Unix(0) };
            let mark = Mark { stored, after: turn, barred: self.floor, last: Unix(0), down: Unix(0) };
            self.marks.insert(publisher, mark);
        }
        if let Some(mark) = self.marks.get_mut(&publisher) {
            let ahead = ahead(sent, now);
            let is_less = mark.stored.ahead > micros(AHEAD) && mark.stored.ahead.saturating_sub(ahead) > micros(LESS);
            let comes_down = is_less && (now < mark.down || now.since(mark.down) >= REST);
            if comes_down {
                mark.down = now;
                mark.stored.peak = mark.stored.peak.max(mark.heard());
            }
            if ahead > mark.stored.ahead || comes_down {
                mark.stored.ahead = ahead.saturating_add(micros(SLACK));
                mark.after = turn;
                passed.writes.push(put(publisher, &mark.stored));
            }
            mark.last = mark.last.max(sent);
            passed.after = self.given.max(mark.after);
        }
        passed
    }

    /// Returns the write that gives back the unused part of the span when the node stops; `None` if there is none.
    pub(in crate::engine) fn close(&mut self) -> Option<Write> {
        let used = self.latest > Unix(0) && self.latest < self.next;
        used.then(|| {
            (self.alive, self.next) = (self.latest, self.latest);
            self.common()
        })
    }

    /// Makes sure that frames may be handed over at `now`, and extends the span if little of it is left.
    fn live(&mut self, now: Unix, turn: Lsn, writes: &mut Vec<Write>) {
        self.latest = self.latest.max(now);
        if now > self.alive {
            (self.alive, self.given) = (self.next, self.next_after);
        }
        if now + MARGIN > self.next {
            (self.next, self.next_after) = (now + SPAN, turn);
            writes.push(self.common());
        }
        if now > self.alive {
            (self.alive, self.given) = (self.next, self.next_after);
        }
    }

    /// Handles a step back of this device's clock: limits ahead of it would bar publishers for as long as the step.
    fn step_back(&mut self, now: Unix, turn: Lsn, writes: &mut Vec<Write>) {
        let alive = now + SPAN;
        (self.alive, self.given) = (alive, turn);
        (self.next, self.next_after, self.latest) = (alive, turn, now);
        writes.push(self.common());
        for (publisher, mark) in &mut self.marks {
            (mark.stored.ahead, mark.after) = (ahead(mark.heard(), alive), turn);
            writes.push(put(*publisher, &mark.stored));
        }
    }

    /// Makes room for one more mark: those whose credentials are no longer accepted go, or, if there are none, the one
    /// whose latest heard frame was sent first.
    fn make_room(&mut self, now: Unix, passed: &mut Passed) {
        let over = |(_, mark): &(&CredentialHash, &Mark)| mark.stored.term.until <= now;
        let mut gone: Vec<_> = self.marks.iter().filter(over).map(|(of, mark)| (*of, *mark)).collect();
        if gone.is_empty() && self.marks.len() >= self.most {
            gone.extend(self.marks.iter().min_by_key(|(_, mark)| mark.heard()).map(|(of, mark)| (*of, *mark)));
            passed.forgotten += 1;
        }
        if gone.is_empty() {
            return;
        }
        for (publisher, mark) in gone {
            self.marks.remove(&publisher);
            self.floor = self.floor.max(mark.heard().min(mark.stored.term.end));
            passed.writes.push(Write::Delete { table: Table::Heard, key: publisher.as_bytes().to_vec() });
        }
        passed.writes.push(self.common());
    }

    fn common(&self) -> Write {
        let common = Common { alive: self.next, floor: self.floor };
        Write::Put { table: Table::Meta, key: HEARD.to_vec(), value: wire::encode(&common) }
    }
}

/// By how many microseconds a time of sending is ahead of the time of another clock.
fn ahead(sent: Unix, clock: Unix) -> i64 {
    let signed = |at: Unix| i64::try_from(at.0).unwrap_or(i64::MAX);
    signed(sent).saturating_sub(signed(clock))
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

fn put(publisher: CredentialHash, stored: &Stored) -> Write {
    Write::Put { table: Table::Heard, key: publisher.as_bytes().to_vec(), value: wire::encode(stored) }
}

#[cfg(test)]
mod tests;
