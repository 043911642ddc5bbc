//! Plan: a scenario worked out for one seed, in the form that the world takes.
//!
//! A scenario says "forty meters, scattered"; a plan says where each meter is, which devices can link with each other,
//! and when each fault strikes. All random choices are made here, from the seed, except those at run time (jitter,
//! losses, the moment of each message), which the world draws from seeds of its own that it derives from the same seed.
//!
//! Invariants
//! 1. The same scenario with the same settings and seed gives the same plan.
//! - Every index is in range; every device's name is a [`Name`]; edges join two different devices, each pair at most
//!   once on a bearer; times of faults lie within the run.

use m2mesh::id::Name;
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::link::windows::Windows;
use m2mesh::net::emulation::Recovery;
use m2mesh::net::emulation::Shape;
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::time::{EpochLength, Unix};
use m2mesh::wire::lsa;
use std::time::Duration;

mod daily;
mod flow;
mod layout;
mod post;
mod schedule;
mod track;

pub use daily::{DAY, Daily};
pub use flow::{Flow, FlowKind, Pattern, Traced};
pub use layout::{Keyed, Layout, Segment};
pub use post::{LEAST_AWAKE, MOST_TOLD, Post};
pub use schedule::{Schedule, wakings};
pub use track::place;

/// The plan of one run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The scenario's name, which is the name of its file without the extension.
    pub name: String,
    /// The question that the scenario asks.
    pub question: String,
    /// The seed of all random choices.
    pub seed: u64,
    /// The first part of the run, in which links come up and nothing is measured.
    pub warmup: Duration,
    /// The measured part of the run, with traffic and faults.
    pub duration: Duration,
    /// The last part of the run, in which messages under way end and faults heal.
    pub settle: Duration,
    /// The length of an epoch.
    pub epoch: EpochLength,
    /// The number of epochs for which devices have credentials at the start.
    pub epochs: usize,
    /// For how long devices are known by one pseudonym.
    pub anonymity: Anonymity,
    /// Wall time at the start.
    pub start: Unix,
    /// The realm's segments, and the readers of its groups.
    pub layout: Layout,
    /// The bearers of the network.
    pub bearers: Vec<Bearer>,
    /// The devices of the network.
    pub devices: Vec<Device>,
    /// The pairs of devices that can link with each other.
    pub edges: Vec<Edge>,
    /// Policies that every device has in addition to the built-in ones.
    pub policies: Vec<NamedPolicy>,
    /// The flows of messages.
    pub flows: Vec<Flow>,
    /// The faults, in the order of their beginning.
    pub faults: Vec<Fault>,
    /// The expectations of the scenario.
    pub expectations: Vec<Expectation>,
}

/// A bearer, which carries links.
#[derive(Clone, Debug, PartialEq)]
pub struct Bearer {
    /// The bearer's name, such as `radio` or `lte`.
    pub name: String,
    /// The price of a megabyte (10⁶ bytes) sent, in units of money.
    pub price: f64,
    /// The price of each packet of at most `mtu` bytes, in units of money, in addition to the price of its bytes.
    pub price_packet: f64,
    /// The rate of the channel that all devices share, in bits a second; `None` if each link has a channel of its own.
    pub channel: Option<u64>,
    /// The probability that a frame is lost which arrives while its receiver receives another; `None` if frames do not
    /// collide.
    pub collisions: Option<f64>,
    /// When and by how much the bearer loses more than its lines do.
    pub bursts: Option<Bursts>,
    /// The transport of links, which determines how losses are noticed.
    pub transport: Recovery,
    /// The energy for a byte sent, in joules.
    pub transmit: f64,
    /// The energy for a byte received, in joules.
    pub receive: f64,
    /// The bearer's reach in metres; `None` for any distance.
    pub reach: Option<f64>,
    /// The times at which the bearer may be used; always if there are none.
    pub windows: Windows,
    /// The bearer's class, which nodes advertise to each other.
    pub class: lsa::Bearer,
    /// The energy of a megabyte in millijoules, as configured at the nodes.
    pub energy: u32,
    /// The size of the largest packet in bytes, as configured at the nodes; `None` for no limit.
    pub mtu: Option<u32>,
    /// The rate of a link in bits a second, as configured at the nodes; `None` for no limit.
    pub rate: Option<u64>,
    /// The bytes that a node may spend in a period, and the length of the period.
    pub quota: Option<(u64, Duration)>,
    /// The part of any hour for which a device may be on air; `None` for no limit.
    pub duty: Option<f64>,
    /// Whether bytes on this bearer are counted, so that nodes send fewer control frames over it.
    pub metered: bool,
    /// The time that nodes allow for each half of a connection's set-up; `None` for the default of the bearer's class
    /// and price.
    pub setup: Option<Duration>,
    /// The time without traffic after which nodes ping a link; `None` for the default of the bearer's class and price.
    pub keep_alive: Option<Duration>,
}

impl Bearer {
    /// Returns the price that nodes are told, in micro-units of money a megabyte. Nodes have prices of bytes only, so
    /// the price of a packet is told as if all packets were full.
    pub fn told_price(&self) -> u64 {
        let packets = 1e6 / f64::from(self.mtu.unwrap_or(m2mesh::net::emulation::MTU as u32).max(1));
        ((self.price + packets * self.price_packet) * 1e6).round() as u64
    }

    /// Returns whether bytes or packets on this bearer cost money.
    pub fn is_priced(&self) -> bool {
        self.price > 0.0 || self.price_packet > 0.0
    }

    /// Returns a wired bearer without a price.
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
            windows: Windows::default(),
            class: lsa::Bearer::Ethernet,
            energy: 0,
            mtu: None,
            rate: None,
            quota: None,
            duty: None,
            metered: false,
            setup: None,
            keep_alive: None,
        }
    }
}

/// A Gilbert-Elliott model of bursts: a good state and a bad state with losses of its own take turns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// The mean time from the end of a burst to the next.
    pub good: Duration,
    /// The mean length of a burst.
    pub bad: Duration,
    /// The probability that a transmission is lost in a burst, in addition to the losses of its line.
    pub loss: f64,
}

/// A device of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// The device's name, which is its group and number: `meter-17`.
    pub name: Name,
    /// Its group.
    pub group: String,
    /// The device's track, of at least one point. It is at the first point before that point's time, at the last point
    /// after its time, and on straight lines in between.
    pub track: Vec<Waypoint>,
    /// The schedules of its radio, which is on while at least one of them has it awake; always if there is none.
    pub schedules: Vec<Schedule>,
    /// The power in watts that it takes in addition to its radios' bytes, awake and asleep.
    pub power: [f64; 2],
    /// The energy in its battery at the end of the warm-up, in joules; `None` for an unlimited supply.
    pub battery: Option<f64>,
    /// The time that its disk takes to flush.
    pub flush: Duration,
    /// The time for which it processes each frame that it receives, one after the other.
    pub processing: Duration,
    /// The time for which its application processes each message of its inbox and each call, one after the other.
    pub work: Duration,
    /// The time from the start of its node until its application listens to topics and offers its service.
    pub start_up: Duration,
    /// The time from the start of its node within which it begins to dial, at a random moment.
    pub start_within: Duration,
    /// The number of links that it seeks among members of which it hears, in addition to those of its edges.
    pub target_links: u32,
    /// Whether it forwards for others. A device that does is a router, and one that does not is a leaf.
    pub forwarding: bool,
    /// The area whose link state it shares.
    pub area: u32,
    /// The roles that the operator gives it, as a bit map.
    pub roles: u16,
    /// What becomes of its mail, and of that of others.
    pub post: Post,
    /// The services that it offers, besides the one that answers requests to it alone.
    pub offers: Vec<String>,
}

/// A point of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waypoint {
    /// The time after the start.
    pub at: Duration,
    /// The position in metres east.
    pub x: f64,
    /// The position in metres north.
    pub y: f64,
}

/// Two devices that can link over a bearer, as far as reach, windows and faults allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The index of the device that dials.
    pub a: usize,
    /// The index of the other device.
    pub b: usize,
    /// The index of the bearer.
    pub bearer: usize,
    /// The shapes from a to b, and from b to a. Their prices are 0, since the bearer has the price.
    pub shapes: [Shape; 2],
    /// Whether `a` knows the address of `b` from the start. Otherwise they link only after one has heard of the other.
    pub known: bool,
}

/// A fault, with the time in which it is in effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The fault's name in a report: `crash meter-3`.
    pub label: String,
    /// The index of the scenario's entry of which this is an occurrence.
    pub entry: usize,
    /// The beginning, after the warm-up.
    pub at: Duration,
    /// The end, after the warm-up; `None` if it lasts until the settling time, in which everything heals.
    pub until: Option<Duration>,
    /// The kind of the fault.
    pub what: FaultKind,
}

/// The kind of a fault. Devices and edges are indices.
#[derive(Clone, Debug, PartialEq)]
pub enum FaultKind {
    /// The process is killed, and started again at the end. Data that was not flushed is lost; peers see their
    /// connections reset.
    Crash(Vec<usize>),
    /// Power is lost, and comes back at the end: as in a crash, but peers are not told.
    PowerCut(Vec<usize>),
    /// The battery is empty: as in a power cut, for good.
    BatteryEmpty(Vec<usize>),
    /// The edges carry nothing. If the cut is silent, data vanishes, and connections end by their own time-outs;
    /// otherwise both ends are told at once.
    Cut {
        /// The indices of the edges.
        edges: Vec<usize>,
        /// Whether the cut is silent.
        silent: bool,
    },
    /// The edges are cut repeatedly: down for `down`, then up for `up`.
    Flap {
        /// The indices of the edges.
        edges: Vec<usize>,
        /// The time for which they are down each time.
        down: Duration,
        /// The time for which they are up in between.
        up: Duration,
    },
    /// The edges have other shapes, from a to b and from b to a; `None` leaves that direction unchanged.
    Degrade {
        /// The indices of the edges.
        edges: Vec<usize>,
        /// The shapes of the two directions.
        shapes: [Option<Shape>; 2],
    },
    /// The wall clock is stepped by this number of seconds, and back at the end.
    ClockStep {
        /// The indices of the devices.
        devices: Vec<usize>,
        /// The step in seconds; negative for a step back.
        seconds: f64,
    },
    /// The wall clock runs too fast by this rate.
    ClockDrift {
        /// The indices of the devices.
        devices: Vec<usize>,
        /// The rate in parts per million; negative if it runs too slow.
        ppm: f64,
    },
    /// The process is paused. When it resumes, it finds all that has arrived meanwhile.
    Pause(Vec<usize>),
    /// The disk takes no writes.
    DiskFull(Vec<usize>),
    /// The senders of a flow send more.
    Overload {
        /// The index of the flow.
        flow: usize,
        /// The factor by which they send more.
        factor: f64,
    },
    /// Members have been taken over by an attacker.
    Hostile {
        /// The indices of the devices.
        devices: Vec<usize>,
        /// How they treat the frames that they forward or send.
        how: Hostility,
    },
    /// A device of another realm repeatedly tries to link with these devices.
    Stranger(Vec<usize>),
    /// As a stranger, but the device shows the credential of a member, under a key of its own.
    Impostor(Vec<usize>),
    /// The operator revokes devices, for good, and brings the bulletin that says so to one device.
    Revoke {
        /// The indices of the devices.
        devices: Vec<usize>,
        /// The index of the device to which the bulletin is brought.
        through: usize,
    },
}

impl FaultKind {
    /// Returns the devices with which a device outside the plan tries to link, if the fault has one.
    pub fn outsider(&self) -> Option<&[usize]> {
        match self {
            Self::Stranger(victims) | Self::Impostor(victims) => Some(victims),
            _ => None,
        }
    }
}

/// How a hostile member treats frames of data and groups that leave it. Its links stay up, and control frames pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hostility {
    /// It acknowledges frames and drops this share of them, from 0 to 1.
    Drop(f64),
    /// It delays frames.
    Delay(Duration),
    /// It sends each frame again after this time.
    Replay(Duration),
    /// It sends each frame this number of times.
    Flood(u32),
    /// It forwards data of others, and also sends it back to the relay from which it came.
    Return,
    /// It adds as many relays as a path may have to data of others, so that no node may forward it any further.
    Stretch,
    /// It acknowledges and drops data of others, and sends its own data and publications.
    BlackHole,
    /// With each control frame it sends this number of requests, questions and LSAs besides, and with each opening of a
    /// session as many that lead nowhere.
    Pester(u32),
    /// It advertises in its link state that its links cost nothing and have no delay, and that it has a link to every
    /// router of which it has heard.
    Lie,
}

/// An expectation of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// The text in the scenario.
    pub text: String,
    /// The key of the metric in [`Summary::metrics`](crate::record::Summary), selector included.
    pub metric: String,
    /// The comparison that has to hold.
    pub comparison: Comparison,
    /// The other side of the comparison.
    pub wanted: Wanted,
    /// Alternatives, of which one may hold instead; their texts are not part of this text.
    pub or: Vec<Expectation>,
}

impl Expectation {
    /// Returns the text in the scenario, including the alternatives.
    pub fn whole(&self) -> String {
        let others = self.or.iter().map(|other| format!(" or {}", other.text));
        others.fold(self.text.clone(), |text, other| text + &other)
    }
}

/// The other side of an expectation's comparison.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A value in the metric's unit.
    Value(f64),
    /// Another metric of the same run, by its key.
    Metric(String),
}

/// A comparison of a metric with a value.
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
