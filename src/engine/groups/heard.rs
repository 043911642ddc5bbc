//! Up to where subscribers may have heard each publisher, kept on disk, so that nobody makes them hear it again.
//!
//! A group frame is good until it expires, and whoever kept it can hand it in again. What this process has put in order it
//! knows by its streams. Of the rest, a process before this one or a stream that was forgotten, it knows a time: of a
//! stream that begins here only frames are handed over that were *sent later* than any that may have been heard.
//!
//! **Mechanism.** Times of sending are by the publisher's clock, and a commit for each frame is too dear. So two things are
//! written ahead of what they allow: until when, by this device's clock, frames may be handed over at all (*alive*, for
//! [`SPAN`], and anew once less than [`MARGIN`] of it is left), and by how much each publisher's time of sending may then be ahead
//! of this clock (its *mark*, which is written once and hardly ever changes). A frame that both allow was sent before alive + mark:
//! after a restart all up to that is taken for heard. Where a publisher's clock was ahead, and is so no more, its mark comes down to
//! what it is ahead by now, and says besides what may have been heard of it until then (its *peak*). A frame that they do not allow extends them, and its replies
//! wait for that commit. So traffic costs one small write a second, however many publish, and after a crash up to
//! [`SPAN`] and [`SLACK`] of what a publisher sends may go unheard; a node that is stopped in good order gives back what it has
//! not used of the span.
//!
//! A mark goes when the credential that it is for is not accepted any more, or the least of them when there are too many. Then the
//! *floor* rises to it: what was sent before the floor is taken for heard of every publisher without a mark.
//!
//! Invariants
//! 1. No frame is handed over before a commit is durable after which a restart takes it for heard.
//! 2. Forgetting a stream or a mark never makes a frame new that was handed over.
//! 3. A publisher's times of sending bear on its own frames alone: the floor is never above the end of the epoch of the
//!    credential whose mark has raised it.
//! 4. At most [`MAX_MARKS`] marks, one for each credential, of which an issuer gives a device one an epoch. Drop policy: of
//!    those heard the one that was sent first goes (`group_publishers_forgotten`).

use crate::engine::store::{HEARD, Read, ReadError, Table, Write};
use crate::id::{CredentialHash, Lsn};
use crate::time::Unix;
use crate::wire;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most publishers of whom it is known up to where they were heard.
pub(in crate::engine) const MAX_MARKS: usize = 8_192;
/// For how long frames may be handed over on one commit.
const SPAN: Duration = Duration::from_secs(2);
/// With less of it left, the next is written.
const MARGIN: Duration = Duration::from_secs(1);
/// How much more than was seen a publisher's clock may be ahead: frames take unequally long.
const SLACK: Duration = Duration::from_millis(200);
/// A publisher whose frames are ahead by more has a clock that is.
const AHEAD: Duration = Duration::from_secs(1);
/// By how much less its frames are ahead when its mark comes down.
const LESS: Duration = Duration::from_secs(5);
/// How long it stays then at least: who sends as if its clock went to and fro makes no write for each frame.
const REST: Duration = Duration::from_secs(10);

/// As it is kept in [`Table::Meta`].
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Common {
    alive: Unix,
    floor: Unix,
}

/// As it is kept in [`Table::Heard`], under the credential's hash.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Stored {
    /// By how many microseconds times of sending may be ahead of this device's clock.
    ahead: i64,
    term: Term,
    /// What was sent up to then may have been heard when they were ahead by more.
    #[serde(default, skip_serializing_if = "is_none")]
    peak: Unix,
}

fn is_none(peak: &Unix) -> bool {
    peak.0 == 0
}

/// Of a publisher's credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Term {
    /// End of the epoch that it is for: nothing is sent under it later.
    pub(in crate::engine) end: Unix,
    /// When it is not accepted any more.
    pub(in crate::engine) until: Unix,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    stored: Stored,
    /// The commit that holds it.
    after: Lsn,
    /// What was sent up to here is taken for heard, in streams that begin.
    barred: Unix,
    /// The latest that this process has handed over.
    last: Unix,
    /// When it came down last.
    down: Unix,
}

impl Mark {
    fn heard(&self) -> Unix {
        self.barred.max(self.last)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Heard {
    most: usize,
    marks: BTreeMap<CredentialHash, Mark>,
    floor: Unix,
    /// Until when the commit `given` allows it, and the one that was written ahead of its end.
    alive: Unix,
    given: Lsn,
    next: Unix,
    next_after: Lsn,
    /// When something was handed over last.
    latest: Unix,
}

/// What the hand-over of a frame has to wait for, and takes.
#[derive(Debug, Default)]
pub(in crate::engine) struct Passed {
    /// Its replies wait for this commit.
    pub(in crate::engine) after: Lsn,
    /// What that commit is to hold.
    pub(in crate::engine) writes: Vec<Write>,
    /// Publishers that were forgotten.
    pub(in crate::engine) forgotten: u64,
}

impl Heard {
    /// What the store holds.
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

    /// Of a stream of this publisher that begins here, frames sent up to then are taken for heard.
    pub(in crate::engine) fn barred(&self, publisher: &CredentialHash) -> Unix {
        self.marks.get(publisher).map_or(self.floor, |mark| mark.barred)
    }

    /// A stream of a publisher is forgotten: what was sent in it is taken for heard.
    pub(in crate::engine) fn forget_stream(&mut self, publisher: &CredentialHash) {
        if let Some(mark) = self.marks.get_mut(publisher) {
            mark.barred = mark.heard();
        }
    }

    /// A frame is about to be handed over, in the turn whose commit has that number.
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

    /// The node stops: what it has not used of its span it gives back.
    pub(in crate::engine) fn close(&mut self) -> Option<Write> {
        let used = self.latest > Unix(0) && self.latest < self.next;
        used.then(|| {
            (self.alive, self.next) = (self.latest, self.latest);
            self.common()
        })
    }

    /// It lives at `now`, and for a while yet.
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

    /// This device's clock went back: what holds ahead of it would bar publishers for as long.
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

    /// Room for one more mark: those whose frames nobody takes any more go, and if there are none the one heard first.
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

/// By how many microseconds a time of sending is ahead of another clock.
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
