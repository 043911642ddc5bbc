//! Sending mail: messages for which there is no way go to the nearest custodian, sealed for a receiver that is not there.
//!
//! A message goes as mail if its receiver's card has a prekey, and it has [`TOLERANT`] left. It goes to a router that advertises the receiver's
//! box, one of its parents, if there is one; otherwise to any custodian, once it has waited for [`AFTER`] for a way. If the card
//! has none, cards are asked for ([`cards`](super::cards)): the receiver may have told its issuer one meanwhile.
//!
//! Invariants
//! 1. A message goes as mail only if there is no way to its receiver now. That it is in custody is said once for each frame, and ends no
//!    message that asks for the receiver's confirmation.

use super::awaited::{Entry, Held};
use super::statements::{MAX_SHUNNED, seal_of};
use crate::counter::Counter;
use crate::delivery::departure::Departure;
use crate::delivery::lane::Lane;
use crate::delivery::sends::Ended;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::of_use_until;
use crate::engine::routing::no_route::NoRoute;
use crate::id::{LinkId, Lsn, Name, OuterId};
use crate::identity::mail::{Addressee, MAX_AGE};
use crate::routing::policy::Wants;
use crate::time::Unix;
use crate::wire;
use crate::wire::batch::MAX_REPLY_HANDLES;
use crate::wire::data::{Class, DataFrame, Form, Header, MailBox, Path, Policy, put_prefixed};
use crate::wire::frame::{self, Kind};
use core::time::Duration;

/// How long a message waits for a way to its receiver before it goes as mail.
const AFTER: Duration = Duration::from_secs(2);
/// The least time that a message must have left.
const TOLERANT: Duration = Duration::from_secs(5);
/// How far ahead of time a batch names the handles under which a receipt finds this device.
const REPLY_HORIZON: Duration = Duration::from_secs(6 * 3_600);
/// What mail holds besides its plaintext, as an estimate for its cost.
const AROUND: usize = 768;
/// The most bytes of messages in one mail.
const MOST: usize = 16 * 1024;
/// How long a custodian is expected to take to state that it keeps a mail.
const EXPECTED: Duration = Duration::from_secs(1);

/// Where mail goes: the link, and the path from there.
struct Way {
    link: LinkId,
    path: Path,
    segment: u8,
}

impl Messages {
    /// Sends messages to a destination as mail, if they wait for a way and there is a custodian. Returns whether any left.
    pub(in crate::engine) fn send_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
    ) -> bool {
        let parted = [NoRoute::Unknown, NoRoute::Asking, NoRoute::Apart];
        if self.is_custodian(core) || !self.sends.no_route(name).is_some_and(|why| parted.contains(why)) {
            return false;
        }
        for lane in self.sends.lanes(name) {
            let Some(next) = self.sends.next_in(name, &lane) else { continue };
            let left = next.expiry.since(core.now.unix);
            if left < TOLERANT {
                continue;
            }
            let waited = next.lifetime.saturating_sub(left);
            if waited < AFTER && routing.parents_of(core, name).is_empty() {
                self.sends.reopen(name.clone(), core.now.time + (AFTER - waited));
                continue;
            }
            if core.membership.contact_book().taking_mail(name, core.now.unix).is_none() {
                if routing.may_know_custodian(core, neighbours) {
                    self.ask_for_prekey(core);
                }
                return false;
            }
            let policy = lane.send_policy.policy.clone();
            let (asked, bytes) = ((lane.class, &policy), next.bytes + AROUND);
            let Some(way) = self.way_to_custodian(core, neighbours, routing, name, asked, bytes) else {
                // One that has refused may take it later.
                let again = self.shunning(name, lane.class, core.now.time).map(|(_, until)| until).min();
                again.into_iter().for_each(|again| self.sends.look_again_by(again));
                continue;
            };
            let busy = neighbours.links.get(way.link).is_none_or(|link| !link.takes(lane.class))
                || neighbours.is_busy(core, way.link, lane.class);
            if busy {
                self.sends.block_on(way.link, name);
                continue;
            }
            if self.send_as_mail(core, neighbours, routing, name, &lane, way) {
                return true;
            }
        }
        false
    }

    /// Has new cards asked for: the receiver may take mail by now. Where no mailbox is known that is asked for in vain, over links that may cost money.
    fn ask_for_prekey(&mut self, core: &Core) {
        self.asks.cards |= self.mail.cards.ask(core.now.time);
    }

    fn send_as_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        lane: &Lane,
        way: Way,
    ) -> bool {
        let (attempt, flight) = (way.path.outer, routing.flights.next());
        let (now, error, membership) = (core.now, core.clock_error(), &core.membership);
        let reply = || membership.handles(now.unix, now.unix + REPLY_HORIZON, MAX_REPLY_HANDLES);
        let departure = Departure {
            attempt,
            reply: &[],
            flight,
            expected: Some(EXPECTED),
            most: MOST,
            arrives: now.unix,
            spares: None,
            mail: true,
            now,
            error,
            push_only: core.settings.push_only,
        };
        let (mut plain, mut ended) = (Vec::new(), Ended::default());
        let taken = self.sends.take(name, lane, &departure, reply, &mut plain, &mut ended);
        if let Some(taken) = taken {
            let after = if core.journal.disk_fails { Lsn(0) } else { core.journal.last() };
            let policy = lane.send_policy.policy.clone();
            let left = self.emit_mail(core, neighbours, name, way, (lane.class, &policy), taken.expiry, &plain, after);
            if !left {
                self.sends.handle_let_go(name, &attempt);
                ended.gone.iter_mut().for_each(|gone| gone.left = false);
            }
        }
        self.report(core, neighbours, routing, ended.ends);
        self.report_gone(core, ended.gone);
        taken.is_some()
    }

    /// Seals a plaintext as mail and sends it on its way. Returns whether it left.
    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    fn emit_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        name: &Name,
        way: Way,
        (class, policy): (Class, &Policy),
        expiry: Unix,
        plain: &[u8],
        after: Lsn,
    ) -> bool {
        let Some(frame) = Self::sealed_mail(core, name, &way, (class, policy), expiry, plain) else {
            return false;
        };
        let Ok(data) = DataFrame::parse(&frame[frame::HEADER..]) else { return false };
        let (to, handle) = (Some(name.clone()), data.header.to);
        let entry = Entry { to, handle, seal: seal_of(data.sealed), held: Held::Own, class, expiry };
        self.mail.awaited.insert(way.path.outer, entry);
        let until = of_use_until(expiry, core.now);
        neighbours.send_data(core, Leaving { link: way.link, class, frame: frame.into(), after, until: Some(until) });
        core.count(Counter::MailSent, 1);
        true
    }

    fn sealed_mail(
        core: &mut Core,
        name: &Name,
        way: &Way,
        (class, policy): (Class, &Policy),
        expiry: Unix,
        plain: &[u8],
    ) -> Option<Vec<u8>> {
        let now = core.now.unix;
        let to = core.membership.contacts().handle_of(name, now)?;
        let card = core.membership.contact_book().taking_mail(name, now)?;
        let (prekey, contact) = (card.prekey.clone()?, card.contact_key);
        let day = prekey.day;
        let tag = core.membership.contact_book().box_of(name, day)?;
        let header = wire::encode(&Header {
            to,
            class,
            form: Form::Mail,
            expiry: expiry.min(now + MAX_AGE).0,
            policy: policy.clone(),
            segment: way.segment,
            mail: Some(MailBox { day, tag }),
        });
        let addressee = Addressee { prekey: &prekey, contact: &contact, handle: &to };
        let sealed = core.membership.seal_mail(&mut core.rng, &addressee, &header, plain, now)?;
        let mut frame = Vec::with_capacity(frame::HEADER + header.len() + sealed.len() + 256);
        let start = frame::begin(&mut frame, Kind::Data);
        put_prefixed(&mut frame, &header);
        put_prefixed(&mut frame, &wire::encode(&way.path));
        frame.extend_from_slice(&sealed);
        frame::finish(&mut frame, start);
        Some(frame)
    }

    /// The way to the nearest custodian for a receiver. A leaf hands its mail to a router, which finds one.
    fn way_to_custodian(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        name: &Name,
        (class, policy): (Class, &Policy),
        bytes: usize,
    ) -> Option<Way> {
        let outer: OuterId = routing.outer_id(core);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let wants = Wants { policy: policy.clone(), time: None, bytes };
        let shunned = self.shunned_for(name, class, core.now.time);
        if shunned.len() >= MAX_SHUNNED {
            return None;
        }
        let parents = routing.parents_of(core, name);
        let route = routing.route_to_custodian(core, neighbours, None, &wants, (&parents, &shunned))?;
        let end = route.nodes.last().copied()?;
        let segment = routing.segment_of(core, neighbours, &end)?;
        let (link, path) = routing.leave_on(neighbours, &route, &wants, outer)?;
        Some(Way { link, path, segment })
    }
}
