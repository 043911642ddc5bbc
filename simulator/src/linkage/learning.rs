//! Learning: what a feature's value says about whether two pseudonyms are one device's.
//!
//! Values are put into bins, and each bin has a weight: the logarithm of how much more often it holds pairs that are one
//! device's than others (a likelihood ratio, with additive smoothing). Bins are those of all pairs, without regard to
//! which are one device's. The weights for a turn are learnt at all *other* turns, with the truth of these: the observer
//! is granted a network like this one in which it knows all devices, and nothing of the turn in question.
//!
//! Invariants
//! 1. The weights that are used at a turn do not depend on which pairs of that turn are one device's.

use super::features::Feature;

/// The bins of a feature's values at all turns.
pub struct Binned {
    /// By turn, the bin of each pair, row by row.
    pub bins: Vec<Vec<u8>>,
    /// By turn, the number of pairs that are one device's in each bin, and of all pairs.
    counts: Vec<[Vec<f64>; 2]>,
    number: usize,
}

impl Binned {
    /// Puts values into bins. `truth` gives for each turn and row the column of the same device, and `columns` the number
    /// of columns of each turn.
    pub fn new(feature: Feature, values: &[Vec<f64>], truth: &[Vec<Option<usize>>], columns: &[usize]) -> Self {
        let edges = match feature {
            Feature::Time => moments(),
            _ => edges(values),
        };
        let bin = |value: &f64| match value.is_nan() {
            true => UNKNOWN,
            false => 1 + edges.partition_point(|edge| edge < value) as u8,
        };
        let bins: Vec<Vec<u8>> = values.iter().map(|values| values.iter().map(bin).collect()).collect();
        let number = edges.len() + 2;
        let counts = bins.iter().zip(truth).zip(columns).map(|((bins, truth), columns)| {
            let (mut same, mut all) = (vec![0.0; number], vec![0.0; number]);
            bins.iter().for_each(|bin| all[usize::from(*bin)] += 1.0);
            for (row, column) in truth.iter().enumerate() {
                column.iter().for_each(|column| same[usize::from(bins[row * columns + column])] += 1.0);
            }
            [same, all]
        });
        Self { counts: counts.collect(), bins, number }
    }

    /// Returns the weight of each bin, learnt at all turns but these.
    pub fn weights(&self, but: [usize; 2]) -> Vec<f64> {
        let (mut same, mut other) = (vec![0.0; self.number], vec![0.0; self.number]);
        for (_, [same_there, all_there]) in self.counts.iter().enumerate().filter(|(at, _)| !but.contains(at)) {
            for bin in 0..self.number {
                same[bin] += same_there[bin];
                other[bin] += all_there[bin] - same_there[bin];
            }
        }
        // A value that is missing says nothing.
        let sum = |of: &[f64]| of.iter().skip(1).sum::<f64>() + SMOOTHING * (self.number - 1) as f64;
        let (of_same, of_other) = (sum(&same), sum(&other));
        let weight =
            |(same, other): (&f64, &f64)| ((same + SMOOTHING) / of_same).ln() - ((other + SMOOTHING) / of_other).ln();
        let mut weights: Vec<f64> = same.iter().zip(&other).map(weight).collect();
        weights[usize::from(UNKNOWN)] = 0.0;
        weights
    }
}

/// Returns the ends of bins: at equal ranks of all pairs, and finer towards both ends, since of n pairs with one old
/// pseudonym one is the same device's.
fn edges(values: &[Vec<f64>]) -> Vec<f64> {
    let step = (values.iter().map(Vec::len).sum::<usize>() / SAMPLED).max(1);
    let mut all: Vec<f64> = values.iter().flatten().step_by(step).copied().filter(|value| !value.is_nan()).collect();
    all.sort_by(f64::total_cmp);
    let mut ranks: Vec<usize> = (1..EQUAL).map(|part| all.len() * part / EQUAL).collect();
    let mut far = all.len() / 2;
    while far > 0 {
        ranks.extend([far - 1, all.len() - far]);
        far /= 2;
    }
    let mut edges: Vec<f64> = ranks.into_iter().filter_map(|rank| all.get(rank).copied()).collect();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    edges
}

/// Returns the ends of bins for times, in seconds: fine about the time for which a device has two pseudonyms.
fn moments() -> Vec<f64> {
    let fine = (-90..=0).map(|tenths| f64::from(tenths) / 10.0);
    let mut edges: Vec<f64> = FAR.iter().map(|far| -far).chain(fine).chain(FAR).collect();
    edges.sort_by(f64::total_cmp);
    edges
}

/// The bin of values that are no number.
const UNKNOWN: u8 = 0;
/// The number of bins with equal numbers of pairs.
const EQUAL: usize = 16;
/// The number of pairs, about, by which bins are made.
const SAMPLED: usize = 100_000;
/// What is added to the number of pairs in each bin.
const SMOOTHING: f64 = 0.2;
/// The ends of bins of times far off, in seconds.
const FAR: [f64; 10] = [10.0, 12.0, 15.0, 20.0, 30.0, 60.0, 100.0, 200.0, 400.0, 1_000.0];
