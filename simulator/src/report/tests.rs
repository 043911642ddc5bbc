//! Tests of the promises of a page, by its text.

use super::fixture::{QUESTION, alone, empty, silent, sized, typical};
use super::{catalogue, page, read};
use crate::metrics::METRICS;
use crate::record::{Record, Verdict};

/// A text that would end a script, open a comment, an element or an attribute, or be taken for a marker of the
/// template.
const HOSTILE: &str = "</script><script>alert(1)</script><!-- \"' onload=x {{record}} {{style}} &amp; \u{2028} ]]>";

fn hostile() -> Record {
    let mut record = typical();
    let summary = &mut record.summary;
    (summary.question, summary.scenario) = (HOSTILE.into(), HOSTILE.into());
    summary.expectations[1].text = HOSTILE.into();
    summary.checks[1].name = HOSTILE.into();
    summary.checks[1].examples[0] = HOSTILE.into();
    summary.metrics.insert(HOSTILE.into(), 1.0);
    summary.counters.insert(HOSTILE.into(), 1);
    summary.trace = HOSTILE.into();
    record.source.text = HOSTILE.into();
    record.source.files.insert(HOSTILE.into(), HOSTILE.into());
    (record.nodes[0].name, record.nodes[0].group) = (HOSTILE.into(), HOSTILE.into());
    record.faults[0].label = HOSTILE.into();
    record.bearers[0] = HOSTILE.into();
    record.messages[0].steps[0].what = HOSTILE.into();
    record
}

fn variants() -> [Record; 6] {
    [typical(), empty(), alone(), silent(), hostile(), sized(3, 2)]
}

/// Returns the page without the record that it contains.
fn without_record(page: &str) -> String {
    let (before, rest) = page.split_once(super::RECORD_BEGINS).expect("a record begins");
    let (_, after) = rest.split_once(super::RECORD_ENDS).expect("a record ends");
    format!("{before}{after}")
}

/// Returns the text between `from` and `to`.
fn between<'a>(page: &'a str, from: &str, to: &str) -> &'a str {
    page.split_once(from).and_then(|(_, rest)| rest.split_once(to)).expect("both are there").0
}

#[test]
fn the_question_comes_before_everything_else_and_the_answer_right_after() {
    let page = page(&typical());
    assert_eq!(between(&page, "<title>", "</title>"), QUESTION);
    let body = between(&page, "<body>", "<main");
    let question = body.find(QUESTION).expect("the question is in the body");
    let answer = body.find("Does not hold</p>").expect("and the answer");
    assert!(question < answer);
    let rest = page.find("<main").expect("and the rest");
    assert!(page.find("<body>").expect("a body") + answer < rest, "needs no script to be seen");
}

#[test]
fn the_answer_says_why() {
    let mut record = typical();
    let why = |record: &Record| between(&page(record), r#"<p class="why">"#, "</p>").to_owned();
    let said = why(&record);
    assert!(
        said.starts_with("2 of 6 expectations missed: latency.p99 &lt;= &quot;2s&quot; (found 4.25 s); "),
        "{said}"
    );
    assert!(said.contains("(nothing to measure)"), "{said}");
    assert!(said.ends_with("1 of 4 checks violated: deadline, 2 times."), "{said}");

    record.summary.expectations.retain(|verdict| verdict.held);
    record.summary.checks.iter_mut().for_each(|check| check.violated = 0);
    record.summary.passed = true;
    let said = why(&record);
    assert!(said.starts_with("All 4 expectations held, and no check was violated."), "{said}");
    assert!(said.ends_with("The closest was delivered[class=alarm] &gt;= 0.999 (found 100 %)."), "{said}");
    assert!(page(&record).contains("Holds</p>") && !page(&record).contains("Does not hold</p>"));

    record.summary.passed = false;
    assert!(why(&record).starts_with("The run did not pass, though"), "a contradiction is not glossed over");
    assert_eq!(
        why(&Record { summary: Default::default(), ..empty() }),
        "The run did not pass, though all expectations held and no check was violated."
    );
}

#[test]
fn a_share_just_missed_is_not_rounded_to_what_was_asked() {
    let mut record = empty();
    let text = "delivered >= 1".to_owned();
    record.summary.expectations =
        vec![Verdict { text, held: false, found: Some(0.999_98), wanted: 1.0, decided: None, margin: Some(-0.000_02) }];
    let said = page(&record);
    assert!(said.contains("(found 99.998 %)"), "{}", between(&said, r#"<p class="why">"#, "</p>"));
}

/// Invariant 2.
#[test]
fn hostile_text_stays_text() {
    let record = hostile();
    let written = page(&record);
    assert!(!written.contains("alert(1)<"), "nothing closes an element with it");
    assert!(!written.contains("<!--"), "no comment opens");
    let plain = page(&typical());
    for tag in ["<script", "</script", "<style", "</style", "<main", "<title"] {
        assert_eq!(written.matches(tag).count(), plain.matches(tag).count(), "{tag}");
    }
    for (from, to) in [("<title>", "</title>"), ("<h1>", "</h1>")] {
        assert_eq!(between(&written, from, to), super::escaped(HOSTILE), "what looks like a marker stays as it is");
    }
    assert_eq!(read(&written).expect("it reads"), record);
}

/// Invariant 3.
#[test]
fn the_page_carries_the_record() {
    for record in variants() {
        assert_eq!(read(&page(&record)).expect("it reads"), record);
    }
}

#[test]
fn what_is_no_page_is_not_read() {
    let written = page(&typical());
    assert!(read("<html></html>").expect_err("no record").contains("no report of m2mesh-sim"));
    let cut = &written[..written.find(super::RECORD_BEGINS).expect("a record") + 500];
    assert!(read(cut).expect_err("cut").contains("copy it again"));
    let other = written.replacen("\"summary\":", "\"sum\":", 1);
    assert!(read(&other).expect_err("another version").contains("run the scenario again"));
}

/// Invariant 3.
#[test]
fn a_number_that_json_does_not_know_leaves_a_page_with_valid_json() {
    let mut record = typical();
    record.summary.metrics.insert("latency.p99".into(), f64::NAN);
    let written = page(&record);
    let json = between(&written, super::RECORD_BEGINS, super::RECORD_ENDS);
    let value: serde_json::Value = serde_json::from_str(json).expect("valid");
    assert!(value["summary"]["metrics"]["latency.p99"].is_null());
}

/// Invariant 1.
#[test]
fn nothing_is_asked_for_from_anywhere() {
    for record in variants() {
        let page = without_record(&page(&record));
        for way in ["http:", "https:", "src=", "@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "import("] {
            assert!(!page.contains(way), "{way}");
        }
        let links: Vec<&str> = page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(links.iter().all(|link| link.starts_with('#') || *link == "data:,"), "{links:?}");
        assert!(page.contains("default-src 'none'"), "the browser holds the page to it");
    }
}

/// Invariant 2.
#[test]
fn scripts_make_no_markup_out_of_text() {
    for script in super::SCRIPTS {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"] {
            assert!(!script.contains(way), "{way}");
        }
    }
}

#[test]
fn every_metric_is_explained_with_its_unit() {
    let entries = catalogue();
    assert_eq!(entries.len(), METRICS.len());
    let page = page(&empty());
    assert!(page.contains(r#""name":"latency.p99","unit":"seconds""#));
    let base = super::SCRIPTS[0];
    let units = between(base, "const UNITS = {", "}");
    assert!(entries.iter().all(|entry| units.contains(entry.unit)), "the scripts can write each unit");
}

/// Invariant 4.
#[test]
fn the_same_record_gives_the_same_page() {
    assert_eq!(page(&typical()), page(&typical()));
}

/// Writes the pages that people look at: `M2MESH_SIM_PAGES=DIR` keeps them, to be opened in a browser.
#[test]
fn pages_of_all_kinds_are_written_to_files_and_read_back() {
    let temporary = tempfile::tempdir().expect("a directory");
    let kept = std::env::var_os("M2MESH_SIM_PAGES").map(std::path::PathBuf::from);
    let directory = kept.as_deref().unwrap_or(temporary.path());
    let mut passed = typical();
    passed.summary.passed = true;
    passed.summary.expectations.retain(|verdict| verdict.held);
    passed.summary.checks.iter_mut().for_each(|check| (check.violated, check.examples) = (0, Vec::new()));
    passed.summary.metrics.insert("violations".into(), 0.0);
    let pages = [
        ("typical", typical()),
        ("passed", passed),
        ("empty", empty()),
        ("alone", alone()),
        ("silent", silent()),
        ("hostile", hostile()),
        ("large", sized(1000, 8)),
    ];
    for (name, record) in pages {
        let file = directory.join(format!("{name}.html"));
        std::fs::write(&file, page(&record)).expect("a file");
        let text = std::fs::read_to_string(&file).expect("the same file");
        assert_eq!(read(&text).expect("it reads"), record, "{name}");
    }
}
