//! The store of a device: sled, with a real flush.
//!
//! **Mechanism.** Commits wait in a bounded queue. One thread, the *writer*, takes what waits, applies
//! them in atomic batches of whole commits, makes the group durable with one fsync, reports the last number and wakes
//! whoever polls.
//! While the disk is busy the next group gathers: the slower the disk, the larger the groups.
//!
//! sled's own flush hands the bytes to the kernel (`sync_file_range`) and does not make the disk write its cache,
//! so the files are synced here; [`files`] knows which. One tree holds all tables, the table's number being the first
//! byte of a key, since sled is atomic within a tree. Large values lie beside it, in [`packs`].
//!
//! **When the disk fails**, nothing of the group is reported durable, and whoever polls hears of it once. sled does
//! not recover from a failed write within a process, and the kernel may drop the very pages whose fsync failed while
//! showing them to readers. So the writer closes sled, writes every byte of its files anew, opens it again and
//! repeats the group (repeating is harmless: it sets and removes the same keys), with back-off until it succeeds.
//! A second thread, the *guard*, gets the writer out of a wait inside sled that a failed write leaves without end. After
//! some failures, as of a blob that finds no room, sled cannot be closed; then the node has to be started again, and says
//! so. A full disk is seen before it comes to that: a group is not begun unless the disk has room for it and for what
//! sled writes besides; meanwhile the database stays open to readers.
//!
//! **Opening** reads every entry once, so that damage shows at boot and not in the middle of work. sled leaves out what it cannot
//! read of its log and says nothing; so the tree carries a [`sum`] of what it holds, and beside the store lies a [`witness`] of
//! what was durable. What lacks something, or cannot be read at all, is set aside as it was found ([`losses`]), and the node
//! goes on with what can be read. An error that says nothing about the content (no permission, no space, too many files) is
//! no reason for that.
//!
//! **While it is open** somebody may remove its files. A database or pack that has no name any more is written again from
//! what is open of it; a large value whose file is gone for good is lost when it is read, and nothing else is.
//!
//! Invariants
//! 1. A commit is reported durable after an fsync that began after it was applied.
//! 2. At most [`MAX_WAITING_COMMITS`] commits or [`MAX_WAITING_BYTES`] wait when the caller heeds `is_full`. One that
//!    does not is counted (`overruns`) and still served: a gap in the sequence would be worse.
//! 3. Nothing in the directory is ever removed but unfinished snapshots and packs that nothing refers to; damage is renamed.
//! 4. A store that holds less than was durable is never taken for whole, as far as the witness was synced.
//! 5. A start after a loss of power, whatever of the unsynced reached the disk, finds nothing lacking.

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

/// Commits and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Commits made durable.
    pub commits: u64,
    /// Groups they were in.
    pub groups: u64,
    /// Calls of fsync or fdatasync on files and directories since opening.
    pub fsyncs: u64,
    /// Times that the disk began to fail.
    pub failures: u64,
    /// Attempts to repeat a group.
    pub retries: u64,
    /// Commits submitted although the store was full.
    pub overruns: u64,
}

/// The store. Dropping it writes out what waits, unless the disk fails, and closes the files.
#[derive(Debug)]
pub struct SledStore {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// If it is one, which goes when the store has been closed.
    copy: Option<look::Copy>,
}

/// What the store, its readers and its threads share.
#[derive(Debug)]
struct Shared {
    /// The store's own directory.
    path: PathBuf,
    state: Mutex<State>,
    /// Told when commits wait or the store closes.
    wanted: Condvar,
    shelf: Arc<Shelf>,
    /// Nothing while the store is closed, for good or to recover.
    database: RwLock<Option<sled::Db>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Commit>,
    /// Commits waiting or being written.
    pending: usize,
    pending_bytes: usize,
    durable: Lsn,
    waker: Option<Waker>,
    /// A failure that nobody has polled yet.
    failure: Option<StoreError>,
    failing: bool,
    /// Keys of values that a reader has missed. Bounded by the entries that there are.
    suspects: BTreeSet<Vec<u8>>,
    /// What was lost, and nobody has been told yet.
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

    /// Uses the database, which is not closed meanwhile. Nobody but the writer keeps a clone: who drops the last one
    /// closes it, and may wait for that.
    fn with_database<T>(&self, usage: impl FnOnce(Option<&sled::Db>) -> T) -> T {
        usage(self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }

    /// A reader has missed the value of a key.
    fn suspect(&self, key: &[u8]) {
        self.state().suspects.insert(key.to_vec());
        self.wanted.notify_all();
    }

    fn set_database(&self, database: sled::Db) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }

    /// Closes the database. After a failure sled may wait without end for a write that it has given up: that is left to
    /// a thread of its own, and answers `false`. Then sled has not let go of its file, and only the end of the process
    /// makes it.
    fn close(&self) -> bool {
        let Some(database) = self.database.write().unwrap_or_else(PoisonError::into_inner).take() else { return true };
        let (closed, wait) = sync_channel(1);
        let close = move || {
            drop(database);
            // Whoever waited may have gone.
            let _ = closed.send(());
        };
        let started = std::thread::Builder::new().name("store-closer".into()).spawn(close);
        started.is_ok() && wait.recv_timeout(CLOSING).is_ok()
    }
}

impl SledStore {
    /// What it did so far.
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
        // While the disk fails, what became durable before comes first; once it has recovered, the failure does. So
        // the last answer always says how it is now.
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
            // Only a panic in the thread is an error, and then there is nothing left to wait for.
            let _ = thread.join();
        }
        self.shared.close();
        self.copy = None;
    }
}

/// Reads a [`SledStore`], from any thread. Reads fail while the store recovers and after it was dropped.
#[derive(Clone, Debug)]
pub struct SledReader {
    shared: Arc<Shared>,
}

impl SledReader {
    /// Runs a read; sled may panic on damage.
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
    /// The value that an entry of the tree stands for, or `None` if it has been moved or removed meanwhile, or is lost.
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

    /// What is found, and its value. A value that is moved between the two is looked for again; one that is not, and not there,
    /// is lost: the writer is told its key, and there is nothing.
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
            // In pages, so that neither sled's guard nor a panic of its own spans a call of `each`.
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

/// Entries from `from` on, within the table.
fn page(database: &sled::Db, table: Table, from: &[u8]) -> sled::Result<Vec<(sled::IVec, sled::IVec)>> {
    let page: Vec<_> = database.range(from.to_vec()..whole(table).end).take(SCAN_PAGE).collect::<sled::Result<_>>()?;
    page.iter().try_for_each(|(key, _)| evict_behind(database, key))?;
    Ok(page)
}

/// To be called for each key of a scan. sled looks at what to evict in one of its 256 shards only once 64 pages of
/// it were accessed, whatever the capacity of the cache: a scan that accesses each page once would keep some 16,000
/// pages, 40 MB of log records. Accessing a page once more for each of its entries gets there sixteen times earlier.
fn evict_behind(database: &sled::Db, key: &[u8]) -> sled::Result<()> {
    database.get(key).map(drop)
}

/// The table's number, then the key.
fn full_key(table: Table, key: &[u8]) -> Vec<u8> {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table as u8);
    full.extend_from_slice(key);
    full
}

/// All keys of a table.
fn whole(table: Table) -> std::ops::Range<Vec<u8>> {
    whole_range(table as u8)
}

/// The same by the number of a table, which is not the last one possible.
fn whole_range(table: u8) -> std::ops::Range<Vec<u8>> {
    vec![table]..vec![table.saturating_add(1)]
}

/// How long closing may take: within what a node has to stop in good order.
const CLOSING: Duration = Duration::from_secs(2);

/// Entries read at a time by a scan: at most 1 MiB of values at their bound, some 16 KiB of log records.
const SCAN_PAGE: usize = 64;

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
