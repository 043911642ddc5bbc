//! Quantity: quantities as people write them: `250ms`, `8%`, `9600bit`, `6/h`, `64KiB`, `22:00-06:00`.
//!
//! Each is a type of its own, so that a share cannot be confused with a number of seconds, and each states the expected
//! form if it cannot be read.

use m2mesh::link::windows::{EVERY_DAY, Window};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A duration above zero and at most a hundred years: `250ms`, `10m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A duration that may be zero: `0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(pub Duration);

/// A duration that may be negative, in seconds: `-90s`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift(pub f64);

/// A duration, or a range from which one is drawn uniformly: `20ms`, `10ms..150ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The least duration.
    pub least: Duration,
    /// The greatest duration.
    pub most: Duration,
}

/// A share of a whole, from 0 to 1: `0.08`, `8%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// Bits a second: `9600bit`, `10Mbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitRate(pub u64);

/// A frequency, in events a second: `0.5/s`, `6/h`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frequency(pub f64);

/// Bytes: `200`, `200B`, `64KiB`, `10MB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Joules: `4uJ`, `20kJ`, `3Wh`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Energy(pub f64);

/// Watts: `15uW`, `60mW`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watts(pub f64);

/// A part of the days in UTC, which may extend over midnight: `22:00-06:00`, `Mon-Fri 08:00-17:00`, `Sat,Sun 12:00-12:20`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenWindow(pub Window);

/// A time of the day in UTC, after midnight: `06:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(pub Duration);

/// Times of the day in UTC, each after midnight, ascending: `06:00, 18:00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimesOfDay(pub Vec<Duration>);

/// A quantity that can be read from a text, and perhaps from a plain number.
pub trait Quantity: Sized {
    /// The text after "expected …" in errors.
    const WANTED: &str;

    /// Reads the quantity from a text.
    fn from_text(text: &str) -> Option<Self>;

    /// Reads the quantity from a number without a unit; `None` if a unit is required.
    fn from_number(_number: f64) -> Option<Self> {
        None
    }
}

impl Quantity for Period {
    const WANTED: &str = "a duration above zero, as \"250ms\", \"30s\", \"10m\", \"6h\" or \"7d\"";

    fn from_text(text: &str) -> Option<Self> {
        duration(text).filter(|duration| !duration.is_zero()).map(Self)
    }
}

impl Quantity for Offset {
    const WANTED: &str = "a duration, as \"0s\", \"250ms\", \"30s\", \"10m\" or \"6h\"";

    fn from_text(text: &str) -> Option<Self> {
        duration(text).map(Self)
    }
}

impl Quantity for Shift {
    const WANTED: &str = "a duration, as \"90s\" for forward or \"-90s\" for back";

    fn from_text(text: &str) -> Option<Self> {
        let (sign, text) = match text.strip_prefix('-') {
            Some(rest) => (-1.0, rest),
            None => (1.0, text.strip_prefix('+').unwrap_or(text)),
        };
        duration(text).filter(|duration| !duration.is_zero()).map(|duration| Self(sign * duration.as_secs_f64()))
    }
}

impl Quantity for Delay {
    const WANTED: &str = "a duration, as \"20ms\", or two between which it is drawn, as \"10ms..150ms\"";

    fn from_text(text: &str) -> Option<Self> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let (least, most) = (duration(least)?, duration(most)?);
        (least <= most).then_some(Self { least, most })
    }
}

impl Quantity for Share {
    const WANTED: &str = "a share from 0 to 1, as 0.08 or \"8%\"";

    fn from_text(text: &str) -> Option<Self> {
        match text.trim().strip_suffix('%') {
            Some(percent) => Self::from_number(number(percent)? / 100.0),
            None => Self::from_number(number(text)?),
        }
    }

    fn from_number(number: f64) -> Option<Self> {
        (0.0..=1.0).contains(&number).then_some(Self(number))
    }
}

impl Quantity for BitRate {
    const WANTED: &str = "bits a second, as \"9600bit\", \"10kbit\" or \"10Mbit\"";

    fn from_text(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches("/s");
        let scaled = scaled(text, &[("Gbit", 1e9), ("Mbit", 1e6), ("kbit", 1e3), ("bit", 1.0)])?;
        (1.0..=1e15).contains(&scaled).then_some(Self(scaled.round() as u64))
    }
}

impl Quantity for Frequency {
    const WANTED: &str = "how often in a time, as \"0.5/s\", \"6/h\" or \"100/85s\"";

    fn from_text(text: &str) -> Option<Self> {
        let (count, time) = text.split_once('/')?;
        let time = time.trim();
        let time = if time.starts_with(|c: char| c.is_ascii_digit()) { time.to_owned() } else { format!("1{time}") };
        let seconds = duration(&time)?.as_secs_f64();
        let frequency = number(count)? / seconds;
        (frequency > 0.0 && frequency <= 1e6).then_some(Self(frequency))
    }
}

impl Quantity for Size {
    const WANTED: &str = "a number of bytes, as 200, \"64KiB\" or \"10MB\"";

    fn from_text(text: &str) -> Option<Self> {
        let units = [
            ("KiB", 1024.0),
            ("MiB", 1024.0 * 1024.0),
            ("GiB", 1024.0 * 1024.0 * 1024.0),
            ("kB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("B", 1.0),
            ("", 1.0),
        ];
        Self::from_number(scaled(text, &units)?)
    }

    fn from_number(number: f64) -> Option<Self> {
        (number.fract() == 0.0 && (0.0..=1e15).contains(&number)).then_some(Self(number as u64))
    }
}

impl Quantity for Energy {
    const WANTED: &str = "an energy, as \"4uJ\", \"0.5mJ\", \"20kJ\" or \"3Wh\"";

    fn from_text(text: &str) -> Option<Self> {
        let units = [
            ("kWh", 3.6e6),
            ("mWh", 3.6),
            ("Wh", 3_600.0),
            ("kJ", 1e3),
            ("mJ", 1e-3),
            ("uJ", 1e-6),
            ("µJ", 1e-6),
            ("nJ", 1e-9),
            ("J", 1.0),
        ];
        scaled(text, &units).filter(|joules| (0.0..=1e15).contains(joules)).map(Self)
    }
}

impl Quantity for Watts {
    const WANTED: &str = "a power, as \"15uW\", \"60mW\" or \"5W\"";

    fn from_text(text: &str) -> Option<Self> {
        let units = [("kW", 1e3), ("mW", 1e-3), ("uW", 1e-6), ("µW", 1e-6), ("nW", 1e-9), ("W", 1.0)];
        scaled(text, &units).filter(|watts| (0.0..=1e12).contains(watts)).map(Self)
    }
}

impl Quantity for OpenWindow {
    const WANTED: &str = "a part of the day in UTC, as \"22:00-06:00\" or \"Mon-Fri 08:00-17:00\"";

    fn from_text(text: &str) -> Option<Self> {
        let (days, hours) = match text.trim().rsplit_once(' ') {
            Some((days, hours)) => (days_of(days)?, hours),
            None => (EVERY_DAY, text),
        };
        let (from, to) = hours.split_once('-')?;
        let minute = |time: &str| u16::try_from(time_of_day(time)?.as_secs() / 60).ok();
        let (from, to) = (minute(from)?, minute(to)?);
        Window::new(from, to, days).filter(|_| from != to).map(Self)
    }
}

impl Quantity for TimeOfDay {
    const WANTED: &str = "a time of the day in UTC, as \"06:00\" or \"22:30\"";

    fn from_text(text: &str) -> Option<Self> {
        time_of_day(text).filter(|time| *time < Duration::from_secs(86_400)).map(Self)
    }
}

impl Quantity for TimesOfDay {
    const WANTED: &str = "times of the day in UTC, as \"06:00\" or \"06:00, 18:00\"";

    fn from_text(text: &str) -> Option<Self> {
        let times = text.split(',').map(|time| TimeOfDay::from_text(time).map(|time| time.0));
        let mut times = times.collect::<Option<Vec<_>>>()?;
        times.sort_unstable();
        times.windows(2).all(|pair| pair[0] != pair[1]).then_some(Self(times))
    }
}

/// Reads a duration in the usual units, of at most a hundred years.
pub fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    // People write "1.5s", which humantime does not read.
    let parsed = humantime::parse_duration(text).ok().or_else(|| {
        let units = [("ms", 1e-3), ("min", 60.0), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0)];
        Duration::try_from_secs_f64(scaled(text, &units)?).ok()
    });
    parsed.filter(|duration| *duration <= LONGEST)
}

/// Reads a plain number that is finite.
pub fn number(text: &str) -> Option<f64> {
    text.trim().replace('_', "").parse().ok().filter(|number: &f64| number.is_finite())
}

/// Reads a number with the first of these units that matches its end.
fn scaled(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    units.iter().find_map(|(unit, factor)| Some(number(text.strip_suffix(unit)?)? * factor))
}

/// Reads days of the week, as `Mon-Fri`, `Sat,Sun` or `Tue`, as bits of which Monday is the first.
fn days_of(text: &str) -> Option<u8> {
    let day = |text: &str| DAYS.iter().position(|name| name.eq_ignore_ascii_case(text.trim()));
    let part = |part: &str| match part.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (day(first)?, day(last)?);
            let days = if first <= last { first..=last } else { first..=last + DAYS.len() };
            Some(days.fold(0, |bits, day| bits | 1 << (day % DAYS.len())))
        }
        None => day(part).map(|day| 1 << day),
    };
    text.split(',').map(part).try_fold(0, |bits, days| Some(bits | days?))
}

fn time_of_day(text: &str) -> Option<Duration> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0)))
        .then(|| Duration::from_secs((hours * 60 + minutes) * 60))
}

struct Reader<T>(PhantomData<T>);

impl<T: Quantity> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WANTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).ok_or_else(|| E::custom(format_args!("{text:?} is none; write {}", T::WANTED)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::custom(format_args!("{number} is none; write {}", T::WANTED)))
    }
}

macro_rules! read {
    ($($quantity:ty),*) => {$(
        impl<'de> Deserialize<'de> for $quantity {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(Reader(PhantomData))
            }
        }
    )*};
}

read!(Energy, Watts, Period, Offset, Shift, Delay, Share, BitRate, Frequency, Size, OpenWindow, TimeOfDay, TimesOfDay);

/// The names of the days.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// A hundred years: with longer durations, sums of microseconds could overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        assert_eq!(Period::from_text("1.5s"), Some(Period(Duration::from_millis(1_500))));
        assert_eq!(Period::from_text("7d"), Some(Period(Duration::from_secs(604_800))));
        assert_eq!([Period::from_text("0s"), Period::from_text("ten"), Period::from_number(3.0)], [None; 3]);
        assert_eq!(Shift::from_text("-90s"), Some(Shift(-90.0)));
        let drawn = Delay { least: Duration::from_millis(10), most: Duration::from_millis(150) };
        assert_eq!(Delay::from_text("10ms..150ms"), Some(drawn));
        assert_eq!(Delay::from_text("150ms..10ms"), None);
        assert_eq!([Share::from_text("8%"), Share::from_text("0.5")], [Some(Share(0.08)), Some(Share(0.5))]);
        assert_eq!([Share::from_text("101%"), Share::from_number(-0.1)], [None; 2]);
        assert_eq!(BitRate::from_text("9600bit"), Some(BitRate(9_600)));
        assert_eq!(BitRate::from_text("10Mbit/s"), Some(BitRate(10_000_000)));
        assert_eq!(Frequency::from_text("6/h"), Some(Frequency(6.0 / 3_600.0)));
        assert_eq!(Frequency::from_text("100/85s"), Some(Frequency(100.0 / 85.0)));
        assert_eq!([Frequency::from_text("6"), Frequency::from_text("6/0s"), Frequency::from_text("0/s")], [None; 3]);
        assert_eq!(
            [Energy::from_text("3Wh"), Energy::from_text("4kJ")],
            [Some(Energy(10_800.0)), Some(Energy(4_000.0))]
        );
        assert_eq!([Energy::from_text("3"), Energy::from_text("-1J"), Energy::from_text("1W")], [None; 3]);
        assert_eq!([Watts::from_text("60mW"), Watts::from_text("1J")], [Some(Watts(0.06)), None]);
        assert_eq!(Size::from_text("64KiB"), Some(Size(65_536)));
        assert_eq!([Size::from_text("1.5B"), Size::from_text("-1")], [None; 2]);
        let window = |from, to, days| Window::new(from, to, days).map(OpenWindow);
        assert_eq!(OpenWindow::from_text("22:00-06:00"), window(1_320, 360, EVERY_DAY));
        assert_eq!(OpenWindow::from_text("Mon-Fri 8:00-17:00"), window(480, 1_020, 0b001_1111));
        assert_eq!(OpenWindow::from_text("sat,Tue 12:00-24:00"), window(720, 1_440, 0b010_0010));
        assert_eq!(OpenWindow::from_text("Sun-Mon 12:00-12:01"), window(720, 721, 0b100_0001));
        for wrong in ["22:60-06:00", "6:00-6:00", "Son 06:00-07:00", "Mon- 06:00-07:00", "24:00-06:00", "Mon"] {
            assert_eq!(OpenWindow::from_text(wrong), None, "{wrong}");
        }
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert_eq!(TimesOfDay::from_text("18:00, 06:00"), Some(TimesOfDay(vec![hours(6), hours(18)])));
        assert_eq!([TimesOfDay::from_text("06:00, 6:00"), TimesOfDay::from_text("6h")], [None, None]);
        assert_eq!([TimeOfDay::from_text("00:00"), TimeOfDay::from_text("24:00")], [Some(TimeOfDay(hours(0))), None]);
    }
}
