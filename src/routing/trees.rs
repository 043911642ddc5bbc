//! Tree cache: shortest-path trees that are kept, so that most searches only follow a path in a tree.
//!
//! **Mechanism.** A tree holds the shortest paths from a node to all others, by given weights and without given
//! bearers. If a query's path in the tree keeps all of the query's limits, it is the answer, because no other path is
//! shorter. Its alternate is kept with it. Any other query needs a search, which starts from the tree's path
//! ([`search`](super::search)). Answers are the same as without trees.
//!
//! When the graph, a doubt or a shunned pair has changed, a tree is repaired the next time that it is needed: the edges
//! are compared with those that it was grown from, and only those nodes are reached anew that are behind a worse edge,
//! or are better reached by a better one. The result is the tree that would have been grown.
//!
//! Invariants
//! 1. A tree answers as [`search`](super::search::search) does.
//! 2. There are at most [`MAX_TREES`] trees. Drop policy: the least recently used one is dropped
//!    ([`Counters::dropped`]).
//! - A tree keeps at most [`MAX_ALTERNATES`] alternates. Drop policy: all are forgotten ([`Counters::forgotten`]).

mod repair;
#[cfg(test)]
mod tests;

use super::graph::{EdgeIndex, Graph, NodeIndex};
use super::policy::Wants;
use super::search::{
    Found, From, NoPath, Objective, Overlay, Path, Query, Reach, View, effective, nearest, path_to, targets,
};
use crate::id::Pseudonym;
use repair::Shape;
use std::collections::{BTreeMap, BTreeSet};

/// The most trees. A node searches from itself, so this is the number of policies that it serves at once without
/// growing trees anew.
pub const MAX_TREES: usize = 8;
/// The most destinations whose alternate a tree keeps: the number of routers of the largest area.
pub const MAX_ALTERNATES: usize = 1_024;

/// Counts of what was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// The queries that a tree answered.
    pub walked: u64,
    /// The queries that needed a search.
    pub searched: u64,
    /// The trees that were grown.
    pub grown: u64,
    /// The trees that were repaired, or found to be still valid, after a change.
    pub repaired: u64,
    /// The trees that were dropped for others.
    pub dropped: u64,
    /// The number of times that a tree forgot its alternates for want of room.
    pub forgotten: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct SptCache {
    kept: Vec<Kept>,
    asked: u64,
    counters: Counters,
}

/// The start, the weights and the avoided bearers of a tree.
type Key = (Pseudonym, [u8; 4], u16);

/// For each set of targets, the shortest path that is disjoint from the shortest one, if there is one. Only its edges
/// are kept, because metrics that the tree does not weigh may change.
type Alternates = BTreeMap<Vec<NodeIndex>, Option<Vec<EdgeIndex>>>;

#[derive(Debug)]
struct Kept {
    key: Key,
    /// The generation of the graph that it was grown from.
    generation: u64,
    doubts: BTreeMap<(NodeIndex, NodeIndex), u16>,
    shunned: BTreeSet<(NodeIndex, NodeIndex)>,
    shape: Shape,
    objective: Objective,
    reach: Vec<Reach>,
    alternates: Alternates,
    /// The number of the query that used it last.
    used: u64,
}

impl SptCache {
    /// Searches as [`search`](super::search::search) does. `generation` changes whenever `graph` does.
    ///
    /// # Errors
    /// [`NoPath`] if no path keeps all limits, or none was found.
    pub fn search(
        &mut self,
        graph: &Graph,
        generation: u64,
        from: NodeIndex,
        to: &[NodeIndex],
        wants: &Wants,
        overlay: &Overlay,
    ) -> Result<Found, NoPath> {
        let to = targets(graph, to);
        if (from as usize) >= graph.len() || to.is_empty() {
            return Err(NoPath { nearest: None });
        }
        let query = Query::new(graph, from, &to, wants, overlay);
        let at = self.tree(&query, generation, from);
        let (tree, counters) = (&mut self.kept[at], &mut self.counters);
        let shortest = tree.path(graph, &to).filter(|path| free(graph, path, overlay));
        if let Some(best) = shortest.clone().filter(|path| query.broken(path).is_empty()) {
            counters.walked += 1;
            let alternate = tree.alternate(&query, &best, counters);
            return Ok(Found { best, alternate, exact: true, last_resort: false });
        }
        counters.searched += 1;
        let mut objective = tree.objective.clone();
        overlay.excluded.iter().for_each(|node| objective.close_node(graph, *node));
        match query.best(&objective, shortest) {
            Ok((best, exact)) => {
                let alternate = query.alternate(&mut objective, &best, None);
                Ok(Found { best, alternate, exact, last_resort: false })
            }
            Err(exact) => query.last_resort(objective, exact),
        }
    }

    /// Counts of what was done since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The index of the tree that a query needs, up to date.
    fn tree(&mut self, query: &Query<'_>, generation: u64, from: NodeIndex) -> usize {
        let (graph, overlay) = (query.graph, query.overlay);
        let View { weights, avoid, .. } = query.view(true);
        let key = (*graph.node(from), effective(weights), avoid);
        self.asked += 1;
        let found = self.kept.iter().position(|tree| tree.key == key);
        if let Some(at) = found {
            let tree = &mut self.kept[at];
            tree.used = self.asked;
            if tree.holds(graph, generation, overlay) {
                return at;
            }
        }
        let everywhere = Overlay { excluded: BTreeSet::new(), ..overlay.clone() };
        let objective = Objective::new(graph, View { overlay: &everywhere, ..query.view(true) });
        let repaired = found.and_then(|at| self.kept[at].repaired(graph, &objective));
        let counter = if repaired.is_some() { &mut self.counters.repaired } else { &mut self.counters.grown };
        *counter += 1;
        let (reach, alternates) =
            repaired.unwrap_or_else(|| (From::all(graph, &objective.steps, from).reach, Alternates::new()));
        let Overlay { doubts, shunned, .. } = everywhere;
        let (shape, used) = (Shape::of(graph), self.asked);
        let tree = Kept { key, generation, doubts, shunned, shape, objective, reach, alternates, used };
        if let Some(at) = found {
            self.kept[at] = tree;
            return at;
        }
        if self.kept.len() >= MAX_TREES
            && let Some(oldest) = (0..self.kept.len()).min_by_key(|at| self.kept[*at].used)
        {
            self.kept.swap_remove(oldest);
            self.counters.dropped += 1;
        }
        self.kept.push(tree);
        self.kept.len() - 1
    }
}

impl Kept {
    /// Whether nothing that the tree depends on has changed.
    fn holds(&self, graph: &Graph, generation: u64, overlay: &Overlay) -> bool {
        self.generation == generation
            && self.reach.len() == graph.len()
            && self.objective.steps.len() == graph.edges().len()
            && self.doubts == overlay.doubts
            && self.shunned == overlay.shunned
    }

    /// The tree for another graph or objective, and the alternates that are still valid.
    fn repaired(&mut self, graph: &Graph, objective: &Objective) -> Option<(Vec<Reach>, Alternates)> {
        if self.objective == *objective && self.shape.is(graph) {
            return Some((std::mem::take(&mut self.reach), std::mem::take(&mut self.alternates)));
        }
        let reach = repair::repaired(&self.shape, &self.objective.steps, &self.reach, graph, &objective.steps)?;
        Some((reach, Alternates::new()))
    }

    fn path(&self, graph: &Graph, to: &[NodeIndex]) -> Option<Path> {
        let end = nearest(&self.reach, to)?;
        Some(self.objective.path(graph, path_to(&self.reach, &self.objective.steps, end)))
    }

    /// The best path that is disjoint from the tree's own.
    fn alternate(&mut self, query: &Query<'_>, best: &Path, counters: &mut Counters) -> Option<Path> {
        if best.edges.is_empty() {
            return None;
        }
        let (graph, overlay) = (query.graph, query.overlay);
        if !self.alternates.contains_key(query.ends.to) {
            let mut objective = self.objective.clone();
            objective.close_path(graph, best);
            if self.alternates.len() >= MAX_ALTERNATES {
                self.alternates.clear();
                counters.forgotten += 1;
            }
            self.alternates.insert(query.ends.to.to_vec(), query.shortest(&objective).map(|path| path.edges));
        }
        // If there is none without limits, there is none within them.
        let edges = self.alternates.get(query.ends.to)?.clone()?;
        let shortest = Some(self.objective.path(graph, edges)).filter(|path| free(graph, path, overlay));
        if shortest.as_ref().is_some_and(|path| query.broken(path).is_empty()) {
            return shortest;
        }
        let mut objective = self.objective.clone();
        overlay.excluded.iter().for_each(|node| objective.close_node(graph, *node));
        query.alternate(&mut objective, best, shortest)
    }
}

/// Whether a path enters no excluded node.
fn free(graph: &Graph, path: &Path, overlay: &Overlay) -> bool {
    overlay.excluded.is_empty() || !path.hops(graph).any(|node| overlay.excluded.contains(&node))
}
