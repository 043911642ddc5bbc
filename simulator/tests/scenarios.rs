//! Every shipped scenario in a small form, each in a process of its own: its expectations hold, and no check is violated.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Each with the settings that make it small.
const SMALL: &[(&str, &[&str])] = &[
    ("baseline-50", &["devices.node.count=16", "duration=3m"]),
    ("cold-boot-200", &["devices.node.count=24", "duration=1m"]),
    ("full-mesh-40", &["devices.node.count=12", "devices.node.looks_for=11", "duration=3m"]),
    ("partition-heal", &["devices.node.count=14", "faults.0.for=2m", "duration=6m"]),
    ("lossy-asymmetric", &["duration=7m"]),
    ("site-power-cut", &["duration=11m"]),
    ("crash-storm", &["duration=2m"]),
    ("verdict-storm", &["duration=3m"]),
    ("flapping-link", &["duration=9m"]),
    ("narrowband", &["duration=15m"]),
    ("overload-10x", &["devices.meter.count=4", "duration=7m"]),
    ("scale-ladder", &["devices.node.count=20", "links.0.degree=6", "duration=40s"]),
    // Credentials for a quarter of the time still end, and are renewed.
    (
        "soak-7d",
        &[
            "realm.epochs=4",
            "duration=6h",
            "traffic.news.rate=8/d",
            "faults.0.rate=12/d",
            "faults.1.at=1h",
            "faults.1.for=3h",
        ],
    ),
    ("multi-hop-line", &["devices.node.count=12", "duration=2m"]),
    ("grid-49", &[]),
    ("router-ladder", &["devices.node.count=24", "devices.node.area=[900.0, 900.0]", "duration=1m"]),
    (
        "router-areas",
        &[
            "devices.a.count=6",
            "devices.b.count=6",
            "devices.c.count=6",
            "devices.d.count=6",
            "bearers.radio.reach=1000",
            "duration=1m",
        ],
    ),
    (
        "mesh-300",
        &["devices.node.count=30", "devices.node.area=[1000.0, 1000.0]", "duration=2m", "expect.2=hops.mean > 1"],
    ),
    ("repair-ring", &["duration=12m", "traffic.all.every=2m", "traffic.across.every=2s"]),
    ("policy-contrast", &["duration=5m"]),
    ("cheap-link-appears", &[]),
    (
        "quota-ends",
        &["duration=2h", "traffic.readings.every=4s", "bearers.plan.quota.bytes=500kB", "expect.5=cost.payload > 0"],
    ),
    ("blackhole-relay", &["duration=6m", "traffic.through.every=2s"]),
    ("replaying-relays", &["duration=2m", "faults.replay.for=110s"]),
    ("lying-router", &["duration=4m"]),
    ("multicast-grid", &["duration=4m", "faults.row.at=90s", "faults.row.for=1m"]),
    ("multicast-star", &["devices.leaf.count=16", "duration=1m", "traffic.news.total=240"]),
    ("multicast-flood", &["traffic.flood.burst.count=100", "duration=2m", "traffic.flood.end=90s"]),
    (
        "multicast-churn",
        &["devices.node.count=20", "devices.node.area=[800.0, 800.0]", "duration=2m", "traffic.news.total=240"],
    ),
    (
        "groups-1000",
        &["traffic.news.topic=zone-{1..40}/news", "traffic.news.every=1s", "expect.0=publications.owed >= 400"],
    ),
    ("slow-links", &["duration=1m"]),
    ("leaves-1000", &["devices.router.count=6", "links.0.degree=3", "devices.leaf.count=40", "duration=2m"]),
    ("mobile-fleet", &["devices.vehicle.count=3", "duration=8m"]),
    ("far-links", &[]),
    (
        "wellheads",
        &[
            "realm.start=\"2026-01-05T12:00:00Z\"",
            "duration=2h30m",
            "traffic.readings.end=1h",
            "traffic.readings.deadline=1h",
            "expect.5=cost.message[flow=readings] <= 0.06",
        ],
    ),
];

fn sim(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim")).args(arguments).output().expect("the simulator starts");
    let told = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), told)
}

#[test]
fn every_shipped_scenario_holds_in_a_small_form() {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = |(name, settings): &(&str, &[&str])| {
        let mut arguments = vec!["run", name, "--json"];
        settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
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
                while let Some(scenario) = SMALL.get(next.fetch_add(1, Relaxed)) {
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
    let mut above: Vec<String> = SMALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    listed.sort();
    above.sort();
    assert_eq!(listed, above);
}
