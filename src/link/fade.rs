//! Fading: half-lives in integers, so that what fades is the same on every machine.

use crate::time::Time;
use core::time::Duration;

/// The steps of a half-life.
pub(super) const STEPS: u64 = 4_096;
/// 2^(−n/16) in parts of 65,536.
const CURVE: [u64; 17] = [
    65_536, 62_757, 60_097, 57_549, 55_109, 52_773, 50_535, 48_393, 46_341, 44_376, 42_495, 40_693, 38_968, 37_316,
    35_734, 34_219, 32_768,
];

/// What is left of an amount after a number of steps. The curve is exact at each 16th of a half-life and linear
/// between.
pub(super) fn faded(amount: u64, steps: u64) -> u64 {
    let (halvings, rest) = (steps / STEPS, steps % STEPS);
    let (at, between) = ((rest / 256) as usize, rest % 256);
    let part = (CURVE[at] * (256 - between) + CURVE[at + 1] * between) / 256;
    let amount = amount.checked_shr(u32::try_from(halvings).unwrap_or(u32::MAX)).unwrap_or(0);
    u64::try_from(u128::from(amount) * u128::from(part) / 65_536).unwrap_or(amount)
}

/// The number of whole steps of a half-life between two times. `since` is moved forward by the same amount, so that no
/// step is lost however often this is called.
pub(super) fn steps(since: &mut Time, now: Time, half_life: Duration) -> u64 {
    let step = half_life / STEPS as u32;
    let steps = now.since(*since).as_micros() / step.as_micros().max(1);
    let steps = u64::try_from(steps).unwrap_or(u64::MAX);
    let passed = u64::try_from(step.as_micros()).unwrap_or(u64::MAX).saturating_mul(steps);
    *since = Time(since.0.saturating_add(passed));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_halves_and_halves_again() {
        assert_eq!(faded(1_000_000, 0), 1_000_000);
        assert_eq!(faded(1_000_000, STEPS), 500_000);
        assert_eq!(faded(1_000_000, 3 * STEPS), 125_000);
        assert_eq!(faded(u64::MAX, u64::MAX), 0);
        for steps in 0..STEPS {
            let exact = 1e6 * 2f64.powf(-(steps as f64) / STEPS as f64);
            assert!((faded(1_000_000, steps) as f64 - exact).abs() < 300.0, "{steps}");
        }
    }

    #[test]
    fn no_step_is_lost_however_often_it_is_asked() {
        let (mut since, mut total) = (Time(7), 0);
        for at in (0..60_000_000u64).step_by(1_001) {
            total += steps(&mut since, Time(7 + at), Duration::from_secs(60));
        }
        assert!((4_090..=4_096).contains(&total), "{total}");
    }
}
