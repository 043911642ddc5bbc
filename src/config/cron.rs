//! Cron: access windows given by a cron expression, a time zone and a duration, as spans of time.
//!
//! **Mechanism.** Where a time zone changes its clocks is known here and nowhere else: the cores take spans of time. The
//! spans of the days ahead are computed again, by the node's clock, before they run out, and when that clock was set
//! ([`Schedule::renew`]).
//!
//! A window opens when the clocks of its zone show a time that the expression matches, and stays open for its duration,
//! whatever the clocks show meanwhile. On the day on which clocks go forward, a window that would open in the hour that
//! is skipped opens when that hour would have ended; on the day on which they go back, one that opens once a day opens
//! once.
//!
//! Invariants
//! 1. Spans are in order and do not touch.
//! - At most [`MAX_SPANS`] spans are computed for a bearer, from [`MOST_OPENINGS`] openings of a window. What lies behind
//!   them is computed when it is near.

use super::bearer::{Bearer, OpenWindow, weekly_of};
use crate::link::windows::{MAX_SPANS, Span, Windows};
use crate::time::Unix;
use core::time::Duration;
use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use std::str::FromStr;

/// How far ahead spans are computed.
const AHEAD: Duration = Duration::from_secs(9 * 86_400);
/// For how long they are good: then they are computed again.
const GOOD: Duration = Duration::from_secs(86_400);

/// The most openings of a window that are computed at a time.
const MOST_OPENINGS: usize = 2_048;

/// A window of this kind that has been checked.
#[derive(Clone, Debug)]
struct Checked {
    cron: Cron,
    zone: TimeZone,
    length: Duration,
}

/// The bearers of a node whose windows depend on time zones.
#[derive(Debug, Default)]
pub struct Schedule {
    bearers: Vec<(u8, Windows, Vec<Checked>)>,
    /// From when until when the spans that were computed last are good.
    good: Option<(Unix, Unix)>,
}

/// Stands in place of a bearer's number for the times at which a device is awake.
pub const AWAKE: u8 = u8::MAX;

impl Schedule {
    /// The same, and the times at which the device is awake, in place of a bearer of the number [`AWAKE`].
    pub fn with_awake(mut self, awake: &[OpenWindow]) -> Self {
        let checked: Vec<Checked> = awake.iter().filter_map(checked).collect();
        if !checked.is_empty() {
            self.bearers.push((AWAKE, weekly_of(awake), checked));
        }
        self
    }

    /// The bearers, in order, among which some may have windows of this kind.
    pub fn new(bearers: &[Bearer]) -> Self {
        let bearers = (0..).zip(bearers).filter_map(|(index, bearer)| {
            let checked: Vec<Checked> = bearer.windows.iter().filter_map(checked).collect();
            (!checked.is_empty()).then(|| (index, bearer.weekly(), checked))
        });
        Self { bearers: bearers.collect(), good: None }
    }

    /// The windows of each of these bearers, if they have to be told anew at this time.
    pub fn renew(&mut self, now: Unix) -> Vec<(u8, Windows)> {
        if self.bearers.is_empty() || self.good.is_some_and(|(from, until)| (from..until).contains(&now)) {
            return Vec::new();
        }
        let mut until = now + GOOD;
        let mut renewed = Vec::new();
        for (index, weekly, checked) in &self.bearers {
            let (spans, known) = spans(checked, now);
            until = until.min(known);
            renewed.push((*index, weekly.clone().with_spans(spans)));
        }
        self.good = Some((now, until));
        renewed
    }
}

/// The spans of these windows from a time on, and until when they are all of them.
fn spans(windows: &[Checked], from: Unix) -> (Vec<Span>, Unix) {
    let (mut all, mut known): (Vec<Span>, _) = (Vec::new(), from + AHEAD);
    for window in windows {
        let (opened, until) = opened(window, from);
        all.extend(opened);
        known = known.min(until);
    }
    all.sort_unstable();
    let mut joined: Vec<Span> = Vec::new();
    for span in all {
        join(&mut joined, span);
    }
    if joined.len() > MAX_SPANS {
        joined.truncate(MAX_SPANS);
        known = known.min(Unix::from_seconds(joined.last().map_or(0, |(_, closes)| *closes)));
    }
    (joined, known)
}

/// Adds a span to those that begin no later.
fn join(spans: &mut Vec<Span>, (opens, closes): Span) {
    match spans.last_mut() {
        Some((_, last)) if opens <= *last => *last = closes.max(*last),
        _ => spans.push((opens, closes)),
    }
}

/// The spans of one window from a time on, and until when they are all of them.
fn opened(window: &Checked, from: Unix) -> (Vec<Span>, Unix) {
    let Checked { cron, zone, length } = window;
    let until = from + AHEAD;
    let Some(mut at) = zoned(from, zone) else { return (Vec::new(), until) };
    let mut spans = Vec::new();
    let span = |opens: &Zoned| {
        let opens = u64::try_from(opens.timestamp().as_second()).ok()?;
        Some((opens, opens.saturating_add(length.as_secs())))
    };
    // One that has opened before may be open still.
    let before = cron.find_previous_occurrence(&at, true).ok();
    spans.extend(before.as_ref().and_then(span).filter(|(_, closes)| *closes > from.seconds()));
    for _ in 0..MOST_OPENINGS {
        // An expression may match no time any more.
        let Ok(next) = cron.find_next_occurrence(&at, false) else { return (spans, until) };
        match span(&next).filter(|(opens, _)| *opens <= until.seconds()) {
            Some(span) => join(&mut spans, span),
            None => return (spans, until),
        }
        at = next;
    }
    let known = u64::try_from(at.timestamp().as_second()).unwrap_or(0);
    (spans, until.min(Unix::from_seconds(known)))
}

fn zoned(at: Unix, zone: &TimeZone) -> Option<Zoned> {
    let second = i64::try_from(at.seconds()).ok()?;
    Some(Timestamp::from_second(second).ok()?.to_zoned(zone.clone()))
}

fn checked(window: &OpenWindow) -> Option<Checked> {
    let (cron, length) = (window.cron.as_ref()?, window.length?);
    let zone = TimeZone::get(window.zone.as_deref().unwrap_or("UTC")).ok()?;
    Some(Checked { cron: Cron::from_str(cron).ok()?, zone, length })
}

/// Describes what is wrong with a window; `None` if it is valid.
pub(super) fn problem(window: &OpenWindow) -> Option<String> {
    let OpenWindow { from, until, days, cron, zone, length } = window;
    let Some(cron) = cron else {
        return match (from, until, zone, length) {
            (Some(_), Some(_), None, None) => None,
            (None, _, None, None) => Some("missing field `from`, or `cron`".to_owned()),
            (_, None, None, None) => Some("missing field `until`".to_owned()),
            _ => Some("`zone` and `for` belong to a window with `cron`; `from` and `until` are in UTC".to_owned()),
        };
    };
    if from.is_some() || until.is_some() || !days.is_empty() {
        return Some("a window has either `cron`, `zone` and `for`, or `from`, `until` and `days`".to_owned());
    }
    if let Err(error) = Cron::from_str(cron) {
        return Some(format!("{cron:?} is no cron expression such as \"0 2 * * Mon-Fri\": {error}"));
    }
    if zone.as_deref().is_some_and(|zone| TimeZone::get(zone).is_err()) {
        return Some(format!(
            "{:?} is no time zone such as \"Europe/Berlin\" or \"UTC\"",
            zone.clone().unwrap_or_default()
        ));
    }
    match length {
        None => Some("a window with `cron` needs `for`, how long it is open: for = \"2h\"".to_owned()),
        Some(length) if *length > LONGEST => Some("a window is open for a week at most".to_owned()),
        Some(_) => None,
    }
}

/// The longest that a window is open.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn window(cron: &str, zone: &str, hours: u64) -> Checked {
        let window = OpenWindow {
            cron: Some(cron.to_owned()),
            zone: Some(zone.to_owned()),
            length: Some(Duration::from_secs(hours * 3_600)),
            ..OpenWindow::default()
        };
        assert_eq!(problem(&window), None);
        checked(&window).expect("valid")
    }

    fn at(text: &str) -> Unix {
        let timestamp: Timestamp = text.parse().expect("a time");
        Unix::from_seconds(timestamp.as_second().unsigned_abs())
    }

    fn texts(spans: &[Span]) -> Vec<String> {
        let text = |second: u64| Timestamp::from_second(second.cast_signed()).expect("a time").to_string();
        spans.iter().map(|(opens, closes)| format!("{} {}", text(*opens), text(*closes))).collect()
    }

    /// Clocks in Berlin go forward on 29 March 2026 from 02:00 to 03:00.
    #[test]
    fn a_window_follows_the_clocks_that_go_forward() {
        let found = spans(&[window("0 4 * * *", "Europe/Berlin", 2)], at("2026-03-27T12:00:00Z")).0;
        assert_eq!(
            texts(&found)[..3],
            [
                "2026-03-28T03:00:00Z 2026-03-28T05:00:00Z",
                "2026-03-29T02:00:00Z 2026-03-29T04:00:00Z",
                "2026-03-30T02:00:00Z 2026-03-30T04:00:00Z",
            ]
        );
        // In the hour that is skipped it opens late, and is not left out.
        let found = spans(&[window("30 2 * * *", "Europe/Berlin", 1)], at("2026-03-28T12:00:00Z")).0;
        assert_eq!(texts(&found)[0], "2026-03-29T01:00:00Z 2026-03-29T02:00:00Z");
        assert_eq!(texts(&found)[1], "2026-03-30T00:30:00Z 2026-03-30T01:30:00Z");
    }

    /// They go back on 25 October 2026 from 03:00 to 02:00.
    #[test]
    fn a_window_follows_the_clocks_that_go_back() {
        let found = spans(&[window("30 2 * * *", "Europe/Berlin", 1)], at("2026-10-24T12:00:00Z")).0;
        assert_eq!(
            texts(&found)[..2],
            ["2026-10-25T00:30:00Z 2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z 2026-10-26T02:30:00Z",]
        );
        // Its length is one of time, not of clocks.
        let found = spans(&[window("0 1 * * *", "Europe/Berlin", 4)], at("2026-10-24T12:00:00Z")).0;
        assert_eq!(texts(&found)[0], "2026-10-24T23:00:00Z 2026-10-25T03:00:00Z");
    }

    /// Invariant 1.
    #[test]
    fn spans_that_touch_are_one_and_one_that_is_open_is_among_them() {
        let found =
            spans(&[window("0 * * * *", "UTC", 1), window("30 7 * * *", "UTC", 3)], at("2026-01-05T08:10:00Z")).0;
        assert_eq!(found.len(), 1);
        let found = spans(&[window("0 2 * * Mon-Fri", "UTC", 2)], at("2026-01-05T03:00:00Z")).0;
        assert_eq!(texts(&found)[0], "2026-01-05T02:00:00Z 2026-01-05T04:00:00Z");
        assert_eq!(found.len(), 8, "nine days ahead, without a weekend");
    }

    #[test]
    fn spans_are_told_again_before_they_run_out_and_when_the_clock_was_set() {
        let bearer: Bearer = toml::from_str(
            "name = \"night\"\nclass = \"satellite\"\nwindows = [{ cron = \"0 2 * * *\", for = \"2h\" }]",
        )
        .expect("a bearer");
        let mut schedule = Schedule::new(&[bearer]);
        let now = at("2026-01-05T08:00:00Z");
        let [(0, windows)] = &schedule.renew(now)[..] else { panic!("one bearer") };
        assert!(!windows.open_at(now) && windows.open_at(at("2026-01-06T03:00:00Z")));
        assert!(schedule.renew(now + Duration::from_secs(3_600)).is_empty());
        assert_eq!(schedule.renew(now + Duration::from_secs(90_000)).len(), 1);
        assert_eq!(schedule.renew(Unix::from_seconds(1_000)).len(), 1, "the clock was set back");
        assert!(Schedule::new(&[]).renew(now).is_empty());
    }

    #[test]
    fn what_opens_often_is_computed_again_sooner() {
        let now = at("2026-01-05T08:00:00Z");
        let mut checked = window("* * * * *", "UTC", 1);
        let (found, known) = spans(&[checked.clone()], now);
        assert_eq!((found.len(), known < now + AHEAD), (1, true), "each touches the next");
        checked.length = Duration::from_secs(30);
        let (found, known) = spans(&[checked], now);
        assert_eq!((found.len(), known), (MAX_SPANS, Unix::from_seconds(found[MAX_SPANS - 1].1)));
    }
}
