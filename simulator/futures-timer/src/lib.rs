//! futures-timer with a second clock: timers in virtual time for a simulation, and real ones for all other threads.
//!
//! libp2p and the node use one timer, [`Delay`]. On a thread on which a simulation has installed its clock
//! ([`virtual_time::install`]), a new `Delay` fires when that clock is moved past its time; on every other thread it is
//! the published crate's, unchanged. A node on a device therefore runs on upstream's timers although it is built beside
//! a simulator.
//!
//! Invariants
//! 1. Without an installed clock everything behaves as upstream.
//! 2. In virtual time, timers fire in the order of their times, one at a time.
//! 3. A timer that was reset wakes its task at the new time even if it is not polled in between, as upstream does.
//! - In virtual time, timers of the same time fire in the order in which they were set.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

pub mod virtual_time;

/// A future that is ready once a duration is over.
pub struct Delay(Kind);

enum Kind {
    Real(upstream::Delay),
    Virtual(virtual_time::Timer),
}

impl Delay {
    /// Returns a delay that is ready after a duration from now.
    pub fn new(duration: Duration) -> Self {
        Self(match virtual_time::now() {
            None => Kind::Real(upstream::Delay::new(duration)),
            Some(_) => Kind::Virtual(virtual_time::Timer::new(duration)),
        })
    }

    /// Resets the delay to be ready after a duration from now.
    pub fn reset(&mut self, duration: Duration) {
        match &mut self.0 {
            Kind::Real(delay) => delay.reset(Instant::now() + duration),
            Kind::Virtual(timer) => timer.reset(duration),
        }
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.get_mut().0 {
            Kind::Real(delay) => Pin::new(delay).poll(cx),
            Kind::Virtual(timer) => timer.poll(cx),
        }
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::task::{Wake, Waker};

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn poll(delay: &mut Delay, waker: &Waker) -> bool {
        Pin::new(delay).poll(&mut Context::from_waker(waker)).is_ready()
    }

    /// Runs a test on a thread of its own, since an installed clock stays.
    fn apart(test: impl FnOnce() + Send + 'static) {
        std::thread::spawn(test).join().expect("the test passes");
    }

    /// Wakes a parked thread.
    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Invariant 1.
    #[test]
    fn without_a_clock_time_is_real_even_beside_a_simulation() {
        apart(|| {
            // Another thread's simulation has no effect here.
            apart(|| virtual_time::install(5_000_000_000));
            let began = Instant::now();
            let mut delay = Delay::new(Duration::from_secs(3_600));
            delay.reset(Duration::from_millis(20));
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            while !poll(&mut delay, &waker) {
                std::thread::park();
            }
            assert!(began.elapsed() >= Duration::from_millis(20));
        });
    }

    /// Invariant 2.
    #[test]
    fn in_virtual_time_timers_fire_in_order_and_only_when_the_clock_is_moved() {
        apart(|| {
            virtual_time::install(1);
            let (early, late) = (Arc::new(Count::default()), Arc::new(Count::default()));
            let mut second = Delay::new(Duration::from_secs(2));
            let mut first = Delay::new(Duration::from_secs(1));
            assert!(!poll(&mut second, &Waker::from(late.clone())) && !poll(&mut first, &Waker::from(early.clone())));
            assert!(virtual_time::advance(u64::MAX));
            assert_eq!((early.0.load(SeqCst), late.0.load(SeqCst)), (1, 0));
            assert_eq!(virtual_time::now(), Some(1_000_000_001));
            assert!(poll(&mut first, Waker::noop()) && !poll(&mut second, Waker::noop()));
        });
    }

    /// Invariant 3.
    #[test]
    fn a_reset_timer_wakes_at_its_new_time_without_being_polled() {
        apart(|| {
            virtual_time::install(1);
            let woken = Arc::new(Count::default());
            let mut delay = Delay::new(Duration::from_secs(1));
            assert!(!poll(&mut delay, &Waker::from(woken.clone())));
            delay.reset(Duration::from_secs(5));
            assert!(!virtual_time::advance(4_000_000_000));
            assert_eq!(woken.0.load(SeqCst), 0);
            assert!(virtual_time::advance(u64::MAX));
            assert_eq!((woken.0.load(SeqCst), virtual_time::now()), (1, Some(5_000_000_001)));
        });
    }

    #[test]
    fn a_dropped_timer_fires_no_more() {
        apart(|| {
            virtual_time::install(1);
            let woken = Arc::new(Count::default());
            let mut delay = Delay::new(Duration::from_secs(1));
            assert!(!poll(&mut delay, &Waker::from(woken.clone())));
            drop(delay);
            assert!(!virtual_time::advance(u64::MAX / 2));
            assert_eq!(woken.0.load(SeqCst), 0);
        });
    }
}
