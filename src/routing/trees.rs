//! Shortest-path trees that are kept, so that most searches are a walk.
//!
//! **Mechanism.** A tree holds the shortest paths from a node to all others, by some weights and past some bearers. A query
//! whose path in the tree keeps all of its limits is answered by that path: no other is shorter. Its alternate is
//! remembered beside it. Any other query takes the long way, from the tree's path on ([`search`](super::search)); answers
//! are the same as without trees.
//!
//! When the graph, a doubt or a shunned pair has changed, the tree is repaired when it is next asked for: edges are
//! compared with those it was grown from, and only what lies behind a worse edge, or is better reached by a better one, is
//! reached anew. The tree is then the one that would have been grown.
//!
//! Invariants
//! 1. A tree answers as [`search`](super::search::search) does.
//! 2. There are at most [`MAX_TREES`]; drop policy: the one used least recently ([`Counters::dropped`]).
//! 3. A tree remembers at most [`MAX_ALTERNATES`]; drop policy: all are forgotten ([`Counters::forgotten`]).

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

/// Most trees. A node asks from itself, so this is how many policies it serves at once without growing trees anew.
pub const MAX_TREES: usize = 8;
/// Most destinations whose alternate a tree remembers: as many as there are routers in an area.
pub const MAX_ALTERNATES: usize = 1_024;

/// What has been done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Queries that a tree answered.
    pub walked: u64,
    /// Queries that took the long way.
    pub searched: u64,
    /// Trees grown.
    pub grown: u64,
    /// Trees that were repaired, or found to hold still, after a change.
    pub repaired: u64,
    /// Trees dropped for others.
    pub dropped: u64,
    /// Times a tree forgot its alternates for want of room.
    pub forgotten: u64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct SptCache {
    kept: Vec<Kept>,
    asked: u64,
    counters: Counters,
}

/// From where, by which weights, past which bearers.
type Key = (Pseudonym, [u8; 4], u16);

/// By targets: the shortest path that is disjoint from the shortest, if there is one. Its edges only: what they are worth
/// may change in what the tree does not weigh.
type Alternates = BTreeMap<Vec<NodeIndex>, Option<Vec<EdgeIndex>>>;

#[derive(Debug)]
struct Kept {
    key: Key,
    /// What it was grown from.
    generation: u64,
    doubts: BTreeMap<(NodeIndex, NodeIndex), u16>,
    shunned: BTreeSet<(NodeIndex, NodeIndex)>,
    shape: Shape,
    objective: Objective,
    reach: Vec<Reach>,
    alternates: Alternates,
    /// When it was asked last, in queries.
    used: u64,
}

impl SptCache {
    /// As [`search`](super::search::search); `generation` changes whenever `graph` does.
    ///
    /// # Errors
    /// As there.
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

    /// What has been done since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The place of the tree that a query needs, as of now.
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
    /// Whether nothing has changed since.
    fn holds(&self, graph: &Graph, generation: u64, overlay: &Overlay) -> bool {
        self.generation == generation
            && self.reach.len() == graph.len()
            && self.objective.steps.len() == graph.edges().len()
            && self.doubts == overlay.doubts
            && self.shunned == overlay.shunned
    }

    /// The tree of another graph, or by other terms, and the alternates that still hold.
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

    /// The best path beside the tree's own.
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
        // None without limits is none within them.
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
