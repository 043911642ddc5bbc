//! Executor: runs tasks in the order in which they were woken, on one thread.
//!
//! Every task belongs to an owner, which is a device in one of its lives. When a device loses power, all of its tasks
//! are dropped at once, whatever their state ([`drop_owner`]). While its process is paused ([`pause`]) they keep their
//! places and do not run.
//!
//! Invariants
//! 1. Tasks run in the order in which they were first woken since they last ran; each is in the queue at most once.
//! 2. No task of a paused owner runs; those that were woken meanwhile run in that order afterwards.
//! 3. A task that wakes itself for ever does not keep a run from ending.
//! - Tasks run only in [`run_ready`], and no task runs within another.

use futures::future::BoxFuture;
use futures::task::{ArcWake, waker};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// More than ten times as often as tasks run while thousands of devices start at one moment.
const MOST_POLLS: u64 = 10_000_000;

/// The owner of a task.
pub type Owner = u64;

struct Task {
    owner: Owner,
    /// The future, which is removed when it has ended.
    future: Mutex<Option<BoxFuture<'static, ()>>>,
    queued: AtomicBool,
    ended: AtomicBool,
}

/// The tasks of one owner, whether they are woken or not.
#[derive(Default)]
struct Owned {
    tasks: Vec<Arc<Task>>,
    /// The number of tasks above which those that have ended are removed.
    limit: usize,
}

/// The tasks that wait for a paused owner.
#[derive(Default)]
struct Still {
    /// Its own tasks that were woken meanwhile.
    woken: Vec<Arc<Task>>,
    /// The wakers of other owners' tasks ([`runs`]).
    others: Vec<Waker>,
}

thread_local! {
    static READY: RefCell<VecDeque<Arc<Task>>> = const { RefCell::new(VecDeque::new()) };
    static OWNED: RefCell<BTreeMap<Owner, Owned>> = const { RefCell::new(BTreeMap::new()) };
    /// The paused owners.
    static STILL: RefCell<BTreeMap<Owner, Still>> = const { RefCell::new(BTreeMap::new()) };
    static SPINS: Cell<Option<Owner>> = const { Cell::new(None) };
    static POLLS: Cell<u64> = const { Cell::new(0) };
}

impl ArcWake for Task {
    fn wake_by_ref(task: &Arc<Self>) {
        if !task.queued.swap(true, Relaxed) {
            // At the end of the thread the queue may no longer exist.
            let _ = READY.try_with(|ready| ready.borrow_mut().push_back(task.clone()));
        }
    }
}

/// Starts a task.
pub fn spawn(owner: Owner, future: impl Future<Output = ()> + Send + 'static) {
    let future = Mutex::new(Some(Box::pin(future) as BoxFuture<'static, ()>));
    let task = Arc::new(Task { owner, future, queued: AtomicBool::new(false), ended: AtomicBool::new(false) });
    OWNED.with_borrow_mut(|owned| {
        let Owned { tasks, limit } = owned.entry(owner).or_default();
        if tasks.len() >= *limit {
            tasks.retain(|task| !task.ended.load(Relaxed));
            *limit = (2 * tasks.len()).max(32);
        }
        tasks.push(task.clone());
    });
    ArcWake::wake_by_ref(&task);
}

/// Runs tasks until none is ready, or until one of them has been woken so often that it will go on for ever ([`spins`]).
pub fn run_ready() {
    if spins().is_some() {
        return;
    }
    let mut polls = 0;
    while let Some(task) = READY.with_borrow_mut(VecDeque::pop_front) {
        let stands =
            STILL.with_borrow_mut(|still| still.get_mut(&task.owner).map(|still| still.woken.push(task.clone())));
        if stands.is_some() {
            continue;
        }
        polls += 1;
        if polls > MOST_POLLS {
            SPINS.set(Some(task.owner));
            return;
        }
        task.queued.store(false, Relaxed);
        POLLS.set(POLLS.get() + 1);
        let waker = waker(task.clone());
        let mut slot = task.future.lock().unwrap_or_else(PoisonError::into_inner);
        let ended =
            slot.as_mut().is_some_and(|future| future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready());
        task.ended.fetch_or(ended, Relaxed);
        let future = if ended { slot.take() } else { None };
        drop(slot);
        // Dropped outside of the lock, since what it holds may wake tasks, including this one.
        drop(future);
    }
}

/// The owner of a task that ran when far more had run at one moment than ever do, if there is one: no time passes there any more.
pub fn spins() -> Option<Owner> {
    SPINS.get()
}

/// Pauses an owner's process.
pub fn pause(owner: Owner) {
    STILL.with_borrow_mut(|still| drop(still.insert(owner, Still::default())));
}

/// Resumes an owner's process.
pub fn go_on(owner: Owner) {
    let Still { woken, others } = STILL.with_borrow_mut(|still| still.remove(&owner)).unwrap_or_default();
    READY.with_borrow_mut(|ready| ready.extend(woken));
    others.into_iter().for_each(Waker::wake);
}

/// Waits while an owner's process is paused, for actions that only the process itself can take.
pub fn runs(owner: Owner) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        let waits = STILL.with_borrow_mut(|still| {
            still.get_mut(&owner).map(|still| still.others.push(cx.waker().clone())).is_some()
        });
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
}

/// Drops all tasks of an owner, in the order in which they were started.
pub fn drop_owner(owner: Owner) {
    let still = STILL.with_borrow_mut(|still| still.remove(&owner)).unwrap_or_default();
    still.others.into_iter().for_each(Waker::wake);
    let Owned { tasks, .. } = OWNED.with_borrow_mut(|owned| owned.remove(&owner)).unwrap_or_default();
    for task in tasks {
        let future = task.future.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}

/// Drops all tasks of this thread. This has to be called before the thread ends, since tasks use thread-local state
/// that ends with it.
pub fn clear() {
    while let Some(owner) = OWNED.with_borrow(|owned| owned.keys().next().copied()) {
        drop_owner(owner);
    }
    READY.with_borrow_mut(VecDeque::clear);
    SPINS.set(None);
}

/// Returns the number of polls so far on this thread.
pub fn polls() -> u64 {
    POLLS.get()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::oneshot;

    /// Invariants 1 and 2.
    #[test]
    fn tasks_run_in_the_order_they_were_woken_and_end_with_their_owner() {
        std::thread::spawn(|| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let (first, wait_first) = oneshot::channel::<()>();
            let (second, wait_second) = oneshot::channel::<()>();
            let (third, wait_third) = oneshot::channel::<()>();
            for (owner, name, wait) in [(1, "a", wait_first), (1, "b", wait_second), (2, "c", wait_third)] {
                let seen = seen.clone();
                spawn(owner, async move {
                    let _ = wait.await;
                    seen.lock().expect("no panic").push(name);
                });
            }
            run_ready();
            let _ = (third.send(()), first.send(()));
            run_ready();
            assert_eq!(*seen.lock().expect("no panic"), ["c", "a"]);
            pause(2);
            let (fourth, wait_fourth) = oneshot::channel::<()>();
            let slow = seen.clone();
            spawn(2, async move {
                let _ = wait_fourth.await;
                slow.lock().expect("no panic").push("d");
            });
            let _ = fourth.send(());
            run_ready();
            assert_eq!(seen.lock().expect("no panic").len(), 2, "it stands still");
            go_on(2);
            run_ready();
            assert_eq!(*seen.lock().expect("no panic"), ["c", "a", "d"]);
            drop_owner(1);
            assert!(second.send(()).is_err(), "its receiver is gone");
        })
        .join()
        .expect("the test passes");
    }

    /// Invariant 3.
    #[test]
    fn a_task_that_wakes_itself_for_ever_ends_the_run() {
        let spins = std::thread::spawn(|| {
            spawn(
                7,
                poll_fn(|cx| -> Poll<()> {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }),
            );
            run_ready();
            let found = super::spins();
            clear();
            (found, super::spins())
        });
        assert_eq!(spins.join().expect("the test passes"), (Some(7), None));
    }
}
