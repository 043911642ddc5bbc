//! The disk: a [`Store`] keeps what the engine commits, and says when it is durable.
//!
//! See [`crate::engine::store`] for tables and commits. On a device it is a [`SledStore`]; in tests and in the
//! simulator a [`MemoryStore`], which loses at a crash what was not flushed. [`DirectoryLock`] keeps a second
//! process out of a device's directory. Its keys are not here but in the [keystore](crate::keystore).
//!
//! Invariants
//! 1. Commits become readable and durable in the order of their numbers, each whole or not at all.
//! 2. A number is reported durable only after everything up to it would survive a loss of power.
//! 3. What is durable is readable; what was only submitted may not be readable yet.

pub mod lock;
pub mod memory;
pub mod sled;

pub use lock::{DirectoryLock, LockError};
pub use memory::{MemoryDisk, MemoryStore};
pub use sled::{OpenError, Opened, SledReader, SledStore};

use crate::engine::store::{Commit, Read, Write};
use crate::id::Lsn;
use std::task::{Context, Poll};

/// Keeps commits in order. The node hands over what the engine wrote and polls for what has become durable; the
/// simulator has its own, which loses at a crash what it was not asked to flush or has not flushed yet.
pub trait Store: Send + 'static {
    /// Reads committed state: a commit is there at the latest when it is durable.
    type Reader: Read + Clone + Send + Sync + 'static;

    /// A reader.
    fn reader(&self) -> Self::Reader;

    /// Takes a commit. It does not block on the disk; the caller stops when `is_full`.
    fn submit(&mut self, commit: Commit);

    /// Whether as much is waiting for the disk as the bound allows. It falls only when durability advances.
    fn is_full(&self) -> bool;

    /// Ready when durability has advanced past `after`: everything up to the answer is safe. An error means that
    /// nothing more becomes durable until the store has recovered by itself; it comes once, and polling goes on.
    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>>;

    /// What was lost since it was opened, and has not been told yet. When there is something, whoever polls is woken.
    fn take_loss(&mut self) -> Option<Quarantine> {
        None
    }
}

/// Something was lost, and what is left of it is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Name of the directory, beside the store, in which it is.
    pub place: String,
    /// What is lost, and why.
    pub reason: String,
}

/// The disk failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot write: {0}")]
pub struct StoreError(pub String);

/// Most commits that wait for the disk: some 0.1 s at the slowest disk's pace, and at 1 KiB of bookkeeping each
/// a bound on memory.
pub const MAX_WAITING_COMMITS: usize = 1_024;

/// Most bytes that wait for the disk.
pub const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// What counts against [`MAX_WAITING_BYTES`].
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
