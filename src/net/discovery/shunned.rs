//! Shunned: members whose addresses rest for longer than a failed dial makes them.
//!
//! The node names a member and a time: all addresses that are known to be its own rest that long, whatever else happens.
//! Another address may turn out to lead to the same member; there it is refused, and the address rests as that of a member
//! without room.

use super::{Discovery, Entry, Instant, PeerId, State};
use std::time::Duration;

impl Discovery {
    /// Leaves the addresses of a member alone for so long; for no time, dials them again.
    pub(crate) fn shun(&mut self, peer: PeerId, rest: Duration) {
        let now = Instant::now();
        for entry in self.addresses.values_mut() {
            let linked = match entry.state {
                State::Linked(link, _) => self.links.get(&link).is_some_and(|(of, _)| *of == peer),
                _ => false,
            };
            if !linked && entry.of != Some(peer) {
                continue;
            }
            entry.rests_until = (!rest.is_zero()).then_some(now + rest);
            if let State::Idle(due) = &mut entry.state {
                *due = if rest.is_zero() { now } else { now + rest };
            }
        }
        self.changed = true;
    }
}

impl Entry {
    /// When an address that may be dialled at `due` may be dialled, since its member may be shunned.
    pub(super) fn after_rest(&self, due: Instant) -> Instant {
        self.rests_until.map_or(due, |until| due.max(until))
    }
}
