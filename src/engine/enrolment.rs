//! This node's own renewal, and the turn of its epochs.
//!
//! **Renewal.** Well before its credentials run out the node asks for the next ones as a device that enrols does, over
//! a connection of its own under its renewal key. A *pull* is a renewal that asks for no credentials, only for new
//! contact cards and the bulletin: it is made when a stranger speaks to us or the application names a stranger,
//! since the operator may have introduced them meanwhile.
//!
//! **Epochs.** At the turn of an epoch the node takes its next credential, tells its neighbours ([`Kind::Refresh`](crate::wire::frame::Kind::Refresh)),
//! publishes a new admission view, and closes links whose credential has lapsed.
//!
//! ```text
//!  due or pull ─▶ asking ──answer──▶ idle
//!                   └──failure──▶ waiting (10 s, doubling to a sixteenth of the time left, and 10 min) ─▶ asking
//! ```
//!
//! Invariants
//! 1. At most one request of our own at a time; pulls at most every [`PULL_INTERVAL`] where the issuer is elsewhere.
//! 2. Only what the issuer has sealed for a request ends it with a yes or a no; what others say is a hint, and it is
//!    tried again.
//! 3. A message to a stranger waits for one pull, then goes or is refused.
//! 4. Keys are erased by a *sure* time: that at which a neighbour last showed a credential that this clock takes for one
//!    of now, and what has passed since by the monotonic clock. Nobody but a neighbour whose clock is wrong by as much
//!    shows such a one to a clock that is wrong by days; so its keys wait until it is right.

use super::api::{Command, Load, Reply, Send, Token};
use super::{Engine, Origin, Output};
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{LinkId, Name};
use crate::identity::credential::acceptance;
use crate::identity::enrolment::PendingEnrolment;
use crate::time::{Now, Time, Unix};
use crate::wire::hello::EnrolReply;
use core::time::Duration;
use std::collections::BTreeSet;

/// Least time between two pulls.
const PULL_INTERVAL: Duration = Duration::from_secs(5);
/// First and longest wait after a failed renewal, the latter where the credentials soon run out.
const RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(600));
/// Most messages that wait for a pull. Drop policy: the newest is refused as to an unknown contact.
const MAX_STRANGERS: usize = 256;
/// A destination whose session the peer did not know, or refused, is tried again after this.
const REOPEN: Duration = Duration::from_millis(200);
/// Clock steps larger than this are events.
const STEP: i64 = 1_000_000;

#[derive(Debug)]
struct Stranger {
    token: Token,
    to: Name,
    command: Command,
    since: Time,
}

/// Our own requests, and what waits for them.
#[derive(Debug, Default)]
pub(super) struct Enrolment {
    asking: Option<PendingEnrolment>,
    /// Whether the request asks for credentials, and not only for cards.
    asking_batch: bool,
    /// Something new was wanted while a request was under way.
    pull_again: bool,
    last_pull: Option<Time>,
    next_pull: Option<Time>,
    next_renewal: Option<Time>,
    failures: u32,
    strangers: Vec<Stranger>,
    next_epoch: Option<Time>,
    /// When keys of past epochs are erased.
    next_erasure: Option<Time>,
    /// It waits for somebody to show what the time is.
    erasure_waits: bool,
    /// When somebody last did.
    witnessed: Option<Now>,
    /// The version of which it has been said that its successor is overdue.
    overdue: Option<u64>,
    /// When the bulletin should have a successor.
    next_bulletin: Option<Time>,
    reopen: BTreeSet<(Time, Name)>,
}

impl Enrolment {
    pub(super) fn next_wake(&self) -> Option<Time> {
        let reopen = self.reopen.first().map(|(at, _)| *at);
        let own = [self.next_pull, self.next_renewal, self.next_epoch, self.next_erasure, self.next_bulletin];
        own.into_iter().chain([reopen]).flatten().min()
    }
}

impl Engine {
    /// Takes up the present epoch.
    pub(super) fn start_epoch(&mut self) {
        let length = self.membership.epoch_length();
        let epoch = length.epoch_at(self.now.unix);
        self.enrolment.next_epoch = Some(self.now.time + length.end(epoch).since(self.now.unix));
        // At a start and after a step of the clock too: a clock that is wrong by days is given time to be set.
        self.enrolment.next_erasure = Some(self.now.time + length.skew() * 2);
        self.record(Event::EpochChanged { epoch: epoch.0 });
        self.outputs.push_back(Output::MembershipChanged { save: false });
        self.learn_own();
        self.send_refresh();
        self.close_lapsed_links();
        self.end_streams();
        self.plan_renewal();
        self.watch_bulletin();
    }

    /// Says when the bulletin's successor is overdue: the operator has not made one, or somebody keeps it away. Nothing
    /// stops for that; the bulletin holds until there is a newer one.
    pub(super) fn watch_bulletin(&mut self) {
        let (version, next) = {
            let body = self.membership.bulletin().body();
            (body.version, Unix::from_seconds(body.next_update))
        };
        if self.now.unix < next {
            self.enrolment.next_bulletin = Some(self.now.time + next.since(self.now.unix));
            return;
        }
        self.enrolment.next_bulletin = None;
        if self.enrolment.overdue.replace(version) != Some(version) {
            self.record(Event::BulletinOverdue { version, since: next.seconds() });
        }
    }

    /// Erases what opens the past: keys of epochs that are accepted no more, here and on disk, and the sessions of these.
    fn erase_past(&mut self) {
        self.enrolment.next_erasure = None;
        self.sessions.retire(self.now.unix);
        let sure = self.sure_time();
        self.enrolment.erasure_waits = sure < self.now.unix;
        if self.membership.erase_past(sure) {
            self.outputs.push_back(Output::MembershipChanged { save: true });
        }
    }

    /// A neighbour has shown a credential that holds by this clock.
    pub(super) fn witness_time(&mut self) {
        self.enrolment.witnessed = Some(self.now);
        if core::mem::take(&mut self.enrolment.erasure_waits) {
            self.enrolment.next_erasure = Some(self.now.time);
        }
    }

    /// Invariant 4.
    fn sure_time(&self) -> Unix {
        let shown = self.enrolment.witnessed.map(|at| at.unix + self.now.time.since(at.time));
        shown.unwrap_or(Unix(0)).min(self.now.unix)
    }

    /// Closes links whose neighbour has not refreshed its credential in time, or is revoked.
    pub(super) fn close_lapsed_links(&mut self) {
        let (unix, bulletin) = (self.now.unix, self.membership.bulletin().clone());
        let lapsed: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| {
                acceptance(&link.peer.body).is_none_or(|(_, until)| until <= unix)
                    || bulletin.recheck(&link.peer, unix).is_err()
            })
            .map(|(id, _)| id)
            .collect();
        for link in lapsed {
            self.close(link, "its credential has lapsed");
        }
    }

    pub(super) fn handle_renewed(&mut self, answer: Result<EnrolReply, String>) {
        let Some(pending) = self.enrolment.asking.take() else { return };
        let result = answer.and_then(|reply| match (reply.sealed, reply.refused) {
            (Some(sealed), None) => {
                let (now, sure) = (self.now.unix, self.sure_time());
                self.membership.finish_renewal(&pending, &sealed, now, sure).map_err(|error| error.to_string())
            }
            (_, Some(refused)) => Err(refused.to_string()),
            _ => Err("the answer is empty".to_owned()),
        });
        match result {
            Ok(renewed) => {
                // What was granted may not reach the present: one of the clocks is wrong, and asking at once changes nothing.
                let again = self.enrolment.asking_batch && self.membership.renewal_due(self.now.unix);
                self.enrolment.failures = if again { self.enrolment.failures + 1 } else { 0 };
                if renewed.credentials {
                    let until = self.membership.valid_until().seconds();
                    self.record(Event::Joined { until });
                }
                for (name, change) in self.membership.contacts().take_changes() {
                    self.record(Event::ContactChanged { name, what: change.text().to_owned() });
                }
                self.outputs.push_back(Output::MembershipChanged { save: true });
                self.rename_links();
                if renewed.bulletin {
                    self.heed_bulletin();
                }
                self.update_tags();
            }
            Err(reason) => {
                self.enrolment.failures += 1;
                if self.enrolment.asking_batch {
                    self.record(Event::RenewalFailed { reason });
                } else {
                    self.count(Counter::PullsFailed, 1);
                }
            }
        }
        self.plan_renewal();
        self.settle_strangers();
        if core::mem::take(&mut self.enrolment.pull_again) {
            self.pull_cards();
        }
    }

    /// Asks the issuer for new cards, soon.
    pub(super) fn pull_cards(&mut self) {
        if self.enrolment.asking.is_some() {
            self.enrolment.pull_again = true;
            return;
        }
        // An issuer that is here costs nobody else anything.
        let interval = if self.issuer.is_some() { Duration::ZERO } else { PULL_INTERVAL };
        let earliest = self.enrolment.last_pull.map(|last| last + interval);
        self.enrolment.next_pull = Some(earliest.unwrap_or(self.now.time).max(self.now.time));
        self.start_pull_if_due();
    }

    /// A message to a name without a card: pull, then see.
    pub(super) fn submit_after_pull(&mut self, token: Token, to: Name, command: Command) {
        if to == *self.membership.name() {
            return self.refuse_unknown(token, &to);
        }
        if self.enrolment.strangers.len() >= MAX_STRANGERS {
            self.count(Counter::MessagesToStrangersRefused, 1);
            return self.refuse_unknown(token, &to);
        }
        let since = self.now.time;
        self.enrolment.strangers.push(Stranger { token, to, command, since });
        if self.enrolment.asking.is_none() {
            self.pull_cards();
        }
    }

    /// The peer did not know our session, or us: try again in a moment.
    pub(super) fn retry_later(&mut self, name: Name) {
        self.ready.remove(&name);
        self.enrolment.reopen.insert((self.now.time + REOPEN, name));
    }

    pub(super) fn timeout_enrolment(&mut self) {
        let now = self.now.time;
        while self.enrolment.reopen.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, name)) = self.enrolment.reopen.pop_first() {
                self.ready.insert(name);
            }
        }
        if self.enrolment.next_epoch.is_some_and(|at| at <= now) {
            self.start_epoch();
            self.update_tags();
        }
        if self.enrolment.next_erasure.is_some_and(|at| at <= now) {
            self.erase_past();
        }
        if self.enrolment.next_bulletin.is_some_and(|at| at <= now) {
            self.watch_bulletin();
        }
        if self.enrolment.next_renewal.is_some_and(|at| at <= now) {
            self.enrolment.next_renewal = None;
            self.ask_issuer(true);
        }
        self.start_pull_if_due();
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
            // What was refused by the old time may be granted by the new one.
            self.enrolment.failures = 0;
            self.start_epoch();
            self.update_tags();
        }
    }

    /// When the next batch is to be asked for.
    fn plan_renewal(&mut self) {
        let at = if self.enrolment.failures > 0 {
            let (first, longest) = RETRY;
            let longest = longest.max(self.membership.valid_until().since(self.now.unix) / 16);
            let wait = first.saturating_mul(1 << (self.enrolment.failures - 1).min(16)).min(longest);
            Some(self.now.time + wait)
        } else {
            self.membership.renewal_due(self.now.unix).then_some(self.now.time)
        };
        self.enrolment.next_renewal = at.filter(|_| self.membership.renewal_due(self.now.unix));
    }

    fn start_pull_if_due(&mut self) {
        if self.enrolment.asking.is_none() && self.enrolment.next_pull.is_some_and(|at| at <= self.now.time) {
            self.enrolment.next_pull = None;
            self.enrolment.last_pull = Some(self.now.time);
            self.ask_issuer(false);
        }
    }

    fn ask_issuer(&mut self, batch: bool) {
        if self.enrolment.asking.is_some() {
            return;
        }
        let begun = if batch {
            self.membership.begin_renewal(self.now.unix, &mut self.rng)
        } else {
            self.membership.begin_pull(self.now.unix, &mut self.rng)
        };
        let (hello, pending) = match begun {
            Ok(begun) => begun,
            Err(error) => return self.record(Event::RenewalFailed { reason: error.to_string() }),
        };
        let (seed, judge) = (pending.connection_seed(), pending.judge());
        self.enrolment.asking = Some(pending);
        self.enrolment.asking_batch = batch;
        if self.issuer == Some(hello.issuer) {
            self.outputs.push_back(Output::Issue { origin: Origin::Own, hello });
        } else {
            self.outputs.push_back(Output::Renew { hello, seed, judge });
        }
    }

    /// The pull is over: messages to strangers go, or are refused.
    fn settle_strangers(&mut self) {
        for Stranger { token, to, mut command, since } in core::mem::take(&mut self.enrolment.strangers) {
            if let Command::Send(Send { lifetime, .. })
            | Command::SendLoad(Load { lifetime, .. })
            | Command::Request { send: Send { lifetime, .. }, .. } = &mut command
            {
                *lifetime = lifetime.saturating_sub(self.now.time.since(since));
            }
            if self.membership.contacts().get(&to).is_none() {
                self.refuse_unknown(token, &to);
            } else {
                self.handle_command(token, command);
            }
        }
    }

    /// Whom the application can address.
    pub fn contacts(&mut self) -> Reply {
        let contacts = self.membership.contacts().iter().map(|card| card.name.clone()).collect::<Vec<_>>();
        let contact = |name: Name| super::api::Contact {
            neighbour: self.links.to(&name).is_some(),
            changed: self.membership.contact_book().changed(&name).map(|change| change.text().to_owned()),
            name: name.to_string(),
        };
        Reply::Contacts(contacts.into_iter().map(contact).collect())
    }
}
