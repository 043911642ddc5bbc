//! Memory: a store with the one property of a disk that matters here: a crash loses what was not flushed.
//!
//! **Mechanism.** Commits are readable at once. A flush takes a fixed time, measured by a [`Delay`], which is virtual
//! in the simulator. It covers what was committed when it began, and the next begins when it ends, as with group commit
//! on a disk. For every commit that is not flushed yet, the values that it replaced are kept, so that a crash can undo
//! it.

use super::{MAX_WAITING_BYTES, MAX_WAITING_COMMITS, Store, StoreError, size};
use crate::engine::store::{Commit, Read, ReadError, Table, Write};
use crate::id::Lsn;
use futures_timer::Delay;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The content of the disk of a memory store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryDisk {
    /// Values by the number of the table and the key.
    entries: BTreeMap<(u8, Vec<u8>), Vec<u8>>,
}

/// A store in memory, which loses at a crash what was not flushed.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Arc<RwLock<MemoryDisk>>,
    /// Commits that are not durable yet, the oldest first.
    waiting: VecDeque<Undo>,
    waiting_bytes: usize,
    durable: Lsn,
    flush: Duration,
    /// The flush under way, and the number that will be durable when it ends.
    flushing: Option<(Option<Delay>, Lsn)>,
    failure: Option<StoreError>,
    failure_told: bool,
    waker: Option<Waker>,
}

/// The values that undo a commit.
#[derive(Debug)]
struct Undo {
    lsn: Lsn,
    size: usize,
    /// The value before each of its writes, in their order.
    replaced: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
}

impl MemoryStore {
    /// Creates an empty store whose flushes take this long.
    pub fn new(flush: Duration) -> Self {
        Self::open(MemoryDisk::default(), flush)
    }

    /// Creates a store with the content that an earlier one left, whose flushes take this long.
    pub fn open(disk: MemoryDisk, flush: Duration) -> Self {
        Self {
            disk: Arc::new(RwLock::new(disk)),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            durable: Lsn(0),
            flush,
            flushing: None,
            failure: None,
            failure_told: false,
            waker: None,
        }
    }

    /// Undoes all commits that are not durable, as a loss of power does, and returns what the disk holds. Readers of
    /// this store see the same.
    pub fn crash(mut self) -> MemoryDisk {
        let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        while let Some(undo) = self.waiting.pop_back() {
            for (table, key, value) in undo.replaced.into_iter().rev() {
                disk.set(table, key, value);
            }
        }
        disk.clone()
    }

    /// Lets the disk fail with this reason from now on, or work again. A flush under way has no effect.
    pub fn set_failure(&mut self, reason: Option<&str>) {
        self.failure = reason.map(|reason| StoreError(reason.to_owned()));
        self.failure_told = false;
        self.flushing = None;
        self.start_flush();
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn start_flush(&mut self) {
        if self.flushing.is_some() || self.failure.is_some() {
            return;
        }
        let Some(newest) = self.waiting.back() else { return };
        // A flush that takes no time has already ended: it needs no timer.
        let mut delay = (!self.flush.is_zero()).then(|| Delay::new(self.flush));
        if let Some(waker) = &self.waker {
            // The timer is armed now, so that its end wakes the last caller of `poll_durable`.
            let mut cx = Context::from_waker(waker);
            if delay.as_mut().is_none_or(|delay| Pin::new(delay).poll(&mut cx).is_ready()) {
                waker.wake_by_ref();
            }
        }
        self.flushing = Some((delay, newest.lsn));
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some((delay, lsn)) = &mut self.flushing else { return Poll::Pending };
        let lsn = *lsn;
        if delay.as_mut().is_some_and(|delay| Pin::new(delay).poll(cx).is_pending()) {
            return Poll::Pending;
        }
        while let Some(flushed) = self.waiting.pop_front_if(|undo| undo.lsn <= lsn) {
            self.waiting_bytes -= flushed.size;
        }
        self.durable = lsn;
        self.flushing = None;
        self.start_flush();
        Poll::Ready(())
    }
}

impl Store for MemoryStore {
    type Reader = MemoryReader;

    fn reader(&self) -> MemoryReader {
        MemoryReader { disk: Arc::clone(&self.disk) }
    }

    fn submit(&mut self, commit: Commit) {
        let size = size(&commit);
        let mut replaced = Vec::with_capacity(commit.writes.len());
        let mut disk = self.disk.write().unwrap_or_else(PoisonError::into_inner);
        for write in commit.writes {
            let (table, key, value) = match write {
                Write::Put { table, key, value } => (table, key, Some(value)),
                Write::Delete { table, key } => (table, key, None),
            };
            let before = disk.set(table, key.clone(), value);
            replaced.push((table, key, before));
        }
        drop(disk);
        self.waiting_bytes += size;
        self.waiting.push_back(Undo { lsn: commit.lsn, size, replaced });
        self.start_flush();
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING_COMMITS || self.waiting_bytes >= MAX_WAITING_BYTES
    }

    fn poll_durable(&mut self, after: Lsn, cx: &mut Context<'_>) -> Poll<Result<Lsn, StoreError>> {
        self.waker = Some(cx.waker().clone());
        if let Some(failure) = &self.failure {
            if self.durable > after {
                return Poll::Ready(Ok(self.durable));
            }
            if self.failure_told {
                return Poll::Pending;
            }
            self.failure_told = true;
            return Poll::Ready(Err(failure.clone()));
        }
        while self.poll_flush(cx).is_ready() {}
        if self.durable > after { Poll::Ready(Ok(self.durable)) } else { Poll::Pending }
    }
}

impl MemoryDisk {
    /// Sets or removes a value, and returns the one before.
    fn set(&mut self, table: Table, key: Vec<u8>, value: Option<Vec<u8>>) -> Option<Vec<u8>> {
        match value {
            Some(value) => self.entries.insert((table as u8, key), value),
            None => self.entries.remove(&(table as u8, key)),
        }
    }
}

impl Read for MemoryDisk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.entries.get(&(table as u8, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        let table = table as u8;
        for ((_, key), value) in self.entries.range((table, from.to_vec())..(table + 1, Vec::new())) {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        let table = table as u8;
        let newest = self.entries.range((table, Vec::new())..(table + 1, Vec::new())).next_back();
        Ok(newest.map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

/// A reader of a [`MemoryStore`].
#[derive(Clone, Debug)]
pub struct MemoryReader {
    disk: Arc<RwLock<MemoryDisk>>,
}

impl Read for MemoryReader {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner).get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner).scan(table, from, each)
    }

    fn last(&self, table: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        self.disk.read().unwrap_or_else(PoisonError::into_inner).last(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use std::future::poll_fn;

    fn put(lsn: u64, key: &[u8], value: &[u8]) -> Commit {
        let write = Write::Put { table: Table::Meta, key: key.to_vec(), value: value.to_vec() };
        Commit { lsn: Lsn(lsn), writes: vec![write] }
    }

    fn flushed(store: &mut MemoryStore, after: u64) -> Result<Lsn, StoreError> {
        block_on(poll_fn(|cx| store.poll_durable(Lsn(after), cx)))
    }

    /// Invariant 1.
    #[test]
    fn a_crash_loses_what_was_not_flushed() {
        let mut store = MemoryStore::new(Duration::from_millis(1));
        store.submit(put(1, b"a", b"old"));
        assert_eq!(flushed(&mut store, 0), Ok(Lsn(1)));
        store.submit(put(2, b"a", b"new"));
        store.submit(put(3, b"b", b"new"));
        store.submit(Commit { lsn: Lsn(4), writes: vec![Write::Delete { table: Table::Meta, key: b"a".to_vec() }] });
        assert_eq!(store.reader().get(Table::Meta, b"a"), Ok(None));
        assert_eq!(store.reader().get(Table::Meta, b"b"), Ok(Some(b"new".to_vec())));
        let disk = store.crash();
        assert_eq!(disk.get(Table::Meta, b"a"), Ok(Some(b"old".to_vec())));
        assert_eq!(disk.get(Table::Meta, b"b"), Ok(None));
        let reopened = MemoryStore::open(disk, Duration::ZERO);
        assert_eq!(reopened.reader().last(Table::Meta), Ok(Some((b"a".to_vec(), b"old".to_vec()))));
    }

    /// Invariant 2.
    #[test]
    fn a_flush_covers_what_was_there_when_it_began() {
        let mut store = MemoryStore::new(Duration::from_millis(1));
        store.submit(put(1, b"a", b"1"));
        store.submit(put(2, b"b", b"2"));
        assert_eq!(flushed(&mut store, 0), Ok(Lsn(1)), "the first flush began with the first commit");
        assert_eq!(flushed(&mut store, 1), Ok(Lsn(2)));
    }

    #[test]
    fn a_disk_that_takes_no_time_tells_at_once_whoever_has_asked_before() {
        struct Flag(std::sync::atomic::AtomicBool);
        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let flag = Arc::new(Flag(false.into()));
        let waker = Waker::from(flag.clone());
        let mut store = MemoryStore::new(Duration::ZERO);
        assert_eq!(store.poll_durable(Lsn(0), &mut Context::from_waker(&waker)), Poll::Pending);
        store.submit(put(1, b"a", b"1"));
        assert!(flag.0.load(std::sync::atomic::Ordering::Relaxed), "nobody was woken");
        assert_eq!(store.poll_durable(Lsn(0), &mut Context::from_waker(&waker)), Poll::Ready(Ok(Lsn(1))));
    }

    #[test]
    fn a_failure_is_told_once_and_nothing_becomes_durable() {
        let mut store = MemoryStore::new(Duration::ZERO);
        store.set_failure(Some("full"));
        store.submit(put(1, b"a", b"1"));
        assert_eq!(flushed(&mut store, 0), Err(StoreError("full".into())));
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(store.poll_durable(Lsn(0), &mut cx), Poll::Pending);
        store.set_failure(None);
        assert_eq!(flushed(&mut store, 0), Ok(Lsn(1)));
    }

    #[test]
    fn it_is_full_at_the_bound_and_not_after_a_flush() {
        let mut store = MemoryStore::new(Duration::ZERO);
        for lsn in 1..=MAX_WAITING_COMMITS as u64 {
            assert!(!store.is_full());
            store.submit(put(lsn, b"a", b"1"));
        }
        assert!(store.is_full());
        assert!(flushed(&mut store, 1).is_ok());
        assert!(!store.is_full());
    }
}
