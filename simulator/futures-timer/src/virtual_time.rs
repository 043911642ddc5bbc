//! Virtual time: one thread's virtual clock, and the events that are due on it.
//!
//! The clock stands still until [`advance`] moves it to the next event. Timers are not the only events: a simulated
//! network puts its arrivals into the same queue ([`schedule`]), so that all events have one order. An event that was
//! cancelled meanwhile says so when its turn comes ([`Due::is_live`]) and is skipped.

use std::cell::{Cell, RefCell};
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// An event that happens at its time.
pub trait Due: Send + Sync {
    /// Returns whether the event is still to happen; `ticket` is the value that [`schedule`] returned.
    fn is_live(&self, _ticket: u64) -> bool {
        true
    }

    /// Carries out the event.
    fn fire(&self, ticket: u64);
}

/// An entry of the queue.
struct Entry {
    at: u64,
    ticket: u64,
    what: Arc<dyn Due>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.ticket == other.ticket
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.ticket).cmp(&(other.at, other.ticket))
    }
}

thread_local! {
    /// The time in nanoseconds; 0 while no clock is installed. It is const-initialised and has no destructor, so that
    /// it can be read at any moment of a thread's life.
    static NOW: Cell<u64> = const { Cell::new(0) };
    static TICKET: Cell<u64> = const { Cell::new(0) };
    static FIRED: Cell<u64> = const { Cell::new(0) };
    static QUEUE: RefCell<BinaryHeap<Reverse<Entry>>> = const { RefCell::new(BinaryHeap::new()) };
}

/// Returns the time on this thread's virtual clock in nanoseconds; `None` if no clock is installed.
#[inline]
pub fn now() -> Option<u64> {
    match NOW.get() {
        0 => None,
        now => Some(now),
    }
}

/// Installs a clock on this thread, for the rest of its life. `start` is in nanoseconds, at least 1.
pub fn install(start: u64) {
    NOW.set(start.max(1));
}

/// Removes the clock: timers made from now on are real. Those in the queue stay there.
pub fn uninstall() {
    NOW.set(0);
}

/// Schedules an event at a time, in nanoseconds of the clock. Events at one time happen in the order in which they were
/// scheduled.
pub fn schedule(at: u64, what: Arc<dyn Due>) -> u64 {
    let ticket = TICKET.get() + 1;
    TICKET.set(ticket);
    // At the end of a thread's life the queue may no longer exist; then the event does not happen.
    let _ = QUEUE.try_with(|queue| queue.borrow_mut().push(Reverse(Entry { at, ticket, what })));
    ticket
}

/// Carries out the next event that is due no later than `until`, and moves the clock to its time. Returns false if
/// there is none; then the clock is set to `until`, unless it was later already or `until` is no time.
pub fn advance(until: u64) -> bool {
    loop {
        let next = QUEUE.with_borrow_mut(|queue| match queue.peek() {
            Some(Reverse(next)) if next.at <= until => queue.pop(),
            _ => None,
        });
        let Some(Reverse(next)) = next else {
            NOW.set(NOW.get().max(if until == u64::MAX { 0 } else { until }));
            return false;
        };
        if next.what.is_live(next.ticket) {
            NOW.set(NOW.get().max(next.at));
            FIRED.set(FIRED.get() + 1);
            next.what.fire(next.ticket);
            return true;
        }
    }
}

/// Returns the number of events so far on this thread's clock.
pub fn fired() -> u64 {
    FIRED.get()
}

/// A timer in virtual time. It enters the queue when it is first polled before its time.
pub(crate) struct Timer {
    at: u64,
    armed: Option<Arc<Armed>>,
}

struct Armed(Mutex<State>);

struct State {
    /// Its ticket in the queue; 0 if its entry there is void.
    ticket: u64,
    at: u64,
    waker: Option<Waker>,
}

impl Armed {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Due for Armed {
    fn is_live(&self, ticket: u64) -> bool {
        self.lock().ticket == ticket
    }

    fn fire(&self, _ticket: u64) {
        let waker = {
            let mut state = self.lock();
            state.ticket = 0;
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Timer {
    pub(crate) fn new(duration: Duration) -> Self {
        Self { at: after(duration), armed: None }
    }

    pub(crate) fn reset(&mut self, duration: Duration) {
        self.at = after(duration);
        let Some(armed) = &self.armed else { return };
        let waits = {
            let mut state = armed.lock();
            state.ticket = 0;
            state.waker.is_some()
        };
        if waits {
            arm(armed, self.at);
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if NOW.get() >= self.at {
            return Poll::Ready(());
        }
        let fresh = || Arc::new(Armed(Mutex::new(State { ticket: 0, at: 0, waker: None })));
        let armed = self.armed.get_or_insert_with(fresh);
        let stands = {
            let mut state = armed.lock();
            match &mut state.waker {
                Some(waker) => waker.clone_from(cx.waker()),
                waker => *waker = Some(cx.waker().clone()),
            }
            state.ticket != 0 && state.at == self.at
        };
        if !stands {
            arm(armed, self.at);
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(armed) = &self.armed {
            let mut state = armed.lock();
            state.ticket = 0;
            state.waker = None;
        }
    }
}

fn arm(armed: &Arc<Armed>, at: u64) {
    let ticket = schedule(at, armed.clone());
    let mut state = armed.lock();
    state.ticket = ticket;
    state.at = at;
}

/// Returns the time after a duration from now; a timer made after the clock was removed never fires by itself.
fn after(duration: Duration) -> u64 {
    NOW.get().saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}
