//! Virtual operating system: clocks and randomness of libc, answered from the simulation on its thread.
//!
//! Libraries read clocks (`Instant::now`) and draw randomness (the keys of hash maps) from libc. The four symbols of
//! this module replace libc's for the whole process. On a thread with an installed virtual clock they answer from it
//! and from a seeded generator; on every other thread they call libc's own. Clocks of processor time always call
//! libc's, so that the cost of a run can be measured inside it.
//!
//! A hash map made before [`seed`] would fix that thread's real random keys, so a simulation begins on a fresh thread.
//!
//! Invariants
//! 1. Without an installed clock and a seed, every answer is libc's.
//! 2. With them, answers depend only on the seed and the number of calls.

#![allow(unsafe_code)]

use futures_timer::virtual_time;
use libc::{c_char, c_int, c_long, c_uint, c_void, clockid_t, size_t, ssize_t, timespec};
use std::cell::Cell;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

thread_local! {
    /// The state of the generator; 0 while there is none. It is const-initialised, since it is read very early and very
    /// late in a thread's life.
    static STATE: Cell<u64> = const { Cell::new(0) };
    /// The wall time at the clock's zero, in seconds since 1970.
    static ZERO: Cell<i64> = const { Cell::new(0) };
}

/// Seeds this thread's randomness, and sets its wall time to begin at `zero` seconds since 1970.
pub fn seed(seed: u64, zero: u64) {
    STATE.set(seed | 1);
    ZERO.set(i64::try_from(zero).unwrap_or(i64::MAX));
}

/// Returns the processor time of the whole process, in nanoseconds.
pub fn cpu_time() -> u64 {
    let mut time = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec that lives through the call.
    unsafe { clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec.unsigned_abs() * NANOS + time.tv_nsec.unsigned_abs()
}

/// Replaces libc's `clock_gettime`.
///
/// # Safety
///
/// As for libc's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: clockid_t, time: *mut timespec) -> c_int {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    let zero = match clock {
        libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE => ZERO.get(),
        libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_BOOTTIME => 0,
        _ => -1,
    };
    match virtual_time::now().filter(|_| zero >= 0) {
        Some(now) => {
            let value = timespec { tv_sec: zero + (now / NANOS) as i64, tv_nsec: (now % NANOS) as i64 };
            // SAFETY: the caller passes a valid pointer, as for libc's.
            unsafe { time.write(value) };
            0
        }
        None => {
            // SAFETY: this is libc's function of that name and type, and is passed this function's own arguments.
            unsafe {
                let real: unsafe extern "C" fn(clockid_t, *mut timespec) -> c_int =
                    std::mem::transmute(next(&REAL, c"clock_gettime".as_ptr()));
                real(clock, time)
            }
        }
    }
}

/// Replaces libc's `getrandom`.
///
/// # Safety
///
/// As for libc's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: size_t, flags: c_uint) -> ssize_t {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    // SAFETY: the caller passes a buffer of that length, as for libc's; and as in `clock_gettime`.
    unsafe {
        if fill(buffer, length) {
            return length as ssize_t;
        }
        let real: unsafe extern "C" fn(*mut c_void, size_t, c_uint) -> ssize_t =
            std::mem::transmute(next(&REAL, c"getrandom".as_ptr()));
        real(buffer, length, flags)
    }
}

/// Replaces libc's `getentropy`.
///
/// # Safety
///
/// As for libc's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: size_t) -> c_int {
    // SAFETY: the caller passes a buffer of that length, as for libc's.
    unsafe { if getrandom(buffer, length, 0) == length as ssize_t { 0 } else { -1 } }
}

/// Replaces libc's `syscall`, by which some libraries draw randomness. It takes any number of arguments; a system call
/// has at most six, and on the platforms of Linux they are passed in the same manner.
///
/// # Safety
///
/// As for libc's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    static REAL: AtomicPtr<c_void> = AtomicPtr::new(std::ptr::null_mut());
    // SAFETY: for getrandom the first two arguments are a buffer and its length; otherwise libc's function is passed
    // this function's own arguments.
    unsafe {
        if number == libc::SYS_getrandom && fill(a as *mut c_void, b as size_t) {
            return b;
        }
        type Real = unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;
        let real: Real = std::mem::transmute(next(&REAL, c"syscall".as_ptr()));
        real(number, a, b, c, d, e, f)
    }
}

/// Fills a buffer from this thread's generator (splitmix64), if the thread has one.
unsafe fn fill(buffer: *mut c_void, length: size_t) -> bool {
    let mut state = STATE.get();
    if state == 0 || length == 0 {
        return false;
    }
    // SAFETY: the caller vouches for the buffer.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&splitmix(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(state);
    true
}

/// Returns the next number of the generator splitmix64 (Steele, Lea, Flood 2014).
pub fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Returns libc's own symbol, which is looked up once.
unsafe fn next(place: &AtomicPtr<c_void>, name: *const c_char) -> *mut c_void {
    let known = place.load(Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: the name is a C string; RTLD_NEXT is what this call is for.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name) };
    if found.is_null() {
        // At this depth it is not safe to report an error.
        std::process::abort();
    }
    place.store(found, Relaxed);
    found
}

const NANOS: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::hash::{BuildHasher, RandomState};
    use std::time::{Duration, Instant, SystemTime};

    /// Invariants 1 and 2.
    #[test]
    fn on_a_simulations_thread_clocks_and_hash_keys_are_the_simulations() {
        let run = |value: u64| {
            std::thread::spawn(move || {
                seed(value, 1_700_000_000);
                virtual_time::install(NANOS);
                let began = Instant::now();
                virtual_time::advance(3 * NANOS);
                assert_eq!(began.elapsed(), Duration::from_secs(2));
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
                assert_eq!(since, Duration::from_secs(1_700_000_003));
                let map: HashMap<u32, ()> = (0..100).map(|key| (key, ())).collect();
                (RandomState::new().hash_one(7), map.into_keys().collect::<Vec<_>>())
            })
            .join()
            .expect("a simulation's thread")
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        // Other threads have the real clock.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        assert_ne!(RandomState::new().hash_one(7), run(1).0);
    }
}
