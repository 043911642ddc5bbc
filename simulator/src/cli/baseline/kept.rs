//! Kept figures: the figures that each shipped scenario measured in its small form when they were last written, and
//! their tolerances.
//!
//! The file is TOML, made to be read in a difference between two versions: a table for each scenario in a fixed order,
//! a figure a line, four digits each. Tolerances hold for all scenarios; a scenario has one of its own for a figure
//! that varies more.
//!
//! Invariants
//! 1. A file that is written reads as the same figures and tolerances.
//! 2. A figure that stayed within its tolerance is not written anew: small steps in one direction add up against the
//!    same figure until they are noticed.
//! - Writing what was read gives the same bytes, except for comments.

use crate::metrics::{self, Unit};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A file of kept figures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// The tolerances by figure. For shares it is a difference, and otherwise a part of the figure.
    within: BTreeMap<String, f64>,
    #[serde(default)]
    scenario: BTreeMap<String, Figures>,
}

/// The figures of one scenario.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct Figures {
    /// Tolerances of its own.
    #[serde(default)]
    within: BTreeMap<String, f64>,
    #[serde(flatten)]
    figures: BTreeMap<String, f64>,
}

/// A figure of a run compared with the kept one.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Change {
    pub(super) figure: &'static str,
    /// The kept figure; `None` if there is none.
    pub(super) kept: Option<f64>,
    /// The figure of the run, rounded as kept figures are; `None` if there was nothing to measure.
    pub(super) found: Option<f64>,
    /// For shares the difference, and otherwise the part of the kept figure by which it is greater; `None` if there is
    /// no kept figure.
    pub(super) change: Option<f64>,
    /// The tolerance.
    pub(super) within: f64,
    pub(super) verdict: Moved,
}

/// The change of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Moved {
    /// No change.
    Same,
    /// A change within the tolerance.
    Within,
    /// An improvement beyond the tolerance.
    Better,
    /// A deterioration beyond the tolerance.
    Worse,
    /// A figure that is new or has disappeared.
    Other,
}

impl Moved {
    /// Returns whether a person has to confirm the change.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Better | Self::Worse | Self::Other)
    }
}

impl Kept {
    /// Reads a file. The error says what is wrong with it and where, without its name.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let kept: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count()) + 1;
            format!("{line}: {}", error.message().replace('\n', ", "))
        })?;
        let of_scenarios =
            kept.scenario.values().flat_map(|figures| figures.figures.keys().chain(figures.within.keys()));
        match kept.within.keys().chain(of_scenarios).find(|name| !FIGURES.iter().any(|known| known.name == **name)) {
            Some(unknown) => Err(format!("there is no figure {unknown:?}")),
            None => Ok(kept),
        }
    }

    /// Compares the figures of a scenario with the kept ones. With `optimised`, seconds of processor are comparable.
    pub(super) fn compare(&self, scenario: &str, found: &BTreeMap<&str, f64>, optimised: bool) -> Vec<Change> {
        let kept = self.scenario.get(scenario).cloned().unwrap_or_default();
        let one = |figure: &Figure| {
            let before = kept.figures.get(figure.name).copied();
            let found = found.get(figure.name).copied().map(rounded);
            let within = kept.within.get(figure.name).or_else(|| self.within.get(figure.name));
            let within = within.copied().unwrap_or(WITHIN);
            let timed = figure.name == SECONDS_OF_PROCESSOR;
            if timed && !optimised || before.is_none() && found.is_none() {
                return None;
            }
            let (change, verdict) = match before.zip(found) {
                None => (None, Moved::Other),
                Some((before, found)) => figure.change(before, found, within),
            };
            Some(Change { figure: figure.name, kept: before, found, change, within, verdict })
        };
        FIGURES.iter().filter_map(one).collect()
    }

    /// Takes over figures that have changed, and new ones.
    pub(super) fn take(&mut self, scenario: &str, changes: &[Change]) {
        let figures = &mut self.scenario.entry(scenario.to_owned()).or_default().figures;
        for change in changes.iter().filter(|change| change.verdict.counts()) {
            match change.found {
                Some(found) => figures.insert(change.figure.to_owned(), found),
                None => figures.remove(change.figure),
            };
        }
    }

    /// Drops scenarios that no longer exist.
    pub(super) fn retain(&mut self, known: impl Fn(&str) -> bool) {
        self.scenario.retain(|scenario, _| known(scenario));
    }

    /// Returns the text of the file, with scenarios in this order.
    pub(super) fn text<'a>(&self, order: impl IntoIterator<Item = &'a str>) -> String {
        let mut text = HEAD.to_owned();
        let lines = |text: &mut String, values: &BTreeMap<String, f64>| {
            for figure in FIGURES {
                if let Some(value) = values.get(figure.name) {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "{} = {value}", key(figure.name));
                }
            }
        };
        text.push_str("\n[within]\n");
        lines(&mut text, &self.within);
        for scenario in order {
            let Some(figures) = self.scenario.get(scenario) else { continue };
            let _ = writeln!(text, "\n[scenario.{}]", key(scenario));
            lines(&mut text, &figures.figures);
            if !figures.within.is_empty() {
                let known = FIGURES.iter().filter_map(|figure| Some((figure.name, figures.within.get(figure.name)?)));
                let own: Vec<String> = known.map(|(name, value)| format!("{} = {value}", key(name))).collect();
                let _ = writeln!(text, "within = {{ {} }}", own.join(", "));
            }
        }
        text
    }
}

impl Figure {
    fn change(&self, before: f64, found: f64, within: f64) -> (Option<f64>, Moved) {
        let difference = found - before;
        let change = match self.unit {
            Unit::Share => Some(difference),
            _ => (before != 0.0).then(|| difference / before),
        };
        let only_up = self.name == SECONDS_OF_PROCESSOR;
        let verdict = if difference == 0.0 {
            Moved::Same
        } else if change.is_some_and(|change| change.abs() <= within || only_up && change < 0.0) {
            Moved::Within
        } else if (difference > 0.0) == self.more_is_better {
            Moved::Better
        } else {
            Moved::Worse
        };
        (change, verdict)
    }
}

/// A figure that is kept.
pub(super) struct Figure {
    /// The name; for a metric, that of the metric.
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    more_is_better: bool,
}

const fn figure(name: &'static str, unit: Unit, more_is_better: bool) -> Figure {
    Figure { name, unit, more_is_better }
}

/// All figures, in the order of the file.
pub(super) const FIGURES: [Figure; 10] = [
    figure("delivered", Unit::Share, true),
    figure("publications.delivered", Unit::Share, true),
    figure("latency.p50", Unit::Seconds, false),
    figure("latency.p99", Unit::Seconds, false),
    figure("control.rate", Unit::BytesPerSecond, false),
    figure("bytes.total", Unit::Bytes, false),
    figure("cost.total", Unit::Money, false),
    figure("events", Unit::Count, false),
    figure("polls", Unit::Count, false),
    figure(SECONDS_OF_PROCESSOR, Unit::Seconds, false),
];

/// Returns the figures of a run: its metrics, and the resources that it took.
pub(super) fn figures(
    summary: &crate::record::Summary,
    cost: &crate::record::Performance,
) -> BTreeMap<&'static str, f64> {
    let of = |figure: &Figure| {
        let value = match figure.name {
            "events" => Some(cost.events as f64),
            "polls" => Some(cost.polls as f64),
            SECONDS_OF_PROCESSOR => Some(cost.cpu_s),
            metric => summary.metrics.get(metric).copied(),
        };
        // A cost of zero has no line.
        let value = value.filter(|value| figure.unit != Unit::Money || *value != 0.0);
        Some((figure.name, value?))
    };
    FIGURES.iter().filter_map(of).collect()
}

/// Rounds to four significant digits.
fn rounded(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

fn key(name: &str) -> String {
    if name.contains('.') { format!("{name:?}") } else { name.to_owned() }
}

/// Formats the value of a figure for people.
pub(super) fn shown(figure: &str, value: f64) -> String {
    metrics::text(FIGURES.iter().find(|known| known.name == figure).map(|known| known.unit), value)
}

const SECONDS_OF_PROCESSOR: &str = "cpu_s";
/// The tolerance of a figure for which the file states none.
const WITHIN: f64 = 0.1;
const HEAD: &str = "\
# What the shipped scenarios measure in their small forms (small.toml), each at its own seed.
#
# `m2mesh-sim compare --baseline` runs them and fails where one has moved further than `within`, in whichever direction;
# `--write` takes over what has. A change that moves a figure says so, and why. `within` is a part of the figure, of shares
# the difference. Events and polls are those of the virtual clock, the same on any machine; seconds of processor are those
# of an optimised program, and only more of them count.
";

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[within]
delivered = 0.01
"latency.p50" = 0.1

[scenario.a]
delivered = 1
"latency.p50" = 0.2
within = { delivered = 0.5 }

[scenario.b]
delivered = 0.9
"#;

    fn verdicts(scenario: &str, found: &[(&'static str, f64)]) -> Vec<(&'static str, Moved)> {
        let kept = Kept::read(FILE).expect("it reads");
        let changes = kept.compare(scenario, &found.iter().copied().collect(), false);
        changes.into_iter().map(|change| (change.figure, change.verdict)).collect()
    }

    #[test]
    fn a_figure_moves_when_it_leaves_its_tolerance_whichever_way() {
        for (found, verdict) in [
            (0.2, Moved::Same),
            (0.200_004, Moved::Same),
            (0.219, Moved::Within),
            (0.181, Moved::Within),
            (0.221, Moved::Worse),
            (0.179, Moved::Better),
        ] {
            assert_eq!(verdicts("a", &[("delivered", 1.0), ("latency.p50", found)])[1].1, verdict, "{found}");
        }
        // Its own tolerance comes before that of all; of shares it is the difference.
        assert_eq!(verdicts("a", &[("delivered", 0.6), ("latency.p50", 0.2)])[0].1, Moved::Within);
        assert_eq!(verdicts("b", &[("delivered", 0.889)]), [("delivered", Moved::Worse)]);
        assert_eq!(verdicts("b", &[("delivered", 0.911)]), [("delivered", Moved::Better)]);
        // What is gone, and what was not there before.
        assert_eq!(verdicts("b", &[]), [("delivered", Moved::Other)]);
        assert_eq!(verdicts("new", &[("polls", 7.0)]), [("polls", Moved::Other)]);
    }

    #[test]
    fn seconds_of_processor_count_in_an_optimised_program_and_upwards_only() {
        let kept = Kept::read("[within]\ncpu_s = 2.0\n[scenario.a]\ncpu_s = 1.0\n").expect("it reads");
        let of = |seconds: f64, optimised| kept.compare("a", &BTreeMap::from([("cpu_s", seconds)]), optimised);
        assert_eq!(of(9.0, false), []);
        let verdicts = [0.01, 2.9, 3.1].map(|seconds| of(seconds, true)[0].verdict);
        assert_eq!(verdicts, [Moved::Within, Moved::Within, Moved::Worse]);
    }

    /// Invariants 1 and 2.
    #[test]
    fn what_is_written_reads_as_the_same_and_keeps_what_has_not_moved() {
        let mut kept = Kept::read(FILE).expect("it reads");
        assert_eq!(Kept::read(&kept.text(["a", "b"])), Ok(kept.clone()));
        let found = BTreeMap::from([("delivered", 0.5), ("latency.p50", 0.205), ("polls", 12_346.0)]);
        let changes = kept.compare("a", &found, false);
        kept.take("a", &changes);
        let text = kept.text(["a", "b"]);
        // A share within its tolerance, a latency within its own; only what is new is taken.
        assert!(text.contains("[scenario.a]\ndelivered = 1\n\"latency.p50\" = 0.2\npolls = 12350\n"), "{text}");
        kept.retain(|scenario| scenario == "b");
        assert!(!kept.text(["a", "b"]).contains("scenario.a"));
    }

    #[test]
    fn a_file_that_is_none_says_where() {
        assert!(Kept::read("[within]\ndelivered = \"much\"\n").is_err_and(|error| error.starts_with("2: ")));
        assert!(Kept::read("[within]\ndeliverd = 1\n").is_err_and(|error| error.contains("deliverd")));
    }

    #[test]
    fn figures_are_metrics_with_their_units() {
        for figure in FIGURES.iter().filter(|figure| !["events", "polls", "cpu_s"].contains(&figure.name)) {
            assert_eq!(metrics::find(figure.name).map(|metric| metric.unit), Some(figure.unit), "{}", figure.name);
        }
    }
}
