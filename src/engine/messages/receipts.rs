//! Receipts: how a device tells the senders of messages what became of them.
//!
//! The verdicts of a turn on a sender's messages go back in frames of their own, sealed as messages are. A receipt that
//! arrives after its message's deadline is of no use, since the sender has reported by then that the outcome is
//! unknown. So receipts take the cheapest route that is fast enough for the first of them to end, and any route if
//! there is none.
//!
//! Invariants
//! 1. A receipt carries the number of the commit that makes its messages durable, and does not leave before.

use crate::counter::Counter;
use crate::delivery::lane::SendPolicy;
use crate::delivery::retry;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::inbox::Telling;
use crate::engine::messages::seals::Envelope;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::of_use_until;
use crate::engine::routing::routes::Route;
use crate::id::{CredentialPrefix, Lsn, Name, SessionId};
use crate::wire;
use crate::wire::batch::PLAIN_RECEIPTS;
use crate::wire::data::Class;
use crate::wire::receipt::{MAX_RANGES, Receipt, Receipts};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The lifetime of a frame of receipts.
const RECEIPT_LIFETIME: Duration = retry::FAR;
/// The estimated size of a frame of receipts, in bytes, for its cost.
const RECEIPT_BYTES: usize = 512;

/// A message that arrives again indicates that its receipt may have been lost on its path. For this long, receipts to
/// its sender then return on the path that its messages take, since that path carries the messages at least.
const RETURNING: Duration = Duration::from_secs(600);
/// How many receipts of [`MAX_RANGES`] ranges each fit one seal.
const RECEIPTS_A_FRAME: usize = 12;

/// How receipts go back: on a chosen route, or on the reverse of the path on which the messages came.
pub(in crate::engine) struct Back<'a> {
    /// The relays over which the messages came.
    pub(in crate::engine) came: &'a [CredentialPrefix],
    /// Whether the reverse of the path that the messages took is tried first, instead of last.
    pub(in crate::engine) returns: bool,
    /// The time until the first of the messages expires, or `None` if that does not matter.
    pub(in crate::engine) left: Option<Duration>,
}

impl Messages {
    /// Tells senders what became of their messages in this turn, once its commit is durable.
    pub(in crate::engine) fn confirm_to_senders(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        after: Lsn,
    ) {
        let mut by_sender: BTreeMap<Name, Vec<Receipt>> = BTreeMap::new();
        let at = core.now.unix.0;
        let Telling { receipts, visited, due, repeated } = core::mem::take(&mut self.inbox.telling);
        for ((from, stream, verdict), ranges) in receipts {
            for ranges in ranges.chunks(2 * MAX_RANGES) {
                let visited = visited.get(&stream).cloned().unwrap_or_default();
                let receipt = Receipt { stream, verdict, ranges: ranges.to_vec(), visited, at };
                by_sender.entry(from.clone()).or_default().push(receipt);
            }
        }
        let (now, under) = (core.now.time, self.sessions.take_came());
        for (from, receipts) in by_sender {
            let mut visited = receipts.iter().rev().map(|receipt| &receipt.visited);
            let came = visited.find(|visited| !visited.is_empty()).cloned().unwrap_or_default();
            let again = receipts.iter().any(|receipt| repeated.contains(&receipt.stream));
            let returned = self.inbox.returning.get(&from).is_some_and(|(_, back)| *back);
            let returns = self.inbox.returns(&from, again, now);
            if returned && !returns {
                routing.fail_over_receipts(core, neighbours, &from);
                self.reroute(routing);
            }
            let by = receipts.iter().filter_map(|receipt| due.get(&receipt.stream)).min();
            let back = Back { came: &came, returns, left: by.map(|by| by.since(core.now.unix)) };
            for receipts in receipts.chunks(RECEIPTS_A_FRAME) {
                self.send_receipts(
                    core,
                    neighbours,
                    routing,
                    &from,
                    receipts.to_vec(),
                    &back,
                    under.get(&from).copied(),
                    after,
                );
            }
        }
        self.inbox.returning.retain(|_, (since, _)| *since + RETURNING > now);
    }

    /// Finds a route that is fast enough for what is `left`, or else any route.
    fn route_for_receipts(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        send_policy: &Arc<SendPolicy>,
        left: Duration,
    ) -> Option<Arc<Route>> {
        let mut choice = routing.route(core, neighbours, name, send_policy, left, RECEIPT_BYTES);
        if choice.is_err() {
            choice = routing.route(core, neighbours, name, send_policy, RECEIPT_LIFETIME, RECEIPT_BYTES);
        }
        self.reroute(routing);
        choice.ok().map(|choice| choice.route)
    }

    /// Queues receipts for a device, sealed under the session of their messages (`under`) and released when the commit
    /// `after` is durable. If neither a chosen route nor the reverse path is available, they are dropped and counted.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    pub(in crate::engine) fn send_receipts(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        receipts: Vec<Receipt>,
        back: &Back<'_>,
        under: Option<SessionId>,
        after: Lsn,
    ) {
        let send_policy = Arc::<SendPolicy>::default();
        let left = back.left.unwrap_or(RECEIPT_LIFETIME).min(RECEIPT_LIFETIME);
        let mut route = None;
        for returns in [back.returns, !back.returns] {
            if route.is_some() {
                break;
            }
            if returns && !back.came.is_empty() {
                route = routing.route_back(core, neighbours, name, back.came);
            } else if !returns {
                route = self.route_for_receipts(core, neighbours, routing, name, &send_policy, left);
            }
        }
        let link = route.as_ref().and_then(|route| route.first());
        let link = link.and_then(|first| neighbours.link_under(&first, &send_policy.policy));
        let (Some(route), Some((link, price))) = (route, link) else {
            core.count(Counter::ReceiptsWithoutWay, receipts.len() as u64);
            return;
        };
        let mut plain = vec![PLAIN_RECEIPTS];
        wire::codec::encode_into(&Receipts { receipts }, &mut plain);
        let (outer, expiry) = (routing.outer_id(core), core.now.unix + RECEIPT_LIFETIME);
        let envelope = Envelope { class: Class::Control, policy: &send_policy.policy, outer, expiry };
        if let Some(frame) = self.seal(core, neighbours, routing, name, (&route, price), &envelope, &plain, under) {
            let until = of_use_until(expiry, core.now);
            neighbours.send_acknowledgement(
                core,
                Leaving { link, class: Class::Control, frame: frame.into(), after, until: Some(until) },
            );
        }
    }
}
