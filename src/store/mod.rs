//! The disk: a [`Store`] keeps what the engine commits, and says when it is durable.
//!
//! See [`crate::engine::store`] for tables and commits.

pub mod device_dir;
pub mod ledger_dir;
pub mod private_file;
pub mod realm_dir;

use crate::engine::store::{Commit, Read};
use crate::id::Lsn;
use std::task::{Context, Poll};

/// Keeps commits in order. The node hands over what the engine wrote and polls for what has become durable; the
/// simulator has its own, which loses at a crash what it was not asked to flush or has not flushed yet.
pub trait Store: Send + 'static {
    /// Reads committed state, durable or not yet.
    type Reader: Read + Clone + Send + Sync + 'static;

    /// A reader.
    fn reader(&self) -> Self::Reader;

    /// Takes a commit. It does not block on the disk; the caller stops when `is_full`.
    fn submit(&mut self, commit: Commit);

    /// Whether as much is waiting for the disk as the bound allows.
    fn is_full(&self) -> bool;

    /// Ready when durability has advanced past `after`: everything up to the answer is safe. An error means that
    /// nothing more becomes durable until the store has recovered by itself; polling goes on.
    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>>;
}

/// The disk failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot write: {0}")]
pub struct StoreError(pub String);
