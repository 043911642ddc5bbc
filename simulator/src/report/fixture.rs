//! Records for tests: an invented run of fifty nodes with five flows and three faults, and sparse ones.

use crate::record::*;
use std::collections::BTreeMap;

/// A generator of pseudo-random numbers that are always the same (splitmix64).
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() * count as f64) as usize % count.max(1)
    }
}

/// Rounds to 1/4096, which a decimal number expresses exactly.
fn exact(value: f64) -> f64 {
    (value * 4096.0).round() / 4096.0
}

const WARM: f64 = 60.0;
const CALM: f64 = 1260.0;
const END: f64 = 1380.0;
const SAMPLES: usize = 277;
const FLOWS: [&str; 5] = ["alarms", "commands", "firmware", "readings", "status"];

/// The question of [`typical`].
pub const QUESTION: &str =
    "Do fifty meters keep reporting while the mast falls, the mains fail and a meter is taken over?";

/// Returns a record with fifty nodes, five flows and three faults, which uses everything that a record can contain.
pub fn typical() -> Record {
    sized(50, 6)
}

/// Returns a record with this number of nodes, each with about this number of links.
pub fn sized(count: usize, degree: usize) -> Record {
    let mut lots = Lots(7);
    let nodes: Vec<Node> = (0..count).map(|i| node(i, &mut lots)).collect();
    let mut edges = edges(&nodes, degree, &mut lots);
    let faults = vec![
        Mark { at_s: 300.0, until_s: 480.0, label: "cut mast".into() },
        Mark { at_s: 660.0, until_s: 720.0, label: "power cut east".into() },
        Mark { at_s: 900.0, until_s: 1260.0, label: "hostile meter-7".into() },
    ];
    let frames: Vec<Frame> = (0..70).map(|i| frame(f64::from(i) * 20.0, &nodes, &edges, &mut lots)).collect();
    let samples = samples(edges.len() as u64, &mut lots);
    if let Some(edge) = edges.first_mut() {
        edge.bytes[0] *= 5;
    }
    Record {
        summary: summary(count),
        source: Source {
            file: "mast.toml".into(),
            text: format!("question = \"{QUESTION}\"\nduration = \"20min\"\n\n[group.meter]\ncount = {count}\n"),
            files: BTreeMap::from([("edges.csv".to_owned(), "a,b\nmeter-0,meter-1\n".to_owned())]),
            set: vec!["duration=20min".into()],
            seed: 42,
            version: "0.1.0".into(),
        },
        performance: Performance {
            wall_s: 12.5,
            cpu_s: 12.25,
            peak_rss: 184_000_000,
            events: 2_413_551,
            polls: 9_120_004,
        },
        times: Times { warm_s: WARM, calm_s: CALM, end_s: END, start: "2026-03-01T06:00:00Z".into() },
        nodes,
        bearers: vec!["radio".into(), "lte".into()],
        carriers: vec![Carrier { reach: Some(420.0), price: 0.0 }, Carrier { reach: None, price: 12.5 }],
        spending: spending(count),
        missed: missed(count),
        edges,
        purposes: ["payload", "routing", "admission"].map(str::to_owned).to_vec(),
        samples,
        frames,
        latencies: latencies(),
        faults,
        messages: vec![direct(), publication(count), expired()],
    }
}

/// Returns a run without results: no nodes, no messages, no samples.
pub fn empty() -> Record {
    Record {
        summary: Summary::default(),
        source: Source::default(),
        performance: Performance::default(),
        times: Times::default(),
        nodes: Vec::new(),
        bearers: Vec::new(),
        carriers: Vec::new(),
        spending: Vec::new(),
        missed: Vec::new(),
        edges: Vec::new(),
        purposes: Vec::new(),
        samples: Vec::new(),
        frames: Vec::new(),
        latencies: BTreeMap::new(),
        faults: Vec::new(),
        messages: Vec::new(),
    }
}

/// Returns a run of one node without links, which passes.
pub fn alone() -> Record {
    let mut record = sized(1, 0);
    record.summary.question = "Does one node stay up on its own?".into();
    record.summary.passed = true;
    record.summary.expectations.truncate(1);
    record
        .summary
        .checks
        .iter_mut()
        .for_each(|check| (check.looked, check.violated, check.examples) = (0, 0, Vec::new()));
    record.summary.metrics.insert("violations".into(), 0.0);
    record.summary.metrics.retain(|name, _| !name.starts_with("latency"));
    record.latencies.clear();
    record.messages.clear();
    record.missed.clear();
    record.faults.clear();
    record.samples = vec![Sample::default(), Sample { at_s: END, ..Sample::default() }];
    record
}

/// Returns [`typical`] with all nodes at one point, without messages and faults.
pub fn silent() -> Record {
    let mut record = typical();
    record.nodes.iter_mut().for_each(|node| (node.x, node.y, node.sent, node.received) = (0.0, 0.0, 0, 0));
    record
        .samples
        .iter_mut()
        .for_each(|sample| (sample.sent, sample.delivered, sample.failed, sample.cost) = (0, 0, 0, 0.0));
    record.latencies.clear();
    record.messages.clear();
    record.missed.clear();
    record.faults.clear();
    record.frames.clear();
    record.summary.counters.clear();
    record
}

/// Returns the spending of devices that are all on the radio, and of which every third is on the mobile network too.
fn spending(count: usize) -> Vec<Spending> {
    let of = |node: usize| {
        let bytes = 150_000 + 1_000 * node as u64;
        let radio = Spending { node, bearer: 0, bytes, cost: 0.0 };
        let lte = Spending { node, bearer: 1, bytes: bytes / 2, cost: exact(bytes as f64 / 2e6 * 12.5) };
        [Some(radio), node.is_multiple_of(3).then_some(lte)].into_iter().flatten()
    };
    (0..count).flat_map(of).collect()
}

/// Returns two devices that missed publications, one of which came late.
fn missed(count: usize) -> Vec<Missed> {
    let one = |message: u64, to: usize, late_s: Option<f64>| Missed {
        message,
        flow: "firmware".into(),
        topic: "plant/firmware".into(),
        from: 0,
        to: to % count.max(1),
        at_s: 330.0 + message as f64,
        late_s,
    };
    vec![one(7, 3, None), one(9, 3, Some(12.5)), one(9, 4, None)]
}

fn node(i: usize, lots: &mut Lots) -> Node {
    let (group, name) = match i {
        0..3 => ("gateway", format!("gateway-{i}")),
        i if i % 9 == 0 => ("repeater", format!("repeater-{i}")),
        i => ("meter", format!("meter-{i}")),
    };
    let (x, y) = (exact(lots.next() * 2400.0), exact(lots.next() * 1500.0));
    let bytes = 20_000 + lots.below(900_000) as u64;
    Node { name, group: group.into(), x, y, sent: 40 + lots.below(80) as u64, received: lots.below(200) as u64, bytes }
}

fn edges(nodes: &[Node], degree: usize, lots: &mut Lots) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (a, node) in nodes.iter().enumerate() {
        let far = |b: &usize| ((nodes[*b].x - node.x).powi(2) + (nodes[*b].y - node.y).powi(2)) as u64;
        let mut others: Vec<usize> = (a + 1..nodes.len()).collect();
        others.sort_by_key(far);
        for b in others.into_iter().take(degree) {
            let load = 10f64.powf(2.0 + lots.next() * 4.5);
            let bytes = [load as u64, (load * lots.next()) as u64];
            edges.push(Edge {
                a,
                b,
                bearer: usize::from(a < 3),
                bytes,
                cost: if a < 3 { exact(load / 1e6) } else { 0.0 },
            });
        }
    }
    edges
}

fn frame(at_s: f64, nodes: &[Node], edges: &[Edge], lots: &mut Lots) -> Frame {
    let dark = (660.0..720.0).contains(&at_s);
    let cut = (300.0..480.0).contains(&at_s);
    let state = |i: usize, lots: &mut Lots| match i {
        7 if at_s >= 900.0 => 'h',
        _ if dark && nodes[i].x > 1600.0 => '0',
        _ if i % 11 == 5 && lots.next() < 0.6 => 'z',
        _ => '1',
    };
    let states: Vec<char> = (0..nodes.len()).map(|i| state(i, lots)).collect();
    let load = |edge: &Edge, lots: &mut Lots| {
        let down = states[edge.a] == '0' || states[edge.b] == '0' || (cut && edge.a < 4) || at_s < 20.0;
        let rate = (edge.bytes[0] + edge.bytes[1]) as f64 / END * lots.next() * 30.0;
        let level = if rate < 1.0 { 0 } else { 1 + rate.log10() as u32 };
        if down { '-' } else { char::from_digit(level.min(9), 10).unwrap_or('9') }
    };
    let loads = edges.iter().map(|edge| load(edge, lots)).collect();
    let drift = |i: usize| if i % 10 == 4 { at_s / 4.0 } else { 0.0 };
    let places = nodes.iter().enumerate().map(|(i, node)| (exact(node.x + drift(i)), node.y)).collect();
    Frame { at_s, nodes: states.into_iter().collect(), edges: loads, places }
}

fn samples(links: u64, lots: &mut Lots) -> Vec<Sample> {
    let mut now = Sample { purposes: vec![0; 4], bearers: vec![0; 2], ..Sample::default() };
    (0..SAMPLES)
        .map(|i| {
            now.at_s = i as f64 * 5.0;
            let traffic = (WARM..CALM).contains(&now.at_s);
            let cut = (300.0..480.0).contains(&now.at_s);
            let dark = (660.0..720.0).contains(&now.at_s);
            let sent = if traffic { 20 + lots.below(15) as u64 } else { 0 };
            let lost = if cut { sent / 5 } else { 0 };
            now.sent += sent;
            now.failed += lost;
            now.delivered = (now.delivered + sent - lost).min(now.sent);
            now.reachable = exact(if cut {
                0.71
            } else if dark {
                0.62
            } else {
                (now.at_s / 40.0).min(1.0)
            });
            now.links = if i == 0 { 0 } else { links * if cut || dark { 7 } else { 10 } / 10 };
            now.queued = if cut { now.queued + 6 } else { now.queued * 2 / 3 + lots.below(4) as u64 };
            now.queued_most = now.queued / 3;
            let rates =
                [if traffic { 9000 } else { 0 }, 2500, 1200 + u64::from(cut) * 3000, if i < 8 { 16_000 } else { 150 }];
            for (sum, rate) in now.purposes.iter_mut().zip(rates) {
                *sum += (rate as f64 * 5.0 * (0.7 + 0.6 * lots.next())) as u64 * u64::from(i > 0);
            }
            let all: u64 = now.purposes.iter().sum();
            now.bearers = vec![all - all / 4, all / 4];
            now.cost = exact(all as f64 / 4e6);
            now.clone()
        })
        .collect()
}

fn latencies() -> BTreeMap<String, Vec<(f64, f64)>> {
    let curve = |scale: f64, reached: f64| {
        let point = |i: u32| {
            let part = f64::from(i) / 100.0;
            (exact(scale * (0.3 + part + 0.05 / (1.02 - part).powi(2))), exact(part * reached))
        };
        (1..=100).map(point).collect::<Vec<_>>()
    };
    let flows = [(0.04, 1.0), (0.09, 0.999), (2.5, 0.96), (0.15, 0.985), (0.6, 0.99)];
    let mut curves: BTreeMap<_, _> =
        FLOWS.iter().zip(flows).map(|(name, (scale, reached))| ((*name).to_owned(), curve(scale, reached))).collect();
    curves.insert("all".into(), curve(0.18, 0.984));
    curves
}

fn summary(nodes: usize) -> Summary {
    let verdict = |text: &str, held, found, wanted, margin| Verdict {
        text: text.into(),
        held,
        found,
        wanted,
        decided: None,
        margin,
    };
    let check = |name: &str, promise: &str, looked, examples: &[&str]| Check {
        name: name.into(),
        promise: promise.into(),
        looked,
        violated: examples.len() as u64,
        examples: examples.iter().map(|&example| example.into()).collect(),
    };
    let mut metrics: BTreeMap<String, f64> = [
        ("sent", 6612.0),
        ("delivered", 0.984_375),
        ("delivered.count", 6508.0),
        ("confirmed", 0.981),
        ("expired", 96.0),
        ("refused", 0.0),
        ("duplicates", 0.0),
        ("late", 0.0),
        ("latency.mean", 0.41),
        ("latency.p50", 0.147),
        ("latency.p90", 0.71),
        ("latency.p99", 4.25),
        ("latency.max", 93.5),
        ("bytes.total", 18_240_112.0),
        ("bytes.payload", 10_800_400.0),
        ("bytes.useful", 5_120_000.0),
        ("control.rate", 31.25),
        ("cost.total", 4.75),
        ("reachable.mean", 0.9375),
        ("reachable.min", 0.62),
        ("ready", 41.5),
        ("converged", 12.25),
        ("queue.max", 118.0),
        ("dropped", 214.0),
        ("violations", 2.0),
        ("links.lost", 167.0),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    for (i, flow) in FLOWS.iter().enumerate() {
        metrics.insert(format!("delivered[flow={flow}]"), 1.0 - i as f64 / 256.0);
        metrics.insert(format!("latency.p99[flow={flow}]"), 0.125 * (i + 1) as f64);
    }
    Summary {
        scenario: "mast".into(),
        question: QUESTION.into(),
        seed: 42,
        set: vec!["duration=20min".into()],
        nodes,
        virtual_s: END,
        trace: "9f2c41d07be3a85516c0de92b7714fa3e08d5c6619b24f7ad3350c81e6fb9427".into(),
        passed: false,
        expectations: vec![
            verdict("delivered >= 0.98", true, Some(0.984_375), 0.98, Some(0.004_464)),
            verdict("latency.p99 <= \"2s\"", false, Some(4.25), 2.0, Some(-1.125)),
            verdict("delivered[class=alarm] >= 0.999", true, Some(1.0), 0.999, Some(0.001_001)),
            verdict("cost.total <= 40", true, Some(4.75), 40.0, Some(0.88125)),
            verdict("latency.p99[class=bulk] <= \"1min\"", false, None, 60.0, None),
            verdict("duplicates == 0", true, Some(0.0), 0.0, Some(0.0)),
        ],
        checks: vec![
            check("at-most-once", "No message reaches an application twice.", 6508, &[]),
            check(
                "deadline",
                "Nothing reaches an application after its deadline.",
                6508,
                &[
                    "0:15:22 meter-12 got message 4411 of readings 340 ms late",
                    "0:15:22 meter-31 got message 4412 of readings 350 ms late",
                ],
            ),
            check("custody", "What a node took over is never lost.", 912, &[]),
            check("revoked", "No frame of a revoked device is accepted.", 0, &[]),
        ],
        metrics,
        control: BTreeMap::new(),
        counters: BTreeMap::from([
            ("frames_of_strangers".to_owned(), 31),
            ("queue_full".to_owned(), 160),
            ("stale_announcements".to_owned(), 23),
            ("unknown_topics".to_owned(), 0),
        ]),
        gauges: BTreeMap::from([("inbox".to_owned(), 3)]),
    }
}

fn step(at_s: f64, node: usize, what: &str) -> Step {
    Step { at_s: exact(at_s), node, what: what.into() }
}

fn direct() -> Message {
    let steps = vec![
        step(295.0, 5, "handed over"),
        step(295.012, 5, "durable"),
        step(383.4, 1, "received"),
        step(383.42, 1, "durable"),
        step(388.0, 1, "delivered"),
        step(388.5, 5, "confirmed"),
    ];
    let (flow, outcome, chosen) = ("readings".into(), "delivered".into(), "slowest".into());
    Message { id: 812, flow, size: 240, from: 5, to: Some(1), outcome, chosen, steps }
}

fn publication(nodes: usize) -> Message {
    let mut steps = vec![step(801.0, 0, "handed over"), step(801.003, 0, "durable")];
    for node in 1..nodes.min(60) {
        steps.push(step(801.02 + node as f64 * 0.004, node, "received"));
        steps.push(step(801.09 + node as f64 * 0.004, node, "delivered"));
    }
    steps.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let (flow, chosen) = ("firmware".into(), "typical".into());
    Message { id: 2044, flow, size: 16_384, from: 0, to: None, outcome: String::new(), chosen, steps }
}

fn expired() -> Message {
    let steps = vec![step(671.0, 9, "handed over"), step(671.015, 9, "durable"), step(701.0, 9, "expired")];
    let (flow, outcome, chosen) = ("alarms".into(), "expired".into(), "failed".into());
    Message { id: 1730, flow, size: 64, from: 9, to: Some(0), outcome, chosen, steps }
}
