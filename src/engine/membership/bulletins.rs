//! Bulletins: how the operator's bulletin passes from member to member.
//!
//! A member with an older bulletin gets the newer one, verifies it, keeps it, and hands it to its other neighbours.
//! Documents that it names and that are missing are fetched (`documents`). When the successor of a bulletin is overdue,
//! the event log says so; the bulletin stays in force.
//!
//! Invariants
//! 1. A bulletin is kept and handed on only after it has been verified.
//! - A bulletin is handed on once.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::membership::Member;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::allowances::Asked;
use crate::event_log::Event;
use crate::id::LinkId;
use crate::time::{Time, Unix};
use crate::wire;
use crate::wire::bulletin::BulletinRequest;
use crate::wire::frame::{self, Kind};

/// What is known about the bulletin's successor.
#[derive(Debug, Default)]
pub(in crate::engine) struct Bulletins {
    /// The version whose overdue successor the event log has reported.
    overdue: Option<u64>,
    /// When the bulletin should have a successor.
    next_bulletin: Option<Time>,
}

impl Bulletins {
    pub(in crate::engine) fn next_wake(&self) -> Option<Time> {
        self.next_bulletin
    }
}

impl Member {
    pub(in crate::engine) fn timeout_bulletin(&mut self, core: &mut Core) {
        if self.bulletins.next_bulletin.is_some_and(|at| at <= core.now.time) {
            self.watch_bulletin(core);
        }
    }

    /// Records in the event log, once for each version, that the bulletin's successor is overdue: the operator has not
    /// made one, or it is being withheld. The bulletin stays in force until there is a newer one.
    pub(in crate::engine) fn watch_bulletin(&mut self, core: &mut Core) {
        let (version, next) = {
            let body = core.membership.bulletin().body();
            (body.version, Unix::from_seconds(body.next_update))
        };
        if core.now.unix < next {
            self.bulletins.next_bulletin = Some(core.now.time + next.since(core.now.unix));
            return;
        }
        self.bulletins.next_bulletin = None;
        if self.bulletins.overdue.replace(version) != Some(version) {
            core.record(Event::BulletinOverdue { version, since: next.seconds() });
        }
    }

    /// Handles a neighbour's request for the bulletin, which is sent if it is newer than the neighbour's.
    pub(in crate::engine) fn handle_bulletin_request(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        link: LinkId,
        body: &[u8],
    ) {
        match wire::decode::<BulletinRequest>(body) {
            Ok(request) if request.have >= core.membership.bulletin().version() => {}
            Ok(_) if neighbours.may_ask(core, link, Asked::Document) => self.send_bulletin(core, neighbours, link),
            Ok(_) => {}
            Err(_) => neighbours.note_malformed(core, link, Counter::ControlMalformed),
        }
    }

    pub(in crate::engine) fn send_bulletin(&mut self, core: &mut Core, neighbours: &mut Neighbours, link: LinkId) {
        let frame = frame::raw(Kind::Bulletin, core.membership.bulletin().signed());
        neighbours.send_frame(core, link, frame);
    }
}
