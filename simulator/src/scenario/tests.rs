//! Tests of scenarios: the resulting plans, and the errors in invalid scenarios.

use super::*;
use crate::plan::{Comparison, FlowKind, Pattern, Wanted};
use std::time::Duration;

/// Returns the smallest possible scenario, with `more` at its end.
pub(super) fn small(more: &str) -> String {
    format!(
        "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.lan]\ndelay = \"10ms\"\n[devices.node]\ncount = 4\n{more}"
    )
}

pub(super) fn loaded(text: &str, set: &[&str], files: &[(&str, &str)]) -> Result<Plan, Problem> {
    let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let set = set.iter().map(|set| (*set).to_owned()).collect();
    let source = Source { file: "x.toml".into(), text: text.into(), files, set, ..Source::default() };
    from_source(&source)?.plan(None)
}

fn planned(text: &str) -> Plan {
    loaded(text, &[], &[]).expect("a sound scenario")
}

/// Checks that the problem's text contains each of the parts.
#[track_caller]
pub(super) fn says(result: Result<Plan, Problem>, parts: &[&str]) {
    let problem = result.expect_err("this is no scenario").to_string();
    for part in parts {
        assert!(problem.contains(part), "{part:?} is not in: {problem}");
    }
}

pub(super) const RING: &str = "[[links]]\nkind = \"ring\"\n";
pub(super) const FLOW: &str =
    "[[traffic]]\nname = \"news\"\nkind = \"publish\"\ntopic = \"a/b\"\nfrom = \"node\"\nevery = \"10s\"\n";

#[test]
fn shipped_scenarios_are_found_by_name_and_come_to_something() {
    for (name, _) in SHIPPED {
        let loaded = load(Path::new(name), &[]).expect(name);
        let plan = loaded.plan(None).expect(name);
        assert_eq!((plan.name.as_str(), loaded.name().as_str()), (*name, *name));
        assert!(!plan.devices.is_empty() && !plan.edges.is_empty() && !plan.flows.is_empty(), "{name}");
        assert!(plan.expectations.len() >= 3, "{name}");
        assert!(plan.question.ends_with('?'), "{name}");
    }
}

/// Invariant 1.
#[test]
fn one_seed_gives_one_plan_and_another_gives_another() {
    let loaded = load(Path::new("baseline-50"), &[]).expect("shipped");
    let text = |seed| format!("{:?}", loaded.plan(Some(seed)).expect("sound"));
    assert_eq!(text(3), text(3));
    assert_ne!(text(3), text(4));
    let again = from_source(&loaded.source()).expect("a record loads");
    assert_eq!(format!("{:?}", again.plan(Some(3)).expect("sound")), text(3));
}

#[test]
fn a_small_scenario_comes_to_what_it_says() {
    let plan = planned(&small(&format!("{RING}{FLOW}")));
    assert_eq!(
        plan.devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(),
        ["node-1", "node-2", "node-3", "node-4"]
    );
    assert_eq!(plan.edges.len(), 4);
    assert!(plan.edges.iter().all(|edge| edge.known && edge.shapes[0].delay == Duration::from_millis(10)));
    assert_eq!(plan.flows[0].pattern, Pattern::Periodic(Duration::from_secs(10)));
    assert_eq!(plan.epochs, 3);
    assert_eq!((plan.warmup, plan.settle), (Duration::from_secs(30), Duration::from_secs(60)));
}

/// Invariant 2 of scenario::planning.
#[test]
fn everything_that_is_drawn_for_one_part_is_left_alone_by_others() {
    let text = |more: &str| small(&format!("[devices.other]\ncount = 4\nplacement = \"line\"\n{more}"));
    let full = "[[links]]\nkind = \"full\"\n";
    let before = planned(&text(full));
    let after =
        planned(&text(&format!("{full}{FLOW}[[faults]]\nkind = \"crash\"\ndevices = {{ any = 1 }}\nat = \"1s\"\n")));
    assert_eq!(before.devices, after.devices);
    assert_eq!(before.edges, after.edges);
    assert_eq!(after.faults.len(), 1);
}

#[test]
fn settings_change_what_the_file_says() {
    let text = small(&format!("{RING}{FLOW}"));
    let set = ["devices.node.count=6", "traffic.news.every=20s", "links.0.known=false", "realm.epoch=\"1d\"", "seed=9"];
    let plan = loaded(&text, &set, &[]).expect("sound settings");
    assert_eq!((plan.devices.len(), plan.seed), (6, 9));
    assert_eq!(plan.flows[0].pattern, Pattern::Periodic(Duration::from_secs(20)));
    assert!(plan.edges.iter().all(|edge| !edge.known));
    assert_eq!(plan.epoch.seconds(), 86_400);
    for (set, parts) in [
        ("devices.noed.count=3", &["--set devices.noed.count=3:", "no `noed`", "did you mean `node`?"][..]),
        ("devices.node.cuont=3", &["--set devices.node.cuont=3:", "unknown key `cuont`", "did you mean `count`?"]),
        ("traffic.nwes.every=1s", &["no element `nwes`", "did you mean `news`?"]),
        ("links.4.kind=full", &["no element `4`", "0 to 0"]),
        ("duration.x=1", &["`duration` is a string", "end the path with `duration`"]),
        ("devices.node.count=0", &["--set devices.node.count=0: the group `node` has zero devices"]),
        ("count", &["is no setting", "KEY=VALUE"]),
    ] {
        says(loaded(&text, &[set], &[]), parts);
    }
}

/// Invariant 2.
#[test]
fn mistakes_are_named_with_file_line_and_the_nearest_word() {
    let sound = format!("{RING}{FLOW}");
    for (more, parts) in [
        ("[device.x]\n", &["x.toml:7: unknown key `device`", "did you mean `devices`?"][..]),
        ("[[links]]\nknid = \"ring\"\n", &["x.toml:8: unknown key `knid`", "did you mean `kind`?"]),
        ("[[links]]\nkind = \"rign\"\n", &["x.toml:8: unknown word `rign`", "did you mean `ring`?"]),
        ("[devices.none]\ncount = 0\n", &["x.toml:8: the group `none` has zero devices"]),
        ("[devices.odd]\ncount = -1\n", &["x.toml:8:", "devices.odd.count", "write a whole number from 0 on"]),
        ("[devices.many]\ncount = 30000\n", &["x.toml:8:", "more than 20000 devices"]),
        ("[devices.x]\nbearers = [\"lna\"]\n", &["x.toml:8: no bearer is called `lna`", "did you mean `lan`?"]),
        ("[devices.x]\nflush = \"soon\"\n", &["x.toml:8:", "\"soon\" is none", "write a duration"]),
        ("[devices.x]\nplacement = \"gird\"\n", &["x.toml:8:", "\"gird\" does not do here", "\"grid\""]),
        ("[devices.x]\nsleep = { every = \"1m\", awake = \"2m\" }\n", &["x.toml:8: the devices would never sleep"]),
        ("[bearers.x]\nloss = \"130%\"\n", &["x.toml:8:", "\"130%\" is none", "a share from 0 to 1"]),
        ("[realm]\nepoch = \"7s\"\n", &["x.toml:8: an epoch of 7s is none", "divides a day"]),
        ("[realm]\nstart = \"yesterday\"\n", &["x.toml:8:", "is no time"]),
        (
            "[[links]]\nkind = \"full\"\nbetween = \"nod\"\n",
            &["x.toml:9: no group and no device is called `nod`", "`node`"],
        ),
        ("[[links]]\nkind = \"full\"\nbetween = \"node-9\"\n", &["x.toml:9:", "node-1 to node-4"]),
    ] {
        says(loaded(&small(more), &[], &[]), parts);
    }
    says(loaded(&small(&sound).replace("question", "quetsion"), &[], &[]), &["x.toml:1:", "`question`"]);
    says(loaded("question = \"?\"\nduration = \"1m\"\n", &[], &[]), &["x.toml: there is no bearer"]);
    says(loaded("duration = 1m\n", &[], &[]), &["x.toml:1:"]);
    let seed = "x.toml:1: `seed`: string \"seven\" does not do here; write a whole number from 0 on";
    says(loaded(&format!("seed = \"seven\"\n{}", small(&sound)), &[], &[]), &[seed]);
    says(loaded(&small("").replace("[devices.node]\ncount = 4\n", ""), &[], &[]), &["there are no devices"]);
}

#[test]
fn impossible_topologies_are_named() {
    for (more, parts) in [
        ("kind = \"random\"\ndegree = 4\n", &["x.toml:9:", "none can link with 4 others", "1 to 3"][..]),
        ("kind = \"random\"\n", &["x.toml:7:", "needs `degree`", "degree = 4"]),
        ("kind = \"ring\"\ndegree = 2\n", &["x.toml:9: `degree` does not go with kind = \"ring\""]),
        ("kind = \"ring\"\nbetween = \"node-1\"\n", &["no ring of one device"]),
        ("kind = \"geometric\"\n", &["has no reach", "[bearers.lan]"]),
        ("kind = \"full\"\njitter = \"20ms\"\n", &["x.toml:7:", "jitter is at most the delay"]),
        ("kind = \"full\"\nback = { loss = 0.95 }\n", &["x.toml:9:", "at most 0.9"]),
    ] {
        says(loaded(&small(&format!("[[links]]\n{more}")), &[], &[]), parts);
    }
    let far = small(RING).replace("delay = \"10ms\"", "delay = \"10ms\"\nreach = 0.1").replace("ring", "geometric");
    says(loaded(&far, &[], &[]), &["no two devices are within reach", "m apart"]);
    let odd = small("[[links]]\nkind = \"random\"\ndegree = 3\n").replace("count = 4", "count = 5");
    says(loaded(&odd, &[], &[]), &["x.toml:9:", "5 × 3 is odd"]);
    let file = small("[[links]]\nkind = \"file\"\nfile = \"a.edges\"\n");
    let plan = loaded(&file, &[], &[("a.edges", "# two\nnode-1 node-2\n\nnode-4 node-3 # far\n")]).expect("sound");
    assert_eq!(plan.edges.iter().map(|edge| (edge.a, edge.b)).collect::<Vec<_>>(), [(0, 1), (3, 2)]);
    says(
        loaded(&file, &[], &[("a.edges", "node-1 node-2\nnode-1 noed-3")]),
        &["a.edges:2: no device is called `noed-3`"],
    );
    says(loaded(&file, &[], &[("a.edges", "node-1 node-1")]), &["a.edges:1: a device does not link with itself"]);
}

#[test]
fn traffic_has_to_have_a_way_and_a_time() {
    let send = |more: &str| {
        small(&format!("{RING}[[traffic]]\nname = \"readings\"\nkind = \"send\"\nfrom = \"node\"\n{more}"))
    };
    let plan = planned(&send("to = \"neighbours\"\nrate = \"6/h\"\n"));
    assert_eq!(plan.flows[0].kind, FlowKind::Send(vec![vec![1, 3], vec![0, 2], vec![1, 3], vec![0, 2]]));
    assert_eq!(plan.flows[0].pattern, Pattern::Poisson(6.0 / 3_600.0));
    for (more, parts) in [
        (
            "to = \"node-1\"\nevery = \"1s\"\n",
            &["x.toml:13: there is no way from `node-1` to `node-1`", "[[links]]"][..],
        ),
        ("to = \"neighbours\"\n", &["nothing says when the flow sends"]),
        ("to = \"neighbours\"\nevery = \"1s\"\nrate = \"1/s\"\n", &["x.toml:15: `every` and `rate` both say"]),
        ("to = \"neighbours\"\nevery = \"1s\"\ntopic = \"a\"\n", &["`topic` does not go with kind = \"send\""]),
        ("to = \"neighbours\"\nevery = \"1s\"\nsize = \"1MB\"\n", &["too large"]),
        ("to = \"neighbours\"\nevery = \"1s\"\nend = \"2m\"\n", &["does not lie within the measured time", "1m"]),
        ("every = \"1s\"\n", &["needs `to`"]),
        ("to = \"neighbors\"\nevery = \"1s\"\n", &["x.toml:13:", "called `neighbors`", "did you mean `neighbours`?"]),
    ] {
        says(loaded(&send(more), &[], &[]), parts);
    }
    let traced = send("to = \"neighbours\"\ntrace = \"day.csv\"\n");
    let plan =
        loaded(&traced, &[], &[("day.csv", "at,from,to,size\n2s,node-2,node-3,\n1.5,node-1,,100\n")]).expect("sound");
    let Pattern::Trace(lines) = &plan.flows[0].pattern else { panic!("a trace") };
    assert_eq!((lines[0].from, lines[0].to, lines[0].size), (0, None, 100));
    assert_eq!((lines[1].from, lines[1].to, lines[1].size), (1, Some(2), 64));
    let leaves = ["devices.node.forwarding=false"];
    says(loaded(&traced, &leaves, &[("day.csv", "1,node-1,node-3,")]), &["no way from `node-1` to `node-3`"]);
    says(loaded(&traced, &[], &[("day.csv", "1,node-1,,\n61s,node-1,,")]), &["day.csv:2: this is after the end"]);
    let total = planned(&send("to = \"neighbours\"\ntotal = 60\n"));
    let Pattern::Trace(lines) = &total.flows[0].pattern else { panic!("counted out") };
    assert_eq!((lines.len(), lines[59].at), (60, Duration::from_secs(59)));
}

#[test]
fn a_flow_publishes_under_as_many_topics_as_its_range_has_numbers() {
    let topics = |written: &str| {
        let text = small(&format!("{RING}{}", FLOW.replace("a/b", written)));
        loaded(&text, &[], &[]).map(|plan| match plan.flows[0].kind.clone() {
            FlowKind::Publish { topics, .. } => topics,
            other => panic!("{other:?}"),
        })
    };
    assert_eq!(topics("a/b").expect("one"), ["a/b"]);
    assert_eq!(
        topics("zone-{8..11}/news").expect("four"),
        ["zone-8/news", "zone-9/news", "zone-10/news", "zone-11/news"]
    );
    assert_eq!(topics("a/{1..1000}").expect("many").len(), 1_000);
    for (written, part) in [
        ("a/{1..", "no sound range"),
        ("a/{2..1}", "no sound range"),
        ("a/{1}", "no sound range"),
        ("a/{1..2}/{1..2}", "more than one range"),
        ("a/{1..10001}", "means 10001 topics"),
        ("a/{1..2}/#", "x.toml:12: "),
    ] {
        let problem = topics(written).expect_err(written).to_string();
        assert!(problem.contains(part) && problem.contains("x.toml:12: "), "{problem}");
    }
}

#[test]
fn expectations_are_checked_against_what_is_measured() {
    let expecting = |text: &str| {
        let head = format!("expect = [\"{text}\"]\n");
        loaded(&format!("{head}{}", small(&format!("{RING}{FLOW}"))), &[], &[])
    };
    for (text, metric, comparison, value) in [
        ("delivered >= 99.9%", "delivered", Comparison::AtLeast, 0.999),
        ("latency.p99[ flow = news ]<=250ms", "latency.p99[flow=news]", Comparison::AtMost, 0.25),
        ("bytes.total < 10MB", "bytes.total", Comparison::Less, 1e7),
        ("control.rate <= 2kB/s", "control.rate", Comparison::AtMost, 2_000.0),
        ("sent[group=node] > 3", "sent[group=node]", Comparison::More, 3.0),
        ("cost.total == 0", "cost.total", Comparison::Equal, 0.0),
        ("latency.p99.9[flow=news] <= 1s", "latency.p99.9[flow=news]", Comparison::AtMost, 1.0),
        ("counter.data_looped == 0", "counter.data_looped", Comparison::Equal, 0.0),
        ("gauge.outgoing == 0", "gauge.outgoing", Comparison::Equal, 0.0),
        ("gap.max[group=node] <= 2m", "gap.max[group=node]", Comparison::AtMost, 120.0),
        ("hops.mean[flow=news] >= 2", "hops.mean[flow=news]", Comparison::AtLeast, 2.0),
    ] {
        let plan = expecting(text).expect(text);
        let found = &plan.expectations[0];
        assert_eq!((found.metric.as_str(), found.comparison, found.text.as_str()), (metric, comparison, text));
        assert!(matches!(found.wanted, Wanted::Value(found) if (found - value).abs() < 1e-9), "{text}: {found:?}");
    }
    for (text, parts) in [
        ("latency.mena <= 2s", &["x.toml:1: there is no metric `latency.mena`", "did you mean `latency.mean"][..]),
        ("counter.data_loop == 0", &["there is no metric `counter.data_loop`", "did you mean `data_looped`?"]),
        ("gauge.outgoin == 0", &["there is no metric `gauge.outgoin`", "did you mean `outgoing`?"]),
        ("latency.p100 <= 2s", &["there is no metric `latency.p100`"]),
        ("delivered = 1", &["compares nothing", "<="]),
        ("delivered >= 2", &["`delivered` is not compared with \"2\"", "a share from 0 to 1"]),
        ("latency.p99 <= 2", &["not compared with \"2\"", "a duration"]),
        ("delivered[flow=nesw] == 1", &["there is no flow `nesw`", "did you mean `news`?"]),
        ("delivered[class=alarm] == 1", &["no flow sends with class `alarm`", "`telemetry`"]),
        ("delivered[grop=node] == 1", &["`grop`", "did you mean `group`?"]),
        ("ready[group=node] <= 1s", &["measured for the mesh as a whole"]),
        ("latency.p50 <= delivered[flow=news]", &["not compared with", "a duration"]),
        ("latency.p50 <= latency.p90[flow=nesw]", &["there is no flow `nesw`"]),
        ("sent[policy=cheap] > 0", &["there is no policy `cheap`"]),
    ] {
        says(expecting(text), parts);
    }
    let of_two = expecting("latency.p50[flow=news]<=latency.p90[flow=news]").expect("two metrics");
    assert_eq!(of_two.expectations[0].wanted, Wanted::Metric("latency.p90[flow=news]".into()));
}

#[test]
fn flows_name_policies_that_there_are() {
    let send = "[[traffic]]\nname = \"news\"\nkind = \"send\"\nfrom = \"node\"\nto = \"node\"\nevery = \"10s\"\n";
    let night = "[[policy]]\nname = \"night\"\nminimise = \"cost\"\nbudget = 0.5\nlate = \"pay\"\n";
    let of = |text: &str, set: &[&str]| loaded(&small(&format!("{RING}{text}")), set, &[]);
    let plan = of(&format!("{night}{send}policy = \"night\"\n"), &[]).expect("sound");
    assert_eq!((plan.flows[0].policy.as_deref(), plan.policies[0].budget), (Some("night"), Some(0.5)));
    // Of all flows that can have a policy.
    let plan = of(&format!("{send}{FLOW}").replacen("news", "mail", 1), &["policy=fast"]).expect("sound");
    assert_eq!(plan.flows.iter().map(|flow| flow.policy.as_deref()).collect::<Vec<_>>(), [Some("fast"), None]);
    for (text, set, parts) in [
        (
            format!("{send}policy = \"cheep\"\n"),
            &[][..],
            &["x.toml:15: no policy is called `cheep`", "mean `cheap`?"][..],
        ),
        (send.to_owned(), &["policy=cheep"][..], &["--set policy=cheep: no policy is called `cheep`"]),
        (FLOW.to_owned(), &["policy=cheap"][..], &["no flow that could have a policy"]),
        (format!("{FLOW}policy = \"cheap\"\n"), &[][..], &["`policy` does not go with kind = \"publish\""]),
        (format!("{night}{night}"), &[][..], &["there is a policy `night` already"]),
        (night.replace("budget", "buget"), &[][..], &["x.toml:12: unknown key `buget`", "did you mean `budget`?"]),
        (night.replace("0.5", "-1.0"), &[][..], &["x.toml:9: the budget of policy night"]),
    ] {
        says(of(&text, set), parts);
    }
}

#[test]
fn messages_go_where_devices_that_forward_lead() {
    let send = "[[traffic]]\nname = \"news\"\nkind = \"send\"\nfrom = \"node-1\"\nto = \"node\"\nevery = \"10s\"\n";
    let line = small(&format!("[[links]]\nkind = \"line\"\n{send}"));
    let to = |set: &[&str]| match loaded(&line, set, &[]).expect("sound").flows[0].kind.clone() {
        FlowKind::Send(lists) => lists[0].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(to(&[]), [1, 2, 3]);
    assert_eq!(to(&["devices.node.forwarding=false"]), [1]);
    assert_eq!(to(&["traffic.news.partners=2"]).len(), 2);
    assert_eq!(to(&["traffic.news.to=neighbours"]), [1]);
}
