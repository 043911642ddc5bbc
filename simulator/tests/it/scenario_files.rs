//! Scenario files as people use them: shipped ones, their own, and invalid ones.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    sim_in(Path::new("."), arguments)
}

fn sim_in(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.current_dir(directory).args(arguments).env("NO_COLOR", "1").output().expect("the simulator starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("one JSON object")
}

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).expect("a temporary directory takes files");
}

const SMALL: &str = "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.lan]\n[devices.node]\ncount = 3\n[[links]]\nkind = \"file\"\nfile = \"three.edges\"\n";

#[test]
fn every_shipped_file_is_listed_opens_with_its_question_and_can_fail() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let listed = sim(&["list", "--json"]);
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed.stderr));
    let told = json(&listed.stdout);
    let listed: BTreeSet<String> = told["scenarios"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|scenario| scenario["scenario"].as_str().expect("a name").to_owned())
        .collect();
    let mut there = BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("the shipped scenarios") {
        let path = entry.expect("a file").path();
        there.insert(path.file_stem().expect("a name").to_string_lossy().into_owned());
        let file = std::fs::read_to_string(&path).expect("a scenario");
        assert!(file.starts_with("question = \""), "{}", path.display());
        assert!(file.contains("expect = ["), "{}", path.display());
    }
    assert_eq!(there, listed);
}

#[test]
fn examples_in_the_help_name_settings_that_there_are() {
    for verb in ["run", "check", "sweep", "compare"] {
        let help = text(&sim(&[verb, "--help"]).stdout);
        let example = help.split_once("Example: m2mesh-sim ").expect("an example").1;
        let words: Vec<&str> = example.split_whitespace().collect();
        assert_eq!(words[0], verb);
        let mut check = vec!["check", words[1]];
        for pair in words.windows(2).filter(|pair| ["--set", "--vary"].contains(&pair[0])) {
            check.extend(["--set", pair[1].split(',').next().expect("a value")]);
        }
        let checked = sim(&check);
        assert_eq!(checked.status.code(), Some(0), "{check:?}: {}", text(&checked.stderr));
    }
}

#[test]
fn shipped_scenarios_are_sound_in_small_forms_too() {
    for (name, set) in [
        ("baseline-50", &["devices.node.count=8"][..]),
        ("cold-boot-200", &["devices.node.count=20"]),
        ("partition-heal", &["devices.node.count=12"]),
        ("lossy-asymmetric", &["devices.node.count=9", "faults.worse.at=20s", "faults.worse.for=20s"]),
        ("site-power-cut", &["devices.north.count=3", "devices.south.count=3", "faults.south dark.at=20s"]),
        ("crash-storm", &["devices.node.count=6", "links.0.degree=3", "duration=1m"]),
        ("flapping-link", &["devices.node.count=6", "faults.flapping.at=10s"]),
        ("narrowband", &["devices.well.count=5"]),
        ("overload-10x", &["devices.meter.count=3", "faults.tenfold.at=20s", "faults.tenfold.for=20s"]),
        ("scale-ladder", &["devices.node.count=1000"]),
        ("soak-7d", &["devices.node.count=5", "faults.1.at=10s"]),
    ] {
        let mut arguments = vec!["check", name, "--json", "--set", "duration=60s"];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        let checked = sim(&arguments);
        assert_eq!(checked.status.code(), Some(0), "{name}: {}", text(&checked.stderr));
        assert!(json(&checked.stdout)["nodes"].as_u64().is_some_and(|nodes| nodes > 1), "{name}");
    }
}

#[test]
fn check_says_what_a_scenario_comes_to() {
    let told = json(&sim(&["check", "site-power-cut", "--json"]).stdout);
    assert_eq!((&told["nodes"], &told["virtual_s"]), (&Value::from(32), &Value::from(1_050.0)));
    assert_eq!(told["groups"][0], serde_json::json!({ "group": "north", "devices": 15 }));
    assert_eq!(
        told["links"],
        serde_json::json!([{ "bearer": "radio", "links": 30 }, { "bearer": "fibre", "links": 1 }])
    );
    assert_eq!(told["flows"][0]["messages"], 450.0);
    assert_eq!((&told["faults"][0]["fault"], &told["faults"][0]["at_s"]), (&"south dark".into(), &240.0.into()));
    let people = text(&sim(&["check", "site-power-cut"]).stdout);
    assert!(people.contains("32 (15 north, 1 north-gateway") && people.contains("south dark"), "{people}");
}

#[test]
fn a_new_scenario_is_sound_and_never_written_over_another() {
    let place = tempfile::tempdir().expect("a directory");
    let printed = sim(&["new"]);
    let made = sim_in(place.path(), &["new", "mine"]);
    assert_eq!((printed.status.code(), made.status.code()), (Some(0), Some(0)), "{}", text(&made.stderr));
    let written = std::fs::read(place.path().join("mine.toml")).expect("it is there");
    assert_eq!(written, printed.stdout);
    let checked = sim_in(place.path(), &["check", "mine.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    write(place.path(), "mine.toml", "mine");
    let again = sim_in(place.path(), &["new", "mine", "--json"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(json(&again.stderr)["error"].as_str().is_some_and(|error| error.contains("mine.toml")));
    assert_eq!(std::fs::read(place.path().join("mine.toml")).expect("it is there"), b"mine");
}

#[test]
fn files_that_a_scenario_names_lie_beside_it() {
    let place = tempfile::tempdir().expect("a directory");
    write(place.path(), "x.toml", SMALL);
    let missing = sim_in(place.path(), &["check", "x.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    let told = text(&missing.stderr);
    assert!(told.contains("x.toml:8:") && told.contains("three.edges"), "{told}");
    write(place.path(), "three.edges", "node-1 node-2\nnode-2 node-3\n");
    // The same from another working directory.
    let path = place.path().join("x.toml");
    let found = sim(&["check", path.to_str().expect("a path"), "--json"]);
    assert_eq!(json(&found.stdout)["links"][0]["links"], 2, "{}", text(&found.stderr));
}

/// Invariant 1 of scenario::document.
#[test]
fn errors_say_what_where_and_what_to_do_next() {
    let place = tempfile::tempdir().expect("a directory");
    write(place.path(), "x.toml", &SMALL.replace("count = 3", "cuont = 3"));
    let wrong = sim_in(place.path(), &["check", "x.toml"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert_eq!(text(&wrong.stderr), "error: x.toml:5: unknown key `cuont`\nwhat to do: did you mean `count`?\n");
    let wrong = sim_in(place.path(), &["check", "x.toml", "--json"]);
    assert_eq!(
        json(&wrong.stderr),
        serde_json::json!({
            "error": "x.toml:5: unknown key `cuont`",
            "hint": "did you mean `count`?",
        })
    );
    for (arguments, parts) in [
        (&["check", "baselin-50"][..], &["called baselin-50", "did you mean `baseline-50`?"][..]),
        (&["check", "baseline-50", "--set", "devices.node.count=0"], &["zero devices", "--set devices.node.count=0"]),
        (
            &["check", "baseline-50", "--set", "links.0.degree=50"],
            &["--set links.0.degree=50", "none can link with 50"],
        ),
        (&["check", "baseline-50", "--seed", "seven"], &["seven", "--seed"]),
        (
            &["check", "baseline-50", "--set", "expect=[\"latncy.p99 <= 2s\"]"],
            &["no metric `latncy.p99`", "did you mean `latency.p99`?"],
        ),
        (&["run", "baseline-50", "--set", "duration=0s"], &["--set duration=0s", "a duration above zero"]),
    ] {
        let wrong = sim(arguments);
        assert_eq!(wrong.status.code(), Some(1), "{arguments:?}");
        let told = text(&wrong.stderr);
        parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is not in: {told}"));
    }
}

#[test]
fn a_network_of_another_program_can_be_imported_run_and_replayed_without_its_file() {
    let place = tempfile::tempdir().expect("a directory");
    let network = r#"{"nodes": [{"id": "a", "pos": [8.5, 47.4]}, {"id": "b", "pos": [7.4, 46.9]}],
        "edges": [{"source": "a", "target": "b", "dist": 100}]}"#;
    write(place.path(), "two.json", network);
    let printed = sim_in(place.path(), &["import", "two.json"]);
    let made = sim_in(place.path(), &["import", "two.json", "two", "--json"]);
    assert_eq!((printed.status.code(), made.status.code()), (Some(0), Some(0)), "{}", text(&made.stderr));
    assert_eq!(json(&made.stdout), serde_json::json!({ "file": "two.toml", "nodes": 2, "links": 1 }));
    assert_eq!(std::fs::read(place.path().join("two.toml")).expect("it is there"), printed.stdout);
    let again = sim_in(place.path(), &["import", "two.json", "two"]);
    assert_eq!(again.status.code(), Some(1), "nothing is written over");
    let short = ["--set", "duration=1m", "--record", "two.record"];
    let ran = sim_in(place.path(), &[&["run", "two.toml", "--json"], &short[..]].concat());
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stdout));
    std::fs::remove_file(place.path().join("two.json")).expect("it is there");
    std::fs::remove_file(place.path().join("two.toml")).expect("it is there");
    let replayed = sim_in(place.path(), &["replay", "two.record", "--json"]);
    assert_eq!(json(&replayed.stdout)["same"], true, "{}", text(&replayed.stderr));
    let missing = sim_in(place.path(), &["import", "three.json"]);
    assert!(text(&missing.stderr).contains("what to do: check the path"), "{}", text(&missing.stderr));
}

/// Two devices over a cellular link of that delay.
fn two(delay: &str) -> String {
    format!(
        "question = \"Does it come up?\"\nwarmup = \"5m\"\nduration = \"1m\"\nexpect = [\"delivered >= 0\"]\n[bearers.c]\nclass = \"cellular\"\ndelay = \"{delay}\"\n[devices.node]\ncount = 2\n[[links]]\nkind = \"line\"\n[[traffic]]\nname = \"a\"\nkind = \"send\"\nfrom = \"node-1\"\nto = \"node-2\"\nevery = \"20s\"\n"
    )
}

/// A line of devices, in which messages go from end to end.
fn row(count: usize) -> String {
    format!(
        "question = \"Do they arrive?\"\nduration = \"20s\"\nexpect = [\"delivered >= 0\"]\n[bearers.lan]\ndelay = \"1ms\"\n[devices.node]\ncount = {count}\n[[links]]\nkind = \"line\"\n[[traffic]]\nname = \"a\"\nkind = \"send\"\nfrom = \"node-1\"\nto = \"node-{count}\"\nevery = \"5s\"\n"
    )
}

/// Invariant 1 of scenario::warning.
#[test]
fn what_is_warned_of_is_so_and_what_is_just_not_warned_of_is_not() {
    let place = tempfile::tempdir().expect("a directory");
    for (text, part, arrives) in [
        (two("4s"), "", 1.0),
        (two("4100ms"), "never finds a way from node-1 to node-2", 0.0),
        (row(65), "", 1.0),
        (row(66), "has 65 hops to go from node-1 to node-66", 0.0),
    ] {
        write(place.path(), "x.toml", &text);
        let told = json(&sim_in(place.path(), &["check", "x.toml", "--json"]).stdout)["warnings"].to_string();
        assert!(told.contains("no value could miss `delivered >= 0`"), "{told}");
        assert_eq!(told.contains(part) && !part.is_empty(), arrives == 0.0, "{part:?} in {told}");
        let ran = json(&sim_in(place.path(), &["run", "x.toml", "--json"]).stdout);
        assert_eq!(ran["metrics"]["delivered"], arrives, "{part:?}");
    }
}

/// Invariant 2 of scenario::warning.
#[test]
fn warnings_say_what_where_and_what_to_do_next_and_a_scenario_with_some_is_sound() {
    let place = tempfile::tempdir().expect("a directory");
    write(place.path(), "x.toml", &two("6s"));
    let checked = sim_in(place.path(), &["check", "x.toml"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    let told = text(&checked.stdout);
    for part in [
        "warning: x.toml:7: 1 of the 1 links over `c` never come up",
        "what to do: write setup = \"38s\" in [bearers.c], or lower the delay",
        "warning: x.toml:4: no value could miss `delivered >= 0`: it is a share, from 0 to 1",
        "the scenario is sound, with 3 warnings; run it with `m2mesh-sim run`",
    ] {
        assert!(told.contains(part), "{part:?} is not in: {told}");
    }
    let none = text(&sim(&["check", "baseline-50"]).stdout);
    assert!(
        !none.contains("warning") && none.ends_with("the scenario is sound; run it with `m2mesh-sim run`\n"),
        "{none}"
    );
    let new = text(&sim(&["new"]).stdout);
    write(place.path(), "new.toml", &new);
    assert_eq!(json(&sim_in(place.path(), &["check", "new.toml", "--json"]).stdout)["warnings"], serde_json::json!([]));
}
