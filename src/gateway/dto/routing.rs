//! Links, routes in use, and the route to one device.
//!
//! Values are in the units that people use: milliseconds, units of money per megabyte (10⁶ bytes), probabilities from 0
//! to 1.

use crate::engine::view;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A link as the router sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// Name of the neighbour, or the beginning of its key if it is no contact.
    pub to: String,
    /// Name of its bearer.
    pub bearer: String,
    /// Class of the bearer.
    pub class: String,
    /// Role of the neighbour: `router` or `leaf`.
    pub role: String,
    /// State of the link: `up`, `silent` (the neighbour does not answer) or `closed` (outside its windows, or its quota
    /// or air time is spent).
    pub state: String,
    /// Smoothed one-way delay, in milliseconds.
    pub delay_ms: f64,
    /// Mean deviation of the delay, in milliseconds.
    pub deviation_ms: f64,
    /// Lower bound of the probability that a frame arrives.
    pub success: f64,
    /// Price in units of money per megabyte.
    pub price: f64,
    /// Energy in millijoules per megabyte.
    pub energy_mj: u32,
    /// Bytes left of the bearer's quota in this period, if it has one.
    pub left: Option<u64>,
    /// Milliseconds of air time that are left for alarms, if the bearer has a duty cycle.
    pub air_ms: Option<u64>,
}

impl From<view::LinkView> for LinkView {
    fn from(link: view::LinkView) -> Self {
        let view::LinkView {
            to,
            bearer,
            class,
            role,
            state,
            delay_ms,
            deviation_ms,
            success,
            price,
            energy_mj,
            left,
            air_ms,
        } = link;
        Self { to, bearer, class, role, state, delay_ms, deviation_ms, success, price, energy_mj, left, air_ms }
    }
}

/// What the router knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoutesView {
    /// Number of the area.
    pub area: u32,
    /// Whether this node forwards for others.
    pub forwarding: bool,
    /// Number of directed links that both ends confirm.
    pub links: usize,
    /// Bytes forwarded for others since the node started.
    pub forwarded: u64,
    /// Routers of the area.
    pub routers: Vec<RouterView>,
    /// Routes in use.
    pub routes: Vec<RouteInUse>,
    /// Hops in doubt, since messages over them were not confirmed.
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
    /// Name of the router, or the beginning of its key if it is no contact.
    pub name: String,
    /// Sequence number of its link-state advertisement.
    pub sequence: u64,
    /// Time since the advertisement came, in seconds.
    pub age_s: u64,
    /// Neighbours that the advertisement names.
    pub neighbours: Vec<String>,
    /// Number of leaves that it lists.
    pub leaves: usize,
    /// Number of groups that it carries members of.
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
    /// Name of the destination.
    pub to: String,
    /// Name of the policy that it was chosen for.
    pub policy: String,
    /// Whether it is for messages that have too little time left for the path that their policy prefers.
    #[serde(default)]
    pub hurried: bool,
    /// The path.
    pub path: PathView,
    /// Time since it was chosen, in seconds.
    pub since_s: u64,
}

impl From<view::RouteInUse> for RouteInUse {
    fn from(route: view::RouteInUse) -> Self {
        let view::RouteInUse { to, policy, hurried, path, since_s } = route;
        Self { to, policy, hurried, path: path.into(), since_s }
    }
}

/// A hop in doubt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DoubtView {
    /// Where the hop begins.
    pub from: String,
    /// Where the hop ends.
    pub to: String,
    /// The probability with which it is believed to work, from 0 to 1.
    pub works: f64,
    /// Whether it is used only if there is no other path.
    pub shunned: bool,
}

impl From<view::DoubtView> for DoubtView {
    fn from(doubt: view::DoubtView) -> Self {
        let view::DoubtView { from, to, works, shunned } = doubt;
        Self { from, to, works, shunned }
    }
}

/// A path and its metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PathView {
    /// The hops, the destination last.
    pub hops: Vec<HopView>,
    /// Price in units of money per megabyte.
    pub price: f64,
    /// Delay in milliseconds.
    pub delay_ms: f64,
    /// Probability of arrival.
    pub success: f64,
    /// Energy in millijoules per megabyte.
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
    /// Class of the bearer that carries the hop; null where only routers on the path know it.
    pub to: String,
    /// Name of the bearer; null if only the router at the end of the path knows it.
    pub bearer: Option<String>,
}

impl From<view::HopView> for HopView {
    fn from(hop: view::HopView) -> Self {
        let view::HopView { to, bearer } = hop;
        Self { to, bearer }
    }
}

/// The route to a device, and the reasons for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Name of the destination.
    pub to: String,
    /// Name of the policy.
    pub policy: String,
    /// The policy's weights of cost, delay, failures and energy.
    pub weights: Vec<u8>,
    /// The path at present.
    pub path: Option<PathView>,
    /// A path that shares no relay with it.
    pub alternate: Option<PathView>,
    /// Why there is no route.
    pub no_way: Option<String>,
    /// The paths considered: the best one by each measure.
    pub candidates: Vec<CandidateView>,
    /// What decides the choice, and what would change it: one sentence each.
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

/// A path that was considered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CandidateView {
    /// The measures by which it is best: `policy`, `price`, `delay`, `failures`, `energy`.
    pub best_at: Vec<String>,
    /// The path.
    pub path: PathView,
    /// Whether it is the one chosen.
    pub chosen: bool,
    /// The weighted sum that the policy minimizes.
    pub weight: u64,
    /// The limit that rules it out, and by how much it is exceeded.
    pub cut_by: Option<String>,
}

impl From<view::CandidateView> for CandidateView {
    fn from(candidate: view::CandidateView) -> Self {
        let view::CandidateView { best_at, path, chosen, weight, cut_by } = candidate;
        Self { best_at, path: path.into(), chosen, weight, cut_by }
    }
}
