//! Links, routes, and the way to one device.
//!
//! Units are those that people use: milliseconds, units of money a MB (10⁶ bytes), chances from 0 to 1.

use crate::engine::view;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One link as the router sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// The neighbour's name, or the beginning of its key if it is no contact.
    pub to: String,
    /// Name of its bearer.
    pub bearer: String,
    /// Class of the bearer.
    pub class: String,
    /// `router` or `leaf`.
    pub role: String,
    /// `up`, `silent` (asked and does not answer) or `closed` (outside its window, or its quota is spent).
    pub state: String,
    /// Smoothed one-way delay, milliseconds.
    pub delay_ms: f64,
    /// Its mean deviation, milliseconds.
    pub deviation_ms: f64,
    /// Lower bound of the chance that a frame gets through.
    pub success: f64,
    /// Units of money a MB.
    pub price: f64,
    /// Millijoules a MB.
    pub energy_mj: u32,
    /// Bytes that are left of the bearer's quota in this period, if it has one.
    pub left: Option<u64>,
}

impl From<view::LinkView> for LinkView {
    fn from(link: view::LinkView) -> Self {
        let view::LinkView { to, bearer, class, role, state, delay_ms, deviation_ms, success, price, energy_mj, left } =
            link;
        Self { to, bearer, class, role, state, delay_ms, deviation_ms, success, price, energy_mj, left }
    }
}

/// What the router holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutesView {
    /// Area.
    pub area: u32,
    /// Whether this node forwards for others.
    pub forwarding: bool,
    /// Directed links that both of their ends confirm.
    pub links: usize,
    /// Bytes forwarded for others since the node started.
    pub forwarded: u64,
    /// Routers of the area.
    pub routers: Vec<RouterView>,
    /// Routes in use.
    pub routes: Vec<RouteInUse>,
    /// Hops with a bad name, since messages over them were not confirmed.
    pub doubts: Vec<DoubtView>,
}

impl From<view::RoutesView> for RoutesView {
    fn from(routes_view: view::RoutesView) -> Self {
        let view::RoutesView { area, forwarding, links, forwarded, routers, routes, doubts } = routes_view;
        Self {
            area,
            forwarding,
            links,
            forwarded,
            routers: routers.into_iter().map(RouterView::from).collect(),
            routes: routes.into_iter().map(RouteInUse::from).collect(),
            doubts: doubts.into_iter().map(DoubtView::from).collect(),
        }
    }
}

/// A router of the area.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouterView {
    /// Name, or the beginning of its key.
    pub name: String,
    /// Number of its advertisement.
    pub sequence: u64,
    /// Seconds since it came.
    pub age_s: u64,
    /// Neighbours that it names.
    pub neighbours: Vec<String>,
    /// How many leaves it lists.
    pub leaves: usize,
    /// How many groups it carries members of.
    pub groups: usize,
}

impl From<view::RouterView> for RouterView {
    fn from(router: view::RouterView) -> Self {
        let view::RouterView { name, sequence, age_s, neighbours, leaves, groups } = router;
        Self { name, sequence, age_s, neighbours, leaves, groups }
    }
}

/// A route in use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteInUse {
    /// Destination.
    pub to: String,
    /// Policy of the messages.
    pub policy: String,
    /// Whether it is for messages that have too little time left for the way that their policy likes best.
    #[serde(default)]
    pub hurried: bool,
    /// The path.
    pub path: PathView,
    /// Seconds since it was chosen.
    pub since_s: u64,
}

impl From<view::RouteInUse> for RouteInUse {
    fn from(route: view::RouteInUse) -> Self {
        let view::RouteInUse { to, policy, hurried, path, since_s } = route;
        Self { to, policy, hurried, path: path.into(), since_s }
    }
}

/// A hop with a bad name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoubtView {
    /// Where it begins.
    pub from: String,
    /// Where it leads.
    pub to: String,
    /// In which part of the cases it is believed to work.
    pub works: f64,
    /// Whether it is used only where nothing else leads.
    pub shunned: bool,
}

impl From<view::DoubtView> for DoubtView {
    fn from(doubt: view::DoubtView) -> Self {
        let view::DoubtView { from, to, works, shunned } = doubt;
        Self { from, to, works, shunned }
    }
}

/// A path with what it is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathView {
    /// Whom it leads over, the destination last.
    pub hops: Vec<HopView>,
    /// Units of money a MB.
    pub price: f64,
    /// Milliseconds.
    pub delay_ms: f64,
    /// Chance of arrival.
    pub success: f64,
    /// Millijoules a MB.
    pub energy_mj: u64,
}

impl From<view::PathView> for PathView {
    fn from(path: view::PathView) -> Self {
        let view::PathView { hops, price, delay_ms, success, energy_mj } = path;
        Self { hops: hops.into_iter().map(HopView::from).collect(), price, delay_ms, success, energy_mj }
    }
}

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HopView {
    /// Whom it leads to.
    pub to: String,
    /// Over what; nothing where the router at the end knows.
    pub bearer: Option<String>,
}

impl From<view::HopView> for HopView {
    fn from(hop: view::HopView) -> Self {
        let view::HopView { to, bearer } = hop;
        Self { to, bearer }
    }
}

/// The way to a device, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Destination.
    pub to: String,
    /// Policy.
    pub policy: String,
    /// Weights of cost, delay, failures, energy.
    pub weights: Vec<u8>,
    /// The path now.
    pub path: Option<PathView>,
    /// One that shares no relay with it.
    pub alternate: Option<PathView>,
    /// Why there is none.
    pub no_way: Option<String>,
    /// Ways that were looked at: the best by each measure.
    pub candidates: Vec<CandidateView>,
    /// What decides, and what would change it, a sentence each.
    pub why: Vec<String>,
}

impl From<view::RouteView> for RouteView {
    fn from(way: view::RouteView) -> Self {
        let view::RouteView { to, policy, weights, path, alternate, no_route, candidates, why } = way;
        Self {
            to,
            policy,
            weights,
            path: path.map(PathView::from),
            alternate: alternate.map(PathView::from),
            no_way: no_route,
            candidates: candidates.into_iter().map(CandidateView::from).collect(),
            why,
        }
    }
}

/// A way that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateView {
    /// What it is best at: `policy`, `price`, `delay`, `failures`, `energy`.
    pub best_at: Vec<String>,
    /// The path.
    pub path: PathView,
    /// Whether it is the one taken.
    pub chosen: bool,
    /// The sum that the policy makes small.
    pub weight: u64,
    /// The limit that rules it out, and by how much.
    pub cut_by: Option<String>,
}

impl From<view::CandidateView> for CandidateView {
    fn from(candidate: view::CandidateView) -> Self {
        let view::CandidateView { best_at, path, chosen, weight, cut_by } = candidate;
        Self { best_at, path: path.into(), chosen, weight, cut_by }
    }
}
