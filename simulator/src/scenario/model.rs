//! Model: the contents of a scenario's file.
//!
//! There is one struct for each table, and each is strict: an unknown key is an error. All kinds of links, of traffic
//! and of faults share one table with a `kind`; planning checks which keys belong to which kind
//! ([`planning`](super::planning)). Values to which errors may have to refer keep their range.

use super::choice::{Expected, Known, Members, Placement, Side, Sleeps, Speed, Struck, StruckLinks};
use super::quantity::{BitRate, Delay, Energy, Frequency, Offset, Period, Share, Shift, Size};
use super::quantity::{OpenWindow, TimeOfDay, TimesOfDay, Watts};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::credential::Role;
use m2mesh::wire::data::Class;
use m2mesh::wire::lsa;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;

/// A whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    pub question: Spanned<String>,
    #[expect(dead_code, reason = "for those who read the file")]
    pub about: Option<String>,
    #[serde(default = "one")]
    pub seed: u64,
    #[serde(default = "half_a_minute")]
    pub warmup: Offset,
    pub duration: Spanned<Period>,
    #[serde(default = "a_minute")]
    pub settle: Offset,
    #[serde(default)]
    pub realm: Realm,
    #[serde(default)]
    pub bearers: BTreeMap<Spanned<String>, Bearer>,
    #[serde(default)]
    pub devices: BTreeMap<Spanned<String>, Group>,
    #[serde(default)]
    pub links: Vec<Spanned<Links>>,
    #[serde(default)]
    pub segments: Vec<Spanned<Segment>>,
    #[serde(default)]
    pub readers: Vec<Spanned<Readers>>,
    #[serde(default)]
    pub policy: Vec<Spanned<NamedPolicy>>,
    #[serde(default)]
    pub traffic: Vec<Spanned<Traffic>>,
    #[serde(default)]
    pub faults: Vec<Spanned<Fault>>,
    #[serde(default)]
    pub expect: Vec<Spanned<Expected>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Realm {
    pub epoch: Option<Spanned<Period>>,
    pub start: Option<Spanned<String>>,
    pub epochs: Option<Spanned<usize>>,
    pub anonymity: Option<Anonymity>,
}

/// A part of the realm, and the other parts that its devices may exchange frames with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    pub name: Spanned<String>,
    pub devices: Option<Spanned<Members>>,
    pub reaches: Option<Vec<Spanned<String>>>,
}

/// A group of topics with a key of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readers {
    pub topics: Spanned<String>,
    /// All members without.
    pub devices: Option<Spanned<Members>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    pub delay: Option<Spanned<Delay>>,
    pub jitter: Option<Offset>,
    pub loss: Option<Share>,
    pub rate: Option<BitRate>,
    pub price: Option<Spanned<f64>>,
    /// The price of each packet.
    pub price_packet: Option<Spanned<f64>>,
    pub channel: Option<Spanned<BitRate>>,
    pub collisions: Option<Spanned<Share>>,
    pub bursts: Option<Spanned<Bursts>>,
    pub transport: Option<Transport>,
    /// The energy of a byte sent, and in the next field received.
    pub transmit: Option<Energy>,
    pub receive: Option<Energy>,
    pub reach: Option<Spanned<f64>>,
    #[serde(default)]
    pub windows: Vec<OpenWindow>,
    pub class: Option<lsa::Bearer>,
    pub energy: Option<u32>,
    pub mtu: Option<Spanned<Size>>,
    pub quota: Option<Spanned<Quota>>,
    /// The part of any hour for which each device may send.
    pub duty: Option<Spanned<Share>>,
    pub metered: Option<bool>,
    pub setup: Option<Period>,
    pub keep_alive: Option<Period>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Tcp,
    Quic,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    pub bytes: Size,
    pub every: Period,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub count: Option<Spanned<usize>>,
    /// Instead of `count`: a file, with a device for each of its nodes.
    pub file: Option<Spanned<String>>,
    /// The nodes of the file that are left out.
    pub without: Option<Spanned<Vec<String>>>,
    pub bearers: Option<Vec<Spanned<String>>>,
    pub placement: Option<Placement>,
    pub origin: Option<[f64; 2]>,
    pub area: Option<Spanned<[f64; 2]>>,
    pub spacing: Option<Spanned<f64>>,
    pub mobility: Option<Spanned<Mobility>>,
    pub sleep: Option<Spanned<Sleeps>>,
    /// The devices that keep its mail.
    pub parents: Option<Spanned<Members>>,
    pub roles: Option<Vec<RoleName>>,
    /// Whether it takes mail.
    #[serde(default)]
    pub mail: bool,
    /// The services that it offers.
    pub offers: Option<Spanned<Vec<String>>>,
    /// The most that it keeps for one receiver.
    pub mail_quota: Option<Spanned<Size>>,
    pub power: Option<Power>,
    pub battery: Option<Spanned<Energy>>,
    pub flush: Option<Offset>,
    pub processing: Option<Offset>,
    pub work: Option<Offset>,
    pub start_up: Option<Offset>,
    pub start_within: Option<Offset>,
    #[serde(default)]
    pub looks_for: u32,
    pub forwarding: Option<bool>,
    pub routing_area: Option<u32>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mobility {
    pub kind: MobilityKind,
    pub speed: Option<Spanned<Speed>>,
    pub file: Option<Spanned<String>>,
    pub pause: Option<Spanned<Offset>>,
    pub points: Option<Spanned<Vec<[f64; 2]>>>,
    #[serde(rename = "loop")]
    pub closed: Option<Spanned<bool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MobilityKind {
    Waypoints,
    Route,
    Trace,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sleep {
    pub every: Option<Period>,
    /// Instead of `every`: times of the day.
    pub at: Option<TimesOfDay>,
    pub awake: Period,
    /// The time by which it awakes later.
    pub phase: Option<Delay>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
    Broadcast,
    Observer,
    Mailbox,
    Border,
}

/// The power that a device takes in addition to its radios' bytes.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Power {
    pub awake: Watts,
    pub asleep: Option<Watts>,
}

/// The two states of a bearer, with mean durations.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bursts {
    pub good: Period,
    pub bad: Period,
    pub loss: Share,
}

/// The properties of a line, as far as they differ from those of its bearer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub delay: Option<Spanned<Delay>>,
    pub jitter: Option<Offset>,
    pub loss: Option<Share>,
    pub rate: Option<BitRate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    #[expect(dead_code, reason = "for settings to name it")]
    pub name: Option<String>,
    pub kind: LinksKind,
    pub between: Option<Spanned<Members>>,
    pub bearer: Option<Spanned<String>>,
    pub known: Option<Known>,
    pub delay: Option<Spanned<Delay>>,
    pub jitter: Option<Offset>,
    pub loss: Option<Share>,
    pub rate: Option<BitRate>,
    /// The properties in the direction towards the device that dials, if they differ.
    pub back: Option<Spanned<Line>>,
    pub degree: Option<Spanned<usize>>,
    pub columns: Option<Spanned<usize>>,
    pub fanout: Option<Spanned<usize>>,
    pub hub: Option<Spanned<Members>>,
    pub file: Option<Spanned<String>>,
    /// The delay that each kilometre adds.
    pub per_km: Option<Spanned<Offset>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinksKind {
    Full,
    Ring,
    Line,
    Grid,
    Random,
    Geometric,
    Tree,
    Hub,
    File,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    pub name: Spanned<String>,
    pub kind: TrafficKind,
    pub from: Option<Spanned<Members>>,
    pub to: Option<Spanned<Members>>,
    pub topic: Option<Spanned<String>>,
    pub every: Option<Spanned<Period>>,
    pub rate: Option<Spanned<Frequency>>,
    /// The factors of the rate, from a time of the day on.
    pub daily: Option<Spanned<BTreeMap<TimeOfDay, f64>>>,
    pub burst: Option<Spanned<Burst>>,
    pub total: Option<Spanned<usize>>,
    pub trace: Option<Spanned<String>>,
    pub size: Option<Spanned<Size>>,
    pub ack: Option<Spanned<AckName>>,
    pub class: Option<Spanned<ClassName>>,
    pub policy: Option<Spanned<String>>,
    pub partners: Option<Spanned<usize>>,
    /// Whether a request to any may be executed again.
    pub repeat: Option<Spanned<bool>>,
    pub deadline: Option<Period>,
    pub begin: Option<Spanned<Offset>>,
    pub end: Option<Spanned<Period>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrafficKind {
    Send,
    Request,
    Publish,
    Broadcast,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    pub count: u32,
    pub every: Period,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AckName {
    None,
    Hop,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassName {
    Alarm,
    Control,
    Telemetry,
    Bulk,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    pub name: Option<String>,
    pub kind: FaultKind,
    pub at: Option<Spanned<Offset>>,
    #[serde(rename = "for")]
    pub lasting: Option<Period>,
    /// Instead of `at`: the rate of a repeated fault.
    pub rate: Option<Spanned<Frequency>>,
    pub devices: Option<Spanned<Struck>>,
    pub links: Option<Spanned<StruckLinks>>,
    pub bearer: Option<Spanned<String>>,
    pub sides: Option<Spanned<Vec<Spanned<Side>>>>,
    pub silent: Option<Spanned<bool>>,
    pub down: Option<Spanned<Period>>,
    pub up: Option<Spanned<Period>>,
    pub shape: Option<Spanned<Line>>,
    pub by: Option<Spanned<Shift>>,
    pub ppm: Option<Spanned<f64>>,
    pub flow: Option<Spanned<String>>,
    pub factor: Option<Spanned<f64>>,
    pub how: Option<Spanned<HostilityName>>,
    pub share: Option<Spanned<Share>>,
    pub after: Option<Spanned<Period>>,
    pub times: Option<Spanned<u32>>,
    /// The device to which the operator brings a bulletin.
    pub through: Option<Spanned<Struck>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    Crash,
    Pause,
    PowerCut,
    BatteryEmpty,
    RegionPowerCut,
    Cut,
    Flap,
    Partition,
    Degrade,
    Asymmetric,
    ClockStep,
    ClockDrift,
    DiskFull,
    Overload,
    Hostile,
    Stranger,
    Impostor,
    Revoke,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostilityName {
    Drop,
    Delay,
    Replay,
    Flood,
    Return,
    Stretch,
    Blackhole,
    Pester,
    Lie,
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Self {
        match name {
            RoleName::Broadcast => Self::Broadcast,
            RoleName::Observer => Self::Observer,
            RoleName::Mailbox => Self::Mailbox,
            RoleName::Border => Self::Border,
        }
    }
}

impl From<AckName> for Ack {
    fn from(name: AckName) -> Self {
        match name {
            AckName::None => Self::None,
            AckName::Hop => Self::Hop,
            AckName::End => Self::End,
        }
    }
}

impl From<ClassName> for Class {
    fn from(name: ClassName) -> Self {
        match name {
            ClassName::Alarm => Self::Alarm,
            ClassName::Control => Self::Control,
            ClassName::Telemetry => Self::Telemetry,
            ClassName::Bulk => Self::Bulk,
        }
    }
}

fn one() -> u64 {
    1
}

fn half_a_minute() -> Offset {
    Offset(Duration::from_secs(30))
}

fn a_minute() -> Offset {
    Offset(Duration::from_secs(60))
}
