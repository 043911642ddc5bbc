//! Metrics: the table of everything that a node measures of itself at a moment, and the form in which it is reported
//! with everything that the node counts.
//!
//! A gauge is a field of [`Gauges`], so that no gauge can be reported under a name that is not in the table, or left
//! out where gauges are measured. Its entry gives its help text, its unit if it has one, and its name. The name is its
//! key in `status --json`. [`Gauge::metric`] makes from it, and [`counted`] from a [`Counter`]'s, the name by which a
//! monitoring system knows it, so that each name is spelled once. [`samples`] returns everything as data, which
//! `m2mesh metrics --json` prints; [`expose`] writes it in Prometheus' text format.
//!
//! To add a gauge, add its line to the table below, and measure it in `node::status`.
//!
//! Invariants
//! 1. The name of a gauge or a counter is lower-case words with underscores; a duration's ends with `_s`.
//! 2. A metric's name begins with `m2mesh` and ends with its unit, unless the name itself says the unit; a counter's
//!    ends with `_total`.
//! 3. Every counter and every gauge is reported, also at zero: a rate is known from the first step.

use crate::counter::{Counter, Unit};
use core::fmt;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! gauges {
    ($(#[doc = $help:literal] $gauge:ident $(: $unit:ident)?,)*) => {
        /// What a node measures of itself: rises and falls.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "node", derive(utoipa::ToSchema))]
        pub struct Gauges {
            $(
                #[doc = $help]
                #[serde(default)]
                pub $gauge: u64,
            )*
        }

        impl Gauge {
            /// All gauges, in the order of the table.
            pub const ALL: &[Self] = &[$(
                Self {
                    name: stringify!($gauge),
                    unit: {
                        let units: &[Unit] = &[$(Unit::$unit)?];
                        units.first().copied()
                    },
                    help: $help.trim_ascii_start(),
                    read: |gauges| gauges.$gauge,
                },
            )*];
        }
    };
}

gauges! {
    /// Number of the present epoch.
    epoch,
    /// Version of the bulletin.
    bulletin,
    /// Links up.
    links: Links,
    /// Other routers that there is a way to.
    routers: Routers,
    /// Contacts known.
    contacts: Contacts,
    /// Messages waiting in the inbox.
    inbox: Messages,
    /// Messages on their way out, not ended.
    outgoing: Messages,
    /// Messages that are not to leave yet.
    held: Messages,
    /// Records in the event log.
    log_records: Records,
    /// Seconds since start.
    uptime_s: Seconds,
    /// Seconds until the last credential of the batch runs out; 0 when it has.
    credentials_left_s: Seconds,
    /// Seconds since when the bulletin's successor is overdue; 0 when it is not.
    bulletin_late_s: Seconds,
    /// 1 while something is wrong with the credentials by this machine's clock, and no member talks to it; else 0.
    credentials_failing,
    /// 1 while a member's clock and this machine's differ by more than is allowed; else 0.
    clock_differs,
    /// 1 while the disk takes no writes, and nothing is acknowledged; else 0.
    store_failing,
    /// Identities that two processes have at once, as far as this node sees it.
    twin_identities: Identities,
    /// Neighbours in quarantine: neither dialled nor admitted for a while, for what they have sent.
    quarantined_neighbours,
    /// Resident memory of the node's process, in bytes; 0 where the system does not say.
    memory: Bytes,
}

/// An entry of the table of gauges.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    /// The gauge's name, as in `status --json`.
    pub name: &'static str,
    /// The unit of the gauge's value; `None` for a plain number or a yes and no.
    pub unit: Option<Unit>,
    /// The gauge's meaning, in a sentence.
    pub help: &'static str,
    read: fn(&Gauges) -> u64,
}

impl Gauge {
    /// The gauge with a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|gauge| gauge.name == name)
    }

    /// The gauge's value among those of a node.
    pub fn of(&self, gauges: &Gauges) -> u64 {
        (self.read)(gauges)
    }

    /// The name by which a monitoring system knows the gauge.
    pub fn metric(&self) -> String {
        let Some(unit) = self.unit.map(|unit| unit.to_string()) else { return format!("{PREFIX}{}", self.name) };
        let bare = match self.unit {
            Some(Unit::Seconds) => self.name.strip_suffix("_s").unwrap_or(self.name),
            _ => self.name,
        };
        match bare.split('_').any(|word| word == unit) {
            true => format!("{PREFIX}{bare}"),
            false => format!("{PREFIX}{bare}_{unit}"),
        }
    }
}

/// The name by which a monitoring system knows a counter.
pub fn counted(counter: Counter) -> String {
    format!("{PREFIX}{}_total", counter.name())
}

/// The beginning of every metric's name.
const PREFIX: &str = "m2mesh_";

/// The kind of a metric: whether it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A counter begins at zero when the node starts, and only grows.
    Counter,
    /// A gauge rises and falls.
    Gauge,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
        })
    }
}

/// One metric with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Whether the metric is a counter or a gauge.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The unit of the metric, in the plural, if it has one.
    pub unit: Option<String>,
    /// The metric's meaning, in a sentence.
    pub help: &'static str,
    /// Labels, which tell samples of one name apart.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<&'static str, String>,
    /// The value of the metric.
    pub value: u64,
}

/// Returns all metrics of a node: the info metric with the labels `about`, the gauges, and the counters. Counters that
/// are absent are at zero.
pub fn samples(
    about: impl IntoIterator<Item = (&'static str, String)>,
    gauges: &Gauges,
    counters: &BTreeMap<String, u64>,
) -> Vec<Sample> {
    let info = Sample {
        name: format!("{PREFIX}{INFO}"),
        kind: Kind::Gauge,
        unit: None,
        help: INFO_HELP,
        labels: about.into_iter().collect(),
        value: 1,
    };
    let measured = Gauge::ALL.iter().map(|gauge| Sample {
        name: gauge.metric(),
        kind: Kind::Gauge,
        unit: gauge.unit.map(|unit| unit.to_string()),
        help: gauge.help,
        labels: BTreeMap::new(),
        value: gauge.of(gauges),
    });
    let counted = Counter::ALL.iter().map(|counter| Sample {
        name: counted(*counter),
        kind: Kind::Counter,
        unit: Some(counter.unit().to_string()),
        help: counter.help(),
        labels: BTreeMap::new(),
        value: counters.get(counter.name()).copied().unwrap_or_default(),
    });
    core::iter::once(info).chain(measured).chain(counted).collect()
}

/// Name of the info metric, which is always 1 and says by its labels what the node is.
const INFO: &str = "info";
const INFO_HELP: &str = "What the node is, by its labels; always 1.";

/// Writes samples in Prometheus' text format, of the type [`CONTENT_TYPE`].
pub fn expose(samples: &[Sample]) -> String {
    samples.iter().map(ToString::to_string).collect()
}

/// Content type of the text that [`expose`] writes, as HTTP names it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl fmt::Display for Sample {
    /// Writes three lines: help, type and value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, unit: _, help, labels, value } = self;
        writeln!(f, "# HELP {name} {}", help.replace('\\', r"\\").replace('\n', r"\n"))?;
        writeln!(f, "# TYPE {name} {kind}")?;
        f.write_str(name)?;
        for (at, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('\n', r"\n").replace('"', r#"\""#);
            write!(f, "{}{label}=\"{text}\"", if at == 0 { '{' } else { ',' })?;
        }
        writeln!(f, "{} {value}", if labels.is_empty() { "" } else { "}" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn named(name: &str) -> String {
        Gauge::named(name).expect("a gauge").metric()
    }

    /// Invariant 2.
    #[test]
    fn names_of_metrics_end_with_their_unit_once() {
        let named: Vec<String> = ["links", "inbox", "log_records", "uptime_s", "memory", "epoch", "twin_identities"]
            .into_iter()
            .map(named)
            .collect();
        let expected = [
            "m2mesh_links",
            "m2mesh_inbox_messages",
            "m2mesh_log_records",
            "m2mesh_uptime_seconds",
            "m2mesh_memory_bytes",
            "m2mesh_epoch",
            "m2mesh_twin_identities",
        ];
        assert_eq!(named, expected);
        assert_eq!(counted(Counter::DataLooped), "m2mesh_data_looped_total");
    }

    /// Invariants 1 and 2.
    #[test]
    fn every_metric_has_a_name_of_its_own_and_a_sentence() {
        let all = samples([], &Gauges::default(), &BTreeMap::new());
        assert_eq!(all.len(), 1 + Gauge::ALL.len() + Counter::ALL.len());
        let names: BTreeSet<&str> = all.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(names.len(), all.len(), "no two have one name");
        for Sample { name, kind, help, .. } in &all {
            let bare = name.strip_prefix(PREFIX).expect("all begin with it");
            let words =
                bare.split('_').all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()));
            assert!(words, "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.len() > 8 && help.ends_with('.'), "{name}");
        }
        for gauge in Gauge::ALL {
            assert_eq!(gauge.name.ends_with("_s"), gauge.unit == Some(Unit::Seconds), "{}", gauge.name);
        }
    }

    /// Invariant 3.
    #[test]
    fn what_is_not_counted_is_told_as_zero() {
        let gauges = Gauges { links: 4, ..Gauges::default() };
        let counters = BTreeMap::from([(Counter::DataLooped.name().to_owned(), 7)]);
        let all = samples([], &gauges, &counters);
        let value = |name: &str| all.iter().find(|sample| sample.name == name).map(|sample| sample.value);
        assert_eq!(value("m2mesh_links"), Some(4));
        assert_eq!(value("m2mesh_routers"), Some(0));
        assert_eq!(value("m2mesh_data_looped_total"), Some(7));
        assert_eq!(value("m2mesh_messages_late_total"), Some(0));
    }

    #[test]
    fn texts_are_escaped_as_the_format_has_it() {
        let sample = Sample {
            name: "m2mesh_info".into(),
            kind: Kind::Gauge,
            unit: None,
            help: "of \\ and\nlines, not of \"",
            labels: BTreeMap::from([("name", "a\\b\"c\nd".to_owned()), ("realm", "00".to_owned())]),
            value: 1,
        };
        let expected = "# HELP m2mesh_info of \\\\ and\\nlines, not of \"\n# TYPE m2mesh_info gauge\n\
                        m2mesh_info{name=\"a\\\\b\\\"c\\nd\",realm=\"00\"} 1\n";
        assert_eq!(sample.to_string(), expected);
    }
}
