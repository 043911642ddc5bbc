//! Expectations: `delivered >= 0.999`, `latency.p99[class=alarm] <= 2s`.
//!
//! An expectation consists of a metric, which may be restricted to some messages, a comparison, and a value in the
//! metric's unit, or another metric of that unit; or of several such, of which one has to hold. A selector must name a
//! part of the scenario that sends, since an expectation about nothing would never hold.

use super::Planning;
use crate::metrics::{self, ALL_SELECTORS, METRICS, Metric, SELECTORS, Unit};
use crate::plan::{Comparison, Expectation, Flow, Wanted};
use crate::scenario::problem::{Problem, instead};
use crate::scenario::quantity::{self, Energy, Quantity, Share, Size};
use m2mesh::counter::Counter;
use m2mesh::metrics::Gauge;
use m2mesh::wire::data::Class;
use std::collections::BTreeSet;
use std::ops::Range;

impl Planning<'_> {
    pub(super) fn plan_expectations(&self, flows: &[Flow]) -> Result<Vec<Expectation>, Problem> {
        let all = &self.model.expect;
        all.iter().map(|expected| self.any_of(&expected.get_ref().0, &expected.span(), flows)).collect()
    }

    /// Reads the first of several texts, with the others as its alternatives.
    fn any_of(&self, texts: &[String], span: &Range<usize>, flows: &[Flow]) -> Result<Expectation, Problem> {
        let each = texts.iter().map(|text| self.plan_expectation(text, span, flows));
        let mut each = each.collect::<Result<Vec<_>, _>>()?.into_iter();
        let none = || self.document.problem(span, "this expects nothing", format!("write \"{EXAMPLE}\""));
        let first = each.next().ok_or_else(none)?;
        Ok(Expectation { or: each.collect(), ..first })
    }

    fn plan_expectation(&self, text: &str, span: &Range<usize>, flows: &[Flow]) -> Result<Expectation, Problem> {
        let Some((at, operator, comparison)) = comparison(text) else {
            let hint = format!("write a metric, one of <=, >=, <, > and ==, and a value, as \"{EXAMPLE}\"");
            return Err(self.document.problem(span, format!("{text:?} compares nothing"), hint));
        };
        let (left, right) = (text[..at].trim(), text[at + operator.len()..].trim());
        let (metric, key) = self.metric(left, span, flows)?;
        let failed = || {
            let what = format!("`{}` is not compared with {right:?}", metric.name);
            self.document.problem(span, what, format!("write {}", wanted(metric.unit)))
        };
        let wanted = match value(metric.unit, right) {
            Some(value) => Wanted::Value(value),
            None if metrics::find(right.split('[').next().unwrap_or_default().trim()).is_some() => {
                let (other, key) = self.metric(right, span, flows)?;
                Wanted::Metric(Some(key).filter(|_| other.unit == metric.unit).ok_or_else(failed)?)
            }
            None => return Err(failed()),
        };
        Ok(Expectation { text: text.to_owned(), metric: key, comparison, wanted, or: Vec::new() })
    }

    /// Reads a metric; returns it and its key with a selector.
    fn metric(&self, text: &str, span: &Range<usize>, flows: &[Flow]) -> Result<(&'static Metric, String), Problem> {
        let (name, selector) = match text.split_once('[') {
            Some((name, rest)) => match rest.strip_suffix(']').and_then(|rest| rest.split_once('=')) {
                Some((key, value)) => (name.trim(), Some((key.trim(), value.trim()))),
                None => {
                    let hint = "write it as [class=alarm], [group=meter], [flow=readings] or [policy=cheap]";
                    return Err(self.document.problem(span, format!("{text:?} has no sound selector"), hint));
                }
            },
            None => (text, None),
        };
        let metric = metrics::find(name).ok_or_else(|| {
            let hint = match name.split_once('.') {
                Some(("counter", counter)) => instead(counter, Counter::ALL.iter().map(|counter| counter.name())),
                Some(("gauge", gauge)) => instead(gauge, Gauge::ALL.iter().map(|gauge| gauge.name)),
                _ => instead(name, METRICS.iter().map(|metric| metric.name)),
            };
            self.document.problem(span, format!("there is no metric `{name}`"), hint)
        })?;
        let key = match selector {
            None => name.trim().to_owned(),
            Some((selector, value)) => {
                self.check_selector(metric, selector, value, span, flows)?;
                format!("{name}[{selector}={value}]")
            }
        };
        Ok((metric, key))
    }

    fn check_selector(
        &self,
        metric: &Metric,
        selector: &str,
        value: &str,
        span: &Range<usize>,
        flows: &[Flow],
    ) -> Result<(), Problem> {
        let wrong = |what: String, hint: String| Err(self.document.problem(span, what, hint));
        if !ALL_SELECTORS.contains(&selector) {
            return wrong(format!("nothing is told apart by `{selector}`"), instead(selector, ALL_SELECTORS));
        }
        if metric.selectors.is_empty() {
            let what = format!("`{}` is measured for the mesh as a whole", metric.name);
            return wrong(what, format!("write it without [{selector}={value}]"));
        }
        if !metric.selectors.contains(&selector) {
            let what = format!("`{}` is not measured by `{selector}`", metric.name);
            return wrong(what, format!("write it with `{}`", metric.selectors.join("`, `")));
        }
        if metric.selectors != SELECTORS && selector != "class" {
            let known: Vec<&str> = match selector {
                "bearer" => self.bearers.iter().map(|bearer| bearer.name.as_str()).collect(),
                "device" => self.devices.iter().map(|device| device.name.as_str()).collect(),
                _ => self.groups.iter().map(|(group, _)| group.as_str()).collect(),
            };
            return match known.contains(&value) {
                true => Ok(()),
                false => wrong(format!("there is no {selector} `{value}`"), instead(value, known)),
            };
        }
        let sending: BTreeSet<&str> = match selector {
            "class" => flows.iter().map(|flow| metrics::class(flow.class)).collect(),
            "group" => {
                flows.iter().flat_map(|flow| &flow.from).map(|from| self.devices[*from].group.as_str()).collect()
            }
            "policy" => flows.iter().filter_map(|flow| flow.policy.as_deref()).collect(),
            _ => flows.iter().map(|flow| flow.name.as_str()).collect(),
        };
        if sending.contains(value) {
            return Ok(());
        }
        let there = match selector {
            "class" => Class::ALL.iter().any(|known| metrics::class(*known) == value),
            "group" => self.groups.iter().any(|(group, _)| group == value),
            _ => false,
        };
        let what = match there {
            true => format!("no flow sends with {selector} `{value}`, so there is nothing to measure"),
            false => format!("there is no {selector} `{value}`"),
        };
        wrong(what, instead(value, sending))
    }
}

/// Returns the position of the comparison in the text, its text, and the comparison.
fn comparison(text: &str) -> Option<(usize, &'static str, Comparison)> {
    // The `=` of a selector of the first metric is not a comparison.
    let selects = text.find(['[', '<', '>', '=']).is_some_and(|at| text[at..].starts_with('['));
    let body = text.find(']').filter(|_| selects).map_or(0, |end| end + 1);
    let known = [
        ("<=", Comparison::AtMost),
        (">=", Comparison::AtLeast),
        ("==", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::More),
    ];
    let found = known
        .into_iter()
        .find_map(|(operator, comparison)| text[body..].find(operator).map(|at| (body + at, operator, comparison)))?;
    // A second comparison, or a stray `=`, is a mistake, except the `=` of a selector.
    let right = text[found.0 + found.1.len()..].split('[').next().unwrap_or_default();
    (!right.contains(['<', '>', '='])).then_some(found)
}

/// Reads a value, in the metric's own unit.
fn value(unit: Unit, text: &str) -> Option<f64> {
    // TOML-like quotes around a value are allowed: `<= "2s"`.
    let text = text.trim_matches(['"', '\'']);
    match unit {
        Unit::Count | Unit::Money => quantity::number(text).filter(|number| *number >= 0.0),
        Unit::Share => Share::from_text(text).map(|share| share.0),
        Unit::Seconds if text == "0" => Some(0.0),
        Unit::Seconds => quantity::duration(text).map(|duration| duration.as_secs_f64()),
        Unit::Joules => Energy::from_text(text).map(|energy| energy.0),
        Unit::Bytes => Size::from_text(text).map(|size| size.0 as f64),
        Unit::BytesPerSecond => Size::from_text(text.trim_end_matches("/s")).map(|size| size.0 as f64),
    }
}

fn wanted(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a number, as 0 or 1000",
        Unit::Share => Share::WANTED,
        Unit::Seconds => "a duration, as 250ms, 2s or 10m",
        Unit::Bytes => "a number of bytes, as 200, 64KiB or 10MB",
        Unit::BytesPerSecond => "bytes a second, as 500B/s or 2kB/s",
        Unit::Joules => Energy::WANTED,
        Unit::Money => "an amount, as 40 or 0.3",
    }
}

const EXAMPLE: &str = "latency.p99[class=alarm] <= 2s";
