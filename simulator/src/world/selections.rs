//! Selections: the metrics of messages, of all and of those of a flow, a class, a policy or a group of senders.

use super::ledger::{Book, End, Message};
use super::medium::NANOS;
use crate::metrics::{self, OfNodes};
use crate::plan::{Plan, Wanted};
use m2mesh::wire::batch::Ack;
use std::collections::BTreeMap;

/// The messages of one selection.
#[derive(Default)]
struct Selection<'a> {
    messages: Vec<&'a Message>,
}

/// Enters all metrics of messages, for all of them and by selector.
pub fn of_messages(plan: &Plan, book: &Book, metrics: &mut BTreeMap<String, f64>) {
    let mut selections = BTreeMap::<String, Selection<'_>>::new();
    // Selections without messages are included, so that an expectation of them is not met.
    selections.insert(String::new(), Selection::default());
    for flow in &plan.flows {
        selections.insert(format!("[flow={}]", flow.name), Selection::default());
        selections.insert(format!("[class={}]", metrics::class(flow.class)), Selection::default());
        if let Some(policy) = &flow.policy {
            selections.insert(format!("[policy={policy}]"), Selection::default());
        }
        for from in &flow.from {
            selections.insert(format!("[group={}]", plan.devices[*from].group), Selection::default());
        }
    }
    for message in book.messages.iter().filter(|message| !message.spared) {
        let flow = &plan.flows[message.flow];
        let keys = [
            String::new(),
            format!("[flow={}]", flow.name),
            format!("[class={}]", metrics::class(flow.class)),
            format!("[group={}]", plan.devices[message.from].group),
        ];
        let by_policy = flow.policy.as_ref().map(|policy| format!("[policy={policy}]"));
        for key in keys.into_iter().chain(by_policy) {
            selections.entry(key).or_default().messages.push(message);
        }
    }
    let wanted = asked(plan);
    for (selector, selection) in selections {
        selection.measure(&wanted, &mut |name, value| {
            metrics.insert(format!("{name}{selector}"), value);
        });
    }
}

impl Selection<'_> {
    /// Returns the longest time between two arrivals of messages of one sender at one receiver.
    fn longest_gap(&self) -> Option<u64> {
        let mut last = BTreeMap::<(usize, usize), Vec<u64>>::new();
        for message in &self.messages {
            for received in &message.received {
                last.entry((message.from, message.to.map_or(received.node, |_| usize::MAX)))
                    .or_default()
                    .push(received.at);
            }
        }
        let gaps = last.into_values().filter_map(|mut times| {
            times.sort_unstable();
            times.windows(2).map(|pair| pair[1] - pair[0]).max()
        });
        gaps.max()
    }

    /// Returns the arrivals in the busiest minute by the average of all minutes from the first arrival to the last.
    fn peak_to_mean(&self) -> Option<f64> {
        let times = || self.messages.iter().flat_map(|message| message.received.iter().map(|received| received.at));
        let (first, last) = (times().min()?, times().max()?);
        let minutes = ((last - first) as f64 / MINUTE as f64).max(1.0);
        let mut by_minute = BTreeMap::<u64, u64>::new();
        times().for_each(|at| *by_minute.entry((at - first) / MINUTE).or_default() += 1);
        let most = by_minute.values().max().copied().unwrap_or_default();
        (minutes >= LEAST_MINUTES).then(|| most as f64 * minutes / times().count() as f64)
    }

    fn measure(&self, wanted: &[&str], put: &mut dyn FnMut(&str, f64)) {
        let (mut latencies, mut confirmations) = (Vec::new(), Vec::new());
        let (mut sent, mut delivered, mut duplicates, mut late, mut unsettled) = (0u64, 0u64, 0u64, 0u64, 0u64);
        let (mut asked, mut confirmed) = (0u64, 0u64);
        let mut ways = Vec::new();
        let mut ended = BTreeMap::<&str, u64>::new();
        for message in &self.messages {
            sent += u64::from(message.expected);
            delivered += message.received.len() as u64;
            duplicates += u64::from(message.duplicates);
            late += u64::from(message.late);
            latencies.extend(message.received.iter().map(|received| received.at.saturating_sub(message.sent)));
            asked += u64::from(message.ack == Ack::End);
            ways.extend(message.way);
            match message.end {
                Some((End::Delivered, at)) => {
                    confirmed += u64::from(message.ack == Ack::End);
                    confirmations.push(at.saturating_sub(message.sent));
                }
                Some((end, _)) => *ended.entry(end.word()).or_default() += 1,
                None => unsettled += 1,
            }
        }
        latencies.sort_unstable();
        confirmations.sort_unstable();
        put("sent", sent as f64);
        put("delivered.count", delivered as f64);
        if sent > 0 {
            put("delivered", delivered as f64 / sent as f64);
        }
        if asked > 0 {
            put("confirmed", confirmed as f64 / asked as f64);
        }
        for end in [End::Expired, End::Refused, End::Unreachable] {
            put(end.word(), ended.get(end.word()).copied().unwrap_or_default() as f64);
        }
        put("unsettled", unsettled as f64);
        put("duplicates", duplicates as f64);
        put("late", late as f64);
        if !latencies.is_empty() {
            let mean = latencies.iter().map(|nanos| *nanos as f64).sum::<f64>() / latencies.len() as f64;
            put("latency.mean", mean / NANOS as f64);
            let named = [("latency.p50", 0.5), ("latency.p90", 0.9), ("latency.p99", 0.99), ("latency.max", 1.0)];
            named.into_iter().for_each(|(name, part)| put(name, quantile(&latencies, part)));
        }
        if !ways.is_empty() {
            let mean = |sum: f64| sum / ways.len() as f64;
            put("hops.mean", mean(ways.iter().map(|way| f64::from(way.hops)).sum()));
            put("cost.message", mean(ways.iter().map(|way| way.price as f64 / 1e6).sum()));
        }
        if !confirmations.is_empty() {
            put("confirmation.p50", quantile(&confirmations, 0.5));
            put("confirmation.p99", quantile(&confirmations, 0.99));
        }
        for name in wanted {
            match metrics::percentile(name) {
                Some(("latency", part)) if !latencies.is_empty() => put(name, quantile(&latencies, part)),
                Some(("confirmation", part)) if !confirmations.is_empty() => put(name, quantile(&confirmations, part)),
                _ => {}
            }
        }
        if let Some(ratio) = self.peak_to_mean() {
            put("arrivals.peak_to_mean", ratio);
        }
        if let Some(gap) = self.longest_gap() {
            put("gap.max", gap as f64 / NANOS as f64);
        }
    }
}

/// Returns the percentiles that expectations name in addition to those that are always measured.
fn asked(plan: &Plan) -> Vec<&str> {
    named(plan).filter(|name| metrics::percentile(name).is_some()).collect()
}

/// Returns the counters and gauges that expectations name.
pub fn asked_of_nodes(plan: &Plan) -> Vec<(&str, OfNodes)> {
    named(plan).filter_map(|name| Some((name, metrics::of_nodes(name)?))).collect()
}

/// Returns the metrics that expectations name.
fn named(plan: &Plan) -> impl Iterator<Item = &str> {
    let all = plan.expectations.iter().flat_map(|expected| std::iter::once(expected).chain(&expected.or));
    let named = all.flat_map(|expected| {
        let other = if let Wanted::Metric(other) = &expected.wanted { Some(other) } else { None };
        [Some(&expected.metric), other].into_iter().flatten()
    });
    named.map(|key| key.split('[').next().unwrap_or(key))
}

/// Returns the smallest of sorted values that is not exceeded by a share `part` of them, in seconds (nearest rank).
fn quantile(sorted: &[u64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()) - 1).map_or(0.0, |nanos| *nanos as f64 / NANOS as f64)
}

/// A minute, in nanoseconds.
const MINUTE: u64 = 60 * NANOS;
/// The time for which messages have to arrive, in minutes, for their busiest one to say anything.
const LEAST_MINUTES: f64 = 3.0;
