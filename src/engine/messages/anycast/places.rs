//! Places: what a device that offers a service answers to enquiries, and the places that it keeps free for callers.
//!
//! Invariants
//! 1. A service answers at most as many reserved requests at a time as its capacity.
//! - At most [`MAX_PLACES`] places are kept, and for one caller at most as many of a service as it leaves free. A place that
//!   is not taken runs out after [`KEPT`]. Drop policy: the newest is refused (`ServiceBusy`).

use crate::counter::Counter;
use crate::delivery::lane::Lane;
use crate::delivery::message::{Content, Submission};
use crate::engine::api::Token;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::sender::Sender;
use crate::id::{InnerId, Name};
use crate::time::Time;
use crate::wire::batch::{Ack, Message, Purpose};
use crate::wire::data::Class;
use crate::wire::offer::Offer;
use crate::wire::receipt::Verdict;
use crate::wire::{self};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most places that are kept free.
pub(in crate::engine) const MAX_PLACES: usize = 1_024;
/// How long a place is kept free for a caller.
const KEPT: Duration = Duration::from_secs(5);
/// How long an answer to an enquiry is of use.
const ANSWER: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Place {
    from: Name,
    service: String,
    until: Time,
}

/// The places that are kept free, by the messages that asked for them.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<InnerId, Place>);

impl Places {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn of(&self, service: &str) -> usize {
        self.0.values().filter(|place| place.service == service).count()
    }

    fn of_caller(&self, service: &str, from: &Name) -> usize {
        self.0.values().filter(|place| place.service == service && place.from == *from).count()
    }
}

impl Messages {
    /// How busy a service of this device is; `None` if it is not offered.
    pub(super) fn own_offer(&self, service: &str) -> Option<Offer> {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let capacity = self.services.capacity(service)?;
        let load = count(self.services.calls_of(service)).saturating_add(count(self.anycasts.places.of(service)));
        Some(Offer { capacity, load, awake: None })
    }

    /// Processes a contact's question for a service, or for a place there. Returns the verdict for it.
    pub(in crate::engine) fn handle_enquiry(
        &mut self,
        core: &mut Core,
        from: &Name,
        id: InnerId,
        message: &Message<'_>,
    ) -> Verdict {
        let now = core.now.time;
        self.anycasts.places.0.retain(|_, place| place.until > now);
        let Some((service, offer)) = message.service.and_then(|service| Some((service, self.own_offer(service)?)))
        else {
            core.count(Counter::CallsWithoutService, 1);
            return Verdict::NoService;
        };
        let verdict = match message.purpose {
            Purpose::Reservation => {
                let places = &mut self.anycasts.places;
                let free = offer.capacity.saturating_sub(offer.load) as usize;
                if places.of_caller(service, from) >= free || places.len() >= MAX_PLACES {
                    core.count(Counter::CallsRefusedBusy, 1);
                    Verdict::ServiceBusy
                } else {
                    let place = Place { from: from.clone(), service: service.to_owned(), until: now + KEPT };
                    places.0.insert(id, place);
                    Verdict::Delivered
                }
            }
            _ => Verdict::Delivered,
        };
        if let Some(offer) = self.own_offer(service) {
            self.tell_offer(core, from, id, service, &offer);
        }
        verdict
    }

    fn tell_offer(&mut self, core: &mut Core, to: &Name, id: InnerId, service: &str, offer: &Offer) {
        let content =
            Content::Call { purpose: Purpose::Offer, service: Some(service.to_owned()), replies_to: Some(id) };
        let message = Submission {
            token: Sender::Answer,
            payload: wire::encode(offer),
            content,
            ack: Ack::None,
            lane: Lane { class: Class::Control, send_policy: Arc::default() },
            lifetime: ANSWER,
            keep: false,
            latest: None,
            id: None,
        };
        // Who hears nothing goes by the receipt.
        self.submit(core, Token(0), to, message);
    }

    /// Whether a request that was given a place, or comes too late for it, finds room.
    pub(in crate::engine) fn take_place(&mut self, core: &Core, from: &Name, service: &str, place: InnerId) -> bool {
        let now = core.now.time;
        self.anycasts.places.0.retain(|_, place| place.until > now);
        let kept = self.anycasts.places.0.get(&place);
        if kept.is_some_and(|kept| kept.from == *from && kept.service == service) {
            self.anycasts.places.0.remove(&place);
            return true;
        }
        self.own_offer(service).is_some_and(|offer| !offer.is_full())
    }
}
