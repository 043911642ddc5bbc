//! Path search: finds, of all paths to a set of routers, the best one under a policy's weights and limits, and an
//! alternate.
//!
//! **Mechanism.** What a policy minimises (the *objective*) adds up along a path, and so do the quantities that it
//! limits. Steps:
//!
//! 1. The policy and other knowledge ([`Overlay`]) are applied to the graph: avoided bearers, excluded nodes and
//!    shunned pairs are closed, and doubts make failures likelier.
//! 2. The shortest path by objective is found, without limits. If it keeps all limits, it is the answer; this is the
//!    usual case.
//! 3. Otherwise the search is repeated under the limits that the path broke, and then also under those that its answer
//!    breaks, until none is broken: a Lagrangian relaxation gives a lower bound, and a label search finds the best
//!    path. The result is exact, and the number of labels is bounded.
//! 4. If the bound on labels is reached, the answer is the best path that the relaxation met: a good path, not proven
//!    to be the best ([`Found::exact`]).
//! 5. If no path is found, the search is repeated with the shunned pairs open: a pair that has failed lately is better
//!    than none.
//! 6. In the same manner an alternate is found that shares no relay with the best path.
//!
//! A query without an answer gets the nearest miss: of the paths that are best by one metric each, the one that breaks
//! a limit least.
//!
//! Paths with equal objectives are ranked by hops. Further ties go, in step 2, to the lowest last edge, then the lowest
//! one before it, and so on; in step 3, to the path that is found first. All arithmetic is in integers, so every
//! machine that has the same graph finds the same path.
//!
//! Invariants
//! 1. A path keeps every limit, visits no node twice, and enters no excluded node.
//! 2. An exact answer is the best there is; an exact [`NoPath`] means that there is no path.
//! 3. The best path and its alternate share no relay and no edge.
//! 4. Time and memory are bounded, whatever the graph claims.

mod field;
mod labels;
mod lagrange;
mod miss;
mod objective;
mod spf;
#[cfg(test)]
mod tests;

use super::graph::{EdgeIndex, Graph, NodeIndex};
use super::policy::Wants;
use super::totals::nats;
use field::Ends;
use labels::Outcome;
use std::collections::{BTreeMap, BTreeSet};

pub use super::totals::{Limit, Totals};
pub use miss::{Miss, NoPath};
pub(super) use objective::{CLOSED, Objective, Step, View, effective};
pub(super) use spf::{FAR, From, NO_EDGE, Queue, ROOT, Reach, nearest, path_to};

/// What is known besides the graph. Nodes and pairs that are not in the graph are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    /// For a pair of nodes, the factor on the chance of arrival from one to the other, in parts of 65,535.
    pub doubts: BTreeMap<(NodeIndex, NodeIndex), u16>,
    /// The pairs to take only if there is no other path.
    pub shunned: BTreeSet<(NodeIndex, NodeIndex)>,
    /// The nodes not to enter, because the message has been there.
    pub excluded: BTreeSet<NodeIndex>,
    /// The most hops, because the frame has room for no more; `None` if there is no limit.
    pub hops: Option<u32>,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The edges, from the start on; none if the start is a target.
    pub edges: Vec<EdgeIndex>,
    /// The sums of the edges' metrics.
    pub totals: Totals,
}

impl Path {
    /// The nodes between its start and its end.
    pub fn relays<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = NodeIndex> + 'a {
        let but_last = self.edges.len().saturating_sub(1);
        self.edges[..but_last].iter().map(|edge| graph.edge(*edge).to)
    }

    /// The nodes after its start, its end included.
    pub fn hops<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = NodeIndex> + 'a {
        self.edges.iter().map(|edge| graph.edge(*edge).to)
    }
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The best path.
    pub best: Path,
    /// The best of the paths that share no relay with the best one. If that has one edge only, the best without that
    /// edge.
    pub alternate: Option<Path>,
    /// Whether `best` is proven to be the best.
    pub exact: bool,
    /// Whether shunned pairs were needed to find the path.
    pub last_resort: bool,
}

/// Finds the best path from a node to any of several targets.
///
/// # Errors
/// [`NoPath`] if no path keeps all limits, or none was found.
pub fn search(
    graph: &Graph,
    from: NodeIndex,
    to: &[NodeIndex],
    wants: &Wants,
    overlay: &Overlay,
) -> Result<Found, NoPath> {
    let to = targets(graph, to);
    let query = Query { graph, ends: Ends { from, to: &to }, wants, overlay };
    if (from as usize) >= graph.len() || to.is_empty() {
        return Err(NoPath { nearest: None });
    }
    query.first(query.objective(true))
}

/// The targets that are in the graph, ascending, each once.
pub(super) fn targets(graph: &Graph, to: &[NodeIndex]) -> Vec<NodeIndex> {
    let mut to: Vec<NodeIndex> = to.iter().copied().filter(|node| (*node as usize) < graph.len()).collect();
    to.sort_unstable();
    to.dedup();
    to
}

/// The parameters of a search.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query<'a> {
    pub graph: &'a Graph,
    pub ends: Ends<'a>,
    pub wants: &'a Wants,
    pub overlay: &'a Overlay,
}

impl<'a> Query<'a> {
    /// Creates a query. `to` must be as [`targets`] returns it.
    pub(super) fn new(
        graph: &'a Graph,
        from: NodeIndex,
        to: &'a [NodeIndex],
        wants: &'a Wants,
        overlay: &'a Overlay,
    ) -> Self {
        Self { graph, ends: Ends { from, to }, wants, overlay }
    }

    pub(super) fn view(&self, shun: bool) -> View<'a> {
        let policy = &self.wants.policy;
        View { weights: policy.weights, avoid: policy.avoid.unwrap_or(0), overlay: self.overlay, shun }
    }

    fn objective(&self, shun: bool) -> Objective {
        Objective::new(self.graph, self.view(shun))
    }

    /// Searches with the shunned pairs closed in `objective`; if that finds no path, searches with them open.
    fn first(&self, mut objective: Objective) -> Result<Found, NoPath> {
        match self.best(&objective, None) {
            Ok((best, exact)) => {
                let alternate = self.alternate(&mut objective, &best, None);
                Ok(Found { best, alternate, exact, last_resort: false })
            }
            Err(exact) => self.last_resort(objective, exact),
        }
    }

    /// Searches with the shunned pairs open. `exact` says whether it is proven that there is no path by `objective`.
    pub(super) fn last_resort(&self, mut objective: Objective, exact: bool) -> Result<Found, NoPath> {
        let mut outcome = Err(exact);
        if !self.overlay.shunned.is_empty() {
            objective = self.objective(false);
            outcome = self.best(&objective, None);
        }
        match outcome {
            Ok((best, exact)) => {
                let alternate = self.alternate(&mut objective, &best, None);
                Ok(Found { best, alternate, exact, last_resort: true })
            }
            Err(exact) => Err(NoPath { nearest: miss::nearest(self, &objective, exact) }),
        }
    }

    /// Step 2: the shortest path by objective, without limits.
    pub(super) fn shortest(&self, objective: &Objective) -> Option<Path> {
        let Self { graph, ends, .. } = *self;
        let edges = From::nearest(graph, &objective.steps, ends.from, ends.to, |edge| objective.steps[edge].objective)?;
        Some(objective.path(graph, edges))
    }

    /// Steps 2 to 4: returns a path, and whether it is proven to be the best; or, as the error, whether it is proven
    /// that there is none. `shortest` is the result of step 2, if it is known.
    pub(super) fn best(&self, objective: &Objective, shortest: Option<Path>) -> Result<(Path, bool), bool> {
        let Self { graph, ends, .. } = *self;
        let mut path = shortest.or_else(|| self.shortest(objective)).ok_or(true)?;
        let limits = self.limits();
        let mut binding = Vec::new();
        while !binding_more(&path, &limits, &mut binding) {
            match labels::constrained(graph, objective, ends, &binding, true) {
                Outcome::Found(edges) => path = objective.path(graph, edges),
                Outcome::None => return Err(true),
                Outcome::Capped(known) => return self.relaxed(objective, &limits, known),
            }
        }
        Ok((path, true))
    }

    /// Step 4: starts from a path that keeps some of the limits, if one is known.
    fn relaxed(
        &self,
        objective: &Objective,
        limits: &[(Limit, u64)],
        known: Option<Vec<EdgeIndex>>,
    ) -> Result<(Path, bool), bool> {
        let known = known.map(|edges| objective.path(self.graph, edges));
        if let Some(path) = known.filter(|path| broken(path, limits).next().is_none()) {
            return Ok((path, false));
        }
        match labels::constrained(self.graph, objective, self.ends, limits, false) {
            Outcome::Found(edges) | Outcome::Capped(Some(edges)) => Ok((objective.path(self.graph, edges), false)),
            Outcome::Capped(None) => Err(false),
            Outcome::None => Err(true),
        }
    }

    /// Step 6: closes in `objective` what the alternate may not share with the best path. `shortest` is the result of
    /// step 2, if it is known.
    pub(super) fn alternate(&self, objective: &mut Objective, best: &Path, shortest: Option<Path>) -> Option<Path> {
        if best.edges.is_empty() {
            return None;
        }
        objective.close_path(self.graph, best);
        self.best(objective, shortest).ok().map(|(path, _)| path)
    }

    /// The limits that are set, each as the greatest sum that is allowed.
    fn limits(&self) -> Vec<(Limit, u64)> {
        let Wants { policy, time, bytes } = self.wants;
        let per_message = |budget: u64| {
            let price = (u128::from(budget) * 1_000_000).checked_div(u128::from(*bytes))?;
            u64::try_from(price).ok()
        };
        let limits = [
            time.map(|time| (Limit::Time, time)),
            policy.budget.and_then(per_message).map(|price| (Limit::Budget, price)),
            policy.success.map(|least| (Limit::Success, nats(least))),
            self.overlay.hops.map(|hops| (Limit::Hops, hops.into())),
        ];
        limits.into_iter().flatten().collect()
    }

    /// The limits that a path breaks, and by how much: microseconds, micro-units of money, parts of 65,535, hops,
    /// bearers.
    pub(super) fn broken(&self, path: &Path) -> Vec<(Limit, u64)> {
        let Wants { policy, time, bytes } = self.wants;
        let Path { edges, totals } = path;
        let over = |is: u64, most: Option<u64>| most.map_or(0, |most| is.saturating_sub(most));
        let lacking = |least: u16| match totals.failures > nats(least) {
            true => u64::from(least.saturating_sub(totals.success())).max(1),
            false => 0,
        };
        let broken = [
            (Limit::Time, over(totals.delay, *time)),
            (Limit::Budget, over(totals.cost_of((*bytes).into()), policy.budget)),
            (Limit::Success, policy.success.map_or(0, lacking)),
            (Limit::Hops, over(edges.len() as u64, self.overlay.hops.map(u64::from))),
            (Limit::Bearer, (totals.bearers & policy.avoid.unwrap_or(0)).count_ones().into()),
        ];
        broken.into_iter().filter(|(_, by)| *by > 0).collect()
    }
}

/// Adds to `binding` the further limits that a path breaks; returns whether there are none.
fn binding_more(path: &Path, limits: &[(Limit, u64)], binding: &mut Vec<(Limit, u64)>) -> bool {
    let before = binding.len();
    for limit in broken(path, limits) {
        if !binding.contains(&limit) {
            binding.push(limit);
        }
    }
    binding.len() == before
}

/// The limits that a path breaks.
fn broken<'a>(path: &Path, limits: &'a [(Limit, u64)]) -> impl Iterator<Item = (Limit, u64)> + 'a {
    let (totals, hops) = (path.totals, path.edges.len() as u64);
    limits.iter().copied().filter(move |(limit, most)| {
        let sum = match limit {
            Limit::Time => totals.delay,
            Limit::Budget => totals.price,
            Limit::Success => totals.failures,
            Limit::Hops => hops,
            Limit::Bearer => 0,
        };
        sum > *most
    })
}
