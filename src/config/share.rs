//! `share` of a `[[bearer]]`: the most that each class of messages may have of its rate, as a part of it or as a rate.
//!
//! ```toml
//! [[bearer]]
//! rate = "256kbit/s"
//! share = { bulk = "50%", telemetry = "100kbit/s" }    # a class that is not named may have all of it
//! ```

use super::quantity;
use crate::wire::data::Class;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The shares of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shares {
    /// That of alarms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alarm: Option<Share>,
    /// That of control messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub control: Option<Share>,
    /// That of telemetry, and of publications.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Share>,
    /// That of bulk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk: Option<Share>,
}

/// The share of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Hundredths of the bearer's rate, 1 to 100.
    Percent(u8),
    /// Bits a second.
    Bits(u64),
}

impl Shares {
    /// Whether no class has a share.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The bits a second of each class, the most urgent first, on a bearer of so many kilobits a second.
    pub(super) fn of(&self, rate: u32) -> [Option<u64>; Class::ALL.len()] {
        let bits = u64::from(rate) * 1_000;
        [self.alarm, self.control, self.telemetry, self.bulk].map(|share| {
            share.map(|share| match share {
                Share::Percent(percent) => (bits * u64::from(percent) / 100).max(1),
                Share::Bits(least) => least.min(bits),
            })
        })
    }
}

/// Parses a percentage, 1 to 100. `None` if it cannot be parsed.
pub(super) fn percent(text: &str) -> Option<u8> {
    let percent = text.strip_suffix('%')?.trim().parse::<u8>().ok()?;
    (1..=100).contains(&percent).then_some(percent)
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bits = || quantity::bits(&text).filter(|bits| *bits >= LEAST).map(Self::Bits);
        percent(&text).map(Self::Percent).or_else(bits).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is no share; write it as a part of the rate, \"50%\", or as a rate, \"64kbit/s\""
            ))
        })
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
            Self::Bits(bits) => serializer.collect_str(&format_args!("{bits}bit/s")),
        }
    }
}

/// The smallest share, in bits a second: with less, a piece would take minutes.
const LEAST: u64 = 100;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::bearer::bearers;

    fn parse(lines: &str) -> Result<Config, String> {
        Config::parse(&format!("[[bearer]]\nname = \"vhf\"\nclass = \"lora\"\n{lines}"))
    }

    #[test]
    fn a_share_is_a_part_of_the_rate_or_a_rate_and_is_written_as_it_was_read() {
        let config = parse("rate = \"10kbit/s\"\noverhead = 20\nshare = { bulk = \"50%\", telemetry = \"2500bit/s\" }");
        let config = config.expect("valid");
        let bearers = bearers(&config.bearers, &[]);
        let vhf = &bearers.profiles()[0];
        assert_eq!((vhf.shares, vhf.overhead), ([None, None, Some(2_500), Some(5_000)], 20));
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(Config::parse(&text), Ok(config));
    }

    #[test]
    fn what_is_no_share_is_told() {
        for (line, what) in [
            ("share = { bulk = \"0%\" }", "50%"),
            ("share = { bulk = \"half\" }", "64kbit/s"),
            ("share = { bulck = \"50%\" }", "did you mean `bulk`?"),
        ] {
            let error = parse(&format!("{line}\nrate = 10")).expect_err(line);
            assert!(error.starts_with("line 4:") && error.contains(what), "{line}: {error}");
        }
        let error = parse("share = { bulk = \"50%\" }").expect_err("no rate");
        assert!(error.contains("\"vhf\"") && error.contains("`rate`"), "{error}");
    }
}
