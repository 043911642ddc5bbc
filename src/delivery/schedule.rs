//! Schedule: which destination is looked at next for something to send, and why the waiting ones wait.
//!
//! A destination is *ready* when something may be sent to it. All ready destinations are served in turn, in the order
//! of their names, so that none keeps another from sending. A destination stops being ready when nothing more can
//! leave, and becomes ready again when that may have changed: a link takes data, the route has changed, a message was
//! submitted, or its time has come.
//!
//! Invariants
//! 1. Each ready destination is served once before any is served again.
//! 2. A destination that waits for a link is ready as soon as the link takes data or is gone.

use crate::id::{LinkId, Name};
use crate::time::Time;
use std::collections::{BTreeMap, BTreeSet};

/// See the module's documentation. `W` is the reason why a destination has no route.
#[derive(Debug)]
pub struct Schedule<W> {
    ready: BTreeSet<Name>,
    /// The destination that was served last.
    served: Option<Name>,
    /// The destinations that wait until a link takes data.
    blocked_on: BTreeMap<LinkId, BTreeSet<Name>>,
    /// The destinations that are tried again at a time.
    reopening: BTreeSet<(Time, Name)>,
    /// For each destination, why it had no route when one was last looked for.
    no_route: BTreeMap<Name, W>,
    /// When all waiting destinations are looked at again.
    look_again: Option<Time>,
    /// Whether confirmed messages came first the last time.
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
    /// Marks a destination as ready: something may be sent to it.
    pub fn wake(&mut self, name: Name) {
        self.ready.insert(name);
    }

    /// Marks several destinations as ready.
    pub fn wake_all(&mut self, names: impl IntoIterator<Item = Name>) {
        self.ready.extend(names);
    }

    /// Marks a destination as not ready: nothing more can be sent to it for now.
    pub fn rest(&mut self, name: &Name) {
        self.ready.remove(name);
    }

    /// The ready destination after the one served last, in the order of names.
    pub fn next(&self) -> Option<&Name> {
        use core::ops::Bound::{Excluded, Unbounded};
        let after = self.served.as_ref().and_then(|served| self.ready.range((Excluded(served), Unbounded)).next());
        after.or_else(|| self.ready.first())
    }

    /// Gives a destination its turn: it has a route.
    pub fn serve(&mut self, name: &Name) {
        self.served = Some(name.clone());
        self.no_route.remove(name);
    }

    /// Decides whether confirmed or unconfirmed messages go first where both wait: they take turns. Returns `true` for
    /// confirmed ones.
    pub fn take_turns(&mut self) -> bool {
        self.confirmed_last = !self.confirmed_last;
        self.confirmed_last
    }

    /// Lets a destination wait until a link takes data.
    pub fn block_on(&mut self, link: LinkId, name: &Name) {
        self.blocked_on.entry(link).or_default().insert(name.clone());
    }

    /// Marks the destinations that wait for a link as ready, because the link takes data again or is gone.
    pub fn unblock(&mut self, link: LinkId) {
        self.ready.extend(self.blocked_on.remove(&link).unwrap_or_default());
    }

    /// Lets a destination rest until a time.
    pub fn reopen(&mut self, name: Name, at: Time) {
        self.ready.remove(&name);
        self.reopening.insert((at, name));
    }

    /// Notes why a destination has no route.
    pub fn note_no_route(&mut self, name: &Name, why: W) {
        self.no_route.insert(name.clone(), why);
    }

    /// Why a destination had no route when one was last looked for.
    pub fn no_route(&self, name: &Name) -> Option<&W> {
        self.no_route.get(name)
    }

    /// Sets the time by which all waiting destinations are looked at again, if it is earlier than the one set.
    pub fn look_again_by(&mut self, at: Time) {
        self.look_again = Some(self.look_again.map_or(at, |known| known.min(at)));
    }

    /// Notes that all waiting destinations are being looked at again.
    pub fn begin_anew(&mut self) {
        self.look_again = None;
    }

    /// Marks the destinations whose rest is over as ready.
    pub fn handle_timeout(&mut self, now: Time) {
        while self.reopening.first().is_some_and(|(at, _)| *at <= now) {
            self.ready.extend(self.reopening.pop_first().map(|(_, name)| name));
        }
    }

    /// When something is due: the end of a rest, or the next look at all waiting destinations.
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

    /// A schedule on which these destinations are ready.
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

    /// Invariant 1.
    #[test]
    fn all_that_are_ready_are_served_in_turn() {
        let mut schedule = of(&["b", "a", "c"]);
        let served: Vec<String> = (0..4).map(|_| serve(&mut schedule)).collect();
        assert_eq!(served, ["a", "b", "c", "a"]);
        // A destination that is no longer ready, and one that is added behind it, change nothing for the others.
        schedule.rest(&name("a"));
        schedule.wake(name("aa"));
        assert_eq!([serve(&mut schedule), serve(&mut schedule), serve(&mut schedule)], ["aa", "b", "c"]);
    }

    /// Invariant 2.
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
