//! Misses: why there is no path, by the path that comes nearest to the limits.

use super::objective::{CLOSED, Objective, avoided};
use super::spf::From;
use super::{Limit, Path, Query};
use crate::routing::graph::EdgeIndex;

/// The result of a search that found no path within all limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPath {
    /// The path that came nearest; `None` if no path exists even without limits.
    pub nearest: Option<Miss>,
}

/// A path that breaks a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Miss {
    /// The path.
    pub path: Path,
    /// The limit that it breaks most.
    pub limit: Limit,
    /// By how much: microseconds, micro-units of money, parts of 65,535, bearers, hops.
    pub by: u64,
    /// Whether it is proven that no path keeps all limits.
    pub exact: bool,
}

/// Considers the paths that are best by a limited metric or by the objective, and returns the one whose most broken
/// limit is broken least, relative to the limit. If every path uses bearers to avoid, returns the one over the fewest
/// such links.
pub fn nearest(query: &Query<'_>, objective: &Objective, exact: bool) -> Option<Miss> {
    let within = query.limits().into_iter().map(|(limit, _)| Some(limit)).chain([None]);
    let ways = within.filter_map(|limit| {
        cheapest(query, objective, |edge| match limit {
            Some(limit) => objective.part(query.graph, limit, edge),
            None => objective.steps[edge].objective,
        })
    });
    let misses = ways.filter_map(|edges| miss(query, objective.path(query.graph, edges), exact));
    misses.min_by_key(|(share, _)| *share).map(|(_, miss)| miss).or_else(|| over_avoided(query))
}

fn over_avoided(query: &Query<'_>) -> Option<Miss> {
    let avoid = query.wants.policy.avoid.filter(|avoid| *avoid != 0)?;
    let mut view = query.view(false);
    view.avoid = 0;
    let objective = Objective::new(query.graph, view);
    let edges = cheapest(query, &objective, |edge| match objective.steps[edge].objective {
        CLOSED => CLOSED,
        _ => avoided(avoid, query.graph.edges()[edge].bearer).into(),
    })?;
    let path = objective.path(query.graph, edges);
    let (limit, by) = query.broken(&path).into_iter().find(|(limit, _)| *limit == Limit::Bearer)?;
    Some(Miss { path, limit, by, exact: true })
}

fn cheapest(query: &Query<'_>, objective: &Objective, cost: impl Fn(usize) -> u64) -> Option<Vec<EdgeIndex>> {
    From::nearest(query.graph, &objective.steps, query.ends.from, query.ends.to, cost)
}

/// The limit that a path breaks most, and by what fraction of the limit, in millionths; `None` if it breaks none.
fn miss(query: &Query<'_>, path: Path, exact: bool) -> Option<(u128, Miss)> {
    let policy = &query.wants.policy;
    let shares = query.broken(&path).into_iter().map(|(limit, by)| {
        let whole = match limit {
            Limit::Time => query.wants.time.unwrap_or(0),
            Limit::Budget => policy.budget.unwrap_or(0),
            Limit::Success => policy.success.unwrap_or(0).into(),
            Limit::Hops => query.overlay.hops.unwrap_or(0).into(),
            Limit::Bearer => 1,
        };
        (u128::from(by) * 1_000_000 / u128::from(whole.max(1)), limit, by)
    });
    let (share, limit, by) = shares.max_by_key(|(share, limit, _)| (*share, std::cmp::Reverse(*limit)))?;
    Some((share, Miss { path, limit, by, exact }))
}
