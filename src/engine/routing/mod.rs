//! Routing: what routers tell each other, the ways that follow from it, and frames that go along them for others.

pub(super) mod data_frames;
pub(super) mod flights;
pub(super) mod forward;
pub(super) mod hold_down;
pub(super) mod link_state;
pub(super) mod locate;
pub(super) mod pathfinding;
pub(super) mod questions;
pub(super) mod routes;
pub(super) mod wording;

use crate::id::Pseudonym;

/// The state of this wing.
pub(super) struct Routing {
    pub(super) link_state: link_state::LinkState,
    pub(super) routes: routes::Routes,
    pub(super) flows: forward::Flows,
    pub(super) locating: questions::Locating,
    pub(super) flights: flights::Flights,
}

impl Routing {
    /// Nothing is known of others yet.
    pub(super) fn new(own: Pseudonym, area: u32) -> Self {
        Self {
            link_state: link_state::LinkState::new(own, area),
            routes: routes::Routes::default(),
            flows: forward::Flows::default(),
            locating: questions::Locating::default(),
            flights: flights::Flights::default(),
        }
    }
}
