//! Store: keeps what the engine commits on disk, and says when it is durable.
//!
//! [`crate::engine::store`] defines tables and commits. On a device the [`Store`] is a [`SledStore`]; in tests and in
//! the simulator it is a [`MemoryStore`], which loses at a crash what was not flushed. [`DirectoryLock`] keeps a second
//! process out of a device's directory. The device's keys are in the [keystore](crate::keystore), not here.
//!
//! Invariants
//! 1. Commits become readable and durable in the order of their numbers, each whole or not at all.
//! 2. A number is reported durable only after everything up to it would survive a loss of power.
//! 3. What is durable is readable. What was only submitted may not be readable yet.

pub mod blobs;
pub mod lock;
pub mod memory;
pub mod sled;

pub use blobs::BlobDisk;
pub use lock::{DirectoryLock, LockError};
pub use memory::{MemoryDisk, MemoryStore};
pub use sled::{OpenError, Opened, SledReader, SledStore};

use crate::engine::store::{Commit, Read, Write};
use crate::id::Lsn;
use std::task::{Context, Poll};

/// Keeps commits in order. The node submits what the engine writes and polls for what has become durable.
pub trait Store: Send + 'static {
    /// Reads committed state: a commit is readable when it is durable, or earlier.
    type Reader: Read + Clone + Send + Sync + 'static;

    /// Returns a reader.
    fn reader(&self) -> Self::Reader;

    /// Takes a commit without blocking on the disk. The caller must stop submitting while `is_full` returns true.
    fn submit(&mut self, commit: Commit);

    /// Whether the commits that wait for the disk have reached the bound. This changes only when more becomes durable.
    fn is_full(&self) -> bool;

    /// Ready when more than `after` is durable: everything up to the returned number is safe.
    ///
    /// # Errors
    /// An error means that nothing more becomes durable until the store has recovered by itself. It is returned once,
    /// and the caller goes on polling.
    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>>;

    /// Returns a loss that was found since the store was opened and has not been returned yet. A loss wakes the caller
    /// of [`Store::poll_durable`].
    fn take_loss(&mut self) -> Option<Quarantine> {
        None
    }
}

/// A loss, and where the remains of what was lost are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The name of the directory, beside the store, that holds the remains.
    pub place: String,
    /// What is lost, and why.
    pub reason: String,
}

/// The disk failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot write: {0}")]
pub struct StoreError(pub String);

/// The maximum number of commits that wait for the disk: some 0.1 s of work for the slowest disk, and a bound on memory
/// at 1 KiB of bookkeeping for each.
pub const MAX_WAITING_COMMITS: usize = 1_024;

/// The maximum number of bytes that wait for the disk.
pub const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// Returns the number of bytes that count against [`MAX_WAITING_BYTES`].
fn size(commit: &Commit) -> usize {
    commit
        .writes
        .iter()
        .map(|write| match write {
            Write::Put { key, value, .. } => key.len() + value.len(),
            Write::Delete { key, .. } => key.len(),
        })
        .sum()
}
