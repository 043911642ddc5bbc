//! Simulated: the same nodes, links and messages as a plan, and the results of its simulation.

use super::super::failure::Failure;
use super::senders::{Confirmed, Load};
use crate::plan::{Bearer, Device, Edge, Fault, FaultKind, Flow, FlowKind, Layout, Pattern, Plan, Waypoint};
use crate::world;
use m2mesh::id::Name;
use m2mesh::net::emulation::{Recovery, Shape};
use m2mesh::time::{EpochLength, Unix};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// The mesh to be simulated.
#[derive(Clone, Debug)]
pub(super) struct Mesh {
    /// The number of nodes.
    pub(super) nodes: usize,
    /// The pairs of nodes that link.
    pub(super) edges: Vec<(usize, usize)>,
    /// The pairs of sender and receiver.
    pub(super) pairs: Vec<(usize, usize)>,
    /// The shape of all links, in each direction.
    pub(super) shape: Shape,
    /// The time that a disk takes to flush.
    pub(super) flush: Duration,
    /// The time that a node takes for a frame.
    pub(super) processing: Duration,
    /// The rules by which losses are noticed.
    pub(super) transport: Recovery,
    /// A silent cut of all links: its beginning and its length.
    pub(super) cut: Option<(Duration, Duration)>,
    pub(super) seed: u64,
}

/// The number of messages sent, those that were confirmed, and the times of the cut, in seconds after sending began.
pub(super) type Found = (usize, Vec<Confirmed>, Option<(f64, f64)>);

/// Runs the simulation; `directory` takes its temporary files.
pub(super) fn run(mesh: &Mesh, load: Load, directory: &Path) -> Result<Found, Failure> {
    let place = directory.join("events.jsonl");
    let options = world::Options { events: Some(place.clone()), ..world::Options::default() };
    let (progress, _untold) = sync_channel(1);
    let failed =
        |error: String| Failure::new(error, "run it again; if it fails again, that is a defect of the program");
    world::simulate(plan(mesh, load), options, progress).map_err(failed)?;
    let text = std::fs::read_to_string(&place).map_err(|error| failed(error.to_string()))?;
    let events = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let (mut sent, mut confirmed, mut cut) = (BTreeMap::new(), Vec::new(), [None; 2]);
    let begins = WARMUP.as_secs_f64();
    for event in events {
        let Some(at) = event["at"].as_f64().map(|at| at - begins) else { continue };
        let message = event["message"].as_u64();
        match (event["event"].as_str(), message) {
            (Some("sent"), Some(message)) => drop(sent.insert(message, (at, sender(mesh, &event)))),
            (Some("ended"), Some(message)) if event["outcome"] == "delivered" => {
                let begun = sent.get(&message);
                confirmed.extend(begun.map(|(begun, sender)| Confirmed { sender: *sender, at, latency: at - begun }));
            }
            (Some("fault"), _) => cut[0] = Some(at),
            (Some("healed"), _) => cut[1] = Some(at),
            _ => {}
        }
    }
    Ok((sent.len(), confirmed, cut[0].zip(cut[1])))
}

/// Returns the index of the sender to which an event belongs.
fn sender(mesh: &Mesh, event: &serde_json::Value) -> usize {
    let is = |(from, _): &(usize, usize)| event["node"].as_str() == Some(name(*from).as_str());
    mesh.pairs.iter().position(is).unwrap_or_default()
}

fn plan(mesh: &Mesh, load: Load) -> Plan {
    let device = |number: usize| Device {
        name: Name::new(name(number)).expect("a word and a number are a name"),
        group: "node".to_owned(),
        track: vec![Waypoint { at: Duration::ZERO, x: 0.0, y: 0.0 }],
        schedules: Vec::new(),
        power: [0.0; 2],
        battery: None,
        flush: mesh.flush,
        processing: mesh.processing,
        work: Duration::ZERO,
        start_up: Duration::ZERO,
        start_within: Duration::ZERO,
        target_links: 0,
        forwarding: true,
        area: 0,
        roles: 0,
        post: crate::plan::Post::default(),
        offers: Vec::new(),
    };
    let edge = |(a, b): &(usize, usize)| Edge { a: *a, b: *b, bearer: 0, shapes: [mesh.shape; 2], known: true };
    let flow = Flow {
        name: "line".to_owned(),
        from: mesh.pairs.iter().map(|(from, _)| *from).collect(),
        kind: FlowKind::Send(mesh.pairs.iter().map(|(_, to)| vec![*to]).collect()),
        pattern: Pattern::Periodic(load.every),
        daily: None,
        size: load.size,
        ack: Ack::End,
        class: Class::Telemetry,
        policy: None,
        deadline: Duration::from_secs(30),
        begin: Duration::ZERO,
        end: load.length,
    };
    let cut = mesh.cut.map(|(at, length)| Fault {
        label: "cut".to_owned(),
        entry: 0,
        at,
        until: Some(at + length),
        what: FaultKind::Cut { edges: (0..mesh.edges.len()).collect(), silent: true },
    });
    Plan {
        name: "calibration".to_owned(),
        question: "Does the simulation agree with real processes?".to_owned(),
        seed: mesh.seed,
        warmup: WARMUP,
        duration: load.length,
        settle: Duration::from_secs(40),
        epoch: EpochLength::HOUR,
        epochs: 3,
        anonymity: m2mesh::identity::anonymity::Anonymity::Stable,
        start: Unix::from_seconds(START),
        layout: Layout::default(),
        bearers: vec![Bearer { transport: mesh.transport, ..Bearer::wire("lan") }],
        devices: (0..mesh.nodes).map(device).collect(),
        edges: mesh.edges.iter().map(edge).collect(),
        policies: Vec::new(),
        flows: vec![flow],
        faults: cut.into_iter().collect(),
        expectations: Vec::new(),
    }
}

fn name(number: usize) -> String {
    format!("node-{}", number + 1)
}

/// The time in which links come up and sessions are opened.
const WARMUP: Duration = Duration::from_secs(10);
/// 2026-01-05, 00:00 UTC.
const START: u64 = 1_767_571_200;
