//! What becomes of the membership: the bulletin, the documents that it names, what the issuer answers, and the turn of epochs.
//!
//! What concerns the membership alone is done by the wing of that name; what follows from it for links, routes, messages and
//! groups is called here, in this order.

use crate::counter::Counter;
use crate::engine::api::{Refused, Reply, Token};
use crate::engine::exchange::Origin;
use crate::engine::{Engine, Output};
use crate::event_log::Event;
use crate::id::LinkId;
use crate::identity::bulletin::BulletinError;
use crate::wire::hello::EnrolReply;

impl Engine {
    pub(super) fn handle_bulletin(&mut self, from: LinkId, body: &[u8]) {
        match self.core.membership.accept_bulletin(body) {
            Ok(true) => {
                self.member.documents.told_by = Some(from);
                self.take_up_bulletin(Some(from));
            }
            Ok(false) => {}
            // Nobody hands on what the operator has not signed; one of a later format may come from a later version.
            Err(BulletinError::Signature | BulletinError::Realm) => {
                self.neighbours.note_forgery(&mut self.core, from, Counter::BulletinsRefused);
            }
            Err(BulletinError::Malformed(_)) => {
                self.neighbours.note_malformed(&mut self.core, from, Counter::BulletinsRefused);
            }
            Err(BulletinError::Format(_)) => self.core.count(Counter::BulletinsRefused, 1),
        }
    }

    /// A newer bulletin holds, which came over that link: it is kept, told to all other neighbours, and does what it says.
    pub(super) fn take_up_bulletin(&mut self, from: Option<LinkId>) {
        let version = self.core.membership.bulletin().version();
        self.core.record(Event::BulletinAccepted { version });
        self.heed_bulletin();
        self.core.outputs.push_back(Output::MembershipChanged { save: true });
        for link in self.neighbours.links.ids().into_iter().filter(|link| Some(*link) != from) {
            self.member.send_bulletin(&mut self.core, &mut self.neighbours, link);
        }
        self.member.close_lapsed_links(&mut self.core, &mut self.neighbours);
        self.member.plan_cards(&mut self.core);
        if self.core.membership.is_revoked(self.core.now.unix) {
            let reason = format!("bulletin version {version} revokes this device");
            self.core.record(Event::RenewalFailed { reason });
        }
    }

    /// A bulletin that the operator hands over, with documents that it names. It is judged as one that a neighbour sends.
    pub(super) fn take_bulletin(&mut self, token: Token, signed: &[u8], documents: &[Vec<u8>]) {
        let newer = match self.core.membership.accept_bulletin(signed) {
            Ok(newer) => newer,
            Err(error) => {
                self.core.count(Counter::BulletinsRefused, 1);
                return self.core.finish(token, Reply::Refused(Refused::Bulletin(error.to_string())));
            }
        };
        // Before it is told on: neighbours that lack them ask for them.
        let mut added = false;
        for document in documents {
            match self.core.membership.accept_document(document) {
                Ok(new) => added |= new,
                Err(_) => self.core.count(Counter::DocumentsRefused, 1),
            }
        }
        if newer {
            self.take_up_bulletin(None);
        } else if added {
            self.heed_bulletin();
            self.core.outputs.push_back(Output::MembershipChanged { save: true });
        }
        let version = self.core.membership.bulletin().version();
        self.core.finish(token, Reply::Bulletin { version, newer });
    }

    /// A newer bulletin or a document of it holds: group keys may be others, and senders revoked.
    pub(super) fn heed_bulletin(&mut self) {
        self.member.note_signed(&mut self.core);
        self.cut_off_revoked();
        // Who reaches which segment may be another matter now.
        self.routing.link_state.reconsider();
        self.member.watch_bulletin(&mut self.core);
        self.member.fetch_documents(&mut self.core, &mut self.neighbours);
        self.groups.update_tags(&mut self.core, &mut self.neighbours);
        self.member.plan_permits(&mut self.core);
        self.groups.take_up_rights(&mut self.core, &mut self.neighbours, &mut self.routing);
    }

    pub(in crate::engine) fn timeout_epochs(&mut self) {
        if self.member.epoch_is_over(&self.core) {
            self.start_epoch();
            self.groups.update_tags(&mut self.core, &mut self.neighbours);
        }
        if self.member.erasure_is_due(&self.core) {
            self.messages.sessions.retire(self.core.now.unix);
            self.member.erase_past(&mut self.core);
        }
    }

    /// Takes up the present epoch.
    pub(in crate::engine) fn start_epoch(&mut self) {
        self.member.begin_epoch(&mut self.core);
        self.learn_own();
        self.neighbours.send_refresh(&mut self.core);
        self.neighbours.renew_quarantine(&mut self.core);
        self.member.close_lapsed_links(&mut self.core, &mut self.neighbours);
        self.groups.end_streams(&mut self.core, &mut self.neighbours, &mut self.routing);
        self.member.plan_renewal(&self.core);
        self.member.plan_permits(&mut self.core);
        self.member.plan_prekey(&mut self.core);
        self.neighbours.renew_boxes(&self.core);
        self.plan_rotation();
        self.member.watch_bulletin(&mut self.core);
    }

    /// A piece of a document that the bulletin names.
    pub(super) fn handle_document_piece(&mut self, link: LinkId, body: &[u8]) {
        if self.member.handle_document_piece(&mut self.core, &mut self.neighbours, link, body) {
            self.heed_bulletin();
            self.member.fetch_documents(&mut self.core, &mut self.neighbours);
        }
    }

    /// This node's issuer has answered.
    pub(super) fn handle_issued(
        &mut self,
        origin: Origin,
        reply: EnrolReply,
        pieces: &[Vec<u8>],
        event: Option<Event>,
    ) {
        let introduced = matches!(event, Some(Event::Enrolled { .. }));
        if let Some(event) = event {
            self.core.record(event);
        }
        match origin {
            Origin::Admission(id) => self.core.outputs.push_back(Output::Enrolled { id, reply }),
            Origin::Own => self.handle_renewed(Ok(reply)),
            Origin::Relay(id) => self.member.send_issued(&mut self.core, &mut self.neighbours, id, pieces),
        }
        if introduced {
            self.member.pull_cards(&mut self.core);
        }
    }

    /// The issuer has answered, or could not be reached.
    pub(super) fn handle_renewed(&mut self, answer: Result<EnrolReply, String>) {
        let before = self.core.clock;
        let Some(renewed) = self.member.take_renewal(&mut self.core, answer) else { return };
        self.adopt_clock(before);
        if renewed.changed {
            self.rename_links();
            self.neighbours.renew_boxes(&self.core);
            self.messages.adopt_mail(&mut self.core);
            if self.messages.mail.cards.handle_news() {
                // Receivers may take mail by now.
                self.messages.sends.wake_waiting();
            }
            if renewed.bulletin {
                self.take_up_bulletin(None);
            }
            self.groups.update_tags(&mut self.core, &mut self.neighbours);
            self.groups.take_up_rights(&mut self.core, &mut self.neighbours, &mut self.routing);
        }
        self.member.plan_renewal(&self.core);
        self.member.plan_cards(&mut self.core);
        self.plan_rotation();
        for (token, command) in self.messages.settle_strangers(&mut self.core) {
            self.handle_command(token, command);
        }
        self.member.pull_again(&mut self.core);
    }
}
