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
//! - What waits for nothing comes out first, then the commit of the turn, then what waits for that, then new data.
//! - The order in which modules end a turn, and are called when they are due, is written here and nowhere else.

use super::api::Reply;
use super::timers::Timer;
use super::{Engine, Output};
use crate::event_log::Event;
use crate::identity::clock::NodeClock;
use crate::time::{Now, Time};

/// Clock steps larger than this are events.
const STEP: i64 = 1_000_000;

impl Engine {
    /// Advances time and does what has become due.
    pub(super) fn pass_time(&mut self, now: Now) {
        if now.time < self.core.now.time {
            return;
        }
        let (change, machine) = (self.core.clock.heed(now, self.core.now), now.unix);
        self.take_time(self.core.clock.read(now));
        if let Some(change) = change {
            self.member.heed_machine(&mut self.core, &mut self.neighbours, change, machine);
            self.core.outputs.push_back(Output::MembershipChanged { save: false });
        }
        if self.core.timers.next().is_some_and(|at| at <= now.time) {
            self.handle_timeout();
        }
    }

    fn take_time(&mut self, now: Now) {
        self.watch_clock(now);
        self.core.now = now;
        self.core.membership.groups_mut().set_time(now.unix);
    }

    /// The node's own clock may have been set: from here on all goes by it.
    pub(super) fn adopt_clock(&mut self, before: NodeClock) {
        if self.core.clock == before {
            return;
        }
        self.take_time(self.core.clock.read(self.core.now));
        self.core.outputs.push_back(Output::MembershipChanged { save: false });
        self.member.plan_renewal(&self.core);
        if !before.is_sure() {
            // What was judged by no time is judged by this: links, and what routers say that nobody was believed to be.
            self.member.close_lapsed_links(&mut self.core, &mut self.neighbours);
            for link in self.neighbours.links.ids() {
                if self.neighbours.links.get(link).is_some_and(|link| link.forwarding) {
                    self.routing.meet_router(&mut self.core, &mut self.neighbours, link);
                }
            }
        }
    }

    fn timeout_clock(&mut self) {
        let before = self.core.clock;
        self.member.timeout_clock(&mut self.core, &mut self.neighbours);
        self.adopt_clock(before);
    }

    /// Does what is due, and nothing else.
    fn handle_timeout(&mut self) {
        let now = self.core.now.time;
        if self.neighbours.is_assessment_due(now) {
            self.core.timers.set(Timer::LinkMetrics, Some(now));
        }
        if self.messages.wait() {
            self.core.timers.set(Timer::Sends, Some(now));
        }
        for timer in self.core.timers.take_due(self.core.now.time) {
            self.run(timer);
        }
        self.pass_on();
    }

    fn run(&mut self, timer: Timer) {
        let Self { core, neighbours, routing, messages, groups, member } = self;
        match timer {
            Timer::Sends => messages.timeout_unicast(core, neighbours, routing),
            Timer::Held => self.timeout_held(),
            Timer::Services => messages.timeout_services(core),
            Timer::Anycast => messages.timeout_anycasts(core),
            Timer::Blobs => messages.timeout_blobs(core),
            Timer::Mail => messages.timeout_mail(core, neighbours, routing),
            Timer::Confirmations => {
                groups.timeout_confirmations(core);
                groups.timeout_answers(core);
            }
            Timer::Multicast => groups.timeout_multicast(core, neighbours),
            Timer::LinkState => routing.timeout_link_state(core, neighbours),
            Timer::Locating => routing.timeout_locating(core, neighbours, &|name| messages.waits_for(name)),
            Timer::LinkMetrics => neighbours.timeout_link_metrics(core),
            Timer::Quarantine => neighbours.timeout_quarantine(core),
            Timer::Sleep => neighbours.timeout_sleep(core),
            Timer::Tree => groups.timeout_tree(core, neighbours, routing),
            Timer::Repair => groups.timeout_repair(core, neighbours),
            Timer::Clock => self.timeout_clock(),
            Timer::Relaying => member.timeout_relays(core, neighbours),
            Timer::Documents => member.timeout_documents(core, neighbours),
            Timer::Epochs => self.timeout_epochs(),
            Timer::Bulletins => member.timeout_bulletin(core),
            Timer::Renewal => member.timeout_renewal(core),
            Timer::Rotation => self.timeout_rotation(),
            Timer::Log => core.timeout_log(),
        }
    }

    /// Asks every room when it has something to do next. Returns the earliest of these times.
    fn set_timers(&mut self) -> Option<Time> {
        let Self { core, neighbours, routing, messages, groups, member } = self;
        let first = |times: &[Option<Time>]| times.iter().flatten().min().copied();
        for timer in Timer::ALL {
            let due = match timer {
                // What waits for a route is looked at anew when the routes are.
                Timer::Sends => first(&[messages.sends.next_wake(), routing.next_route_check()]),
                Timer::Held => messages.held.next_wake(core.now),
                Timer::Services => first(&[messages.services.next_wake(), messages.named_requests.next_wake(core.now)]),
                Timer::Anycast => messages.anycasts.next_wake(),
                Timer::Blobs => messages.blobs.next_wake(core.now),
                Timer::Mail => messages.mail.next_wake(core.now),
                Timer::Confirmations => first(&[groups.confirmations.next_wake(), groups.answers.next_wake(core.now)]),
                Timer::Multicast => first(&[groups.multicast.next_wake(core.now.time), groups.publishing.next_wake()]),
                Timer::LinkState => routing.link_state.next_wake(core.now),
                Timer::Locating => routing.next_question(),
                Timer::LinkMetrics => neighbours.next_bearer_change(core),
                Timer::Quarantine => neighbours.quarantine.next_wake(),
                Timer::Sleep => neighbours.sleepers.own.next_wake(),
                Timer::Tree => groups.tree.next_wake(),
                Timer::Repair => first(&[groups.shelf.next_wake(), groups.repair.next_wake()]),
                Timer::Clock => member.clock.next_wake(),
                Timer::Relaying => member.relaying.next_wake(),
                Timer::Documents => member.documents.next_wake(),
                Timer::Epochs => member.epochs.next_wake(),
                Timer::Bulletins => member.bulletins.next_wake(),
                Timer::Renewal => member.renewal.next_wake(),
                Timer::Rotation => member.rotation.next_wake(),
                Timer::Log => Some(core.log.poll_timeout()),
            };
            core.timers.set(timer, due);
        }
        core.timers.next()
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
                || self.groups.pump_multicast(&mut self.core, &mut self.neighbours, &mut self.routing)
                || self.messages.pump_blobs(&mut self.core, &mut self.neighbours, &mut self.routing);
            self.pass_on();
            if more || !self.core.outputs.is_empty() {
                continue;
            }
            return Output::Wait(self.set_timers());
        }
    }

    /// Ends the turn: one commit, and what waits for it. Answers whether there was anything.
    pub(super) fn end_turn(&mut self) -> bool {
        if self.routing.settle_routing(&mut self.core, &mut self.neighbours, self.messages.want_routes()) {
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
        self.messages.say_custody(&mut self.core, &mut self.neighbours, after);
        self.messages.send_answers(&mut self.core, &mut self.neighbours, &mut self.routing);
        self.messages.say_about_blobs(&mut self.core, &mut self.neighbours, &mut self.routing);
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
            self.groups.publishing.streams.handle_clock_step(by);
            self.neighbours.announce_again(&mut self.core);
            self.member.renewal.handle_clock_step();
            self.start_epoch();
            self.groups.update_tags(&mut self.core, &mut self.neighbours);
            self.messages.anycasts.tags_changed();
        }
    }
}
