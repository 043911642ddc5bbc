//! Tests of radios, prices and batteries in scenarios, and of expectations of them.

use super::tests::{FLOW, RING, loaded, says, small};
use super::*;
use crate::plan::Bursts;
use m2mesh::net::emulation::Recovery;
use std::time::Duration;

const RADIO: &str = "[bearers.radio]\nchannel = \"50kbit\"\nreach = 900.0\n";

/// Plans a scenario whose links are over `radio`, with `more` at that bearer.
fn over(more: &str) -> Result<Plan, Problem> {
    loaded(&small(&format!("{RADIO}{more}{RING}bearer = \"radio\"\n{FLOW}")), &[], &[])
}

#[test]
fn a_bearer_has_prices_bursts_collisions_and_takes_energy() {
    let plan = over(
        "price_packet = 0.06\nmtu = 140\ncollisions = \"80%\"\ntransmit = \"4uJ\"\nreceive = \"2uJ\"\nbursts = { good = \"10s\", bad = \"300ms\", loss = 1 }\nsetup = \"60s\"\nkeep_alive = \"6h\"\n",
    );
    let plan = plan.expect("sound");
    let radio = &plan.bearers[1];
    assert_eq!((radio.price_packet, radio.collisions, radio.metered), (0.06, Some(0.8), true));
    assert_eq!([radio.transmit, radio.receive].map(|joules| (joules * 1e9).round()), [4_000.0, 2_000.0]);
    // Six microjoules for a byte are six joules for a megabyte.
    assert_eq!(radio.energy, 6_000);
    let bursts = Bursts { good: Duration::from_secs(10), bad: Duration::from_millis(300), loss: 1.0 };
    assert_eq!(radio.bursts, Some(bursts));
    assert_eq!(radio.transport, Recovery::Tcp);
    assert_eq!(over("transport = \"quic\"\n").expect("sound").bearers[1].transport, Recovery::Quic);
    let patience = [radio.setup, radio.keep_alive].map(|time| time.map(|time| time.as_secs()));
    assert_eq!(patience, [Some(60), Some(6 * 3_600)]);
    let told = over("energy = 500\n").expect("sound");
    assert!((told.bearers[1].transmit - 500e-9).abs() < 1e-15 && told.bearers[1].receive == 0.0);
    for (more, parts) in [
        ("price_packet = -1.0\n", &["x.toml:10: the price is -1", "what a packet costs"][..]),
        ("transmit = \"4\"\n", &["x.toml:10:", "write an energy"]),
        ("bursts = { good = \"10s\", bad = \"300ms\", loss = 0 }\n", &["x.toml:10: nothing is lost in these bursts"]),
        ("bursts = { good = \"1ns\", bad = \"1ns\", loss = 1 }\n", &["x.toml:10: there would be more than"]),
        ("transport = \"udp\"\n", &["x.toml:10:", "unknown word `udp`"]),
        ("bursts = { good = \"10s\", bda = \"300ms\", loss = 1 }\n", &["x.toml:10: unknown key `bda`"]),
    ] {
        says(over(more), parts);
    }
    let nowhere = small(&format!("[bearers.radio]\ncollisions = 1\nreach = 9.0\n{RING}bearer = \"lan\"\n{FLOW}"));
    says(loaded(&nowhere, &[], &[]), &["x.toml:8: nothing says whose frames collide", "`channel`"]);
}

#[test]
fn a_line_may_take_ten_seconds() {
    let plan = over("delay = \"2s..10s\"\n").expect("as far as a narrow-band network");
    let delays: Vec<Duration> = plan.edges.iter().map(|edge| edge.shapes[0].delay).collect();
    let within = Duration::from_secs(2)..=Duration::from_secs(10);
    assert!(delays.iter().all(|delay| within.contains(delay)) && delays.iter().any(|delay| delay.as_secs() >= 3));
    says(over("delay = \"2m\"\n"), &["at most 60 s"]);
}

#[test]
fn a_group_has_power_and_a_battery() {
    let powered = |more: &str| loaded(&small(&format!("{more}{RING}{FLOW}")), &[], &[]);
    let device = |more: &str| powered(more).expect(more).devices[3].clone();
    let meter = device("battery = \"2Wh\"\npower = { awake = \"60mW\", asleep = \"15mW\" }\n");
    assert_eq!((meter.battery, meter.power), (Some(7_200.0), [0.06, 0.015]));
    assert_eq!(device("power = { awake = \"5W\" }\n").power, [5.0, 5.0]);
    assert_eq!((device("").power, device("").battery), ([0.0; 2], None));
    says(powered("battery = \"0J\"\n"), &["x.toml:7: the battery is empty", "mains"]);
    says(powered("power = \"5W\"\n"), &["x.toml:7:"]);
}

#[test]
fn expectations_name_bearers_groups_and_devices() {
    let expecting =
        |text: &str| loaded(&format!("expect = [\"{text}\"]\n{}", small(&format!("{RING}{FLOW}"))), &[], &[]);
    for (text, key) in [
        ("cost[bearer=lan] <= 0.3", "cost[bearer=lan]"),
        ("bytes[device=node-3] <= 1MB", "bytes[device=node-3]"),
        ("bytes.share[bearer=lan] >= 90%", "bytes.share[bearer=lan]"),
        ("bytes.device.max[group=node] <= 10kB", "bytes.device.max[group=node]"),
        ("bytes[class=telemetry] > 0", "bytes[class=telemetry]"),
        ("energy.total <= 3kJ", "energy.total"),
        ("battery.life[group=node] >= 3650d", "battery.life[group=node]"),
    ] {
        assert_eq!(expecting(text).expect(text).expectations[0].metric, key);
    }
    for (text, parts) in [
        ("cost[bearer=lna] <= 1", &["there is no bearer `lna`", "did you mean `lan`?"][..]),
        ("bytes[device=node-9] > 0", &["there is no device `node-9`"]),
        ("bytes.device.max[device=node-1] > 0", &["is not measured by `device`", "`group`"]),
        ("delivered[bearer=lan] == 1", &["`delivered` is not measured by `bearer`", "`class`"]),
        ("energy.total <= 3", &["write an energy"]),
        ("bytes[class=alarm] > 0", &["no flow sends with class `alarm`"]),
    ] {
        says(expecting(text), parts);
    }
}
