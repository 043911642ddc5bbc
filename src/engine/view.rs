//! What an operator may look at: links, routes, and the way to one device.
//!
//! Units are those that people use: milliseconds, units of money a MB (10⁶ bytes), chances from 0 to 1.

/// One link as the router sees it.
#[derive(Clone, Debug, PartialEq)]
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

/// What the router holds.
#[derive(Clone, Debug, PartialEq)]
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

/// A router of the area.
#[derive(Clone, Debug, PartialEq)]
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

/// A route in use.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteInUse {
    /// Destination.
    pub to: String,
    /// Policy of the messages.
    pub policy: String,
    /// Whether it is for messages that have too little time left for the way that their policy likes best.
    pub hurried: bool,
    /// The path.
    pub path: PathView,
    /// Seconds since it was chosen.
    pub since_s: u64,
}

/// A hop with a bad name.
#[derive(Clone, Debug, PartialEq)]
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

/// A path with what it is worth.
#[derive(Clone, Debug, PartialEq)]
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

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopView {
    /// Whom it leads to.
    pub to: String,
    /// Over what; nothing where the router at the end knows.
    pub bearer: Option<String>,
}

/// The way to a device, and why.
#[derive(Clone, Debug, PartialEq)]
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
    pub no_route: Option<String>,
    /// Ways that were looked at: the best by each measure.
    pub candidates: Vec<CandidateView>,
    /// What decides, and what would change it, a sentence each.
    pub why: Vec<String>,
}

/// A way that was looked at.
#[derive(Clone, Debug, PartialEq)]
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
