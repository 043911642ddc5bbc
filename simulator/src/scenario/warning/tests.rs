//! Tests of the warnings: each beside the nearest scenario without one.

use super::Warning;
use crate::record::Source;
use crate::scenario::{SHIPPED, from_source, load, small};
use std::path::Path;

const FLOW: &str = "[[traffic]]\nname = \"readings\"\nkind = \"send\"\nfrom = \"meter\"\nto = \"gateway\"\nevery = \"5s\"\ndeadline = \"30s\"\n";
const LINKS: &str = "[[links]]\nkind = \"line\"\n";

/// Returns the warnings of a meter and a gateway that a line links over `radio`; `bearer` is added to that bearer,
/// `more` to the scenario.
fn warned(expect: &str, bearer: &str, more: &str) -> Vec<Warning> {
    of(&format!(
        "question = \"Does it work?\"\nduration = \"1m\"\nexpect = [{expect}]\n[realm]\nstart = \"2026-01-05T12:00:00Z\"\n[bearers.radio]\n{bearer}\n[devices.meter]\nplacement = {{ at = [0, 0] }}\n[devices.gateway]\nplacement = {{ at = [0, 500] }}\n{LINKS}{FLOW}{more}"
    ))
}

fn of(text: &str) -> Vec<Warning> {
    let source = Source { file: "x.toml".into(), text: text.into(), ..Source::default() };
    let loaded = from_source(&source).expect("it reads");
    loaded.warnings(&loaded.plan(None).expect("it is sound"))
}

/// Checks that there is one warning, which contains each of the parts.
#[track_caller]
fn says(warnings: &[Warning], parts: &[&str]) {
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    let text = format!("{}\n{}", warnings[0].warning, warnings[0].hint);
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}

#[test]
fn no_shipped_scenario_has_a_warning_in_full_and_in_its_small_form() {
    for (name, _) in SHIPPED {
        let form = small(&[(*name).to_owned()]).expect("it has a small form").remove(0);
        for set in [&[][..], &form.set[..]] {
            let loaded = load(Path::new(name), set).expect(name);
            let plan = loaded.plan(None).expect(name);
            assert_eq!(loaded.warnings(&plan), [], "{name} {set:?}");
        }
    }
}

#[test]
fn devices_that_never_come_within_reach_of_each_other_are_told() {
    let far = warned("", "reach = 400.0", "");
    says(&far, &["x.toml:14: the flow `readings` never finds a way from meter-1 to gateway-1", "400 m", "500 m"]);
    assert_eq!(warned("", "reach = 500.0", ""), []);
    // A device that passes a bend of the road comes as near as the road does, whatever the ends of its legs are.
    let road = |north: u32| {
        of(&format!(
            "question = \"Does it work?\"\nduration = \"2m\"\n[bearers.radio]\nreach = 100.0\n[devices.mast]\nplacement = {{ at = [500, 0] }}\n[devices.car]\nmobility = {{ kind = \"route\", points = [[0, {north}], [1000, {north}]], speed = 10 }}\n{LINKS}[[traffic]]\nname = \"fixes\"\nkind = \"send\"\nfrom = \"car\"\nto = \"mast\"\nevery = \"5s\"\n"
        ))
    };
    assert_eq!(road(90), []);
    says(&road(130), &["from car-1 to mast-1", "nearer than 130 m"]);
}

#[test]
fn a_bearer_that_is_closed_throughout_links_nobody() {
    let closed = warned("", "windows = [\"13:00-14:00\"]", "");
    says(&closed, &["never finds a way from meter-1 to gateway-1", "a window of [bearers.radio]"]);
    assert_eq!(warned("", "windows = [\"11:00-12:01\"]", ""), []);
    assert_eq!(warned("", "windows = [\"22:00-12:01\"]", ""), []);
    says(&warned("", "windows = [\"22:00-11:59\"]", ""), &["a window of [bearers.radio]"]);
}

#[test]
fn subscribers_and_receivers_that_nobody_reaches_are_told() {
    let group = "[devices.island]\ncount = 2\n[[links]]\nkind = \"line\"\nbetween = \"island\"\n";
    let links = "[[links]]\nkind = \"line\"\nbetween = [\"meter\", \"gateway\"]\n";
    let with = |to: &str, kind: &str| {
        of(&format!(
            "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.lan]\n[devices.meter]\n[devices.gateway]\n{group}{links}[[traffic]]\nname = \"a\"\n{kind}\nfrom = \"meter\"\nto = {to}\nevery = \"5s\"\n"
        ))
    };
    let (send, publish) = ("kind = \"send\"", "kind = \"publish\"\ntopic = \"a/b\"");
    assert_eq!(with("\"gateway\"", send), []);
    assert_eq!(with("\"gateway\"", publish), []);
    says(&with("[\"gateway\", \"island\"]", send), &["meter-1 to island-1, as for 2 of its 3 pairs", "add [[links]]"]);
    says(&with("\"all\"", publish), &["meter-1 to island-1, as for 2 of its 3 pairs"]);
}

#[test]
fn ways_of_more_hops_than_messages_go_are_told() {
    let row = |count: usize| {
        of(&format!(
            "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.lan]\n[devices.node]\ncount = {count}\n[[links]]\nkind = \"line\"\n[[traffic]]\nname = \"a\"\nkind = \"send\"\nfrom = \"node-1\"\nto = \"node-{count}\"\nevery = \"5s\"\n"
        ))
    };
    assert_eq!(row(65), []);
    says(&row(66), &["x.toml:8:", "the flow `a` has 65 hops to go from node-1 to node-66, and messages go 64"]);
}

#[test]
fn links_that_are_too_slow_to_come_up_are_told_and_setup_helps() {
    let cellular =
        |delay: &str, more: &str| warned("", &format!("class = \"cellular\"\ndelay = \"{delay}\"\n{more}"), "");
    assert_eq!(cellular("4s", ""), []);
    let slow = cellular("6s", "");
    let told = |part: &str| slow.iter().any(|Warning { warning, hint }| format!("{warning}; {hint}").contains(part));
    assert!(told("x.toml:8: 1 of the 1 links over `radio` never come up"), "{slow:#?}");
    assert!(told("takes 30s for half of its set-up, and nodes give 20s; write setup = \"38s\""), "{slow:#?}");
    assert!(told("never finds a way from meter-1 to gateway-1"), "{slow:#?}");
    assert_eq!(cellular("6s", "setup = \"38s\""), []);
    // A delay that varies may be shorter, and a link that a fault makes faster comes up then.
    assert_eq!(cellular("6s", "jitter = \"2s\""), []);
    let better = "[[faults]]\nkind = \"degrade\"\nlinks = \"all\"\nat = \"10s\"\nshape = { delay = \"1s\" }\n";
    assert_eq!(warned("", "class = \"cellular\"\ndelay = \"6s\"", better), []);
}

#[test]
fn expectations_that_are_decided_before_the_run_are_told() {
    for (expect, parts) in [
        ("delivered >= 0", "no value could miss `delivered >= 0`: it is a share"),
        ("delivered[flow=readings] <= 100%", "no value could miss"),
        ("delivered > 1", "no value could hold `delivered > 1`: it is a share"),
        ("delivered < 0", "no value could hold"),
        ("counter.data_looped >= 0", "no value could miss `counter.data_looped >= 0`: it is never less than 0"),
        (
            "latency.p99 <= 5m",
            "no value could miss `latency.p99 <= 5m`: nothing is handed over after its deadline, 30s",
        ),
        ("latency.p50[class=telemetry] >= 40s", "no value could hold"),
        ("confirmation.p99 <= 1h", "no value could miss `confirmation.p99 <= 1h`: the whole run takes 2m 30s"),
        ("converged <= 30s", "there are no faults"),
        ("cost.total <= 1", "no value could miss `cost.total <= 1`: no bearer has a price"),
        ("cost.total > 0", "no value could hold"),
        ("radio.faded == 0", "no bearer has `bursts`"),
        ("latency.p50 <= latency.p50", "a metric with itself"),
    ] {
        let warnings = warned(&format!("\"{expect}\""), "", "");
        says(&warnings, &["x.toml:3: ", parts]);
    }
    let held = "\"delivered == 1\", \"delivered > 0\", \"latency.p99 <= 30s\", \"latency.p99 <= 2s\", \"duplicates == 0\", \"latency.p50 <= latency.p99\"";
    assert_eq!(warned(held, "", ""), []);
    assert_eq!(warned("\"cost.total <= 1\", \"cost.total > 0\"", "price = 1.0", ""), []);
    // One of several alternatives.
    says(&warned("{ any = [\"delivered == 1\", \"sent >= 0\"] }", "", ""), &["no value could miss `sent >= 0`"]);
    // Deadlines are judged by clocks, and faults heal.
    let crash = "[[faults]]\nkind = \"crash\"\ndevices = \"gateway\"\nat = \"10s\"\nfor = \"5s\"\n";
    let step = "[[faults]]\nkind = \"clock-step\"\ndevices = \"gateway\"\nat = \"10s\"\nby = \"-90s\"\n";
    assert_eq!(warned("\"converged <= 30s\"", "", crash), []);
    assert_eq!(warned("\"latency.p99 <= 2m\"", "", step), []);
}

#[test]
fn faults_that_cannot_strike_are_told() {
    let fault = |more: &str| warned("", "", &format!("[[faults]]\n{more}\n"));
    let seldom = fault("kind = \"crash\"\ndevices = \"gateway\"\nrate = \"0.001/d\"\nfor = \"1s\"");
    says(&seldom, &["x.toml:21: this fault is not drawn to strike once with the seed 1", "raise its `rate`"]);
    assert_eq!(fault("kind = \"crash\"\ndevices = \"gateway\"\nrate = \"10/min\"\nfor = \"1s\""), []);
    says(
        &fault("kind = \"degrade\"\nlinks = \"all\"\nat = \"1s\"\nshape = { loss = 0 }"),
        &["its links behave so already"],
    );
    assert_eq!(fault("kind = \"degrade\"\nlinks = \"all\"\nat = \"1s\"\nshape = { loss = 0.1 }"), []);
    says(&fault("kind = \"overload\"\nflow = \"readings\"\nat = \"1s\"\nfactor = 1"), &["as much as always"]);
    assert_eq!(fault("kind = \"overload\"\nflow = \"readings\"\nat = \"1s\"\nfactor = 2"), []);
    says(
        &fault("kind = \"hostile\"\nhow = \"drop\"\nshare = 0\ndevices = \"gateway\"\nat = \"1s\""),
        &["drops nothing"],
    );
    let empty = "kind = \"battery-empty\"\ndevices = \"gateway\"\nat = \"10s\"\n[[faults]]\nkind = \"crash\"\ndevices = \"gateway\"\nfor = \"1s\"\n";
    says(
        &fault(&format!("{empty}at = \"20s\"")),
        &["x.toml:25: the fault `crash gateway` does nothing", "are empty by then"],
    );
    assert_eq!(fault(&format!("{empty}at = \"5s\"")), []);
}

#[test]
fn a_cut_of_links_that_never_stand_and_an_overload_of_a_flow_that_is_over_are_told() {
    let near = "[[links]]\nkind = \"line\"\n";
    let with = |links: &str, at: &str| {
        of(&format!(
            "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.near]\nreach = 10.0\n[bearers.wire]\n[devices.node]\ncount = 2\nplacement = \"line\"\n{near}bearer = \"near\"\n{near}bearer = \"wire\"\n{FLOW_OF_NODES}[[faults]]\nkind = \"cut\"\nlinks = \"all\"\n{links}\nat = \"1s\"\n[[faults]]\nkind = \"overload\"\nflow = \"a\"\nfactor = 3\nat = \"{at}\"\n"
        ))
    };
    assert_eq!(with("bearer = \"wire\"", "20s"), []);
    says(&with("bearer = \"near\"", "20s"), &["x.toml:22: the fault `cut node-1–node-2` does nothing", "ever stands"]);
    says(&with("bearer = \"wire\"", "40s"), &["its flow sends nothing then"]);
}

const FLOW_OF_NODES: &str =
    "[[traffic]]\nname = \"a\"\nkind = \"send\"\nfrom = \"node-1\"\nto = \"node-2\"\nevery = \"5s\"\nend = \"30s\"\n";
