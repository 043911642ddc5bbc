//! Results: a [`Record`] made of the ledger, the medium and the samples.

use super::accounts;
use super::asking::Totals;
use super::checks::{Checks, Promise};
use super::energy::Reading;
use super::executor;
use super::ledger::{Book, End, Ledger, Message, Narrowed};
use super::medium::{Medium, NANOS, PURPOSES, Spent, Turned, now};
use super::missed::missed;
use super::publications::{Findings, Rules};
use super::revocations::Revocations;
use super::sampler::{Sampler, Warm};
use super::selections::{asked_of_nodes, of_messages};
use super::verdicts::judge;
use super::windows::in_vain;
use crate::plan::{FaultKind, Plan};
use crate::record::{self, Carrier, Edge, Mark, Node, Performance, Record, Step, Summary, Times, Verdict};
use futures_timer::virtual_time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Makes the checks on messages that are possible only at the end of the run. `lying` holds, by device, the messages in
/// its inbox, and whether the device is on.
pub fn check_messages(book: &mut Book, lying: &[BTreeSet<u64>], is_on: impl Fn(usize) -> bool, end: u64) {
    for (id, message) in book.messages.iter().enumerate() {
        let id = id as u64;
        if let (Some((End::Delivered, _)), Some(to)) = (message.end, message.to) {
            let there = !message.received.is_empty() || lying[to].contains(&id);
            book.checks
                .look(Promise::NothingLost, there, || format!("message {id} was confirmed and is not at node {to}"));
        }
        if let (Some((End::Refused, _)), Some(to)) = (message.end, message.to) {
            // A call that was refused may have been made if its program reports so, or was interrupted.
            let read = message.received.iter().any(|received| received.number != 0);
            let there = read || lying[to].contains(&id);
            let what = || format!("message {id} was refused and is at node {to}");
            book.checks.look(Promise::RefusedIsNotThere, !there, what);
        }
        if message.any {
            check_any(&mut book.checks, (id, message), lying);
        }
        let due = message.deadline + GRACE < end;
        if due && !message.orphaned && is_on(message.from) {
            let ended = message.end.is_some();
            book.checks
                .look(Promise::OneOutcome, ended, || format!("message {id} of node {} has not ended", message.from));
        }
    }
}

/// Makes the checks on a message to any device: it is somewhere if that was confirmed, and nowhere if it found none.
fn check_any(checks: &mut Checks, (id, message): (u64, &Message), lying: &[BTreeSet<u64>]) {
    let there = !message.received.is_empty() || lying.iter().any(|lying| lying.contains(&id));
    match message.end {
        Some((End::Delivered, _)) => {
            checks.look(Promise::NothingLost, there, || format!("message {id} was confirmed and is at no node"));
        }
        Some((End::Unreachable, _)) => {
            let what = || format!("message {id} to any device was told to be nowhere, and is at one");
            checks.look(Promise::RefusedIsNotThere, !there, what);
        }
        _ => {}
    }
}

/// Compares what subscriptions heard with what they are promised. `rekeyed` holds, by device, the times from which on it
/// seals publications with new keys, and so in new streams.
pub fn check_publications(book: &mut Book, plan: &Plan, rekeyed: &BTreeMap<usize, Vec<u64>>, end: u64) {
    let (start, length) = (plan.start.seconds() * NANOS, plan.epoch.seconds() * NANOS);
    // The run begins at `NANOS` of its own clock.
    let turn = |from: usize, at: u64| {
        let wall = start + at.saturating_sub(NANOS);
        let turn = at + length - wall % length;
        let mut rekeyed = rekeyed.get(&from).into_iter().flatten();
        rekeyed.find(|rekeyed| **rekeyed > at).map_or(turn, |rekeyed| turn.min(*rekeyed))
    };
    let streams = book.publications.streams(&book.messages);
    let epoch = |at: u64, wrong: i64| {
        let wall = start + at.saturating_sub(NANOS);
        wall.saturating_add_signed(wrong.saturating_mul(1_000)) / length
    };
    let heard = |from: usize, node: usize, number: u32| {
        plan.layout.is_plain()
            || super::workload::topic(plan, number).is_none_or(|topic| plan.layout.may_hear(from, node, &topic))
    };
    let rules = Rules { slack: book.slack, excused: &book.excused, turn: &turn, epoch: &epoch, heard: &heard, end };
    book.findings = book.publications.judge(&streams, &rules);
    book.findings.enter(&mut book.checks);
}

/// Checks that nothing has passed between devices that the realm's segments and the readers of its groups part.
pub fn check_layout(plan: &Plan, medium: &Medium, book: &mut Book) {
    if plan.layout.is_plain() {
        return;
    }
    for (number, edge) in plan.edges.iter().enumerate().filter(|(_, edge)| !plan.layout.may_send(edge.a, edge.b)) {
        let what = || format!("{} and {} are linked", plan.devices[edge.a].name, plan.devices[edge.b].name);
        book.checks.look(Promise::KeptApart, !medium.stands(number) && medium.fell(number) == 0, what);
    }
    for (id, message) in book.messages.iter().enumerate() {
        let topic = message.topic.and_then(|topic| super::workload::topic(plan, topic));
        let may = |device: usize| match &topic {
            Some(topic) => plan.layout.may_hear(message.from, device, topic),
            None => plan.layout.may_send(message.from, device),
        };
        let wrong = message.received.iter().find(|received| !may(received.node));
        let what = || {
            let to = wrong.map_or(message.from, |received| received.node);
            format!("message {id} of {} came to {}", plan.devices[message.from].name, plan.devices[to].name)
        };
        book.checks.look(Promise::KeptApart, wrong.is_none(), what);
    }
}

/// The rest of a run that is over, besides its medium and its ledger.
pub struct Ended<'a> {
    /// The sampler.
    pub sampler: Sampler,
    /// The time at which devices had routes to each other.
    pub routed: Option<u64>,
    /// The sums of what nodes report.
    pub totals: Totals,
    /// The readings of meters.
    pub readings: &'a [Reading],
    /// The revocations.
    pub revocations: &'a Revocations,
    /// The number of messages that came in spite of them.
    pub leaked: u64,
}

/// Makes the record of a run that is over.
pub fn record(plan: &Plan, medium: &Medium, ledger: &Ledger, ended: Ended<'_>) -> Record {
    let Ended { sampler, routed, totals, readings, revocations, leaked } = ended;
    let book = ledger.lock();
    let mut metrics = BTreeMap::new();
    of_messages(plan, &book, &mut metrics);
    of_all(plan, medium, &book, &sampler, routed, &totals, &mut metrics);
    revocations.measure(plan, medium, leaked, &mut |name, value| {
        metrics.insert(name.to_owned(), value);
    });
    let before = sampler.warm.as_ref().map(|warm| warm.tally.clone()).unwrap_or_default();
    accounts::enter(plan, &medium.tally().since(&before), readings, &mut metrics);
    let expectations: Vec<Verdict> = plan.expectations.iter().map(|expected| judge(expected, &metrics)).collect();
    let checks = book.checks.clone();
    let passed = checks.violated() == 0 && expectations.iter().all(|verdict| verdict.held);
    let end_s = seconds(now());
    let summary = Summary {
        scenario: plan.name.clone(),
        question: plan.question.clone(),
        seed: plan.seed,
        set: Vec::new(),
        nodes: plan.devices.len(),
        virtual_s: end_s,
        trace: medium.trace(),
        passed,
        expectations,
        checks: checks.into_record(),
        metrics,
        control: control(medium, &sampler),
        counters: totals.counters,
        gauges: totals.gauges,
    };
    let performance = Performance {
        peak_rss: peak_rss(),
        events: virtual_time::fired(),
        polls: executor::polls(),
        ..Performance::default()
    };
    let calm = plan.warmup + plan.duration;
    Record {
        summary,
        source: record::Source::default(),
        performance,
        times: Times {
            warm_s: plan.warmup.as_secs_f64(),
            calm_s: calm.as_secs_f64(),
            end_s,
            start: plan.start.to_string(),
        },
        nodes: nodes(plan, medium, &book),
        bearers: plan.bearers.iter().map(|bearer| bearer.name.clone()).collect(),
        carriers: plan.bearers.iter().map(|bearer| Carrier { reach: bearer.reach, price: bearer.price }).collect(),
        spending: sampler.spending.since(plan, medium),
        missed: missed(plan, &book),
        edges: edges(plan, medium),
        purposes: PURPOSES.map(str::to_owned).to_vec(),
        samples: sampler.samples,
        frames: sampler.frames,
        latencies: latencies(plan, &book),
        faults: faults(plan, readings),
        messages: waterfalls(plan, &book),
    }
}

/// Returns the bytes and frames on control streams after the warm-up.
fn control(medium: &Medium, sampler: &Sampler) -> BTreeMap<String, (u64, u64)> {
    let before = sampler.warm.as_ref().map(|warm| warm.kinds.clone()).unwrap_or_default();
    let since = |(kind, (bytes, frames)): (String, (u64, u64))| {
        let (bytes_before, frames_before) = before.get(&kind).copied().unwrap_or_default();
        (kind, (bytes - bytes_before, frames - frames_before))
    };
    medium.kinds().into_iter().map(since).collect()
}

fn of_all(
    plan: &Plan,
    medium: &Medium,
    book: &Book,
    sampler: &Sampler,
    routed: Option<u64>,
    totals: &Totals,
    metrics: &mut BTreeMap<String, f64>,
) {
    let mut put = |name: &str, value: f64| {
        metrics.insert(name.to_owned(), value);
    };
    let Spent { purposes, cost, cost_of_payload, .. } = medium.spent();
    let warm = sampler.warm.clone().unwrap_or_else(|| Warm { purposes: vec![0; PURPOSES.len()], ..Warm::default() });
    let spent: Vec<u64> = purposes.iter().zip(&warm.purposes).map(|(all, before)| all - before).collect();
    put("bytes.total", spent.iter().sum::<u64>() as f64);
    for (name, bytes) in PURPOSES.iter().zip(&spent) {
        put(&format!("bytes.{name}"), *bytes as f64);
    }
    put("bytes.useful", book.useful as f64);
    if book.delivered > 0 {
        put("bytes.delivery", spent.iter().sum::<u64>() as f64 / book.delivered as f64);
    }
    of_publications(&book.findings, &mut put);
    let measured = (seconds(now()) - plan.warmup.as_secs_f64()).max(1e-9);
    let control = spent[1..].iter().sum::<u64>();
    put("control.rate", control as f64 / measured / plan.devices.len().max(1) as f64);
    let (cost, payload) = (cost - warm.cost, cost_of_payload - warm.cost_of_payload);
    put("cost.total", cost);
    put("cost.payload", payload);
    let months = measured / MONTH_S * payers(plan).max(1) as f64;
    put("cost.month", cost / months);
    put("cost.month.payload", payload / months);
    put("cost.month.control", (cost - payload) / months);
    let measured = |sample: &&record::Sample| {
        let calm = plan.warmup + plan.duration;
        sample.at_s >= plan.warmup.as_secs_f64() && sample.at_s <= calm.as_secs_f64()
    };
    let reachable: Vec<f64> = sampler.samples.iter().filter(measured).map(|sample| sample.reachable).collect();
    let during: Vec<&record::Sample> = sampler.samples.iter().filter(measured).collect();
    if let [first, .., last] = &during[..] {
        let bytes = |sample: &record::Sample| sample.purposes.iter().sum::<u64>() as f64;
        let rate =
            |from: &record::Sample, to: &record::Sample| (bytes(to) - bytes(from)) / (to.at_s - from.at_s).max(1e-9);
        let (peak, mean) =
            (during.windows(2).map(|pair| rate(pair[0], pair[1])).fold(0.0, f64::max), rate(first, last));
        put("bytes.peak", peak);
        if mean > 0.0 {
            put("bytes.peak_to_mean", peak / mean);
        }
    }
    for (name, what) in asked_of_nodes(plan) {
        put(name, totals.of(what) as f64);
    }
    if !reachable.is_empty() {
        put("reachable.mean", reachable.iter().sum::<f64>() / reachable.len() as f64);
        put("reachable.min", reachable.iter().copied().fold(1.0, f64::min));
    }
    if let Some(ready) = sampler.ready {
        put("ready", seconds(ready));
        if let Some(routed) = routed {
            put("reachable.time", seconds(routed) - seconds(ready).min(seconds(routed)));
        }
    }
    let watch = medium.watch();
    // Who is revoked stays so, and there is nothing to heal from.
    let heals = plan.faults.iter().filter(|fault| !matches!(fault.what, FaultKind::Revoke { .. }));
    let over = heals.map(|fault| fault.until.unwrap_or(plan.duration).min(plan.duration)).max();
    let over = over.map(|over| (plan.warmup + over).as_secs_f64());
    match (over, watch.missing + watch.turned.apart) {
        (None, _) => put("converged", 0.0),
        (Some(over), 0) => put("converged", watch.whole_at.map_or(0.0, |at| (seconds(at) - over).max(0.0))),
        // The time was not reached by the end, so there is nothing to measure.
        (Some(_), _) => {}
    }
    put("attached.max", watch.attached as f64);
    put("dials.peak", medium.witness(|witness| witness.most_dials()) as f64);
    put("links.lost", (watch.lost - warm.lost) as f64);
    if plan.anonymity.rotates() {
        let Turned { links, again, time, longest, .. } = watch.turned;
        put("turn.links", (links - warm.turned) as f64);
        put("turn.apart.max", longest as f64 / NANOS as f64);
        put("turn.apart.mean", time as f64 / NANOS as f64 / again.max(1) as f64);
        put("turn.pushed", medium.witness(|witness| witness.pushed_beside()) as f64);
        put("turn.returned", medium.witness(|witness| witness.returned_beside()) as f64);
    }
    if plan.bearers.iter().any(|bearer| !bearer.windows.is_empty()) {
        put("windows.outside", medium.witness(|witness| witness.sent_outside()) as f64);
        put("windows.missed", in_vain(plan, book) as f64);
    }
    put("groups.pushed", medium.witness(|witness| witness.pushed()) as f64);
    of_broadcasts(&book.narrowed, &mut put);
    put("queue.max", sampler.samples.iter().map(|sample| sample.queued_most).max().unwrap_or_default() as f64);
    put("dropped", totals.counters.values().sum::<u64>() as f64);
    put("violations", book.checks.violated() as f64);
}

/// Enters the metrics of what nodes say that broadcasts cost.
fn of_broadcasts(narrowed: &Narrowed, put: &mut dyn FnMut(&str, f64)) {
    let Narrowed { heard, count, unicasts, transmissions, flood } = *narrowed;
    if heard {
        put("broadcasts.narrowed", count as f64);
        put("broadcasts.unicasts", unicasts as f64);
        put("broadcasts.transmissions", transmissions as f64);
        put("broadcasts.flood", flood as f64);
        if flood > 0 {
            put("broadcasts.share", transmissions as f64 / flood as f64);
        }
    }
}

/// Enters the metrics of what subscriptions were to hear, and of what they heard.
pub fn of_publications(findings: &Findings, put: &mut dyn FnMut(&str, f64)) {
    let Findings { owed, missed, told, untold, invented, twice, disordered, late, .. } = findings;
    if *owed > 0 {
        put("publications.delivered", (owed - missed) as f64 / *owed as f64);
    }
    let counts = [
        ("owed", owed),
        ("missed", missed),
        ("told", told),
        ("untold", untold),
        ("invented", invented),
        ("twice", twice),
        ("disordered", disordered),
        ("late", late),
    ];
    counts.into_iter().for_each(|(name, count)| put(&format!("publications.{name}"), *count as f64));
}

/// Returns the number of devices with an edge that has a price.
fn payers(plan: &Plan) -> usize {
    let priced = plan.edges.iter().filter(|edge| plan.bearers[edge.bearer].is_priced());
    priced.flat_map(|edge| [edge.a, edge.b]).collect::<BTreeSet<_>>().len()
}

fn nodes(plan: &Plan, medium: &Medium, book: &Book) -> Vec<Node> {
    let mut nodes: Vec<Node> = plan
        .devices
        .iter()
        .enumerate()
        .map(|(index, device)| Node {
            name: device.name.to_string(),
            group: device.group.clone(),
            x: device.track.first().map_or(0.0, |point| point.x),
            y: device.track.first().map_or(0.0, |point| point.y),
            sent: 0,
            received: 0,
            bytes: medium.device_bytes(index),
        })
        .collect();
    for message in &book.messages {
        nodes[message.from].sent += 1;
        message.received.iter().for_each(|received| nodes[received.node].received += 1);
    }
    nodes
}

fn edges(plan: &Plan, medium: &Medium) -> Vec<Edge> {
    let edge = |(index, edge): (usize, &crate::plan::Edge)| {
        let (bytes, cost) = medium.edge_bytes(index);
        Edge { a: edge.a, b: edge.b, bearer: edge.bearer, bytes, cost }
    };
    plan.edges.iter().enumerate().map(edge).collect()
}

fn latencies(plan: &Plan, book: &Book) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut by_flow = BTreeMap::<&str, (Vec<u64>, u64)>::new();
    for message in &book.messages {
        for name in ["all", plan.flows[message.flow].name.as_str()] {
            let (times, expected) = by_flow.entry(name).or_default();
            times.extend(message.received.iter().map(|received| received.at.saturating_sub(message.sent)));
            *expected += u64::from(message.expected);
        }
    }
    let curve = |(times, expected): (Vec<u64>, u64)| -> Vec<(f64, f64)> {
        let mut times = times;
        times.sort_unstable();
        let step = times.len().div_ceil(CURVE).max(1);
        let places = (0..times.len()).filter(|place| (place + 1) % step == 0 || *place + 1 == times.len());
        let expected = expected.max(times.len() as u64).max(1) as f64;
        places.map(|place| (times[place] as f64 / NANOS as f64, (place + 1) as f64 / expected)).collect()
    };
    by_flow.into_iter().map(|(name, times)| (name.to_owned(), curve(times))).collect()
}

fn faults(plan: &Plan, readings: &[Reading]) -> Vec<Mark> {
    let mark = |fault: &crate::plan::Fault| Mark {
        at_s: (plan.warmup + fault.at).as_secs_f64(),
        until_s: (plan.warmup + fault.until.unwrap_or(plan.duration).min(plan.duration)).as_secs_f64(),
        label: fault.label.clone(),
    };
    let until_s = (plan.warmup + plan.duration).as_secs_f64();
    let empty = plan.devices.iter().zip(readings).filter_map(|(device, reading)| {
        Some(Mark { at_s: seconds(reading.empty?), until_s, label: format!("battery of {}", device.name) })
    });
    plan.faults.iter().map(mark).chain(empty).collect()
}

/// Returns the histories of the slowest messages, of typical ones, and of failures.
fn waterfalls(plan: &Plan, book: &Book) -> Vec<record::Message> {
    let last = |message: &Message| message.received.iter().map(|received| received.at).max();
    let took = |message: &Message| last(message).map(|at| at.saturating_sub(message.sent));
    let mut arrived: Vec<usize> = (0..book.messages.len()).filter(|id| took(&book.messages[*id]).is_some()).collect();
    arrived.sort_by_key(|id| (took(&book.messages[*id]), *id));
    let failed = (0..book.messages.len()).filter(|id| {
        let message = &book.messages[*id];
        message.expected > 0 && message.received.is_empty()
    });
    let mut chosen = BTreeMap::<usize, &str>::new();
    let middle = arrived.len() / 2;
    let slowest = arrived.iter().rev().take(CHOSEN).map(|id| (*id, "slowest"));
    let typical = arrived.iter().skip(middle).take(CHOSEN).map(|id| (*id, "typical"));
    for (id, why) in slowest.chain(typical).chain(failed.take(CHOSEN).map(|id| (id, "failed"))) {
        chosen.entry(id).or_insert(why);
    }
    let tell = |(id, why): (usize, &str)| {
        let message = &book.messages[id];
        let step = |at: u64, node: usize, what: &str| Step { at_s: seconds(at), node, what: what.to_owned() };
        let mut steps = vec![step(message.sent, message.from, "handed over")];
        steps.extend(message.durable.zip(message.to).map(|(at, to)| step(at, to, "durable")));
        let received = message.received.iter().take(MOST_STEPS);
        steps.extend(received.map(|received| step(received.at, received.node, "received")));
        steps.extend(message.end.map(|(end, at)| step(at, message.from, end.word())));
        steps.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
        record::Message {
            id: id as u64,
            flow: plan.flows[message.flow].name.clone(),
            size: message.size,
            from: message.from,
            to: message.to,
            outcome: message.end.map_or_else(String::new, |(end, _)| end.word().to_owned()),
            chosen: why.to_owned(),
            steps,
        }
    };
    chosen.into_iter().map(tell).collect()
}

/// Returns the seconds after the start of the run.
pub fn seconds(at: u64) -> f64 {
    Duration::from_nanos(at.saturating_sub(NANOS)).as_secs_f64()
}

/// Returns the process's largest resident set so far, in bytes; 0 if the system does not report it.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The month of `cost.month`, in seconds.
const MONTH_S: f64 = 30.0 * 86_400.0;
/// The time after its deadline within which a message may end: the engine's timers, and a turn of the loop.
const GRACE: u64 = 5 * NANOS;
/// The number of points of a latency curve.
const CURVE: usize = 200;
/// The number of messages of each kind that are shown.
const CHOSEN: usize = 4;
/// The number of receivers of one publication that are shown.
const MOST_STEPS: usize = 40;
