//! Objectives: the send policy of a message or publication, by the policy that it names or that the configuration
//! assigns to it.
//!
//! A policy is resolved once, when a command is accepted: its send policy stays with the message until the message
//! ends. A policy that is not configured is refused, with the nearest known name.

use crate::delivery::lane::SendPolicy;
use crate::engine::api::{Refused, Reply, Timing, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::departures::AROUND;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::wording::explain_no_route;
use crate::engine::send_policy::micros;
use crate::id::Name;
use crate::routing::policies::Impossible;
use crate::wire::data::Class;
use core::time::Duration;
use std::sync::Arc;

/// The properties of a message that select its policy.
pub(in crate::engine) struct Asked<'a> {
    pub policy: Option<&'a str>,
    pub class: Class,
    pub service: Option<&'a str>,
    /// For how long it is to wait for a cheaper way, if it says so itself.
    pub wait: Option<Duration>,
}

impl Asked<'_> {
    /// The timing of the message, with what its policy says where the message does not.
    pub(in crate::engine) fn timing(&self, core: &Core, own: &Timing) -> Timing {
        let named = match self.policy {
            None => core.policies.of(self.class, self.service),
            Some(name) => core.policies.get(name),
        };
        Timing { spread: own.spread.or_else(|| named.and_then(|named| named.spread)), ..own.clone() }
    }
}

impl Messages {
    /// Resolves the send policy of a message and its lifetime, which the policy may shorten. `None` if the message is
    /// refused; the application has been told then.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn send_policy_of(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        to: &Name,
        asked: &Asked<'_>,
        lifetime: Duration,
        bytes: usize,
    ) -> Option<(Arc<SendPolicy>, Duration)> {
        let named = match asked.policy {
            None => core.policies.of(asked.class, asked.service),
            Some(name) => core.policies.get(name),
        };
        let Some(named) = named else { return core.refuse_policy(token, asked.policy) };
        let lifetime = named.deadline.map_or(lifetime, |deadline| deadline.min(lifetime));
        let refuse = named.impossible == Impossible::Refuse;
        let policy = named.name.clone();
        let mut send_policy = core.send_policies.get(&policy).cloned().unwrap_or_default();
        if let Some(wait) = asked.wait {
            send_policy = Arc::new(SendPolicy { wait: Some(micros(wait)), ..(*send_policy).clone() });
        }
        if refuse && let Err(no_route) = routing.route(core, neighbours, to, &send_policy, lifetime, bytes + AROUND) {
            self.reroute(routing);
            let why = explain_no_route(&no_route);
            core.finish(token, Reply::Refused(Refused::NoPath { to: to.clone(), policy, why }));
            return None;
        }
        Some((send_policy, lifetime))
    }
}
