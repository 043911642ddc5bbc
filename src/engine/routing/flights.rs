//! Flights: this device's frames that are under way and are to be confirmed, and the path that each of them took.
//!
//! The fate of its flights is all that a sender ever learns of a path with relays in it: a receipt clears the hops of
//! the path, and a flight that was not confirmed in time casts doubt on all of them. A receipt that comes late after
//! all lifts that doubt again. When the messages of a flight are queued again, its price for each of them is
//! remembered: a receipt that comes then confirms what was paid for.
//!
//! Invariants
//! 1. An acknowledgement by a hop is believed only from the neighbour to which the frame went.
//! - A flight is praised once, by its first receipt, and blamed at most once, if no receipt has come in time.

use crate::engine::routing::routes::Route;
use crate::id::{Name, OuterId, Pseudonym};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Most flights remembered. Drop policy: the oldest is forgotten, and its path is neither praised nor blamed
/// (`flights_forgotten`).
pub(in crate::engine) const MAX_FLIGHTS: usize = 16_384;

/// Most flights whose price is remembered when their messages are queued again. Drop policy: the oldest is forgotten,
/// and a message of it that is confirmed after all is reported to have cost nothing.
const MAX_GIVEN_UP: usize = 4_096;

/// A frame that is under way.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Flight {
    /// The route that it took.
    pub route: Arc<Route>,
    /// What it costs in micro-units, without the messages that have been confirmed.
    pub price: u64,
    /// How many of its messages have not been confirmed.
    pub messages: usize,
    /// Whether its route has been praised for it.
    pub praised: bool,
    /// Whether its route has been blamed for it.
    pub blamed: bool,
}

impl Flight {
    /// The price of each of its messages that have not been confirmed, in micro-units.
    fn share(&self) -> u64 {
        self.price / (self.messages.max(1) as u64)
    }
}

/// All flights.
#[derive(Debug, Default)]
pub(in crate::engine) struct Flights {
    last: u64,
    flights: BTreeMap<u64, Flight>,
    /// The price of each message of the flights whose messages were queued again, by flight.
    given_up: BTreeMap<u64, u64>,
    /// The frames that the next hop is to acknowledge, with that neighbour, and the device that each is for.
    hops: BTreeMap<(OuterId, Pseudonym), Name>,
    order: VecDeque<(OuterId, Pseudonym)>,
}

impl Flights {
    /// How many flights, or frames to be acknowledged by a hop, are remembered: the greater of the two.
    pub(in crate::engine) fn len(&self) -> usize {
        self.flights.len().max(self.hops.len())
    }

    /// The number of the next flight.
    pub(in crate::engine) fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Notes that a flight has left. Returns whether another one had to be forgotten.
    pub(in crate::engine) fn left(&mut self, number: u64, flight: Flight) -> bool {
        self.flights.insert(number, flight);
        let full = self.flights.len() > MAX_FLIGHTS;
        if full {
            self.flights.pop_first();
        }
        full
    }

    /// Notes that a message of a flight was confirmed. Returns whether it is the first of the flight, the flight's
    /// route, and what the message cost in micro-units; `None` if the flight is unknown.
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

    /// Notes that no receipt of a flight has come in time. Returns its route if that is to be blamed.
    pub(in crate::engine) fn suspicious(&mut self, number: u64) -> Option<Arc<Route>> {
        let flight = self.flights.get_mut(&number).filter(|flight| !flight.praised && !flight.blamed)?;
        flight.blamed = true;
        Some(flight.route.clone())
    }

    /// Ends a flight whose messages are queued again, and remembers their price.
    pub(in crate::engine) fn lost(&mut self, number: u64) {
        if let Some(flight) = self.flights.remove(&number) {
            self.given_up.insert(number, flight.share());
        }
        if self.given_up.len() > MAX_GIVEN_UP {
            self.given_up.pop_first();
        }
    }

    /// What a message cost, in micro-units, that is confirmed after it was queued again.
    pub(in crate::engine) fn price_of_given_up(&self, number: u64) -> Option<u64> {
        self.given_up.get(&number).copied()
    }

    /// Notes that the next hop is to acknowledge a frame.
    pub(in crate::engine) fn asks_hop(&mut self, frame: OuterId, next: Pseudonym, to: Name) {
        self.hops.insert((frame, next), to);
        self.order.push_back((frame, next));
        if self.order.len() > MAX_FLIGHTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.hops.remove(&oldest);
        }
    }

    /// Processes a neighbour's acknowledgement of a frame. Returns the device that the frame is for, or `None` if the
    /// frame did not go to that neighbour.
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
