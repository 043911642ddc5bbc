//! Writer: the thread that writes groups of commits, and the thread that guards it.

use super::apply::Open;
use super::files;
use super::losses;
use super::open::{self, Failure};
use super::witness::Witness;
use super::{Shared, State, StoreError, size};
use crate::advice;
use crate::engine::store::Commit;
use crate::id::Lsn;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
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
    let writer = Writer {
        shared: Arc::clone(shared),
        open: Some(open),
        orphan: None,
        stuck: false,
        watch,
        guard: guard.thread().clone(),
    };
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

/// What the writer does in one go.
#[derive(Default)]
struct Work {
    group: VecDeque<Commit>,
    /// Keys of values that a reader has missed.
    suspects: BTreeSet<Vec<u8>>,
    /// Whether to sync the witness.
    witness: bool,
}

impl State {
    /// Takes the waiting commits, up to [`GROUP`] bytes.
    fn next_group(&mut self) -> VecDeque<Commit> {
        let mut bytes = 0;
        let fits = |commit: &&Commit| {
            let more = bytes < GROUP;
            bytes += size(commit);
            more
        };
        let count = self.waiting.iter().take_while(fits).count();
        let rest = self.waiting.split_off(count);
        std::mem::replace(&mut self.waiting, rest)
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// `None` after a failure, until the database is open again.
    open: Option<Open>,
    /// The database's file, if somebody has removed its name.
    orphan: Option<File>,
    /// sled could not be closed after a failure.
    stuck: bool,
    watch: Arc<Watch>,
    guard: Thread,
}

impl Writer {
    fn run(mut self) {
        while let Some(work) = self.next_work() {
            let mut delay = FIRST_RETRY;
            while let Err(error) = self.attempt(&work) {
                self.report(error);
                if !self.pause(delay) {
                    // The store closes while the disk fails: nothing of the group was reported durable.
                    self.finish();
                    return;
                }
                delay = (delay * 2).min(LAST_RETRY);
            }
            self.complete(&work.group);
        }
        self.finish();
    }

    /// Waits for work and returns it. `None` if the store closes and nothing waits.
    fn next_work(&self) -> Option<Work> {
        // The witness is synced at rest, and under load after twice the time.
        let witness = || Some(Work { witness: true, ..Work::default() });
        let lag = |open: &Open| open.witness_lag();
        let mut state = self.shared.state();
        loop {
            let lag = self.open.as_ref().and_then(lag);
            if lag.is_some_and(|lag| lag >= 2 * LAG) {
                return witness();
            }
            if !state.waiting.is_empty() || !state.suspects.is_empty() {
                let (group, suspects) = (state.next_group(), std::mem::take(&mut state.suspects));
                return Some(Work { group, suspects, witness: false });
            }
            if state.closing {
                return None;
            }
            let wanted = &self.shared.wanted;
            state = match lag.map(|lag| LAG.saturating_sub(lag)) {
                None => wanted.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return witness(),
                Some(left) => wanted.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// Does the work and makes it durable. After an error the database is closed, unless the work was not begun.
    fn attempt(&mut self, work: &Work) -> Result<(), StoreError> {
        let path = self.shared.path.display();
        if self.stuck {
            return Err(StoreError(format!("{path}: sled does not close after a failure; restart the node")));
        }
        let bytes = work.group.iter().map(size).sum::<usize>() as u64;
        if !work.group.is_empty() {
            // The parent directory is checked, since the store's own may have been removed.
            files::room(self.shared.path.parent().unwrap_or(&self.shared.path), bytes)
                .map_err(|error| StoreError(format!("{path}: {error}; free some space")))?;
        }
        self.watch.begin(&self.guard);
        let done = catch_unwind(AssertUnwindSafe(|| self.apply(work)));
        self.watch.end();
        let error = match done {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(_) => StoreError(format!("{}: sled gave up", self.shared.path.display())),
        };
        self.orphan = self.open.take().and_then(Open::into_orphan).or(self.orphan.take());
        self.stuck = !self.shared.close();
        Err(error)
    }

    fn apply(&mut self, work: &Work) -> Result<(), StoreError> {
        let path = self.shared.path.clone();
        let failed = |error: sled::Error| {
            let advice = match &error {
                sled::Error::Io(error) => advice::of(error),
                _ => "restart the node to have it checked",
            };
            StoreError(format!("{}: {error}; {advice}", path.display()))
        };
        if self.open.is_none() {
            self.reopen().map_err(|error| failed(error.into()))?;
        }
        let tree = self.shared.with_database(|database| database.cloned());
        let Some((tree, open)) = tree.zip(self.open.as_mut()) else {
            return Err(failed(io::Error::other("it is closed").into()));
        };
        let mut fsyncs = 0;
        let shared = &self.shared;
        let Work { group, suspects, witness } = work;
        let mut written = || {
            let loss = open.drop_lost(&tree, suspects.iter().cloned())?;
            if !group.is_empty() || loss.is_some() {
                open.commit(&tree, group, &mut fsyncs)?;
                shared.injected()?;
                open.sync(&mut fsyncs)?;
                open.move_sparse(&tree, &mut fsyncs)?;
                open.note(group)?;
            }
            if *witness {
                open.sync_witness(&mut fsyncs)?;
            }
            Ok(loss)
        };
        let written: sled::Result<_> = written();
        shared.state().counters.fsyncs += fsyncs;
        if let Some(loss) = written.map_err(failed)? {
            tracing::error!(place = loss.place, "{}; what is left of it is set aside", loss.reason);
            shared.state().losses.push_back(loss);
        }
        Ok(())
    }

    /// Opens the database again after a failure, by the mechanism of [`sled`](super).
    fn reopen(&mut self) -> io::Result<()> {
        self.shared.state().counters.retries += 1;
        let path = &self.shared.path;
        files::make_directory(path)?;
        files::probe(path)?;
        if let Some(orphan) = &self.orphan {
            files::name_again(orphan, path, files::DATABASE)?;
            self.orphan = None;
        }
        files::rewrite(path)?;
        let (database, checked) = open::open(path, &self.shared.shelf).map_err(|failure| match failure {
            Failure::Error(error) => io::Error::other(error),
            Failure::Damaged(reason) => io::Error::other(format!("{reason}; restart the node to have it set aside")),
        })?;
        let (witness, known) = Witness::open(path.parent().unwrap_or(path))?;
        if let Some(reason) = losses::lacks(&checked, known.as_ref()) {
            return Err(io::Error::other(format!("{reason}; restart the node to have it set aside")));
        }
        let mut fsyncs = 0;
        self.open = Some(Open::new(path, &self.shared.shelf, &database, checked, Some(witness), &mut fsyncs)?);
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
        state.counters.groups += u64::from(!group.is_empty());
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Reports a failure, if the disk did not fail before.
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

    /// Waits for `delay` and returns whether to go on; `false` when the store closes.
    fn pause(&self, delay: Duration) -> bool {
        let state = self.shared.state();
        let waited = self.shared.wanted.wait_timeout_while(state, delay, |state| !state.closing);
        !waited.unwrap_or_else(PoisonError::into_inner).0.closing
    }

    fn finish(&mut self) {
        if let Some(open) = &mut self.open {
            // An error is ignored, since the witness may lag.
            let _ = open.sync_witness(&mut 0);
        }
        self.watch.stop.store(true, SeqCst);
        self.guard.unpark();
    }
}

impl Shared {
    /// Returns an error if a test has asked for one.
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

/// The state of the writer, as the guard sees it.
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

/// Wakes the writer from waits that sled leaves without end. sled 0.34 writes buffers on threads of its own. If such a
/// write fails, it marks the database as failed but does not wake threads that wait for the write. Any later flush
/// wakes them, so this thread flushes a failed database while the writer works. At rest it sleeps.
fn guard(shared: &Shared, watch: &Watch) {
    while !watch.stop.load(SeqCst) {
        if watch.working.load(SeqCst) {
            thread::park_timeout(GUARD_LOOK);
            if watch.working.load(SeqCst) {
                shared.with_database(|database| {
                    if let Some(database) = database.filter(|database| database.context.global_error().is_err()) {
                        // The flush returns the error at once; its purpose is to wake the waiting threads.
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

/// How long the witness may lag before it is synced at rest; twice as long under load. See [`witness`](super::witness).
const LAG: Duration = Duration::from_millis(500);

/// The time from a failure to the first attempt to repeat the group.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// The longest time between attempts: the node recovers at most this long after the disk does.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// How often the guard checks while the writer works.
const GUARD_LOOK: Duration = Duration::from_secs(1);

/// A group takes no more commits once it has this many bytes: an almost full disk must have room for several times as
/// much, and this is more than enough to make up for an fsync.
const GROUP: usize = 1024 * 1024;

/// The guard's stack, in bytes.
const STACK: usize = 256 * 1024;
