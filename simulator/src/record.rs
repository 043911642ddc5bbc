//! Record: what one run leaves behind, for reports, replays, sweeps and comparisons.
//!
//! Everything here but [`Performance`] is a function of scenario, settings and seed: two runs of the same give the same
//! bytes. Times are seconds of virtual time after the start of the run unless said.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What came of it.
    pub summary: Summary,
    /// What it was made of, to run it again.
    pub source: Source,
    /// What it cost to compute.
    pub performance: Performance,
    /// How long everything took.
    pub times: Times,
    /// Devices.
    pub nodes: Vec<Node>,
    /// Names of bearers.
    pub bearers: Vec<String>,
    /// What is known of them, in their order.
    #[serde(default)]
    pub carriers: Vec<Carrier>,
    /// Links that could be.
    pub edges: Vec<Edge>,
    /// What devices sent over bearers in the measured time.
    #[serde(default)]
    pub spending: Vec<Spending>,
    /// Publications that somebody missed, the earliest thousand.
    #[serde(default)]
    pub missed: Vec<Missed>,
    /// Purposes in the order of [`Sample::purposes`].
    pub purposes: Vec<String>,
    /// Cumulative figures at equal distances, the first at 0.
    pub samples: Vec<Sample>,
    /// The network at equal distances; fewer than samples in a large network.
    pub frames: Vec<Frame>,
    /// By flow, and `all`: points (seconds, share of messages that had arrived by then), at most 200.
    pub latencies: BTreeMap<String, Vec<(f64, f64)>>,
    /// Faults.
    pub faults: Vec<Mark>,
    /// What became of chosen messages, hop by hop.
    pub messages: Vec<Message>,
}

/// What came of a run: the same for the same scenario, settings and seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Name of the scenario.
    pub scenario: String,
    /// What it asks.
    pub question: String,
    /// Seed.
    pub seed: u64,
    /// Settings other than those of the file, as `key=value`.
    pub set: Vec<String>,
    /// Devices.
    pub nodes: usize,
    /// Seconds of virtual time.
    pub virtual_s: f64,
    /// Hash over every byte on every wire, with its time and ends, hexadecimal.
    pub trace: String,
    /// Whether all expectations held and no check was violated.
    pub passed: bool,
    /// Expectations, in their order.
    pub expectations: Vec<Verdict>,
    /// What the checks across nodes found.
    pub checks: Vec<Check>,
    /// By name, with selector: see [`metrics`](crate::metrics).
    pub metrics: BTreeMap<String, f64>,
    /// On control streams after the warm-up: bytes and frames by kind of frame.
    #[serde(default)]
    pub control: BTreeMap<String, (u64, u64)>,
    /// Things that nodes dropped or refused, by counter, over all nodes.
    pub counters: BTreeMap<String, u64>,
    /// What nodes measure of themselves at the end, by gauge, added up.
    #[serde(default)]
    pub gauges: BTreeMap<String, u64>,
}

/// What came of an expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As written.
    pub text: String,
    /// Whether it held.
    pub held: bool,
    /// What the metric was; `None` where there was nothing to measure, which holds for nothing.
    pub found: Option<f64>,
    /// What was asked for, in the same unit.
    pub wanted: f64,
    /// Of an expectation that one of several holds: the text of the one that is told of, which held, or came closest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<String>,
    /// By how much it was better than asked, or worse where negative; relative to `wanted` where that is not 0.
    pub margin: Option<f64>,
}

impl Verdict {
    /// The text of what `found`, `wanted` and `margin` are about.
    pub fn about(&self) -> &str {
        self.decided.as_ref().unwrap_or(&self.text)
    }
}

/// A check across nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// `at-most-once`.
    pub name: String,
    /// What it promises.
    pub promise: String,
    /// How often it was looked at: of nothing, nothing is promised.
    pub looked: u64,
    /// How often it was violated.
    pub violated: u64,
    /// The first violations, at most ten: when, where, what.
    pub examples: Vec<String>,
}

/// What a run was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The scenario's file.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Other files that it names, by name, with their text.
    pub files: BTreeMap<String, String>,
    /// `key=value` settings.
    pub set: Vec<String>,
    /// Seed.
    pub seed: u64,
    /// Version of the simulator.
    pub version: String,
}

/// What a run cost to compute. Not the same from run to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Performance {
    /// Seconds on the wall.
    pub wall_s: f64,
    /// Seconds of processor.
    pub cpu_s: f64,
    /// Largest resident set, in bytes.
    pub peak_rss: u64,
    /// Events of the virtual clock: arrivals and timers.
    pub events: u64,
    /// Tasks polled.
    pub polls: u64,
}

/// How long everything took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// When traffic began.
    pub warm_s: f64,
    /// When traffic and faults ended.
    pub calm_s: f64,
    /// When the run ended.
    pub end_s: f64,
    /// RFC 3339: wall time at the start.
    pub start: String,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Where it is at the start, in metres.
    pub x: f64,
    /// Metres north.
    pub y: f64,
    /// Messages it handed over.
    pub sent: u64,
    /// Messages it got.
    pub received: u64,
    /// Bytes it put on its links.
    pub bytes: u64,
}

/// What is known of a bearer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Carrier {
    /// Metres over which it reaches; `None` for any distance.
    pub reach: Option<f64>,
    /// Units of money for a megabyte.
    pub price: f64,
}

/// What a device sent over a bearer after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spending {
    /// Index of the device.
    pub node: usize,
    /// Index of the bearer.
    pub bearer: usize,
    /// Bytes.
    pub bytes: u64,
    /// What they cost.
    pub cost: f64,
}

/// A publication that a device was to hear, and did not by its deadline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// Its number.
    pub message: u64,
    /// Its flow.
    pub flow: String,
    /// Its topic.
    pub topic: String,
    /// Index of the publisher.
    pub from: usize,
    /// Index of the device that missed it.
    pub to: usize,
    /// When it was handed over.
    pub at_s: f64,
    /// How long after its deadline it was heard; `None` where it was not.
    pub late_s: Option<f64>,
}

/// Two devices that could link.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Index of one.
    pub a: usize,
    /// Index of the other.
    pub b: usize,
    /// Index of the bearer.
    pub bearer: usize,
    /// Bytes from a to b, and from b to a.
    pub bytes: [u64; 2],
    /// What they cost.
    pub cost: f64,
}

/// Figures at one moment, cumulative since the start unless said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_s: f64,
    /// Messages handed over, copies of publications counted for each who is to get one.
    pub sent: u64,
    /// Arrived at their applications.
    pub delivered: u64,
    /// Known not to have been delivered in time.
    pub failed: u64,
    /// At this moment: share of pairs of devices that are connected over some way.
    pub reachable: f64,
    /// At this moment: links that are up.
    pub links: u64,
    /// At this moment: messages on their way out, over all nodes, and at the node with most.
    pub queued: u64,
    /// The same at the node with most.
    pub queued_most: u64,
    /// Bytes by purpose.
    pub purposes: Vec<u64>,
    /// Bytes by bearer.
    pub bearers: Vec<u64>,
    /// Money.
    pub cost: f64,
}

/// The network at one moment, a character for each node and edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// When.
    pub at_s: f64,
    /// A node is `1` on, `0` off, `z` asleep, `h` hostile.
    pub nodes: String,
    /// An edge is `-` down; else a digit for its load since the frame before, both ways: 0 for none, else 1 + ⌊log₁₀ of bytes a
    /// second⌋.
    pub edges: String,
    /// Where nodes are, if some move.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<(f64, f64)>,
}

/// Something on the time axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// From when.
    pub at_s: f64,
    /// Until when.
    pub until_s: f64,
    /// `crash meter-3`.
    pub label: String,
}

/// One message's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Number.
    pub id: u64,
    /// Its flow.
    pub flow: String,
    /// Bytes of payload.
    pub size: usize,
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver; `None` for a publication.
    pub to: Option<usize>,
    /// How it ended for the sender: `delivered`, `expired`, …; empty if it did not.
    pub outcome: String,
    /// Why it was chosen: `slowest`, `typical`, `failed`.
    pub chosen: String,
    /// In the order of their time.
    pub steps: Vec<Step>,
}

/// Something that happened to a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// When.
    pub at_s: f64,
    /// Index of the node.
    pub node: usize,
    /// `handed over`, `durable`, `received`, `confirmed`.
    pub what: String,
}
