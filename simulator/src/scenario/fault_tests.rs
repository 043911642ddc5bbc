//! Tests of the faults of a scenario, and of the errors in invalid ones.

use super::*;
use crate::plan::{FaultKind, Hostility};
use std::time::Duration;

fn planned(fault: &str) -> Result<Plan, Problem> {
    let text = format!(
        "question = \"?\"\nduration = \"1h\"\n[bearers.lan]\ndelay = \"10ms..20ms\"\n[devices.node]\ncount = 6\nplacement = \"line\"\n[[links]]\nkind = \"line\"\n[[traffic]]\nname = \"news\"\nkind = \"send\"\nfrom = \"all\"\nto = \"neighbours\"\nevery = \"1m\"\n[[faults]]\n{fault}"
    );
    from_source(&Source { file: "x.toml".into(), text, ..Source::default() })?.plan(None)
}

fn faults(fault: &str) -> Vec<crate::plan::Fault> {
    planned(fault).expect(fault).faults
}

#[test]
fn faults_strike_whom_they_name_when_they_say() {
    let crash = faults("kind = \"crash\"\ndevices = [\"node-2\", \"node-5\"]\nat = \"2m\"\nfor = \"30s\"\n");
    assert_eq!(crash[0].what, FaultKind::Crash(vec![1, 4]));
    assert_eq!((crash[0].at, crash[0].until), (Duration::from_secs(120), Some(Duration::from_secs(150))));
    assert_eq!(crash[0].label, "crash node-2, node-5");
    // A fault that is not over when traffic ends is over then.
    assert_eq!(faults("kind = \"crash\"\ndevices = \"node-1\"\nat = \"59m\"\nfor = \"5m\"\n")[0].until, None);
    let region = faults("kind = \"region-power-cut\"\ndevices = { within = [0, 0, 150] }\nat = \"0s\"\n");
    assert_eq!(region[0].what, FaultKind::PowerCut(vec![0, 1]));
    let parted = faults("kind = \"partition\"\nsides = [[\"node-1\", \"node-2\"]]\nat = \"1m\"\n");
    assert_eq!(parted[0].what, FaultKind::Cut { edges: vec![1], silent: true });
    let cut = faults("kind = \"cut\"\nlinks = [[\"node-3\", \"node-2\"]]\nat = \"1m\"\n");
    assert_eq!(
        (&cut[0].what, cut[0].label.as_str()),
        (&FaultKind::Cut { edges: vec![1], silent: false }, "cut node-2–node-3")
    );
    let hostile = faults("kind = \"hostile\"\ndevices = \"node-1\"\nhow = \"flood\"\ntimes = 9\nat = \"1m\"\n");
    assert_eq!(hostile[0].what, FaultKind::Hostile { devices: vec![0], how: Hostility::Flood(9) });
    let lies = faults("kind = \"hostile\"\ndevices = \"node-1\"\nhow = \"lie\"\nat = \"1m\"\n");
    assert_eq!(lies[0].what, FaultKind::Hostile { devices: vec![0], how: Hostility::Lie });
    for (how, planned) in [("return", Hostility::Return), ("stretch", Hostility::Stretch)] {
        let found = faults(&format!("kind = \"hostile\"\ndevices = \"node-1\"\nhow = \"{how}\"\nat = \"1m\"\n"));
        assert_eq!(found[0].what, FaultKind::Hostile { devices: vec![0], how: planned });
    }
    let pesters = faults("kind = \"hostile\"\ndevices = \"node-1\"\nhow = \"pester\"\ntimes = 50\nat = \"1m\"\n");
    assert_eq!(pesters[0].what, FaultKind::Hostile { devices: vec![0], how: Hostility::Pester(50) });
    let impostor = faults("kind = \"impostor\"\ndevices = \"node-2\"\nat = \"1m\"\n");
    assert_eq!((&impostor[0].what, impostor[0].what.outsider()), (&FaultKind::Impostor(vec![1]), Some(&[1][..])));
    let revoked = faults("kind = \"revoke\"\ndevices = \"node-2\"\nthrough = \"node-5\"\nat = \"1m\"\n");
    assert_eq!(revoked[0].what, FaultKind::Revoke { devices: vec![1], through: 4 });
    assert_eq!((revoked[0].until, revoked[0].label.as_str()), (None, "revoke node-2"));
    // Whoever is drawn, it is none of those who are revoked.
    let drawn = "kind = \"revoke\"\ndevices = { any = 2, of = [\"node-4\", \"node-5\", \"node-6\"] }\n";
    let drawn = faults(&format!("{drawn}through = {{ any = 1 }}\nrate = \"60/h\"\n"));
    assert!(drawn.len() > 30);
    for fault in &drawn {
        assert!(matches!(&fault.what, FaultKind::Revoke { devices, through } if !devices.contains(through)));
    }
    let step = faults("kind = \"clock-step\"\ndevices = \"node-1\"\nby = \"-90s\"\nat = \"1m\"\n");
    assert_eq!(step[0].what, FaultKind::ClockStep { devices: vec![0], seconds: -90.0 });
}

#[test]
fn a_rate_strikes_again_and_again_and_draws_anew() {
    let crashes = faults("kind = \"crash\"\ndevices = { any = 1 }\nrate = \"60/h\"\nfor = \"10s\"\n");
    assert!((40..80).contains(&crashes.len()), "{}", crashes.len());
    assert!(crashes.windows(2).all(|pair| pair[0].at <= pair[1].at));
    assert!(crashes.iter().any(|crash| crash.what != crashes[0].what), "not always the same device");
}

#[test]
fn lines_that_degrade_keep_what_is_not_said_otherwise() {
    let plan = planned("kind = \"degrade\"\nshape = { loss = \"20%\" }\nat = \"1m\"\n").expect("sound");
    let mut struck = 0;
    for fault in &plan.faults {
        let FaultKind::Degrade { edges, shapes } = &fault.what else { panic!("{fault:?}") };
        for (edge, direction) in edges.iter().flat_map(|edge| [(*edge, 0), (*edge, 1)]) {
            let after = shapes[direction].expect("both ways");
            assert_eq!((after.delay, after.loss), (plan.edges[edge].shapes[direction].delay, 200_000));
            struck += 1;
        }
    }
    assert_eq!(struck, 10);
    // From the first of the pair to the second, which is against the direction of the edge.
    let one =
        faults("kind = \"asymmetric\"\nlinks = [[\"node-2\", \"node-1\"]]\nshape = { loss = 0.5 }\nat = \"1m\"\n");
    let FaultKind::Degrade { edges, shapes } = &one[0].what else { panic!("{one:?}") };
    assert_eq!((edges, shapes[0], shapes[1].map(|shape| shape.loss)), (&vec![0], None, Some(500_000)));
}

#[test]
fn faults_that_cannot_be_are_named() {
    for (fault, parts) in [
        ("kind = \"crash\"\nat = \"1m\"\n", &["x.toml:16: this fault needs `devices`"][..]),
        ("kind = \"crash\"\ndevices = \"node-1\"\n", &["nothing says when the fault strikes"]),
        (
            "kind = \"crash\"\ndevices = \"node-1\"\nat = \"2h\"\n",
            &["x.toml:19:", "after the measured time, which is 1h"],
        ),
        ("kind = \"crash\"\ndevices = \"nodes\"\nat = \"1m\"\n", &["x.toml:18:", "`nodes`", "did you mean `node`?"]),
        ("kind = \"crash\"\ndevices = { any = 7 }\nat = \"1m\"\n", &["of 6 devices, 7 cannot be struck"]),
        ("kind = \"crash\"\ndevices = { any = 1, share = 0.1 }\nat = \"1m\"\n", &["x.toml:18:", "does not do here"]),
        ("kind = \"crash\"\ndevices = \"node-1\"\nrate = \"1/h\"\n", &["needs `for`"]),
        ("kind = \"crahs\"\n", &["x.toml:17: unknown word `crahs`", "did you mean `crash`?"]),
        (
            "kind = \"cut\"\ndevices = \"node-1\"\nat = \"1m\"\n",
            &["x.toml:18: `devices` does not go with kind = \"cut\""],
        ),
        (
            "kind = \"cut\"\nlinks = [[\"node-1\", \"node-3\"]]\nat = \"1m\"\n",
            &["no link between `node-1` and `node-3`"],
        ),
        ("kind = \"revoke\"\ndevices = \"node-1\"\nat = \"1m\"\n", &["`node-1` has the issuer's key"]),
        ("kind = \"revoke\"\ndevices = \"node-2\"\nat = \"1m\"\nfor = \"1m\"\n", &["x.toml:18:", "`for` does not go"]),
        (
            "kind = \"revoke\"\ndevices = \"node-2\"\nthrough = \"node-2\"\nat = \"1m\"\n",
            &["x.toml:19:", "to a device that it revokes"],
        ),
        (
            "kind = \"crash\"\ndevices = \"node-1\"\nthrough = \"node-2\"\nat = \"1m\"\n",
            &["`through` does not go with"],
        ),
        ("kind = \"partition\"\nsides = [\"node\"]\nat = \"1m\"\n", &["nothing would be parted"]),
        (
            "kind = \"overload\"\nflow = \"nwes\"\nfactor = 2\nat = \"1m\"\n",
            &["no flow is called `nwes`", "did you mean `news`?"],
        ),
        ("kind = \"degrade\"\nshape = { loss = 0.95 }\nat = \"1m\"\n", &["x.toml:18:", "at most 0.9"]),
        ("kind = \"region-power-cut\"\ndevices = { within = [9000, 0, 1] }\nat = \"1m\"\n", &["nobody is within 1 m"]),
        (
            "kind = \"hostile\"\ndevices = \"node-1\"\nhow = \"drop\"\ntimes = 3\nat = \"1m\"\n",
            &["`times` does not go with"],
        ),
    ] {
        let problem = planned(fault).expect_err(fault).to_string();
        for part in parts {
            assert!(problem.contains(part), "{part:?} is not in: {problem}");
        }
    }
}
