//! Messages: what devices send to each other by name, both outgoing and incoming.

pub(super) mod anycast;
pub(super) mod blobs;
pub(super) mod broadcasts;
pub(super) mod departures;
pub(super) mod endings;
pub(super) mod group_answers;
pub(super) mod held;
pub(super) mod inbox;
pub(super) mod intake;
pub(super) mod mail;
pub(in crate::engine) mod named_requests;
pub(super) mod objectives;
pub(super) mod outbox;
pub(super) mod outcomes;
mod patience;
pub(super) mod push_only;
pub(super) mod reading;
pub(super) mod receipts;
pub(super) mod receiving;
pub(super) mod revoked;
pub(super) mod seals;
pub(super) mod sender_clocks;
pub(super) mod senders;
pub(super) mod services;
pub(super) mod sessions;
pub(super) mod strangers;
pub(super) mod submission;
pub(super) mod waiting;

use crate::delivery::sends::Sends;
use crate::engine::Settings;
use crate::engine::api::Token;
use crate::engine::routing::no_route::NoRoute;
use crate::engine::routing::{Reroute, Routing};
use crate::engine::sender::Sender;
use crate::engine::store::{Read, ReadError};
use crate::id::{InnerId, Name};
use crate::time::Now;
use std::collections::BTreeSet;

/// The state of the messages wing.
pub(super) struct Messages {
    pub(super) sessions: sessions::Sessions,
    /// Everything on its way out.
    pub(super) sends: Sends<Sender, (Token, Name), NoRoute>,
    sender_clocks: sender_clocks::SenderClocks,
    /// What is not to leave yet.
    pub(super) held: held::HeldMessages,
    pub(super) strangers: strangers::Strangers,
    pub(super) outcomes: outcomes::Outcomes,
    pub(super) inbox: inbox::Inbox,
    pub(super) services: services::Services,
    /// Requests that the application has named.
    pub(super) named_requests: named_requests::NamedRequests,
    /// What goes to any device that offers a service.
    pub(super) anycasts: anycast::Anycasts,
    pub(super) blobs: blobs::Blobs,
    pub(super) mail: mail::Mail,
    /// The receivers that have been recorded as full; each has messages that wait.
    pub(super) told_full: BTreeSet<Name>,
    /// What this wing asks of the other wings.
    pub(super) asks: Asks,
    /// The buffer in which a batch is put together; kept to reuse its allocation.
    pub(super) plain: Vec<u8>,
}

/// What messages ask of the wings beside them; `dispatch` passes it on.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// Publications of this device that a contact has handed to a subscriber: the contact, the first publication, and
    /// how many publications there are, the first included.
    pub(super) heard: Vec<(Name, InnerId, u32)>,
    /// Answers of contacts to publications of this device, as they say.
    pub(super) answers: Vec<(Name, InnerId, Vec<u8>)>,
    /// New contact cards are wanted, because a message is addressed to a name without a card.
    pub(super) cards: bool,
    /// Contact cards are wanted that the issuer may have received only just now, because an unknown device opens a
    /// session.
    pub(super) newer_cards: bool,
}

impl Messages {
    /// Applies what routing reports about routes: messages under way on a lost or broken route are queued again, and
    /// destinations that waited for a route are served again.
    pub(super) fn reroute(&mut self, routing: &mut Routing) {
        for reroute in core::mem::take(&mut routing.reroutes) {
            match reroute {
                Reroute::Lost(name) => {
                    self.sends.handle_path_broken(&name);
                    self.blobs.broken(&name);
                    self.sends.wake(name);
                }
                Reroute::Broken(name) => {
                    self.sends.handle_path_broken(&name);
                    self.blobs.broken(&name);
                }
                Reroute::Anew => {
                    self.mail.look_again();
                    self.sends.wake_waiting();
                    self.blobs.found_all();
                }
                Reroute::Found(name) => {
                    self.mail.look_again();
                    self.blobs.found(&name);
                    self.sends.wake(name);
                }
            }
        }
    }

    /// Whether any message waits for a route or for its turn.
    pub(super) fn wait(&self) -> bool {
        self.sends.wait()
    }

    /// Whether any message waits for a route, or mail that is kept here.
    pub(super) fn want_routes(&self) -> bool {
        self.wait() || !self.mail.mailbox.is_empty()
    }

    /// Loads what the store holds. Outgoing messages are restored later (`restore_outgoing`), when sessions can be
    /// opened.
    pub(super) fn load(store: &dyn Read, settings: &Settings, now: Now) -> Result<Self, ReadError> {
        Ok(Self {
            sessions: sessions::Sessions::new(),
            sends: Sends::new(),
            sender_clocks: sender_clocks::SenderClocks::default(),
            held: held::HeldMessages::default(),
            strangers: strangers::Strangers::default(),
            outcomes: outcomes::Outcomes::load(store)?,
            inbox: inbox::Inbox::load(store)?,
            services: services::Services::new(now),
            named_requests: named_requests::NamedRequests::load(store)?,
            anycasts: anycast::Anycasts::default(),
            blobs: blobs::Blobs::load(store, settings.blob_quota, now)?,
            mail: mail::Mail::load(store, settings.mail_quota, now)?,
            told_full: BTreeSet::new(),
            asks: Asks::default(),
            plain: Vec::new(),
        })
    }
}
