//! JUnit: the answer as JUnit's XML, which CI systems show. Each expectation and each check across nodes is a test
//! case.
//!
//! The form is that of the schema that Jenkins' plug-in reads (`testsuites`, `testsuite`, `testcase` with `failure` or
//! `skipped`). A check that was never exercised is skipped.
//!
//! Invariants
//! 1. The document is well-formed whatever a scenario's texts contain: characters that XML 1.0 does not allow are left
//!    out.

use super::escaped;
use crate::metrics;
use crate::record::{Check, Performance, Summary, Verdict};
use std::fmt::Write;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The results of the run.
    pub summary: &'a Summary,
    /// The resources that it took; `None` if they are unknown.
    pub performance: Option<&'a Performance>,
}

/// Returns the document of these runs, each of which is a test suite.
pub fn document<'a>(runs: impl IntoIterator<Item = Run<'a>>) -> String {
    let suites: Vec<String> = runs.into_iter().map(suite).collect();
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"m2mesh-sim\">\n".to_owned();
    suites.iter().for_each(|suite| text.push_str(suite));
    text.push_str("</testsuites>\n");
    text
}

fn suite(run: Run<'_>) -> String {
    let Summary { scenario, question, seed, set, trace, passed, expectations, checks, .. } = run.summary;
    let name = format!("{scenario} seed {seed}{}", set.iter().map(|set| format!(" {set}")).collect::<String>());
    let mut cases: Vec<Case> = expectations.iter().map(of_expectation).collect();
    cases.extend(checks.iter().map(of_check));
    if !passed && cases.iter().all(|case| case.failure.is_none()) {
        let failure = Some("it did not, though nothing was missed or violated".to_owned());
        cases.push(Case { class: "run", name: "passed".to_owned(), failure, skipped: None });
    }
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
    let time = run.performance.map_or(0.0, |performance| performance.wall_s);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{time:.3}\">\n    <properties>",
        xml(&name),
        cases.len(),
    );
    for (key, value) in [("question", question), ("seed", &seed.to_string()), ("trace", trace)] {
        let _ = writeln!(text, "      <property name=\"{key}\" value=\"{}\"/>", xml(value));
    }
    text.push_str("    </properties>\n");
    cases.iter().for_each(|case| case.write(scenario, &mut text));
    text.push_str("  </testsuite>\n");
    text
}

/// A test case.
struct Case {
    class: &'static str,
    name: String,
    failure: Option<String>,
    skipped: Option<&'static str>,
}

impl Case {
    fn write(&self, scenario: &str, text: &mut String) {
        let Self { class, name, failure, skipped } = self;
        let _ = write!(text, "    <testcase classname=\"{}.{class}\" name=\"{}\"", xml(scenario), xml(name));
        match (failure, skipped) {
            (Some(failure), _) => {
                let first = xml(failure.lines().next().unwrap_or_default());
                let _ =
                    writeln!(text, ">\n      <failure message=\"{first}\">{}</failure>\n    </testcase>", xml(failure));
            }
            (None, Some(why)) => {
                let _ = writeln!(text, ">\n      <skipped message=\"{why}\"/>\n    </testcase>");
            }
            (None, None) => text.push_str("/>\n"),
        }
    }
}

fn of_expectation(verdict: &Verdict) -> Case {
    let unit = metrics::unit_of(&verdict.text);
    let found = verdict.found.map_or_else(|| "nothing to measure".to_owned(), |found| metrics::text(unit, found));
    let failure = (!verdict.held).then(|| format!("{}: found {found}", verdict.text));
    Case { class: "expectation", name: verdict.text.clone(), failure, skipped: None }
}

fn of_check(check: &Check) -> Case {
    let Check { name, promise, looked, violated, examples } = check;
    let failure = (*violated > 0).then(|| {
        let examples: String = examples.iter().map(|example| format!("\n{example}")).collect();
        format!("{promise}: violated {violated} times of {looked}{examples}")
    });
    Case {
        class: "check",
        name: name.clone(),
        failure,
        skipped: (*looked == 0 && *violated == 0).then_some("there was nothing to look at"),
    }
}

/// Returns text that is allowed in an attribute or element of XML 1.0.
fn xml(text: &str) -> String {
    let allowed =
        |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    escaped(&text.chars().filter(allowed).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::typical;

    /// Invariant 1.
    #[test]
    fn every_expectation_and_check_is_a_case_and_hostile_text_stays_text() {
        let mut record = typical();
        record.summary.question = "\u{1}<&\"'>\u{ffff} ]]>".into();
        let Summary { expectations, checks, .. } = &record.summary;
        let text = document([Run { summary: &record.summary, performance: Some(&record.performance) }]);
        let parsed = roxmltree::Document::parse(&text).expect("well-formed");
        let suite = parsed.descendants().find(|node| node.has_tag_name("testsuite")).expect("a suite");
        let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
        assert_eq!(cases.len(), expectations.len() + checks.len());
        let number = |name: &str| suite.attribute(name).and_then(|text| text.parse::<usize>().ok());
        let with = |tag| cases.iter().filter(|case| case.children().any(|node| node.has_tag_name(tag))).count();
        let missed = expectations.iter().filter(|verdict| !verdict.held).count();
        let violated = checks.iter().filter(|check| check.violated > 0).count();
        assert_eq!((number("tests"), number("failures")), (Some(cases.len()), Some(missed + violated)));
        assert_eq!((with("failure"), Some(with("skipped"))), (missed + violated, number("skipped")));
        let question =
            suite.descendants().find(|node| node.attribute("name") == Some("question")).expect("it is there");
        assert_eq!(question.attribute("value"), Some("<&\"'> ]]>"));
        assert!(text.contains("latency.p99 &lt;= &quot;2s&quot;: found 4.25 s"), "{text}");
    }

    #[test]
    fn a_run_that_did_not_pass_for_no_reason_fails_still() {
        let mut record = typical();
        record.summary.expectations.clear();
        record.summary.checks.clear();
        let text = document([Run { summary: &record.summary, performance: None }]);
        assert!(text.contains("failures=\"1\"") && text.contains("time=\"0.000\""), "{text}");
    }
}
