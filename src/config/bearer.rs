//! `[[bearer]]`: what carries a node's links. The order matters: the first bearer whose rule matches a connection
//! carries it.
//!
//! ```toml
//! [[bearer]]
//! name = "modem"
//! class = "cellular"
//! match = { interface = "wwan0" }
//! price = 2.5                              # units of money per MB
//! rate = "5Mbit/s"                         # what leaves is held to it
//! overhead = 70                            # bytes of headers of each packet
//! share = { bulk = "50%" }                 # the most that a class may have of the rate
//! duty = "eu868-1%"                        # the most that it may be on air, where that is limited
//! quota = { bytes = "500MB", every = "30d" }
//! windows = [{ from = "02:00", until = "04:00", days = ["sat", "sun"] },
//!            { cron = "0 2 * * Mon-Fri", zone = "Europe/Berlin", for = "2h" }]
//! setup = "20s"                            # for each half of a connection's set-up; default: by class
//! keep_alive = "10m"                       # idle time before a link is pinged; longer by default if metered
//! ```

use super::cron;
use super::duty::Duty;
use super::quantity::{Bytes, Kilobits, Minute, Money};
use super::serial::Serial;
use super::share::Shares;
use crate::link::bearer::{self, Bearers, MAX_BEARERS, MAX_OVERHEAD, Profile, Rule};
use crate::link::windows::{self, EVERY_DAY, MAX_WINDOWS, Window, Windows};
use crate::wire::lsa;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// Its name, for people.
    pub name: String,
    /// `ethernet`, `wifi`, `cellular`, `satellite`, `lora`, `sms` or `serial`.
    pub class: lsa::Bearer,
    /// The connections that it carries; all of them if no condition is given.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// Price in units of money per megabyte (10⁶ bytes).
    #[serde(default)]
    pub price: Money,
    /// Energy in millijoules per megabyte.
    #[serde(default)]
    pub energy: u32,
    /// Size of the largest packet, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<Bytes>,
    /// Data rate in kilobits per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Kilobits>,
    /// Bytes of headers that each packet costs below the frames. If absent, those of TCP over IPv4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overhead: Option<Bytes>,
    /// The most that each class may have of the rate; all of it if it is not named.
    #[serde(default, skip_serializing_if = "Shares::is_empty")]
    pub share: Shares,
    /// How much of the time it may be on air; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duty: Option<Duty>,
    /// How many bytes may be sent and received in a period; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<Quota>,
    /// When it may be used; always if there are none.
    #[serde(default, deserialize_with = "few", skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<OpenWindow>,
    /// Whether traffic costs money or is limited, so that less is sent over it. If absent, it is metered if its price
    /// is not 0, or if it has a duty cycle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metered: Option<bool>,
    /// How long each half of a connection's set-up may take. If absent, its class decides.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub setup: Option<Duration>,
    /// How long a link is idle before it is pinged. If absent, 30 s; 10 min on metered bearers. Over QUIC, 15 s, and
    /// 100 s on metered bearers.
    #[serde(default, with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<Duration>,
}

/// Conditions on a connection, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Networks, one of which must contain the address of an end of the connection: `10.7.0.0/16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Network>,
    /// Transports, one of which the connection must use: `tcp`, `quic`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub transports: Vec<Transport>,
    /// Name of the network interface that it must use: `wwan0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Device of the serial line that it must use: `/dev/ttyUSB0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<PathBuf>,
}

/// A network, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(pub IpNet);

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// QUIC.
    Quic,
}

/// A number of bytes per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// Bytes sent and received in a period.
    pub bytes: Bytes,
    /// Length of the period: `30d`.
    #[serde(with = "span")]
    pub every: Duration,
}

/// A window of time in which a bearer may be used: between two times of the day in UTC, or from times that a cron
/// expression gives in a time zone, for a duration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenWindow {
    /// When it opens.
    #[serde(deserialize_with = "begins", skip_serializing_if = "Option::is_none")]
    pub from: Option<Minute>,
    /// When it closes; on the next day if this is not later than the opening.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Minute>,
    /// Days of the week on which it opens; all if none is given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    /// When it opens, as a cron expression: `0 2 * * Mon-Fri`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The time zone of the cron expression: `Europe/Berlin`; UTC if none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// How long it is open, for a cron expression: `2h`.
    #[serde(rename = "for", with = "optional_span", skip_serializing_if = "Option::is_none")]
    pub length: Option<Duration>,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the days are known")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Builds a node's bearers from their settings, in order, and one for each serial line that none of them names.
pub fn bearers(settings: &[Bearer], lines: &[Serial]) -> Bearers {
    let own = lines.iter().filter(|line| !line.is_named(settings)).map(Serial::bearer);
    Bearers::new(settings.iter().map(|bearer| (bearer.profile(), bearer.rule())).chain(own))
}

/// Deserializes bearers, at most [`MAX_BEARERS`], with distinct names.
pub(super) fn bounded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Bearer>, D::Error> {
    let bearers = Vec::<Bearer>::deserialize(deserializer)?;
    if bearers.len() > MAX_BEARERS {
        return Err(de::Error::custom(format!("{} bearers; a node has at most {MAX_BEARERS}", bearers.len())));
    }
    for (at, bearer) in bearers.iter().enumerate() {
        if bearers[..at].iter().any(|other| other.name == bearer.name) {
            return Err(de::Error::custom(format!("two bearers are named {:?}", bearer.name)));
        }
        let of_rate = [(!bearer.share.is_empty()).then_some("share"), bearer.duty.map(|_| "duty")];
        if let Some(what) = of_rate.into_iter().flatten().next().filter(|_| bearer.rate.is_none()) {
            let name = &bearer.name;
            return Err(de::Error::custom(format!(
                "bearer {name:?} has a `{what}` and no `rate` to reckon it by; add its `rate`"
            )));
        }
    }
    Ok(bearers)
}

pub(super) fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<OpenWindow>, D::Error> {
    let windows = Vec::<OpenWindow>::deserialize(deserializer)?;
    if windows.len() > MAX_WINDOWS {
        return Err(de::Error::custom(format!("{} windows; a bearer has at most {MAX_WINDOWS}", windows.len())));
    }
    match windows.iter().find_map(cron::problem) {
        Some(problem) => Err(de::Error::custom(problem)),
        None => Ok(windows),
    }
}

fn begins<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Minute>, D::Error> {
    let from = Minute::deserialize(deserializer)?;
    match from.0 < windows::MINUTES {
        true => Ok(Some(from)),
        false => Err(de::Error::custom("a window opens at 23:59 at the latest")),
    }
}

impl Bearer {
    fn profile(&self) -> Profile {
        let free = Profile::default();
        Profile {
            name: self.name.clone(),
            class: self.class,
            price: self.price.0,
            energy: self.energy,
            mtu: self.mtu.map_or(free.mtu, |Bytes(mtu)| u32::try_from(mtu).unwrap_or(u32::MAX)),
            rate: self.rate.map_or(free.rate, |Kilobits(rate)| rate),
            overhead: self
                .overhead
                .map_or(free.overhead, |Bytes(bytes)| u32::try_from(bytes).unwrap_or(u32::MAX).min(MAX_OVERHEAD)),
            shares: self.rate.map_or(free.shares, |Kilobits(rate)| self.share.of(rate)),
            duty: self.duty.map(Duty::limit),
            quota: self.quota.map(|Quota { bytes, every }| bearer::Quota { bytes: bytes.0, every }),
            windows: self.windows(),
            metered: self.metered.unwrap_or(self.price.0 > 0 || self.duty.is_some()),
            setup: self.setup,
            keep_alive: self.keep_alive,
        }
    }

    /// The windows at times of the day.
    pub(super) fn weekly(&self) -> Windows {
        weekly_of(&self.windows)
    }

    /// The same, closed at the times of those by cron until these are told.
    fn windows(&self) -> Windows {
        windows_of(&self.windows)
    }

    fn rule(&self) -> Rule {
        let Match { addresses, transports, interface, serial } = &self.matching;
        Rule {
            addresses: addresses.iter().map(|Network(network)| *network).collect(),
            transports: transports.iter().map(|transport| transport.name().to_owned()).collect(),
            interface: interface.clone(),
            serial: serial.as_ref().map(|device| device.to_string_lossy().into_owned()),
        }
    }
}

/// The windows of these that do not depend on time zones.
pub(super) fn weekly_of(windows: &[OpenWindow]) -> Windows {
    Windows::new(windows.iter().filter_map(OpenWindow::window))
}

/// The same, closed at the times of those by cron until these are told.
pub(super) fn windows_of(windows: &[OpenWindow]) -> Windows {
    match windows.iter().any(|window| window.cron.is_some()) {
        true => weekly_of(windows).with_spans(Vec::new()),
        false => weekly_of(windows),
    }
}

impl OpenWindow {
    fn window(&self) -> Option<Window> {
        let days = self.days.iter().fold(0, |days, day| days | 1 << *day as u8);
        Window::new(self.from?.0, self.until?.0, if days == 0 { EVERY_DAY } else { days })
    }
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Quic => "quic",
        }
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let failed = || de::Error::custom(format!("{text:?} is no network; write it as 10.7.0.0/16 or fd00::/8"));
        network.map(|network| Self(network.trunc())).ok_or_else(failed)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A duration that is not zero.
mod span {
    use super::{Deserialize, Deserializer, Duration, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let span = humantime::parse_duration(&String::deserialize(deserializer)?).ok();
        span.filter(|span| !span.is_zero())
            .ok_or_else(|| de::Error::custom("a span of time is written as 30d, 12h, and more than 0"))
    }
}

/// An optional duration that is not zero.
pub(super) mod optional_span {
    use super::{Deserializer, Duration, Serializer, span};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => span::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        span::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;
    use crate::link::bearer::Ends;

    const TEXT: &str = r#"
[[bearer]]
name = "modem"
class = "cellular"
match = { addresses = ["10.7.0.0/16", "10.9.9.9"], transports = ["quic"] }
price = 2.5
energy = 40
mtu = 1400
rate = "250kbit/s"
quota = { bytes = "50MB", every = "30d" }
windows = [{ from = "02:00", until = "04:00", days = ["sat", "sun"] }, { from = "22:00", until = "24:00" },
    { cron = "0 2 * * Mon-Fri", zone = "Europe/Berlin", for = "2h" }]

[[bearer]]
name = "lan"
class = "wifi"
price = 1
metered = false
setup = "40s"
keep_alive = "2m"
"#;

    #[test]
    fn bearers_are_read_in_order_with_all_that_they_say() {
        let bearers = bearers(&Config::parse(TEXT).expect("valid").bearers, &[]);
        let [modem, lan] = bearers.profiles() else { panic!("two, of which one is for all") };
        assert_eq!((modem.class, modem.price, modem.energy), (lsa::Bearer::Cellular, 2_500_000, 40));
        assert_eq!((modem.mtu, modem.rate, modem.metered), (1_400, 250, true));
        let quota = modem.quota.expect("a quota");
        assert_eq!((quota.bytes, quota.every), (50_000_000, Duration::from_secs(30 * 86_400)));
        assert!(!modem.windows.is_empty() && lan.windows.is_empty());
        assert_eq!((lan.price, lan.metered), (1_000_000, false));
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!((lan.setup, lan.keep_alive, modem.setup), (seconds(40), seconds(120), None));
        let at = |remote: &str, transport| {
            let ends = Ends { remote: remote.parse().ok().map(|ip: IpAddr| ip.into()), local: None, transport };
            bearers.carrying(&ends, &|_| Vec::new())
        };
        assert_eq!([at("10.7.3.1", "quic"), at("10.9.9.9", "quic"), at("10.7.3.1", "tcp")], [0, 0, 1]);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let config = Config::parse(TEXT).expect("valid");
        let text = toml::to_string(&config).expect("TOML");
        assert_eq!(Config::parse(&text), Ok(config));
    }

    #[test]
    fn an_error_names_the_line_and_what_was_meant() {
        let complaint = |line: &str| {
            let text = format!("[[bearer]]\nname = \"modem\"\nclass = \"cellular\"\n{line}");
            Config::parse(&text).expect_err(line)
        };
        for (line, what) in [
            ("prise = 2", "did you mean `price`?"),
            ("match = { adresses = [] }", "did you mean `addresses`?"),
            ("match = { transports = [\"quik\"] }", "did you mean `quic`?"),
            ("match = { addresses = [\"10.7.0.0/33\"] }", "10.7.0.0/16"),
            ("keep_alive = \"0s\"", "more than 0"),
            ("price = -1", "0 or more"),
            ("rate = \"fast\"", "250kbit/s"),
            ("quota = { bytes = \"50MB\", every = \"often\" }", "30d"),
            ("quota = { bytes = \"50MB\", evry = \"1d\" }", "did you mean `every`?"),
            ("windows = [{ from = \"2\", until = \"04:00\" }]", "02:00"),
            ("windows = [{ from = \"24:00\", until = \"04:00\" }]", "23:59"),
            ("windows = [{ from = \"01:00\", until = \"04:00\", days = [\"tus\"] }]", "did you mean `tue`?"),
            ("windows = [{ from = \"01:00\" }]", "missing field `until`"),
            ("windows = [{ cron = \"0 2 * * *\" }]", "for = \"2h\""),
            ("windows = [{ cron = \"2 o'clock\", for = \"2h\" }]", "0 2 * * Mon-Fri"),
            ("windows = [{ cron = \"0 2 * * *\", zone = \"Berlin\", for = \"2h\" }]", "Europe/Berlin"),
            ("windows = [{ cron = \"0 2 * * *\", from = \"01:00\", for = \"2h\" }]", "either"),
            ("windows = [{ from = \"01:00\", until = \"02:00\", zone = \"UTC\" }]", "in UTC"),
        ] {
            let error = complaint(line);
            assert!(error.starts_with("line 4:") && error.contains(what), "{line}: {error}");
        }
        let error = Config::parse("[[bearer]]\nname = \"a\"\nclass = \"wify\"").expect_err("no class");
        assert!(error.starts_with("line 3:") && error.ends_with("did you mean `wifi`?"), "{error}");
        let error = Config::parse("[[bearer]]\nname = \"a\"").expect_err("no class");
        assert!(error.contains("missing field `class`"), "{error}");
        let twice = "[[bearer]]\nname = \"a\"\nclass = \"wifi\"\n".repeat(2);
        assert!(Config::parse(&twice).expect_err("twice").contains("two bearers are named \"a\""));
    }
}
