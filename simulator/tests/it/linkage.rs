//! `linkage`: a small network whose pseudonyms rotate, and what observers make of it.

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Eight devices for four epochs of a minute.
const SMALL: [&str; 7] = ["baseline-50", "--seed", "3", "--set", "devices.node.count=8", "--set", "links.0.degree=4"];
/// What the verb itself sets.
const ROTATING: [&str; 4] = ["realm.epoch=60s", "realm.epochs=7", "duration=149000ms", "realm.anonymity=rotating"];

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.args(arguments).stdin(Stdio::null()).output().expect("the simulator starts")
}

#[track_caller]
fn said(output: &Output, codes: &[i32]) -> String {
    let code = output.status.code().expect("it ends by itself");
    let [told, error] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(codes.contains(&code), "{code}: {told}{error}");
    if code == 1 { error } else { told }
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_str(&said(output, &[0, 2])).expect("one JSON object")
}

/// Returns what an observer has found under a condition.
#[track_caller]
fn found<'a>(told: &'a Value, observer: &str, condition: &str) -> Vec<&'a Value> {
    let observers = told["observers"].as_array().expect("observers");
    let one = observers.iter().find(|one| one["observer"] == observer).expect("the observer");
    let findings = one["findings"].as_array().expect("findings");
    findings.iter().filter(|finding| finding["condition"] == condition).collect()
}

#[test]
fn a_rotating_network_is_observed_and_looked_at_again() {
    let place = tempfile::tempdir().expect("a directory");
    let kept = place.path().join("kept.json");
    let kept = kept.to_str().expect("a path in UTF-8");
    let what = ["--epoch", "1min", "--epochs", "4", "--leaves", "25%", "--keep", kept, "--json"];
    let told = json(&sim(&[&["linkage"][..], &SMALL, &what].concat()));
    assert_eq!((&told["devices"], &told["leaves"], &told["epochs"]), (&8.into(), &2.into(), &4.into()));
    // In a network of this size every device has a card of every other, and follows it.
    assert_eq!(told["contacts"], serde_json::json!({ "pairs": 56, "followed": 56 }));
    let wire = found(&told, "wire", "shipped");
    let devices: u64 = wire.iter().filter_map(|finding| finding["devices"].as_u64()).sum();
    assert_eq!((devices, wire.len()), (8, 2), "routers and leaves: {wire:?}");
    for finding in &wire {
        assert_eq!(finding["seen_from"], "wire");
        assert_eq!(finding["seen"], 1.0, "each device has another pseudonym in each epoch: {finding}");
        assert_eq!(finding["top1"], 1.0, "addresses stay: {finding}");
        assert_eq!(finding["chance"], 0.125);
        let [bits, most] = ["bits", "bits_most"].map(|name| finding[name].as_f64().expect("a number"));
        assert!(bits < most && most == 3.0, "{finding}");
    }
    let members = found(&told, "members:10%", "other address");
    assert_eq!(members.iter().filter_map(|finding| finding["devices"].as_u64()).sum::<u64>(), 7, "{members:?}");
    let contact = told["observers"].as_array().and_then(|all| all.last()).expect("a contact");
    assert_eq!(
        (&contact["contacts"], &contact["own"], &contact["findings"]),
        (&7.into(), &1.into(), &Value::Array(vec![]))
    );
    // What was kept says the same, without another run, to people as well.
    let again = json(&sim(&["linkage", kept, "--json"]));
    assert_eq!((&again["observers"], &again["trace"]), (&told["observers"], &Value::Null));
    let people = said(&sim(&["linkage", kept, "--observer", "wire", "--observer", "members:40%"]), &[0, 2]);
    for word in ["TOP-1", "leaf by wire", "members:40%", "hidden links", "56 of 56 pairs", "epochs of 1m", "answer"] {
        assert!(people.contains(word), "{word} in {people}");
    }
}

/// The onlooker changes nothing: the bytes on every wire are those of a run without it.
#[test]
fn what_is_observed_is_the_run_that_would_have_been() {
    let observed = ["--epoch", "1min", "--epochs", "4", "--observer", "contact", "--json"];
    let told = json(&sim(&[&["linkage"][..], &SMALL, &observed].concat()));
    let set: Vec<&str> = ROTATING.iter().flat_map(|set| ["--set", set]).collect();
    let run = json(&sim(&[&["run"][..], &SMALL, &set, &["--set", "expect=[]", "--json"]].concat()));
    assert!(told["trace"].is_string());
    assert_eq!(told["trace"], run["trace"]);
}

#[test]
fn what_cannot_be_observed_is_said() {
    let complains = |arguments: &[&str], words: &[&str]| {
        let error = said(&sim(&[&["linkage"][..], arguments].concat()), &[1]);
        assert!(words.iter().all(|word| error.contains(word)), "{words:?} in {error}");
    };
    complains(&["baseline-50", "--observer", "everybody"], &["everybody", "members:10%"]);
    complains(&["baseline-50", "--epochs", "2"], &["2", "4..=100"]);
    complains(&["baseline-50", "--epoch", "10s", "--epochs", "4"], &["warming up", "lengthen --epoch"]);
    complains(&["baseline-50", "--epoch", "7min"], &["an epoch of 7m is none"]);
    complains(&["no-such.json"], &["no-such.json", "check the path"]);
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/control.json");
    complains(&[manifest.to_str().expect("a path in UTF-8")], &["holds nothing observed", "--keep"]);
}
