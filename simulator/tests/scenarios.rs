//! Every shipped scenario in a small form, each in a process of its own: its expectations hold, and no check is violated.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// One of `small.toml`.
#[derive(serde::Deserialize)]
struct Scenario {
    name: String,
    #[serde(default)]
    set: Vec<String>,
}

/// All of them, in the file's order.
fn small() -> Vec<Scenario> {
    #[derive(serde::Deserialize)]
    struct File {
        scenario: Vec<Scenario>,
    }
    let file: File = toml::from_str(include_str!("small.toml")).expect("the small forms are TOML");
    file.scenario
}

fn sim(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim")).args(arguments).output().expect("the simulator starts");
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), told)
}

#[test]
fn every_shipped_scenario_holds_in_a_small_form() {
    let (next, failed, small) = (AtomicUsize::new(0), Mutex::new(Vec::new()), small());
    let run = |Scenario { name, set }: &Scenario| {
        let mut arguments = vec!["run", name, "--json"];
        set.iter().for_each(|setting| arguments.extend(["--set", setting]));
        let (code, told) = sim(&arguments);
        let list = |key: &str| told[key].as_array().cloned().unwrap_or_default();
        let missed: Vec<Value> = list("expectations").into_iter().filter(|verdict| verdict["held"] != true).collect();
        let violated: Vec<Value> = list("checks").into_iter().filter(|check| check["violated"] != 0).collect();
        assert!(list("checks").iter().any(|check| check["looked"].as_u64() > Some(0)), "{name} was not looked at");
        if code != Some(0) {
            failed.lock().expect("no panic").push((name.to_string(), missed, violated));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(scenario) = small.get(next.fetch_add(1, Relaxed)) {
                    run(scenario);
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn no_scenario_is_left_out_above() {
    let (_, listed) = sim(&["list", "--json"]);
    let listed = listed["scenarios"].as_array().or_else(|| listed.as_array()).cloned().unwrap_or_default();
    let mut listed: Vec<String> = listed
        .iter()
        .filter_map(|scenario| scenario["name"].as_str().or_else(|| scenario["scenario"].as_str()))
        .map(str::to_owned)
        .collect();
    let mut above: Vec<String> = small().into_iter().map(|scenario| scenario.name).collect();
    listed.sort();
    above.sort();
    assert_eq!(listed, above);
}
