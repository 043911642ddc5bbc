//! The writer thread, and its guard.

use super::files::{self, Files};
use super::open::{self, Failure};
use super::packs::{LARGE, Packs, Reference, Values, escaped};
use super::{Shared, StoreError, full_key, size};
use crate::engine::store::{Commit, Write};
use crate::id::Lsn;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// Starts both threads.
pub(super) fn start(shared: &Arc<Shared>, open: Open) -> io::Result<Vec<JoinHandle<()>>> {
    let watch = Arc::new(Watch::default());
    let guard = {
        let (shared, watch) = (Arc::clone(shared), Arc::clone(&watch));
        thread::Builder::new().name("store-guard".into()).stack_size(STACK).spawn(move || guard(&shared, &watch))?
    };
    let writer =
        Writer { shared: Arc::clone(shared), open: Some(open), stuck: false, watch, guard: guard.thread().clone() };
    let writer = thread::Builder::new().name("store-writer".into()).spawn(move || writer.run());
    match writer {
        Ok(writer) => Ok(vec![writer, guard]),
        Err(error) => {
            shared.state().closing = true;
            guard.thread().unpark();
            Err(error)
        }
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// Nothing after a failure, until the database is open again.
    open: Option<Open>,
    /// sled could not be closed after a failure.
    stuck: bool,
    watch: Arc<Watch>,
    guard: Thread,
}

impl Writer {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            let mut delay = FIRST_RETRY;
            while let Err(error) = self.attempt(&group) {
                self.report(error);
                if !self.pause(delay) {
                    // Closing while the disk fails: nothing of the group was ever reported durable.
                    self.finish();
                    return;
                }
                delay = (delay * 2).min(LAST_RETRY);
            }
            self.complete(&group);
        }
        self.finish();
    }

    /// The commits that wait, once there are some, up to [`GROUP`]. `None`: the store closes and nothing waits.
    fn next_group(&self) -> Option<VecDeque<Commit>> {
        let mut state = self.shared.state();
        while state.waiting.is_empty() {
            if state.closing {
                return None;
            }
            state = self.shared.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let fits = |commit: &&Commit| {
            let more = bytes < GROUP;
            bytes += size(commit);
            more
        };
        let count = state.waiting.iter().take_while(fits).count();
        let rest = state.waiting.split_off(count);
        Some(std::mem::replace(&mut state.waiting, rest))
    }

    /// Applies a group and makes it durable. After an error the database is closed, unless nothing was begun.
    fn attempt(&mut self, group: &VecDeque<Commit>) -> Result<(), StoreError> {
        let path = self.shared.path.display();
        if self.stuck {
            return Err(StoreError(format!("{path}: sled does not close after a failure; restart the node")));
        }
        let bytes = group.iter().map(size).sum::<usize>() as u64;
        files::room(&self.shared.path, bytes)
            .map_err(|error| StoreError(format!("{path}: {error}; free some space")))?;
        self.watch.begin(&self.guard);
        let done = catch_unwind(AssertUnwindSafe(|| self.apply(group)));
        self.watch.end();
        let error = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => StoreError(format!("{}: sled gave up", self.shared.path.display())),
        };
        self.open = None;
        self.stuck = !self.shared.close();
        Err(error)
    }

    fn apply(&mut self, group: &VecDeque<Commit>) -> Result<(), StoreError> {
        let path = self.shared.path.clone();
        let failed = |error: &dyn std::fmt::Display| {
            StoreError(format!("{}: {error}; free space or check the disk", path.display()))
        };
        if self.open.is_none() {
            self.reopen().map_err(|error| failed(&error))?;
        }
        let tree = self.shared.with_database(|database| database.cloned());
        let Some((tree, open)) = tree.zip(self.open.as_mut()) else { return Err(failed(&"it is closed")) };
        let mut fsyncs = 0;
        let shared = &self.shared;
        let written = open.write(&tree, group, &mut fsyncs).and_then(|()| {
            shared.injected()?;
            open.sync(&mut fsyncs)?;
            open.move_sparse(&tree, &mut fsyncs)
        });
        shared.state().counters.fsyncs += fsyncs;
        written.map_err(|error| failed(&error))
    }

    /// After a failure: see the module's doc.
    fn reopen(&mut self) -> io::Result<()> {
        self.shared.state().counters.retries += 1;
        files::probe(&self.shared.path)?;
        files::rewrite(&self.shared.path)?;
        let (database, values) =
            open::open(&self.shared.path, &self.shared.shelf).map_err(|failure| match failure {
                Failure::Error(error) => io::Error::other(error),
                Failure::Damaged(reason) => {
                    io::Error::other(format!("{reason}; restart the node to have it set aside"))
                }
            })?;
        let mut fsyncs = 0;
        self.open = Some(Open::new(&self.shared, values, &mut fsyncs)?);
        self.shared.set_database(database);
        self.shared.state().counters.fsyncs += fsyncs;
        Ok(())
    }

    fn complete(&self, group: &VecDeque<Commit>) {
        let mut state = self.shared.state();
        state.pending -= group.len();
        state.pending_bytes -= group.iter().map(size).sum::<usize>();
        state.durable = group.back().map_or(Lsn(0), |commit| commit.lsn).max(state.durable);
        state.failing = false;
        state.counters.commits += group.len() as u64;
        state.counters.groups += 1;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Tells of the first failure of a spell.
    fn report(&self, error: StoreError) {
        let mut state = self.shared.state();
        if state.failing {
            return;
        }
        tracing::error!(%error, "nothing is acknowledged until the disk takes writes again");
        state.failing = true;
        state.failure = Some(error);
        state.counters.failures += 1;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Waits, and answers whether to go on: not when the store closes.
    fn pause(&self, delay: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.wanted.wait_timeout_while(state, delay, |state| !state.closing);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    fn finish(&self) {
        self.watch.stop.store(true, SeqCst);
        self.guard.unpark();
    }
}

impl Shared {
    /// An error that a test has asked for.
    fn injected(&self) -> io::Result<()> {
        #[cfg(test)]
        {
            let mut state = self.state();
            if state.fail_syncs > 0 {
                state.fail_syncs -= 1;
                return Err(io::Error::other("injected"));
            }
        }
        Ok(())
    }
}

/// The files of an open store.
pub(super) struct Open {
    files: Files,
    packs: Packs,
}

impl Open {
    /// Of a store whose tree holds these references.
    pub(super) fn new(shared: &Shared, values: Values, fsyncs: &mut u64) -> io::Result<Self> {
        // Packs first: what the tree refers to is durable before the tree is.
        let packs = Packs::open(Arc::clone(&shared.shelf), values, fsyncs)?;
        Ok(Self { files: Files::open(&shared.path, fsyncs)?, packs })
    }

    /// Hands a group to the kernel, and large values to the disk.
    fn write(&mut self, tree: &sled::Db, group: &VecDeque<Commit>, fsyncs: &mut u64) -> sled::Result<()> {
        let mut references = Vec::new();
        for write in group.iter().flat_map(|commit| &commit.writes) {
            if let Write::Put { value, .. } = write
                && value.len() >= LARGE
            {
                references.push(self.packs.write(value)?);
            }
        }
        self.packs.sync(fsyncs)?;
        // Several commits to a batch of sled's, since each batch costs it two waits for the kernel, and a key that all
        // of them set is written once.
        let (mut batch, mut bytes) = (sled::Batch::default(), 0);
        let mut references = references.into_iter();
        for commit in group {
            for write in &commit.writes {
                bytes += self.add(&mut batch, write, &mut references);
            }
            if bytes >= BATCH {
                tree.apply_batch(std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        if bytes > 0 {
            tree.apply_batch(batch)?;
        }
        tree.flush().map(drop)
    }

    /// Adds a change to a batch, and answers how large it is there. A later one takes the place of an earlier one.
    fn add(
        &mut self,
        batch: &mut sled::Batch,
        write: &Write,
        references: &mut impl Iterator<Item = Reference>,
    ) -> usize {
        let (table, key, value) = match write {
            Write::Put { table, key, value } => (table, key, Some(value)),
            Write::Delete { table, key } => (table, key, None),
        };
        let key = full_key(*table, key);
        let reference = value.filter(|value| value.len() >= LARGE).and_then(|_| references.next());
        let bytes = key.len();
        match (value, reference) {
            (_, Some(reference)) => {
                let encoded = reference.encode();
                self.packs.put(key.clone(), reference);
                batch.insert(key, encoded);
                bytes
            }
            (Some(value), None) => {
                self.packs.remove(&key);
                batch.insert(key, &*escaped(value));
                bytes + value.len()
            }
            (None, None) => {
                self.packs.remove(&key);
                batch.remove(key);
                bytes
            }
        }
    }

    fn sync(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        self.files.sync(fsyncs)?;
        self.packs.tidy();
        Ok(())
    }

    /// Moves what little is left in a pack, if packs take more than they may. What cannot be read stays.
    fn move_sparse(&mut self, tree: &sled::Db, fsyncs: &mut u64) -> sled::Result<()> {
        let mut moved = Vec::new();
        for (key, reference) in self.packs.sparse() {
            match self.packs.read(&reference) {
                Ok(Some(value)) => moved.push((key, self.packs.write(&value)?)),
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error.into()),
                _ => {}
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.packs.sync(fsyncs)?;
        let mut batch = sled::Batch::default();
        for (key, reference) in moved {
            batch.insert(key.as_slice(), reference.encode());
            self.packs.put(key, reference);
        }
        tree.apply_batch(batch)?;
        tree.flush()?;
        Ok(self.sync(fsyncs)?)
    }
}

/// What the guard sees of the writer.
#[derive(Debug, Default)]
struct Watch {
    working: AtomicBool,
    parked: AtomicBool,
    stop: AtomicBool,
}

impl Watch {
    fn begin(&self, guard: &Thread) {
        self.working.store(true, SeqCst);
        if self.parked.swap(false, SeqCst) {
            guard.unpark();
        }
    }

    fn end(&self) {
        self.working.store(false, SeqCst);
    }
}

/// sled 0.34 writes buffers on threads of its own, and when such a write fails, it marks the database as failed but
/// does not wake who waits for the write. Any later flush wakes them; so there is one while the writer works on a
/// failed database. At rest this thread sleeps.
fn guard(shared: &Shared, watch: &Watch) {
    while !watch.stop.load(SeqCst) {
        if watch.working.load(SeqCst) {
            thread::park_timeout(GUARD_LOOK);
            if watch.working.load(SeqCst) {
                shared.with_database(|database| {
                    if let Some(database) = database.filter(|database| database.context.global_error().is_err()) {
                        // It returns the error at once; waking the waiters is all it is for.
                        let _ = database.flush();
                    }
                });
            }
            continue;
        }
        watch.parked.store(true, SeqCst);
        if !watch.working.load(SeqCst) && !watch.stop.load(SeqCst) {
            thread::park();
        }
        watch.parked.store(false, SeqCst);
    }
}

/// Between a failure and the first attempt to repeat.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Longest wait between attempts: how long after the disk works again the node does.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// How often the guard looks while the writer works.
const GUARD_LOOK: Duration = Duration::from_secs(1);

/// A group takes no more commits once it has this many bytes: what a nearly full disk must have room for, several times
/// over, and more than enough to make up for an fsync.
const GROUP: usize = 1024 * 1024;

/// A batch of sled's takes no more commits once it has this many bytes: half a segment, all of which sled holds in
/// memory until the batch ends.
const BATCH: usize = 256 * 1024;

/// The guard's stack, in bytes.
const STACK: usize = 256 * 1024;
