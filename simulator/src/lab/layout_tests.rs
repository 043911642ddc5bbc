//! Tests of the layout of plans, and of the parts that are refused.

use super::*;
use crate::plan::Bursts;
use crate::record::Source;
use crate::scenario::{from_source, load, small};
use std::path::Path;

fn planned(more: &str) -> Plan {
    expecting("", more)
}

fn expecting(expected: &str, more: &str) -> Plan {
    let text = format!(
        "question = \"?\"\nduration = \"1h\"\nexpect = [{expected}]\n[bearers.lan]\ndelay = \"10ms..20ms\"\nprice = 2.5\n[devices.node]\ncount = 2\n[devices.meter]\ncount = 3\n[[links]]\nkind = \"ring\"\n[[traffic]]\nname = \"readings\"\nkind = \"send\"\nfrom = \"all\"\nto = \"neighbours\"\nevery = \"1m\"\nsize = 100\n{more}"
    );
    let source = Source { file: "x.toml".into(), text, ..Source::default() };
    from_source(&source).and_then(|loaded| loaded.plan(None)).expect(more)
}

fn laid_out(plan: Plan) -> Layout {
    lay_out(plan, None).expect("a lab can")
}

/// Returns the descriptions of the parts that a lab cannot carry out.
fn beyond(plan: Plan) -> Vec<String> {
    laid_out(plan).beyond.iter().map(ToString::to_string).collect()
}

/// Invariant 1.
#[test]
fn a_plan_keeps_its_devices_links_and_flows_under_the_labs_names() {
    let plan = planned("[[faults]]\nkind = \"crash\"\ndevices = \"meter-1\"\nat = \"5m\"\nfor = \"10s\"\n");
    let layout = laid_out(plan.clone());
    assert!(layout.beyond.is_empty(), "{:?}", layout.beyond);
    assert_eq!(layout.names, ["node-1", "node-2", "meter-1", "meter-2", "meter-3"]);
    let called: Vec<&str> = layout.plan.devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(called, ["node-1", "node-2", "node-3", "node-4", "node-5"]);
    assert_eq!((device("node-3"), device("meter-1"), device("node-0")), (Some(2), None, None));
    assert_eq!(layout.plan.faults, plan.faults);
    assert_eq!(layout.plan.edges.len(), 5);
    for (edge, planned) in layout.plan.edges.iter().zip(&plan.edges) {
        assert_eq!((edge.a, edge.b, edge.shapes[0].delay), (planned.a, planned.b, planned.shapes[0].delay));
        assert_eq!(edge.shapes.map(|shape| shape.price), [2_500_000; 2]);
    }
    // In base64 these are the hundred bytes of the scenario.
    assert_eq!((plan.flows[0].size, layout.plan.flows[0].size), (100, 75));
}

#[test]
fn the_measured_time_is_shortened_with_what_would_come_after_it() {
    let fault =
        |at: &str| format!("[[faults]]\nkind = \"crash\"\ndevices = \"node-1\"\nat = \"{at}\"\nfor = \"10s\"\n");
    let plan = planned(&(fault("1m") + &fault("5m")));
    let layout = lay_out(plan.clone(), Some(Duration::from_secs(120))).expect("a lab can");
    assert_eq!((layout.plan.duration.as_secs(), layout.plan.faults.len()), (120, 1));
    let longer = lay_out(plan, Some(Duration::from_secs(7_200))).expect("a lab can");
    assert_eq!((longer.plan.duration.as_secs(), longer.plan.faults.len()), (3_600, 2));
}

/// Invariants 1 and 2.
#[test]
fn what_a_lab_cannot_do_is_named_and_left_out() {
    let mut plan = planned("");
    let first = plan.devices[0].track[0];
    plan.devices[1].track = vec![first; 2];
    plan.devices[2].battery = Some(1.0);
    plan.devices[2].forwarding = false;
    plan.devices[3].forwarding = false;
    plan.devices[4].area = 7;
    plan.bearers[0].quota = Some((1_000, Duration::from_secs(60)));
    plan.bearers[0].bursts = Some(Bursts { good: Duration::from_secs(9), bad: Duration::from_secs(1), loss: 0.5 });
    plan.edges[0].known = false;
    plan.edges[1].shapes[1].rate = Some(10);
    plan.edges.push(Edge { a: plan.edges[2].b, b: plan.edges[2].a, ..plan.edges[2].clone() });
    let layout = laid_out(plan);
    let told: Vec<String> = layout.beyond.iter().map(|beyond| beyond.what.clone()).collect();
    assert_eq!(
        told,
        [
            "node-2 move",
            "meter-1 have batteries",
            "meter-1, meter-2 are leaves",
            "meter-3 are in areas",
            "the bearer lan has a quota",
            "the bearer lan loses in bursts",
            "meter-1–node-2: two devices are linked over several bearers",
            "node-1–node-2: devices find the link by themselves",
            "meter-3–node-1: the line is slower, or loses more, than a lab's links can",
        ]
    );
    // The remaining plan contains none of them.
    assert!(beyond(layout.plan).is_empty());
}

#[test]
fn all_in_one_area_are_as_all_in_the_first() {
    let mut plan = planned("");
    plan.devices.iter_mut().for_each(|device| device.area = 4);
    assert!(beyond(plan).is_empty());
}

#[test]
fn faults_that_need_a_simulation_are_named_once_each_and_others_stay() {
    let at = "at = \"5m\"\nfor = \"10s\"\n";
    let mut faults = String::new();
    for fault in [
        "kind = \"clock-step\"\nby = \"-90s\"\ndevices = \"node-1\"\n",
        "kind = \"disk-full\"\ndevices = \"node-1\"\n",
        "kind = \"hostile\"\nhow = \"flood\"\ntimes = 9\ndevices = \"node-1\"\n",
        "kind = \"pause\"\ndevices = \"node-2\"\n",
        "kind = \"cut\"\nlinks = [[\"node-1\", \"node-2\"]]\nsilent = true\n",
    ] {
        faults += &format!("[[faults]]\n{fault}{at}");
    }
    faults += "[[faults]]\nkind = \"clock-drift\"\nppm = 50\ndevices = { any = 1 }\nrate = \"60/h\"\nfor = \"10s\"\n";
    let layout = laid_out(planned(&faults));
    let told: Vec<&str> = layout.beyond.iter().filter_map(|beyond| beyond.what.split('”').nth(1)).collect();
    let clock = ": a lab's devices have the machine's clock";
    assert_eq!(
        told,
        [clock, ": a lab's devices have the machine's disk", ": a lab has no members that have been taken over", clock]
    );
    let kinds: Vec<bool> = layout.plan.faults.iter().map(|fault| matches!(fault.what, FaultKind::Pause(_))).collect();
    assert_eq!(kinds, [true, false]);
    assert_eq!(layout.plan.faults[1].what, FaultKind::Cut { edges: vec![0], silent: true });
}

#[test]
fn what_nobody_measures_answers_no_question() {
    let told = beyond(expecting("\"bytes.total <= 1MB\", \"control.rate <= 1kB/s\"", ""));
    assert!(told.len() == 1 && told[0].starts_with("none of what is expected"), "{told:?}");
    assert!(beyond(expecting("\"bytes.total <= 1MB\", \"delivered == 1\"", "")).is_empty());
}

#[test]
fn a_lab_of_too_many_is_no_lab() {
    let set = ["devices.node.count=24".to_owned()];
    let plan = load(Path::new("cold-boot-200"), &set).and_then(|loaded| loaded.plan(None)).expect("sound");
    let refused = lay_out(plan, None).expect_err("too many");
    assert!(refused.error.contains("24 devices") && refused.hint.contains("--set"), "{refused}");
}

#[test]
fn small_forms_of_shipped_scenarios_can_be_played() {
    for name in ["repair-ring", "multi-hop-line", "multicast-star", "flapping-link", "crash-storm"] {
        let form = small(&[name.to_owned()]).expect("it has a small form").remove(0);
        let plan = load(Path::new(name), &form.set).and_then(|loaded| loaded.plan(None)).expect("sound");
        assert_eq!(beyond(plan), Vec::<String>::new(), "{name}");
    }
}
