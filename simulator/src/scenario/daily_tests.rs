//! Tests of daily profiles and of alternatives in scenarios: arrivals, sleep, expectations.

use super::messages;
use super::tests::{FLOW, RING, loaded, says, small};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn one_of_several_expectations_may_be_enough() {
    let expecting =
        |any: &str| loaded(&format!("expect = [{{ any = [{any}] }}]\n{}", small(&format!("{RING}{FLOW}"))), &[], &[]);
    let plan = expecting("\"delivered == 1\", \"cost.total <= 2\"").expect("sound");
    let [expected] = &plan.expectations[..] else { panic!("one") };
    assert_eq!((expected.metric.as_str(), expected.or[0].metric.as_str()), ("delivered", "cost.total"));
    assert_eq!(expected.whole(), "delivered == 1 or cost.total <= 2");
    says(expecting(""), &["x.toml:1:", "does not do here", "any = ["]);
    says(expecting("\"delivered = 1\""), &["x.toml:1:", "compares nothing"]);
    says(expecting("\"delivered == 1\", \"cots.total <= 2\""), &["x.toml:1: there is no metric `cots.total`"]);
}

#[test]
fn a_rate_may_differ_over_the_day() {
    let send = |more: &str| {
        let head = "[realm]\nstart = \"2026-01-05T06:00:00Z\"\n";
        let flow = "[[traffic]]\nname = \"a\"\nkind = \"send\"\nfrom = \"node\"\nto = \"neighbours\"\n";
        let text = small(&format!("{head}{RING}{flow}{more}"));
        loaded(&text, &["duration=1d", "warmup=1h", "devices.node.count=3"], &[])
    };
    let plan = send("rate = \"10/h\"\ndaily = { \"08:00\" = 3, \"20:00\" = 0 }\n").expect("sound");
    let daily = plan.flows[0].daily.as_ref().expect("a profile");
    let factors = [0, 1, 12, 13].map(|hours| daily.factor(Duration::from_secs(hours * 3_600)));
    assert_eq!((daily.dawn, factors), (Duration::from_secs(7 * 3_600), [0.0, 3.0, 3.0, 0.0]));
    assert!((messages(&plan.flows[0]) - 3.0 * 12.0 * 30.0).abs() < 1e-6);
    for (more, parts) in [
        ("every = \"1m\"\ndaily = { \"08:00\" = 3 }\n", &["x.toml:17: `daily` multiplies a `rate`"][..]),
        ("rate = \"1/h\"\ndaily = { \"8\" = 3 }\n", &["x.toml:17:", "a time of the day in UTC"]),
        ("rate = \"1/h\"\ndaily = { \"08:00\" = -1 }\n", &["x.toml:17: these are no factors"]),
        ("rate = \"1/h\"\ndaily = {}\n", &["x.toml:17: these are no factors"]),
        ("rate = \"1/h\"\ndaily = { \"08:00\" = 0 }\n", &["x.toml:17: these are no factors"]),
    ] {
        says(send(more), parts);
    }
}

#[test]
fn devices_sleep_in_one_pattern_or_several() {
    let asleep = |sleep: &str| {
        let text = small(&format!("sleep = {sleep}\n[realm]\nstart = \"2026-01-05T05:59:30Z\"\n{RING}{FLOW}"));
        loaded(&text, &["duration=1d"], &[])
    };
    let schedules = |sleep: &str| asleep(sleep).expect(sleep).devices[0].schedules.clone();
    let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
    let [often] = schedules("{ every = \"10m\", awake = \"5s\" }")[..] else { panic!("one") };
    assert!(often.every == minutes(10) && often.phase < minutes(10) && often.left.is_zero());
    let [fixed] = schedules("{ every = \"10m\", awake = \"5s\", phase = \"1m\" }")[..] else { panic!("one") };
    assert_eq!(fixed.phase, minutes(1));
    let both = schedules("[{ at = \"18:00, 06:00\", awake = \"5m\" }, { every = \"1h\", awake = \"5s\" }]");
    let phases: Vec<_> = both.iter().map(|schedule| (schedule.every, schedule.phase)).collect();
    // The warm-up ends at six.
    assert_eq!(phases[..2], [(minutes(1_440), Duration::ZERO), (minutes(1_440), minutes(720))]);
    let [night] = schedules("{ at = \"22:00\", awake = \"10h\" }")[..] else { panic!("one") };
    assert_eq!((night.phase, night.left), (minutes(16 * 60), minutes(120)));
    let spread = asleep("{ at = \"07:00\", awake = \"5m\", phase = \"0s..10m\" }").expect("sound");
    let phases: BTreeSet<_> = spread.devices.iter().map(|device| device.schedules[0].phase).collect();
    assert!(phases.len() == 4 && phases.iter().all(|phase| (minutes(60)..=minutes(70)).contains(phase)));
    for (sleep, parts) in [
        ("{ awake = \"5s\" }", &["x.toml:7: nothing, or too much, says when the devices awake"][..]),
        ("{ every = \"1m\", at = \"06:00\", awake = \"5s\" }", &["x.toml:7: nothing, or too much"]),
        ("{ at = \"06:00\", awake = \"1d\" }", &["x.toml:7: the devices would never sleep"]),
        ("{ every = \"1m\", awake = \"5s\", phase = \"1m\" }", &["x.toml:7: the devices would awake a turn later"]),
        ("{ at = \"6 o'clock\", awake = \"5m\" }", &["x.toml:7:", "times of the day in UTC"]),
        ("[]", &["x.toml:7:", "does not do here"]),
    ] {
        says(asleep(sleep), parts);
    }
}
