//! Classify: which new pseudonym succeeds which old one, at every turn of the epoch.
//!
//! The score of a pair is the sum of its features' weights (naive Bayes), and the answer at a turn is the assignment with
//! the greatest sum. What one pair is tells something of its neighbours: after a first round without the graph, the scores
//! of each round are the belief with which the next one compares the graph. Features are not independent, so that sums
//! are overconfident: before they are taken for probabilities they are divided by a number, the temperature (Guo et al.
//! 2017). Weights and temperature for a turn are learnt at all others, anew for each turn, in every round.

use super::assignment::assign;
use super::features::{Feature, Graph};
use super::learning::Binned;
use super::views::Sight;

/// A turn of the epoch, as an observer sees it.
pub struct Turn<'a> {
    /// The pseudonyms of the epoch before.
    pub old: Vec<&'a Sight>,
    /// The pseudonyms of the epoch after.
    pub new: Vec<&'a Sight>,
    /// By old pseudonym, the new one of the same device, if it is seen. It is used at other turns only.
    pub truth: Vec<Option<usize>>,
}

/// The answer at a turn, by old pseudonym.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The new pseudonym that is taken for its successor.
    pub successors: Vec<Option<usize>>,
    /// The entropy of the probabilities of all new pseudonyms, in bits.
    pub bits: Vec<f64>,
}

/// The turns with the values of their features, which many answers have in common.
pub struct Classifier<'a> {
    turns: &'a [Turn<'a>],
    truth: Vec<Vec<Option<usize>>>,
    columns: Vec<usize>,
    binned: Vec<(Feature, Binned)>,
    graphs: Vec<Graph<'a>>,
}

impl<'a> Classifier<'a> {
    /// Compares all pairs at all turns. `port` gives the port at which a pseudonym would listen if ports were kept.
    pub fn new(turns: &'a [Turn<'a>], port: &dyn Fn(&Sight) -> u16) -> Self {
        let truth: Vec<Vec<Option<usize>>> = turns.iter().map(|turn| turn.truth.clone()).collect();
        let columns: Vec<usize> = turns.iter().map(|turn| turn.new.len()).collect();
        let values = |feature: Feature| -> Vec<Vec<f64>> {
            let of = |turn: &Turn<'_>| {
                let pairs = turn.old.iter().flat_map(|old| turn.new.iter().map(move |new| (*old, *new)));
                pairs.map(|(old, new)| feature.of(old, new, port)).collect()
            };
            turns.iter().map(of).collect()
        };
        let binned =
            Feature::FIXED.map(|feature| (feature, Binned::new(feature, &values(feature), &truth, &columns))).into();
        let graphs = turns.iter().map(|turn| Graph::new(turn.old.clone(), turn.new.clone())).collect();
        Self { turns, truth, columns, binned, graphs }
    }

    /// Answers at all turns, by these features.
    pub fn answers(&self, features: &[Feature]) -> Vec<Answer> {
        (0..self.turns.len()).map(|turn| self.answer(turn, features)).collect()
    }

    /// Answers at one turn.
    fn answer(&self, tested: usize, features: &[Feature]) -> Answer {
        let fixed: Vec<&Binned> =
            self.binned.iter().filter(|(feature, _)| features.contains(feature)).map(|(_, binned)| binned).collect();
        // Weights for another turn leave that turn out, too, so that all scores come about in the same manner.
        let score = |all: &[&Binned]| -> Vec<Vec<f64>> {
            (0..self.turns.len()).map(|turn| self.scores(all, turn, [tested, turn])).collect()
        };
        let mut scores = score(&fixed);
        let mut temperature = self.temperature(&scores, tested);
        if features.contains(&Feature::Graph) {
            for _ in 0..ROUNDS {
                let value = |(turn, graph): (usize, &Graph<'_>)| {
                    graph.values(&self.belief(&scores[turn], self.columns[turn], temperature))
                };
                let values: Vec<Vec<f64>> = self.graphs.iter().enumerate().map(value).collect();
                let graph = Binned::new(Feature::Graph, &values, &self.truth, &self.columns);
                let all: Vec<&Binned> = fixed.iter().copied().chain([&graph]).collect();
                scores = score(&all);
                temperature = self.temperature(&scores, tested);
            }
        }
        let (columns, scores) = (self.columns[tested], &scores[tested]);
        if columns == 0 {
            let rows = self.turns[tested].old.len();
            return Answer { successors: vec![None; rows], bits: vec![0.0; rows] };
        }
        let rows: Vec<Vec<f64>> = scores.chunks(columns).map(<[f64]>::to_vec).collect();
        let bits = rows.iter().map(|row| entropy(&probabilities(row, temperature))).collect();
        Answer { successors: assign(&rows), bits }
    }

    fn scores(&self, all: &[&Binned], turn: usize, but: [usize; 2]) -> Vec<f64> {
        let mut scores = vec![0.0; self.turns[turn].old.len() * self.columns[turn]];
        for binned in all {
            let weights = binned.weights(but);
            for (score, bin) in scores.iter_mut().zip(&binned.bins[turn]) {
                *score += weights[usize::from(*bin)];
            }
        }
        scores
    }

    /// Returns the temperature at which the truth of all turns but one has the greatest likelihood.
    fn temperature(&self, scores: &[Vec<f64>], tested: usize) -> f64 {
        let likelihood = |temperature: f64| -> f64 {
            let mut sum = 0.0;
            for (turn, scores) in scores.iter().enumerate().filter(|(turn, _)| *turn != tested) {
                let rows = scores.chunks(self.columns[turn].max(1)).zip(&self.truth[turn]);
                for (row, column) in rows.filter_map(|(row, column)| Some((row, (*column)?))) {
                    sum += probabilities(row, temperature)[column].max(1e-12).ln();
                }
            }
            sum
        };
        let best = TEMPERATURES.map(|temperature| (likelihood(temperature), temperature));
        best.into_iter().max_by(|one, other| one.0.total_cmp(&other.0)).map_or(1.0, |(_, temperature)| temperature)
    }

    /// Returns for each old pseudonym the new ones that it may be.
    fn belief(&self, scores: &[f64], columns: usize, temperature: f64) -> Vec<Vec<(usize, f64)>> {
        let row = |row: &[f64]| {
            let all = probabilities(row, temperature).into_iter().enumerate();
            all.filter(|(_, share)| *share >= LEAST_BELIEF).collect()
        };
        let rows = scores.len() / columns.max(1);
        let mut belief: Vec<Vec<(usize, f64)>> = scores.chunks(columns.max(1)).map(row).collect();
        belief.resize(rows.max(self.most_rows()), Vec::new());
        belief
    }

    fn most_rows(&self) -> usize {
        self.turns.iter().map(|turn| turn.old.len()).max().unwrap_or_default()
    }
}

/// Returns the probabilities of scores that are logarithms, all alike a priori.
fn probabilities(scores: &[f64], temperature: f64) -> Vec<f64> {
    let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut all: Vec<f64> = scores.iter().map(|score| ((score - most) / temperature).exp()).collect();
    let sum: f64 = all.iter().sum();
    all.iter_mut().for_each(|share| *share /= sum);
    all
}

fn entropy(probabilities: &[f64]) -> f64 {
    -probabilities.iter().filter(|share| **share > 0.0).map(|share| share * share.log2()).sum::<f64>() + 0.0
}

/// The number of times that the graph is compared.
const ROUNDS: usize = 3;
/// The probability below which a pair is not believed in.
const LEAST_BELIEF: f64 = 0.02;
/// The temperatures that are tried.
const TEMPERATURES: [f64; 9] = [0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0, 30.0];
