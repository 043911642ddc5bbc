//! stub
use super::graph::{EdgeIndex, Graph, NodeIndex};
use super::policy::Wants;
pub use super::totals::{Limit, Totals};
use std::collections::{BTreeMap, BTreeSet};
/// .
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// .
    pub doubts: BTreeMap<(NodeIndex, NodeIndex), u16>,
    /// .
    pub shunned: BTreeSet<(NodeIndex, NodeIndex)>,
    /// .
    pub excluded: BTreeSet<NodeIndex>,
}
/// .
#[derive(Clone, Debug)]
pub struct Path { /// .
pub edges: Vec<EdgeIndex>, /// .
pub totals: Totals }
/// .
#[derive(Clone, Debug)]
pub struct Found { /// .
pub best: Path, /// .
pub alternate: Option<Path>, /// .
pub exact: bool }
/// .
#[derive(Clone, Debug)]
pub struct NoPath { /// .
pub nearest: Option<Miss> }
/// .
#[derive(Clone, Debug)]
pub struct Miss { /// .
pub path: Path, /// .
pub limit: Limit, /// .
pub by: u64 }
/// .
pub fn search(graph: &Graph, from: NodeIndex, to: &[NodeIndex], wants: &Wants, overlay: &Overlay) -> Result<Found, NoPath> {
    let mut best: Vec<Option<(u64, Option<EdgeIndex>)>> = vec![None; graph.len()];
    let mut queue = std::collections::BTreeSet::new();
    best[from as usize] = Some((0, None));
    queue.insert((0_u64, from));
    while let Some((cost, node)) = queue.pop_first() {
        if best[node as usize].is_some_and(|(c, _)| c < cost) { continue; }
        for (at, edge) in graph.from(node) {
            if overlay.excluded.contains(&edge.to) || overlay.shunned.contains(&(edge.from, edge.to)) { continue; }
            if wants.policy.avoid.is_some_and(|a| a & (1 << edge.bearer) != 0) { continue; }
            let next = cost + super::totals::weigh(&edge.metrics, &wants.policy.weights) + 1;
            if best[edge.to as usize].is_none_or(|(c, _)| next < c) {
                best[edge.to as usize] = Some((next, Some(at)));
                queue.insert((next, edge.to));
            }
        }
    }
    let Some(end) = to.iter().copied().filter(|t| best[*t as usize].is_some()).min_by_key(|t| best[*t as usize].map(|b| b.0)) else { return Err(NoPath { nearest: None }) };
    let mut edges = Vec::new();
    let mut at = end;
    while let Some((_, Some(edge))) = best[at as usize] { edges.push(edge); at = graph.edge(edge).from; }
    edges.reverse();
    let mut totals = Totals::default();
    for edge in &edges { let e = graph.edge(*edge); totals.add(&e.metrics, e.bearer, overlay.doubts.get(&(e.from, e.to)).copied()); }
    let path = Path { edges, totals };
    match totals.broken(wants) { None => Ok(Found { best: path, alternate: None, exact: true }), Some((limit, by)) => Err(NoPath { nearest: Some(Miss { path, limit, by }) }) }
}
