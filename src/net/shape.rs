//! Shape: a model of a line, which says when what is put into it comes out.
//!
//! A [`Shaper`] stands for one direction of one reliable, ordered connection over a line with a [`Shape`]. It is told
//! the time and draws from a generator of its own, so the same pieces at the same times with the same seed arrive at
//! the same times. Bytes go in as *pieces* of at most [`MTU`] bytes. What happens to a piece:
//!
//! 1. It waits until the line is free, then occupies it for `bytes × 8 / rate`.
//! 2. It travels for the delay, give or take the jitter (uniform, drawn for each piece).
//! 3. It may be lost, which a reliable transport turns into time. If others are on their way with it, the receiver's
//!    acknowledgements of those show the gap, and it is sent again after one round trip (fast retransmission: RFC 5681,
//!    section 3.2, and RFC 8985). If it is alone, or has been lost before, only a time-out shows it (RFC 6298): a round
//!    trip, but at least [`LEAST_TIMEOUT`], as Linux has it, and twice as long at each further loss. After
//!    [`MAX_ATTEMPTS`] it arrives: a transport that gives up is not modelled, and neither is congestion control: `rate`
//!    says what a sender gets.
//! 4. It is handed over once all before it have been: a loss holds up what follows (head of line).
//!
//! Invariants
//! 1. Pieces arrive in the order in which they were sent, none earlier than `delay − jitter` after it was sent.
//! 2. No more than `rate` goes through the line, repetitions included.

use crate::time::Time;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

pub use crate::engine::lab::Shape;

/// One direction of a connection. See the module's documentation.
#[derive(Debug)]
pub struct Shaper {
    shape: Shape,
    rng: ChaCha20Rng,
    /// When the line has carried all that is in it.
    free: Time,
    /// What is left of a microsecond in `free`, in parts of one by the rate.
    remainder: u64,
    /// When the last piece arrives.
    last: Time,
    lost: u64,
}

impl Shaper {
    /// An empty line.
    pub fn new(shape: Shape, seed: [u8; 32]) -> Self {
        let rng = ChaCha20Rng::from_seed(seed);
        Self { shape, rng, free: Time(0), remainder: 0, last: Time(0), lost: 0 }
    }

    /// Changes the line. What is on its way arrives as was said, and before all that follows.
    pub fn set_shape(&mut self, shape: Shape) {
        if shape.rate != self.shape.rate {
            self.remainder = 0;
        }
        self.shape = shape;
    }

    /// How the line behaves.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Sends a piece of at most [`MTU`] bytes: answers when it arrives. `more` says that another follows at once.
    pub fn send(&mut self, bytes: usize, more: bool, now: Time) -> Time {
        let alone = !more && self.last <= now;
        self.free = self.free.max(now);
        self.occupy(bytes);
        let mut arrives = self.free + self.flight();
        let mut timeout = self.round_trip().max(LEAST_TIMEOUT);
        let mut attempt = 1;
        while attempt < MAX_ATTEMPTS && self.is_lost() {
            self.lost += 1;
            let pause = if alone || attempt > 1 {
                let pause = timeout;
                timeout = timeout.saturating_mul(2).min(LONGEST_TIMEOUT);
                pause
            } else {
                self.round_trip()
            };
            self.occupy(bytes);
            arrives = arrives + pause;
            attempt += 1;
        }
        if attempt > 1 {
            // Neither is a repetition through before the line has carried it.
            arrives = arrives.max(self.free + self.least_flight());
        }
        self.last = self.last.max(arrives);
        self.last
    }

    /// Losses so far, each attempt counted.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The line carries that many bytes more.
    fn occupy(&mut self, bytes: usize) {
        let Some(rate) = self.shape.rate else { return };
        let rate = rate.max(1);
        let work = u128::from(bytes as u64) * 8_000_000 + u128::from(self.remainder);
        let micros = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        self.remainder = u64::try_from(work % u128::from(rate)).unwrap_or_default();
        self.free = self.free + Duration::from_micros(micros);
    }

    /// How long this piece travels.
    fn flight(&mut self) -> Duration {
        let jitter = u64::try_from(self.shape.jitter.as_micros()).unwrap_or(u64::MAX / 2);
        if jitter == 0 {
            return self.shape.delay;
        }
        let drawn = self.rng.next_u64() % (2 * jitter + 1);
        self.least_flight() + Duration::from_micros(drawn)
    }

    fn least_flight(&self) -> Duration {
        self.shape.delay.saturating_sub(self.shape.jitter)
    }

    fn round_trip(&self) -> Duration {
        self.shape.delay.saturating_mul(2)
    }

    fn is_lost(&mut self) -> bool {
        self.shape.loss > 0 && self.rng.next_u64() % MILLION < u64::from(self.shape.loss)
    }
}

/// Bytes that a sender may have waiting for and travelling through a line before it is held back: twice what the
/// line holds of itself, a tenth of a second's worth on a short one, so that a slow line has a short queue.
pub fn window(shape: &Shape) -> usize {
    let Some(rate) = shape.rate else { return MOST_WINDOW };
    let held = (2 * (shape.delay + shape.jitter)).max(LEAST_QUEUE);
    let bytes = u128::from(rate) * held.as_micros() / 8_000_000;
    usize::try_from(bytes).unwrap_or(MOST_WINDOW).clamp(LEAST_WINDOW, MOST_WINDOW)
}

/// Bytes of the largest piece: an Ethernet frame's payload.
pub const MTU: usize = 1_500;
/// Least time-out before a lone piece is sent again: that of Linux.
const LEAST_TIMEOUT: Duration = Duration::from_millis(200);
/// Longest, however often a piece was lost (RFC 6298, section 2.5).
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts at a piece, the first included: as many as Linux makes by default.
pub const MAX_ATTEMPTS: u32 = 16;
/// What loss is counted in.
const MILLION: u64 = 1_000_000;
/// Bounds of the window, in bytes: two pieces, and what keeps 50 MB/s over 20 ms.
const LEAST_WINDOW: usize = 2 * MTU;
const MOST_WINDOW: usize = 1024 * 1024;
/// Least time that the window's bytes take to go through the line.
const LEAST_QUEUE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000;

    fn shape(delay: u64, jitter: u64, loss: u32, rate: Option<u64>) -> Shape {
        let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
        Shape { delay, jitter, loss, rate, price: 0 }
    }

    #[test]
    fn a_line_adds_its_delay_and_carries_its_rate() {
        let mut line = Shaper::new(shape(20, 0, 0, Some(8_000_000)), [1; 32]);
        // A megabyte a second: 1,500 bytes take 1.5 ms, one after the other.
        assert_eq!(line.send(1_500, true, Time(0)), Time(21_500));
        assert_eq!(line.send(1_500, false, Time(0)), Time(23_000));
        // Free again after a pause.
        assert_eq!(line.send(100, false, Time(MS * MS)), Time(MS * MS + 20_100));
        // Without a shape nothing is added.
        assert_eq!(Shaper::new(Shape::default(), [1; 32]).send(1_500, true, Time(7)), Time(7));
    }

    #[test]
    fn a_loss_costs_a_round_trip_in_a_flow_and_a_time_out_alone() {
        let lossy = shape(30, 0, 500_000, None);
        let mut seen = [false; 3];
        for seed in 0..100 {
            for (more, costs) in [(true, [60, 260, 660]), (false, [200, 600, 1_400])] {
                let mut line = Shaper::new(lossy, [seed; 32]);
                let took = line.send(100, more, Time(0)).0 / MS - 30;
                match line.lost() {
                    0 => assert_eq!(took, 0),
                    lost @ 1..=3 => {
                        assert_eq!(took, costs[lost as usize - 1]);
                        seen[lost as usize - 1] = true;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(seen, [true; 3]);
    }

    #[test]
    fn a_changed_line_lets_nothing_overtake() {
        let mut line = Shaper::new(shape(500, 0, 0, None), [1; 32]);
        let slow = line.send(100, false, Time(0));
        line.set_shape(Shape::default());
        assert_eq!(line.send(100, false, Time(10)), slow);
    }

    #[test]
    fn slow_lines_have_short_queues() {
        assert_eq!(window(&shape(20, 10, 0, None)), MOST_WINDOW);
        assert_eq!(window(&shape(100, 0, 0, Some(8_000_000))), 200_000);
        assert_eq!(window(&shape(1, 0, 0, Some(8_000_000))), 100_000);
        assert_eq!(window(&shape(1, 0, 0, Some(9_600))), LEAST_WINDOW);
        assert_eq!(window(&shape(500, 0, 0, Some(u64::MAX))), MOST_WINDOW);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_goes_through_a_line_keeps_its_promises(
            (delay, share) in (0u64..200, 0u64..=100),
            loss in 0u32..300_000,
            rate in prop::option::of(1_000u64..10_000_000_000),
            seed in any::<[u8; 32]>(),
            pieces in prop::collection::vec((1usize..=MTU, any::<bool>(), 0u64..5_000), 1..400),
        ) {
            let shape = shape(delay, delay * share / 100, loss, rate);
            let mut line = Shaper::new(shape, seed);
            let (mut now, mut last, mut carried) = (Time(0), Time(0), 0u128);
            for (bytes, more, pause) in pieces {
                now = Time(now.0 + pause);
                let arrives = line.send(bytes, more, now);
                prop_assert!(arrives >= last, "it overtook");
                prop_assert!(arrives >= now + (shape.delay - shape.jitter), "it arrived too early");
                if loss == 0 && rate.is_none() {
                    prop_assert!(arrives <= last.max(now + (shape.delay + shape.jitter)), "it arrived too late");
                }
                carried += bytes as u128 * 8_000_000;
                if let Some(rate) = rate {
                    // Whole microseconds: one more may be begun.
                    let room = u128::from(arrives.since(Time(0) + (shape.delay - shape.jitter)).as_micros() as u64 + 1);
                    prop_assert!(carried <= room * u128::from(rate), "more than the line carries");
                }
                last = arrives;
            }
        }

        #[test]
        fn as_much_is_lost_as_was_said(loss in 1_000u32..500_000, seed in any::<[u8; 32]>()) {
            let mut line = Shaper::new(shape(10, 0, loss, None), seed);
            const PIECES: u64 = 20_000;
            for at in 0..PIECES {
                line.send(100, true, Time(at * MS));
            }
            // Each attempt is lost with probability p, so there are p / (1 - p) losses a piece; seven sigmas either way.
            let p = f64::from(loss) / 1e6;
            let expected = PIECES as f64 * p / (1.0 - p);
            let sigma = (PIECES as f64 * p).sqrt() / (1.0 - p);
            prop_assert!((line.lost() as f64 - expected).abs() < 7.0 * sigma, "{} for {expected}", line.lost());
        }
    }
}
