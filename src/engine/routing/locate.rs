//! Locating: how one gets to know a device that has no link state of its own in this area.
//!
//! A leaf is listed by the routers that it has links to, by its handle alone; a device of another area is listed
//! nowhere. Before one can seal for it, one needs its credential. A question ([`Locate`]) goes to a router that lists the
//! handle, or to the borders of the area, hop by hop; who knows the answer gives it, and it goes back the same way
//! ([`Located`]). A border hands the question on into the areas that it joins, and answers in its own name: so for
//! whoever asks, a device of another area is one more leaf of the border.
//!
//! ```text
//! asker ◀─ via b ─ router ◀─ via b ─ border b ◀─ via p ─ p │ p is in another area: b keeps p, and says b
//!                                    border c ◀─ via b ─ b │ b is in this area: c keeps b, and says b
//! ```
//!
//! Answers hold for the epoch, and every router on the way keeps them. Each adds the delay of the link on which it came,
//! and another answer takes the place of one that is of use only if it is nearer: so a way leads from router to router
//! ever nearer to its end, whatever was asked by whom in between.
//!
//! Invariants
//! 1. A border names itself to its own area only if a neighbour in another area has answered it; otherwise it names the
//!    border that has. To a router through which its own route leads, a router answers nothing.
//! - An answer is believed only with a credential that verifies and whose handle was asked for.
//! - A question is handed on once, by its id. How many are remembered, and how often a link may ask, is said in
//!   [`locating`](crate::routing::locating).

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::routes::Route;
use crate::engine::routing::{Reroute, Routing};
use crate::id::{CredentialHash, Handle, LinkId, Name, OuterId, Pseudonym};
use crate::identity::credential::{PeerCredential, acceptance};
use crate::routing::locating::{Answer, Ask, Question, TooMany};
use crate::time::Time;
use crate::wire;
use crate::wire::frame::Kind;
use crate::wire::locate::{Locate, Located, MAX_AREAS, MAX_VIA};
use serde_bytes::ByteBuf;
use std::collections::BTreeMap;

/// Most borders that are asked at once for each area beyond, and for all: those behind one link share one question.
const BORDERS: usize = 4;
const ALL_BORDERS: usize = 64;

impl Routing {
    /// A device has opened a session: that is how it is known from now on, if it is no router.
    pub(in crate::engine) fn learn_where(&mut self, core: &mut Core, peer: &PeerCredential) {
        let until = acceptance(&peer.body).map_or(core.now.unix, |(_, until)| until);
        let handle = peer.body.handle;
        let known = self.locating.answer(&handle, core.now.unix).map(|answer| (answer.via.clone(), answer.delay));
        let (via, delay) = known.unwrap_or((Vec::new(), u64::MAX));
        let forgotten = self.locating.keep(handle, Answer { credential: peer.clone(), via, delay, until });
        core.count(Counter::LocateForgotten, u64::from(forgotten));
    }

    /// Whether another router of this area says that it has links into others.
    fn is_border(&self, core: &Core, router: &Pseudonym) -> bool {
        let entry = self.link_state.lsdb.entry(router).filter(|_| !core.is_own(router));
        entry.is_some_and(|entry| !entry.lsa.borders.is_empty())
    }

    /// Borders of every area beyond, some of each.
    fn borders_to_ask(&self) -> Vec<Pseudonym> {
        let mut asked: BTreeMap<u32, usize> = BTreeMap::new();
        let mut borders = self.link_state.lsdb.borders();
        borders.retain(|border| {
            let beyond = self.link_state.lsdb.entry(border).map_or(&[][..], |entry| &entry.lsa.borders);
            let wanted = beyond.iter().any(|area| asked.get(area).is_none_or(|asked| *asked < BORDERS));
            beyond.iter().filter(|_| wanted).for_each(|area| *asked.entry(*area).or_default() += 1);
            wanted
        });
        borders.truncate(ALL_BORDERS);
        borders
    }

    /// The next question is due, or its answer is given up.
    pub(in crate::engine) fn next_question(&self) -> Option<Time> {
        self.locating.next_wake()
    }

    fn own_hash(&self, core: &Core) -> Option<CredentialHash> {
        core.credential().map(|own| own.hash)
    }

    /// The credential of a device that is no router, if it is known.
    pub(in crate::engine) fn credential_of_name(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        name: &Name,
    ) -> Option<PeerCredential> {
        let unix = core.now.unix;
        let present = core.membership.contacts().handle_of(name, unix);
        let handles: Vec<Handle> =
            present.into_iter().chain(core.membership.contacts().handles_of(name, unix)).collect();
        handles.iter().find_map(|handle| self.credential_of_handle(core, neighbours, handle))
    }

    /// The same by its handle; of a leaf next to us too.
    pub(in crate::engine) fn credential_of_handle(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        handle: &Handle,
    ) -> Option<PeerCredential> {
        if let Some(link) = neighbours.links.by_handle(handle).filter(|link| !link.forwarding) {
            return Some(link.peer.clone());
        }
        let answer = self.locating.answer(handle, core.now.unix)?;
        Some(answer.credential.clone())
    }

    /// Routers through which a device without link state is reached: those that list it, or the border that answered.
    pub(in crate::engine) fn routers_towards(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        handle: &Handle,
    ) -> Vec<Pseudonym> {
        let listed = self.link_state.lsdb.routers_of_leaf(handle);
        if !listed.is_empty() {
            return listed;
        }
        let answer = self.locating.answer(handle, core.now.unix);
        let via = answer.map(|answer| answer.via.as_slice()).unwrap_or_default();
        let known = |router: &Pseudonym| self.is_border(core, router) || self.joins(core, neighbours, router);
        via.iter().filter_map(|hash| neighbours.pseudonym_of(hash)).filter(known).collect()
    }

    /// Whether it is our neighbour in another area.
    fn joins(&self, core: &Core, neighbours: &Neighbours, router: &Pseudonym) -> bool {
        neighbours.links.of(router).any(|(_, link)| link.forwarding && link.area != core.settings.area)
    }

    /// What is answered on a link to whoever asks where a device is: its credential, the routers through which it is reached, and the
    /// delay. `None` if the device or its location is unknown, or the way to it leads back over that link.
    fn answer_for(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        to: LinkId,
        handle: &Handle,
        segments: u64,
    ) -> Option<(PeerCredential, Vec<CredentialHash>, u64)> {
        let led_to = |peer: &PeerCredential| core.membership.bulletin().reach(peer.body.segments()) & segments != 0;
        self.whole_answer_for(core, neighbours, to, handle).filter(|(credential, ..)| led_to(credential))
    }

    /// The same whatever the segment.
    fn whole_answer_for(
        &self,
        core: &Core,
        neighbours: &Neighbours,
        to: LinkId,
        handle: &Handle,
    ) -> Option<(PeerCredential, Vec<CredentialHash>, u64)> {
        let own = || self.own_hash(core).into_iter().collect::<Vec<_>>();
        let abroad = self.is_foreign(core, neighbours, to);
        if let Some((link, neighbour)) = neighbours.links.iter().find(|(_, link)| link.peer.body.handle == *handle)
            && self.is_foreign(core, neighbours, link)
        {
            return Some((neighbour.peer.clone(), own(), u64::from(neighbours.delay_of(link)))).filter(|_| link != to);
        }
        let listed =
            neighbours.links.by_handle(handle).is_some() || !self.link_state.lsdb.routers_of_leaf(handle).is_empty();
        let leaf = self.credential_of_handle(core, neighbours, handle).filter(|_| listed);
        if let Some(credential) = leaf.or_else(|| self.router_credential(neighbours, handle)) {
            return Some((credential, if abroad { own() } else { Vec::new() }, 0));
        }
        let credential = self.credential_of_handle(core, neighbours, handle)?;
        let routers = self.routers_towards(core, neighbours, handle);
        let asker = neighbours.links.get(to).map(|link| link.peer.body.key);
        if routers.is_empty() || routers.iter().any(|router| Some(*router) == asker) {
            return None;
        }
        let answer = self.locating.answer(handle, core.now.unix)?;
        let ours = abroad || routers.iter().any(|router| self.joins(core, neighbours, router));
        Some((credential, if ours { own() } else { answer.via.clone() }, answer.delay))
    }

    #[expect(clippy::too_many_arguments, reason = "what other rooms lend is among them")]
    fn answer_question(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        to: LinkId,
        id: OuterId,
        via: Vec<CredentialHash>,
        delay: u64,
        credential: &PeerCredential,
    ) {
        let credential = ByteBuf::from(credential.signed.to_vec());
        let answer = Located { id, area: core.settings.area, via, cost: 0, delay, credential };
        neighbours.send_control(core, to, Kind::Located, &answer);
    }

    /// Keeps an answer, unless the one that is kept is of use and no farther.
    fn learn_answer(&mut self, core: &mut Core, neighbours: &mut Neighbours, handle: Handle, answer: Answer) {
        let known = self.locating.answer(&handle, core.now.unix);
        if known.is_some_and(|known| known.delay <= answer.delay)
            && !self.routers_towards(core, neighbours, &handle).is_empty()
        {
            return;
        }
        let forgotten = self.locating.keep(handle, answer);
        core.count(Counter::LocateForgotten, u64::from(forgotten));
    }

    /// The credential of a router of this area by its handle.
    fn router_credential(&self, neighbours: &Neighbours, handle: &Handle) -> Option<PeerCredential> {
        let router = self.link_state.router_of(handle)?;
        let hash = self.link_state.hash_of(&router)?;
        neighbours.peers.get(&hash).cloned()
    }

    fn is_foreign(&self, core: &Core, neighbours: &Neighbours, link: LinkId) -> bool {
        neighbours.links.get(link).is_some_and(|link| link.forwarding && link.area != core.settings.area)
    }

    /// The credential of the device at the end of a route.
    pub(in crate::engine) fn credential_at_end(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        name: &Name,
        route: &Route,
    ) -> Option<PeerCredential> {
        let last = route.nodes.last()?;
        if let Some((_, link)) = neighbours.links.of(last).next() {
            return Some(link.peer.clone());
        }
        if let Some(hash) = self.link_state.hash_of(last) {
            return neighbours.peers.get(&hash).cloned();
        }
        self.credential_of_name(core, neighbours, name)
    }

    /// Asks where a device is, unless that has been asked. Answers whether there is anyone to ask.
    pub(in crate::engine) fn ask_where(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        handle: Handle,
    ) -> bool {
        let now = core.now.time;
        let pause = match self.locating.may_ask(&handle, now) {
            Ok(Ask::Now(pause)) => pause,
            Ok(Ask::Already(somebody)) => return somebody,
            Err(TooMany) => {
                core.count(Counter::LocateDropped, 1);
                return false;
            }
        };
        let somebody = self.ask_around(core, neighbours, handle);
        self.locating.note_asked(handle, pause, somebody, now);
        somebody
    }

    /// Answers whether there is anyone to ask.
    fn ask_around(&mut self, core: &mut Core, neighbours: &mut Neighbours, handle: Handle) -> bool {
        let mut id = [0; OuterId::LEN];
        rand_chacha::rand_core::Rng::fill_bytes(&mut core.rng, &mut id);
        let segments = neighbours.own_reach(core).to_be_bytes();
        self.pass_question(core, neighbours, &Locate { id: OuterId(id), handle, ttl: MAX_AREAS, segments }, None)
    }

    /// A frame for a device came over a link and has no way from here: asks where it is, if that is not known.
    pub(in crate::engine) fn seek(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        handle: Handle,
    ) {
        let near = neighbours.links.by_handle(&handle).is_some() || self.link_state.router_of(&handle).is_some();
        if near || !self.routers_towards(core, neighbours, &handle).is_empty() || self.locating.asks_for(&handle) {
            return;
        }
        let Some(by) = neighbours.key_of(from) else { return };
        match self.locating.may_seek((from, &by), handle, core.now.time) {
            Ok(true) => drop(self.ask_around(core, neighbours, handle)),
            Ok(false) => {}
            Err(TooMany) => core.count(Counter::LocateTooOften, 1),
        }
    }

    pub(in crate::engine) fn handle_locate(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        from: LinkId,
        body: &[u8],
    ) {
        let Ok(mut question) = wire::decode::<Locate>(body) else {
            return neighbours.note_malformed(core, from, Counter::ControlMalformed);
        };
        let segments =
            u64::from_be_bytes(question.segments) & neighbours.reach_of(core, from) & neighbours.own_reach(core);
        if segments == 0 {
            return core.count(Counter::LocateOfOtherSegments, 1);
        }
        question.segments = segments.to_be_bytes();
        if !core.settings.forwarding || self.locating.question(&question.id).is_some() {
            return;
        }
        let Some(by) = neighbours.key_of(from) else { return };
        match self.answer_for(core, neighbours, from, &question.handle, segments) {
            Some((credential, via, delay)) => {
                self.answer_question(core, neighbours, from, question.id, via, delay, &credential)
            }
            None if self.locating.take_turn(&by, core.now.time) => {
                self.pass_question(core, neighbours, &question, Some(from));
            }
            None => core.count(Counter::LocateTooOften, 1),
        }
    }

    /// Hands a question on: towards a router that lists the handle, else to the borders and into the areas beyond.
    fn pass_question(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        question: &Locate,
        from: Option<LinkId>,
    ) -> bool {
        let now = core.now.time;
        self.locating.end_questions(now);
        let mut next: Vec<(LinkId, u8)> = Vec::new();
        if core.settings.forwarding {
            let routers = self.link_state.lsdb.routers_of_leaf(&question.handle);
            if routers.is_empty() {
                for border in self.borders_to_ask() {
                    next.extend(self.link_towards(core, neighbours, &border).map(|link| (link, question.ttl)));
                }
                if question.ttl > 0 {
                    let beyond =
                        neighbours.links.iter().filter(|(_, link)| link.forwarding && link.area != core.settings.area);
                    next.extend(beyond.map(|(link, _)| (link, question.ttl - 1)));
                }
            } else {
                next.extend(
                    routers
                        .iter()
                        .find_map(|router| self.link_towards(core, neighbours, router))
                        .map(|link| (link, question.ttl)),
                );
            }
        } else {
            let routers = neighbours.links.iter().filter(|(_, link)| link.forwarding && link.usable);
            next.extend(routers.map(|(link, _)| (link, question.ttl)).take(2));
        }
        next.retain(|(link, _)| Some(*link) != from);
        next.sort_unstable();
        next.dedup_by_key(|(link, _)| *link);
        let handle = question.handle;
        if next.is_empty() && from.is_none() {
            return false;
        }
        let segments = u64::from_be_bytes(question.segments);
        let entry = Question::new(from, handle, segments, now);
        let dropped = self.locating.enter(question.id, entry);
        core.count(Counter::LocateDropped, u64::from(dropped));
        for (link, ttl) in &next {
            neighbours.send_control(core, *link, Kind::Locate, &Locate { ttl: *ttl, ..question.clone() });
        }
        !next.is_empty()
    }

    pub(in crate::engine) fn handle_located(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        let Ok(answer) = wire::decode::<Located>(body) else {
            return neighbours.note_malformed(core, link, Counter::ControlMalformed);
        };
        let Some(question) = self.locating.question(&answer.id) else { return };
        let Question { handle, from, told, segments, .. } = *question;
        let verified = neighbours.verify_credential(core, &answer.credential);
        let Some(credential) = verified.ok().filter(|credential| credential.body.handle == handle) else {
            return core.count(Counter::CredentialsRefused, 1);
        };
        let via: Vec<CredentialHash> = if self.is_foreign(core, neighbours, link) {
            // From here on the way leads through the neighbour; for those behind us, through us.
            neighbours.links.get(link).map(|link| link.peer.hash).into_iter().collect()
        } else {
            answer.via.into_iter().take(MAX_VIA).filter(|router| Some(*router) != self.own_hash(core)).collect()
        };
        let delay = answer.delay.saturating_add(u64::from(neighbours.delay_of(link)).max(1));
        let until = acceptance(&credential.body).map_or(core.now.unix, |(_, until)| until);
        self.learn_credential(core, neighbours, credential.clone());
        let place = Answer { credential, via, delay, until };
        self.learn_answer(core, neighbours, handle, place);
        let found = !core.settings.forwarding || self.link_state.router_of(&handle).is_some();
        if found || !self.routers_towards(core, neighbours, &handle).is_empty() {
            self.locating.found(&handle);
        }
        if let Some(from) = from
            && let Some((credential, via, delay)) =
                self.answer_for(core, neighbours, from, &handle, segments).filter(|(_, _, far)| *far < told)
        {
            self.locating.note_told(&answer.id, delay, core.now.time);
            self.answer_question(core, neighbours, from, answer.id, via, delay, &credential);
        }
        if let Some(name) = neighbours.name_of(core, &handle) {
            self.reroutes.push(Reroute::Found(name));
        }
    }

    /// Questions that nobody has answered are asked again while something waits for that device.
    pub(in crate::engine) fn timeout_locating(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        waits_for: &dyn Fn(&Name) -> bool,
    ) {
        for handle in self.locating.due(core.now.time) {
            if neighbours.name_of(core, &handle).is_none_or(|name| !waits_for(&name)) {
                self.locating.give_up(&handle);
            } else {
                self.ask_where(core, neighbours, handle);
            }
        }
        self.locating.expire(core.now.unix);
    }

    /// The link on which the way to a router begins.
    fn link_towards(&mut self, core: &mut Core, neighbours: &mut Neighbours, router: &Pseudonym) -> Option<LinkId> {
        self.refresh_graph(core, neighbours);
        let wants =
            crate::routing::policy::Wants { policy: crate::wire::data::Policy::default(), time: None, bytes: 0 };
        let first = self.first_towards(core, neighbours, router, &wants)?;
        neighbours.link_under(&first, &wants.policy).map(|(link, _)| link)
    }
}
