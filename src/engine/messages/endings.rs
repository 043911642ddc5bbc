//! Endings: what became of each message that left, reported to whoever waits for it.
//!
//! Invariants
//! 1. A message ends once: everybody who asks is told the same outcome.
//! - The outcome of a delivered message states its price, and that of a failed message states the reason.

use crate::counter::Counter;
use crate::delivery::message::{End, Fate};
use crate::delivery::unconfirmed::Gone;
use crate::engine::api::{Outcome, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::wording::explain_no_route;
use crate::engine::sender::Sender;
use crate::id::Name;
use crate::wire::receipt::Verdict;
use core::time::Duration;

/// The counters of messages that ended without success, by class.
pub(super) const FAILED: [Counter; 4] =
    [Counter::FailedAlarm, Counter::FailedControl, Counter::FailedTelemetry, Counter::FailedBulk];

impl Messages {
    pub(in crate::engine) fn report_gone(&mut self, core: &mut Core, gone: Vec<Gone<(Token, Name)>>) {
        for Gone { token: (token, to), count, class, left, latency } in gone {
            let fate = match left {
                true => Fate::Sent,
                false if core.membership.contact_book().is_revoked(&to) => Fate::Revoked { left },
                false => Fate::Unreachable,
            };
            let outcome = self.outcome(&to, fate, latency, 0);
            if !left {
                core.note_failure(to.as_str(), &outcome);
                core.count(FAILED[class as usize], count.into());
            }
            core.finish(token, Reply::Outcome(outcome));
        }
    }

    pub(super) fn outcome(&self, to: &Name, fate: Fate, latency: Duration, price: u64) -> Outcome {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        match fate {
            Fate::Delivered { hops } => Outcome::Delivered { latency_us, hops, price },
            Fate::Sent => Outcome::Sent { latency_us, neighbours: 1 },
            Fate::Expired => {
                let reason = format!("it left, but no receipt of {to} came by the deadline");
                Outcome::Expired { reason: self.with_custody(to, reason) }
            }
            Fate::NoRoom => Outcome::Expired {
                reason: format!(
                    "the inbox of {to} was full until the deadline: not all of its consumers take what lies there"
                ),
            },
            Fate::Superseded => Outcome::Superseded { reason: format!("a newer message to {to} took its place") },
            Fate::Unreachable => {
                let why = self.sends.no_route(to);
                let why = why.map_or_else(String::new, |why| format!(": {}", explain_no_route(why)));
                let reason = format!("there was no way to {to} by the deadline{why}");
                Outcome::Unreachable { reason: self.with_custody(to, reason) }
            }
            Fate::Revoked { left: false } => Outcome::Refused { reason: format!("{to} has been revoked") },
            Fate::Revoked { left: true } => {
                Outcome::Expired { reason: format!("it left, and {to} was revoked before a receipt came") }
            }
            Fate::Refused(verdict) => Outcome::Refused {
                reason: match verdict {
                    Verdict::NoService => format!("{to} offers no such service"),
                    Verdict::ServiceBusy => format!("the service of {to} has too many calls waiting"),
                    Verdict::Forbidden => format!("{to} does not permit it"),
                    Verdict::PushOnly => format!("{to} only pushes: it takes nothing from others"),
                    Verdict::NotStored => format!("the disk of {to} takes nothing at the moment"),
                    Verdict::Delivered | Verdict::Expired | Verdict::InboxFull => format!("{to} says {verdict:?}"),
                },
            },
        }
    }

    /// Reports to whoever waits how messages ended.
    pub(in crate::engine) fn report(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        ends: Vec<End<Sender>>,
    ) {
        for End { token, id, class, fate, latency, flight } in ends {
            let price = flight.map_or(0, |flight| self.land(core, neighbours, routing, flight, fate));
            let (token, to, request) = match token {
                Sender::Message(token, to) => (token, to, false),
                Sender::Request(token, to) => (Some(token), to, true),
                Sender::Asking(number, of) => {
                    self.question_ended(core, number, &of, fate);
                    continue;
                }
                Sender::Answer => continue,
            };
            if let Some(token) = token.filter(|_| request)
                && self.goes_on(core.now.time, token, fate)
            {
                continue;
            }
            if request && matches!(fate, Fate::Delivered { .. } | Fate::Sent) {
                // The service has received the request: from here on only the response counts, see `services`.
                continue;
            }
            if request && token.is_some_and(|token| !self.services.waits(token)) {
                // The response has come before a receipt of the request.
                continue;
            }
            let outcome = self.outcome(&to, fate, latency, price);
            if fate == Fate::Superseded {
                core.count(Counter::MessagesSuperseded, 1);
            } else if !outcome.is_success() {
                core.note_failure(to.as_str(), &outcome);
                core.count(FAILED[class as usize], 1);
            }
            // After a crash a refused message could be sent again, and a named message could end differently for
            // whoever asks again: such an outcome is written before it is reported. While the disk fails, a named
            // message's failure is reported at once, since nobody knows how long a write would take.
            let refused = matches!(outcome, Outcome::Refused { .. });
            let first = refused || (id.is_some() && !outcome.is_success() && !core.journal.disk_fails);
            let asked = id.map_or_else(Vec::new, |id| self.outcomes.ended(id, &outcome));
            if let Some(token) = token.filter(|_| request) {
                self.services.forget_request(token);
                self.anycasts.ended(token);
                self.forget_named(core, token);
            }
            for token in token.into_iter().chain(asked) {
                let reply = Reply::Outcome(outcome.clone());
                if first && (!request || id.is_some()) {
                    core.journal.finish_with(token, reply)
                } else {
                    core.finish(token, reply)
                }
            }
            self.forget_custody(&to);
        }
    }

    /// Notes that a flight has arrived, although its message has not ended: its route has worked.
    pub(in crate::engine) fn arrived(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        flight: u64,
    ) {
        if let Some((true, route, _)) = routing.flights.confirmed(flight) {
            routing.record_success(core, neighbours, &route);
        }
    }

    /// Settles the flight of a message that has ended, and returns what the message cost, in micro-units.
    fn land(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        flight: u64,
        fate: Fate,
    ) -> u64 {
        if !matches!(fate, Fate::Delivered { .. } | Fate::Refused(_)) {
            return 0;
        }
        let Some((first, route, price)) = routing.flights.confirmed(flight) else {
            return routing.flights.price_of_given_up(flight).unwrap_or(0);
        };
        if first {
            routing.record_success(core, neighbours, &route);
        }
        price
    }
}
