//! A good path under limits where the best is too dear to find: Lagrangian relaxation.
//!
//! LARAC (Jüttner, Szviatovszki, Mécs, Rajkó, INFOCOM 2001) puts a price λ on the limited metric and searches for the least
//! objective + λ · metric, from the path that is too long and the one that is dear by turns, until λ no longer changes. With
//! several limits the metric is their sum, each as a share of its limit. Every path that comes up is checked against the
//! limits themselves. It is a few shortest-path trees, and no proof: the path may not be the best, and with several limits
//! one may be missed.

use super::Limit;
use super::labels::Ends;
use super::spf::From;
use super::terms::{CLOSED, Terms};
use crate::routing::graph::{EdgeIndex, Graph};

/// Most shortest-path trees. λ settles in fewer, nearly always.
const MAX_ROUNDS: usize = 8;
/// What a limit's full share counts.
const SHARE: u128 = 1 << 24;

/// The best path that keeps all `limits`, of those that come up and of `known`.
pub fn relaxed(
    graph: &Graph,
    terms: &Terms,
    ends: Ends<'_>,
    limits: &[(Limit, u64)],
    known: Option<Vec<EdgeIndex>>,
) -> Option<Vec<EdgeIndex>> {
    let share = |edge: usize| match *limits {
        [(limit, _)] => terms.part(graph, limit, edge),
        _ => limits.iter().fold(0, |sum: u64, (limit, most)| {
            let share = u128::from(terms.part(graph, *limit, edge)) * SHARE / u128::from((*most).max(1));
            sum.saturating_add(u64::try_from(share).unwrap_or(CLOSED))
        }),
    };
    let way = |cost: &dyn Fn(usize) -> u64| {
        let open =
            |edge: usize| if terms.steps[edge].objective == CLOSED { CLOSED } else { cost(edge).min(CLOSED - 1) };
        From::nearest(graph, &terms.steps, ends.from, ends.to, open)
    };
    let keeps = |way: &[EdgeIndex]| {
        limits.iter().all(|(limit, most)| {
            let parts = way.iter().map(|edge| terms.part(graph, *limit, *edge as usize));
            parts.fold(0, u64::saturating_add) <= *most
        })
    };
    let size = |way: &[EdgeIndex]| {
        (terms.objective(way), way.iter().fold(0, |sum: u64, edge| sum.saturating_add(share(*edge as usize))))
    };
    let mut best = known.map(|way| (terms.objective(&way), way));
    let mut take = |way: &Vec<EdgeIndex>| {
        let kept = keeps(way);
        if kept && best.as_ref().is_none_or(|(objective, _)| terms.objective(way) < *objective) {
            best = Some((terms.objective(way), way.clone()));
        }
        kept
    };
    let (long, short) = (way(&|edge| terms.steps[edge].objective)?, way(&share)?);
    take(&long);
    take(&short);
    for (limit, _) in limits {
        way(&|edge| terms.part(graph, *limit, edge)).iter().for_each(|way| _ = take(way));
    }
    let (mut long, mut short) = (size(&long), size(&short));
    for _ in 0..MAX_ROUNDS {
        let (dearer, longer) = (short.0.saturating_sub(long.0), long.1.saturating_sub(short.1));
        // λ = dearer / longer, with both cut to so many bits that no sum below overflows.
        let (room, other) = (short.0.max(1).leading_zeros(), long.1.max(1).leading_zeros());
        let cut = |value: u64, room: u32| (64 - value.leading_zeros()).saturating_sub(room.saturating_sub(2));
        let shift = cut(longer, room).max(cut(dearer, other));
        let (per_objective, per_part) = (longer >> shift.min(63), dearer >> shift.min(63));
        if per_objective == 0 || per_part == 0 {
            break;
        }
        let mixed = |edge: usize| {
            let objective = terms.steps[edge].objective.saturating_mul(per_objective);
            objective.saturating_add(share(edge).saturating_mul(per_part))
        };
        let Some(next) = way(&mixed) else { break };
        let weigh = |(objective, part): (u64, u64)| {
            u128::from(objective) * u128::from(per_objective) + u128::from(part) * u128::from(per_part)
        };
        let now = size(&next);
        let kept = take(&next);
        if weigh(now) >= weigh(long).min(weigh(short)) {
            break;
        }
        *(if kept { &mut short } else { &mut long }) = now;
    }
    best.map(|(_, way)| way)
}
