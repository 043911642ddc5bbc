//! The operator's bulletin, from member to member.
//!
//! Whoever has the older one gets the newer, verifies it, keeps it, and hands it to its other neighbours. What it names and is missing is fetched
//! (`documents`). When its successor is overdue the event log says so; nothing stops for that.
//!
//! Invariant: a bulletin is handed on after it has been verified, and once.

use super::{Engine, Output};
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::LinkId;
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::bulletin::BulletinRequest;
use crate::wire::frame::{self, Kind};

/// What is watched of the bulletin.
#[derive(Debug, Default)]
pub(super) struct Bulletins {
    /// The version of which it has been said that its successor is overdue.
    overdue: Option<u64>,
    /// When the bulletin should have a successor.
    next_bulletin: Option<Time>,
}

impl Bulletins {
    pub(super) fn next_wake(&self) -> Option<Time> {
        self.next_bulletin
    }
}

impl Engine {
    pub(super) fn timeout_bulletin(&mut self) {
        if self.bulletins.next_bulletin.is_some_and(|at| at <= self.now.time) {
            self.watch_bulletin();
        }
    }

    /// A neighbour asks for the bulletin, if ours is newer than its.
    pub(super) fn handle_bulletin_request(&mut self, link: LinkId, body: &[u8]) {
        match wire::decode::<BulletinRequest>(body) {
            Ok(request) if request.have < self.membership.bulletin().version() => self.send_bulletin(link),
            Ok(_) => {}
            Err(_) => self.count(Counter::ControlMalformed, 1),
        }
    }

    pub(super) fn send_bulletin(&mut self, link: LinkId) {
        let frame = frame::raw(Kind::Bulletin, self.membership.bulletin().signed());
        self.send_frame(link, frame);
    }

    pub(super) fn handle_bulletin(&mut self, from: LinkId, body: &[u8]) {
        match self.membership.accept_bulletin(body) {
            Ok(true) => {
                let version = self.membership.bulletin().version();
                self.record(Event::BulletinAccepted { version });
                self.documents.told_by = Some(from);
                self.heed_bulletin();
                self.outputs.push_back(Output::MembershipChanged { save: true });
                for link in self.links.ids().into_iter().filter(|link| *link != from) {
                    self.send_bulletin(link);
                }
                self.close_lapsed_links();
            }
            Ok(false) => {}
            Err(_) => self.count(Counter::BulletinsRefused, 1),
        }
    }

    /// A newer bulletin holds: group keys may be others, and senders revoked.
    pub(super) fn heed_bulletin(&mut self) {
        let (bulletin, unix) = (self.membership.bulletin().clone(), self.now.unix);
        self.peers.heed(|known| bulletin.recheck(known, unix).is_ok());
        // Who reaches which segment may be another matter now.
        self.routing.reconsider();
        self.watch_bulletin();
        self.fetch_documents();
        self.update_tags();
    }

    /// Says when the bulletin's successor is overdue: the operator has not made one, or somebody keeps it away. Nothing
    /// stops for that; the bulletin holds until there is a newer one.
    pub(super) fn watch_bulletin(&mut self) {
        let (version, next) = {
            let body = self.membership.bulletin().body();
            (body.version, Unix::from_seconds(body.next_update))
        };
        if self.now.unix < next {
            self.bulletins.next_bulletin = Some(self.now.time + next.since(self.now.unix));
            return;
        }
        self.bulletins.next_bulletin = None;
        if self.bulletins.overdue.replace(version) != Some(version) {
            self.record(Event::BulletinOverdue { version, since: next.seconds() });
        }
    }
}
