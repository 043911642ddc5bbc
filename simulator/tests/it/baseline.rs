//! `compare --baseline`: changed figures are reported, and taken over on request.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

fn compare(figures: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.args(["compare", "--baseline", "--figures", figures]).args(more).env("NO_COLOR", "1").stdin(Stdio::null());
    command.output().expect("the simulator starts")
}

#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(if code == 1 { &output.stderr } else { &output.stdout })
}

#[test]
fn what_moves_beyond_its_tolerance_fails_until_it_is_taken_over() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("kept.toml");
    let name = file.to_str().expect("a path in UTF-8");
    let text = || std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, "[within]\n\"control.rate\" = 0.1\n").expect("written");
    let told = said(&compare(name, &["multi-hop-line"]), 2);
    assert!(told.contains("none") && told.contains("new"), "{told}");
    assert!(!text().contains("multi-hop-line"), "nothing is taken over unasked");

    said(&compare(name, &["multi-hop-line", "--write"]), 0);
    let written = text();
    let told = said(&compare(name, &["multi-hop-line"]), 0);
    assert!(told.contains("as it was") && told.contains("1 of 1 scenarios as they were"), "{told}");
    said(&compare(name, &["multi-hop-line", "--bless"]), 0);
    assert_eq!(text(), written, "what has not moved is written as it was");

    let line = written.lines().find(|line| line.starts_with("\"control.rate\" = ") && !line.ends_with("0.1"));
    let line = line.expect("the figure is kept");
    let kept: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number");
    std::fs::write(&file, written.replace(line, &format!("\"control.rate\" = {}", kept / 2.0))).expect("written");
    let told: Value = serde_json::from_str(&said(&compare(name, &["multi-hop-line", "--json"]), 2)).expect("JSON");
    let figures = told["scenarios"][0]["figures"].as_array().expect("figures");
    let rate = figures.iter().find(|figure| figure["figure"] == "control.rate").expect("the figure");
    assert_eq!((&rate["verdict"], &rate["found"]), (&Value::from("worse"), &Value::from(kept)));
    assert!(figures.iter().filter(|figure| figure["verdict"] != "same").count() == 1, "{told}");
}

#[test]
fn what_is_no_shipped_scenario_and_no_file_of_figures_is_said() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("kept.toml");
    let name = file.to_str().expect("a path in UTF-8");
    assert!(said(&compare(name, &["grid-49"]), 1).contains("kept.toml"));
    std::fs::write(&file, "[within]\ndelivred = 1\n").expect("written");
    assert!(said(&compare(name, &["grid-49"]), 1).contains("delivred"));
    assert!(said(&compare(name, &["grid-94"]), 1).contains("did you mean `grid-49`?"));
}
