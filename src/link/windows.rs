//! Access windows: the times at which a bearer may be used.
//!
//! A window opens at one minute of the days that it names, in UTC, and closes at another: on the same day, or on the next
//! day if the closing minute is not later. Times that depend on time zones are given as spans for the days ahead, which
//! are told anew before they run out; after the last one the bearer is closed. A bearer without either is always open.

use crate::time::{DAY_SECONDS, Unix};
use core::time::Duration;

/// One access window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The minute of the day at which the window opens.
    from: u16,
    /// The minute of the day at which it closes.
    until: u16,
    /// The days on which it opens, as bits: Monday is bit 0.
    days: u8,
}

/// The windows of a bearer. The bearer is open while any of them is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    weekly: Vec<Window>,
    /// Spans of time, in order, that do not touch; `None` if there are none at any time.
    spans: Option<Vec<Span>>,
}

/// A span of time in which a bearer may be used: from one second until another.
pub type Span = (u64, u64);

impl Window {
    /// Creates a window from one minute of the day to another, on the days of these bits. The midnight that ends a day
    /// is [`MINUTES`]. Returns `None` if a minute is past the day, or if no day or an unknown bit is given.
    pub fn new(from: u16, until: u16, days: u8) -> Option<Self> {
        let fits = from < MINUTES && until <= MINUTES && days != 0 && days & !EVERY_DAY == 0;
        fits.then_some(Self { from, until: until % MINUTES, days })
    }

    /// When the window opens and closes, in seconds, if it opens on this day since 1970.
    fn on(&self, day: u64) -> Option<(u64, u64)> {
        // 1 January 1970 was a Thursday.
        let weekday = (day + 3) % 7;
        let closes = if self.until > self.from { day } else { day + 1 };
        let at = |day: u64, minute: u16| day * DAY_SECONDS + u64::from(minute) * 60;
        (self.days >> weekday & 1 == 1).then(|| (at(day, self.from), at(closes, self.until)))
    }
}

impl Windows {
    /// Takes the first [`MAX_WINDOWS`] of these.
    pub fn new(windows: impl IntoIterator<Item = Window>) -> Self {
        Self { weekly: windows.into_iter().take(MAX_WINDOWS).collect(), spans: None }
    }

    /// The same with spans of time, the first [`MAX_SPANS`] of these. They are in order and do not touch.
    pub fn with_spans(self, mut spans: Vec<Span>) -> Self {
        spans.truncate(MAX_SPANS);
        Self { spans: Some(spans), ..self }
    }

    /// Whether there are no windows.
    pub fn is_empty(&self) -> bool {
        self.weekly.is_empty() && self.spans.is_none()
    }

    /// Whether the bearer may be used at this time.
    pub fn open_at(&self, at: Unix) -> bool {
        self.is_empty() || self.is_open(at.seconds())
    }

    /// When [`Self::open_at`] next changes after `at`; `None` if it never does.
    pub fn next_change(&self, at: Unix) -> Option<Unix> {
        let (now, today) = (at.seconds(), at.seconds() / DAY_SECONDS);
        let open = self.is_open(now);
        // The pattern repeats after a week.
        let days = today.saturating_sub(1)..today.saturating_add(9);
        let windows = days.flat_map(|day| self.weekly.iter().filter_map(move |window| window.on(day)));
        let changes = windows.chain(self.spans_from(now)).flat_map(|(opens, closes)| [opens, closes]);
        let next = changes.filter(|change| *change > now && self.is_open(*change) != open).min();
        next.map(Unix::from_seconds)
    }

    /// Whether a frame that takes `air` may be sent at this time: all of it, while the bearer may be used.
    pub fn fits(&self, at: Unix, air: Duration) -> bool {
        self.open_at(at) && self.next_change(at).is_none_or(|closes| at + air <= closes)
    }

    fn is_open(&self, seconds: u64) -> bool {
        let today = seconds / DAY_SECONDS;
        let days = today.saturating_sub(1)..=today;
        let windows = days.flat_map(|day| self.weekly.iter().filter_map(move |window| window.on(day)));
        windows.chain(self.spans_from(seconds)).any(|(opens, closes)| (opens..closes).contains(&seconds))
    }

    /// The spans that end after a time, as many as matter to what comes next.
    fn spans_from(&self, seconds: u64) -> impl Iterator<Item = Span> {
        let spans = self.spans.as_deref().unwrap_or_default();
        let first = spans.partition_point(|(_, closes)| *closes <= seconds);
        spans[first..].iter().copied()
    }
}

/// The most windows of one bearer.
pub const MAX_WINDOWS: usize = 32;
/// The most spans of one bearer.
pub const MAX_SPANS: usize = 512;
/// The minutes of a day.
pub const MINUTES: u16 = 1_440;
/// The bits of all days.
pub const EVERY_DAY: u8 = 0b111_1111;

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of Monday, 5 January 1970, in seconds.
    const MONDAY: u64 = 4 * DAY_SECONDS;

    fn at(day: u64, hour: u64, minute: u64) -> Unix {
        Unix::from_seconds(MONDAY + day * DAY_SECONDS + hour * 3_600 + minute * 60)
    }

    fn windows(windows: &[(u16, u16, u8)]) -> Windows {
        Windows::new(windows.iter().map(|(from, until, days)| Window::new(*from, *until, *days).expect("a window")))
    }

    #[test]
    fn a_window_opens_and_closes() {
        let night = windows(&[(120, 240, EVERY_DAY)]);
        assert!(!night.open_at(at(0, 1, 59)) && night.open_at(at(0, 2, 0)));
        assert!(night.open_at(at(0, 3, 59)) && !night.open_at(at(0, 4, 0)));
        assert_eq!(night.next_change(at(0, 1, 0)), Some(at(0, 2, 0)));
        assert_eq!(night.next_change(at(0, 2, 0)), Some(at(0, 4, 0)));
        assert_eq!(night.next_change(at(0, 4, 0)), Some(at(1, 2, 0)));
    }

    #[test]
    fn it_may_span_midnight_and_belongs_to_the_day_on_which_it_opens() {
        // Sunday, 22:00 to 06:00.
        let night = windows(&[(1_320, 360, 0b100_0000)]);
        assert!(night.open_at(at(6, 23, 0)) && night.open_at(at(7, 5, 59)));
        assert!(!night.open_at(at(5, 23, 0)) && !night.open_at(at(6, 5, 0)) && !night.open_at(at(7, 6, 0)));
        assert_eq!(night.next_change(at(7, 6, 0)), Some(at(13, 22, 0)));
    }

    #[test]
    fn windows_that_touch_are_one_and_none_is_always() {
        let two = windows(&[(0, 720, EVERY_DAY), (720, MINUTES, EVERY_DAY)]);
        assert_eq!((two.open_at(at(0, 12, 0)), two.next_change(at(0, 1, 0))), (true, None));
        let always = Windows::default();
        assert_eq!((always.open_at(at(0, 0, 0)), always.next_change(at(0, 0, 0))), (true, None));
        assert_eq!(windows(&[(0, 0, EVERY_DAY)]).next_change(at(0, 0, 0)), None);
    }

    #[test]
    fn spans_open_and_close_beside_windows_and_after_the_last_one_all_is_closed() {
        let span = |day, hour| (at(day, hour, 0).seconds(), at(day, hour + 1, 0).seconds());
        let both = windows(&[(120, 240, 1)]).with_spans(vec![span(0, 3), span(0, 9), span(1, 9)]);
        assert!(both.open_at(at(0, 2, 0)) && both.open_at(at(0, 3, 59)) && !both.open_at(at(0, 4, 0)));
        assert_eq!(both.next_change(at(0, 4, 0)), Some(at(0, 9, 0)));
        assert_eq!(both.next_change(at(0, 9, 0)), Some(at(0, 10, 0)));
        assert_eq!(both.next_change(at(1, 10, 0)), Some(at(7, 2, 0)));
        let spans = Windows::default().with_spans(vec![span(0, 3)]);
        assert!(!spans.is_empty() && spans.fits(at(0, 3, 30), Duration::from_secs(1_800)));
        assert!(!spans.fits(at(0, 3, 30), Duration::from_secs(1_801)));
        assert_eq!((spans.open_at(at(0, 4, 0)), spans.next_change(at(0, 4, 0))), (false, None));
        assert!(!Windows::default().with_spans(Vec::new()).open_at(at(0, 0, 0)));
    }

    #[test]
    fn what_is_no_time_is_no_window() {
        assert_eq!(Window::new(MINUTES, 0, 1), None);
        assert_eq!(Window::new(0, MINUTES + 1, 1), None);
        assert_eq!((Window::new(0, 1, 0), Window::new(0, 1, 0x80)), (None, None));
    }
}
