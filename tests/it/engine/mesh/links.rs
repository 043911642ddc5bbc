//! Links between the engines: how they come, what is measured on them, and how they go.

use super::Mesh;
use m2mesh::engine::Input;
use m2mesh::id::{LinkId, Pseudonym};
use m2mesh::identity::admission::AdmittedPeer;
use std::collections::BTreeSet;
use std::time::Duration;

impl Mesh {
    pub(super) fn link_up(&mut self, from: usize, to: usize) {
        self.link_up_over(from, to, self.links[&(from, to)], 0);
    }

    fn link_up_over(&mut self, from: usize, to: usize, link: LinkId, bearer: u8) {
        let [own, key] = [from, to].map(|at| self.nodes[at].own);
        self.link_up_as(from, own, to, key, link, bearer);
    }

    fn link_up_as(&mut self, from: usize, own: Pseudonym, to: usize, key: Pseudonym, link: LinkId, bearer: u8) {
        let (there, here) = (self.now_at(to), self.now_at(from));
        let theirs = self.nodes[to].engine.admission_view_of(&key);
        let view = self.nodes[from].engine.admission_view_of(&own);
        // Who does not know the time is told by kind 5.
        let told = theirs.hello_at(view.read(here).unix, there, 1);
        let hello = told.unwrap_or_else(|| theirs.hello(theirs.read(there).unix, 1));
        let peer = view.verify(&hello, &key, view.judging_time(&hello, here)).expect("a member");
        self.beneath.insert(link, own);
        self.handle(from, Input::LinkUp { own, link, peer, transport: "memory", bearer, age: Duration::ZERO });
    }

    /// Whether a node admits another now, or the reason code why it does not.
    pub fn admits(&self, at: usize, of: usize) -> Result<(), &'static str> {
        self.admitted(at, of).map(|_| ())
    }

    /// What a node finds out about another at admission.
    pub fn admitted(&self, at: usize, of: usize) -> Result<AdmittedPeer, &'static str> {
        let [own, key] = [at, of].map(|node| self.nodes[node].own);
        let (here, there) = (self.now_at(at), self.now_at(of));
        let hello = self.nodes[of].engine.admission_view_of(&key).hello(there.unix, 1);
        let verdict = self.nodes[at].engine.admission_view_of(&own).verify(&hello, &key, here.unix);
        verdict.map_err(|reason| reason.code())
    }

    /// Whether a node takes another's pseudonym for that of a member.
    fn is_member(&self, at: usize, (other, key): (usize, Pseudonym)) -> bool {
        let (here, there) = (self.now_at(at), self.now_at(other));
        let view = self.nodes[at].engine.admission_view();
        let theirs = self.nodes[other].engine.admission_view_of(&key);
        let told = theirs.hello_at(view.read(here).unix, there, 1);
        let hello = told.unwrap_or_else(|| theirs.hello(theirs.read(there).unix, 1));
        view.verify(&hello, &key, view.judging_time(&hello, here)).is_ok()
    }

    /// A node's network under another pseudonym is open: it links to whom it has links to.
    pub(super) fn link_anew(&mut self, at: usize, own: Pseudonym) {
        self.nodes[at].own = own;
        let direct = self.links.keys().filter(|(from, _)| *from == at).map(|(_, to)| *to);
        let beside = self.beside.iter().filter(|(link, _)| self.ends.get(link) == Some(&at)).map(|(_, (to, _))| *to);
        let others: BTreeSet<usize> = direct.chain(beside).collect();
        for other in others {
            let theirs = self.nodes[other].own;
            // Nobody links to who judges the other by another epoch's clock.
            if !self.is_member(at, (other, theirs)) || !self.is_member(other, (at, own)) {
                continue;
            }
            let (here, there) = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
            self.next_link += 2;
            self.beside.extend([(here, (other, there)), (there, (at, here))]);
            self.ends.extend([(here, at), (there, other)]);
            self.link_up_as(at, own, other, theirs, here, 0);
            self.link_up_as(other, theirs, at, own, there, 0);
        }
    }

    /// The process of a node ends: those to whom it has links of a further network see them go.
    pub(super) fn drop_beside(&mut self, at: usize) {
        let of = |(link, _): &(&LinkId, &(usize, LinkId))| self.ends.get(*link) == Some(&at);
        let ended: Vec<(LinkId, (usize, LinkId))> =
            self.beside.iter().filter(of).map(|(link, to)| (*link, *to)).collect();
        for (here, (other, there)) in ended {
            self.events.retain(|(_, event)| event.link != here && event.link != there);
            self.beside.remove(&here);
            self.beside.remove(&there);
            self.handle(other, Input::LinkDown { link: there, reason: "ended".into() });
        }
    }

    /// A node's network under a pseudonym is closed, with all its links.
    pub(super) fn leave(&mut self, at: usize, own: Pseudonym) {
        if self.nodes[at].own == own {
            self.nodes[at].own = self.nodes[at].engine.pseudonym();
        }
        let direct: Vec<usize> = self
            .links
            .iter()
            .filter(|((from, _), link)| *from == at && self.beneath.get(link) == Some(&own))
            .map(|((_, to), _)| *to)
            .collect();
        direct.into_iter().for_each(|other| self.disconnect(at, other));
        let beside: Vec<(LinkId, (usize, LinkId))> = self
            .beside
            .iter()
            .filter(|(link, _)| self.ends.get(link) == Some(&at) && self.beneath.get(link) == Some(&own))
            .map(|(link, other)| (*link, *other))
            .collect();
        for (here, (other, there)) in beside {
            self.events.retain(|(_, event)| event.link != here && event.link != there);
            for (of, link) in [(at, here), (other, there)] {
                self.beside.remove(&link);
                self.handle(of, Input::LinkDown { link, reason: "left".into() });
            }
        }
    }

    /// A link over another bearer; its two ends.
    pub fn connect_beside(&mut self, a: usize, b: usize, bearer: u8) -> (LinkId, LinkId) {
        let (here, there) = (LinkId(self.next_link + 1), LinkId(self.next_link + 2));
        self.next_link += 2;
        self.beside.extend([(here, (b, there)), (there, (a, here))]);
        self.link_up_over(a, b, here, bearer);
        self.link_up_over(b, a, there, bearer);
        (here, there)
    }

    pub fn connect(&mut self, a: usize, b: usize) {
        for ends in [(a, b), (b, a)] {
            self.next_link += 1;
            self.links.insert(ends, LinkId(self.next_link));
        }
        for (from, to) in [(a, b), (b, a)] {
            self.link_up(from, to);
        }
    }

    /// Both ends learn what the link between them costs, in micro-units per MB, and how long a probe takes.
    pub fn assess(&mut self, a: usize, b: usize, price: u64, round_trip: Duration) {
        for ends in [(a, b), (b, a)] {
            let link = self.links[&ends];
            self.handle(ends.0, Input::Priced { link, price: Some(price) });
            for _ in 0..20 {
                self.handle(ends.0, Input::Measured { link, round_trip });
            }
        }
    }

    /// Bytes that come over the link from a neighbour, whoever made them.
    pub fn hand(&mut self, at: usize, from: usize, buffer: &[u8]) {
        let link = self.links[&(at, from)];
        self.handle(at, Input::Frames { link, buffer: bytes::Bytes::copy_from_slice(buffer) });
    }

    /// One end's name of a link, if there is one.
    pub fn link(&self, at: usize, to: usize) -> Option<LinkId> {
        self.links.get(&(at, to)).copied()
    }

    /// One end learns how long a probe took.
    pub fn measure(&mut self, at: usize, to: usize, round_trip: Duration) {
        let link = self.links[&(at, to)];
        self.handle(at, Input::Measured { link, round_trip });
    }

    /// Neither end hears the other, or both do again; the link stays up.
    pub fn silence(&mut self, a: usize, b: usize, silent: bool) {
        for ends in [(a, b), (b, a)] {
            let link = self.links[&ends];
            self.handle(ends.0, if silent { Input::Silent(link) } else { Input::Heard(link) });
        }
    }

    /// Of the connections of the link between them one broke.
    pub fn breaks(&mut self, a: usize, b: usize) {
        for ends in [(a, b), (b, a)] {
            let link = self.links[&ends];
            self.handle(ends.0, Input::Broken(link));
        }
    }

    pub fn disconnect(&mut self, a: usize, b: usize) {
        for (from, to) in [(a, b), (b, a)] {
            let link = self.links.remove(&(from, to)).expect("a link");
            // What is on the way is lost with it.
            self.events.retain(|(_, event)| event.link != link);
            self.handle(from, Input::LinkDown { link, reason: "cut".into() });
        }
    }
}
