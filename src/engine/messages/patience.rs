//! Patience: messages that could leave, and do not yet: for others that share their frame, or for a cheaper way.
//!
//! **Gathering.** A policy may let messages of class telemetry or bulk wait for others to the same destination. They leave
//! when they fill a frame, or when the first of them has waited for long enough, at most a quarter of its lifetime.
//!
//! **A cheaper way.** A message that is willing to wait does so only for a way that is known to be there in time
//! (`routing::forecast`). A message whose budget yields waits for any way within its budget, known or not, until it would
//! come too late over the way that it can pay for.
//!
//! Invariants
//! 1. A message that waits for a way leaves early enough to arrive by its deadline, as far as delays are known.

use crate::delivery::departure::PLAIN_OVERHEAD;
use crate::delivery::lane::{Lane, SendPolicy};
use crate::delivery::sends::Next;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::departures::{AROUND, batch_of};
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::forecast::{Asked, Forecast};
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::routes::Route;
use crate::id::Name;
use crate::link::forecast::air_time;
use crate::routing::policy::Wants;
use crate::wire::batch::MAX_PLAIN;
use crate::wire::data::{Class, Policy};
use core::time::Duration;
use std::sync::Arc;

/// A budget that yields is lifted when one part in this many of the message's lifetime is left, within the two bounds
/// that follow.
const LAST_CALL: u32 = 20;
const SHORTEST_CALL: Duration = Duration::from_secs(2);
const LONGEST_CALL: Duration = Duration::from_secs(600);
/// The most bytes that are counted as queued before a message.
const AHEAD: usize = 1024 * 1024;

impl Messages {
    /// The send policy that applies to a message with `left` of its lifetime left: a budget that yields is lifted near
    /// the end, in time for the way that can then be taken.
    pub(super) fn policy_now(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (name, lane): (&Name, &Lane),
        next: &Next,
    ) -> Arc<SendPolicy> {
        let send_policy = &lane.send_policy;
        if !send_policy.yields || send_policy.policy.budget.is_none() {
            return send_policy.clone();
        }
        let policy = Policy { budget: None, ..send_policy.policy.clone() };
        let left = next.expiry.since(core.now.unix);
        let usual = (next.lifetime / LAST_CALL).clamp(SHORTEST_CALL, LONGEST_CALL);
        let bytes = u32::try_from(next.bytes + AROUND).unwrap_or(u32::MAX);
        let wants = Wants { policy: policy.clone(), time: None, bytes };
        let last_call = match routing.find_route(core, neighbours, name, &wants) {
            Ok((paid, _)) => {
                let queued = self.sends.queued_in(name, lane, AHEAD) + AROUND;
                let there = Duration::from_micros(paid.totals.delay) + air_time(queued as u64, paid.rate);
                usual.max(SHORTEST_CALL + there.saturating_mul(2)).min(next.lifetime / 2).max(usual)
            }
            Err(_) => usual,
        };
        if left > last_call {
            self.sends.look_again_by(core.now.time + (left - last_call));
            return send_policy.clone();
        }
        Arc::new(SendPolicy { policy, yields: false, ..(**send_policy).clone() })
    }

    /// Whether the messages of a lane wait for others that share their frame.
    pub(super) fn gathers(&mut self, core: &Core, name: &Name, lane: &Lane, next: &Next, route: &Route) -> bool {
        let Some(gather) = lane.send_policy.gather.filter(|_| matches!(lane.class, Class::Telemetry | Class::Bulk))
        else {
            return false;
        };
        let age = next.lifetime.saturating_sub(next.expiry.since(core.now.unix));
        let gather = Duration::from_micros(gather).min(next.lifetime / 4);
        let full = batch_of(route.rate, lane.class).min(MAX_PLAIN) - PLAIN_OVERHEAD;
        if age >= gather || self.sends.queued_in(name, lane, full) >= full {
            return false;
        }
        self.sends.look_again_by(core.now.time + (gather - age));
        true
    }

    /// The bytes of a frame that carries the next message of a lane and no other.
    pub(super) fn least_in(&self, name: &Name, lane: &Lane) -> usize {
        self.sends.next_in(name, lane).map_or(0, |next| next.bytes) + AROUND
    }

    /// The way for which a message waits, although it could leave over one that costs `cost` now.
    pub(super) fn cheaper_later(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (name, lane): (&Name, &Lane),
        next: &Next,
        cost: u64,
    ) -> Option<Forecast> {
        let wait = Duration::from_micros(lane.send_policy.wait.filter(|_| cost > 0)?);
        let left = next.expiry.since(core.now.unix);
        let age = next.lifetime.saturating_sub(left);
        let patience = wait.checked_sub(age).filter(|patience| !patience.is_zero())?.min(left);
        let ahead = self.sends.queued_in(name, lane, AHEAD);
        let asked = Asked {
            policy: &lane.send_policy.policy,
            bytes: next.bytes + AROUND,
            ahead,
            leaves: core.now.unix + patience,
            arrives: next.expiry,
        };
        let forecast = routing.forecast(core, neighbours, name, &asked, Some(cost))?;
        self.sends.look_again_by(core.now.time + forecast.opens.since(core.now.unix));
        Some(forecast)
    }

    /// What is known of the way that a message without one waits for, for people.
    pub(super) fn awaited(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (name, lane): (&Name, &Lane),
        next: &Next,
    ) -> Option<NoRoute> {
        let asked = Asked {
            policy: &lane.send_policy.policy,
            bytes: next.bytes + AROUND,
            ahead: 0,
            leaves: next.expiry,
            arrives: next.expiry,
        };
        let forecast = routing.forecast(core, neighbours, name, &asked, None)?;
        Some(NoRoute::Later(Box::new(forecast)))
    }
}
