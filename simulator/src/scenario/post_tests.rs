//! Tests of mail, roles and services in scenarios.

use super::tests::{RING, loaded, says, small};
use super::*;
use crate::plan::FlowKind;
use m2mesh::wire::credential::Role;

const MAST: &str = "[devices.mast]\nroles = [\"mailbox\"]\nmail_quota = \"1MB\"\n";
const SLEEPS: &str = "sleep = { every = \"20s\", awake = \"6s\" }\n";

/// Plans four devices with `of_nodes`, `mast` as above and `mast` once more, in a ring.
fn with(of_nodes: &str, masts: &str) -> Result<Plan, Problem> {
    loaded(&small(&format!("{of_nodes}{masts}{RING}")), &[], &[])
}

#[test]
fn parents_are_mailboxes_with_which_a_device_can_link_and_tell_it_when_it_sleeps() {
    let only = "[devices.mast]\ncount = 2\nroles = [\"mailbox\"]\n[[links]]\nkind = \"hub\"\nhub = \"mast\"\nbetween = [\"mast\", \"node\"]\n";
    let plan = loaded(&small(&format!("{SLEEPS}parents = \"mast\"\n{only}")), &[], &[]).expect("sound");
    let (node, mast) = (&plan.devices[0], &plan.devices[4]);
    assert!(node.rests() && node.post.takes && node.post.parents.len() == 1 && node.post.parents[0] >= 4);
    assert!(!mast.rests() && mast.is_mailbox() && mast.roles == Role::Mailbox as u16);
    let awake = plan.awake(node);
    // Awake in the warm-up of 30 s, then in three parts of the minute, then to the end.
    let mut at = plan.start;
    let mut changes = 0;
    while let Some(next) = awake.next_change(at).filter(|next| next.since(plan.start).as_secs() < 95) {
        (at, changes) = (next, changes + 1);
    }
    assert!(awake.open_at(plan.start) && (5..=8).contains(&changes), "{changes}");
    assert!(plan.awake(mast).is_empty());
    let unheard = loaded(&small(&format!("{SLEEPS}{RING}")), &[], &[]).expect("sound");
    assert!(!unheard.devices[0].rests() && unheard.awake(&unheard.devices[0]).is_empty());
}

#[test]
fn who_can_keep_no_mail_is_no_parent() {
    assert_eq!(with("", MAST).expect("sound").devices[4].post.quota, Some(1_000_000));
    for (of_nodes, masts, parts) in [
        ("parents = \"mast\"\n", "[devices.mast]\n", &["x.toml:7: mast-1 keeps no mail", "roles = [\"mailbox\"]"][..]),
        (
            "parents = \"mast\"\n",
            "[devices.mast]\nforwarding = false\nroles = [\"mailbox\"]\n",
            &["x.toml:7: mast-1 keeps no mail", "let it forward"],
        ),
        ("parents = \"mats\"\n", MAST, &["x.toml:7:", "mast"]),
        ("parents = \"mast\"\n", MAST, &["x.toml:7: node-2 can link with none of these", "[[links]]"]),
        ("mail_quota = \"1MB\"\n", MAST, &["x.toml:7: these devices keep no mail", "roles"]),
        ("roles = [\"postman\"]\n", MAST, &["x.toml:7:", "unknown word `postman`"]),
    ] {
        says(with(of_nodes, masts), parts);
    }
    let all = "[[links]]\nkind = \"full\"\n";
    let asleep = |sleep: &str| loaded(&small(&format!("sleep = {sleep}\nparents = \"mast\"\n{MAST}{all}")), &[], &[]);
    says(asleep("{ every = \"20s\", awake = \"4s\" }"), &["x.toml:8: node-1 would be awake for less than 5 s"]);
    says(asleep("{ every = \"100ms\", awake = \"50ms\" }"), &["x.toml:8: node-1 would wake 600 times", "at most 510"]);
}

#[test]
fn a_flow_to_any_goes_to_those_that_offer_and_one_to_all_takes_the_role() {
    let flow = |more: &str, of_nodes: &str| {
        let flow = format!("[[traffic]]\nname = \"calls\"\nfrom = \"node\"\nevery = \"10s\"\n{more}");
        let till = "[devices.till]\ncount = 2\noffers = [\"billing\"]\n";
        loaded(&small(&format!("{of_nodes}{till}{RING}{flow}")), &[], &[])
    };
    let kind = |more: &str| flow(more, "").expect(more).flows[0].kind.clone();
    let any = |request, repeat| FlowKind::Any { service: "billing".into(), servers: vec![4, 5], request, repeat };
    assert_eq!(kind("kind = \"request\"\nto = \"any:billing\"\n"), any(true, false));
    assert_eq!(kind("kind = \"request\"\nto = \"any:billing\"\nrepeat = true\n"), any(true, true));
    assert_eq!(kind("kind = \"send\"\nto = \"any:billing\"\n"), any(false, false));
    let all = flow("kind = \"broadcast\"\n", "roles = [\"broadcast\"]\n").expect("sound");
    assert_eq!(all.flows[0].kind, FlowKind::Broadcast);
    for (more, parts) in [
        ("kind = \"request\"\nto = \"any:bill\"\n", &["no device offers `bill`", "billing"][..]),
        ("kind = \"send\"\nto = \"any:billing\"\nrepeat = true\n", &["a message goes to one device only"]),
        ("kind = \"request\"\nto = \"till\"\nrepeat = true\n", &["`repeat` says", "any:SERVICE"]),
        ("kind = \"send\"\nto = \"any:billing\"\npartners = 2\n", &["a flow to any device names none"]),
        ("kind = \"broadcast\"\nto = \"till\"\n", &["`to` does not go with kind = \"broadcast\""]),
        ("kind = \"broadcast\"\n", &["node-1 may not send to all", "roles = [\"broadcast\"]"]),
    ] {
        says(flow(more, ""), parts);
    }
    says(flow("kind = \"send\"\nto = \"till\"\n", "offers = [\"a\", \"a\"]\n"), &["x.toml:7: \"a\" is no service"]);
}
