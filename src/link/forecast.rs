//! Forecast: when a bearer that may not be used now may be used again, as far as that is known in advance, and whether
//! a frame that waits for it gets there in time.
//!
//! **Mechanism.** Access windows open, and quotas are renewed, at known times. A bearer may be used while a window is
//! open and its quota is not spent; each span of time in which that is so is an [`Opening`]. A frame takes the first
//! opening in which all of it can be sent, if it then still has time for the way.
//!
//! Invariants
//! 1. The first opening that suits is found: no earlier moment suits, and at that moment the bearer may be used until
//!    the frame has been sent. A test compares with a search that tries every minute.

use super::spend::Spend;
use super::windows::Windows;
use crate::time::Unix;
use core::time::Duration;

/// The most openings that are looked at for one question.
const MOST: usize = 64;

/// A span of time in which a bearer may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// When it begins.
    pub opens: Unix,
    /// When a window closes; `None` if none ever does.
    pub closes: Option<Unix>,
}

/// What a frame needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The time that it, and what is queued before it, takes on the bearer.
    pub air: Duration,
    /// The time that it takes from there on.
    pub way: Duration,
    /// When it must begin to leave at the latest.
    pub leaves: Unix,
    /// When it must be there at the latest.
    pub arrives: Unix,
}

/// The first opening from `now` on that suits a frame.
pub fn first_suitable(windows: &Windows, spend: &Spend, now: Unix, need: &Need) -> Option<Opening> {
    let mut at = now;
    for _ in 0..MOST {
        let opening = next_opening(windows, spend, at, need.leaves)?;
        let sent = opening.opens + need.air;
        if sent + need.way > need.arrives {
            return None;
        }
        match opening.closes {
            Some(closes) if sent > closes => at = closes,
            _ => return Some(opening),
        }
    }
    None
}

/// The next opening from `now` on that begins by `until`.
fn next_opening(windows: &Windows, spend: &Spend, now: Unix, until: Unix) -> Option<Opening> {
    let mut opens = now;
    for _ in 0..MOST {
        if opens > until {
            return None;
        }
        if !windows.open_at(opens) {
            opens = windows.next_change(opens)?;
        } else if spend.is_exhausted(opens) {
            opens = spend.next_change(opens)?;
        } else {
            return Some(Opening { opens, closes: windows.next_change(opens) });
        }
    }
    None
}

/// The time that bytes take on a bearer with this rate in kbit/s.
pub fn air_time(bytes: u64, rate: u32) -> Duration {
    if rate == u32::MAX {
        return Duration::ZERO;
    }
    let micros = (u128::from(bytes) * 8_000).div_ceil(u128::from(rate.max(1)));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::bearer::Quota;
    use crate::link::windows::{EVERY_DAY, MINUTES, Window};
    use proptest::prelude::*;

    const MINUTE: u64 = 60;

    /// The start of Monday, 5 January 1970, and so many minutes.
    fn at(minutes: u64) -> Unix {
        Unix::from_seconds(4 * 86_400 + minutes * MINUTE)
    }

    fn span(minutes: u64) -> Duration {
        Duration::from_secs(minutes * MINUTE)
    }

    /// Tries every minute.
    fn tried(windows: &Windows, spend: &Spend, from: u64, need: &Need) -> Option<u64> {
        let may = |minute: u64| windows.open_at(at(minute)) && !spend.is_exhausted(at(minute));
        let air = need.air.as_secs() / MINUTE;
        let open_for = |minute: u64| (minute..minute + air).all(|minute| windows.open_at(at(minute)));
        (from..from + 3 * u64::from(MINUTES)).find(|minute| {
            at(*minute) <= need.leaves
                && at(*minute) + need.air + need.way <= need.arrives
                && may(*minute)
                && open_for(*minute)
        })
    }

    proptest! {
        /// Invariant 1.
        #[test]
        fn the_first_opening_is_the_one_that_a_search_of_every_minute_finds(
            windows in prop::collection::vec((0..MINUTES, 0..=MINUTES, 1..=EVERY_DAY), 0..4),
            quota in prop::option::of(1u64..2_000),
            spent in any::<bool>(),
            from in 0u64..7 * 1_440,
            air in 0u64..90,
            way in 0u64..90,
            leaves in 0u64..2 * 1_440,
            slack in 0u64..600,
        ) {
            let windows = Windows::new(windows.into_iter().filter_map(|(a, b, days)| Window::new(a, b, days)));
            let mut spend = Spend::new(quota.map(|every| Quota { bytes: 10, every: span(every) }));
            if spent {
                spend.spend(10, at(from));
            }
            let leaves_at = at(from + leaves);
            let need = Need { air: span(air), way: span(way), leaves: leaves_at, arrives: leaves_at + span(slack) };
            let found = first_suitable(&windows, &spend, at(from), &need).map(|opening| opening.opens);
            let naive = tried(&windows, &spend, from, &need).map(at);
            prop_assert_eq!(found, naive);
        }
    }

    #[test]
    fn bytes_take_time_where_the_rate_is_limited() {
        assert_eq!(air_time(125, 1), Duration::from_secs(1));
        assert_eq!(air_time(1_000_000, u32::MAX), Duration::ZERO);
    }
}
