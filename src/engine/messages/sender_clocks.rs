//! Sender clocks: whether the clock of a device whose messages come is far from this one's, by the times that they state.
//!
//! **Mechanism.** A message states when it left, by its sender's clock. It cannot have come before it left, so a time that
//! is ahead of this device's clock by more than clocks may differ shows that one of the two is wrong. A time that lies
//! behind may also be that of a message that was long under way: it shows so only if no message of a while, and of
//! several, was under way for less. The event log says both times, with the sender's name: once, and again after
//! [`SAY_AGAIN`] if the difference persists. Neighbours' clocks are compared when links come up, besides (`node::clock`).
//!
//! A message that is out of date by its sender's clock is dropped unread: a clock that is far behind shows only by
//! messages with longer lifetimes.
//!
//! Invariants
//! - No more senders are known than there are contacts.

use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::event_log::Event;
use crate::id::Name;
use crate::time::Time;
use core::time::Duration;
use std::collections::BTreeMap;

/// For how long, at least, messages are compared before one that took long shows anything.
const WHILE: Duration = Duration::from_secs(60);
/// How many messages are compared at least.
const SEVERAL: u32 = 3;
/// After this long a comparison begins anew: clocks are set.
const ANEW: Duration = Duration::from_secs(600);
/// After this long a difference that persists is reported again.
const SAY_AGAIN: Duration = Duration::from_secs(3_600);

#[derive(Debug)]
struct Compared {
    since: Time,
    messages: u32,
    /// The shortest time that a message was under way, by the two clocks, in microseconds.
    least: i64,
    said: Option<Time>,
}

/// The senders whose clocks are compared with this device's.
#[derive(Debug, Default)]
pub(in crate::engine) struct SenderClocks(BTreeMap<Name, Compared>);

impl SenderClocks {
    /// Forgets a contact that is none any more.
    pub(super) fn forget(&mut self, from: &Name) {
        self.0.remove(from);
    }

    /// Notes that a message of a sender was under way for `took` by the two clocks. Returns whether that is to be
    /// reported.
    fn note(&mut self, from: &Name, took: i64, allowed: i64, now: Time) -> bool {
        let fresh = Compared { since: now, messages: 0, least: i64::MAX, said: None };
        let known = self.0.entry(from.clone()).or_insert(fresh);
        if now.since(known.since) >= ANEW {
            (known.since, known.messages, known.least) = (now, 0, i64::MAX);
        }
        known.messages = known.messages.saturating_add(1);
        known.least = known.least.min(took);
        let behind = known.least > allowed && known.messages >= SEVERAL && now.since(known.since) >= WHILE;
        let differs = took < -allowed || behind;
        let due = differs && known.said.is_none_or(|said| now.since(said) >= SAY_AGAIN);
        if due {
            known.said = Some(now);
        }
        due
    }
}

impl Messages {
    /// Compares the clock of a contact whose messages left at `sent`, by that clock, with this device's.
    pub(super) fn compare_clock(&mut self, core: &mut Core, from: &Name, sent: u64) {
        if !core.clock.is_sure() {
            return;
        }
        let ours = core.now.unix.0;
        let took = i64::try_from(i128::from(ours) - i128::from(sent)).unwrap_or(i64::MIN);
        let allowed = i64::try_from(core.skew().as_micros()).unwrap_or(i64::MAX);
        if self.sender_clocks.note(from, took, allowed, core.now.time) {
            let (theirs, ours) = (sent / 1_000_000, core.now.unix.seconds());
            core.record(Event::ClockDiffers { address: from.to_string(), theirs, ours });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    #[test]
    fn a_clock_that_is_ahead_shows_at_once_and_one_that_is_behind_after_a_while() {
        let from = Name::new("pump").expect("a name");
        let (mut clocks, allowed) = (SenderClocks::default(), 300 * SECOND);
        let mut note = |took: i64, second: u64| clocks.note(&from, took * SECOND, allowed, Time(second * 1_000_000));
        assert!(!note(1, 0) && !note(-299, 1), "clocks may differ");
        assert!(note(-301, 2) && !note(-301, 3), "it is said once");
        assert!(note(-301, 3_602 + 3), "and again");
        // Messages that took long show nothing beside one that did not.
        assert!(!note(400, 8_000) && !note(400, 8_030) && note(400, 8_061));
        assert!(!note(400, 12_000) && !note(2, 12_030) && !note(400, 12_070));
    }
}
