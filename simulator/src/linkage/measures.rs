//! Measures: how often an observer follows devices, under conditions that show what each counter-measure buys.
//!
//! | condition | the observer has | it shows |
//! |-|-|-|
//! | shipped | everything | what the release leaves |
//! | other address | no addresses | devices that change their address with their pseudonym |
//!
//! and, for devices that change their address:
//!
//! | condition | the observer has | it shows what is bought by |
//! |-|-|-|
//! | port kept | a port of each device that stays | the new port |
//! | turns apart | turns of devices at times of their own, all over the epoch | the common epoch |
//! | no jitter | turns of all devices at one moment, and so no links between old and new pseudonyms | leaving out the jitter |
//! | silence | no times | a pause between two pseudonyms |
//! | padding | neither sizes nor rates | equal packets at equal intervals |
//! | hidden links | neither neighbours nor the graph | advertisements that tell nobody who is linked to whom |
//! | hidden delays | no round-trip times | the same for round-trip times |
//! | only times | nothing but times | all of these but silence, together; so for the next three |
//! | only links | nothing but neighbours and the graph | all but hidden links |
//! | only links, no jitter | the same, with turns of all devices at one moment | all but hidden links, without jitter |
//! | only delays | nothing but round-trip times | all but hidden delays |
//! | only traffic | nothing but sizes and rates | all but padding |
//!
//! The node cannot turn these on or off. Ports and times are changed in the view, the rest is left out of it: then the
//! difference is an upper bound of what the measure buys, since a measure hides less than all of a feature.

use super::classify::{Answer, Classifier, Turn};
use super::features::Feature;
use super::observed::{Id, Observed};
use super::views::{Observer, Place, Sight, View};
use crate::virtual_os::splitmix;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// When pseudonyms change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// As in the run: after a jitter.
    Shipped,
    /// All at one moment.
    AtOnce,
    /// Each device at a time of its own.
    Apart,
}

/// A condition: see the module's documentation.
#[derive(Clone, Copy, Debug)]
struct Condition {
    name: &'static str,
    without: &'static [Feature],
    when: When,
}

/// What is found of one kind of device under one condition.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The condition.
    pub condition: &'static str,
    /// `router` or `leaf`.
    pub role: &'static str,
    /// `wire`, `link` if an observing device has had a link to it in any epoch, or else `elsewhere`.
    pub seen_from: &'static str,
    /// The number of devices.
    pub devices: usize,
    /// Of their turns, the share in which both pseudonyms were seen.
    pub seen: f64,
    /// Of the old pseudonyms that were seen, the share whose successor was found.
    pub top1: f64,
    /// The same for who guesses.
    pub chance: f64,
    /// The mean entropy of the probabilities of all candidates, in bits.
    pub bits: f64,
    /// The mean of the most that it could be.
    pub bits_most: f64,
    /// The share of devices whose successor was found at every turn.
    pub followed: f64,
}

/// What is found for one observer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Assessment {
    /// The observer, as it was named.
    pub observer: String,
    /// The number of devices that are the observer's own.
    pub own: usize,
    /// The number of its contacts, all of which it has followed through all epochs.
    pub contacts: usize,
    /// The number of turns.
    pub turns: usize,
    /// What is found.
    pub findings: Vec<Finding>,
}

/// The number of steps of which an assessment consists.
pub const STEPS: usize = CONDITIONS.len();

/// Assesses what an observer finds; `step` is called after each condition.
pub fn assess(observed: &Observed, name: &str, observer: Observer, step: &mut dyn FnMut()) -> Assessment {
    let view = View::new(observed, observer);
    let turns = observed.epochs.saturating_sub(1);
    let mut findings = Vec::new();
    for when in [When::Shipped, When::AtOnce, When::Apart] {
        let changed = changed(observed, &view, when);
        let turns: Vec<Turn<'_>> = (0..turns).map(|epoch| turn(observed, &changed, epoch)).collect();
        let port = |sight: &Sight| port(observed, sight);
        let classifier = Classifier::new(&turns, &port);
        for (order, condition) in CONDITIONS.iter().enumerate().filter(|(_, condition)| condition.when == when) {
            let features: Vec<Feature> = Feature::FIXED
                .into_iter()
                .chain([Feature::Graph])
                .filter(|feature| !condition.without.contains(feature))
                .collect();
            let answers = classifier.answers(&features);
            let found = count(observed, &view, observer, &turns, &answers, condition.name);
            findings.extend(found.into_iter().map(|finding| (order, finding)));
            step();
        }
    }
    findings.sort_by_key(|(order, _)| *order);
    Assessment {
        observer: name.to_owned(),
        own: view.anchors.len() - view.contacts.len(),
        contacts: view.contacts.len(),
        turns,
        findings: findings.into_iter().map(|(_, finding)| finding).collect(),
    }
}

/// Returns the sights, as they would be if pseudonyms changed at other times.
fn changed(observed: &Observed, view: &View, when: When) -> Vec<Sight> {
    let mut sights = view.sights.clone();
    if when == When::Shipped {
        return sights;
    }
    // The time at which each device's pseudonym of each epoch began.
    let mut began: BTreeMap<Id, f64> = BTreeMap::new();
    let by_links = observed.links.iter().flat_map(|link| link.ends.map(|end| (end, link.span.first)));
    let by_adverts = observed.adverts.iter().filter_map(|(id, advert)| Some((*id, advert.span?.first)));
    for (id, at) in by_links.chain(by_adverts) {
        let first = began.entry(id).or_insert(f64::INFINITY);
        *first = first.min(at);
    }
    let by_place: BTreeMap<(usize, usize), Id> =
        observed.aliases.iter().enumerate().map(|(id, alias)| ((alias.device, alias.epoch), id as Id)).collect();
    // By how much later the pseudonym of an epoch would begin.
    let later = |device: usize, epoch: usize| -> f64 {
        let Some(id) = by_place.get(&(device, epoch)).filter(|_| epoch > 0) else { return 0.0 };
        let boundary = epoch as f64 * observed.epoch_s;
        match when {
            When::Shipped => 0.0,
            When::AtOnce => boundary - began.get(id).copied().unwrap_or(boundary),
            When::Apart => {
                let mut state = observed.seed ^ ((device as u64) << 32) ^ epoch as u64;
                splitmix(&mut state) as f64 / u64::MAX as f64 * observed.epoch_s
            }
        }
    };
    for sight in &mut sights {
        let alias = &observed.aliases[sight.id as usize];
        if let Some(span) = &mut sight.span {
            span.first += later(alias.device, alias.epoch);
            span.last += later(alias.device, alias.epoch + 1);
        }
        if when == When::AtOnce {
            sight.places.retain(|place, _| match place {
                Place::Anchor(_) => true,
                Place::Alias(other) => observed.aliases[*other as usize].epoch == alias.epoch,
            });
        }
    }
    sights
}

fn turn<'a>(observed: &Observed, sights: &'a [Sight], epoch: usize) -> Turn<'a> {
    let of = |epoch: usize| {
        let mut of: Vec<&Sight> = sights.iter().filter(|sight| sight.epoch == epoch).collect();
        of.sort_by_key(|sight| (sight.mark, sight.id));
        of
    };
    let (old, new) = (of(epoch), of(epoch + 1));
    let device = |sight: &Sight| observed.aliases[sight.id as usize].device;
    let columns: BTreeMap<usize, usize> = new.iter().enumerate().map(|(at, sight)| (device(sight), at)).collect();
    let truth = old.iter().map(|sight| columns.get(&device(sight)).copied()).collect();
    Turn { old, new, truth }
}

/// Returns the port at which a device would listen under all pseudonyms: one of those that systems give out.
fn port(observed: &Observed, sight: &Sight) -> u16 {
    let mut state = observed.seed ^ PORTS ^ observed.aliases[sight.id as usize].device as u64;
    32_768 + (splitmix(&mut state) % 28_232) as u16
}

/// What is counted of one kind of device.
#[derive(Default)]
struct Tally {
    devices: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    rows: usize,
    both: usize,
    hits: usize,
    chance: f64,
    bits: f64,
    bits_most: f64,
}

fn count(
    observed: &Observed,
    view: &View,
    observer: Observer,
    turns: &[Turn<'_>],
    answers: &[Answer],
    condition: &'static str,
) -> Vec<Finding> {
    let device = |sight: &Sight| observed.aliases[sight.id as usize].device;
    let near: BTreeSet<usize> = view.sights.iter().filter(|sight| sight.near).map(device).collect();
    let kind = |of: usize| {
        let from = match () {
            () if observer == Observer::Wire => "wire",
            () if near.contains(&of) => "link",
            () => "elsewhere",
        };
        (if observed.devices[of].router { "router" } else { "leaf" }, from)
    };
    let mut tallies: BTreeMap<(&str, &str), Tally> = BTreeMap::new();
    let others = (0..observed.devices.len()).filter(|of| !view.anchors.contains(of));
    for of in others.clone() {
        tallies.entry(kind(of)).or_default().devices.insert(of);
    }
    for (turn, answer) in turns.iter().zip(answers) {
        let mut found = BTreeSet::new();
        for (row, sight) in turn.old.iter().enumerate() {
            let of = device(sight);
            let tally = tallies.entry(kind(of)).or_default();
            let right = turn.truth[row].is_some() && answer.successors[row] == turn.truth[row];
            tally.rows += 1;
            tally.both += usize::from(turn.truth[row].is_some());
            tally.hits += usize::from(right);
            tally.chance += 1.0 / turn.new.len().max(1) as f64;
            tally.bits += answer.bits[row];
            tally.bits_most += (turn.new.len().max(1) as f64).log2();
            found.extend(right.then_some(of));
        }
        for of in others.clone().filter(|of| !found.contains(of)) {
            tallies.entry(kind(of)).or_default().lost.insert(of);
        }
    }
    let finding = |((role, seen_from), tally): (_, Tally)| {
        let (rows, devices) = (tally.rows.max(1) as f64, tally.devices.len());
        Finding {
            condition,
            role,
            seen_from,
            devices,
            seen: tally.both as f64 / (devices * turns.len()).max(1) as f64,
            top1: tally.hits as f64 / rows,
            chance: tally.chance / rows,
            bits: tally.bits / rows,
            bits_most: tally.bits_most / rows,
            followed: (devices - tally.lost.len()) as f64 / devices.max(1) as f64,
        }
    };
    tallies.into_iter().map(finding).collect()
}

use Feature::{Address, CommonDelays, Delays, Graph, Neighbours, Port, Rate, Sizes, Time};

/// The name of the condition in which the observer has everything.
pub const SHIPPED: &str = "shipped";
/// The name of the condition in which devices change their address with their pseudonym.
pub const OTHER_ADDRESS: &str = "other address";

/// All conditions, in the order in which they are told.
const CONDITIONS: [Condition; 14] = [
    Condition { name: SHIPPED, without: &[Port], when: When::Shipped },
    Condition { name: OTHER_ADDRESS, without: &[Port, Address], when: When::Shipped },
    Condition { name: "port kept", without: &[Address], when: When::Shipped },
    Condition { name: "turns apart", without: &[Port, Address], when: When::Apart },
    Condition { name: "no jitter", without: &[Port, Address], when: When::AtOnce },
    Condition { name: "silence", without: &[Port, Address, Time], when: When::Shipped },
    Condition { name: "padding", without: &[Port, Address, Sizes, Rate], when: When::Shipped },
    Condition { name: "hidden links", without: &[Port, Address, Neighbours, Graph], when: When::Shipped },
    Condition { name: "hidden delays", without: &[Port, Address, Delays, CommonDelays], when: When::Shipped },
    Condition {
        name: "only times",
        without: &[Port, Address, Sizes, Rate, Neighbours, Graph, Delays, CommonDelays],
        when: When::Shipped,
    },
    Condition {
        name: "only links",
        without: &[Port, Address, Time, Sizes, Rate, Delays, CommonDelays],
        when: When::Shipped,
    },
    Condition {
        name: "only links, no jitter",
        without: &[Port, Address, Time, Sizes, Rate, Delays, CommonDelays],
        when: When::AtOnce,
    },
    Condition {
        name: "only delays",
        without: &[Port, Address, Time, Sizes, Rate, Neighbours, Graph],
        when: When::Shipped,
    },
    Condition {
        name: "only traffic",
        without: &[Port, Address, Time, Neighbours, Graph, Delays, CommonDelays],
        when: When::Shipped,
    },
];
/// What distinguishes this draw from others with the run's seed.
const PORTS: u64 = 0x9027;
