//! Medium: the links between devices, and what their traffic costs.
//!
//! Two devices can link over an *edge*: a bearer between them with a [`Shape`] in each direction. An edge is open,
//! closed (both ends know at once: connections are reset, dials fail) or silent (bytes vanish, until the edge is open
//! again and they are sent once more, or the ends give up by their own time-outs). The state follows from all
//! influences on it: faults, access windows, reach, and whether its ends are awake and have power.
//!
//! A connection has a [`Shaper`](m2mesh::net::emulation::Shaper) of its own in each direction, the model of lines that
//! a lab uses on real connections too; in addition, devices within reach of each other on a bearer with a shared
//! channel wait for each other (`air`). Bytes are counted with the overhead that they have on a real link, by edge,
//! bearer and purpose, and hashed ([`Trace`]) with their time and ends.
//!
//! Files: `air` interference on one channel · `books` bytes, money and energy · `classes` classes of messages ·
//! `connection` two ends · `stream` bytes in one direction · `transport` libp2p's view · `purpose` purposes of bytes ·
//! `kinds` kinds of control frames · `frames` whole frames, for hostile members · `path` changed paths · `pester` requests without end · `lie` false
//! LSAs · `processor` processing times of frames · `tell` figures of the medium · `seen` the witness's view · `standing`
//! the links that stand, and that could · `trace` the hash · `capture` a link's bytes in a file.
//!
//! Invariants
//! 1. Bytes of a stream arrive in order, or the connection is reset.
//! 2. Bytes over an edge that was not open when they were sent arrive only after it has been open again.

mod air;
mod books;
mod capture;
mod classes;
mod connection;
mod frames;
mod kinds;
mod lie;
mod path;
mod pester;
mod processor;
mod purpose;
mod seen;
mod standing;
mod stream;
mod tell;
#[cfg(test)]
mod tests;
mod trace;
mod transport;

pub use super::clock::{NANOS, now};
pub use books::{Bill, Tally};
pub use capture::Capture;
pub use kinds::Kinds;
pub use lie::Liar;
pub use purpose::{PURPOSES, Purpose};
pub use standing::Turned;
pub use tell::{Spent, Watch};
pub use transport::{SimTransport, address, network, place};

use super::executor::Owner;
use super::onlooker::Onlooker;
use super::witness::Witness;
use crate::plan::{self, Hostility};
use air::{Air, Frame};
use books::{Amount, Tariff, on_the_wire};
use connection::Connection;
use libp2p::PeerId;
use m2mesh::net::emulation::{Recovery, Shape};
use m2mesh::wire::data::Class;
use processor::Processor;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
use trace::Trace;

/// A medium: see the module's documentation. Clones share it.
#[derive(Clone)]
pub struct Medium(Arc<Mutex<State>>);

struct State {
    trace: Trace,
    seed: u64,
    bearers: Vec<Bearer>,
    edges: Vec<Edge>,
    /// The edges by dialling device, other device and bearer.
    ends: BTreeMap<(usize, usize, usize), usize>,
    devices: Vec<Device>,
    purposes: [u64; PURPOSES.len()],
    kinds: Kinds,
    classes: [Bill; Class::ALL.len()],
    watch: Watch,
    witness: Witness,
    capture: Option<Capture>,
    onlooker: Option<Box<Onlooker>>,
    /// The number of connections so far.
    connections: u64,
}

struct Bearer {
    tariff: Tariff,
    recovery: Recovery,
    reach: Option<f64>,
    /// Whether it is within its access windows.
    open: bool,
    air: Air,
    all: Amount,
    /// The part of the traffic that is on streams of messages.
    payload: Amount,
}

struct Edge {
    a: usize,
    b: usize,
    bearer: usize,
    shapes: [Shape; 2],
    /// The planned shapes, to which degraded edges return.
    planned: [Shape; 2],
    known: bool,
    /// The numbers of reasons for which it is closed, and in the next field silent.
    closed: u32,
    silent: u32,
    sent: [Amount; 2],
    /// The number of links that cuts have taken down, and of dials and pieces that were lost to them.
    struck: u64,
    connections: Vec<Weak<Connection>>,
    /// The number of connections that carry frames.
    standing: u32,
    /// The time since which it could carry frames and does not, in nanoseconds.
    missing_since: u64,
    /// The time at which it has ceased to carry frames, in nanoseconds.
    fell: u64,
    /// Whether it does not since an end has left its former pseudonym.
    turned: bool,
}

#[derive(Default)]
struct Device {
    listening: BTreeMap<usize, Arc<Listener>>,
    /// The number of reasons for which it is without power or asleep: nothing reaches it, and its neighbours are not
    /// told.
    dark: u32,
    /// Whether its process is not expected to run.
    gone: bool,
    hostile: Option<Hostility>,
    /// The data frames that it keeps to send again, by neighbour.
    again: BTreeMap<usize, frames::Again>,
    /// Whether it is hostile at some time of the run.
    turns: bool,
    /// The keys of the networks that it has left for others, since its pseudonym has changed.
    left: BTreeSet<PeerId>,
    /// The times within the last second at which a link of it came up.
    came: VecDeque<u64>,
    /// Whether the operator has revoked it, so that nobody is to link with it.
    revoked: bool,
    liar: Option<Arc<Mutex<Liar>>>,
    processor: Arc<Processor>,
    foreign: bool,
    place: (f64, f64),
    bytes: u64,
    cost: f64,
    /// The joules that its radios have taken, for what they sent and what they received.
    joules: [f64; 2],
    /// The number of frames that it kept, changed, delayed or sent too often; for a stranger, the number of its dials.
    misdeeds: u64,
}

/// The place at which a device accepts connections.
struct Listener {
    peer: PeerId,
    owner: Option<Owner>,
    queue: Mutex<Arrivals>,
}

/// The connections that wait to be accepted, each with the index and the peer id of its device, and the task that
/// accepts them.
#[derive(Default)]
struct Arrivals {
    connections: VecDeque<(usize, PeerId, Arc<Connection>)>,
    taker: Option<Waker>,
}

/// The state of an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It carries bytes.
    Open,
    /// It carries nothing, and both ends know.
    Closed,
    /// It carries nothing, and neither end is told.
    Silent,
}

/// How a line takes a piece of a stream's bytes.
struct Sent {
    /// The time at which the line takes it, in nanoseconds; `None` if the edge is silent.
    start: Option<u64>,
    shape: Shape,
    /// Whether the transport has given up.
    lost: bool,
}

impl Medium {
    /// Returns a medium whose edges are open, on which no device listens. The `foreign` devices come after those of the
    /// plan, each with edges to the given devices.
    pub fn new(plan: &plan::Plan, foreign: &[Vec<usize>]) -> Self {
        let bearer = |(number, bearer): (usize, &plan::Bearer)| Bearer {
            tariff: Tariff::new(bearer),
            recovery: bearer.transport,
            reach: bearer.reach,
            open: true,
            air: Air::new(bearer, number, plan.seed),
            all: Amount::default(),
            payload: Amount::default(),
        };
        let count = plan.devices.len() + foreign.len();
        let mut state = State {
            trace: Trace::new(),
            seed: plan.seed,
            bearers: plan.bearers.iter().enumerate().map(bearer).collect(),
            edges: Vec::with_capacity(plan.edges.len()),
            ends: BTreeMap::new(),
            devices: (0..count).map(|_| Device::default()).collect(),
            purposes: [0; PURPOSES.len()],
            kinds: Kinds::new(),
            classes: Default::default(),
            watch: Watch::default(),
            witness: Witness::new(plan),
            capture: None,
            onlooker: None,
            connections: 0,
        };
        for edge in &plan.edges {
            // Devices that segments part do not link, whatever they know.
            let known = edge.known && plan.layout.may_send(edge.a, edge.b);
            state.add_edge(edge.a, edge.b, edge.bearer, edge.shapes, known);
        }
        for (number, victims) in foreign.iter().enumerate() {
            let stranger = plan.devices.len() + number;
            state.devices[stranger].foreign = true;
            for victim in victims {
                let like = plan.edges.iter().find(|edge| edge.a == *victim || edge.b == *victim);
                let (bearer, shapes) = like.map_or((0, [Shape::default(); 2]), |edge| (edge.bearer, edge.shapes));
                state.add_edge(stranger, *victim, bearer, shapes, false);
            }
        }
        for (device, planned) in plan.devices.iter().enumerate() {
            state.devices[device].place = planned.track.first().map_or((0.0, 0.0), |point| (point.x, point.y));
            state.devices[device].processor = Arc::new(Processor::new(super::nanos(planned.processing)));
        }
        for fault in &plan.faults {
            if let plan::FaultKind::Hostile { devices, .. } = &fault.what {
                devices.iter().for_each(|device| state.devices[*device].turns = true);
            }
        }
        let medium = Self(Arc::new(Mutex::new(state)));
        for edge in 0..plan.edges.len() {
            medium.measure(edge);
        }
        medium
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change on which states depend, and carries out its consequences for these edges.
    fn change(&self, edges: impl IntoIterator<Item = usize>, change: impl FnOnce(&mut State)) {
        let edges: Vec<usize> = edges.into_iter().collect();
        let (before, missing): (Vec<_>, Vec<_>) = {
            let state = self.lock();
            edges.iter().map(|edge| (state.verdict(*edge), state.is_missing(*edge))).unzip()
        };
        change(&mut self.lock());
        for ((edge, before), missing) in edges.into_iter().zip(before).zip(missing) {
            let (after, connections) = {
                let mut state = self.lock();
                state.note_missing(edge, missing);
                let after = state.verdict(edge);
                let connections: Vec<_> = state.edges[edge].connections.iter().filter_map(Weak::upgrade).collect();
                (after, connections)
            };
            for connection in connections {
                match after {
                    Verdict::Closed => connection.reset(),
                    Verdict::Open if before == Verdict::Silent => connection.release(),
                    Verdict::Open | Verdict::Silent => {}
                }
            }
        }
    }

    /// Adds or removes a reason for an edge to be closed or silent.
    pub fn cut(&self, edge: usize, silent: bool, add: bool) {
        self.change([edge], |state| {
            let open = state.verdict(edge) == Verdict::Open;
            let edge = &mut state.edges[edge];
            edge.struck += u64::from(add && open && edge.standing > 0);
            let reasons = if silent { &mut edge.silent } else { &mut edge.closed };
            *reasons = if add { *reasons + 1 } else { reasons.saturating_sub(1) };
        });
    }

    /// Notes that a device loses power or falls asleep, or comes back.
    pub fn set_dark(&self, device: usize, dark: bool) {
        self.change(self.edges_of(device), |state| {
            let reasons = &mut state.devices[device].dark;
            *reasons = if dark { *reasons + 1 } else { reasons.saturating_sub(1) };
        });
    }

    /// Notes whether a device's process is expected to run.
    pub fn set_gone(&self, device: usize, gone: bool) {
        self.change(self.edges_of(device), |state| state.devices[device].gone = gone);
    }

    /// Notes that a bearer's access window begins or ends. Its lines open with it, and are shut by [`Self::set_open`].
    pub fn set_window(&self, bearer: usize, open: bool) {
        self.lock().witness.note_window(bearer, open);
        if open {
            self.set_open(bearer, true);
        }
    }

    /// Opens or shuts a bearer.
    pub fn set_open(&self, bearer: usize, open: bool) {
        let edges = {
            let state = self.lock();
            (0..state.edges.len()).filter(|edge| state.edges[*edge].bearer == bearer).collect::<Vec<_>>()
        };
        self.change(edges, |state| state.bearers[bearer].open = open);
    }

    /// Moves devices, and updates the edges whose reach this changes.
    pub fn set_places(&self, places: &[(usize, (f64, f64))]) {
        {
            let mut state = self.lock();
            for (device, place) in places {
                state.devices[*device].place = *place;
            }
        }
        let edges: std::collections::BTreeSet<usize> =
            places.iter().flat_map(|(device, _)| self.edges_of(*device)).collect();
        for edge in edges {
            self.measure(edge);
        }
    }

    /// Determines whether an edge's ends are within reach. The top bit of the reasons for silence is distance.
    fn measure(&self, edge: usize) {
        let (far, was) = {
            let state = self.lock();
            let known = &state.edges[edge];
            let Some(reach) = state.bearers[known.bearer].reach else { return };
            let ((x, y), (to_x, to_y)) = (state.devices[known.a].place, state.devices[known.b].place);
            ((x - to_x).hypot(y - to_y) > reach, known.silent & FAR != 0)
        };
        if far != was {
            self.change([edge], |state| state.edges[edge].silent ^= FAR);
        }
    }

    /// Sets the shapes of an edge from now on; `None` in a direction restores the planned shape.
    pub fn set_shapes(&self, edge: usize, shapes: [Option<Shape>; 2]) {
        let edge = &mut self.lock().edges[edge];
        edge.shapes = [0, 1].map(|direction| shapes[direction].unwrap_or(edge.planned[direction]));
    }

    /// Makes a member hostile, or ends its hostility.
    pub fn set_hostile(&self, device: usize, hostile: Option<Hostility>) {
        self.lock().devices[device].hostile = hostile;
    }

    /// Returns whether a device lies about its links at some time of the run.
    pub fn may_lie(&self, device: usize) -> bool {
        self.lock().devices[device].turns
    }

    /// Notes that a device's node starts, which signs with these keys.
    pub fn set_liar(&self, device: usize, liar: Liar) {
        self.lock().devices[device].liar = Some(Arc::new(Mutex::new(liar)));
    }

    fn processor(&self, device: usize) -> Arc<Processor> {
        self.lock().devices[device].processor.clone()
    }

    /// Returns the rules by which connections over an edge notice losses.
    fn recovery(&self, edge: usize) -> Recovery {
        let state = self.lock();
        state.bearers[state.edges[edge].bearer].recovery
    }

    fn edges_of(&self, device: usize) -> Vec<usize> {
        let state = self.lock();
        state.ends.range((device, 0, 0)..(device + 1, 0, 0)).map(|(_, edge)| *edge).collect()
    }

    /// Puts bytes of a stream onto an edge: counts and hashes them, and returns when and how the line takes them.
    fn send(&self, edge: usize, direction: usize, bytes: &[u8], purpose: Purpose) -> Sent {
        let mut state = self.lock();
        let state = &mut *state;
        let now = now();
        let known = &mut state.edges[edge];
        let (from, to) = if direction == 0 { (known.a, known.b) } else { (known.b, known.a) };
        let shape = known.shapes[direction];
        state.trace.add(now, from, to, bytes);
        let length = on_the_wire(bytes.len()) as u64;
        let bearer = &mut state.bearers[known.bearer];
        let amount = bearer.tariff.amount(length);
        known.sent[direction] += amount;
        bearer.all += amount;
        bearer.payload += if purpose == Purpose::Payload { amount } else { Amount::default() };
        state.devices[from].bytes += length;
        state.devices[from].cost += bearer.tariff.cost(amount);
        state.purposes[purpose as usize] += length;
        let places = [from, to].map(|device| state.devices[device].place);
        let sending = bearer.air.send(&Frame { edge, places, length, shape }, now);
        let [transmit, receive] = bearer.tariff.energy.map(|joules| joules * length as f64);
        state.devices[from].joules[0] += transmit * f64::from(sending.again + 1);
        let open = state.verdict(edge) == Verdict::Open;
        state.devices[to].joules[1] += if open { receive } else { 0.0 };
        if !open && state.is_cut(edge) {
            state.edges[edge].struck += 1;
        }
        Sent { start: open.then_some(sending.at), shape, lost: open && sending.lost }
    }
}

impl State {
    fn add_edge(&mut self, a: usize, b: usize, bearer: usize, shapes: [Shape; 2], known: bool) {
        let edge = self.edges.len();
        self.ends.insert((a, b, bearer), edge);
        self.ends.insert((b, a, bearer), edge);
        self.edges.push(Edge {
            a,
            b,
            bearer,
            shapes,
            planned: shapes,
            known,
            closed: 0,
            silent: 0,
            sent: Default::default(),
            struck: 0,
            connections: Vec::new(),
            standing: 0,
            missing_since: now(),
            fell: 0,
            turned: false,
        });
        self.watch.missing += u64::from(known);
    }

    fn verdict(&self, edge: usize) -> Verdict {
        let edge = &self.edges[edge];
        if self.devices[edge.a].dark + self.devices[edge.b].dark + edge.silent > 0 {
            Verdict::Silent
        } else if edge.closed > 0 || !self.bearers[edge.bearer].open {
            Verdict::Closed
        } else {
            Verdict::Open
        }
    }

    /// Returns whether a fault keeps an edge from carrying anything.
    fn is_cut(&self, edge: usize) -> bool {
        let edge = &self.edges[edge];
        edge.closed > 0 || edge.silent & !FAR > 0
    }
}

/// The reason for silence that is distance.
const FAR: u32 = 1 << 31;
