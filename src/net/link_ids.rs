//! Link ids: the numbers of links, which the node supplies, so that networks with different keys in one process share
//! none.

use crate::id::LinkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out each number once, from 1 on. All clones draw from the same sequence.
#[derive(Clone, Debug, Default)]
pub struct LinkIds(Arc<AtomicU64>);

impl LinkIds {
    /// Returns a number that no link has had.
    pub fn next(&self) -> LinkId {
        LinkId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
