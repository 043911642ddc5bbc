//! Routing: what routers tell each other, the ways that follow from it, and frames that go along them for others.

pub(super) mod data_frames;
pub(super) mod flights;
pub(super) mod forward;
pub(super) mod hold_down;
pub(super) mod identities;
pub(super) mod link_state;
pub(super) mod locate;
pub(super) mod pathfinding;
pub(super) mod revoked;
pub(super) mod routes;
pub(super) mod wording;

use crate::id::{Name, Pseudonym};
use crate::routing::locating::Locating;

/// The state of this wing.
pub(super) struct Routing {
    pub(super) link_state: link_state::LinkState,
    pub(super) routes: routes::Routes,
    pub(super) flows: forward::Flows,
    pub(super) locating: Locating,
    pub(super) flights: flights::Flights,
    /// What messages under way, and those that wait, have to know.
    pub(super) reroutes: Vec<Reroute>,
}

/// What has become of ways, for the messages that were on them or wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reroute {
    /// What is under way to that device may be lost, and goes another way at once.
    Lost(Name),
    /// What is under way to that device may be lost.
    Broken(Name),
    /// Ways are others: all that waits for one is looked at again.
    Anew,
    /// Where that device is has come to be known.
    Found(Name),
}

impl Routing {
    /// Nothing is known of others yet.
    pub(super) fn new(own: Pseudonym, area: u32) -> Self {
        Self {
            link_state: link_state::LinkState::new(own, area),
            routes: routes::Routes::default(),
            flows: forward::Flows::default(),
            locating: Locating::default(),
            flights: flights::Flights::default(),
            reroutes: Vec::new(),
        }
    }
}
