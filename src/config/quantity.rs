//! Quantities as people write them: `50MB`, `250kbit/s`, `2.5` units of money, `02:00`.
//!
//! A number without a unit is in the unit that the documentation of the setting names.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Bytes, written as a number, or as `1500B`, `50MB`, `64KiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Kilobits per second, written as a number, or as `9600bit/s`, `250kbit/s`, `10Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kilobits(pub u32);

/// Money in micro-units, written in units: `3`, `0.25`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money(pub u64);

/// Minutes since midnight, written as `02:00`; `24:00` is the midnight at the end of the day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Minute(pub u16);

/// Parses a rate in bits per second: `64kbit`, `10Mbit/s`, `1 Gbps`, or a number. `None` if it cannot be parsed.
pub fn bits(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let unit = unit.to_ascii_lowercase();
    let unit = ["bit/s", "bps", "bit"].iter().find_map(|end| unit.strip_suffix(end)).unwrap_or(&unit);
    let scale = match unit {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        _ => return None,
    };
    // The conversion saturates; the caller rejects what is too large.
    Some((number * scale).round() as u64)
}

/// Parses a number of bytes: `50MB`, `64 KiB`, `100B`, or a number. `None` if it cannot be parsed.
pub fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => 1024.0,
        "mib" => 1024.0 * 1024.0,
        "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    Some((number * scale).round() as u64)
}

/// Parses a time of day, `HH:MM` from `00:00` to `24:00`, as minutes. `None` if it cannot be parsed.
pub fn minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |digits: &str| match digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit()) {
        true => digits.parse::<u16>().ok(),
        false => None,
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes).filter(|minute| *minute <= 24 * 60)
}

/// Splits a text into a non-negative number and the unit that follows it.
fn split(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit.trim()))
}

/// A value in a TOML document.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(i64),
    Broken(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Written::deserialize(deserializer) {
            Ok(Written::Whole(number)) => u64::try_from(number).ok(),
            Ok(Written::Text(text)) => bytes(&text),
            Ok(Written::Broken(_)) | Err(_) => None,
        };
        value.map(Self).ok_or_else(|| de::Error::custom("bytes are written as 50MB, 64KiB, or as a number of bytes"))
    }
}

impl<'de> Deserialize<'de> for Kilobits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Written::deserialize(deserializer) {
            Ok(Written::Whole(number)) => u64::try_from(number).ok(),
            Ok(Written::Text(text)) => bits(&text).map(|bits| bits.div_ceil(1_000)),
            Ok(Written::Broken(_)) | Err(_) => None,
        };
        let value = value.filter(|rate| *rate > 0).map(|rate| Self(u32::try_from(rate).unwrap_or(u32::MAX)));
        value.ok_or_else(|| {
            de::Error::custom("a rate is more than 0, written as 250kbit/s, 10Mbit/s, or as a number of kbit/s")
        })
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let units = match Written::deserialize(deserializer) {
            Ok(Written::Whole(number)) => u64::try_from(number).ok().and_then(|units| units.checked_mul(MICRO)),
            Ok(Written::Broken(number)) if (0.0..=MOST).contains(&number) => {
                Some((number * MICRO as f64).round() as u64)
            }
            Ok(_) | Err(_) => None,
        };
        units.map(Self).ok_or_else(|| de::Error::custom("a price is a number of units of money, 0 or more"))
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        minute(&text).map(Self).ok_or_else(|| de::Error::custom("a time of day is written as 02:00, up to 24:00"))
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Kilobits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0 as f64 / MICRO as f64).serialize(serializer)
    }
}

impl Serialize for Minute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:02}:{:02}", self.0 / 60, self.0 % 60))
    }
}

/// Micro-units per unit of money.
const MICRO: u64 = 1_000_000;
/// Most units of money: in micro-units, they still fit 64 bits.
const MOST: f64 = 9e9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!(["50MB", "64 KiB", "100", "1.5kB"].map(bytes), [50_000_000, 65_536, 100, 1_500].map(Some));
        assert_eq!(
            ["9600", "64kbit", "10Mbit/s", "1 Gbps"].map(bits),
            [9_600, 64_000, 10_000_000, 1_000_000_000].map(Some)
        );
        assert_eq!(["00:00", "02:30", "24:00"].map(minute), [0, 150, 1_440].map(Some));
        assert!(["", "much", "5 apples"].iter().all(|text| bytes(text).is_none() && bits(text).is_none()));
        assert!(["2:00", "24:01", "12:60", "noon", "12"].iter().all(|text| minute(text).is_none()));
    }
}
