//! Flights: frames of ours that are under way to be confirmed, and the path each of them took.
//!
//! What becomes of a flight is all that a sender ever learns of a path with relays in it: a receipt clears the hops that
//! it took, a flight that was not confirmed in time throws a shadow on all of them. One that is late after all lifts it again.
//! What a flight cost for each of its messages is remembered when these are queued again: a receipt that comes then confirms what was paid for.
//!
//! Invariants
//! 1. A flight is praised once, by its first receipt, and blamed once, if none has come in time.
//! 2. That a hop has a frame is believed from the neighbour to which it went, and nobody else.

use crate::engine::routing::routes::Route;
use crate::id::{Name, OuterId, Pseudonym};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most flights remembered. Drop policy: the oldest is forgotten, and tells nothing (`flights_forgotten`).
pub(in crate::engine) const MAX_FLIGHTS: usize = 16_384;

/// Most flights whose price is remembered when their messages are queued again. Drop policy: the oldest is forgotten, and a message of it that is
/// confirmed after all is told to have cost nothing.
const MAX_GIVEN_UP: usize = 4_096;

/// One frame under way.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Flight {
    /// Over what.
    pub route: Arc<Route>,
    /// What it costs in micro-units.
    pub price: u64,
    /// Messages in it that have not been confirmed.
    pub messages: usize,
    /// Whether its route has been praised for it.
    pub praised: bool,
    /// Whether its route has been blamed for it.
    pub blamed: bool,
}

impl Flight {
    /// What each of its messages that have not been confirmed costs.
    fn share(&self) -> u64 {
        self.price / (self.messages.max(1) as u64)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(in crate::engine) struct Flights {
    last: u64,
    flights: BTreeMap<u64, Flight>,
    /// What each message of those cost whose messages are queued again.
    given_up: BTreeMap<u64, u64>,
    /// Frames that the next hop is to acknowledge, by which neighbour that is, and whom they are for.
    hops: BTreeMap<(OuterId, Pseudonym), Name>,
    order: VecDeque<(OuterId, Pseudonym)>,
}

impl Flights {
    /// How many are watched.
    pub(in crate::engine) fn len(&self) -> usize {
        self.flights.len().max(self.hops.len())
    }

    /// The number of the next one.
    pub(in crate::engine) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// One has left. Answers whether another had to be forgotten.
    pub(in crate::engine) fn left(&mut self, number: u64, flight: Flight) -> bool {
        self.flights.insert(number, flight);
        let full = self.flights.len() > MAX_FLIGHTS;
        if full {
            self.flights.pop_first();
        }
        full
    }

    /// One of its messages was confirmed: whether that is the first, over what, and what the message cost.
    pub(in crate::engine) fn confirmed(&mut self, number: u64) -> Option<(bool, Arc<Route>, u64)> {
        let flight = self.flights.get_mut(&number)?;
        let first = !core::mem::replace(&mut flight.praised, true);
        let price = flight.share();
        flight.price -= price;
        flight.messages -= 1;
        let route = flight.route.clone();
        if flight.messages == 0 {
            self.flights.remove(&number);
        }
        Some((first, route, price))
    }

    /// No receipt of it has come in time: over what, if that is to be blamed.
    pub(in crate::engine) fn suspicious(&mut self, number: u64) -> Option<Arc<Route>> {
        let flight = self.flights.get_mut(&number).filter(|flight| !flight.praised && !flight.blamed)?;
        flight.blamed = true;
        Some(flight.route.clone())
    }

    /// What was in it travels in another.
    pub(in crate::engine) fn lost(&mut self, number: u64) {
        if let Some(flight) = self.flights.remove(&number) {
            self.given_up.insert(number, flight.share());
        }
        if self.given_up.len() > MAX_GIVEN_UP {
            self.given_up.pop_first();
        }
    }

    /// What a message cost that was confirmed when it was queued again.
    pub(in crate::engine) fn price_of_given_up(&self, number: u64) -> Option<u64> {
        self.given_up.get(&number).copied()
    }

    /// The next hop is to acknowledge this frame.
    pub(in crate::engine) fn asks_hop(&mut self, frame: OuterId, next: Pseudonym, to: Name) {
        self.hops.insert((frame, next), to);
        self.order.push_back((frame, next));
        if self.order.len() > MAX_FLIGHTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.hops.remove(&oldest);
        }
    }

    /// A neighbour says that it has it: whom the frame is for, if it went to that neighbour.
    pub(in crate::engine) fn hop_acked(&mut self, frame: &OuterId, by: &Pseudonym) -> Option<Name> {
        self.hops.remove(&(*frame, *by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_cost_is_known_when_it_is_confirmed_after_all() {
        let totals = crate::routing::totals::Totals::default();
        let (nodes, hops, bearers, pairs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let route = Arc::new(Route { nodes, hops, bearers, totals, rate: 0, pairs, leaf: None });
        let mut flights = Flights::default();
        let number = flights.next();
        flights.left(number, Flight { route, price: 90, messages: 3, praised: false, blamed: false });
        assert_eq!(flights.confirmed(number).map(|(.., price)| price), Some(30));
        flights.lost(number);
        assert!(flights.confirmed(number).is_none());
        assert_eq!(flights.price_of_given_up(number), Some(30));
    }
}
