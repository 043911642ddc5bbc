//! Lagrangian relaxation: a price on each limited metric, so that paths that break a limit become dear.
//!
//! With prices λ, the least of objective + Σ λ · metric over all paths, less Σ λ · limit, is a lower bound of the objective
//! of any path that keeps the limits. The better the prices, the closer; and the paths that come up on the way are good
//! ones. Steps, for one limit those of LARAC (Jüttner, Szviatovszki, Mécs, Rajkó, INFOCOM 2001):
//!
//! 1. Begin without prices, and with the shortest path by objective.
//! 2. Take the limit that the path breaks most, as a share of it. Put that price on it at which the path is worth as much
//!    as one that keeps this limit. Search the shortest path by these prices.
//! 3. If it is shorter than both, it takes the place of the one on its side of the limit: go to 2. Else the price stands;
//!    go on with another limit that the path within this one breaks, if it breaks one.
//!
//! Every price gives a valid bound, so rounding and the end after some rounds cost no more than a little of it.

use super::field::{Field, Sums};
use super::spf::Towards;

/// Most shortest-path trees for each limit. One price settles in fewer, nearly always.
const MAX_ROUNDS: usize = 7;
/// Most bits of a price after the point.
const MAX_FRACTION: u32 = 16;

/// Prices: what an amount of each counts.
#[derive(Clone, Copy, Debug)]
pub struct Prices<const K: usize> {
    /// Of the objective: one, as a fixed-point number.
    pub objective: u64,
    /// Of the limited metrics.
    pub parts: [u64; K],
}

impl<const K: usize> Prices<K> {
    /// What sums come to; saturates.
    #[inline]
    pub fn of(&self, sums: &Sums<K>) -> u64 {
        let objective = sums.objective.saturating_mul(self.objective);
        let each = sums.parts.iter().zip(&self.parts);
        each.fold(objective, |sum, (part, price)| sum.saturating_add(part.saturating_mul(*price)))
    }

    /// The most that a path within the limits, and with no greater objective than the best known, can come to.
    pub fn most(&self, field: &Field<K>) -> u64 {
        self.of(&Sums { objective: field.most, parts: field.limits })
    }
}

/// Good prices, and offers the paths that come up to the field.
pub fn prices<const K: usize>(field: &mut Field<K>, shortest: Sums<K>) -> Prices<K> {
    let least: [Sums<K>; K] = std::array::from_fn(|at| {
        let way: Vec<_> = field.least[at].path_to(field, field.from).collect();
        field.sums_of(&way)
    });
    let largest = least.iter().map(|sums| sums.objective).max().unwrap_or(0);
    let fraction = largest.leading_zeros().saturating_sub(3).min(MAX_FRACTION);
    let mut prices = Prices { objective: 1 << fraction, parts: [0; K] };
    let (mut long, mut rounds) = (shortest, MAX_ROUNDS * K);
    let mut settled = [false; K];
    while let Some(at) = most_broken(field, &long).filter(|at| !settled[*at]) {
        let mut short = least[at];
        loop {
            prices.parts[at] = 0;
            let dearer = prices.of(&short).saturating_sub(prices.of(&long));
            let longer = long.parts[at].saturating_sub(short.parts[at]);
            prices.parts[at] = dearer.checked_div(longer).unwrap_or(0);
            if rounds == 0 || prices.parts[at] == 0 {
                return prices;
            }
            rounds -= 1;
            let tree = field.towards(prices.most(field), false, |sums| prices.of(sums));
            let way: Vec<_> = tree.path_to(field, field.from).collect();
            if way.is_empty() {
                return prices;
            }
            let next = field.offer(way);
            if prices.of(&next) >= prices.of(&long).min(prices.of(&short)) {
                break;
            }
            *(if next.parts[at] > field.limits[at] { &mut long } else { &mut short }) = next;
        }
        settled[at] = true;
        long = short;
    }
    prices
}

/// What is still to come by these prices, as far as it can matter.
pub fn ahead<const K: usize>(field: &Field<K>, prices: &Prices<K>) -> Towards {
    field.towards(prices.most(field), true, |sums| prices.of(sums))
}

/// The limit that is broken most, as a share of it.
fn most_broken<const K: usize>(field: &Field<K>, sums: &Sums<K>) -> Option<usize> {
    let shares = sums.parts.iter().zip(&field.limits).map(|(part, most)| {
        let by = part.saturating_sub(*most);
        (by, u128::from(by) * 1_000_000 / u128::from((*most).max(1)))
    });
    shares.enumerate().filter(|(_, (by, _))| *by > 0).max_by_key(|(_, (_, share))| *share).map(|(at, _)| at)
}
