//! Schedule: the times at which a device has its radio on.

use std::time::Duration;

/// A schedule of a radio: the device is awake for `awake` in every period `every`, for the first time at `phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The time from one awakening to the next.
    pub every: Duration,
    /// The time for which it stays on.
    pub awake: Duration,
    /// The time of its first awakening after the warm-up; it is on before.
    pub phase: Duration,
    /// The time for which it stays on after the end of the warm-up, having awoken before.
    pub left: Duration,
}

/// Returns the times after the warm-up, in order and without overlap, in which a schedule has a device awake.
pub fn wakings(schedules: &[Schedule], duration: Duration) -> Vec<(Duration, Duration)> {
    let mut all: Vec<(Duration, Duration)> = Vec::new();
    for Schedule { every, awake, phase, left } in schedules {
        all.push((Duration::ZERO, *left));
        let mut from = *phase;
        while from < duration {
            all.push((from, from + *awake));
            from += *every;
        }
    }
    all.retain(|(from, to)| from < to);
    all.sort_unstable();
    let mut merged: Vec<(Duration, Duration)> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_schedules_each_has_a_device_awake() {
        let seconds = Duration::from_secs;
        let schedule = |every, awake, phase, left| Schedule {
            every: seconds(every),
            awake: seconds(awake),
            phase: seconds(phase),
            left: seconds(left),
        };
        let found = wakings(&[schedule(10, 2, 3, 0), schedule(86_400, 9, 12, 1)], seconds(40));
        let wanted = [(0, 1), (3, 5), (12, 21), (23, 25), (33, 35)];
        assert_eq!(found, wanted.map(|(from, to)| (seconds(from), seconds(to))));
    }
}
