//! Real processes on loopback, through the command line: what the README shows must work.

use crate::support::limit;
use crate::support::processes::{ANYWHERE, Running, done, m2mesh, refused};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn meet_by_ticket(listen: &str) {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", listen], at);
    assert!(gateway.ready.contains("name=gateway"), "{}", gateway.ready);
    let ticket = done(&["realm", "invite", "plant", "--name", "meter-17"], at);
    done(&["join", &ticket, "--dir", "meter"], at);
    let meter = Running::start(&["run", "--dir", "meter", "--no-mdns"], at);

    done(&["send", "gateway", "21.5 C", "--dir", "meter"], at);
    assert_eq!(done(&["receive", "--count", "1", "--dir", "plant"], at), "21.5 C");
    // The operator's device learns of the newcomer by itself.
    done(&["send", "meter-17", "thanks", "--dir", "plant"], at);
    assert_eq!(done(&["receive", "--count", "1", "--dir", "meter"], at), "thanks");
    assert!(done(&["log", "verify", "--dir", "meter"], at).starts_with("intact"));

    let (code, said) = refused(&["join", &ticket, "--dir", "copy"], at);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has been used"), "{said}");
    let (code, said) = refused(&["run", "--dir", "meter"], at);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another m2mesh"), "{said}");
    drop(meter);
    // Offline, the log is still there.
    assert!(done(&["log", "--dir", "meter"], at).contains("started"));
}

#[test]
fn two_machines_meet_by_ticket_over_tcp() {
    meet_by_ticket("/ip4/127.0.0.1/tcp/0");
}

#[test]
fn two_machines_meet_by_ticket_over_quic() {
    meet_by_ticket("/ip4/127.0.0.1/udp/0/quic-v1");
}

#[test]
fn a_device_joins_by_files_that_somebody_carries() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let nowhere = "/ip4/127.0.0.1/tcp/9";
    let ticket = done(&["realm", "invite", "plant", "--name", "meter", "--address", nowhere], at);
    done(&["join", "--offline", &ticket, "--dir", "meter"], at);
    assert!(done(&["realm", "issue", "plant", "meter/enrolment.request"], at).starts_with("meter:"));
    assert!(done(&["join", "--offline", &ticket, "--dir", "meter"], at).contains("as meter"));
    assert!(!at.join("meter/enrolment.answer").exists());
    // Another device with the same ticket is refused, by file as over the mesh.
    done(&["join", "--offline", &ticket, "--dir", "copy"], at);
    let (code, _) = refused(&["realm", "issue", "plant", "copy/enrolment.request"], at);
    assert_eq!(code, Some(2));
    let (code, said) = refused(&["join", "--offline", &ticket, "--dir", "copy"], at);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("has been used"), "{said}");
}

#[test]
fn a_ticket_of_another_realm_is_refused_with_its_reason() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "ours", "--name", "gateway"], at);
    done(&["realm", "init", "theirs", "--name", "gateway"], at);
    let node = Running::start(&["run", "--dir", "ours", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    let address = node.ready.split("listen=").nth(1).expect("an address").to_owned();
    let ticket = done(&["realm", "invite", "theirs", "--name", "x", "--address", &address], at);
    // A member's own word is a hint: only what the issuer has sealed is a definite no.
    let (code, said) = refused(&["join", &ticket, "--dir", "x"], at);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("another realm"), "{said}");
}

#[test]
fn the_lab_comes_up_works_and_leaves_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    let mut lab = Running::start(&["lab", "--nodes", "3", "--dir", "lab"], at);
    assert!(lab.ready.contains("3 nodes, each with 2 peers"), "{}", lab.ready);
    let status = done(&["lab", "status", "--json", "--dir", "lab"], at);
    done(&["--dir", "lab", "lab", "exec", "node-1", "--", "send", "node-3", "hello"], at);
    assert_eq!(done(&["receive", "--count", "1", "--dir", "lab/node-3"], at), "hello");

    assert_eq!(lab.stop_by("-INT"), Some(0));
    let mut ports = 0;
    for part in status.split("/ip4/127.0.0.1/tcp/").skip(1) {
        let port: u16 = part.chars().take_while(char::is_ascii_digit).collect::<String>().parse().expect("a port");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "port {port} still listens");
        ports += 1;
    }
    assert!(ports >= 3, "the status names the nodes' addresses: {status}");
    let listing = Command::new("ps").args(["-eo", "args"]).output().expect("ps runs");
    let processes = String::from_utf8_lossy(&listing.stdout);
    let directory = at.to_str().expect("UTF-8");
    assert!(!processes.lines().any(|line| line.contains(directory) && line.contains("run")), "{processes}");
}

#[test]
fn publications_are_heard_after_duplicate_connections_have_gone() {
    // All nodes of a lab dial each other at once; the connections too many are closed five seconds later. Each group
    // has one member, so that no other can hand on what it misses.
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    let _lab = Running::start(&["lab", "--nodes", "4", "--dir", "lab"], at);
    let listen = |n: usize| {
        let (filter, directory) = (format!("group-{n}/#"), format!("lab/node-{n}"));
        let mut command = m2mesh(&["subscribe", &filter, "--count", "9", "--dir", &directory], at);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        // It says that it listens before anything is published.
        let mut ready = String::new();
        BufReader::new(child.stderr.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        assert!(ready.contains("listens"), "{ready}");
        child
    };
    let publish = |n: usize| {
        // A line a second, over the time in which connections go.
        let script = "for n in 1 2 3 4 5 6 7 8 9; do echo line $n; sleep 1; done";
        let mut lines = Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let topic = format!("group-{n}/x");
        let mut command = m2mesh(&["publish", &topic, "--lines", "--dir", "lab/node-1"], at);
        let child = command.stdin(lines.stdout.take().expect("a pipe")).stdout(Stdio::null()).spawn();
        (lines, child.expect("it starts"))
    };
    let members = [2, 3, 4];
    let listeners = members.map(listen);
    for (mut lines, mut publisher) in members.map(publish) {
        assert_eq!(limit::wait(&mut publisher, "the publisher"), Some(0));
        assert_eq!(limit::wait(&mut lines, "what it publishes"), Some(0));
    }
    let expected: String = (1..=9).map(|n| format!("line {n}\n")).collect();
    for mut listener in listeners {
        // Whoever has heard all has ended; who has not is stopped, and shows what is missing.
        let heard_all = listener.try_wait().expect("a status").is_some();
        if !heard_all {
            listener.kill().expect("it is stopped");
        }
        let output = listener.wait_with_output().expect("it has ended");
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected);
    }
}

#[test]
fn devices_reach_each_other_once_the_operator_allows_it() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    for name in ["pump", "meter"] {
        let ticket = done(&["realm", "invite", "plant", "--name", name], at);
        done(&["join", &ticket, "--dir", name], at);
    }
    let address = gateway.ready.split("listen=").nth(1).expect("an address").to_owned();
    let _pump = Running::start(&["run", "--dir", "pump", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    let bootstrap = ["run", "--dir", "meter", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0", "--bootstrap", &address];
    let _meter = Running::start(&bootstrap, at);
    let (code, said) = refused(&["send", "pump", "x", "--dir", "meter"], at);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no contact is called pump"), "{said}");
    assert!(done(&["realm", "allow", "plant", "meter", "pump"], at).contains("are contacts now"));
    assert!(done(&["realm", "allow", "plant", "pump", "meter"], at).contains("already"));
    let (code, said) = refused(&["realm", "allow", "plant", "pump", "nobody"], at);
    assert_eq!(code, Some(1), "{said}");
    // Both ask the issuer for the other's card when it is needed: at most every five seconds.
    let reached = (0..5)
        .any(|_| m2mesh(&["send", "pump", "hello", "--dir", "meter"], at).output().expect("it runs").status.success());
    assert!(reached);
    assert_eq!(done(&["receive", "--count", "1", "--dir", "pump"], at), "hello");
}

#[test]
fn a_revoked_device_loses_its_links_and_is_refused_with_the_reason() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE], at);
    for name in ["pump", "meter"] {
        let ticket = done(&["realm", "invite", "plant", "--name", name, "--contact", "all"], at);
        done(&["join", &ticket, "--dir", name], at);
    }
    let bootstrap = gateway.address().to_owned();
    let start = |name| {
        Running::start(&["run", "--dir", name, "--no-mdns", "--listen", ANYWHERE, "--bootstrap", &bootstrap], at)
    };
    let (_pump, _meter) = (start("pump"), start("meter"));
    for name in ["pump", "meter"] {
        done(&["send", "gateway", "here", "--dir", name], at);
        done(&["send", name, "hello", "--dir", "plant"], at);
    }
    // They have each other's cards, too.
    done(&["send", "meter", "hello", "--dir", "pump"], at);
    // By way of a node that is not the issuer's.
    let said = done(&["realm", "revoke", "plant", "meter", "--reason", "stolen", "--via", "pump"], at);
    assert!(said.contains("meter is revoked") && said.contains("tells the mesh bulletin 2"), "{said}");
    let links = |name: &str| done(&["peers", "--json", "--dir", name], at);
    let until = Instant::now() + Duration::from_secs(60);
    while links("plant").contains("meter") || links("meter").contains("peer_id") {
        assert!(Instant::now() < until, "{}\n{}", links("plant"), links("meter"));
        std::thread::park_timeout(Duration::from_millis(50));
    }
    for name in ["plant", "pump"] {
        let (code, said) = refused(&["send", "meter", "are you there", "--dir", name], at);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("meter has been revoked"), "{said}");
    }
    assert!(done(&["log", "--kind", "link-down", "--dir", "plant"], at).contains("revoked"));
    assert!(done(&["contacts", "--dir", "pump"], at).contains("revoked"));
    done(&["send", "gateway", "goes on", "--dir", "pump"], at);
    let listed = done(&["realm", "list", "plant"], at);
    assert!(listed.contains("by bulletin 2: stolen"), "{listed}");
    // The same bulletin by hand is no news; nor is what is none taken.
    std::fs::write(at.join("bulletin.json"), done(&["realm", "bulletin", "plant"], at)).expect("written");
    let (code, _) = refused(&["bulletin", "bulletin.json", "--dir", "pump"], at);
    assert_eq!(code, Some(2));
    std::fs::write(at.join("none.json"), r#"{"bulletin_base64":"AAAA"}"#).expect("written");
    let (code, said) = refused(&["bulletin", "none.json", "--dir", "pump"], at);
    assert_eq!((code, said.contains("malformed")), (Some(1), true), "{said}");
}

/// What an auditor would be handed: a credential as a neighbour has seen it.
#[test]
fn a_neighbours_credential_is_opened_by_the_auditor() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let _gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    let ticket = done(&["realm", "invite", "plant", "--name", "meter"], at);
    done(&["join", &ticket, "--dir", "meter"], at);
    let _meter = Running::start(&["run", "--dir", "meter", "--no-mdns"], at);
    done(&["send", "gateway", "21.5 C", "--dir", "meter"], at);
    let peers = done(&["peers", "--credentials", "--dir", "plant"], at);
    let captured = peers.lines().last().and_then(|line| line.split_whitespace().last()).expect("a credential");
    let told = done(&["realm", "disclose", "plant", captured, "--reason", "case 17"], at);
    assert!(told.contains("(meter)"), "{told}");
    assert!(done(&["realm", "disclose", "plant", "--verify"], at).starts_with("intact: 1 records"));
}

/// Segments and groups are changed in the directory of a node that runs, which tells the mesh at once; so does another that is named.
#[test]
fn what_the_operator_changes_reaches_the_others_by_the_issuers_node() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    let said = done(&["realm", "segment", "plant", "add", "ot"], at);
    assert!(said.contains("the node in plant tells the mesh bulletin 2"), "{said}");
    done(&["realm", "group", "plant", "add", "alarms", "--after", "0s"], at);
    // A device that joins meanwhile is granted the newest bulletin, and the keys that it names.
    let ticket = done(&["realm", "invite", "plant", "--name", "meter", "--segment", "default", "ot"], at);
    done(&["join", &ticket, "--dir", "meter"], at);
    let meter = Running::start(&["run", "--dir", "meter", "--no-mdns"], at);
    let bulletin = |dir: &str| -> u64 {
        let status: serde_json::Value =
            serde_json::from_str(&done(&["status", "--json", "--dir", dir], at)).expect("JSON");
        status["bulletin"].as_u64().expect("a version")
    };
    assert_eq!((bulletin("meter"), bulletin("plant")), (3, 3));
    done(&["send", "gateway", "hello", "--dir", "meter"], at);
    done(&["realm", "group", "plant", "rekey", "alarms", "--readers", "gateway"], at);
    assert_eq!(bulletin("plant"), 4);
    drop(gateway);
    let said = done(&["realm", "segment", "plant", "reach", "default", "ot", "--via", "meter"], at);
    assert!(said.contains("the node in meter tells the mesh bulletin 5"), "{said}");
    assert_eq!(bulletin("meter"), 5);
    drop(meter);
}

/// A device that joins rotates, unless its settings say otherwise; the realm's first device is stable, since others begin there. The mode is told, and set
/// while the node runs.
#[test]
fn a_device_rotates_unless_its_settings_say_otherwise() {
    let place = tempfile::tempdir().expect("a directory");
    let at = place.path();
    done(&["realm", "init", "plant", "--name", "gateway"], at);
    let _gateway = Running::start(&["run", "--dir", "plant", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"], at);
    std::fs::create_dir(at.join("pump")).expect("a directory");
    std::fs::write(at.join("pump/config.toml"), "anonymity = \"stable\"\n").expect("written");
    for name in ["meter", "pump"] {
        let ticket = done(&["realm", "invite", "plant", "--name", name], at);
        done(&["join", &ticket, "--dir", name], at);
    }
    let local = "/ip4/127.0.0.1/tcp/0";
    let _nodes =
        ["meter", "pump"].map(|name| Running::start(&["run", "--dir", name, "--no-mdns", "--listen", local], at));
    let identity = |dir: &str, more: &[&str]| -> serde_json::Value {
        let arguments = [&["identity"], more, &["--json", "--dir", dir]].concat();
        serde_json::from_str(&done(&arguments, at)).expect("JSON")
    };
    for (name, mode) in [("plant", "stable"), ("meter", "rotating"), ("pump", "stable")] {
        let told = identity(name, &["show"]);
        assert_eq!(
            (&told["anonymity"], told["next_change"].is_null()),
            (&mode.into(), mode == "stable"),
            "{name}: {told}"
        );
    }
    let told = identity("pump", &["rotate", "--anonymity", "strict"]);
    assert!(told["anonymity"] == "strict" && told["next_change"] == told["in_force_from"], "{told}");
    let shown = done(&["identity", "show", "--dir", "pump"], at);
    assert!(shown.contains("strict, in force from"), "{shown}");
    assert!(done(&["status", "--dir", "meter"], at).contains("rotating, next change soon after"));
}
