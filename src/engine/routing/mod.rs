//! Routing: what routers advertise to each other, the routes that follow from it, and the frames that are forwarded for
//! others.

pub(super) mod data_frames;
pub(super) mod flights;
pub(super) mod forecast;
pub(super) mod forward;
pub(super) mod hold_down;
pub(super) mod identities;
pub(super) mod leaf_routes;
pub(super) mod link_state;
pub(super) mod locate;
pub(super) mod mail;
pub(super) mod no_route;
pub(super) mod pathfinding;
pub(super) mod revoked;
pub(super) mod routes;
pub(super) mod wording;

use crate::id::{Name, Pseudonym};
use crate::routing::locating::Locating;

/// The state of the routing wing.
pub(super) struct Routing {
    pub(super) link_state: link_state::LinkState,
    pub(super) routes: routes::Routes,
    pub(super) flows: forward::Flows,
    pub(super) locating: Locating,
    pub(super) flights: flights::Flights,
    /// What messages that are under way, or wait, have to be told about routes.
    pub(super) reroutes: Vec<Reroute>,
}

/// What has become of routes, for the messages that were on them or wait for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reroute {
    /// Messages under way to that device may be lost, and are sent on another route at once.
    Lost(Name),
    /// Messages under way to that device may be lost.
    Broken(Name),
    /// Routes have changed: every message that waits for one is looked at again.
    Anew,
    /// The location of that device has become known.
    Found(Name),
}

impl Routing {
    /// Starts with no knowledge of other routers.
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
