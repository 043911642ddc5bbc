//! Features: how much a new pseudonym is like an old one, by each of the things that an observer sees.
//!
//! | feature | compares |
//! |-|-|
//! | time | the seconds from the last sight of the old one to the first of the new one; less than 0 while both are there |
//! | address | a common address, or a common prefix of all but 8 bits |
//! | port | the port at which each listens, in a network in which it were kept |
//! | neighbours | neighbours in common, under the same pseudonym or as anchors |
//! | graph | neighbours in common, as far as they are linked themselves: see [`Graph`] |
//! | delays | the round-trip times to all neighbours, as a distribution |
//! | common delays | the round-trip times to common neighbours |
//! | sizes | the histograms of sizes, sent and received |
//! | rate | the bytes, sent and received |
//!
//! A feature is a number for each pair, of which only the order matters; it is no number if an observer lacks what it
//! compares.

use super::observed::{BINS, Traffic};
use super::views::{Place, Sight};
use std::collections::BTreeMap;

/// A feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// See the module's documentation; so for all.
    Time,
    /// By addresses.
    Address,
    /// By ports.
    Port,
    /// By neighbours.
    Neighbours,
    /// By neighbours that are linked themselves.
    Graph,
    /// By round-trip times.
    Delays,
    /// By round-trip times to common neighbours.
    CommonDelays,
    /// By sizes.
    Sizes,
    /// By bytes.
    Rate,
}

impl Feature {
    /// All features of which the value does not depend on earlier results.
    pub const FIXED: [Self; 8] = [
        Self::Time,
        Self::Address,
        Self::Port,
        Self::Neighbours,
        Self::Delays,
        Self::CommonDelays,
        Self::Sizes,
        Self::Rate,
    ];

    /// Returns the value for an old and a new pseudonym; `port` gives the port at which a pseudonym listens.
    pub fn of(self, old: &Sight, new: &Sight, port: &dyn Fn(&Sight) -> u16) -> f64 {
        match self {
            Self::Time => match (old.span, new.span) {
                (Some(old), Some(new)) => new.first - old.last,
                _ => f64::NAN,
            },
            Self::Address => by_address(old, new),
            Self::Port => match old.addresses.is_empty() || new.addresses.is_empty() {
                true => f64::NAN,
                false => f64::from(u8::from(port(old) != port(new))),
            },
            Self::Neighbours => by_neighbours(old, new),
            // The value follows from results: see `Graph`.
            Self::Graph => f64::NAN,
            Self::Delays => by_delays(old, new),
            Self::CommonDelays => by_common_delays(old, new),
            Self::Sizes => by_sizes(&old.traffic, &new.traffic),
            Self::Rate => by_rate(&old.traffic, &new.traffic),
        }
    }
}

fn by_address(old: &Sight, new: &Sight) -> f64 {
    if old.addresses.is_empty() || new.addresses.is_empty() {
        return f64::NAN;
    }
    let network = |(bearer, host): &(usize, usize)| (*bearer, host >> HOST_BITS);
    let is_near = || old.addresses.iter().any(|one| new.addresses.iter().any(|other| network(one) == network(other)));
    if !old.addresses.is_disjoint(&new.addresses) {
        0.0
    } else if is_near() {
        1.0
    } else {
        2.0
    }
}

fn by_neighbours(old: &Sight, new: &Sight) -> f64 {
    let common = old.places.keys().filter(|place| new.places.contains_key(place)).count();
    let all = old.places.len() + new.places.len() - common;
    if all == 0 { f64::NAN } else { 1.0 - common as f64 / all as f64 }
}

/// Compares two distributions of times by the mean difference of their logarithms at equal ranks.
fn by_delays(old: &Sight, new: &Sight) -> f64 {
    let sorted = |sight: &Sight| {
        let mut delays: Vec<f64> = sight.places.values().flatten().map(|delay| delay.max(LEAST_DELAY).ln()).collect();
        delays.sort_by(f64::total_cmp);
        delays
    };
    let (one, other) = (sorted(old), sorted(new));
    if one.is_empty() || other.is_empty() {
        return f64::NAN;
    }
    let at = |delays: &[f64], rank: usize| delays[(2 * rank + 1) * delays.len() / (2 * RANKS)];
    (0..RANKS).map(|rank| (at(&one, rank) - at(&other, rank)).abs()).sum::<f64>() / RANKS as f64
}

fn by_common_delays(old: &Sight, new: &Sight) -> f64 {
    let pairs = old.places.iter().filter_map(|(place, delay)| Some(((*delay)?, (*new.places.get(place)?)?)));
    let apart = |(one, other): (f64, f64)| (one.max(LEAST_DELAY) / other.max(LEAST_DELAY)).ln().abs();
    let all: Vec<f64> = pairs.map(apart).collect();
    if all.is_empty() { f64::NAN } else { all.iter().sum::<f64>() / all.len() as f64 }
}

/// Returns the distance of Hellinger between histograms, as a mean over both directions.
fn by_sizes(old: &[Traffic; 2], new: &[Traffic; 2]) -> f64 {
    let (mut sum, mut known) = (0.0, 0);
    for (old, new) in old.iter().zip(new).filter(|(old, new)| old.pieces().min(new.pieces()) >= FEWEST) {
        let shares = |of: &Traffic, bin: usize| f64::from(of.sizes[bin]) / f64::from(of.pieces());
        let overlap: f64 = (0..BINS).map(|bin| (shares(old, bin) * shares(new, bin)).sqrt()).sum();
        sum += (1.0 - overlap).max(0.0).sqrt();
        known += 1;
    }
    if known == 0 { f64::NAN } else { sum / f64::from(known) }
}

fn by_rate(old: &[Traffic; 2], new: &[Traffic; 2]) -> f64 {
    let (mut sum, mut known) = (0.0, 0);
    for (old, new) in old.iter().zip(new).filter(|(old, new)| old.bytes + new.bytes > 0) {
        sum += ((old.bytes as f64 + LEAST_BYTES) / (new.bytes as f64 + LEAST_BYTES)).ln().abs();
        known += 1;
    }
    if known == 0 { f64::NAN } else { sum / f64::from(known) }
}

/// The graph at one turn: the value of a pair is the number of neighbours that the two have in common, each counted as
/// far as it is believed to be the same device, over the geometric mean of the numbers of neighbours. What is believed
/// comes from the round before, as when known seeds are propagated over two graphs (Narayanan and Shmatikov 2009).
pub struct Graph<'a> {
    old: Vec<&'a Sight>,
    new: Vec<&'a Sight>,
    /// By neighbour, the new pseudonyms that have it.
    having: BTreeMap<Place, Vec<usize>>,
}

impl<'a> Graph<'a> {
    /// Returns the graph of a turn.
    pub fn new(old: Vec<&'a Sight>, new: Vec<&'a Sight>) -> Self {
        let mut having: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (column, sight) in new.iter().enumerate() {
            sight.places.keys().for_each(|place| having.entry(*place).or_default().push(column));
        }
        Self { old, new, having }
    }

    /// Returns the values of all pairs, row by row; the less, the more alike. `belief` gives, for each old pseudonym,
    /// the new ones that it may be, each with its probability.
    pub fn values(&self, belief: &[Vec<(usize, f64)>]) -> Vec<f64> {
        let rows: BTreeMap<Place, usize> =
            self.old.iter().enumerate().map(|(row, sight)| (Place::Alias(sight.id), row)).collect();
        let columns: Vec<Place> = self.new.iter().map(|sight| Place::Alias(sight.id)).collect();
        let mut values = vec![0.0; self.old.len() * self.new.len()];
        for (row, sight) in self.old.iter().enumerate() {
            let values = &mut values[row * self.new.len()..(row + 1) * self.new.len()];
            let mut add = |place: &Place, share: f64| {
                self.having.get(place).into_iter().flatten().for_each(|column| values[*column] += share);
            };
            for place in sight.places.keys() {
                match rows.get(place) {
                    Some(neighbour) => {
                        belief[*neighbour].iter().for_each(|(column, share)| add(&columns[*column], *share));
                    }
                    None => add(place, 1.0),
                }
            }
            for (value, new) in values.iter_mut().zip(&self.new) {
                *value /= -((sight.places.len() * new.places.len()).max(1) as f64).sqrt();
            }
        }
        values
    }
}

/// The bits of an address that tell the devices of one network apart.
const HOST_BITS: u32 = 8;
/// The round-trip time in seconds below which times are alike.
const LEAST_DELAY: f64 = 1e-4;
/// The number of ranks at which two distributions are compared.
const RANKS: usize = 8;
/// The number of pieces from which on a histogram says something.
const FEWEST: u32 = 3;
/// The number of bytes below which rates are alike.
const LEAST_BYTES: f64 = 64.0;
