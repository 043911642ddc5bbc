//! `duty` of a `[[bearer]]`: how much of the time it may be on air.
//!
//! ```toml
//! [[bearer]]
//! rate = "50kbit/s"
//! duty = "eu868-10%"                       # a sub-band: eu868-1%, eu868-0.1%, eu868-10%
//! duty = { share = "1%", over = "1h", preamble = "5ms" }
//! ```
//!
//! | preset | band | of an hour |
//! |-|-|-|
//! | `eu868-1%` | 868.0 to 868.6 MHz | 36 s |
//! | `eu868-0.1%` | 868.7 to 869.2 MHz | 3.6 s |
//! | `eu868-10%` | 869.4 to 869.65 MHz | 360 s |

use crate::link::duty::{Limit, PRESETS};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::time::Duration;

/// A duty cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// That of a sub-band: its index in [`PRESETS`].
    Preset(usize),
    /// One that is stated.
    Stated(Limit),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Table(toml::Table),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    share: String,
    #[serde(default = "hour")]
    over: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    preamble: Option<String>,
}

impl Duty {
    /// The limit that it means.
    pub(super) fn limit(self) -> Limit {
        match self {
            Self::Preset(at) => {
                let parts = PRESETS.get(at).map_or(0, |(_, parts)| *parts);
                Limit { budget: HOUR * parts / PARTS, over: HOUR, preamble: Duration::ZERO }
            }
            Self::Stated(limit) => limit,
        }
    }
}

fn hour() -> String {
    "1h".to_owned()
}

/// Parses a percentage of up to three decimals, as hundred-thousandths.
fn parts(text: &str) -> Option<u32> {
    let (whole, part) = text.strip_suffix('%')?.trim().split_once('.').unwrap_or((text.strip_suffix('%')?.trim(), ""));
    if part.len() > 3 || whole.is_empty() || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let parts = whole.parse::<u32>().ok()?.checked_mul(1_000)?;
    let parts = parts.checked_add(format!("{part:0<3}").parse().ok()?)?;
    (1..=PARTS).contains(&parts).then_some(parts)
}

fn stated(table: &Table) -> Result<Limit, String> {
    let Table { share, over, preamble } = table;
    let parts = parts(share).ok_or_else(|| {
        format!("{share:?} is no part of the time; write `share` as 1%, 0.1%, more than 0 and up to 100%")
    })?;
    let over = humantime::parse_duration(over).ok().filter(|over| (LEAST..=MOST).contains(over));
    let over = over.ok_or_else(|| "`over` is a span from one minute to one day, written as 1h".to_owned())?;
    let preamble = match preamble {
        None => Duration::ZERO,
        Some(text) => {
            humantime::parse_duration(text).ok().filter(|preamble| *preamble <= MOST_PREAMBLE).ok_or_else(|| {
                format!("{text:?} is no preamble; write the time that each packet costs as 5ms, up to 10s")
            })?
        }
    };
    Ok(Limit { budget: over / PARTS * parts, over, preamble })
}

impl<'de> Deserialize<'de> for Duty {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Name(name) => {
                let known = PRESETS.iter().position(|(preset, _)| *preset == name).map(Self::Preset);
                known.ok_or_else(|| {
                    let presets: Vec<&str> = PRESETS.iter().map(|(preset, _)| *preset).collect();
                    de::Error::custom(format!(
                        "{name:?} is no duty cycle; write one of {}, or {{ share = \"1%\", over = \"1h\" }}",
                        presets.join(", ")
                    ))
                })
            }
            Written::Table(table) => {
                let table: Table = table.try_into().map_err(de::Error::custom)?;
                stated(&table).map(Self::Stated).map_err(de::Error::custom)
            }
        }
    }
}

impl Serialize for Duty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Preset(at) => serializer.serialize_str(PRESETS.get(*at).map_or("", |(preset, _)| preset)),
            Self::Stated(Limit { budget, over, preamble }) => {
                let parts = budget.as_micros() * u128::from(PARTS) / over.as_micros().max(1);
                let share = format!("{}.{:03}%", parts / 1_000, parts % 1_000);
                let over = humantime::format_duration(*over).to_string();
                let preamble = (!preamble.is_zero()).then(|| humantime::format_duration(*preamble).to_string());
                Table { share, over, preamble }.serialize(serializer)
            }
        }
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
/// The parts of a span in which shares are counted.
const PARTS: u32 = 100_000;
/// The bounds of a span.
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(86_400);
const MOST_PREAMBLE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::bearer::bearers;

    fn parse(lines: &str) -> Result<Config, String> {
        Config::parse(&format!("[[bearer]]\nname = \"srd\"\nclass = \"lora\"\n{lines}"))
    }

    #[test]
    fn a_duty_cycle_is_a_sub_band_or_a_part_of_a_span() {
        for (line, budget, over) in [
            ("duty = \"eu868-1%\"", 36_000, 3_600),
            ("duty = \"eu868-0.1%\"", 3_600, 3_600),
            ("duty = \"eu868-10%\"", 360_000, 3_600),
            ("duty = { share = \"1%\", over = \"1h\" }", 36_000, 3_600),
            ("duty = { share = \"0.25%\" }", 9_000, 3_600),
            ("duty = { share = \"10%\", over = \"10m\", preamble = \"5ms\" }", 60_000, 600),
        ] {
            let config = parse(&format!("rate = 50\n{line}")).expect(line);
            let bearers = bearers(&config.bearers, &[]);
            let limit = bearers.profiles()[0].duty.expect(line);
            assert_eq!((limit.budget.as_millis(), limit.over.as_secs()), (budget, over), "{line}");
            assert!(bearers.profiles()[0].metered, "what can be avoided is not sent");
            assert_eq!(Config::parse(&toml::to_string(&config).expect("TOML")), Ok(config), "{line}");
        }
    }

    #[test]
    fn what_is_no_duty_cycle_is_told() {
        for (line, what) in [
            ("duty = \"eu868\"", "eu868-0.1%"),
            ("duty = { share = \"0%\" }", "0.1%"),
            ("duty = { share = \"101%\" }", "100%"),
            ("duty = { share = \"1%\", over = \"1s\" }", "1h"),
            ("duty = { share = \"1%\", preamble = \"1m\" }", "5ms"),
            ("duty = { shares = \"1%\" }", "shares"),
        ] {
            let error = parse(&format!("{line}\nrate = 10")).expect_err(line);
            assert!(error.contains(what), "{line}: {error}");
        }
        let error = parse("duty = \"eu868-1%\"").expect_err("no rate");
        assert!(error.contains("\"srd\"") && error.contains("`rate`"), "{error}");
    }
}
