//! Sled: the store of a device, on the database sled, which syncs its files to the disk itself.
//!
//! **Mechanism.** Commits wait in a bounded queue. One thread, the *writer*, takes those that wait as a group, applies
//! them in atomic batches of whole commits, makes the group durable with one fsync, publishes the last number and wakes
//! the task that polls. While the disk is busy the next group gathers: the slower the disk, the larger the groups.
//!
//! sled's own flush hands the bytes to the kernel (`sync_file_range`) and does not make the disk write its cache, so
//! this module syncs the files; [`files`] knows which. One tree holds all tables, since sled is atomic within a tree;
//! the first byte of a key is the number of its table. Large values are kept beside the tree, in [`packs`].
//!
//! **When the disk fails**, nothing of the group is reported durable, and the task that polls gets the error once. sled
//! cannot recover from a failed write within a process, and the kernel may drop the pages whose fsync failed while it
//! still shows them to readers. So the writer closes sled, writes every byte of its files again, opens it again and
//! repeats the group, with back-off until it succeeds. Repeating is harmless: it sets and removes the same keys. After
//! a failed write, a wait inside sled may never end; a second thread, the *guard*, gets the writer out of it. After
//! some failures, such as a blob that finds no space, sled cannot be closed; then the error says that the node must be
//! restarted. A full disk is noticed before that: a group is begun only if the disk has room for it and for what sled
//! writes besides. Meanwhile the database stays open to readers.
//!
//! **Opening** reads every entry once, so that damage shows at boot and not during work. sled silently leaves out what
//! it cannot read of its log. So the tree carries a [`sum`] of its entries, and a [`witness`] of what was durable is
//! kept beside the store. A store that lacks something, or cannot be read at all, is set aside as it was found
//! ([`losses`]), and the node goes on with what can be read. An error that says nothing about the content (no
//! permission, no space, too many open files) does not set a store aside.
//!
//! **While the store is open** its files may be removed by somebody. A database or pack without a name is written again
//! from the file that is still open. If the file of a large value is gone for good, only that value is lost, when it is
//! read.
//!
//! Invariants
//! 1. A commit is reported durable after an fsync that began after it was applied.
//! 2. At most [`MAX_WAITING_COMMITS`] commits or [`MAX_WAITING_BYTES`] wait if the caller heeds `is_full`.
//! 3. No data is deleted except packs that nothing refers to: a damaged store is renamed and kept as it was found.
//! 4. A store that holds less than was durable is never taken for whole, as far as the witness was synced.
//! 5. A start after a loss of power finds nothing lacking, whatever unsynced data reached the disk.
//! - A commit that is submitted while `is_full` is counted (`overruns`) and still served: a gap in the sequence would
//!   be worse.

mod apply;
mod files;
mod look;
mod losses;
mod open;
mod packs;
mod rescue;
mod sum;
mod tail;
mod witness;
mod writer;

pub use open::{OpenError, Opened};

use super::{MAX_WAITING_BYTES, MAX_WAITING_COMMITS, Quarantine, Store, StoreError, size};
use crate::engine::store::{Commit, Read, ReadError, Table};
use crate::id::Lsn;
use packs::{Shelf, Stored};
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

/// Counters of the store's work since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits that were made durable.
    pub commits: u64,
    /// Groups of commits that were made durable.
    pub groups: u64,
    /// Calls of fsync or fdatasync, on files and directories.
    pub fsyncs: u64,
    /// Times that the disk began to fail.
    pub failures: u64,
    /// Attempts to repeat a group.
    pub retries: u64,
    /// Commits that were submitted while the store was full.
    pub overruns: u64,
}

/// The store of a device. Dropping it writes what waits, unless the disk fails, and closes the files.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// If this store is a temporary copy, the copy: it is removed after the store was closed.
    copy: Option<look::Copy>,
}

/// State that the store, its readers and its threads share.
#[derive(Debug)]
struct Shared {
    /// The store's own directory.
    path: PathBuf,
    state: Mutex<State>,
    /// Notified when commits wait or the store closes.
    wanted: Condvar,
    shelf: Arc<Shelf>,
    /// `None` while the store is closed, for good or to recover.
    database: RwLock<Option<sled::Db>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Commit>,
    /// The number of commits that wait or are being written.
    pending: usize,
    pending_bytes: usize,
    durable: Lsn,
    waker: Option<Waker>,
    /// A failure that has not been returned by a poll yet.
    failure: Option<StoreError>,
    failing: bool,
    /// Keys of values that a reader has missed. At most as many as there are entries.
    suspects: BTreeSet<Vec<u8>>,
    /// Losses that have not been reported yet.
    losses: VecDeque<Quarantine>,
    closing: bool,
    counters: Counters,
    #[cfg(test)]
    fail_syncs: usize,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lends the database, which is not closed meanwhile. Only the writer may keep a clone: dropping the last clone
    /// closes the database and may block.
    fn with_database<T>(&self, usage: impl FnOnce(Option<&sled::Db>) -> T) -> T {
        usage(self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// Notes that a reader has missed the value of a key.
    fn suspect(&self, key: &[u8]) {
        self.state().suspects.insert(key.to_vec());
        self.wanted.notify_all();
    }

    fn set_database(&self, database: sled::Db) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    /// Closes the database and returns whether it is closed. After a failure sled may wait without end for a write that
    /// it has given up; the wait is left to a thread of its own, and this returns `false`. Then sled still holds its
    /// file until the process ends.
    fn close(&self) -> bool {
        let Some(database) = self.database.write().unwrap_or_else(PoisonError::into_inner).take() else { return true };
        let (closed, wait) = sync_channel(1);
        let close = move || {
            drop(database);
            // The receiver may have given up.
            let _ = closed.send(());
        };
        let started = std::thread::Builder::new().name("store-closer".into()).spawn(close);
        started.is_ok() && wait.recv_timeout(CLOSING).is_ok()
    }
}

impl SledStore {
    /// Returns the counters.
    pub fn counters(&self) -> Counters {
        self.shared.state().counters
    }
}

impl Store for SledStore {
    type Reader = SledReader;

    fn reader(&self) -> SledReader {
        SledReader { shared: Arc::clone(&self.shared) }
    }

    fn submit(&mut self, commit: Commit) {
        let full = self.is_full();
        let mut state = self.shared.state();
        state.counters.overruns += u64::from(full);
        state.pending += 1;
        state.pending_bytes += size(&commit);
        state.waiting.push_back(commit);
        drop(state);
        self.shared.wanted.notify_all();
    }

    fn is_full(&self) -> bool {
        let state = self.shared.state();
        state.pending >= MAX_WAITING_COMMITS || state.pending_bytes >= MAX_WAITING_BYTES
    }

    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>> {
        let mut state = self.shared.state();
        // While the disk fails, numbers that became durable before come first; after a recovery, the failure comes
        // first. So the last answer always tells the present state.
        if (!state.failing || state.durable <= after)
            && let Some(failure) = state.failure.take()
        {
            return Poll::Ready(Err(failure));
        }
        if state.durable > after {
            return Poll::Ready(Ok(state.durable));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn take_loss(&mut self) -> Option<Quarantine> {
        self.shared.state().losses.pop_front()
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.wanted.notify_all();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A thread returns an error only if it panicked; then there is nothing left to wait for.
            let _ = thread.join();
        }
        self.shared.close();
        self.copy = None;
    }
}

/// A reader of a [`SledStore`], for use on any thread. Reads fail while the store recovers and after it was dropped.
#[derive(Clone, Debug)]
pub struct SledReader {
    shared: Arc<Shared>,
}

impl SledReader {
    /// Runs a read, and turns a panic of sled, which damage may cause, into an error.
    fn read<T>(&self, read: impl Fn(&sled::Db) -> sled::Result<T>) -> Result<T, ReadError> {
        let path = self.shared.path.display();
        self.shared.with_database(|database| {
            let database = database.ok_or_else(|| ReadError(format!("{path} is closed")))?;
            match catch_unwind(AssertUnwindSafe(|| read(database))) {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(error)) => Err(ReadError(format!("{path}: {error}; restart the node to have it checked"))),
                Err(_) => Err(ReadError(format!("{path} is damaged; restart the node to have it checked"))),
            }
        })
    }
}

impl SledReader {
    /// Returns the value of an entry of the tree, or `None` if it was moved or removed meanwhile, or is lost.
    fn value(&self, raw: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let path = self.shared.path.display();
        let check = "restart the node to have it checked";
        match Stored::read(raw) {
            Some(Stored::Here(value)) => Ok(Some(value.to_vec())),
            Some(Stored::At(reference)) => match self.shared.shelf.read(&reference) {
                Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
                read => read.map_err(|error| ReadError(format!("{path}: {error}; {check}"))),
            },
            None => Err(ReadError(format!("{path} is damaged; {check}"))),
        }
    }

    /// Runs `look` and returns what it finds with its value. If the value was moved in between, it looks again. If the
    /// value is neither moved nor there, it is lost: the writer is told the key, and the result is `None`.
    fn find<T>(
        &self,
        look: impl Fn(&sled::Db) -> sled::Result<Option<(T, sled::IVec, sled::IVec)>>,
    ) -> Result<Option<(T, Vec<u8>)>, ReadError> {
        let mut before = None;
        loop {
            let Some((found, key, raw)) = self.read(&look)? else { return Ok(None) };
            if let Some(value) = self.value(&raw)? {
                return Ok(Some((found, value)));
            }
            if before.as_ref() == Some(&raw) {
                self.shared.suspect(&key);
                return Ok(None);
            }
            before = Some(raw);
        }
    }
}

impl Read for SledReader {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let key = full_key(table, key);
        let found = self.find(|database| Ok(database.get(&key)?.map(|raw| ((), key.as_slice().into(), raw))))?;
        Ok(found.map(|((), value)| value))
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        let mut from = full_key(table, from);
        loop {
            // Read in pages, so that neither sled's guard nor a panic of sled spans a call of `each`.
            let page = self.read(|database| page(database, table, &from))?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            let (last, full) = (last.to_vec(), page.len() == SCAN_PAGE);
            for (key, raw) in &page {
                let key = key.get(1..).unwrap_or_default();
                let value = match self.value(raw)? {
                    None => self.get(table, key)?,
                    value => value,
                };
                if value.is_some_and(|value| !each(key, &value)) {
                    return Ok(());
                }
            }
            if !full {
                return Ok(());
            }
            from = last;
            from.push(0);
        }
    }

    fn last(&self, table: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        let newest = |database: &sled::Db| {
            let newest = database.range(whole(table)).next_back().transpose()?;
            Ok(newest.map(|(key, raw)| (key.clone(), key, raw)))
        };
        let entry = self.find(newest)?;
        Ok(entry.map(|(key, value)| (key.get(1..).unwrap_or_default().to_vec(), value)))
    }
}

/// Returns one page of entries of a table, from the key `from` on.
fn page(database: &sled::Db, table: Table, from: &[u8]) -> sled::Result<Vec<(sled::IVec, sled::IVec)>> {
    let page: Vec<_> = database.range(from.to_vec()..whole(table).end).take(SCAN_PAGE).collect::<sled::Result<_>>()?;
    page.iter().try_for_each(|(key, _)| evict_behind(database, key))?;
    Ok(page)
}

/// Makes sled evict pages during a scan; called for each key. sled considers eviction in one of its 256 shards only
/// after 64 accesses to pages of it, whatever the capacity of its cache: a scan that accesses each page once would keep
/// some 16,000 pages, 40 MB of log records. One more access for each entry of a page triggers eviction sixteen times
/// earlier.
fn evict_behind(database: &sled::Db, key: &[u8]) -> sled::Result<()> {
    database.get(key).map(drop)
}

/// Returns the key in the tree: the table's number, then the key.
fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table as u8);
    full.extend_from_slice(key);
    full
}

/// Returns the range of all keys of a table.
fn whole(table: Table) -> std::ops::Range<Vec<u8>> {
    whole_range(table as u8)
}

/// Returns the range of all keys of a table by its number, which must not be 255.
fn whole_range(table: u8) -> std::ops::Range<Vec<u8>> {
    vec![table]..vec![table.saturating_add(1)]
}

/// How long closing may take: within the time that a node has to stop in good order.
const CLOSING: Duration = Duration::from_secs(2);

/// The number of entries that a scan reads at a time: at most 1 MiB of values below 16 KiB each, some 16 KiB of log
/// records.
const SCAN_PAGE: usize = 64;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
