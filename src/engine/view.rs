//! View: what an operator may look at: links, routes, and the path to one device.
//!
//! Units are those that people use: milliseconds, units of money a MB (10⁶ bytes), probabilities from 0 to 1.

use crate::id::{Name, Pseudonym};
use crate::identity::anonymity::Anonymity;
use crate::time::Unix;

/// Under which pseudonym a device takes part, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityView {
    /// The pseudonym in force.
    pub pseudonym: Pseudonym,
    /// The one before, while frames for it are still taken.
    pub former: Option<Pseudonym>,
    /// For how long the device is to be known by one pseudonym.
    pub anonymity: Anonymity,
    /// From when on that is in force: epochs whose keys are certified keep them.
    pub in_force_from: Unix,
    /// The number of the present epoch.
    pub epoch: u64,
    /// When the present epoch ends.
    pub epoch_ends: Unix,
    /// The beginning of the next epoch with another pseudonym; `None` if no further epoch has one. The change itself comes a little later.
    pub next_change: Option<Unix>,
    /// Whether the pseudonym is being changed.
    pub changing: bool,
}

/// A link as the router sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkView {
    /// The neighbour's name, or the beginning of its key if it is no contact.
    pub to: String,
    /// The name of its bearer.
    pub bearer: String,
    /// The class of its bearer.
    pub class: String,
    /// The neighbour's role: `router` or `leaf`.
    pub role: String,
    /// The state: `up`, `silent` (probed without an answer) or `closed` (outside its access window, or with its quota
    /// or air time spent).
    pub state: String,
    /// The smoothed one-way delay in milliseconds.
    pub delay_ms: f64,
    /// The mean deviation of the delay in milliseconds.
    pub deviation_ms: f64,
    /// A lower bound of the probability that a frame gets through.
    pub success: f64,
    /// The price in units of money a MB.
    pub price: f64,
    /// The energy in millijoules a MB.
    pub energy_mj: u32,
    /// Bytes that are left of the bearer's quota in this period; `None` if it has no quota.
    pub left: Option<u64>,
    /// Milliseconds of air time that alarms may still use; `None` if the bearer has no duty cycle.
    pub air_ms: Option<u64>,
}

/// A device for which messages wait, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingView {
    /// Its name.
    pub to: String,
    /// How many messages to it have not ended.
    pub messages: u64,
    /// Why they wait, in words.
    pub reason: String,
}

/// The link-state database and the routes of this node.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutesView {
    /// The area that this node is in.
    pub area: u32,
    /// Whether this node forwards for others.
    pub forwarding: bool,
    /// The number of directed links that both of their ends confirm.
    pub links: usize,
    /// The number of bytes forwarded for others since the node started.
    pub forwarded: u64,
    /// The routers of the area.
    pub routers: Vec<RouterView>,
    /// The routes in use.
    pub routes: Vec<RouteInUse>,
    /// Hops that are doubted, since messages over them were not confirmed.
    pub doubts: Vec<DoubtView>,
}

/// A router of the area.
#[derive(Clone, Debug, PartialEq)]
pub struct RouterView {
    /// Its name, or the beginning of its key if it is no contact.
    pub name: String,
    /// The sequence number of its LSA.
    pub sequence: u64,
    /// Seconds since the LSA came.
    pub age_s: u64,
    /// Its neighbours: the routers with which it has a link that both ends confirm.
    pub neighbours: Vec<String>,
    /// How many leaves its LSA lists.
    pub leaves: usize,
    /// How many groups its LSA lists.
    pub groups: usize,
}

/// A route in use.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteInUse {
    /// The destination.
    pub to: String,
    /// The policy of the messages that take it.
    pub policy: String,
    /// Whether it is for messages that have too little time left for the path that their policy likes best.
    pub hurried: bool,
    /// The path.
    pub path: PathView,
    /// Seconds since it was chosen.
    pub since_s: u64,
}

/// A hop that is doubted.
#[derive(Clone, Debug, PartialEq)]
pub struct DoubtView {
    /// The router where it begins.
    pub from: String,
    /// The router that it leads to.
    pub to: String,
    /// The estimated probability that it works.
    pub works: f64,
    /// Whether it is used only if no other path leads to the destination.
    pub shunned: bool,
}

/// A path with its metrics.
#[derive(Clone, Debug, PartialEq)]
pub struct PathView {
    /// Its hops, the one to the destination last.
    pub hops: Vec<HopView>,
    /// The price in units of money a MB.
    pub price: f64,
    /// The delay in milliseconds.
    pub delay_ms: f64,
    /// The probability that a frame arrives.
    pub success: f64,
    /// The energy in millijoules a MB.
    pub energy_mj: u64,
}

/// One hop of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HopView {
    /// The device that it leads to.
    pub to: String,
    /// The class of its bearer; `None` if only the router at the end of the path knows.
    pub bearer: Option<String>,
}

/// The route to a device, and why it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteView {
    /// The destination.
    pub to: String,
    /// The policy.
    pub policy: String,
    /// The weights of cost, delay, failures and energy, in this order.
    pub weights: Vec<u8>,
    /// The path that is taken now; `None` if there is none.
    pub path: Option<PathView>,
    /// A path that shares no relay with it; `None` if there is none.
    pub alternate: Option<PathView>,
    /// Why there is no path; `None` if there is one.
    pub no_route: Option<String>,
    /// The paths that were considered: the best by each measure.
    pub candidates: Vec<CandidateView>,
    /// What decides, and what would change the decision, in one sentence each.
    pub why: Vec<String>,
}

/// A path that was considered.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateView {
    /// The measures by which it is best: `policy`, `price`, `delay`, `failures`, `energy`.
    pub best_at: Vec<String>,
    /// The path.
    pub path: PathView,
    /// Whether it is the path that is taken.
    pub chosen: bool,
    /// Its weighted sum of metrics, which the policy minimizes.
    pub weight: u64,
    /// The limit that it exceeds, and by how much; `None` if it keeps all limits.
    pub cut_by: Option<String>,
}

/// A message that is not to leave yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldView {
    /// The destination: the name of a device, or a topic.
    pub to: String,
    /// The urgency.
    pub class: crate::wire::data::Class,
    /// The bytes of its payload.
    pub bytes: usize,
    /// From when on it may leave.
    pub leaves: Unix,
    /// Its deadline.
    pub expires: Unix,
}

/// A neighbour in quarantine.
#[derive(Clone, Debug, PartialEq)]
pub struct QuarantinedView {
    /// Its pseudonym.
    pub peer: crate::id::Pseudonym,
    /// Its name, if it is a contact.
    pub name: Option<crate::id::Name>,
    /// For how long it is neither dialled nor admitted yet.
    pub left: core::time::Duration,
    /// How often its links were closed for what it had sent.
    pub offences: u32,
    /// For what they were closed the last time.
    pub reason: &'static str,
}

/// The mail that is kept for one receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailboxView {
    /// The receiver; `None` for all that are no contacts.
    pub to: Option<Name>,
    /// Whether the receiver names this device as its parent.
    pub parent: bool,
    /// How many mails are kept.
    pub mails: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many of them are on their way.
    pub under_way: usize,
    /// Since when the oldest is kept.
    pub oldest: Option<Unix>,
    /// When the first is of no use any more.
    pub expires: Option<Unix>,
}
