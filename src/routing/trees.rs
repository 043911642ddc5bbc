//! stub
use super::graph::{Graph, NodeIndex};
use super::policy::Wants;
use super::search::{Found, NoPath, Overlay, search};
/// .
#[derive(Debug, Default)]
pub struct Trees;
impl Trees {
    /// .
    pub fn search(
        &mut self,
        graph: &Graph,
        _generation: u64,
        from: NodeIndex,
        to: &[NodeIndex],
        wants: &Wants,
        overlay: &Overlay,
    ) -> Result<Found, NoPath> {
        search(graph, from, to, wants, overlay)
    }
}
