//! Clock: the time of a run, on the thread that runs it: virtual in a simulation, the machine's in a lab.

use futures_timer::virtual_time;
use std::cell::Cell;
use std::time::Instant;

thread_local! {
    /// The time at which this thread's run in real time began, if it has one.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Begins a run in real time on this thread.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// Returns whether this thread's run is one in real time.
pub fn is_real() -> bool {
    BEGAN.get().is_some()
}

/// Returns the run's time in nanoseconds, which begins at [`NANOS`]; 0 if there is no run.
pub fn now() -> u64 {
    let real = || BEGAN.get().map(|began| NANOS.saturating_add(super::nanos(began.elapsed())));
    virtual_time::now().or_else(real).unwrap_or_default()
}

/// The number of nanoseconds in a second.
pub const NANOS: u64 = 1_000_000_000;
