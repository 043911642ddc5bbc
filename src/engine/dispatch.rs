//! Dispatch: which room of the engine each input, command and frame is for.
//!
//! This is the one place that knows them all. It decides nothing: what it calls takes the input apart, and says what is wrong with it.
//!
//! ```text
//! Input::Command ─▶ handle_command ─▶ submission, publishing, services, reading, report
//! Input::Frames ──▶ handle_frames ─┬▶ Data: receiving
//!                                  └▶ else: handle_frame ─▶ announcements, bulletins, credentials, link state, …
//! other inputs ───▶ links, announcements, relaying, renewal, the event log
//! ```

mod held;
mod identity;
mod links;
mod mailbox;
mod membership;
mod revocation;
mod rotation;

use super::Engine;
use super::api::{Command, Reply, Timing, Token};
use super::exchange::Input;
use super::messages::push_only;
use super::neighbours::allowances::Asked;
use crate::counter::Counter;
use crate::id::LinkId;
use crate::time::Now;
use crate::wire::frame::{Frames, Kind, REQUIRED_FLAGS};
use bytes::Bytes;

impl Engine {
    /// Takes an input.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.pass_time(now);
        match input {
            Input::Command { token, command } => self.handle_command(token, command),
            Input::LinkUp { own, link, peer, transport, bearer, age } => {
                self.handle_link_up(own, link, peer, transport, bearer, age)
            }
            Input::Told(at) => self.handle_told(at),
            Input::Networked { own, result } => self.handle_networked(own, result),
            Input::LinkDown { link, reason } => self.handle_link_down(link, &reason),
            Input::Frames { link, buffer } => self.handle_frames(link, &buffer),
            Input::Measured { link, round_trip } => self.neighbours.handle_measured(&mut self.core, link, round_trip),
            Input::Silent(link) => self.neighbours.handle_silence(&mut self.core, link, true),
            Input::Heard(link) => self.neighbours.handle_silence(&mut self.core, link, false),
            Input::Broken(link) => self.handle_broken(link),
            Input::Twins { link, addresses } => self.neighbours.handle_twins(&mut self.core, link, addresses),
            Input::Windows { bearer, windows } => {
                self.neighbours.handle_windows(&mut self.core, bearer, windows);
            }
            Input::Awake(windows) => self.neighbours.handle_awake(&mut self.core, windows),
            Input::Priced { link, price } => self.neighbours.handle_priced(&mut self.core, link, price),
            Input::Blocked(link, class) => self.handle_blocked(link, class),
            Input::Writable(link) => self.handle_writable(link),
            Input::Listening { own, addresses } => self.neighbours.handle_listening(&mut self.core, own, addresses),
            Input::Enrol { id, hello } => self.member.handle_enrol(&mut self.core, &mut self.neighbours, id, hello),
            Input::Issued { origin, reply, pieces, event } => self.handle_issued(origin, reply, &pieces, event),
            Input::Renewed(answer) => self.handle_renewed(answer),
            Input::Event(event) => self.core.handle_event(event),
            Input::Refused { reason, count } => self.core.note_refused(reason, count),
            Input::Blob(done) => self.messages.handle_disk(&mut self.core, done),
            Input::Dropped { counter, count } => self.core.count(counter, count),
            Input::Timeout => {}
        }
        self.pass_on();
    }

    /// Hands on what wings ask of those beside them and above them.
    pub(super) fn pass_on(&mut self) {
        self.messages.reroute(&mut self.routing);
        self.messages.advertise_services(&mut self.core, &mut self.neighbours);
        self.messages.advance_anycasts(&mut self.core, &mut self.neighbours, &mut self.routing);
        for link in ::core::mem::take(&mut self.neighbours.air.freed) {
            self.handle_freed(link);
        }
        for (from, id, payload) in ::core::mem::take(&mut self.messages.asks.answers) {
            self.groups.handle_group_answer(&mut self.core, from, id, payload);
        }
        for published in ::core::mem::take(&mut self.groups.broadcast.arrived) {
            self.messages.take_broadcast(&mut self.core, published);
        }
        for (from, first, count) in ::core::mem::take(&mut self.messages.asks.heard) {
            self.groups.handle_heard(&mut self.core, &from, first, count);
        }
        for (to, confirmation) in ::core::mem::take(&mut self.groups.confirmations.leaving) {
            // Where there is no room for it, the publisher counts one less.
            self.messages.submit(&mut self.core, Token(0), &to, confirmation);
        }
        if ::core::mem::take(&mut self.groups.publishing.wants_permits) {
            self.member.ask_for_permits(&mut self.core);
        }
        if ::core::mem::take(&mut self.messages.asks.newer_cards) {
            self.member.pull_cards(&mut self.core);
        }
        if ::core::mem::take(&mut self.messages.asks.cards) && !self.member.renewal.is_asking() {
            self.member.pull_cards(&mut self.core);
        }
    }

    pub(super) fn handle_command(&mut self, token: Token, command: Command) {
        if let Some(refused) = push_only::refused(&command).filter(|_| self.core.settings.push_only) {
            return self.core.finish(token, Reply::Refused(refused));
        }
        match command {
            sends @ (Command::Send(_)
            | Command::SendLoad(_)
            | Command::Request { .. }
            | Command::Anycast(_)
            | Command::Broadcast(_)
            | Command::GroupRequest(_)
            | Command::Publish { .. }) => self.handle_later(token, &Timing::default(), sends),
            Command::Later { timing, command } => self.handle_later(token, &timing, *command),
            Command::Subscribe { filter, past } => {
                self.groups.subscribe(&mut self.core, &mut self.neighbours, token, filter, past)
            }
            Command::Offer { service, capacity } => self.messages.offer(&mut self.core, token, service, capacity),
            Command::Answer { to, request, answer } => {
                self.messages.answer_publication(&mut self.core, token, &to, request, answer)
            }
            Command::Offers(service) => self.messages.ask_for_offers(&mut self.core, token, service),
            Command::Respond { call, answer } => self.messages.respond(&mut self.core, token, call, answer),
            Command::Receive { consumer, live } => self.messages.read_inbox(&mut self.core, token, consumer, live),
            Command::Consume { consumer, up_to, durable } => {
                self.messages.consume(&mut self.core, token, &consumer, up_to, durable)
            }
            Command::MakeConsumer { consumer } => self.messages.make_consumer(&mut self.core, token, &consumer),
            Command::Forget { consumer } => self.messages.forget_consumer(&mut self.core, token, consumer),
            Command::FollowLog => self.messages.follow_log(&mut self.core, token),
            Command::Bulletin { signed, documents } => self.take_bulletin(token, &signed, &documents),
            Command::Identity => self.report_identity(token),
            Command::Rotate { anonymity } => self.rotate(token, anonymity),
            Command::Blob(command) => {
                self.messages.command_blob(&mut self.core, &mut self.neighbours, &mut self.routing, token, command)
            }
            Command::LiftQuarantine => {
                self.neighbours.lift_quarantine(&mut self.core);
                self.core.finish(token, Reply::Ready);
            }
            Command::Mailbox => self.report_mailbox(token),
            Command::Links => self.report_links(token),
            Command::Routes => self.report_routes(token),
            Command::Route { to, policy } => self.report_route(token, &to, policy.as_deref()),
            Command::Cancel => self.cancel(token),
        }
    }

    fn cancel(&mut self, token: Token) {
        let known = self.messages.inbox.unwatch(token)
            | self.core.journal.unwatch(token)
            | self.messages.withdraw(&mut self.core, token)
            | self.messages.cancel_blob(token)
            | self.groups.unsubscribe(&mut self.core, &mut self.neighbours, token);
        // A named request goes on: who has asked may ask again.
        if !known && !self.messages.named_requests.is_named(token) {
            self.messages.services.forget_request(token);
            self.messages.cancel_anycast(&self.core, token);
            self.groups.answers.forget(token);
            self.messages.forget_held_request(token);
        }
    }

    pub(super) fn handle_frame(&mut self, link: LinkId, kind: Kind, body: &[u8]) {
        match kind {
            Kind::Announce => self.handle_announce(link, body),
            Kind::BulletinRequest => {
                self.member.handle_bulletin_request(&mut self.core, &mut self.neighbours, link, body)
            }
            Kind::Bulletin => self.handle_bulletin(link, body),
            Kind::CredentialRequest => self.neighbours.handle_credential_request(&mut self.core, link, body),
            Kind::Credential => self.handle_credential(link, body),
            Kind::Refresh => self.handle_refresh(link, body),
            Kind::EnrolRelay => self.member.handle_enrol_relay(&mut self.core, &mut self.neighbours, link, body),
            Kind::EnrolAnswer => self.member.handle_enrol_answer(&mut self.core, &mut self.neighbours, link, body),
            Kind::SessionNack => {
                self.messages.handle_nack(&mut self.core, &mut self.neighbours, &mut self.routing, link, body)
            }
            Kind::HopAck => {
                self.messages.handle_hop_ack(&mut self.core, &mut self.neighbours, &mut self.routing, link, body)
            }
            Kind::DocumentRequest => {
                self.member.handle_document_request(&mut self.core, &mut self.neighbours, link, body)
            }
            Kind::DocumentPiece => self.handle_document_piece(link, body),
            Kind::TimeRequest => self.member.handle_time_request(&mut self.core, &mut self.neighbours, link, body),
            Kind::TimeBeacon => {
                let before = self.core.clock;
                self.member.handle_time_beacon(&mut self.core, &self.neighbours, link, body);
                self.adopt_clock(before);
            }
            Kind::Lsa => self.routing.handle_lsa(&mut self.core, &mut self.neighbours, link, body),
            Kind::LsaDigest => self.routing.handle_lsa_digest(&mut self.core, &mut self.neighbours, link, body),
            Kind::LsaRequest => self.routing.handle_lsa_request(&mut self.core, &mut self.neighbours, link, body),
            Kind::Locate => self.routing.handle_locate(&mut self.core, &mut self.neighbours, link, body),
            Kind::Located => self.routing.handle_located(&mut self.core, &mut self.neighbours, link, body),
            Kind::Fragment => self.handle_fragment(link, body),
            Kind::Group => {
                self.groups.handle_group_frame(&mut self.core, &mut self.neighbours, &mut self.routing, link, body)
            }
            Kind::GroupHave => self.groups.handle_group_have(&mut self.core, &mut self.neighbours, link, body),
            Kind::GroupWant => self.groups.handle_group_want(&mut self.core, &mut self.neighbours, link, body),
            Kind::GroupAgain => {
                self.groups.handle_group_again(&mut self.core, &mut self.neighbours, &mut self.routing, link, body)
            }
            // The link's handler answers pings itself; data frames go their own way.
            Kind::Ping | Kind::Pong | Kind::Data => {}
            Kind::Successor => self.handle_successor(link, body),
            Kind::Custody => {
                self.messages.handle_custody(&mut self.core, &mut self.neighbours, &mut self.routing, link, body)
            }
            Kind::Rest => self.neighbours.handle_rest(&mut self.core, link, body),
            Kind::Witness => self.core.count(Counter::FramesOfUnknownKind, 1),
        }
    }

    /// A piece of a frame of the data stream. The last one brings the whole frame.
    fn handle_fragment(&mut self, link: LinkId, body: &[u8]) {
        let Some(whole) = self.neighbours.handle_fragment(&mut self.core, link, body) else { return };
        let mut frames = Frames(&whole);
        match (frames.next(), frames.next()) {
            (Some(Ok(frame)), None) if frame.kind == Kind::Data as u8 => {
                self.messages.handle_data(&mut self.core, &mut self.neighbours, &mut self.routing, link, &frame, &whole)
            }
            (Some(Ok(frame)), None) => match Kind::from_u8(frame.kind) {
                Some(kind) if !kind.is_control() && kind != Kind::Fragment => self.handle_frame(link, kind, frame.body),
                _ => self.neighbours.note_malformed(&mut self.core, link, Counter::DataMalformed),
            },
            _ => self.neighbours.note_malformed(&mut self.core, link, Counter::DataMalformed),
        }
    }

    /// Splits what came over a link and hands each frame to whom it concerns.
    pub(super) fn handle_frames(&mut self, id: LinkId, buffer: &Bytes) {
        for frame in Frames(buffer) {
            if self.neighbours.links.get(id).is_none() {
                return;
            }
            let Ok(frame) = frame else {
                self.neighbours.note_offence(&mut self.core, id, "a frame of impossible length");
                return;
            };
            if frame.flags & REQUIRED_FLAGS != 0 {
                self.core.count(Counter::FramesWithUnknownFlags, 1);
                continue;
            }
            match Kind::from_u8(frame.kind) {
                None => self.core.count(Counter::FramesOfUnknownKind, 1),
                Some(Kind::Data) => self.messages.handle_data(
                    &mut self.core,
                    &mut self.neighbours,
                    &mut self.routing,
                    id,
                    &frame,
                    buffer,
                ),
                Some(kind) if kind.is_control() && !self.neighbours.may_ask(&mut self.core, id, Asked::Frame) => {}
                Some(kind) => self.handle_frame(id, kind, frame.body),
            }
            self.pass_on();
        }
    }
}
