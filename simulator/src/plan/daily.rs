//! A daily profile: a factor for each part of the day, by the wall clock.

use std::time::Duration;

/// Factors over the day in UTC. Each holds from its time until that of the next; the last one holds over midnight.
#[derive(Clone, Debug, PartialEq)]
pub struct Daily {
    /// Times after midnight, ascending, each with the factor from then on; at least one, and one factor above zero.
    pub steps: Vec<(Duration, f64)>,
    /// The time of the day at which the warm-up ends.
    pub dawn: Duration,
}

impl Daily {
    /// Returns the factor at a time after the warm-up.
    pub fn factor(&self, after: Duration) -> f64 {
        let time = Duration::from_nanos(u64::try_from((self.dawn + after).as_nanos() % DAY.as_nanos()).unwrap_or(0));
        let passed = self.steps.partition_point(|(from, _)| *from <= time);
        let step = passed.checked_sub(1).map_or(self.steps.last(), |at| self.steps.get(at));
        step.map_or(1.0, |(_, factor)| *factor)
    }

    /// Returns the largest factor of the day.
    pub fn most(&self) -> f64 {
        self.steps.iter().map(|(_, factor)| *factor).fold(0.0, f64::max)
    }

    /// Returns the mean factor between two times after the warm-up.
    pub fn mean(&self, from: Duration, to: Duration) -> f64 {
        let (mut at, mut sum) = (from, 0.0);
        while at < to {
            let next = self.next_step(at).min(to);
            sum += self.factor(at) * (next - at).as_secs_f64();
            at = next;
        }
        sum / (to.saturating_sub(from)).as_secs_f64().max(1e-9)
    }

    /// Returns the time at which the factor may next change.
    fn next_step(&self, after: Duration) -> Duration {
        let time = (self.dawn + after).as_nanos() % DAY.as_nanos();
        let later = self.steps.iter().map(|(from, _)| from.as_nanos()).find(|from| *from > time);
        let first = || self.steps.first().map_or(0, |(from, _)| from.as_nanos()) + DAY.as_nanos();
        let ahead = later.unwrap_or_else(first) - time;
        after + Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX))
    }
}

/// The length of a day.
pub const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_factor_holds_until_the_next_and_over_midnight() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        let daily = Daily { steps: vec![(hours(7), 3.0), (hours(22), 0.5)], dawn: hours(6) };
        let at = [0, 1, 15, 16, 24, 25].map(|after| daily.factor(hours(after)));
        assert_eq!(at, [0.5, 3.0, 3.0, 0.5, 0.5, 3.0]);
        assert_eq!(daily.most(), 3.0);
        // From 06:00: one hour of 0.5, fifteen of 3, eight of 0.5.
        assert!((daily.mean(hours(0), hours(24)) - 49.5 / 24.0).abs() < 1e-9);
        assert!((daily.mean(hours(0), hours(2)) - 1.75).abs() < 1e-9);
        let always = Daily { steps: vec![(hours(0), 2.0)], dawn: hours(6) };
        assert_eq!((always.factor(hours(50)), always.mean(hours(1), hours(100))), (2.0, 2.0));
    }
}
