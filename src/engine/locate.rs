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
//! 1. An answer is believed only with a credential that verifies and whose handle was asked for.
//! 2. A border names itself to its own area only if a neighbour in another area has answered it; otherwise it names the
//!    border that has. To a router through which its own way leads, a router answers nothing.
//! 3. A question is handed on once, by its id. Of those of others [`MAX_QUESTIONS`] are under way; drop policy: the oldest
//!    of the link that has asked most (`locate_dropped`). A link may ask [`BURST`] at once and one in [`PACE`]; drop policy:
//!    the newest (`locate_too_often`). Ours have places of their own: [`MAX_ANSWERS`], one for each contact at most.
//! 4. What relayed frames make a router ask is bounded in the same way ([`MAX_SOUGHT`], [`SEEK_BURST`], [`SEEK_PACE`]), and
//!    one handle is sought again after a pause that doubles up to [`SOUGHT`]: frames to nobody are no flood of questions.
//! 5. At most [`MAX_ANSWERS`] answers; drop policy: the one learnt first goes (`locate_forgotten`).

use super::Engine;
use super::share::{Rates, Shares};
use crate::counter::Counter;
use crate::id::{CredentialHash, Handle, LinkId, Name, OuterId, Pseudonym};
use crate::identity::credential::{PeerCredential, acceptance};
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::frame::Kind;
use crate::wire::locate::{Locate, Located, MAX_AREAS, MAX_VIA};
use core::time::Duration;
use serde_bytes::ByteBuf;
use std::collections::{BTreeMap, VecDeque};

/// Most questions of others that are under way.
const MAX_QUESTIONS: usize = 1_024;
/// What one link may ask at once, and how often after that.
const BURST: u32 = 256;
const PACE: Duration = Duration::from_millis(25);
/// Most handles that are sought for the sake of frames of others, and how often one link may have another sought.
const MAX_SOUGHT: usize = 1_024;
const SEEK_BURST: u32 = 32;
const SEEK_PACE: Duration = Duration::from_millis(250);
/// Longest pause before such a handle is sought again.
const SOUGHT: Duration = Duration::from_secs(60);
/// Most answers kept.
const MAX_ANSWERS: usize = 4_096;
/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// After a question without an answer the next comes this much later, doubling up to [`WAIT`].
const AGAIN: Duration = Duration::from_millis(500);
/// A question that has been answered stands this much longer, for an answer that is nearer.
const NEARER: Duration = Duration::from_secs(2);
/// Most borders that are asked at once for each area beyond, and for all: those behind one link share one question.
const BORDERS: usize = 4;
const ALL_BORDERS: usize = 64;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Locating {
    answers: BTreeMap<Handle, Answer>,
    learnt: VecDeque<Handle>,
    /// What we want to know.
    asked: BTreeMap<Handle, Asked>,
    questions: BTreeMap<OuterId, Question>,
    /// Those of others by whom they came from, and how often they come.
    shares: Shares<OuterId>,
    rates: Rates,
    /// What frames of others made us ask: when it may be asked again, and the pause after that.
    sought: BTreeMap<Handle, (Time, Duration)>,
    seekers: Shares<Handle>,
    seek_rates: Rates,
}

/// A link has had its turns.
struct TooOften;

/// A question of ours.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// When it is asked again.
    again: Time,
    /// And how long after that the next time.
    pause: Duration,
    /// Whether there was anyone to ask.
    somebody: bool,
}

#[derive(Debug)]
struct Answer {
    credential: PeerCredential,
    /// Routers through which it is reached, besides those that list it: borders of this area, or a neighbour in another.
    via: Vec<CredentialHash>,
    /// How far it is by the links that the answer took, in microseconds; the most if nobody has answered.
    delay: u64,
    until: Unix,
}

#[derive(Debug)]
struct Question {
    /// Where it came from; nothing if it is ours.
    from: Option<LinkId>,
    handle: Handle,
    segments: u64,
    /// The delay of the nearest answer that was handed back.
    told: u64,
    until: Time,
}

impl Default for Locating {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            learnt: VecDeque::new(),
            asked: BTreeMap::new(),
            questions: BTreeMap::new(),
            shares: Shares::new(MAX_QUESTIONS),
            rates: Rates::new(BURST, PACE),
            sought: BTreeMap::new(),
            seekers: Shares::new(MAX_SOUGHT),
            seek_rates: Rates::new(SEEK_BURST, SEEK_PACE),
        }
    }
}

impl Locating {
    /// Notes a question that is under way; answers whether another had to go for it.
    fn enter(&mut self, id: OuterId, question: Question) -> bool {
        let from = question.from;
        self.questions.insert(id, question);
        let gone = from.and_then(|from| self.shares.enter(from, id));
        gone.is_some_and(|gone| self.questions.remove(&gone).is_some())
    }

    /// Questions end after [`WAIT`].
    fn end_questions(&mut self, now: Time) {
        let shares = &mut self.shares;
        self.questions.retain(|id, question| {
            let stands = question.until > now;
            if !stands {
                shares.leave(id);
            }
            stands
        });
    }

    /// Whether a handle may be sought now for a frame that came over a link: otherwise it was of late, or the link has
    /// had others sought too often, which is answered as an error.
    fn may_seek(&mut self, from: LinkId, handle: Handle, now: Time) -> Result<bool, TooOften> {
        let pause = match self.sought.get(&handle) {
            Some((again, _)) if *again > now => return Ok(false),
            Some((_, pause)) => (*pause * 2).min(SOUGHT),
            None => AGAIN,
        };
        if !self.seek_rates.take(from, now) {
            return Err(TooOften);
        }
        self.sought.insert(handle, (now + pause, pause));
        if let Some(gone) = self.seekers.enter(from, handle) {
            self.sought.remove(&gone);
        }
        Ok(true)
    }

    fn keep(&mut self, handle: Handle, answer: Answer) -> bool {
        if self.answers.insert(handle, answer).is_none() {
            self.learnt.push_back(handle);
        }
        let full = self.learnt.len() > MAX_ANSWERS;
        if full && let Some(oldest) = self.learnt.pop_front() {
            self.answers.remove(&oldest);
        }
        full
    }
}

impl Engine {
    /// The credential of a device that is no router, if it is known.
    pub(super) fn credential_of_name(&mut self, name: &Name) -> Option<PeerCredential> {
        let unix = self.now.unix;
        let present = self.membership.contacts().handle_of(name, unix);
        let handles: Vec<Handle> =
            present.into_iter().chain(self.membership.contacts().handles_of(name, unix)).collect();
        handles.iter().find_map(|handle| self.credential_of_handle(handle))
    }

    /// The same by its handle; of a leaf next to us too.
    pub(super) fn credential_of_handle(&self, handle: &Handle) -> Option<PeerCredential> {
        if let Some(link) = self.links.by_handle(handle).filter(|link| !link.forwarding) {
            return Some(link.peer.clone());
        }
        let answer = self.locating.answers.get(handle).filter(|answer| answer.until > self.now.unix)?;
        Some(answer.credential.clone())
    }

    /// A device has opened a session: that is how it is known from now on, if it is no router.
    pub(super) fn learn_where(&mut self, peer: &PeerCredential) {
        let until = acceptance(&peer.body).map_or(self.now.unix, |(_, until)| until);
        let handle = peer.body.handle;
        let known = self.locating.answers.get(&handle).map(|answer| (answer.via.clone(), answer.delay));
        let (via, delay) = known.unwrap_or((Vec::new(), u64::MAX));
        let forgotten = self.locating.keep(handle, Answer { credential: peer.clone(), via, delay, until });
        self.count(Counter::LocateForgotten, u64::from(forgotten));
    }

    /// Routers through which a device without link state is reached: those that list it, or the border that answered.
    pub(super) fn routers_towards(&self, handle: &Handle) -> Vec<Pseudonym> {
        let listed = self.routing.lsdb.routers_of_leaf(handle);
        if !listed.is_empty() {
            return listed;
        }
        let via = self.locating.answers.get(handle).map(|answer| answer.via.as_slice()).unwrap_or_default();
        let known = |router: &Pseudonym| self.is_border(router) || self.joins(router);
        via.iter().filter_map(|hash| self.pseudonym_of(hash)).filter(known).collect()
    }

    /// Whether another router of this area says that it has links into others.
    fn is_border(&self, router: &Pseudonym) -> bool {
        let entry = self.routing.lsdb.entry(router).filter(|_| *router != self.own);
        entry.is_some_and(|entry| !entry.lsa.borders.is_empty())
    }

    /// Whether it is our neighbour in another area.
    fn joins(&self, router: &Pseudonym) -> bool {
        self.links.of(router).any(|(_, link)| link.forwarding && link.area != self.settings.area)
    }

    /// Asks where a device is, unless that has been asked. Answers whether there is anyone to ask.
    pub(super) fn ask_where(&mut self, handle: Handle) -> bool {
        let now = self.now.time;
        let pause = match self.locating.asked.get(&handle) {
            Some(asked) if asked.again > now => return asked.somebody,
            Some(asked) => asked.pause,
            None => AGAIN,
        };
        if self.locating.asked.len() >= MAX_ANSWERS {
            self.locating.asked.retain(|_, asked| asked.again > now);
        }
        if self.locating.asked.len() >= MAX_ANSWERS {
            self.count(Counter::LocateDropped, 1);
            return false;
        }
        let somebody = self.ask_around(handle);
        // Somebody may come by soon; who has been asked gets more and more time.
        let (again, pause) = if somebody { (now + pause, (pause * 2).min(WAIT)) } else { (now + AGAIN, pause) };
        self.locating.asked.insert(handle, Asked { again, pause, somebody });
        somebody
    }

    /// Answers whether there is anyone to ask.
    fn ask_around(&mut self, handle: Handle) -> bool {
        let mut id = [0; OuterId::LEN];
        rand_chacha::rand_core::Rng::fill_bytes(&mut self.rng, &mut id);
        let segments = self.own_reach().to_be_bytes();
        self.pass_question(&Locate { id: OuterId(id), handle, ttl: MAX_AREAS, segments }, None)
    }

    /// A frame for a device came over a link and has no way from here: asks where it is, if that is not known.
    pub(super) fn seek(&mut self, from: LinkId, handle: Handle) {
        let near = self.links.by_handle(&handle).is_some() || self.routing.router_of(&handle).is_some();
        if near || !self.routers_towards(&handle).is_empty() || self.locating.asked.contains_key(&handle) {
            return;
        }
        match self.locating.may_seek(from, handle, self.now.time) {
            Ok(true) => drop(self.ask_around(handle)),
            Ok(false) => {}
            Err(TooOften) => self.count(Counter::LocateTooOften, 1),
        }
    }

    /// A link is gone, and with it who is answered over it.
    pub(super) fn forget_link_in_locating(&mut self, link: LinkId) {
        self.locating.rates.forget(link);
        self.locating.seek_rates.forget(link);
    }

    pub(super) fn handle_locate(&mut self, from: LinkId, body: &[u8]) {
        let Ok(mut question) = wire::decode::<Locate>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let segments = u64::from_be_bytes(question.segments) & self.reach_of(from) & self.own_reach();
        if segments == 0 {
            return self.count(Counter::LocateOfOtherSegments, 1);
        }
        question.segments = segments.to_be_bytes();
        if !self.settings.forwarding || self.locating.questions.contains_key(&question.id) {
            return;
        }
        match self.answer_for(from, &question.handle, segments) {
            Some((credential, via, delay)) => self.answer_question(from, question.id, via, delay, &credential),
            None if self.locating.rates.take(from, self.now.time) => drop(self.pass_question(&question, Some(from))),
            None => self.count(Counter::LocateTooOften, 1),
        }
    }

    /// What is answered on a link to whoever asks where a device is: its credential, through whom, and how far; nothing if it
    /// is not known, or where it is is not, or the way leads back there.
    fn answer_for(
        &self,
        to: LinkId,
        handle: &Handle,
        segments: u64,
    ) -> Option<(PeerCredential, Vec<CredentialHash>, u64)> {
        let led_to = |peer: &PeerCredential| self.membership.bulletin().reach(peer.body.segments()) & segments != 0;
        self.whole_answer_for(to, handle).filter(|(credential, ..)| led_to(credential))
    }

    /// The same whatever the segment.
    fn whole_answer_for(&self, to: LinkId, handle: &Handle) -> Option<(PeerCredential, Vec<CredentialHash>, u64)> {
        let own = || self.own_hash().into_iter().collect::<Vec<_>>();
        let abroad = self.is_foreign(to);
        if let Some((link, neighbour)) = self.links.iter().find(|(_, link)| link.peer.body.handle == *handle)
            && self.is_foreign(link)
        {
            return Some((neighbour.peer.clone(), own(), u64::from(self.delay_of(link)))).filter(|_| link != to);
        }
        let listed = self.links.by_handle(handle).is_some() || !self.routing.lsdb.routers_of_leaf(handle).is_empty();
        let leaf = self.credential_of_handle(handle).filter(|_| listed);
        if let Some(credential) = leaf.or_else(|| self.router_credential(handle)) {
            return Some((credential, if abroad { own() } else { Vec::new() }, 0));
        }
        let credential = self.credential_of_handle(handle)?;
        let routers = self.routers_towards(handle);
        let asker = self.links.get(to).map(|link| link.peer.body.key);
        if routers.is_empty() || routers.iter().any(|router| Some(*router) == asker) {
            return None;
        }
        let answer = self.locating.answers.get(handle)?;
        let ours = abroad || routers.iter().any(|router| self.joins(router));
        Some((credential, if ours { own() } else { answer.via.clone() }, answer.delay))
    }

    fn answer_question(
        &mut self,
        to: LinkId,
        id: OuterId,
        via: Vec<CredentialHash>,
        delay: u64,
        credential: &PeerCredential,
    ) {
        let credential = ByteBuf::from(credential.signed.to_vec());
        let answer = Located { id, area: self.settings.area, via, cost: 0, delay, credential };
        self.send_control(to, Kind::Located, &answer);
    }

    /// Hands a question on: towards a router that lists the handle, else to the borders and into the areas beyond.
    fn pass_question(&mut self, question: &Locate, from: Option<LinkId>) -> bool {
        let now = self.now.time;
        self.locating.end_questions(now);
        let mut next: Vec<(LinkId, u8)> = Vec::new();
        if self.settings.forwarding {
            let routers = self.routing.lsdb.routers_of_leaf(&question.handle);
            if routers.is_empty() {
                for border in self.borders_to_ask() {
                    next.extend(self.link_towards(&border).map(|link| (link, question.ttl)));
                }
                if question.ttl > 0 {
                    let beyond =
                        self.links.iter().filter(|(_, link)| link.forwarding && link.area != self.settings.area);
                    next.extend(beyond.map(|(link, _)| (link, question.ttl - 1)));
                }
            } else {
                next.extend(
                    routers.iter().find_map(|router| self.link_towards(router)).map(|link| (link, question.ttl)),
                );
            }
        } else {
            let routers = self.links.iter().filter(|(_, link)| link.forwarding && link.usable);
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
        let entry = Question { from, handle, segments, told: u64::MAX, until: now + WAIT };
        let dropped = self.locating.enter(question.id, entry);
        self.count(Counter::LocateDropped, u64::from(dropped));
        for (link, ttl) in &next {
            self.send_control(*link, Kind::Locate, &Locate { ttl: *ttl, ..question.clone() });
        }
        !next.is_empty()
    }

    /// Borders of every area beyond, some of each.
    fn borders_to_ask(&self) -> Vec<Pseudonym> {
        let mut asked: BTreeMap<u32, usize> = BTreeMap::new();
        let mut borders = self.routing.lsdb.borders();
        borders.retain(|border| {
            let beyond = self.routing.lsdb.entry(border).map_or(&[][..], |entry| &entry.lsa.borders);
            let wanted = beyond.iter().any(|area| asked.get(area).is_none_or(|asked| *asked < BORDERS));
            beyond.iter().filter(|_| wanted).for_each(|area| *asked.entry(*area).or_default() += 1);
            wanted
        });
        borders.truncate(ALL_BORDERS);
        borders
    }

    pub(super) fn handle_located(&mut self, link: LinkId, body: &[u8]) {
        let Ok(answer) = wire::decode::<Located>(body) else { return self.count(Counter::ControlMalformed, 1) };
        let Some(question) = self.locating.questions.get(&answer.id) else { return };
        let (handle, from, told, segments) = (question.handle, question.from, question.told, question.segments);
        let verified = self.verify_credential(&answer.credential);
        let Some(credential) = verified.ok().filter(|credential| credential.body.handle == handle) else {
            return self.count(Counter::CredentialsRefused, 1);
        };
        let via: Vec<CredentialHash> = if self.is_foreign(link) {
            // From here on the way leads through the neighbour; for those behind us, through us.
            self.links.get(link).map(|link| link.peer.hash).into_iter().collect()
        } else {
            answer.via.into_iter().take(MAX_VIA).filter(|router| Some(*router) != self.own_hash()).collect()
        };
        let delay = answer.delay.saturating_add(u64::from(self.delay_of(link)).max(1));
        let until = acceptance(&credential.body).map_or(self.now.unix, |(_, until)| until);
        self.learn_credential(credential.clone());
        self.learn_answer(handle, Answer { credential, via, delay, until });
        let found = !self.settings.forwarding || self.routing.router_of(&handle).is_some();
        if found || !self.routers_towards(&handle).is_empty() {
            self.locating.asked.remove(&handle);
            self.locating.sought.remove(&handle);
            self.locating.seekers.leave(&handle);
        }
        if let Some(from) = from
            && let Some((credential, via, delay)) =
                self.answer_for(from, &handle, segments).filter(|(_, _, far)| *far < told)
        {
            if let Some(question) = self.locating.questions.get_mut(&answer.id) {
                question.told = delay;
                question.until = question.until.min(self.now.time + NEARER);
            }
            self.answer_question(from, answer.id, via, delay, &credential);
        }
        if let Some(name) = self.name_of(&handle) {
            self.schedule.wake(name);
        }
    }

    /// Keeps an answer, unless the one that is kept is of use and no farther.
    fn learn_answer(&mut self, handle: Handle, answer: Answer) {
        let known = self.locating.answers.get(&handle).filter(|known| known.until > self.now.unix);
        if known.is_some_and(|known| known.delay <= answer.delay) && !self.routers_towards(&handle).is_empty() {
            return;
        }
        let forgotten = self.locating.keep(handle, answer);
        self.count(Counter::LocateForgotten, u64::from(forgotten));
    }

    /// The next question is due, or its answer is given up.
    pub(super) fn next_question(&self) -> Option<Time> {
        self.locating.asked.values().map(|asked| asked.again).min()
    }

    pub(super) fn timeout_locating(&mut self) {
        let (now, unix) = (self.now.time, self.now.unix);
        let over: Vec<Handle> =
            self.locating.asked.iter().filter(|(_, asked)| asked.again <= now).map(|(handle, _)| *handle).collect();
        for handle in over {
            if self.name_of(&handle).is_none_or(|name| !self.waits_for(&name)) {
                self.locating.asked.remove(&handle);
            } else {
                self.ask_where(handle);
            }
        }
        self.locating.answers.retain(|_, answer| answer.until > unix);
        let answers = &self.locating.answers;
        self.locating.learnt.retain(|handle| answers.contains_key(handle));
    }

    /// The credential of a router of this area by its handle.
    fn router_credential(&self, handle: &Handle) -> Option<PeerCredential> {
        let router = self.routing.router_of(handle)?;
        let hash = self.routing.hash_of(&router)?;
        self.peers.get(&hash).cloned()
    }

    /// The link on which the way to a router begins.
    fn link_towards(&mut self, router: &Pseudonym) -> Option<LinkId> {
        self.refresh_graph();
        let wants =
            crate::routing::policy::Wants { policy: crate::wire::data::Policy::default(), time: None, bytes: 0 };
        let first = self.first_towards(router, &wants)?;
        self.link_under(&first, &wants.policy).map(|(link, _)| link)
    }

    fn is_foreign(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|link| link.forwarding && link.area != self.settings.area)
    }

    fn own_hash(&self) -> Option<CredentialHash> {
        self.membership.credential(self.now.unix).map(|own| own.hash)
    }
}
