//! Agreement: what nodes report of their messages and of themselves, compared with the facts.
//!
//! A sender is told how long its message took, over how many links it went and what it cost; a node counts what it has
//! forwarded and what has failed. The medium, the ledger and the plan know these figures independently.

use super::checks::Promise;
use super::device::Device;
use super::executor;
use super::ledger::{Book, End};
use super::medium::{Medium, NANOS};
use crate::plan::{FaultKind, FlowKind, Plan};
use m2mesh::client::{Command, Reply, Status};
use m2mesh::wire::data::MAX_HOPS;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Makes all these checks at the end of a run, with what nodes [report](ask) then.
pub fn check(book: &mut Book, plan: &Plan, devices: &[Device], medium: &Medium, said: BTreeMap<usize, Said>) {
    check_told(book, plan);
    check_money(book, plan, medium);
    check_counts(book, plan, devices, medium, said);
}

/// Returns the longest time in nanoseconds for which the policy of a flow spreads its messages.
fn spread(plan: &Plan, flow: usize) -> u64 {
    let named = plan.flows[flow].policy.as_ref();
    let policy = plan.policies.iter().find(|policy| named.is_some_and(|named| *named == policy.name));
    policy.and_then(|policy| policy.spread).map_or(0, |spread| u64::try_from(spread.as_nanos()).unwrap_or(u64::MAX))
}

/// Checks the latency and the hops that senders were told.
fn check_told(book: &mut Book, plan: &Plan) {
    let mut distances = Distances::new(plan);
    for (id, message) in book.messages.iter().enumerate() {
        let (Some((End::Delivered, at)), Some(to), Some(way)) = (message.end, message.to, message.way) else {
            continue;
        };
        let took = at.saturating_sub(message.sent);
        let told = way.latency.saturating_mul(1_000);
        // A message that is spread is under way from the moment at which its wait is over.
        let waited = took.saturating_sub(told).min(spread(plan, message.flow));
        let apart = took.abs_diff(told.saturating_add(waited));
        let sound = book.excused.contains_key(&message.from) || apart <= book.slack;
        let what = || format!("message {id} took {} us, and its sender is told {}", took / 1_000, way.latency);
        book.checks.look(Promise::ToldTruly, sound, what);
        let least = distances.between(message.from, to);
        let within = u64::from(way.hops) >= least && way.hops as usize <= MAX_HOPS + 1;
        let what = || format!("message {id} is told to have gone over {} links, where the way has {least}", way.hops);
        book.checks.look(Promise::ToldTruly, within, what);
    }
}

/// Checks the cost that senders were told, by device: it is at most what the medium has charged for all that they sent,
/// and it is not zero if no link of the device is free. Two deviations are tolerated. The cost of a message whose
/// confirmation comes while it waits to be sent again may be unknown and thus reported as zero, for a fifth of the
/// messages at most. A message that is sent again along another path is reported at the price of that path, although
/// the first copy has arrived, for a twentieth at most.
fn check_money(book: &mut Book, plan: &Plan, medium: &Medium) {
    if plan.bearers.iter().all(|bearer| !bearer.is_priced()) {
        return;
    }
    let mut told = BTreeMap::<usize, Told>::new();
    for message in &book.messages {
        let told = told.entry(message.from).or_default();
        if let (Some(way), Some((End::Delivered, _))) = (message.way, message.end) {
            told.price += way.price as f64;
            told.highest = told.highest.max(way.price as f64);
            told.count += 1;
            told.free += u64::from(way.price == 0);
        }
    }
    for (device, Told { price, highest, count, free }) in told {
        let paid = medium.witness(|witness| witness.paid_for(device));
        let rounding = count as f64 * MAX_HOPS as f64;
        let again = highest * (count / 20) as f64;
        let holds = price <= paid * 1.1 + rounding + again;
        let name = &plan.devices[device].name;
        let what =
            || format!("{name} is told {price:.0} of money for {count} messages, and the medium has charged {paid:.0}");
        book.checks.look(Promise::BooksAgree, holds, what);
        let mut edges = plan.edges.iter().filter(|edge| [edge.a, edge.b].contains(&device));
        let pays = edges.all(|edge| plan.bearers[edge.bearer].told_price() > 0);
        let what = || format!("{name} is told that {free} of {count} messages cost nothing, and no link of it is free");
        book.checks.look(Promise::BooksAgree, !pays || free * 5 <= count + FEW, what);
    }
}

/// The costs of its messages that a sender was told.
#[derive(Default)]
struct Told {
    /// The sum, in micro-units of money.
    price: f64,
    /// The largest cost of one message, in micro-units of money.
    highest: f64,
    /// The number of messages that were delivered.
    count: u64,
    /// The number of these that were reported as free.
    free: u64,
}

/// Checks the counters of nodes.
fn check_counts(book: &mut Book, plan: &Plan, devices: &[Device], medium: &Medium, said: BTreeMap<usize, Said>) {
    let watch = medium.watch();
    let calm = plan.faults.is_empty() && watch.lost + watch.turned.links == 0;
    let requesting: BTreeSet<usize> = plan
        .flows
        .iter()
        .filter(|flow| !matches!(flow.kind, FlowKind::Send(_)))
        .flat_map(|flow| flow.from.iter().copied())
        .collect();
    let failed = book.failures.clone();
    for (device, Said { status, forwarded }) in said {
        let name = &plan.devices[device].name;
        if let (Some(forwarded), false) = (forwarded, devices[device].was_restarted()) {
            let seen = medium.witness(|witness| witness.forwarded(device));
            // A frame that was past its use when its link had room again has not left.
            let drops = |status: &Status| {
                status.counters.iter().any(|(counter, count)| counter.starts_with(EXPIRED) && *count > 0)
            };
            let holds = if calm && !status.as_ref().is_some_and(drops) { seen == forwarded } else { seen <= forwarded };
            let what = || format!("{name} says that it has forwarded {forwarded} bytes, and has {seen}");
            book.checks.look(Promise::CountsAgree, holds, what);
        }
        let Some(status) = status else { continue };
        let lying = devices[device].inbox().len() as u64;
        // The message that a working application has just finished may not be consumed on the disk yet.
        let consumed = u64::from(!plan.devices[device].work.is_zero());
        let what = || format!("{name} says that {} messages wait in its inbox, where {lying} lie", status.gauges.inbox);
        let holds = (status.gauges.inbox..=status.gauges.inbox + consumed).contains(&lying);
        book.checks.look(Promise::CountsAgree, holds, what);
        if let (Some((least, most)), false) = (unanswered(book, plan, device), devices[device].was_restarted()) {
            let counted = status.counters.get(UNANSWERED).copied().unwrap_or_default();
            let what =
                || format!("{name} counts {counted} requests that its service left unanswered, of {least} to {most}");
            book.checks.look(Promise::CountsAgree, (least..=most).contains(&counted), what);
        }
        if !requesting.contains(&device) && !devices[device].was_restarted() {
            let all = status.counters.iter().filter(|(counter, _)| counter.starts_with(FAILED));
            let (counted, there) =
                (all.map(|(_, count)| count).sum::<u64>(), failed.get(&device).copied().unwrap_or_default());
            let what = || format!("{name} counts {counted} messages as failed, and {there} have");
            book.checks.look(Promise::CountsAgree, counted == there, what);
        }
    }
}

/// Returns how many requests a device's service did not answer in time: the least and the greatest possible number.
/// `None` if clocks are wrong.
fn unanswered(book: &Book, plan: &Plan, device: usize) -> Option<(u64, u64)> {
    let (mut least, mut most) = (0, 0);
    let about = about(plan);
    for (id, message) in book.messages.iter().enumerate() {
        let requests =
            matches!(plan.flows[message.flow].kind, FlowKind::Request(_) | FlowKind::Any { request: true, .. });
        let is_request = requests && message.received.iter().any(|received| received.node == device);
        if !is_request {
            continue;
        }
        if [message.from, device].iter().any(|node| book.excused.contains_key(node)) {
            return None;
        }
        let answered = book.answered.get(&(id as u64)).copied().unwrap_or(u64::MAX);
        least += u64::from(answered > message.deadline.saturating_add(about));
        most += u64::from(answered > message.deadline.saturating_sub(about));
    }
    Some((least, most))
}

/// Returns the error in nanoseconds with which a receiver may judge a deadline: deadlines are by the sender's clock,
/// which its receiver knows to within about the delay of a link.
fn about(plan: &Plan) -> u64 {
    let planned = plan.edges.iter().flat_map(|edge| edge.shapes);
    let struck = plan.faults.iter().filter_map(|fault| match &fault.what {
        FaultKind::Degrade { shapes, .. } => Some(shapes.iter().flatten().copied()),
        _ => None,
    });
    let slowest = planned.chain(struck.flatten()).map(|shape| shape.delay + shape.jitter).max().unwrap_or_default();
    ROUNDED + super::nanos(slowest * 2)
}

/// The report of a node on itself.
#[derive(Default)]
pub struct Said {
    status: Option<Status>,
    /// The bytes that it has forwarded.
    forwarded: Option<u64>,
}

/// Returns the present reports of all nodes that are on, by device.
pub fn ask(devices: &[Device]) -> BTreeMap<usize, Said> {
    let all = Arc::new(Mutex::new(BTreeMap::<usize, Said>::new()));
    for application in devices.iter().filter_map(Device::application) {
        for command in [Command::Status, Command::Routes] {
            let (caller, all, node) = (application.caller.clone(), all.clone(), application.node);
            executor::spawn(application.owner, async move {
                let Ok(reply) = caller.ask(command).await else { return };
                let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                let said = all.entry(node).or_default();
                match reply {
                    Reply::Status(status) => said.status = Some(*status),
                    Reply::Routes(routes) => said.forwarded = Some(routes.forwarded),
                    _ => {}
                }
            });
        }
    }
    executor::run_ready();
    std::mem::take(&mut *all.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The number of links on the shortest path between devices, according to the plan.
struct Distances {
    neighbours: Vec<Vec<usize>>,
    known: BTreeMap<usize, Vec<u64>>,
}

impl Distances {
    fn new(plan: &Plan) -> Self {
        let mut neighbours = vec![Vec::new(); plan.devices.len()];
        for edge in &plan.edges {
            neighbours[edge.a].push(edge.b);
            neighbours[edge.b].push(edge.a);
        }
        Self { neighbours, known: BTreeMap::new() }
    }

    fn between(&mut self, from: usize, to: usize) -> u64 {
        let Self { neighbours, known } = self;
        known.entry(from).or_insert_with(|| search(neighbours, from))[to]
    }
}

/// Searches breadth first, from one device to all others.
fn search(neighbours: &[Vec<usize>], from: usize) -> Vec<u64> {
    let mut distances = vec![u64::MAX; neighbours.len()];
    distances[from] = 0;
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        for neighbour in &neighbours[at] {
            if distances[*neighbour] == u64::MAX {
                distances[*neighbour] = distances[at] + 1;
                next.push_back(*neighbour);
            }
        }
    }
    distances
}

/// The counter of requests that a service did not answer in time.
const UNANSWERED: &str = "calls_unanswered";
/// The rounding of a deadline in transit, in nanoseconds, in addition to the error of the sender's clock.
const ROUNDED: u64 = NANOS / 10;
/// The number of messages below which shares are not judged.
const FEW: u64 = 20;
/// The prefix of the names of counters of failed messages.
const FAILED: &str = "failed_";
/// The counter of data frames that were dropped after their expiry.
const EXPIRED: &str = "data_expired";
