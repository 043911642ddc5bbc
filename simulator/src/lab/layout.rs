//! Layout: a plan in the form that a lab can carry out, and the parts of it that a lab cannot.
//!
//! Devices become `node-1`, `node-2` and so on, in their order. Each pair of devices with an edge becomes a link of the
//! lab's topology, and the edge's shapes become those of the link's two directions. Messages travel as text, each on
//! one line. The ledger therefore uses three of four bytes of a flow's size, and the lines are as long as the scenario
//! says.
//!
//! The parts that a lab cannot carry out are listed in sentences ([`Beyond`]), each with the replacement that is used
//! if it is left out. No part is left out without being listed.
//!
//! Invariants
//! 1. The resulting plan contains no part that is [`Beyond`], and the same devices and flows, in their order.
//! 2. Each pair of devices has at most one edge, and all edges are known from the start and within reach.

use super::measured::is_measured;
use crate::plan::{Bearer, Edge, Fault, FaultKind, FlowKind, Pattern, Plan, Post};
use crate::scenario::Problem;
use crate::world::ledger::LEAST_SIZE;
use m2mesh::id::Name;
use m2mesh::link::windows::Windows;
use m2mesh::net::emulation::Shape;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A plan in the form that a lab can carry out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The plan, with the names that its devices have in the lab.
    pub plan: Plan,
    /// The names of the devices in the scenario, by device.
    pub names: Vec<String>,
    /// The parts that a lab cannot carry out.
    pub beyond: Vec<Beyond>,
}

/// A part of a scenario that a lab cannot carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beyond {
    /// The part and its place.
    pub what: String,
    /// The replacement that is used if it is left out.
    pub instead: &'static str,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; without it, {}", self.what, self.instead)
    }
}

/// Lays a plan out. `most` shortens the measured time. An error says what no lab can carry out at all.
pub fn lay_out(plan: Plan, most: Option<Duration>) -> Result<Layout, Problem> {
    let names: Vec<String> = plan.devices.iter().map(|device| device.name.to_string()).collect();
    if names.len() > MOST_DEVICES {
        return Err(Problem::new(
            format!("the scenario has {} devices, and a lab on one machine takes {MOST_DEVICES} at most", names.len()),
            "lower a count, as with --set devices.node.count=12, or run it simulated with `m2mesh-sim run`",
        ));
    }
    let mut layout = Layout { plan, names, beyond: Vec::new() };
    layout.shorten(most);
    layout.settle_devices();
    layout.settle_bearers();
    let kept = layout.settle_edges();
    layout.settle_policies();
    layout.settle_realm();
    layout.settle_flows();
    layout.settle_faults(&kept);
    layout.settle_expectations();
    layout.settle_texts();
    for (number, device) in layout.plan.devices.iter_mut().enumerate() {
        device.name = Name::new(node(number)).expect("a word and a number are a name");
    }
    layout.bound()?;
    Ok(layout)
}

/// Returns the name of a device in a lab.
pub fn node(device: usize) -> String {
    format!("node-{}", device + 1)
}

/// Returns the index of a device by its name in a lab.
pub fn device(node: &str) -> Option<usize> {
    node.strip_prefix("node-")?.parse::<usize>().ok()?.checked_sub(1)
}

impl Layout {
    fn tell(&mut self, what: impl Into<String>, instead: &'static str) {
        self.beyond.push(Beyond { what: what.into(), instead });
    }

    /// Ends the measured time sooner, and leaves out the faults that would come after its end.
    fn shorten(&mut self, most: Option<Duration>) {
        let Some(most) = most.filter(|most| *most < self.plan.duration) else { return };
        self.plan.duration = most;
        self.plan.faults.retain(|fault| fault.at < most);
    }

    fn settle_devices(&mut self) {
        let devices = &mut self.plan.devices;
        let areas = devices.iter().any(|device| device.area != devices[0].area);
        type Which = fn(&crate::plan::Device) -> bool;
        let kinds: [(Which, &str, &'static str); 11] = [
            (|device| device.track.len() > 1, "move", "they stay where they are at the start"),
            (|device| !device.schedules.is_empty(), "sleep", "they are always awake"),
            (|device| device.post.takes, "take mail", "nobody keeps any for them"),
            (|device| device.roles != 0, "have roles", "they have none"),
            (|device| device.battery.is_some(), "have batteries", "they never run out"),
            (|device| !device.work.is_zero(), "work on what they are sent", "they take it at once"),
            (|device| !device.start_within.is_zero(), "wait before they dial", "they dial at once"),
            (|device| !device.start_up.is_zero(), "have applications that start later", "they start at once"),
            (|device| !device.forwarding, "are leaves", "they forward as all others do"),
            (|device| device.area != 0, "are in areas", "all are in one"),
            (|device| device.target_links > 0, "look for links", "they have those of the scenario alone"),
        ];
        let mut found = Vec::new();
        for (is, what, instead) in kinds {
            let these: Vec<&str> =
                devices.iter().zip(&self.names).filter(|(device, _)| is(device)).map(|(_, name)| &**name).collect();
            // If all devices are in one area, its number does not matter.
            if !these.is_empty() && (what != "are in areas" || areas) {
                found.push((format!("{} {what}", listed(&these)), instead));
            }
        }
        for device in devices.iter_mut() {
            device.track.truncate(1);
            device.schedules.clear();
            (device.roles, device.post) = (0, Post::default());
            (device.battery, device.forwarding, device.area, device.target_links) = (None, true, 0, 0);
        }
        found.into_iter().for_each(|(what, instead)| self.tell(what, instead));
    }

    fn settle_bearers(&mut self) {
        let used: BTreeSet<usize> = self.plan.edges.iter().map(|edge| edge.bearer).collect();
        type Which = fn(&Bearer) -> bool;
        let kinds: [(Which, &str, &'static str); 6] = [
            (
                |bearer| !bearer.windows.is_empty(),
                "has times of the day in which it may be used",
                "it may always be used",
            ),
            (|bearer| bearer.quota.is_some(), "has a quota", "it has none"),
            (|bearer| bearer.duty.is_some(), "has a duty cycle", "it has none"),
            (|bearer| bearer.channel.is_some(), "is a shared channel", "each link has its line to itself"),
            (|bearer| bearer.bursts.is_some(), "loses in bursts", "it loses what its lines lose"),
            (|bearer| bearer.price_packet > 0.0, "has a price for each packet", "its bytes alone have a price"),
        ];
        let mut found = Vec::new();
        for (number, bearer) in self.plan.bearers.iter_mut().enumerate() {
            if used.contains(&number) {
                let has = kinds.iter().filter(|(is, ..)| is(bearer));
                found.extend(has.map(|(_, what, instead)| (format!("the bearer {} {what}", bearer.name), *instead)));
            }
            bearer.windows = Windows::default();
            (bearer.quota, bearer.channel, bearer.collisions, bearer.bursts) = (None, None, None, None);
            bearer.duty = None;
            bearer.price_packet = 0.0;
        }
        found.into_iter().for_each(|(what, instead)| self.tell(what, instead));
    }

    /// Reduces the edges to one for each pair. Returns, for each edge of the scenario, the index of the edge that
    /// replaces it.
    fn settle_edges(&mut self) -> Vec<Option<usize>> {
        let (mut kept, mut edges, mut pairs) = (Vec::new(), Vec::<Edge>::new(), BTreeSet::new());
        let (mut second, mut unknown, mut odd) = (Vec::new(), Vec::new(), Vec::new());
        for edge in &self.plan.edges {
            let name = format!("{}–{}", self.names[edge.a], self.names[edge.b]);
            let bearer = &self.plan.bearers[edge.bearer];
            let far = bearer.reach.is_some_and(|reach| self.apart(edge) > reach);
            if far || !pairs.insert((edge.a.min(edge.b), edge.a.max(edge.b))) {
                second.extend((!far).then_some(name));
                kept.push(None);
                continue;
            }
            let mut edge = edge.clone();
            if !std::mem::replace(&mut edge.known, true) {
                unknown.push(name.clone());
            }
            for shape in &mut edge.shapes {
                let told = Shape { price: bearer.told_price(), ..*shape };
                *shape = if told.check().is_ok() { told } else { Shape { price: told.price, ..Shape::default() } };
                odd.extend(told.check().is_err().then(|| name.clone()));
            }
            kept.push(Some(edges.len()));
            edges.push(edge);
        }
        self.plan.edges = edges;
        let mut say = |names: Vec<String>, one: &str, instead| {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.tell(format!("{}: {one}", listed(&names)), instead);
            }
        };
        say(second, "two devices are linked over several bearers", "they have the first of these links");
        say(unknown, "devices find the link by themselves", "they know it from the start");
        say(odd, "the line is slower, or loses more, than a lab's links can", "it is as good as memory");
        kept
    }

    fn apart(&self, edge: &Edge) -> f64 {
        let place =
            |device: usize| self.plan.devices[device].track.first().map_or((0.0, 0.0), |point| (point.x, point.y));
        let (a, b) = (place(edge.a), place(edge.b));
        (a.0 - b.0).hypot(a.1 - b.1)
    }

    fn settle_policies(&mut self) {
        let own: BTreeSet<String> = self.plan.policies.drain(..).map(|policy| policy.name).collect();
        if own.is_empty() {
            return;
        }
        for flow in &mut self.plan.flows {
            flow.policy.take_if(|policy| own.contains(policy));
        }
        let names: Vec<&str> = own.iter().map(String::as_str).collect();
        self.tell(format!("the policies {} are the scenario's own", listed(&names)), "the usual ones hold");
    }

    /// Has flows to any device and to all go to devices that are named.
    fn settle_flows(&mut self) {
        let (everybody, mut found) = ((0..self.names.len()).collect::<Vec<_>>(), Vec::new());
        for device in &mut self.plan.devices {
            device.offers.clear();
        }
        for flow in &mut self.plan.flows {
            let (kind, what, instead) = match &flow.kind {
                FlowKind::Any { servers, request, .. } => {
                    let to = vec![servers.clone(); flow.from.len()];
                    let kind = if *request { FlowKind::Request(to) } else { FlowKind::Send(to) };
                    (kind, "goes to any device that offers a service", "one of them is drawn for each message")
                }
                FlowKind::Broadcast => {
                    let kind = FlowKind::Publish { topics: vec!["all/devices".into()], subscribers: everybody.clone() };
                    (kind, "goes to all devices", "it is published to them")
                }
                FlowKind::Send(_) | FlowKind::Request(_) | FlowKind::Publish { .. } => continue,
            };
            flow.kind = kind;
            found.push((format!("the flow {} {what}", flow.name), instead));
        }
        found.into_iter().for_each(|(what, instead)| self.tell(what, instead));
    }

    fn settle_realm(&mut self) {
        if !std::mem::take(&mut self.plan.layout).is_plain() {
            let what = "the realm has segments, or groups whose readers are listed";
            self.tell(what, "all devices are in one segment, and read all groups");
        }
    }

    fn settle_faults(&mut self, kept: &[Option<usize>]) {
        let (mut beyond, mut faults) = (BTreeMap::<usize, (String, &'static str)>::new(), Vec::new());
        for fault in std::mem::take(&mut self.plan.faults) {
            let why = match &fault.what {
                FaultKind::BatteryEmpty(_) => "a lab's devices have no batteries",
                FaultKind::ClockStep { .. } | FaultKind::ClockDrift { .. } => {
                    "a lab's devices have the machine's clock"
                }
                FaultKind::DiskFull(_) => "a lab's devices have the machine's disk",
                FaultKind::Hostile { .. } => "a lab has no members that have been taken over",
                FaultKind::Stranger(_) | FaultKind::Impostor(_) => "a lab has no devices of other realms",
                FaultKind::Revoke { .. } => "a lab has no operator",
                _ => {
                    faults.push(remapped(fault, kept));
                    continue;
                }
            };
            beyond.entry(fault.entry).or_insert_with(|| (fault.label.clone(), why));
        }
        self.plan.faults = faults;
        for (label, why) in beyond.into_values() {
            self.tell(format!("the fault “{label}”: {why}"), "it does not happen");
        }
    }

    fn settle_expectations(&mut self) {
        let all = &self.plan.expectations;
        let some = all.iter().flat_map(|expected| std::iter::once(expected).chain(&expected.or));
        if !all.is_empty() && !some.map(|expected| &expected.metric).any(|metric| is_measured(metric)) {
            let what = "none of what is expected can be measured in a lab".to_owned();
            self.tell(what, "it says what was measured, and answers nothing");
        }
    }

    fn settle_texts(&mut self) {
        let bytes = |text: usize| (text * 3 / 4).max(LEAST_SIZE);
        for flow in &mut self.plan.flows {
            flow.size = bytes(flow.size);
            if let Pattern::Trace(lines) = &mut flow.pattern {
                lines.iter_mut().for_each(|line| line.size = bytes(line.size));
            }
        }
    }

    /// Checks that every node can serve all streams that it needs at the same time.
    fn bound(&self) -> Result<(), Problem> {
        for device in 0..self.names.len() {
            let streams = self.streams(device);
            if streams > MOST_STREAMS {
                return Err(Problem::new(
                    format!(
                        "{} would send and listen on {streams} ways at a time, and a node serves {MOST_STREAMS} of one program",
                        self.names[device]
                    ),
                    "let it send to fewer others, or leave out flows",
                ));
            }
        }
        Ok(())
    }

    /// Returns the number of receivers and topics to which a device sends, plus those to which it listens.
    fn streams(&self, device: usize) -> usize {
        let flows = self.plan.flows.iter().map(|flow| {
            let place = flow.from.iter().position(|from| *from == device);
            match &flow.kind {
                FlowKind::Send(to) => place.and_then(|place| to.get(place)).map_or(0, Vec::len),
                FlowKind::Request(to) => usize::from(to.iter().any(|to| to.contains(&device))),
                FlowKind::Publish { topics, subscribers } => {
                    topics.len() * (usize::from(place.is_some()) + usize::from(subscribers.contains(&device)))
                }
                FlowKind::Any { .. } | FlowKind::Broadcast => 0,
            }
        });
        1 + flows.sum::<usize>()
    }
}

/// Returns a fault with the indices of the edges that replace its own.
fn remapped(mut fault: Fault, kept: &[Option<usize>]) -> Fault {
    if let FaultKind::Cut { edges, .. } | FaultKind::Flap { edges, .. } | FaultKind::Degrade { edges, .. } =
        &mut fault.what
    {
        *edges = edges.iter().filter_map(|edge| kept.get(*edge).copied().flatten()).collect();
    }
    fault
}

/// Lists names in a sentence, the first few of many.
fn listed(names: &[&str]) -> String {
    match names.split_at_checked(NAMED) {
        Some((first, more)) if !more.is_empty() => format!("{} and {} more", first.join(", "), more.len()),
        _ => names.join(", "),
    }
}

/// The number of devices of a lab: each is a process, and all share one machine.
pub const MOST_DEVICES: usize = 20;
/// The number of streams of one program that a node serves, out of the 96 that its local API grants, with room for
/// requests.
const MOST_STREAMS: usize = 64;
/// The number of names that are listed.
const NAMED: usize = 3;

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
