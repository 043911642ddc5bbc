//! The verbs as people use them: exit codes, JSON, replays, sweeps, shards and comparisons.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The small form of a shipped scenario.
const SMALL: [&str; 7] =
    ["baseline-50", "--set", "devices.node.count=8", "--set", "links.0.degree=4", "--set", "duration=2m"];
/// Nothing is expected of it, so it always passes.
const ANYHOW: [&str; 2] = ["--set", "expect=[]"];

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn sim(arguments: &[&str]) -> Output {
    command(arguments).output().expect("the simulator starts")
}

fn small(verb: &str, more: &[&str]) -> Output {
    sim(&[&[verb][..], &SMALL, more].concat())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the printed text, after a check of the exit code.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(output: &Output, code: i32) -> Value {
    serde_json::from_str(&said(output, code)).expect("one JSON object")
}

/// Checks that there is an error that contains all of these words.
#[track_caller]
fn complains(output: &Output, words: &[&str]) {
    assert_eq!(said(output, 1), "");
    let error = text(&output.stderr);
    assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("a file with text")
}

/// Returns a directory for files, and a function that gives the path of a file there.
fn place() -> (TempDir, impl Fn(&str) -> String) {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().to_str().expect("a path in UTF-8").to_owned();
    (place, move |name: &str| format!("{root}/{name}"))
}

#[test]
fn a_run_says_whether_what_was_expected_holds_by_its_exit_code() {
    let yes = json(&small("run", &["--json", "--set", "expect=[\"delivered >= 0.9\"]"]), 0);
    assert_eq!(yes["passed"], true);
    assert!(yes["performance"]["cpu_s"].as_f64().is_some_and(|seconds| seconds > 0.0));
    assert!(yes["metrics"]["latency.p99[flow=readings]"].is_f64());
    let missed = ["--set", "expect=[\"latency.p50 <= 1ms\"]"];
    let no = json(&small("run", &[&missed[..], &["--json"]].concat()), 2);
    assert_eq!((&no["passed"], &no["expectations"][0]["held"]), (&Value::Bool(false), &Value::Bool(false)));
    assert!(no["expectations"][0]["margin"].as_f64().is_some_and(|margin| margin < 0.0));
    let told = said(&small("run", &missed), 2);
    let trace = no["trace"].as_str().expect("a trace");
    for word in
        ["Do fifty devices", "latency.p50 <= 1ms", "does not hold", "answer    does not hold", "seed      1", trace]
    {
        assert!(told.contains(word), "{word} in {told}");
    }
}

#[test]
fn a_run_that_cannot_be_says_why() {
    complains(&sim(&["run", "baseline-5"]), &["baseline-5", "did you mean `baseline-50`?"]);
    complains(&small("run", &["--set", "devices.node.cout=4"]), &["cout", "`count`"]);
    complains(&small("run", &["--report", "/no/such/place.html"]), &["/no/such/place.html", "check the path"]);
    let told = small("run", &["--json", "--set", "warmup=soon"]);
    let error: Value = serde_json::from_str(text(&told.stderr).trim()).expect("an error as JSON");
    assert!(error["error"].as_str().is_some_and(|error| error.contains("warmup")) && error["hint"].is_string());
}

#[test]
fn what_is_no_seed_is_said() {
    complains(&small("run", &["--seed", "seven"]), &["seven", "a seed is a whole number"]);
    complains(&small("sweep", &["--out", "x", "--seeds", "seven"]), &["seven", "1..20"]);
    complains(&small("sweep", &["--out", "x", "--seeds", "1..2", "--shard", "3/2"]), &["3/2", "the second of four"]);
    complains(&sim(&["calibrate", "--seed", "seven"]), &["seven", "a seed is a whole number"]);
}

#[test]
fn a_run_can_be_replayed_from_its_report_and_its_record() {
    let (_place, at) = place();
    let (report, record) = (at("run.html"), at("run.json"));
    // A run that misses its expectations can be replayed too: the replay only compares the runs.
    let missed = ["--set", "expect=[\"latency.p50 <= 1ms\"]", "--seed", "5"];
    let first = json(&small("run", &[&missed[..], &["--json", "--report", &report, "--record", &record]].concat()), 2);
    for file in [&report, &record] {
        let again = json(&sim(&["replay", file, "--json"]), 0);
        assert_eq!((&again["same"], &again["trace"]), (&Value::Bool(true), &first["trace"]));
        assert_eq!((&again["seed"], &again["metrics"]), (&Value::from(5), &first["metrics"]));
    }
    let trace = first["trace"].as_str().expect("a trace");
    std::fs::write(&record, read(&record).replace(trace, "0123")).expect("written");
    let other = said(&sim(&["replay", &record]), 2);
    assert!(other.contains("another run: its trace was 0123"), "{other}");
    complains(&sim(&["replay", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]), &["no record", "run --report"]);
}

#[test]
fn a_replay_shows_one_node_until_a_moment() {
    let (_place, at) = place();
    let report = at("run.html");
    said(&small("run", &[&ANYHOW[..], &["--report", &report]].concat()), 0);
    let closer = ["replay", &report, "--node", "node-3", "--until", "50s"];
    let told = said(&sim(&closer), 0);
    assert!(told.contains("node-3       up") && told.contains("ended before its end"), "{told}");
    // Into a file, where nothing is to overwrite what is before it.
    let file = at("told.jsonl");
    let output = std::fs::File::create(&file).expect("a file");
    let status = command(&[&closer[..], &["--json"]].concat()).stdout(output).status().expect("the simulator starts");
    assert!(status.success());
    let lines: Vec<Value> =
        read(&file).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let (answer, events) = lines.split_last().expect("lines");
    assert_eq!((&answer["same"], answer["virtual_s"].as_f64()), (&Value::Null, Some(50.0)));
    assert!(events.iter().any(|event| event["event"] == "up"));
    assert!(events.iter().all(|event| event["node"] == "node-3" && event["at"].as_f64().is_some_and(|at| at <= 50.0)));
    let written = at("events.jsonl");
    said(&sim(&[&closer[..], &["--events", &written]].concat()), 0);
    assert_eq!(read(&written).lines().count(), events.len());
    complains(&sim(&["replay", &report, "--node", "nod-3"]), &["nod-3", "`node-3`"]);
}

/// Two paths from one to three, of which one gets worse, as FAULT says.
const RING: &str = r#"
question = "Is it said why a route changes?"
duration = "50s"

[bearers.lan]
delay = "100us"
jitter = "50us"

[devices.node]
count = 4

[[links]]
kind = "ring"

[[traffic]]
name = "across"
kind = "send"
from = "node-1"
to = "node-3"
every = "100ms"

[[faults]]
kind = "degrade"
links = [["node-2", "node-3"]]
shape = FAULT
at = "20s"
for = "25s"
"#;

/// Returns the reasons for which the routes between the ends of this ring were changed during the fault.
fn causes(shape: &str, seeds: std::ops::Range<u64>) -> Vec<String> {
    let (_place, at) = place();
    std::fs::write(at("ring.toml"), RING.replace("FAULT", shape)).expect("written");
    let mut causes = Vec::new();
    for seed in seeds {
        said(&sim(&["run", &at("ring.toml"), "--seed", &seed.to_string(), "--events", &at("events.jsonl")]), 0);
        let events = read(at("events.jsonl"));
        let lines = events.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        let first = lines.into_iter().find(|event| {
            let ends = event["node"] == "node-1" && event["details"]["to"] == "node-3";
            event["kind"] == "route-changed" && ends && event["at"].as_f64() > Some(20.0)
        });
        causes.extend(first.map(|event| event["details"]["cause"].as_str().expect("a cause").to_owned()));
    }
    causes
}

#[test]
fn the_events_of_a_run_say_why_routes_changed_and_loss_is_not_taken_for_delay() {
    let lost = causes("{ loss = \"20%\" }", 1..17);
    assert!(lost.len() > 6 && lost.iter().all(|cause| !cause.starts_with("delay")), "{lost:#?}");
    let slow = causes("{ delay = \"50ms\" }", 1..13);
    assert!(slow.len() > 1 && slow.iter().all(|cause| cause.starts_with("delay rose")), "{slow:#?}");
}

/// A sweep of six runs.
fn sweep(out: &str, more: &[&str]) -> Output {
    let what = ["--seeds", "1..3", "--vary", "bearers.lan.loss=0,0.2", "--out", out];
    small("sweep", &[&ANYHOW[..], &what, more].concat())
}

/// Invariant 1 of cli::sweep.
#[test]
fn shards_put_together_are_the_whole_byte_for_byte() {
    let (_place, at) = place();
    said(&sweep(&at("whole"), &[]), 0);
    said(&sweep(&at("one"), &["--shard", "1/2"]), 0);
    said(&sweep(&at("two"), &["--shard", "2/2", "--jobs", "1"]), 0);
    complains(&sim(&["merge", &at("one"), "--out", &at("half")]), &["3 runs", "p0-s2", "name all shards"]);
    let merged = json(&sim(&["merge", &at("two"), &at("one"), "--out", &at("merged"), "--json"]), 0);
    assert_eq!((&merged["points"][1]["runs"], &merged["points"][1]["passed"]), (&Value::from(3), &Value::from(3)));
    let mut files: Vec<String> = vec!["plan.json".to_owned(), "sweep.json".to_owned(), "sweep.csv".to_owned()];
    files.extend((0..2).flat_map(|point| (1..4).map(move |seed| format!("runs/p{point}-s{seed}.json"))));
    for file in &files {
        assert_eq!(read(at(&format!("whole/{file}"))), read(at(&format!("merged/{file}"))), "{file}");
    }
    assert_eq!(std::fs::read_dir(at("merged/runs")).expect("runs").count(), 6);
    complains(&sim(&["merge", &at("merged/runs"), "--out", &at("x")]), &["holds no sweep"]);
    said(&small("sweep", &[&ANYHOW[..], &["--seeds", "1", "--out", &at("other")]].concat()), 0);
    complains(&sim(&["merge", &at("one"), &at("other"), "--out", &at("x")]), &["another sweep"]);
}

/// Invariant 2 of cli::sweep.
#[test]
fn a_sweep_keeps_what_is_done_and_goes_on_from_there() {
    let (_place, at) = place();
    // The second run's result cannot be written, so the sweep ends there; the first is kept.
    std::fs::create_dir_all(at("swept/runs/p0-s2.json")).expect("a directory in the way");
    complains(&sweep(&at("swept"), &["--jobs", "1"]), &["p0-s2.json"]);
    let kept = at("swept/runs/p0-s1.json");
    assert!(read(&kept).contains("\"seed\": 1"));
    // A run that is kept is taken as it is, and an incomplete one is made again.
    let marked = read(&kept).replacen("\"sent\": ", "\"sent\": 1000", 1);
    std::fs::write(&kept, &marked).expect("written");
    std::fs::remove_dir(at("swept/runs/p0-s2.json")).expect("nothing in the way");
    std::fs::write(at("swept/runs/p0-s3.json"), "{\"scen").expect("written");
    let told = json(&sweep(&at("swept"), &["--json"]), 0);
    assert_eq!(told["points"][0]["runs"], 3);
    assert_eq!(read(&kept), marked);
    let other = small("sweep", &[&ANYHOW[..], &["--seeds", "1..4", "--out", &at("swept")]].concat());
    complains(&other, &["another sweep", "choose another --out"]);
}

#[test]
fn a_sweep_tells_which_expectations_were_missed_how_often() {
    let (_place, at) = place();
    let what = ["--seeds", "1..6", "--set", "expect=[\"sent > 0\", \"latency.p50[flow=readings] <= 1ms\"]"];
    let out = at("missed");
    let told = json(&small("sweep", &[&what[..], &["--out", &out, "--json"]].concat()), 2);
    let point = &told["points"][0];
    assert_eq!((&point["passed"], &point["runs"]), (&Value::from(0), &Value::from(6)));
    assert_eq!((&point["expectations"][0]["held"], &point["expectations"][1]["held"]), (&6.into(), &0.into()));
    let estimate = &point["metrics"]["latency.p50[flow=readings]"];
    let figure = |at: &Value| at.as_f64().expect("a figure");
    // Of six, the interval goes from the least to the most.
    assert_eq!(figure(&estimate["interval"][0]), figure(&estimate["least"]));
    assert!(figure(&estimate["least"]) < figure(&estimate["median"]));
    let people = said(&small("sweep", &[&what[..], &["--out", &out]].concat()), 2);
    for word in ["0 of 6 passed", "latency.p50[flow=readings] <= 1ms: in 6 of 6 runs", "--seed 1", "95 % INTERVAL"] {
        assert!(people.contains(word), "{word} in {people}");
    }
    // A table of eight fields, whatever is within the quotes.
    let table = read(at("missed/sweep.csv"));
    let line = table.lines().find(|line| line.contains("\"latency.p50[flow=readings]\"")).expect("a line");
    assert!(line.contains("expect=[\"\"sent > 0\"\""), "{line}");
    assert_eq!(line.rsplit("\",").next().map(|figures| figures.split(',').count()), Some(6));
}

#[test]
fn a_run_that_fails_is_told_and_the_sweep_goes_on() {
    let (_place, at) = place();
    // Input from a pipe is gone when the runs read it.
    let mut sweep = command(&["sweep", "/dev/stdin", "--seeds", "1..2", "--out", &at("piped"), "--json"]);
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/baseline-50.toml");
    let mut process = sweep
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    let mut input = process.stdin.take().expect("its input");
    std::io::Write::write_all(&mut input, read(scenario).as_bytes()).expect("written");
    drop(input);
    let output = process.wait_with_output().expect("it ends");
    let told = json(&output, 1);
    assert_eq!((&told["failed"][0]["run"], &told["failed"][1]["run"]), (&"p0-s1".into(), &"p0-s2".into()));
    assert!(told["failed"][0]["error"].as_str().is_some_and(|error| error.contains("question")), "{told}");
    assert_eq!(text(&output.stderr).lines().count(), 2);
}

#[test]
fn a_comparison_shows_what_a_setting_does() {
    let (_place, at) = place();
    let page = at("compared.html");
    let what = ["--vary", "bearers.lan.delay=5ms,200ms", "--json", "--report", &page];
    let told = json(&small("compare", &[&ANYHOW[..], &what].concat()), 0);
    let of = |metric: &str| {
        let differences = told["differences"].as_array().expect("differences");
        differences.iter().find(|difference| difference["metric"] == metric).expect("the metric").clone()
    };
    let latency = of("latency.p50");
    assert_eq!((&latency["point"], &latency["apart"]), (&Value::from(1), &Value::Bool(true)));
    assert!(latency["relative"].as_f64().is_some_and(|relative| relative > 5.0), "{latency}");
    let sent = of("sent");
    assert_eq!((sent["difference"].as_f64(), &sent["apart"]), (Some(0.0), &Value::Bool(false)));
    let page = read(&page);
    assert!(page.contains("bearers.lan.delay=200ms") && !page.contains("src=") && !page.contains("href="));
    let one = small("compare", &["--vary", "duration=2m", "--seeds", "1"]);
    complains(&one, &["one variant", "two values or more"]);
}

#[test]
fn a_calibration_without_a_lab_leaves_nothing_behind() {
    let (place, _) = place();
    let temporary = place.path();
    // Not there; and a program that is no node.
    for program in ["/no/such/program", env!("CARGO_BIN_EXE_m2mesh-sim")] {
        let mut calibrate = command(&["calibrate", "--m2mesh", program]);
        complains(&calibrate.env("TMPDIR", temporary).output().expect("the simulator starts"), &["what to do:"]);
        assert_eq!(std::fs::read_dir(temporary).expect("a directory").count(), 0);
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    for verb in ["run", "lab", "replay", "sweep", "merge", "compare", "calibrate", "linkage"] {
        let help = said(&sim(&[verb, "--help"]), 0);
        assert!(help.contains(&format!("Example: m2mesh-sim {verb} ")) && help.contains("--json"), "{help}");
    }
}

#[test]
fn what_a_device_costs_in_a_month_is_in_the_table_and_in_the_report() {
    let (_place, at) = place();
    let ends = ["--set", "duration=10m", "--set", "traffic.readings.end=10m"];
    let short = [&["run", "wellheads", "--set", "expect=[]"][..], &ends].concat();
    let page = at("month.html");
    let told = json(&sim(&[&short[..], &["--report", &page, "--json"]].concat()), 0);
    let measured = |name: &str| told["metrics"][name].as_f64().expect(name);
    // The base and the three heads have links with a price; the first two minutes are not measured.
    let month = 30.0 * 86_400.0 / (told["virtual_s"].as_f64().expect("a time") - 120.0);
    let expected = measured("cost.total") * month / 4.0;
    assert!(expected > 0.0 && (measured("cost.month") / expected - 1.0).abs() < 0.01, "{expected} of {told}");
    let parts = measured("cost.month.payload") + measured("cost.month.control");
    assert!((parts / measured("cost.month") - 1.0).abs() < 1e-6, "{parts}");
    let table = said(&sim(&short), 0);
    for name in ["cost.month", "cost.month.control"] {
        assert!(table.lines().any(|line| line.split_whitespace().any(|word| word == name)), "{name} in {table}");
        assert!(read(&page).contains(name), "{name} in the report");
    }
}

#[test]
fn a_fault_that_strikes_nothing_fails_the_run() {
    let (_place, at) = place();
    let file = at("line.toml");
    let run = |faults: &str| {
        let text = format!(
            r#"
question = "Does the fault do anything?"
duration = "1m"
settle = "30s"
expect = []
[bearers.lan]
delay = "10ms"
[devices.node]
count = 3
placement = "line"
[[links]]
kind = "line"
[[traffic]]
name = "through"
kind = "send"
from = ["node-1"]
to = ["node-3"]
every = "2s"
deadline = "30s"
{faults}"#
        );
        std::fs::write(&file, text).expect("it is written");
        sim(&["run", &file, "--json"])
    };
    let hole = |device: &str| {
        let span = "at = \"10s\"\nfor = \"20s\"";
        format!(
            "[[faults]]\nname = \"hole\"\nkind = \"hostile\"\nhow = \"blackhole\"\ndevices = \"{device}\"\n{span}\n"
        )
    };
    // The device in the middle forwards messages; the one at the end has none to forward.
    let check = |summary: &Value| {
        let checks = summary["checks"].as_array().expect("checks").clone();
        checks.into_iter().find(|check| check["name"] == "faults-strike").expect("it is there")
    };
    let passes = json(&run(&hole("node-2")), 0);
    assert_eq!((check(&passes)["looked"].as_u64(), check(&passes)["violated"].as_u64()), (Some(1), Some(0)));
    let fails = json(&run(&hole("node-1")), 2);
    assert_eq!(check(&fails)["violated"], 1);
    assert!(check(&fails)["examples"][0].as_str().expect("an example").contains("hole"), "{}", check(&fails));
}
