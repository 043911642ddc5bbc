//! Record: the result of one run, for reports, replays, sweeps and comparisons.
//!
//! Everything here except [`Performance`] is a function of scenario, settings and seed: two runs of the same give the
//! same bytes. Times are seconds of virtual time after the start of the run unless stated otherwise.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The record of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The results of the run.
    pub summary: Summary,
    /// The inputs of the run, with which it can be repeated.
    pub source: Source,
    /// The resources that the computation took.
    pub performance: Performance,
    /// The times of the run's parts.
    pub times: Times,
    /// The devices.
    pub nodes: Vec<Node>,
    /// The names of the bearers.
    pub bearers: Vec<String>,
    /// The properties of the bearers, in the same order.
    #[serde(default)]
    pub carriers: Vec<Carrier>,
    /// The possible links.
    pub edges: Vec<Edge>,
    /// What devices sent over bearers in the measured time.
    #[serde(default)]
    pub spending: Vec<Spending>,
    /// Publications that a subscriber missed, the earliest thousand.
    #[serde(default)]
    pub missed: Vec<Missed>,
    /// The purposes in the order of [`Sample::purposes`].
    pub purposes: Vec<String>,
    /// Cumulative figures at equal intervals, the first at 0.
    pub samples: Vec<Sample>,
    /// The state of the network at equal intervals; fewer than samples in a large network.
    pub frames: Vec<Frame>,
    /// By flow, and for `all`: at most 200 points (seconds, share of messages that had arrived by then).
    pub latencies: BTreeMap<String, Vec<(f64, f64)>>,
    /// The faults.
    pub faults: Vec<Mark>,
    /// The histories of chosen messages, hop by hop.
    pub messages: Vec<Message>,
}

/// The results of a run, which are the same for the same scenario, settings and seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The name of the scenario.
    pub scenario: String,
    /// The question that the scenario asks.
    pub question: String,
    /// The seed.
    pub seed: u64,
    /// Settings that differ from those of the file, as `key=value`.
    pub set: Vec<String>,
    /// The number of devices.
    pub nodes: usize,
    /// The length of the run in seconds of virtual time.
    pub virtual_s: f64,
    /// The hash over every byte on every wire, with its time and its two ends, in hexadecimal.
    pub trace: String,
    /// Whether all expectations held and no check was violated.
    pub passed: bool,
    /// The verdicts on the expectations, in their order.
    pub expectations: Vec<Verdict>,
    /// The results of the checks across nodes.
    pub checks: Vec<Check>,
    /// The metrics by name, with selector: see [`metrics`](crate::metrics).
    pub metrics: BTreeMap<String, f64>,
    /// The bytes and frames on control streams after the warm-up, by kind of frame.
    #[serde(default)]
    pub control: BTreeMap<String, (u64, u64)>,
    /// The nodes' counters of dropped or refused items, summed over all nodes.
    pub counters: BTreeMap<String, u64>,
    /// The nodes' gauges at the end, summed over all nodes.
    #[serde(default)]
    pub gauges: BTreeMap<String, u64>,
}

/// The verdict on an expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The text in the scenario.
    pub text: String,
    /// Whether the expectation held.
    pub held: bool,
    /// The value of the metric; `None` if there was nothing to measure, in which case the expectation does not hold.
    pub found: Option<f64>,
    /// The value that was required, in the same unit.
    pub wanted: f64,
    /// For an expectation with alternatives: the text of the alternative that is reported, which held, or came closest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// By how much the value was better than required, or worse if negative; relative to `wanted` if that is not 0.
    pub margin: Option<f64>,
}

impl Verdict {
    /// Returns the text to which `found`, `wanted` and `margin` refer.
    pub fn about(&self) -> &str {
        self.decided.as_ref().unwrap_or(&self.text)
    }
}

/// The result of a check across nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The check's name, such as `at-most-once`.
    pub name: String,
    /// The promise that it checks.
    pub promise: String,
    /// How often it was exercised; a check that was never exercised proves nothing.
    pub looked: u64,
    /// How often it was violated.
    pub violated: u64,
    /// The first violations, at most ten: when, where, what.
    pub examples: Vec<String>,
}

/// The inputs of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The name of the scenario's file.
    pub file: String,
    /// The text of the scenario.
    pub text: String,
    /// Other files that the scenario names, by name, with their text.
    pub files: BTreeMap<String, String>,
    /// The settings, as `key=value`.
    pub set: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// The version of the simulator.
    pub version: String,
}

/// The resources that the computation of a run took. They differ from run to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// The elapsed time in seconds.
    pub wall_s: f64,
    /// The processor time in seconds.
    pub cpu_s: f64,
    /// The largest resident set, in bytes.
    pub peak_rss: u64,
    /// The number of events of the virtual clock: arrivals and timers.
    pub events: u64,
    /// The number of polls of tasks.
    pub polls: u64,
}

/// The times of a run's parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// The time at which traffic began.
    pub warm_s: f64,
    /// The time at which traffic and faults ended.
    pub calm_s: f64,
    /// The time at which the run ended.
    pub end_s: f64,
    /// The wall time at the start, in the format of RFC 3339.
    pub start: String,
}

/// A device of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The device's name.
    pub name: String,
    /// The device's group.
    pub group: String,
    /// The position at the start, in metres east.
    pub x: f64,
    /// The position at the start, in metres north.
    pub y: f64,
    /// The number of messages that its application submitted.
    pub sent: u64,
    /// The number of messages that its application received.
    pub received: u64,
    /// The number of bytes that it sent over its links.
    pub bytes: u64,
}

/// The properties of a bearer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carrier {
    /// The bearer's reach in metres; `None` for any distance.
    pub reach: Option<f64>,
    /// The price of a megabyte, in units of money.
    pub price: f64,
}

/// The traffic that a device sent over a bearer after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spending {
    /// The index of the device.
    pub node: usize,
    /// The index of the bearer.
    pub bearer: usize,
    /// The bytes sent.
    pub bytes: u64,
    /// The cost of the bytes, in units of money.
    pub cost: f64,
}

/// A publication that a device should have heard by its deadline and did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// The number of the publication.
    pub message: u64,
    /// The name of its flow.
    pub flow: String,
    /// The topic of the publication.
    pub topic: String,
    /// The index of the publisher.
    pub from: usize,
    /// The index of the device that missed it.
    pub to: usize,
    /// The time at which it was published.
    pub at_s: f64,
    /// How long after its deadline it was heard, in seconds; `None` if it was not.
    pub late_s: Option<f64>,
}

/// Two devices that could link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The index of one device.
    pub a: usize,
    /// The index of the other device.
    pub b: usize,
    /// The index of the bearer.
    pub bearer: usize,
    /// The bytes from a to b, and from b to a.
    pub bytes: [u64; 2],
    /// The cost of the bytes, in units of money.
    pub cost: f64,
}

/// Figures at one moment, cumulative since the start unless stated otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The time of the sample.
    pub at_s: f64,
    /// The number of messages submitted; a publication counts once for each device that is to receive it.
    pub sent: u64,
    /// The number of messages that arrived at their applications.
    pub delivered: u64,
    /// The number of messages known not to have been delivered in time.
    pub failed: u64,
    /// The present share of pairs of devices that are connected over some path.
    pub reachable: f64,
    /// The present number of links that are up.
    pub links: u64,
    /// The present number of outgoing messages, over all nodes.
    pub queued: u64,
    /// The present number of outgoing messages at the node that has most.
    pub queued_most: u64,
    /// The bytes by purpose.
    pub purposes: Vec<u64>,
    /// The bytes by bearer.
    pub bearers: Vec<u64>,
    /// The cost, in units of money.
    pub cost: f64,
}

/// The state of the network at one moment, with a character for each node and edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The time of the frame.
    pub at_s: f64,
    /// The nodes, each of which is `1` on, `0` off, `z` asleep or `h` hostile.
    pub nodes: String,
    /// The edges, each of which is `-` if down, and otherwise a digit for its load since the previous frame, in both
    /// directions: 0 for none, else 1 + ⌊log₁₀ of bytes a second⌋.
    pub edges: String,
    /// The positions of the nodes, if some of them move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<(f64, f64)>,
}

/// A mark on the time axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The beginning.
    pub at_s: f64,
    /// The end.
    pub until_s: f64,
    /// The label, such as `crash meter-3`.
    pub label: String,
}

/// The history of one message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The number of the message.
    pub id: u64,
    /// The name of its flow.
    pub flow: String,
    /// The size of the payload in bytes.
    pub size: usize,
    /// The index of the sender.
    pub from: usize,
    /// The index of the receiver; `None` for a publication.
    pub to: Option<usize>,
    /// The outcome at the sender: `delivered`, `expired`, …; empty if there was none.
    pub outcome: String,
    /// The reason for which it was chosen: `slowest`, `typical`, `failed`.
    pub chosen: String,
    /// The steps in the order of their time.
    pub steps: Vec<Step>,
}

/// A step in the history of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The time of the step.
    pub at_s: f64,
    /// The index of the node.
    pub node: usize,
    /// The kind of the step: `handed over`, `durable`, `received`, `confirmed`.
    pub what: String,
}
