//! Lagrangian relaxation: puts a price on each limited metric, so that paths that break a limit become expensive.
//!
//! With prices λ, the minimum of objective + Σ λ · metric over all paths, minus Σ λ · limit, is a lower bound of the
//! objective of any path that keeps the limits. The better the prices, the closer is the bound; and the paths that are
//! found in the course of this are good ones. For one limit, the steps are those of LARAC (Jüttner, Szviatovszki, Mécs,
//! Rajkó, INFOCOM 2001):
//!
//! 1. Begin without prices, and with the shortest path by objective.
//! 2. Take the limit that the path breaks most, relative to the limit. Set its price so that the path costs as much as
//!    one that keeps this limit. Find the shortest path by these prices.
//! 3. If it is shorter than both, it replaces the one on its side of the limit; repeat step 2. Otherwise keep the
//!    price, and go on with another limit that the path within this one breaks, if it breaks one.
//!
//! Any prices give a valid bound, so rounding, and stopping after a number of rounds, only make the bound a little
//! weaker.

use super::field::{Field, Sums};
use super::spf::Towards;

/// The most shortest-path trees for each limit. One price nearly always settles in fewer.
const MAX_ROUNDS: usize = 7;
/// The most fractional bits of a price.
const MAX_FRACTION: u32 = 16;

/// The prices: what a unit of each quantity costs.
#[derive(Clone, Copy, Debug)]
pub struct Prices<const K: usize> {
    /// The price of the objective: one, as a fixed-point number.
    pub objective: u64,
    /// The prices of the limited metrics.
    pub parts: [u64; K],
}

impl<const K: usize> Prices<K> {
    /// The cost of sums at these prices; saturates.
    #[inline]
    pub fn of(&self, sums: &Sums<K>) -> u64 {
        let objective = sums.objective.saturating_mul(self.objective);
        let each = sums.parts.iter().zip(&self.parts);
        each.fold(objective, |sum, (part, price)| sum.saturating_add(part.saturating_mul(*price)))
    }

    /// The most that a path can cost that keeps the limits and has no greater objective than the best known one.
    pub fn most(&self, field: &Field<K>) -> u64 {
        self.of(&Sums { objective: field.most, parts: field.limits })
    }
}

/// Finds good prices, and offers the paths that are found to the field.
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

/// The tree of remaining costs at these prices, as far as it can matter.
pub fn ahead<const K: usize>(field: &Field<K>, prices: &Prices<K>) -> Towards {
    field.towards(prices.most(field), true, |sums| prices.of(sums))
}

/// The limit that is broken most, relative to the limit.
fn most_broken<const K: usize>(field: &Field<K>, sums: &Sums<K>) -> Option<usize> {
    let shares = sums.parts.iter().zip(&field.limits).map(|(part, most)| {
        let by = part.saturating_sub(*most);
        (by, u128::from(by) * 1_000_000 / u128::from((*most).max(1)))
    });
    shares.enumerate().filter(|(_, (by, _))| *by > 0).max_by_key(|(_, (_, share))| *share).map(|(at, _)| at)
}
