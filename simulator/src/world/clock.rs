//! The time of a run, on the thread that runs it: virtual in a simulation, the machine's in a lab.

use futures_timer::virtual_time;
use std::cell::Cell;
use std::time::Instant;

thread_local! {
    /// When this thread's run in real time began, if it has one.
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A run in real time begins on this thread.
pub fn begin() {
    BEGAN.set(Some(Instant::now()));
}

/// Whether this thread's run is one in real time.
pub fn is_real() -> bool {
    BEGAN.get().is_some()
}

/// Nanoseconds of the run's time, which begins at [`NANOS`]; 0 where there is no run.
pub fn now() -> u64 {
    let real = || BEGAN.get().map(|began| NANOS.saturating_add(super::nanos(began.elapsed())));
    virtual_time::now().or_else(real).unwrap_or_default()
}

/// Nanoseconds in a second.
pub const NANOS: u64 = 1_000_000_000;
