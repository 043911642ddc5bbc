//! The schedule: which destination is looked at next for something to send, and why those that wait do.
//!
//! A destination is *ready* when something may be sent to it. All that are ready are served in turn, in the order of their names, so that
//! none keeps another from leaving. One is no longer ready when nothing more can leave, and is again when that may have changed: a link takes
//! data, a route is another, a message was submitted, its time has come.
//!
//! Invariants
//! 1. Of those that are ready each is served once before any is served again.
//! 2. A destination that waits for a link is ready as soon as that takes data, or is gone.

use crate::id::{LinkId, Name};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// See the module's documentation. `W`: why there is no way.
#[derive(Debug)]
pub struct Schedule<W> {
    ready: BTreeSet<Name>,
    /// The destination that was served last.
    served: Option<Name>,
    /// Destinations that wait until a link takes data.
    blocked_on: BTreeMap<LinkId, BTreeSet<Name>>,
    /// Destinations that are tried again then.
    reopening: BTreeSet<(Time, Name)>,
    /// Why there was no way to a destination when it was last looked for.
    no_route: BTreeMap<Name, W>,
    /// When all that waits is looked at anew.
    look_again: Option<Time>,
    /// Whether what is to be confirmed had the first place last time.
    confirmed_last: bool,
}

impl<W> Default for Schedule<W> {
    fn default() -> Self {
        Self {
            ready: BTreeSet::new(),
            served: None,
            blocked_on: BTreeMap::new(),
            reopening: BTreeSet::new(),
            no_route: BTreeMap::new(),
            look_again: None,
            confirmed_last: false,
        }
    }
}

impl<W> Schedule<W> {
    /// Something may be sent to a destination.
    pub fn wake(&mut self, name: Name) {
        self.ready.insert(name);
    }

    /// The same of several.
    pub fn wake_all(&mut self, names: impl IntoIterator<Item = Name>) {
        self.ready.extend(names);
    }

    /// Nothing more can be sent to a destination for now.
    pub fn rest(&mut self, name: &Name) {
        self.ready.remove(name);
    }

    /// The destination after the one that was served last, in the order of names.
    pub fn next(&self) -> Option<&Name> {
        use core::ops::Bound::{Excluded, Unbounded};
        let after = self.served.as_ref().and_then(|served| self.ready.range((Excluded(served), Unbounded)).next());
        after.or_else(|| self.ready.first())
    }

    /// A destination has its turn.
    pub fn serve(&mut self, name: &Name) {
        self.served = Some(name.clone());
    }

    /// Which of confirmed and unconfirmed messages goes first where both wait: they take turns. Answers whether it is the confirmed ones.
    pub fn take_turns(&mut self) -> bool {
        self.confirmed_last = !self.confirmed_last;
        self.confirmed_last
    }

    /// A destination waits until a link takes data.
    pub fn block_on(&mut self, link: LinkId, name: &Name) {
        self.blocked_on.entry(link).or_default().insert(name.clone());
    }

    /// A link takes data again, or is gone.
    pub fn unblock(&mut self, link: LinkId) {
        self.ready.extend(self.blocked_on.remove(&link).unwrap_or_default());
    }

    /// A destination rests until then.
    pub fn reopen(&mut self, name: Name, at: Time) {
        self.ready.remove(&name);
        self.reopening.insert((at, name));
    }

    /// There is no way to a destination.
    pub fn note_no_route(&mut self, name: &Name, why: W) {
        self.no_route.insert(name.clone(), why);
    }

    /// Why there was no way to a destination when it was last looked for.
    pub fn no_route(&self, name: &Name) -> Option<&W> {
        self.no_route.get(name)
    }

    /// All that waits is to be looked at anew by then.
    pub fn look_again_by(&mut self, at: Time) {
        self.look_again = Some(self.look_again.map_or(at, |known| known.min(at)));
    }

    /// All that waits is looked at anew.
    pub fn begin_anew(&mut self) {
        self.look_again = None;
    }

    /// Destinations whose rest is over are ready.
    pub fn handle_timeout(&mut self, now: Time) {
        while self.reopening.first().is_some_and(|(at, _)| *at <= now) {
            self.ready.extend(self.reopening.pop_first().map(|(_, name)| name));
        }
    }

    /// When something is due.
    pub fn next_wake(&self) -> Option<Time> {
        let reopening = self.reopening.first().map(|(at, _)| *at);
        [self.look_again, reopening].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> Name {
        Name::new(name).expect("a name")
    }

    /// A schedule on which these are ready.
    fn of(names: &[&str]) -> Schedule<&'static str> {
        let mut schedule = Schedule::default();
        schedule.wake_all(names.iter().map(|one| name(one)));
        schedule
    }

    fn serve(schedule: &mut Schedule<&'static str>) -> String {
        let next = schedule.next().cloned().expect("one is ready");
        schedule.serve(&next);
        next.to_string()
    }

    #[test]
    fn all_that_are_ready_are_served_in_turn() {
        let mut schedule = of(&["b", "a", "c"]);
        let served: Vec<String> = (0..4).map(|_| serve(&mut schedule)).collect();
        assert_eq!(served, ["a", "b", "c", "a"]);
        // One that is gone from its place, and one that comes behind it, change nothing for the others.
        schedule.rest(&name("a"));
        schedule.wake(name("aa"));
        assert_eq!([serve(&mut schedule), serve(&mut schedule), serve(&mut schedule)], ["aa", "b", "c"]);
    }

    #[test]
    fn what_waits_for_a_link_is_ready_when_that_takes_data() {
        let mut schedule = of(&["a"]);
        let (link, other) = (LinkId(1), LinkId(2));
        schedule.block_on(link, &name("a"));
        schedule.rest(&name("a"));
        schedule.unblock(other);
        assert_eq!(schedule.next(), None);
        schedule.unblock(link);
        assert_eq!(schedule.next(), Some(&name("a")));
    }

    #[test]
    fn what_rests_is_ready_when_its_time_has_come() {
        let mut schedule = of(&["a", "b"]);
        schedule.reopen(name("a"), Time(200));
        schedule.look_again_by(Time(300));
        schedule.look_again_by(Time(400));
        assert_eq!((schedule.next(), schedule.next_wake()), (Some(&name("b")), Some(Time(200))));
        schedule.handle_timeout(Time(199));
        assert_eq!(schedule.next(), Some(&name("b")));
        schedule.handle_timeout(Time(200));
        assert_eq!((schedule.next(), schedule.next_wake()), (Some(&name("a")), Some(Time(300))));
        schedule.begin_anew();
        assert_eq!(schedule.next_wake(), None);
    }

    #[test]
    fn confirmed_and_unconfirmed_messages_take_turns() {
        let mut schedule = of(&[]);
        assert_eq!([schedule.take_turns(), schedule.take_turns(), schedule.take_turns()], [true, false, true]);
    }

    #[test]
    fn why_there_was_no_route_is_what_was_found_last() {
        let mut schedule = of(&[]);
        schedule.note_no_route(&name("a"), "unknown");
        schedule.note_no_route(&name("a"), "too dear");
        assert_eq!((schedule.no_route(&name("a")), schedule.no_route(&name("b"))), (Some(&"too dear"), None));
    }
}
