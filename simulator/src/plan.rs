//! Plan: a scenario worked out for one seed, as the world takes it.
//!
//! A scenario says "forty meters, scattered"; a plan says which meter stands where, who can link with whom, and when each
//! fault strikes. Everything that is drawn by lot is drawn here, from the seed, but for what happens at run time (jitter,
//! losses, the moment of each message), which the world draws from seeds of its own made from the same.
//!
//! Invariants
//! 1. The same scenario with the same settings and seed gives the same plan.
//! 2. Every index is in range; every device's name is a [`Name`]; edges join two different devices, each pair at most once
//!    on a bearer; times of faults lie within the run.

use m2mesh::id::Name;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::net::emulation::Recovery;
use m2mesh::net::emulation::Shape;
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::time::{EpochLength, Unix};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::lsa;
use std::time::Duration;

mod daily;
mod track;

pub use daily::{DAY, Daily};
pub use track::place;

/// One run, worked out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name: its file's, without the ending.
    pub name: String,
    /// What it asks.
    pub question: String,
    /// What everything is drawn from.
    pub seed: u64,
    /// Links come up; nothing is measured.
    pub warmup: Duration,
    /// Traffic, faults, measurement.
    pub duration: Duration,
    /// Afterwards: what is under way ends, what was broken heals.
    pub settle: Duration,
    /// Length of an epoch.
    pub epoch: EpochLength,
    /// Epochs for which devices begin with credentials.
    pub epochs: usize,
    /// For how long devices are known by one pseudonym.
    pub anonymity: Anonymity,
    /// Wall time at the start.
    pub start: Unix,
    /// What carries bits.
    pub bearers: Vec<Bearer>,
    /// Who takes part.
    pub devices: Vec<Device>,
    /// Who can link with whom.
    pub edges: Vec<Edge>,
    /// Policies that every device knows besides the usual ones.
    pub policies: Vec<NamedPolicy>,
    /// What is sent.
    pub flows: Vec<Flow>,
    /// What goes wrong, in the order of its time.
    pub faults: Vec<Fault>,
    /// What is expected.
    pub expectations: Vec<Expectation>,
}

/// What carries bits.
#[derive(Clone, Debug, PartialEq)]
pub struct Bearer {
    /// `radio`, `lte`.
    pub name: String,
    /// Units of money for a megabyte (10⁶ bytes) sent.
    pub price: f64,
    /// Units of money for each packet of at most `mtu` bytes, besides.
    pub price_packet: f64,
    /// Bits a second for all who share the channel; `None` where links have theirs to themselves.
    pub channel: Option<u64>,
    /// The chance that a frame is lost which comes to its receiver while another does; `None` where none collide.
    pub collisions: Option<f64>,
    /// When and how it is worse than its lines say.
    pub bursts: Option<Bursts>,
    /// The transport of links, which says how losses are noticed.
    pub transport: Recovery,
    /// Joules for a byte sent, and for one received.
    pub transmit: f64,
    /// See `transmit`.
    pub receive: f64,
    /// Metres over which it reaches; `None` for any distance.
    pub reach: Option<f64>,
    /// Times of the day, from and to after midnight UTC, in which it may be used; none for always.
    pub windows: Vec<(Duration, Duration)>,
    /// Its class, of which nodes tell each other.
    pub class: lsa::Bearer,
    /// Millijoules for a megabyte, as nodes reckon.
    pub energy: u32,
    /// Bytes of the largest packet, as nodes reckon; `None` for no limit.
    pub mtu: Option<u32>,
    /// Bits a second of a link, as nodes reckon; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that a node may spend, and the time after which it may spend them again.
    pub quota: Option<(u64, Duration)>,
    /// Whether bytes count, so that less is said over it.
    pub metered: bool,
    /// How long nodes give each half of a connection's set-up, and let a link rest before they ping it; by class and price
    /// where that is not said.
    pub setup: Option<Duration>,
    /// See `setup`.
    pub keep_alive: Option<Duration>,
}

impl Bearer {
    /// The price that nodes are told, in micro-units of money a megabyte. They know prices of bytes alone: that of a packet is told as if all
    /// were full.
    pub fn told_price(&self) -> u64 {
        let packets = 1e6 / f64::from(self.mtu.unwrap_or(m2mesh::net::emulation::MTU as u32).max(1));
        ((self.price + packets * self.price_packet) * 1e6).round() as u64
    }

    /// Whether anything on it costs money.
    pub fn is_priced(&self) -> bool {
        self.price > 0.0 || self.price_packet > 0.0
    }

    /// A wire without a price.
    pub fn wire(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            price: 0.0,
            price_packet: 0.0,
            channel: None,
            collisions: None,
            bursts: None,
            transport: Recovery::Tcp,
            transmit: 0.0,
            receive: 0.0,
            reach: None,
            windows: Vec::new(),
            class: lsa::Bearer::Ethernet,
            energy: 0,
            mtu: None,
            rate: None,
            quota: None,
            metered: false,
            setup: None,
            keep_alive: None,
        }
    }
}

/// A state without and one with losses of its own, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// Mean time from the end of a burst to the next.
    pub good: Duration,
    /// Mean length of a burst.
    pub bad: Duration,
    /// The chance that what is sent in a burst is lost, besides what its line loses.
    pub loss: f64,
}

/// Who takes part.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name: group and number, `meter-17`.
    pub name: Name,
    /// Its group.
    pub group: String,
    /// Where it is: at least one point; at the first before its time, at the last after, in between on straight lines.
    pub track: Vec<Waypoint>,
    /// When its radio is on: whenever one of these has it awake; always without.
    pub schedules: Vec<Schedule>,
    /// Watts that it takes besides its radios' bytes, awake and asleep.
    pub power: [f64; 2],
    /// Joules in its battery when the warm-up ends; `None` for as many as it takes.
    pub battery: Option<f64>,
    /// How long its disk takes to flush.
    pub flush: Duration,
    /// How long it works on each frame that it receives, one after the other.
    pub processing: Duration,
    /// How long its application works on each message of its inbox and on each call, one after the other.
    pub work: Duration,
    /// How long after its node its application listens to topics and offers its service.
    pub start_up: Duration,
    /// Links that it looks for by itself among members it hears of, besides those of its edges.
    pub target_links: u32,
    /// Whether it forwards for others: a router. Otherwise it is a leaf.
    pub forwarding: bool,
    /// Area whose link state it shares.
    pub area: u32,
}

/// A point of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waypoint {
    /// After the start.
    pub at: Duration,
    /// Metres east.
    pub x: f64,
    /// Metres north.
    pub y: f64,
}

/// A device that is awake from `phase` on for `awake`, every `every`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From one awakening to the next.
    pub every: Duration,
    /// How long it stays on.
    pub awake: Duration,
    /// When it first awakes, after the warm-up; it is on before.
    pub phase: Duration,
    /// How much longer it stays on at the end of the warm-up, having awoken before.
    pub left: Duration,
}

/// Two devices that can link over a bearer, as far as reach, windows and faults let them.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// Index of the device that dials.
    pub a: usize,
    /// Index of the other.
    pub b: usize,
    /// Index of the bearer.
    pub bearer: usize,
    /// From a to b, and from b to a. Prices here are 0: see the bearer's.
    pub shapes: [Shape; 2],
    /// Whether `a` knows `b`'s address from the start. Otherwise they link if one hears of the other.
    pub known: bool,
}

/// Messages of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// `readings`; each flow has another.
    pub name: String,
    /// Indices of the senders.
    pub from: Vec<usize>,
    /// What is sent to whom.
    pub kind: FlowKind,
    /// When.
    pub pattern: Pattern,
    /// By which factors the rate of a Poisson process differs over the day, if it does.
    pub daily: Option<Daily>,
    /// Bytes of payload.
    pub size: usize,
    /// What confirmation is wanted; of no meaning for publications and requests.
    pub ack: Ack,
    /// How urgent.
    pub class: Class,
    /// Name of their policy.
    pub policy: Option<String>,
    /// Of no use after this long.
    pub deadline: Duration,
    /// From when on, after the warm-up.
    pub begin: Duration,
    /// Until when, after the warm-up.
    pub end: Duration,
}

/// What is sent to whom.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowKind {
    /// A message to one of these, drawn each time; to each sender its own list (by its place in `from`).
    Send(Vec<Vec<usize>>),
    /// A request to one of these, answered by an echo.
    Request(Vec<Vec<usize>>),
    /// A publication under one of these topics, of each sender in turn, to all of which these devices subscribe.
    Publish {
        /// `plant/temperature`; at least one.
        topics: Vec<String>,
        /// Indices.
        subscribers: Vec<usize>,
    },
}

/// When messages are sent, by each sender for itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// At equal distances, from a random moment of the first on.
    Periodic(Duration),
    /// As a Poisson process with so many a second.
    Poisson(f64),
    /// So many at once, at equal distances, all senders at the same moments.
    Burst {
        /// How many.
        count: u32,
        /// From one burst to the next.
        every: Duration,
    },
    /// At these times after the warm-up: the sender's index, the receiver's if it is one, bytes.
    Trace(Vec<Traced>),
}

/// A line of a trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// After the warm-up.
    pub at: Duration,
    /// Index of the sender.
    pub from: usize,
    /// Index of the receiver; `None` as the flow says.
    pub to: Option<usize>,
    /// Bytes of payload.
    pub size: usize,
}

/// What goes wrong, from when to when.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// As it is called in a report: `crash meter-3`.
    pub label: String,
    /// Number of the scenario's entry that it is an occurrence of.
    pub entry: usize,
    /// After the warm-up.
    pub at: Duration,
    /// When it is over; `None` for never before the settling time, in which everything heals.
    pub until: Option<Duration>,
    /// What.
    pub what: FaultKind,
}

/// What goes wrong. Devices and edges are indices.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The process is killed, and started again at the end. What was not flushed is lost; peers see their connections reset.
    Crash(Vec<usize>),
    /// Power is lost, and comes back at the end: as a crash, but peers hear nothing at all.
    PowerCut(Vec<usize>),
    /// The battery is empty: as a power cut, for good.
    BatteryEmpty(Vec<usize>),
    /// The edges carry nothing. `silent`: what is sent vanishes, and connections end by their own time-outs; otherwise
    /// both ends are told at once.
    Cut {
        /// Which.
        edges: Vec<usize>,
        /// Whether the ends are told.
        silent: bool,
    },
    /// As a cut of edges, which go and come: down for `down`, then up for `up`, again and again.
    Flap {
        /// Which.
        edges: Vec<usize>,
        /// How long each time.
        down: Duration,
        /// How long in between.
        up: Duration,
    },
    /// The edges behave otherwise: from a to b, and from b to a; `None` where that direction stays as it is.
    Degrade {
        /// Which.
        edges: Vec<usize>,
        /// How.
        shapes: [Option<Shape>; 2],
    },
    /// The wall clock is set by so many seconds, and back at the end.
    ClockStep {
        /// Whose.
        devices: Vec<usize>,
        /// Forward, or back where negative.
        seconds: f64,
    },
    /// The wall clock runs by so many millionths too fast, or too slow where negative.
    ClockDrift {
        /// Whose.
        devices: Vec<usize>,
        /// Parts per million.
        ppm: f64,
    },
    /// The process stands still, and finds all that has come meanwhile when it goes on.
    Pause(Vec<usize>),
    /// The disk takes no writes.
    DiskFull(Vec<usize>),
    /// A flow's senders send so many times as much: index of the flow, factor.
    Overload {
        /// Which flow.
        flow: usize,
        /// How many times as much.
        factor: f64,
    },
    /// Members that have been taken over.
    Hostile {
        /// Which.
        devices: Vec<usize>,
        /// What they do to what they pass on or send.
        how: Hostility,
    },
    /// A device that belongs to another realm tries to link with these, again and again.
    Stranger(Vec<usize>),
    /// As a stranger, but it shows the credential of a member, under a key of its own.
    Impostor(Vec<usize>),
}

impl FaultKind {
    /// With whom a device that is none of the plan's tries to link.
    pub fn outsider(&self) -> Option<&[usize]> {
        match self {
            Self::Stranger(victims) | Self::Impostor(victims) => Some(victims),
            _ => None,
        }
    }
}

/// What a hostile member does to frames of data and groups that leave it. Links stay up, control frames pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hostility {
    /// Acknowledges and drops them: this part of them, from 0 to 1.
    Drop(f64),
    /// Holds them up.
    Delay(Duration),
    /// Sends each again after this long.
    Replay(Duration),
    /// Sends each so many times.
    Flood(u32),
    /// Hands what is data of others on, and back to the relay that it came from as well.
    Return,
    /// Names as many relays as a path may have in what is data of others, so that nobody may hand it on any more.
    Stretch,
    /// Acknowledges and drops what is data of others; its own, and publications, it sends.
    BlackHole,
    /// Tells in its link state that its links cost nothing and take no time, and that it has one to every router of which
    /// it has heard.
    Lie,
}

/// What is expected of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// As written.
    pub text: String,
    /// Which metric: a key of [`Summary::metrics`](crate::record::Summary), selector included.
    pub metric: String,
    /// How it is to compare.
    pub comparison: Comparison,
    /// With what.
    pub wanted: Wanted,
    /// Others of which one may hold instead; their texts are part of this one's.
    pub or: Vec<Expectation>,
}

impl Expectation {
    /// As written, with the others of which one may hold instead.
    pub fn whole(&self) -> String {
        let others = self.or.iter().map(|other| format!(" or {}", other.text));
        others.fold(self.text.clone(), |text, other| text + &other)
    }
}

/// What a metric is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A value in the metric's unit.
    Value(f64),
    /// Another metric of the same run, by its key.
    Metric(String),
}

/// How a metric is to compare with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Less,
    /// `>`
    More,
    /// `==`
    Equal,
}
