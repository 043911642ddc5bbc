//! Numbers of links: the node gives them, so that networks with different keys in one process share none.

use crate::id::LinkId;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives each number once, from 1 on. A clone gives from the same numbers.
#[derive(Clone, Debug, Default)]
pub struct LinkIds(Arc<AtomicU64>);

impl LinkIds {
    /// One that no link has had.
    pub fn next(&self) -> LinkId {
        LinkId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
