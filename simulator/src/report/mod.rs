//! Report: one self-contained HTML page about one run, and files for other programs: tables ([`tables`]), figures as
//! files ([`charts`]) and the answer for a CI system ([`junit`]).
//!
//! The page is made from a template, a style sheet and scripts that are beside this file. The question and its answer,
//! which must be visible first and without scripts, are written here as text. The scripts draw everything else in the
//! browser, from the record, which the page contains as JSON. [`read`] extracts it, so that a run can also be repeated
//! from its report.
//!
//! Invariants
//! 1. The page makes no requests: it contains no address, and its content security policy forbids all requests.
//! 2. No text of a scenario becomes markup. Here it is escaped, in JSON no `<`, `>` or `&` is left as such, and scripts
//!    put text into text nodes and attributes only.
//! 3. The page contains the record: [`read`] of a [`page`] returns it. A number that JSON cannot express, infinity or
//!    NaN, is written as `null`: it is shown as missing, and cannot be read back.
//! 4. The same record gives the same page, byte for byte.

mod answer;
pub mod charts;
#[cfg(test)]
mod fixture;
pub mod junit;
pub mod tables;
#[cfg(test)]
mod tests;

use crate::metrics::{METRICS, Unit};
use crate::record::Record;
pub use answer::why;
use serde::Serialize;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// The scripts in the order of their dependencies.
const SCRIPTS: [&str; 12] = [
    include_str!("script/base.js"),
    include_str!("script/answer.js"),
    include_str!("script/plot.js"),
    include_str!("script/figures.js"),
    include_str!("script/layout.js"),
    include_str!("script/map.js"),
    include_str!("script/topology.js"),
    include_str!("script/player.js"),
    include_str!("script/messages.js"),
    include_str!("script/costs.js"),
    include_str!("script/missed.js"),
    include_str!("script/page.js"),
];
const RECORD_BEGINS: &str = r#"<script type="application/json" id="record">"#;
const RECORD_ENDS: &str = "</script>";

/// Returns the page of a record.
pub fn page(record: &Record) -> String {
    let summary = &record.summary;
    fill(TEMPLATE, |marker| match marker {
        "style" => STYLE.to_owned(),
        "script" => SCRIPTS.concat(),
        "record" => format!("{RECORD_BEGINS}{}{RECORD_ENDS}", json(record)),
        "catalogue" => json(&catalogue()),
        "question" if summary.question.is_empty() => "What does this network do?".to_owned(),
        "question" => escaped(&summary.question),
        "scenario" => escaped(&summary.scenario),
        "seed" => summary.seed.to_string(),
        "verdict" => if summary.passed { "yes" } else { "no" }.to_owned(),
        "word" => if summary.passed { "Holds" } else { "Does not hold" }.to_owned(),
        "sign" => if summary.passed { "M5 13l5 5 9-11" } else { "M6 6l12 12M18 6L6 18" }.to_owned(),
        "why" => escaped(&answer::why(summary)),
        unknown => format!("{{{{{unknown}}}}}"),
    })
}

/// Returns the record that a page contains. The error says what is wrong with the page, without its name.
pub fn read(page: &str) -> Result<Record, String> {
    let (_, rest) = page
        .split_once(RECORD_BEGINS)
        .ok_or("holds no record: it is no report of m2mesh-sim; name the file that `run --report` wrote")?;
    let (record, _) = rest
        .split_once(RECORD_ENDS)
        .ok_or("ends within its record: it was not copied whole; copy it again, or run the scenario again")?;
    serde_json::from_str(record)
        .map_err(|error| format!("holds a record that this version does not read ({error}); run the scenario again"))
}

/// A metric, in the form in which the scripts look it up.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    unit: &'static str,
    about: &'static str,
}

fn catalogue() -> Vec<Entry> {
    METRICS
        .iter()
        .map(|metric| Entry {
            name: metric.name,
            unit: match metric.unit {
                Unit::Count => "count",
                Unit::Share => "share",
                Unit::Seconds => "seconds",
                Unit::Bytes => "bytes",
                Unit::BytesPerSecond => "rate",
                Unit::Money => "money",
                Unit::Joules => "joules",
            },
            about: metric.about,
        })
        .collect()
}

/// Replaces each `{{marker}}` by its value, in one pass: text within a value that looks like a marker stays as it is.
fn fill(template: &str, value: impl Fn(&str) -> String) -> String {
    let mut page = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((marker, after)) = after.split_once("}}") else { break };
        page.push_str(before);
        page.push_str(&value(marker));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Returns JSON that is allowed within a script element: the three characters that have a meaning in HTML occur in
/// strings only, in which JSON can escape them.
fn json(value: &impl Serialize) -> String {
    let text =
        serde_json::to_string(value).expect("keys are text, and nothing else in a record can fail to be written");
    replaced(&text, |character| match character {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        _ => None,
    })
}

/// Returns text that is allowed in an element or in a quoted attribute.
fn escaped(text: &str) -> String {
    replaced(text, |character| match character {
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '&' => Some("&amp;"),
        '"' => Some("&quot;"),
        '\'' => Some("&#39;"),
        _ => None,
    })
}

fn replaced(text: &str, by: impl Fn(char) -> Option<&'static str>) -> String {
    let mut done = String::with_capacity(text.len());
    for character in text.chars() {
        match by(character) {
            Some(other) => done.push_str(other),
            None => done.push(character),
        }
    }
    done
}
