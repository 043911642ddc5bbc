//! Explain: why a path is chosen: which other paths exist, what rules them out, and what would change the choice.
//!
//! **Mechanism.** Beside the choice and its alternate, the candidates are the paths that are best without any limits:
//! by the policy's own weights, and by each of the four criteria alone. Each candidate lists the limits that it breaks.
//! One candidate is the runner-up: the best path, by the policy, that a limit rules out, if it is better than the
//! choice; otherwise the best path after the choice that keeps all limits. [`Explanation::change`] states what it
//! lacks.
//!
//! Invariants
//! 1. No two candidates are the same path.
//! - The choice is what [`search`] finds.

use super::graph::{Graph, NodeIndex};
use super::policy::{Criterion, Wants};
use super::search::{Found, NoPath, Objective, Overlay, Path, Query, View, effective, search, targets};
use super::totals::Limit;

/// All criteria, in the order of their numbers.
const CRITERIA: [Criterion; 4] = [Criterion::Cost, Criterion::Delay, Criterion::Failures, Criterion::Energy];

/// What makes a path a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The path is the choice.
    Chosen,
    /// The path is the best one that shares no relay with the choice.
    Alternate,
    /// There is no choice, and this path comes nearest to the limits.
    Nearest,
    /// The path would be the choice if there were no limits.
    Unlimited,
    /// The path is the best by this criterion alone.
    Best(Criterion),
}

/// A path that was considered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The roles of the path, ascending.
    pub roles: Vec<Role>,
    /// The path.
    pub path: Path,
    /// The value that the policy minimises: the sum of weight times metric, plus one for each hop.
    pub objective: u64,
    /// The limits that rule the path out, and by how much: microseconds, micro-units of money, parts of 65,535, hops,
    /// bearers.
    pub broken: Vec<(Limit, u64)>,
}

/// A change that would make the runner-up the choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The limit is looser by this amount. If there are several such changes, all of them are needed.
    Looser {
        /// The limit.
        limit: Limit,
        /// The amount, in the units of [`Candidate::broken`].
        by: u64,
    },
    /// The metric of the choice is worse by this amount, on links that the runner-up does not share. If there are
    /// several such changes, any of them is enough.
    Worse {
        /// The metric.
        criterion: Criterion,
        /// The amount, in the unit of the metric in [`Totals`](super::totals::Totals).
        by: u64,
    },
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The result of the search.
    pub outcome: Result<Found, NoPath>,
    /// The paths that were considered: the choice first, if there is one, then by role.
    pub candidates: Vec<Candidate>,
    /// The place of the runner-up among the candidates.
    pub runner_up: Option<usize>,
    /// The changes that would make the runner-up the choice.
    pub change: Vec<Change>,
}

/// Searches as [`search`] does, and explains the result.
pub fn explain(graph: &Graph, from: NodeIndex, to: &[NodeIndex], wants: &Wants, overlay: &Overlay) -> Explanation {
    let outcome = search(graph, from, to, wants, overlay);
    let to = targets(graph, to);
    let query = Query::new(graph, from, &to, wants, overlay);
    let mut paths = Vec::new();
    match &outcome {
        Ok(found) => {
            paths.push((Role::Chosen, found.best.clone()));
            paths.extend(found.alternate.iter().map(|path| (Role::Alternate, path.clone())));
        }
        Err(none) => paths.extend(none.nearest.iter().map(|miss| (Role::Nearest, miss.path.clone()))),
    }
    // Shunned pairs are open if they were needed to find the choice, and if there is no choice.
    let shun = outcome.as_ref().is_ok_and(|found| !found.last_resort);
    let free = |weights| Objective::new(graph, View { weights, avoid: 0, ..query.view(shun) });
    let objective = free(wants.policy.weights);
    if (from as usize) < graph.len() {
        paths.extend(query.shortest(&objective).map(|path| (Role::Unlimited, path)));
        for criterion in CRITERIA {
            let mut weights = [0; 4];
            weights[criterion as usize] = 1;
            paths.extend(query.shortest(&free(weights)).map(|path| (Role::Best(criterion), path)));
        }
    }
    let mut candidates: Vec<Candidate> = Vec::new();
    for (role, path) in paths {
        match candidates.iter_mut().find(|known| known.path.edges == path.edges) {
            Some(known) => known.roles.push(role),
            None => {
                let (objective, broken) = (objective.objective(&path.edges), query.broken(&path));
                candidates.push(Candidate { roles: vec![role], path, objective, broken });
            }
        }
    }
    let runner_up = runner_up(&candidates);
    let change = runner_up.map_or(Vec::new(), |at| change(&candidates[0], &candidates[at], wants.policy.weights));
    Explanation { outcome, candidates, runner_up, change }
}

fn runner_up(candidates: &[Candidate]) -> Option<usize> {
    let rank = |candidate: &Candidate| (candidate.objective, candidate.path.edges.len());
    let chosen = candidates.first().filter(|first| first.roles.contains(&Role::Chosen))?;
    let others = (1..).zip(&candidates[1..]);
    let fit = |other: &Candidate| other.broken.is_empty() || rank(other) < rank(chosen);
    others.filter(|(_, other)| fit(other)).min_by_key(|(_, other)| rank(other)).map(|(at, _)| at)
}

fn change(chosen: &Candidate, next: &Candidate, weights: [u8; 4]) -> Vec<Change> {
    if !next.broken.is_empty() {
        return next.broken.iter().map(|&(limit, by)| Change::Looser { limit, by }).collect();
    }
    let gap = next.objective.saturating_sub(chosen.objective);
    let weighed = CRITERIA.into_iter().zip(effective(weights)).filter(|(_, weight)| *weight > 0);
    weighed.map(|(criterion, weight)| Change::Worse { criterion, by: gap / u64::from(weight) + 1 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Pseudonym;
    use crate::routing::graph::Metrics;
    use crate::wire::data::Policy;

    /// The path over 1 is cheap and slow, the one over 2 expensive and fast, the one over 3 in between.
    fn graph() -> Graph {
        let node = |n: u8| Pseudonym([n; 32]);
        let edge = |from, to, bearer, price, delay| {
            (node(from), node(to), bearer, Metrics { price, delay, success: u16::MAX, ..Metrics::default() })
        };
        let ways = [(1, 0, 1, 100), (2, 0, 50, 5), (3, 4, 10, 30)];
        let edges = ways.into_iter().flat_map(|(over, bearer, price, delay)| {
            [edge(0, over, bearer, price, delay), edge(over, 4, bearer, price, delay)]
        });
        Graph::new((0..5).map(node), edges)
    }

    fn cheap() -> Wants {
        Wants { policy: Policy { weights: [2, 0, 0, 0], ..Policy::default() }, time: None, bytes: 1_000_000 }
    }

    fn over(graph: &Graph, candidate: &Candidate) -> Vec<NodeIndex> {
        candidate.path.relays(graph).collect()
    }

    /// Invariant 1.
    #[test]
    fn without_limits_the_choice_would_change_if_it_became_worse() {
        let graph = graph();
        let why = explain(&graph, 0, &[4], &cheap(), &Overlay::default());
        assert_eq!(why.candidates[0].roles[..3], [Role::Chosen, Role::Unlimited, Role::Best(Criterion::Cost)]);
        let next = why.runner_up.expect("another way");
        assert_eq!((over(&graph, &why.candidates[0]), over(&graph, &why.candidates[next])), (vec![1], vec![3]));
        // At 18 more the two would tie, in the objective and in hops.
        assert_eq!(why.change, [Change::Worse { criterion: Criterion::Cost, by: 19 }]);
        let fast = why.candidates.iter().find(|other| other.roles.contains(&Role::Best(Criterion::Delay)));
        assert_eq!(over(&graph, fast.expect("a fastest way")), [2]);
        assert!(why.candidates.iter().all(|candidate| candidate.broken.is_empty()));
    }

    #[test]
    fn the_limit_that_rules_a_better_way_out_is_named_and_by_how_much() {
        let graph = graph();
        let mut wants = cheap();
        wants.time = Some(150);
        let why = explain(&graph, 0, &[4], &wants, &Overlay::default());
        let next = why.runner_up.expect("the cheapest");
        assert_eq!((over(&graph, &why.candidates[0]), over(&graph, &why.candidates[next])), (vec![3], vec![1]));
        assert_eq!(why.change, [Change::Looser { limit: Limit::Time, by: 50 }]);
        wants.time = None;
        wants.policy.avoid = Some(1);
        let why = explain(&graph, 0, &[4], &wants, &Overlay::default());
        assert_eq!(why.change, [Change::Looser { limit: Limit::Bearer, by: 1 }]);
    }

    #[test]
    fn where_there_is_no_path_the_nearest_stands_first() {
        let graph = graph();
        let mut wants = cheap();
        wants.time = Some(9);
        let why = explain(&graph, 0, &[4], &wants, &Overlay::default());
        assert_eq!((why.runner_up, why.change), (None, Vec::new()));
        assert_eq!(why.candidates[0].roles, [Role::Nearest, Role::Best(Criterion::Delay)]);
        assert_eq!(why.candidates[0].broken, [(Limit::Time, 1)]);
        let nowhere = explain(&graph, 4, &[0], &wants, &Overlay::default());
        assert_eq!((nowhere.outcome, nowhere.candidates), (Err(NoPath { nearest: None }), Vec::new()));
        assert!(explain(&graph, 9, &[0], &wants, &Overlay::default()).candidates.is_empty());
    }
}
