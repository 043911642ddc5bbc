//! Routing: what the network looks like, and which way a message takes.
//!
//! **Mechanism.** Every router tells in a signed link-state advertisement which links it has and what they are worth.
//! Of links that both ends advertise, at the worse of both claims, comes a [`graph`]. A message's [`policy`] says what it
//! wants of its path.
//!
//! Nodes of the graph are pseudonyms: a router that has a new credential for the next epoch is the same node.
//!
//! Invariants
//! 1. A link that only one end advertises is in no graph.
//! 2. The same database gives the same graph, and the same graph and query the same path, on every machine.
//! 3. A path visits no node twice and keeps every limit of its query.

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
