//! Departures: batches of messages that leave under one seal each, in turn.
//!
//! [`Messages::pump_unicast`] serves the ready destinations in turn (`delivery::schedule`): each time one batch, one
//! seal and one frame, along the route that the batch's send policy selects, over a link that accepts data. The frames
//! of a session carry its opener until the peer has answered it.
//!
//! Invariants
//! 1. A message that the application has named does not leave before it is durable itself, as long as the disk accepts
//!    writes.
//! - Nothing is sealed for a link that does not accept data: messages that cannot leave wait unsealed, and can still be
//!   batched.

use crate::counter::Counter;
use crate::delivery::departure::{Departure, PLAIN_OVERHEAD};
use crate::delivery::lane::{Lane, SendPolicy};
use crate::delivery::retry;
use crate::delivery::sends::Ended;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::seals::Envelope;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::{of_use_until, path_of, put_data};
use crate::engine::routing::flights::Flight;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::routes::{Route, RouteChoice};
use crate::id::{LinkId, Lsn, Name};
use crate::routing::search::Limit;
use crate::routing::totals::Totals;
use crate::time::Unix;
use crate::wire::batch::{Ack, MAX_REPLY_HANDLES};
use crate::wire::data::{Class, DataFrame};
use crate::wire::frame;
use bytes::Bytes;
use core::time::Duration;
use std::sync::Arc;

/// How far ahead of time a batch names the handles under which a receipt finds this device.
const REPLY_HORIZON: Duration = Duration::from_secs(6 * 3_600);

/// Bytes of a frame besides its plaintext, as an estimate for its cost: the header, the seal, and what opens a session.
const SEAL: usize = 256;
/// Bytes of a frame besides its messages, as an estimate for its cost.
pub(in crate::engine) const AROUND: usize = SEAL + PLAIN_OVERHEAD;
/// How many times per turn the messages at the front of a lane are passed over because they have too little time left,
/// before the lane waits.
const MOST_PASSED_OVER: usize = 8;

/// A message waits for the frame of its class before it, so a frame holds no more than its route carries in this time,
const BATCH: Duration = Duration::from_millis(250);
/// but always this many bytes if there are enough messages,
const LEAST_BATCH: usize = 1_024;
/// and more of them in bulk, which may take longer and is not to be mostly headers.
const LEAST_BULK: usize = 4_096;

/// The most bytes of messages of a class in one frame on a route whose slowest link has this rate in kbit/s.
pub(super) fn batch_of(rate: u32, class: Class) -> usize {
    let bytes = u128::from(rate) * BATCH.as_micros() / 8_000;
    let least = if class == Class::Bulk { LEAST_BULK } else { LEAST_BATCH };
    usize::try_from(bytes).unwrap_or(usize::MAX).max(least)
}

/// How long a route takes to carry a frame of that many bytes, by the rate of its slowest link in kbit/s.
fn carried(rate: u32, bytes: usize) -> Duration {
    match rate {
        u32::MAX => Duration::ZERO,
        // Kilobits a second equal bits a millisecond.
        rate => Duration::from_millis((bytes as u64).saturating_mul(8) / u64::from(rate.max(1))),
    }
}

/// The most bytes of plaintext that a frame may carry on a route within the budget of its send policy.
fn affordable(send_policy: &SendPolicy, route: &Route) -> usize {
    let bytes = send_policy.policy.budget.map_or(u64::MAX, |budget| route.totals.bytes_for(budget));
    usize::try_from(bytes).unwrap_or(usize::MAX).saturating_sub(SEAL)
}

/// How long a destination rests whose peer did not know, or refused, our session, before it is tried again.
const REOPEN: Duration = Duration::from_millis(200);

/// A batch that can leave now.
struct Departing {
    lane: Lane,
    /// The send policy of the lane, without its budget if that has yielded.
    send_policy: Arc<SendPolicy>,
    choice: RouteChoice,
    link: LinkId,
    /// The price of the link, in micro-units per MB.
    price: u64,
    /// The bytes of a frame with its next message.
    bytes: usize,
}

impl Messages {
    /// Whether anything waits to be sent to a destination.
    pub(in crate::engine) fn waits_for(&self, name: &Name) -> bool {
        self.sends.waits_for(name)
    }

    /// Schedules another attempt shortly, after the peer did not know our session or refused it.
    pub(in crate::engine) fn retry_later(&mut self, core: &Core, name: Name) {
        self.sends.reopen(name, core.now.time + REOPEN);
    }

    /// Seals and queues one batch, if some destination has messages, a route, and a link that accepts them. Returns
    /// whether a batch was taken.
    pub(in crate::engine) fn pump_unicast(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) -> bool {
        while let Some(name) = self.sends.next_destination().cloned() {
            if let Some(departing) = self.next_departing(core, neighbours, routing, &name) {
                self.sends.serve(&name);
                if self.send_batch(core, neighbours, routing, &name, &departing) {
                    return true;
                }
            } else if self.send_mail(core, neighbours, routing, &name) {
                return true;
            }
            self.sends.rest(&name);
        }
        false
    }

    /// Finds the most urgent lane of a destination that has a route whose first link accepts data.
    fn next_departing(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
    ) -> Option<Departing> {
        for lane in self.sends.lanes(name) {
            let Some((send_policy, choice)) = self.route_of_next(core, neighbours, routing, name, &lane) else {
                continue;
            };
            let link = choice.route.first().and_then(|first| neighbours.link_under(&first, &send_policy.policy));
            match link {
                Some((link, _)) if neighbours.links.get(link).is_some_and(|link| !link.takes(lane.class)) => {
                    self.sends.block_on(link, name);
                }
                Some((link, price)) => {
                    if neighbours.is_busy(core, link, lane.class) {
                        self.sends.block_on(link, name);
                        continue;
                    }
                    let bytes = self.least_in(name, &lane);
                    if let Some(wait) = neighbours.await_air(core, link, lane.class, bytes) {
                        self.sends.note_no_route(name, NoRoute::Air(wait));
                        self.sends.block_on(link, name);
                        continue;
                    }
                    return Some(Departing { lane, send_policy, choice, link, price, bytes });
                }
                None => {}
            }
        }
        None
    }

    /// Finds the route for the next message of a lane. A message with too little time left for any route is passed over
    /// in favour of one with more: on a link that carries less than is submitted, the oldest message always has next to
    /// no time left, whichever it is.
    fn route_of_next(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        lane: &Lane,
    ) -> Option<(Arc<SendPolicy>, RouteChoice)> {
        self.sends.pass_over_hurried(name, lane, core.now.unix);
        for _ in 0..MOST_PASSED_OVER {
            let next = self.sends.next_in(name, lane)?;
            let left = next.expiry.since(core.now.unix);
            let send_policy = self.policy_now(core, neighbours, routing, (name, lane), &next);
            let choice = routing.route(core, neighbours, name, &send_policy, left, next.bytes + AROUND);
            self.reroute(routing);
            let no_route = match choice {
                Ok(choice) => {
                    let cost = choice.route.totals.cost_of((next.bytes + AROUND) as u64);
                    match self.cheaper_later(core, neighbours, routing, (name, lane), &next, cost) {
                        Some(later) => NoRoute::Later(Box::new(later)),
                        None if self.gathers(core, name, lane, &next, &choice.route) => return None,
                        None => return Some((send_policy, choice)),
                    }
                }
                Err(no_route) => no_route,
            };
            let another = match no_route {
                NoRoute::Limits(Limit::Time, by) => {
                    self.sends.pass_over(name, lane, &next, next.expiry + Duration::from_micros(by))
                }
                NoRoute::Later(_) => self.sends.advance_soonest(name, lane, &next),
                NoRoute::Limits(Limit::Budget, _) if send_policy.yields => {
                    self.sends.advance_soonest(name, lane, &next)
                }
                _ => false,
            };
            let awaited = match no_route {
                NoRoute::Limits(Limit::Budget, _) | NoRoute::Apart => {
                    self.awaited(core, neighbours, routing, (name, lane), &next)
                }
                _ => None,
            };
            self.sends.note_no_route(name, awaited.unwrap_or(no_route));
            if !another {
                break;
            }
        }
        None
    }

    fn send_batch(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        departing: &Departing,
    ) -> bool {
        let Departing { lane, send_policy, choice, link, price, bytes } = departing;
        let attempt = routing.outer_id(core);
        let mut plain = core::mem::take(&mut self.plain);
        plain.clear();
        let mut ended = Ended::default();
        let flight = routing.flights.next();
        let round_trip = Duration::from_micros(choice.route.totals.delay.saturating_mul(2));
        // A broken link to a neighbour reports itself, so a neighbour is given more time, unless the link itself takes
        // longer.
        let hasty = choice.route.nodes.len() == 1 && round_trip < retry::LONGEST / 2;
        let expected = (!hasty).then_some(round_trip);
        let most = batch_of(choice.route.rate, lane.class).min(affordable(send_policy, &choice.route));
        let most = most.min(neighbours.air_room(core, *link, lane.class).saturating_sub(AROUND));
        let most = most.min(neighbours.room_in_window(core, *link).saturating_sub(AROUND));
        // What is before it on the link, and how long the path itself takes to carry it: a receipt is not late before that.
        let bytes = if lane.class == Class::Bulk { most.min(LEAST_BULK) + AROUND } else { *bytes };
        let carried = neighbours.ahead(core, *link, lane.class) + carried(choice.route.rate, bytes);
        let arrives = core.now.unix + (Duration::from_micros(choice.route.totals.delay) + carried);
        let spares = choice.spares.map(|delay| core.now.unix + Duration::from_micros(delay));
        let (now, error, push_only) = (core.now, core.clock_error(), core.settings.push_only);
        let departure = Departure {
            attempt,
            reply: &[],
            flight,
            expected,
            most,
            arrives,
            spares,
            mail: false,
            now,
            error,
            push_only,
        };
        let (now, membership) = (core.now.unix, &mut core.membership);
        let reply = || membership.handles(now, now + REPLY_HORIZON, MAX_REPLY_HANDLES);
        let taken = self.sends.take(name, lane, &departure, reply, &mut plain, &mut ended);
        if let Some(taken) = taken {
            let envelope =
                Envelope { class: lane.class, policy: &send_policy.policy, outer: attempt, expiry: taken.expiry };
            if let Some(mut frame) =
                self.seal(core, neighbours, routing, name, (&choice.route, *price), &envelope, &plain, None)
            {
                let flags = if taken.ack == Ack::Hop { frame::HOP_ACK } else { 0 };
                frame[5] = flags;
                match taken.ack {
                    Ack::None => {}
                    Ack::Hop => {
                        if let Some(link) = neighbours.links.get(*link) {
                            routing.flights.asks_hop(attempt, link.peer.body.key, name.clone());
                        }
                    }
                    Ack::End => {
                        // To a neighbour the link is what it costs: the route in use may still be that over another.
                        let direct = choice.route.nodes.len() == 1 && choice.route.leaf.is_none();
                        let per_mb = if direct { *price } else { choice.route.totals.price };
                        let price = Totals { price: per_mb, ..choice.route.totals }.cost_of(frame.len() as u64);
                        let left = Flight {
                            route: choice.route.clone(),
                            price,
                            messages: taken.messages,
                            praised: false,
                            blamed: false,
                        };
                        let forgotten = routing.flights.left(flight, left);
                        core.count(Counter::FlightsForgotten, u64::from(forgotten));
                    }
                }
                // What this turn submitted is in the turn's commit, which has been numbered by now. A failing disk does
                // not keep messages from leaving: nobody knows how long it will fail, and a message may be an alarm.
                let after = if taken.named && !core.journal.disk_fails { core.journal.last() } else { Lsn(0) };
                self.send_copy(core, neighbours, send_policy, choice, &frame, after);
                let until = of_use_until(taken.expiry, core.now);
                neighbours.send_data(
                    core,
                    Leaving { link: *link, class: lane.class, frame: frame.into(), after, until: Some(until) },
                );
            } else {
                self.sends.handle_path_broken(name);
                // These are not queued again, and did not leave.
                ended.gone.iter_mut().for_each(|gone| gone.left = false);
                self.sends.rest(name);
            }
        }
        self.plain = plain;
        self.report(core, neighbours, routing, ended.ends);
        self.report_gone(core, ended.gone);
        taken.is_some()
    }

    /// Sends the same record along the alternate path, if the send policy asks for two copies; the receiver accepts the
    /// first one.
    fn send_copy(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        send_policy: &SendPolicy,
        choice: &RouteChoice,
        frame: &[u8],
        after: Lsn,
    ) {
        if send_policy.policy.copies.is_none_or(|copies| copies < 2) {
            return;
        }
        let class = DataFrame::parse(&frame[frame::HEADER..]).map_or(Class::Bulk, |data| data.header.class);
        let Some(route) = &choice.alternate else { return core.count(Counter::CopiesWithoutWay, 1) };
        let link = route.first().and_then(|first| neighbours.link_under(&first, &send_policy.policy));
        let Some((link, price)) =
            link.filter(|(link, _)| neighbours.links.get(*link).is_some_and(|link| link.takes(class)))
        else {
            return core.count(Counter::CopiesWithoutWay, 1);
        };
        let Ok(data) = DataFrame::parse(&frame[frame::HEADER..]) else { return };
        let path = path_of(route, price, data.header_bytes.len() + data.sealed.len(), data.path.outer);
        let copy = put_data(data.header_bytes, &path, data.sealed, &Bytes::new());
        let until = of_use_until(Unix(data.header.expiry), core.now);
        neighbours.send_data(core, Leaving { link, class, frame: copy, after, until: Some(until) });
    }

    pub(in crate::engine) fn timeout_unicast(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
    ) {
        let mut ended = Ended::default();
        let overdue = self.sends.handle_timeout(core.now.time, &mut ended);
        for flight in overdue.suspicious {
            if let Some(route) = routing.flights.suspicious(flight) {
                routing.record_failure(core, neighbours, &route);
                routing.fail_over(core, neighbours, &route);
                self.reroute(routing);
            }
        }
        overdue.lost.into_iter().for_each(|flight| routing.flights.lost(flight));
        self.sends.wake_waiting();
        self.report(core, neighbours, routing, ended.ends);
        self.report_gone(core, ended.gone);
    }
}
