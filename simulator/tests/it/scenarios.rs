//! Every shipped scenario in its small form, each in a process of its own, once for all of these tests: its expectations
//! hold and no check is violated, its figures are those that are kept, and its limits mean something.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::process::Command;
use std::sync::LazyLock;

/// The results of all scenarios.
static ALL: LazyLock<Vec<Value>> = LazyLock::new(|| list(&sim(&["compare", "--baseline", "--json"])["scenarios"]));

fn sim(arguments: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim")).args(arguments).output().expect("the simulator starts");
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Returns the wrong entries of each scenario's `key`, with the scenario's name.
fn wrong(key: &str, is_wrong: impl Fn(&Value) -> bool) -> Vec<(Value, Vec<Value>)> {
    let of = |scenario: &Value| {
        let found: Vec<Value> = list(&scenario[key]).into_iter().filter(&is_wrong).collect();
        (!found.is_empty()).then(|| (scenario["scenario"].clone(), found))
    };
    ALL.iter().filter_map(of).collect()
}

#[test]
fn every_shipped_scenario_holds_in_a_small_form() {
    let missed = wrong("expectations", |verdict| verdict["held"] != true);
    let violated = wrong("checks", |check| check["violated"] != 0);
    assert!(missed.is_empty() && violated.is_empty(), "{missed:#?} {violated:#?}");
    for scenario in &*ALL {
        let looked = list(&scenario["checks"]).iter().any(|check| check["looked"].as_u64() > Some(0));
        assert!(looked && scenario["passed"] == true, "{}", scenario["scenario"]);
    }
}

#[test]
fn no_figure_has_moved_from_where_it_is_kept() {
    let moved = wrong("figures", |figure| !["same", "within"].map(Value::from).contains(&figure["verdict"]));
    let hint = "where that is meant: `m2mesh-sim compare --baseline --write`, and say so in the commit";
    assert!(moved.is_empty(), "{moved:#?}\n{hint}");
    assert!(ALL.iter().all(|scenario| !list(&scenario["figures"]).is_empty()), "each has figures");
}

#[test]
fn no_expectation_is_more_than_a_factor_of_two_from_what_is_found() {
    let loose = wrong("loose", |_| true);
    assert!(loose.is_empty(), "{loose:#?}\ntighten them in the scenario, or for its small form in small.toml");
}

/// Runs the reduced scenarios that `m2mesh-sim fuzz` has found; each failed before its fault was fixed.
#[test]
fn what_drawn_scenarios_have_found_stays_mended() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/found");
    let files = std::fs::read_dir(folder).expect("the folder is there").map(|file| file.expect("it is read").path());
    let files: Vec<_> = files.filter(|file| file.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!files.is_empty());
    let run = |file: &std::path::PathBuf| sim(&["run", &file.display().to_string(), "--json"]);
    let summaries: Vec<Value> = std::thread::scope(|scope| {
        let runs: Vec<_> = files.iter().map(|file| scope.spawn(move || run(file))).collect();
        runs.into_iter().map(|run| run.join().expect("it does not panic")).collect()
    });
    for (file, summary) in files.iter().zip(&summaries) {
        let missed = list(&summary["expectations"]).into_iter().filter(|verdict| verdict["held"] != true);
        // A drawn fault may have no effect since the fix, which is not a failure.
        let checks = list(&summary["checks"]).into_iter().filter(|check| check["name"] != "faults-strike");
        let violated = checks.filter(|check| check["violated"] != 0);
        let wrong: Vec<Value> = missed.chain(violated).collect();
        assert!(wrong.is_empty() && summary["checks"].is_array(), "{}: {wrong:#?}", file.display());
    }
}

#[test]
fn no_scenario_is_left_out_above() {
    let name = |scenario: &Value| scenario["scenario"].as_str().map(str::to_owned);
    let mut listed: Vec<String> = list(&sim(&["list", "--json"])["scenarios"]).iter().filter_map(name).collect();
    let mut above: Vec<String> = ALL.iter().filter_map(name).collect();
    listed.sort();
    above.sort();
    assert!(!above.is_empty());
    assert_eq!(listed, above);
}
