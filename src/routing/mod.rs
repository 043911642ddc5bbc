//! Routing: what the network looks like, and which path a message takes.
//!
//! **Mechanism.** Every router advertises its links and their metrics in a signed link-state advertisement (LSA). The
//! links that both ends advertise form a [`graph`]; each metric is the worse of the two claims. A message's [`policy`]
//! states what the message wants of its path, and [`search`] finds that path.
//!
//! Nodes of the graph are pseudonyms: a router that has a new credential for the next epoch is the same node.
//!
//! Invariants
//! 1. A link that only one end claims is in no graph, except that a node that has advertised nothing uses its own links
//!    as it sees them.
//! 2. The same graph and query give the same path on every machine: ties are broken by a fixed rule.
//! 3. A path visits no node twice and keeps every limit of its query.
//! - The same database gives the same graph on every machine.

pub mod explain;
pub mod flooding;
pub mod graph;
pub mod hold_down;
pub mod locating;
pub mod lsdb;
pub mod origin;
pub mod policies;
pub mod policy;
pub mod search;
pub mod totals;
pub mod tree;
pub mod trees;
