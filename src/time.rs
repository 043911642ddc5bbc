//! Time: time as the cores see it, two readings that the node passes in and that are never asked for.
//!
//! [`Time`] is monotonic and drives timers, latencies and time-outs. [`Unix`] is wall time and decides epochs,
//! deadlines that cross the mesh, and what the event log says. A core gets both as [`Now`].

use core::{fmt, ops::Add, ops::Sub, time::Duration};
use serde::{Deserialize, Serialize};

/// Monotonic time in microseconds since an arbitrary start; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

/// Wall time in microseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Unix(pub u64);

/// Both readings at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time, for timers.
    pub time: Time,
    /// Wall time, for epochs and for deadlines that travel.
    pub unix: Unix,
}

/// The number of an epoch: unix time divided by the epoch's length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// Days since the realm was founded (see the bulletin's `founded`): the step of the resolution-key chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(pub u32);

/// Seconds in a day.
pub const DAY_SECONDS: u64 = 86_400;

/// Length of an epoch in seconds: at least 4, and a divisor of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct EpochLength(u32);

impl EpochLength {
    /// One hour.
    pub const HOUR: Self = Self(3_600);

    /// Makes an epoch length; `None` unless `seconds` divides 86,400 and is at least 4 (so that the allowed skew of a
    /// quarter is at least a second).
    pub fn new(seconds: u32) -> Option<Self> {
        (seconds >= 4 && DAY_SECONDS.is_multiple_of(u64::from(seconds))).then_some(Self(seconds))
    }

    /// The length in seconds.
    pub fn seconds(self) -> u64 {
        u64::from(self.0)
    }

    /// The epoch that `at` falls in.
    pub fn epoch_at(self, at: Unix) -> Epoch {
        Epoch(at.seconds() / self.seconds())
    }

    /// The time at which an epoch begins.
    pub fn start(self, epoch: Epoch) -> Unix {
        Unix::from_seconds(epoch.0.saturating_mul(self.seconds()))
    }

    /// The time at which an epoch ends, which is when the next one begins.
    pub fn end(self, epoch: Epoch) -> Unix {
        self.start(Epoch(epoch.0.saturating_add(1)))
    }

    /// Allowed clock skew S: five minutes, at most a quarter of the epoch.
    pub fn skew(self) -> Duration {
        Duration::from_secs(300.min(self.seconds() / 4))
    }

    /// Number of epochs that one batch of credentials covers: seven days, at most 168, at least one.
    pub fn batch(self) -> u64 {
        (7 * DAY_SECONDS / self.seconds()).clamp(1, 168)
    }
}

impl<'de> Deserialize<'de> for EpochLength {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = u32::deserialize(deserializer)?;
        Self::new(seconds)
            .ok_or_else(|| serde::de::Error::custom("an epoch length divides 86400 s and is at least 4 s"))
    }
}

impl Time {
    /// The time since an earlier moment; zero if `earlier` is later.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, by: Duration) -> Time {
        Time(self.0.saturating_add(micros(by)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, by: Duration) -> Time {
        Time(self.0.saturating_sub(micros(by)))
    }
}

impl Unix {
    /// Makes a time from whole seconds.
    pub fn from_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// The time in whole seconds.
    pub fn seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time in whole milliseconds.
    pub fn millis(self) -> u64 {
        self.0 / 1_000
    }

    /// The time since an earlier moment; zero if `earlier` is later.
    pub fn since(self, earlier: Unix) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// The number of days since a realm's founding (in unix seconds).
    pub fn day_since(self, founded: u64) -> Day {
        Day(u32::try_from((self.seconds() / DAY_SECONDS).saturating_sub(founded / DAY_SECONDS)).unwrap_or(u32::MAX))
    }
}

impl Add<Duration> for Unix {
    type Output = Unix;
    fn add(self, by: Duration) -> Unix {
        Unix(self.0.saturating_add(micros(by)))
    }
}

impl Sub<Duration> for Unix {
    type Output = Unix;
    fn sub(self, by: Duration) -> Unix {
        Unix(self.0.saturating_sub(micros(by)))
    }
}

impl fmt::Display for Unix {
    /// Writes the time as in RFC 3339, in UTC with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.seconds() / DAY_SECONDS, self.seconds() % DAY_SECONDS);
        let (year, month, day) = civil(days);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            second / 3_600,
            second / 60 % 60,
            second % 60,
            self.0 / 1_000 % 1_000
        )
    }
}

/// Converts days since 1970-01-01 to (year, month, day) in the proleptic Gregorian calendar, by eras of 400 years that
/// start on 1 March, so that the leap day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_tile_the_day() {
        let hour = EpochLength::HOUR;
        let at = Unix::from_seconds(1_800_000_123);
        let epoch = hour.epoch_at(at);
        assert!(hour.start(epoch) <= at && at < hour.end(epoch));
        assert_eq!(hour.batch(), 168);
        assert_eq!(hour.skew(), Duration::from_secs(300));
        assert_eq!(EpochLength::new(60).map(|l| l.skew()), Some(Duration::from_secs(15)));
        assert_eq!(EpochLength::new(7), None);
    }

    #[test]
    fn wall_time_reads_as_rfc_3339() {
        assert_eq!(Unix::from_seconds(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Unix(1_709_208_000_123_456).to_string(), "2024-02-29T12:00:00.123Z");
        assert_eq!(Unix::from_seconds(4_102_444_799).to_string(), "2099-12-31T23:59:59.000Z");
    }
}
