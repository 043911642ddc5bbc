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
        if now.time < self.core.now.time {
            return;
        }
        self.watch_clock(now);
        self.core.now = now;
        self.core.membership.groups_mut().set_time(now.unix);
        if self.core.wake.is_some_and(|at| at <= now.time) {
            self.core.wake = None;
            self.handle_timeout();
        }
    }

    fn handle_timeout(&mut self) {
        self.messages.timeout_unicast(&mut self.core, &mut self.neighbours, &mut self.routing);
        self.messages.timeout_services(&mut self.core);
        self.groups.timeout_confirmations(&mut self.core);
        self.groups.timeout_multicast(&mut self.core, &mut self.neighbours);
        self.routing.timeout_link_state(&mut self.core, &mut self.neighbours);
        let messages = &self.messages;
        self.routing.timeout_locating(&mut self.core, &mut self.neighbours, &|name| messages.waits_for(name));
        self.neighbours.timeout_link_metrics(&mut self.core);
        self.groups.timeout_tree(&mut self.core, &mut self.neighbours, &mut self.routing);
        self.groups.timeout_repair(&mut self.core, &mut self.neighbours);
        self.member.timeout_relays(&mut self.core, &mut self.neighbours);
        self.member.timeout_documents(&mut self.core, &mut self.neighbours);
        self.messages.timeout_reopening(&self.core);
        self.timeout_epochs();
        self.member.timeout_bulletin(&mut self.core);
        self.member.timeout_renewal(&mut self.core);
        self.core.timeout_log();
        self.pass_on();
    }

    fn next_wake(&self) -> Option<Time> {
        [
            self.messages.outgoing.next_wake(),
            self.messages.unconfirmed.next_wake(),
            self.messages.services.next_wake(),
            self.groups.multicast.next_wake(self.core.now.time),
            self.groups.publishing.next_wake(),
            self.groups.confirmations.next_wake(),
            self.groups.shelf.next_wake(),
            self.groups.repair.next_wake(),
            self.routing.link_state.next_wake(),
            self.routing.next_route_check(),
            self.routing.next_question(),
            self.neighbours.next_bearer_change(&self.core),
            self.groups.tree.next_wake(),
            self.messages.schedule.next_wake(),
            self.member.epochs.next_wake(),
            self.member.bulletins.next_wake(),
            self.member.renewal.next_wake(),
            self.member.relaying.next_wake(),
            self.member.documents.next_wake(),
            Some(self.core.log.poll_timeout()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next thing to do. After [`Output::Wait`] the turn is over.
    pub fn poll_output(&mut self) -> Output {
        loop {
            if let Some(output) = self.core.outputs.pop_front() {
                return output;
            }
            // First what tells others what happened, then the commit that it waits for, then new data.
            let more = self.end_turn()
                || self.messages.pump_unicast(&mut self.core, &mut self.neighbours, &mut self.routing)
                || self.groups.pump_multicast(&mut self.core, &mut self.neighbours, &mut self.routing);
            self.pass_on();
            if more {
                continue;
            }
            self.core.wake = self.next_wake();
            return Output::Wait(self.core.wake);
        }
    }

    /// Ends the turn: one commit, and what waits for it. Answers whether there was anything.
    pub(super) fn end_turn(&mut self) -> bool {
        if self.routing.settle_routing(&mut self.core, &mut self.neighbours, self.messages.wait()) {
            self.groups.regrow(&self.core);
        }
        self.pass_on();
        self.messages.write_dedupe(&mut self.core);
        self.messages.write_outgoing(&mut self.core);
        self.neighbours.write_history(&mut self.core);
        let logged = self.core.write_log();
        let commit = self.core.journal.take_commit();
        let committed = commit.is_some();
        self.core.outputs.extend(commit.map(Output::Commit));
        let after = self.core.journal.last();
        let before = self.core.outputs.len();
        self.messages.announce_inbox(&mut self.core, after);
        self.messages.confirm_to_senders(&mut self.core, &mut self.neighbours, &mut self.routing, after);
        self.messages.send_answers(&mut self.core, &mut self.neighbours, &mut self.routing);
        self.messages.release_calls(&mut self.core, after);
        for (token, reply, last) in self.core.journal.take_deferred() {
            self.core.outputs.push_back(Output::Reply { token, reply, after, last });
        }
        if logged {
            let last = self.core.log.head().last;
            for token in self.core.journal.watchers() {
                let reply = Reply::Log { last };
                self.core.outputs.push_back(Output::Reply { token, reply, after, last: false });
            }
        }
        committed || self.core.outputs.len() > before
    }

    /// Notes when the wall clock moves against the monotonic one.
    pub(super) fn watch_clock(&mut self, now: Now) {
        let wall = now.unix.0.cast_signed() - self.core.now.unix.0.cast_signed();
        let elapsed = now.time.since(self.core.now.time).as_micros();
        let by = wall - i64::try_from(elapsed).unwrap_or(i64::MAX);
        if by.abs() > STEP {
            self.core.now = now;
            self.core.record(Event::ClockStepped { by_ms: by / 1_000 });
            self.neighbours.links.handle_clock_step(by);
            self.groups.shelf.handle_clock_step(by);
            self.groups.multicast.streams.handle_clock_step(by);
            self.neighbours.announce_again(&mut self.core);
            self.member.renewal.handle_clock_step();
            self.start_epoch();
            self.groups.update_tags(&mut self.core, &mut self.neighbours);
        }
    }
}
