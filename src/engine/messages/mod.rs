//! Messages: what devices send to each other by name, on its way out and on its way in.

pub(super) mod departures;
pub(super) mod endings;
pub(super) mod inbox;
pub(super) mod intake;
pub(super) mod objectives;
pub(super) mod outbox;
pub(super) mod outcomes;
pub(super) mod reading;
pub(super) mod receipts;
pub(super) mod receiving;
pub(super) mod revoked;
pub(super) mod seals;
pub(super) mod senders;
pub(super) mod services;
pub(super) mod sessions;
pub(super) mod strangers;
pub(super) mod submission;

use crate::delivery::sends::Sends;
use crate::engine::api::Token;
use crate::engine::routing::routes::NoRoute;
use crate::engine::routing::{Reroute, Routing};
use crate::engine::sender::Sender;
use crate::engine::store::{Read, ReadError};
use crate::id::{InnerId, Name};
use crate::time::Now;

/// The state of this wing.
pub(super) struct Messages {
    pub(super) sessions: sessions::Sessions,
    /// Everything on its way out.
    pub(super) sends: Sends<Sender, (Token, Name), NoRoute>,
    pub(super) strangers: strangers::Strangers,
    pub(super) outcomes: outcomes::Outcomes,
    pub(super) inbox: inbox::Inbox,
    pub(super) services: services::Services,
    /// What this wing asks of others.
    pub(super) asks: Asks,
    /// Where a batch is put together; kept for its room.
    pub(super) plain: Vec<u8>,
}

/// What messages ask of the wings beside them; dispatch hands it on.
#[derive(Debug, Default)]
pub(super) struct Asks {
    /// Publications that a contact has handed to a subscriber: the first, and how many follow it.
    pub(super) heard: Vec<(Name, InnerId, u32)>,
    /// Cards are wanted: that of somebody whom a message is to.
    pub(super) cards: bool,
    /// Cards are wanted that the issuer may have got just now: that of somebody who opens a session.
    pub(super) newer_cards: bool,
}

impl Messages {
    /// What has become of ways: what was on them goes another way, and what waits for one is looked at again.
    pub(super) fn reroute(&mut self, routing: &mut Routing) {
        for reroute in core::mem::take(&mut routing.reroutes) {
            match reroute {
                Reroute::Lost(name) => {
                    self.sends.handle_path_broken(&name);
                    self.sends.wake(name);
                }
                Reroute::Broken(name) => self.sends.handle_path_broken(&name),
                Reroute::Anew => self.sends.wake_waiting(),
                Reroute::Found(name) => self.sends.wake(name),
            }
        }
    }

    /// Whether messages wait for a way, or for their turn.
    pub(super) fn wait(&self) -> bool {
        self.sends.wait()
    }

    /// What the store holds; messages on their way out are taken up later, when sessions can be had.
    pub(super) fn load(store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        Ok(Self {
            sessions: sessions::Sessions::new(),
            sends: Sends::new(),
            strangers: strangers::Strangers::default(),
            outcomes: outcomes::Outcomes::load(store)?,
            inbox: inbox::Inbox::load(store)?,
            services: services::Services::new(now),
            asks: Asks::default(),
            plain: Vec::new(),
        })
    }
}
