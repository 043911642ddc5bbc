//! The turn: what is done when time has passed, and in which order a turn ends.
//!
//! ```text
//! inputs: pass_time ─▶ the clock was set? what is due? ─▶ dispatch
//! outputs: replies and frames gathered so far
//!          ─▶ end_turn: routes settle ─▶ dedupe states, outbox, path history, event log ─▶ one commit
//!                       ─▶ what waits for it: inbox notices, receipts, answers, calls, replies
//!          ─▶ new data: unicast, then publications ─▶ wait
//! ```
//!
//! Invariants
//! 1. What waits for nothing comes out first, then the commit of the turn, then what waits for that, then new data.
//! 2. The order in which rooms end a turn, and are told that time has passed, is written here and nowhere else.

use super::api::Reply;
use super::{Engine, Output};
use crate::event_log::Event;
use crate::time::{Now, Time};

/// Clock steps larger than this are events.
const STEP: i64 = 1_000_000;

impl Engine {
    /// Advances time and does what has become due.
    pub(super) fn pass_time(&mut self, now: Now) {
        if now.time < self.now.time {
            return;
        }
        self.watch_clock(now);
        self.now = now;
        self.membership.groups_mut().set_time(now.unix);
        if self.wake.is_some_and(|at| at <= now.time) {
            self.wake = None;
            self.handle_timeout();
        }
    }

    fn handle_timeout(&mut self) {
        self.timeout_unicast();
        self.timeout_services();
        self.timeout_confirmations();
        self.timeout_multicast();
        self.timeout_link_state();
        self.timeout_locating();
        self.timeout_worth();
        self.timeout_tree();
        self.timeout_repair();
        self.timeout_relays();
        self.timeout_documents();
        self.timeout_reopening();
        self.timeout_epochs();
        self.timeout_bulletin();
        self.timeout_renewal();
        self.timeout_log();
    }

    fn next_wake(&self) -> Option<Time> {
        [
            self.outgoing.next_wake(),
            self.unconfirmed.next_wake(),
            self.services.next_wake(),
            self.multicast.next_wake(self.now.time),
            self.publishing.next_wake(),
            self.confirmations.next_wake(),
            self.shelf.next_wake(),
            self.repair.next_wake(),
            self.routing.next_wake(),
            self.next_route_check(),
            self.next_question(),
            self.next_bearer_change(),
            self.tree.next_wake(),
            self.schedule.next_wake(),
            self.epochs.next_wake(),
            self.bulletins.next_wake(),
            self.renewal.next_wake(),
            self.relaying.next_wake(),
            self.documents.next_wake(),
            Some(self.log.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do. After [`Output::Wait`] the turn is over.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            // First what tells others what happened, then the commit that it waits for, then new data.
            if self.end_turn() || self.pump_unicast() || self.pump_multicast() {
                continue;
            }
            self.wake = self.next_wake();
            return Output::Wait(self.wake);
        }
    }

    /// Ends the turn: one commit, and what waits for it. Answers whether there was anything.
    pub(super) fn end_turn(&mut self) -> bool {
        self.settle_routing();
        self.write_dedupe();
        self.write_outgoing();
        self.write_history();
        let logged = self.write_log();
        let commit = self.journal.take_commit();
        let committed = commit.is_some();
        self.outputs.extend(commit.map(Output::Commit));
        let after = self.journal.last();
        let before = self.outputs.len();
        self.announce_inbox(after);
        self.confirm_to_senders(after);
        self.send_answers();
        self.release_calls(after);
        for (token, reply, last) in self.journal.take_deferred() {
            self.outputs.push_back(Output::Reply { token, reply, after, last });
        }
        if logged {
            let last = self.log.head().last;
            for token in self.journal.watchers() {
                let reply = Reply::Log { last };
                self.outputs.push_back(Output::Reply { token, reply, after, last: false });
            }
        }
        committed || self.outputs.len() > before
    }

    /// Notes when the wall clock moves against the monotonic one.
    pub(super) fn watch_clock(&mut self, now: Now) {
        let wall = now.unix.0.cast_signed() - self.now.unix.0.cast_signed();
        let elapsed = now.time.since(self.now.time).as_micros();
        let by = wall - i64::try_from(elapsed).unwrap_or(i64::MAX);
        if by.abs() > STEP {
            self.now = now;
            self.record(Event::ClockStepped { by_ms: by / 1_000 });
            self.links.handle_clock_step(by);
            self.shelf.handle_clock_step(by);
            self.multicast.streams.handle_clock_step(by);
            self.announce_again();
            self.renewal.handle_clock_step();
            self.start_epoch();
            self.update_tags();
        }
    }
}
