//! `[[serial]]`: serial lines, each with one neighbour at its other end.
//!
//! ```toml
//! [[serial]]
//! device = "/dev/ttyUSB0"
//! baud = 9600            # 115200 by default
//! mtu = 256              # the longest line frame in bytes: the longest that something urgent waits for
//! flow = "hardware"      # `none` by default; `software` for XON and XOFF
//!
//! [[bearer]]             # only if it costs something or is to have a name
//! name = "radio"
//! class = "serial"
//! match = { serial = "/dev/ttyUSB0" }
//! ```
//!
//! A line is carried by the first bearer that names its device, else by one of its own: of class `serial`, free, with the
//! rate that follows from `baud`.

use super::bearer::Bearer;
use crate::link::bearer::{Bearers, Profile, Rule};
use crate::link::serial::{MAX_LINES, MAX_MTU, MIN_MTU};
use crate::net::serial::{Flow, LineConfig};
use crate::wire::lsa;
use serde::{Deserialize, Deserializer, Serialize, de};
use std::path::PathBuf;
use std::time::Duration;

/// A serial line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// Its device: `/dev/ttyUSB0`, or better a name that stays, below `/dev/serial/by-id/`.
    #[serde(deserialize_with = "absolute")]
    pub device: PathBuf,
    /// Bits a second, which both ends and what lies between must have alike.
    #[serde(default = "usual_baud", deserialize_with = "possible_baud")]
    pub baud: u32,
    /// The longest line frame in bytes, 128 to 4096. Of two ends with different values the lower counts.
    #[serde(default = "usual_mtu", deserialize_with = "possible_mtu")]
    pub mtu: usize,
    /// How the device is held back.
    #[serde(default)]
    pub flow: Flow,
}

fn usual_baud() -> u32 {
    115_200
}

fn usual_mtu() -> usize {
    256
}

fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    let device = PathBuf::deserialize(deserializer)?;
    match device.is_absolute() {
        true => Ok(device),
        false => Err(de::Error::custom(format!("{device:?} is no whole path; write it as \"/dev/ttyUSB0\""))),
    }
}

fn possible_baud<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let baud = u32::deserialize(deserializer)?;
    match BAUDS.contains(&baud) {
        true => Ok(baud),
        false => Err(de::Error::custom(format!("{baud} baud; it is {} to {}", BAUDS.start(), BAUDS.end()))),
    }
}

fn possible_mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let mtu = usize::deserialize(deserializer)?;
    match (MIN_MTU..=MAX_MTU).contains(&mtu) {
        true => Ok(mtu),
        false => Err(de::Error::custom(format!("an mtu of {mtu} bytes; it is {MIN_MTU} to {MAX_MTU}"))),
    }
}

/// Deserializes lines, at most [`MAX_LINES`], each with a device of its own.
pub(super) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Serial>, D::Error> {
    let lines = Vec::<Serial>::deserialize(deserializer)?;
    if lines.len() > MAX_LINES {
        return Err(de::Error::custom(format!("{} serial lines; a node has at most {MAX_LINES}", lines.len())));
    }
    for (at, line) in lines.iter().enumerate() {
        if lines[..at].iter().any(|other| other.device == line.device) {
            return Err(de::Error::custom(format!("two serial lines have the device {:?}", line.device)));
        }
    }
    Ok(lines)
}

impl Serial {
    fn name(&self) -> String {
        self.device.to_string_lossy().into_owned()
    }

    /// The bearer of a line that no other bearer names.
    pub(super) fn bearer(&self) -> (Profile, Rule) {
        let rate = (self.baud / 10 * 8 / 1_000).max(1);
        // What line frames add is left out: the rate is rounded down.
        let profile =
            Profile { name: self.name(), class: lsa::Bearer::Serial, rate, overhead: 0, ..Profile::default() };
        (profile, Rule { serial: Some(self.name()), ..Rule::default() })
    }

    /// Whether one of these bearers names the line.
    pub(super) fn is_named(&self, bearers: &[Bearer]) -> bool {
        bearers.iter().any(|bearer| bearer.matching.serial.as_ref() == Some(&self.device))
    }

    /// The line as the network takes it.
    pub fn line(&self, bearers: &Bearers) -> LineConfig {
        let bearer = bearers.of_serial(&self.name());
        LineConfig {
            device: self.device.clone(),
            baud: self.baud,
            mtu: self.mtu,
            flow: self.flow,
            bearer,
            keep: bearers.profile(bearer).keep_alive(KEPT, false),
            windows: bearers.profile(bearer).windows.clone(),
        }
    }
}

/// The rates that are taken.
const BAUDS: std::ops::RangeInclusive<u32> = 300..=4_000_000;
/// How long an idle line waits before it asks, where that costs nothing.
const KEPT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, bearer};

    const TEXT: &str = r#"
[[bearer]]
name = "lan"
class = "wifi"

[[bearer]]
name = "radio"
class = "serial"
match = { serial = "/dev/ttyS1" }
price = 2

[[serial]]
device = "/dev/ttyUSB0"
baud = 9600

[[serial]]
device = "/dev/ttyS1"
mtu = 128
flow = "hardware"
"#;

    #[test]
    fn a_line_has_the_bearer_that_names_it_or_one_of_its_own() {
        let config = Config::parse(TEXT).expect("valid");
        let bearers = bearer::bearers(&config.bearers, &config.serial);
        let lines: Vec<LineConfig> = config.serial.iter().map(|line| line.line(&bearers)).collect();
        let of = |line: &LineConfig| bearers.profile(line.bearer);
        assert_eq!((of(&lines[0]).name.as_str(), of(&lines[0]).class), ("/dev/ttyUSB0", lsa::Bearer::Serial));
        assert_eq!((of(&lines[0]).rate, lines[0].mtu, lines[0].keep), (7, 256, KEPT));
        assert_eq!((of(&lines[1]).name.as_str(), of(&lines[1]).price), ("radio", 2_000_000));
        assert_eq!((lines[1].baud, lines[1].mtu, lines[1].flow), (115_200, 128, Flow::Hardware));
        assert_eq!(lines[1].keep, Duration::from_secs(600), "it costs money");
        assert_eq!(config.settings().bearers, bearers.profiles(), "the engine has the same bearers");
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(Config::parse(&text), Ok(config));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_with_its_place() {
        for (line, what) in [
            ("device = \"ttyUSB0\"", "/dev/ttyUSB0"),
            ("device = \"/dev/a\"\nbaud = 5", "300 to 4000000"),
            ("device = \"/dev/a\"\nmtu = 64", "128 to 4096"),
            ("device = \"/dev/a\"\nflow = \"hardwar\"", "did you mean `hardware`?"),
            ("device = \"/dev/a\"\nboud = 9600", "did you mean `baud`?"),
            ("device = \"/dev/a\"\n[[serial]]\ndevice = \"/dev/a\"", "two serial lines"),
        ] {
            let error = Config::parse(&format!("[[serial]]\n{line}")).expect_err(line);
            assert!(error.contains(what), "{line}: {error}");
        }
        let many: String = (0..9).map(|at| format!("[[serial]]\ndevice = \"/dev/tty{at}\"\n")).collect();
        assert!(Config::parse(&many).expect_err("too many").contains("at most 8"));
    }
}
