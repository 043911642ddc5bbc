//! Messages: what devices send to each other by name, on its way out and on its way in.

pub(super) mod consumers;
pub(super) mod departures;
pub(super) mod endings;
pub(super) mod holdings;
pub(super) mod inbox;
pub(super) mod intake;
pub(super) mod objectives;
pub(super) mod outbox;
pub(super) mod outcomes;
pub(super) mod reading;
pub(super) mod receipts;
pub(super) mod receiving;
pub(super) mod seals;
pub(super) mod senders;
pub(super) mod services;
pub(super) mod sessions;
pub(super) mod strangers;
pub(super) mod submission;

use crate::delivery::outgoing::Outgoing;
use crate::delivery::schedule::Schedule;
use crate::delivery::unconfirmed::Unconfirmed;
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
    pub(super) outgoing: Outgoing<Sender>,
    pub(super) unconfirmed: Unconfirmed<(Token, Name)>,
    /// Which destinations are looked at next, and why those that wait do.
    pub(super) schedule: Schedule<NoRoute>,
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
                    self.outgoing.handle_path_broken(&name);
                    self.schedule.wake(name);
                }
                Reroute::Broken(name) => self.outgoing.handle_path_broken(&name),
                Reroute::Anew => {
                    let waiting = self.outgoing.destinations_waiting().chain(self.unconfirmed.destinations());
                    self.schedule.wake_all(waiting.cloned());
                }
                Reroute::Found(name) => self.schedule.wake(name),
            }
        }
    }

    /// Whether messages wait for a way, or for their turn.
    pub(super) fn wait(&self) -> bool {
        self.outgoing.destinations_waiting().next().is_some() || self.unconfirmed.destinations().next().is_some()
    }

    /// What the store holds; messages on their way out are taken up later, when sessions can be had.
    pub(super) fn load(store: &dyn Read, now: Now) -> Result<Self, ReadError> {
        Ok(Self {
            sessions: sessions::Sessions::new(),
            outgoing: Outgoing::new(),
            unconfirmed: Unconfirmed::new(),
            schedule: Schedule::default(),
            strangers: strangers::Strangers::default(),
            outcomes: outcomes::Outcomes::load(store)?,
            inbox: inbox::Inbox::load(store)?,
            services: services::Services::new(now),
            asks: Asks::default(),
            plain: Vec::new(),
        })
    }
}
