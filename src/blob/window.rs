//! Window: how many chunks may be on their way from one holder.
//!
//! **Mechanism.** This is the delay-based control of LEDBAT (RFC 6817): the window grows while chunks wait in queues for less
//! than a target, and shrinks when they wait for more, so that a transfer takes what others leave. How long chunks wait is
//! the time from asking for one to its arrival, less the shortest such time of the last five to ten minutes. The target is a part of that
//! shortest time, and [`MOST_TARGET`] at most: what is on its way when a path breaks is sent again, so the window is no larger than
//! the path is long. The window begins at one chunk and doubles each round until chunks wait for half the target (slow start). A
//! chunk that does not come halves it.
//!
//! On a path on which a chunk takes less than [`SHORT`] the window is [`SHORT_MOST`] chunks at most: one is on its way while the next is
//! prepared, and a cut costs hardly more than one.
//!
//! The time after which a chunk is taken for lost follows RFC 6298, and doubles while none comes.
//!
//! Invariants
//! 1. The window is at least one chunk and at most [`MOST`].

use crate::time::Time;
use core::time::Duration;

/// How long chunks may wait in queues at most: less than what a link's queue holds, so that it is never full of them.
pub const MOST_TARGET: Duration = Duration::from_millis(40);
/// The shortest time of a path on which more than [`SHORT_MOST`] chunks are on their way: these are 13 MB/s there.
const SHORT: Duration = Duration::from_millis(5);
/// Most chunks on their way from one holder over a shorter path.
const SHORT_MOST: u32 = 2;
/// The part of the shortest time that chunks may wait in queues.
const TARGET_PART: u64 = 3;
/// Most chunks on their way from one holder.
pub const MOST: u32 = 32;
/// The window at the beginning.
const FIRST: u32 = 1;
/// Parts of a chunk in which the window is kept.
const PARTS: i64 = 1_024;
/// How long a shortest time counts before it is taken anew.
const MEMORY: Duration = Duration::from_secs(300);
/// After how long a chunk is lost before any has come.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
/// The bounds of how long a chunk may take.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Window {
    parts: i64,
    slow_start: bool,
    /// The shortest times of these five minutes and of those before, in microseconds.
    base: (u64, u64),
    since: Time,
    smoothed: Option<(u64, u64)>,
    losses: u32,
}

impl Window {
    /// A window from which nothing has come.
    pub fn new(now: Time) -> Self {
        let parts = i64::from(FIRST) * PARTS;
        Self { parts, slow_start: true, base: (u64::MAX, u64::MAX), since: now, smoothed: None, losses: 0 }
    }

    /// How many chunks may be on their way.
    pub fn size(&self) -> usize {
        usize::try_from(self.parts / PARTS).unwrap_or(1)
    }

    /// How long a chunk may take.
    pub fn patience(&self) -> Duration {
        let first = self.smoothed.map_or(FIRST_PATIENCE, |(mean, deviation)| {
            Duration::from_micros(mean.saturating_add(deviation.saturating_mul(4))).max(LEAST_PATIENCE)
        });
        first.saturating_mul(1 << self.losses.min(6)).min(MOST_PATIENCE)
    }

    /// A chunk has come, so long after it was asked for.
    pub fn came(&mut self, took: Duration, now: Time) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 8);
        if now.since(self.since) >= MEMORY {
            (self.base, self.since) = ((took, self.base.0), now);
        }
        self.base.0 = self.base.0.min(took);
        self.losses = 0;
        self.smoothed = Some(match self.smoothed {
            None => (took, took / 2),
            Some((mean, deviation)) => ((mean * 7 + took) / 8, (deviation * 3 + mean.abs_diff(took)) / 4),
        });
        let base = self.base.0.min(self.base.1);
        let waited = took.saturating_sub(base);
        let target = u128::from(base / TARGET_PART).clamp(1, MOST_TARGET.as_micros());
        let target = i64::try_from(target).unwrap_or(i64::MAX);
        let off = target.saturating_sub_unsigned(waited).clamp(-target, target);
        self.slow_start &= off > target / 2;
        let step = match self.slow_start {
            true => PARTS,
            false => PARTS * off / target * PARTS / self.parts.max(PARTS),
        };
        let most = if u128::from(base) < SHORT.as_micros() { SHORT_MOST } else { MOST };
        self.parts = (self.parts + step).clamp(PARTS, i64::from(most) * PARTS);
    }

    /// A chunk has not come in time.
    pub fn lost(&mut self) {
        self.slow_start = false;
        self.losses += 1;
        self.parts = (self.parts / 2).max(PARTS);
    }

    /// The path is another one: what was known of it no longer holds.
    pub fn begin_anew(&mut self, now: Time) {
        *self = Self::new(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Invariant 1.
    #[test]
    fn it_takes_what_others_leave() {
        let (mut window, mut now) = (Window::new(Time(0)), Time(0));
        assert_eq!((window.size(), window.patience()), (FIRST as usize, FIRST_PATIENCE));
        for _ in 0..100 {
            now = now + ms(20);
            window.came(ms(20), now);
        }
        assert_eq!(window.size(), MOST as usize, "nobody else is there");
        assert_eq!(window.patience(), LEAST_PATIENCE);
        for _ in 0..2_000 {
            now = now + ms(20);
            window.came(ms(320), now);
        }
        assert_eq!(window.size(), 1, "queues that others fill are left to them");
        for _ in 0..2_000 {
            now = now + ms(20);
            window.came(ms(20), now);
        }
        assert!(window.size() > 16, "and it comes back");
    }

    #[test]
    fn a_short_path_has_few_chunks_on_it() {
        let (mut window, mut now) = (Window::new(Time(0)), Time(0));
        for at in 0..2_000_u64 {
            let took = Duration::from_micros(1_000 + at * 37 % 500);
            now = now + took;
            window.came(took, now);
            assert!(window.size() <= SHORT_MOST as usize);
        }
    }

    /// A path whose length is ten chunks at its rate: the window fills it, and little more.
    #[test]
    fn a_long_path_is_filled() {
        let (mut window, mut now) = (Window::new(Time(0)), Time(0));
        for _ in 0..2_000 {
            let took = ms(100).max(ms(10) * u32::try_from(window.size()).unwrap_or(1));
            now = now + took;
            window.came(took, now);
        }
        assert!((10..=14).contains(&window.size()), "{}", window.size());
    }

    #[test]
    fn losses_halve_it_and_make_it_patient() {
        let mut window = Window::new(Time(0));
        (0..20).for_each(|_| window.came(ms(20), Time(0)));
        let before = window.size();
        window.lost();
        assert_eq!((window.size(), window.patience()), (before / 2, ms(2_000)));
        (0..40).for_each(|_| window.lost());
        assert_eq!((window.size(), window.patience()), (1, MOST_PATIENCE));
        window.came(ms(20), Time(0));
        assert_eq!(window.patience(), LEAST_PATIENCE);
    }
}
