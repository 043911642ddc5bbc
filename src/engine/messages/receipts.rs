//! Receipts: how a device tells the senders of messages what became of them.
//!
//! What the turn has decided of a sender's messages goes back in frames of its own, sealed as messages are. A receipt that comes
//! after its message's deadline is of no use: the sender has been told by then that nothing is known. So the cheapest way is
//! taken that is quick enough for the first of them, and any way where none is.
//!
//! Invariant: a receipt leaves with the number of the commit that made its messages durable.

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

/// Receipts may take this long.
const RECEIPT_LIFETIME: Duration = retry::FAR;
/// A receipt's frame, for what it costs.
const RECEIPT_BYTES: usize = 512;

/// A message that comes again tells that its receipt may have been lost on its way. For so long receipts to its sender then
/// go back on the way that its messages take, which carries at least these; so do those to whom no other way is known.
const RETURNING: Duration = Duration::from_secs(600);
/// Receipts of [`MAX_RANGES`] ranges each that fit one seal.
const RECEIPTS_A_FRAME: usize = 12;

/// How receipts go back: any way that takes no longer than they have `left`, or any at all; or that on which the messages `came`, over
/// these relays: that one first if they are to return on it.
pub(in crate::engine) struct Back<'a> {
    pub(in crate::engine) came: &'a [CredentialPrefix],
    pub(in crate::engine) returns: bool,
    /// Until the first of the messages is over.
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

    /// Any way that is quick enough, or else any at all.
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

    /// Queues receipts for a device, `under` the session of their messages, to be released when `after` is durable.
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
            neighbours.send_data(
                core,
                Leaving { link, class: Class::Control, frame: frame.into(), after, until: Some(until) },
            );
        }
    }
}
