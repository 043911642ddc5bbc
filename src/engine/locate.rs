//! Locating: how one gets to know a device that has no link state of its own in this area.
//!
//! A leaf is listed by the routers that it has links to, by its handle alone; a device of another area is listed
//! nowhere. Before one can seal for it, one needs its credential. A question ([`Locate`]) goes to a router that lists the
//! handle, or to the borders of the area, hop by hop; who knows the answer gives it, and it goes back the same way
//! ([`Located`]). A border hands the question on into the areas that it joins, and answers in its own name: so for
//! whoever asks, a device of another area is one more leaf of the border.
//!
//! Answers hold for the epoch, and every router on the way keeps them.
//!
//! Invariants
//! 1. An answer is believed only with a credential that verifies and whose handle was asked for.
//! 2. A question is handed on once, by its id. Questions, answers and askers are bounded; drop policy: a question beyond
//!    [`MAX_QUESTIONS`] is dropped (`locate_dropped`), the answer learnt first goes (`locate_forgotten`).

use super::Engine;
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
/// Most answers kept.
const MAX_ANSWERS: usize = 4_096;
/// How long an answer is waited for.
const WAIT: Duration = Duration::from_secs(10);
/// After a question without an answer the next comes this much later, doubling up to [`WAIT`].
const AGAIN: Duration = Duration::from_millis(500);
/// Most borders that are asked at once.
const BORDERS: usize = 4;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Locating {
    answers: BTreeMap<Handle, Answer>,
    learnt: VecDeque<Handle>,
    /// What we want to know.
    asked: BTreeMap<Handle, Asked>,
    questions: BTreeMap<OuterId, Question>,
}

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
    /// Routers through which it is reached, besides those that list it.
    via: Vec<CredentialHash>,
    until: Unix,
}

#[derive(Debug)]
struct Question {
    /// Where it came from; nothing if it is ours.
    from: Option<LinkId>,
    handle: Handle,
    /// We handed it into another area: the way leads through us.
    crosses: bool,
    until: Time,
}

impl Locating {
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
        let via = self.locating.answers.get(&handle).map(|answer| answer.via.clone()).unwrap_or_default();
        let forgotten = self.locating.keep(handle, Answer { credential: peer.clone(), via, until });
        self.count("locate_forgotten", u64::from(forgotten));
    }

    /// Routers through which a device without link state is reached: those that list it, or the border that answered.
    pub(super) fn routers_towards(&self, handle: &Handle) -> Vec<Pseudonym> {
        let listed = self.routing.lsdb.routers_of_leaf(handle);
        if !listed.is_empty() {
            return listed;
        }
        let via = self.locating.answers.get(handle).map(|answer| answer.via.as_slice()).unwrap_or_default();
        let known = |router: &Pseudonym| self.routing.lsdb_knows(router) || self.links.of(router).next().is_some();
        via.iter().filter_map(|hash| self.pseudonym_of(hash)).filter(known).collect()
    }

    /// Asks where a device is, unless that has been asked. Answers whether there is anyone to ask.
    pub(super) fn ask_where(&mut self, handle: Handle) -> bool {
        let now = self.now.time;
        let pause = match self.locating.asked.get(&handle) {
            Some(asked) if asked.again > now => return asked.somebody,
            Some(asked) => asked.pause,
            None => AGAIN,
        };
        let mut id = [0; OuterId::LEN];
        rand_chacha::rand_core::Rng::fill_bytes(&mut self.rng, &mut id);
        let question = Locate { id: OuterId(id), handle, ttl: MAX_AREAS };
        let somebody = self.pass_question(&question, None);
        if self.locating.asked.len() >= MAX_ANSWERS {
            self.locating.asked.retain(|_, asked| asked.again > now);
        }
        // Somebody may come by soon; who has been asked gets more and more time.
        let (again, pause) = if somebody { (now + pause, (pause * 2).min(WAIT)) } else { (now + AGAIN, pause) };
        self.locating.asked.insert(handle, Asked { again, pause, somebody });
        somebody
    }

    pub(super) fn handle_locate(&mut self, from: LinkId, body: &[u8]) {
        let Ok(question) = wire::decode::<Locate>(body) else { return self.count("control_malformed", 1) };
        if !self.settings.forwarding || self.locating.questions.contains_key(&question.id) {
            return;
        }
        // What is known of a device without knowing where it is does not help.
        let near =
            self.links.by_handle(&question.handle).is_some() || !self.routers_towards(&question.handle).is_empty();
        let known = self.credential_of_handle(&question.handle).filter(|_| near);
        if let Some(credential) = known.or_else(|| self.router_credential(&question.handle)) {
            let via = if self.is_foreign(from) {
                self.own_hash().into_iter().collect()
            } else {
                self.locating.answers.get(&question.handle).map(|answer| answer.via.clone()).unwrap_or_default()
            };
            return self.answer_question(from, question.id, via, &credential);
        }
        self.pass_question(&question, Some(from));
    }

    fn answer_question(&mut self, to: LinkId, id: OuterId, via: Vec<CredentialHash>, credential: &PeerCredential) {
        let credential = ByteBuf::from(credential.signed.to_vec());
        let answer = Located { id, area: self.settings.area, via, cost: 0, delay: 0, credential };
        self.send_control(to, Kind::Located, &answer);
    }

    /// Hands a question on: towards a router that lists the handle, else to the borders and into the areas beyond.
    fn pass_question(&mut self, question: &Locate, from: Option<LinkId>) -> bool {
        let now = self.now.time;
        self.locating.questions.retain(|_, question| question.until > now);
        if self.locating.questions.len() >= MAX_QUESTIONS {
            self.count("locate_dropped", 1);
            return false;
        }
        let mut next: Vec<(LinkId, u8)> = Vec::new();
        let mut crosses = false;
        if self.settings.forwarding {
            let routers = self.routing.lsdb.routers_of_leaf(&question.handle);
            if routers.is_empty() {
                for border in self.routing.lsdb.borders().into_iter().take(BORDERS) {
                    next.extend(self.link_towards(&border).map(|link| (link, question.ttl)));
                }
                if question.ttl > 0 {
                    let beyond =
                        self.links.iter().filter(|(_, link)| link.forwarding && link.area != self.settings.area);
                    let beyond: Vec<_> = beyond.map(|(link, _)| (link, question.ttl - 1)).collect();
                    crosses = !beyond.is_empty();
                    next.extend(beyond);
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
        self.locating.questions.insert(question.id, Question { from, handle, crosses, until: now + WAIT });
        for (link, ttl) in &next {
            self.send_control(*link, Kind::Locate, &Locate { ttl: *ttl, ..question.clone() });
        }
        !next.is_empty()
    }

    pub(super) fn handle_located(&mut self, link: LinkId, body: &[u8]) {
        let Ok(answer) = wire::decode::<Located>(body) else { return self.count("control_malformed", 1) };
        let Some(question) = self.locating.questions.remove(&answer.id) else { return };
        let verified = self.membership.bulletin().verify_credential(&answer.credential, self.now.unix);
        let Some(credential) = verified.ok().filter(|credential| credential.body.handle == question.handle) else {
            return self.count("credentials_refused", 1);
        };
        let mut via: Vec<CredentialHash> = answer.via.into_iter().take(MAX_VIA).collect();
        if question.crosses && self.is_foreign(link) {
            // From here on the way leads through the neighbour; for those behind us, through us.
            via = self.links.get(link).map(|link| link.peer.hash).into_iter().collect();
        }
        let until = acceptance(&credential.body).map_or(self.now.unix, |(_, until)| until);
        self.learn_credential(credential.clone());
        let kept = Answer { credential: credential.clone(), via: via.clone(), until };
        let forgotten = self.locating.keep(question.handle, kept);
        self.count("locate_forgotten", u64::from(forgotten));
        self.locating.asked.remove(&question.handle);
        if let Some(from) = question.from {
            let told = if question.crosses { self.own_hash().into_iter().collect() } else { via };
            self.answer_question(from, answer.id, told, &credential);
        }
        if let Some(name) = self.name_of(&question.handle) {
            self.ready.insert(name);
        }
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
        self.multicast.credentials.get(&hash).cloned()
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
