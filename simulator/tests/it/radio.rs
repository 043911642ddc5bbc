//! Radios, prices and batteries in runs: collisions, bursts of loss, empty batteries, and costs.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::process::Command;
use tempfile::TempDir;

/// Two senders far from each other, each with a link to a sink, over a slow channel.
const CHANNEL: &str = r#"
question = "?"
warmup = "5s"
duration = "90s"
settle = "60s"
[bearers.radio]
delay = "5ms"
channel = "40kbit"
reach = 100.0
CHANGES
[devices.sink]
placement = { at = [90.0, 0.0] }
[devices.left]
placement = { at = [0.0, 0.0] }
forwarding = false
[devices.right]
placement = { at = [PLACE, 0.0] }
forwarding = false
[[links]]
kind = "hub"
hub = "sink"
[[traffic]]
name = "readings"
kind = "send"
from = ["left", "right"]
to = "sink"
rate = "1/s"
size = 400
"#;

fn run(text: &str) -> Value {
    let place = TempDir::new().expect("a directory");
    let file = place.path().join("radio.toml");
    std::fs::write(&file, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim")).arg("run").arg(&file).arg("--json").output();
    let output = output.expect("the simulator starts");
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let broken = told["checks"].as_array().into_iter().flatten().find(|check| check["violated"] != 0);
    assert!(broken.is_none(), "{broken:?}");
    told
}

fn metric(told: &Value, name: &str) -> f64 {
    told["metrics"][name].as_f64().unwrap_or_else(|| panic!("{name} was not measured"))
}

fn channel(changes: &str, place: f64) -> Value {
    run(&CHANNEL.replace("CHANGES", changes).replace("PLACE", &place.to_string()))
}

#[test]
fn hidden_senders_collide_and_those_that_hear_each_other_do_not() {
    let collide = "collisions = 1";
    let (hidden, heard) = (channel(collide, 180.0), channel(collide, 50.0));
    assert!(metric(&hidden, "radio.collided") > 20.0, "{}", metric(&hidden, "radio.collided"));
    assert_eq!(metric(&heard, "radio.collided"), 0.0);
    assert_eq!([metric(&hidden, "delivered"), metric(&heard, "delivered")], [1.0; 2]);
    assert_eq!(channel(collide, 180.0)["trace"], hidden["trace"]);
}

#[test]
fn bursts_of_loss_hold_messages_up_and_lose_none() {
    let bursts = channel("bursts = { good = \"5s\", bad = \"500ms\", loss = 1 }", 50.0);
    let calm = channel("", 50.0);
    assert!(metric(&bursts, "radio.faded[bearer=radio]") > 10.0);
    assert_eq!([metric(&bursts, "delivered"), metric(&calm, "radio.faded")], [1.0, 0.0]);
    let longest = |told| metric(told, "latency.max");
    assert!(longest(&bursts) > longest(&calm) + 0.1, "{} {}", longest(&bursts), longest(&calm));
}

#[test]
fn a_battery_that_is_empty_takes_its_device_away_and_packets_cost_each() {
    let text = CHANNEL
        .replace("CHANGES", "price_packet = 0.06\nmtu = 140\ntransmit = \"100uJ\"\nreceive = \"50uJ\"")
        .replace("PLACE", "50.0")
        .replace("[devices.right]", "battery = \"3J\"\npower = { awake = \"50mW\" }\n[devices.right]");
    let expect = "expect = [\"cost[device=left-1] > 0\", \"energy.total[device=left-1] > 0J\", \"battery.life[group=left] <= 90s\", \"battery.empty == 1\"]\n";
    let told = run(&format!("{expect}{text}"));
    let held = told["expectations"].as_array().expect("a list").iter().all(|verdict| verdict["held"] == true);
    assert!(held && told["passed"] == true, "{:?}", told["expectations"]);
    // It takes at least its power, and at most the contents of its battery plus the energy of a second.
    let (taken, life) = (metric(&told, "energy.total[device=left-1]"), metric(&told, "battery.life[group=left]"));
    assert!((3.0..4.0).contains(&taken) && (10.0..60.0).contains(&life), "{taken} {life}");
    assert_eq!(metric(&told, "battery.min"), 0.0);
    // Every packet costs the same, and holds at most 140 bytes.
    let (cost, bytes) = (metric(&told, "cost[bearer=radio]"), metric(&told, "bytes[bearer=radio]"));
    let packets = cost / 0.06;
    assert!((packets - packets.round()).abs() < 1e-6 && packets * 140.0 >= bytes, "{packets} {bytes}");
    let by_device: f64 =
        ["left", "right", "sink"].iter().map(|group| metric(&told, &format!("cost[group={group}]"))).sum();
    assert!((by_device - cost).abs() < 1e-6 && (metric(&told, "cost.total") - cost).abs() < 1e-6);
    assert_eq!(metric(&told, "bytes"), metric(&told, "bytes.total"));
    assert!(metric(&told, "bytes[class=telemetry]") > 10_000.0);
}
