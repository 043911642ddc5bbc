//! The command as a user meets it: help, errors, and the verbs against a test in the node's place.

#![allow(clippy::panic)] // a test that meets something else than it expects has failed

mod realm;

use crate::support::fake_node::{Background, Shelf};
use crate::support::limit;
use crate::support::processes::{self, PROGRAM, Process};
use m2mesh::client::{Call, Command, Reply, Status};
use m2mesh::engine::api::{self, Outcome, Published};
use m2mesh::event_log::Event;
use m2mesh::id::{InnerId, Name, StreamId};
use m2mesh::metrics::Gauges;
use m2mesh::net::serial::LineState;
use m2mesh::time::Unix;
use serde_json::Value;
use std::path::Path;
use std::process::{self, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tempfile::TempDir;

fn m2mesh(arguments: &[&str]) -> Output {
    fed(arguments, b"")
}

/// Runs the command with this on standard input.
fn fed(arguments: &[&str], input: &[u8]) -> Output {
    limit::output(processes::fed(processes::m2mesh(arguments, &std::env::temp_dir()), input), "the command")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// A served directory and how a verb is pointed at it.
struct Served {
    directory: TempDir,
    _node: Background,
}

impl Served {
    fn new(shelf: Shelf, node: impl FnMut(Call) + Send + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let node = Background::new(directory.path(), shelf, node);
        Self { directory, _node: node }
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        limit::output(processes::fed(self.command(arguments), input), "a verb")
    }

    fn command(&self, arguments: &[&str]) -> process::Command {
        let directory = self.directory.path().to_str().expect("a path");
        processes::m2mesh(&[&["--dir", directory], arguments].concat(), self.directory.path())
    }
}

/// Names of the subcommands that a help text lists.
fn verbs(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next().filter(|_| !line.starts_with("   ")))
        .filter(|verb| *verb != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_verb_has_help_with_an_example() {
    let mut paths = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(path) = paths.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = m2mesh(&arguments);
        let help = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{path:?}");
        assert!(help.contains("Example"), "{path:?} has no example:\n{help}");
        assert!(help.contains("m2mesh "), "{path:?}");
        paths.extend(verbs(help).into_iter().map(|verb| [path.clone(), vec![verb]].concat()));
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} verbs were found in the help");
}

#[test]
fn completions_and_the_manual_name_every_verb() {
    let all = verbs(text(&m2mesh(&["--help"]).stdout));
    assert!(all.len() >= 16, "{all:?}");
    let mut texts: Vec<String> = Vec::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = m2mesh(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        texts.push(text(&output.stdout).to_owned());
    }
    // A hyphen is escaped in a manual page.
    texts.push(text(&m2mesh(&["man"]).stdout).replace('\\', ""));
    for whole in &texts {
        for verb in &all {
            assert!(whole.contains(verb.as_str()), "{verb} is missing in {}", &whole[..whole.len().min(200)]);
        }
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    let out = place.path().join("man1");
    assert_eq!(m2mesh(&["man", "--out", out.to_str().expect("a path")]).status.code(), Some(0));
    for name in all.iter().map(|verb| format!("m2mesh-{verb}")).chain(["m2mesh".into(), "m2mesh-realm-init".into()]) {
        let page = std::fs::read_to_string(out.join(format!("{name}.1"))).expect("a page");
        assert!(page.contains(".SH SYNOPSIS") && page.contains("Example"), "{name}");
    }
    assert_eq!(m2mesh(&["completions", "tcsh"]).status.code(), Some(1));
}

#[test]
fn mistakes_are_errors_with_a_way_out() {
    for (arguments, expected) in [
        (&["pers"][..], "peers"),
        (&["send", "a", "b", "--deadline", "soon"], "250ms"),
        (&["send", "a", "b", "--class", "urgent"], "alarm"),
        (&["send", "a"], "PAYLOAD"),
        (&["send", "group:plant/a", "b"], "m2mesh publish plant/a"),
        (&["send", "any:a/b", "b"], "any:SERVICE"),
        (&["send", "any:adder", "--lines"], "one by one"),
        (&["request", "all", "b"], "m2mesh publish"),
        (&["request", "group:plant/a", "b", "--repeat"], "leave out --repeat"),
        (&["realm", "invite", ".", "--name", "a", "--role", "king"], "broadcast"),
        (&["send", "a/b", "c"], "contacts"),
        (&["send", "a", "@/nonexistent/file"], "/nonexistent/file"),
        (&["offer", "adder"], "--echo"),
        (&["offer", "adder", "--echo", "--exec", "cat"], "--exec"),
        (&["receive", "--count", "0"], "--count"),
        (&["log", "--since", "noon"], "2026-01-31T12:00:00Z"),
        (&["lab", "--epoch", "7s"], "divides a day"),
        (&["lab", "--nodes", "0"], "--nodes"),
        (&["join", "nonsense"], "realm invite"),
        (&["realm", "list", "/nonexistent"], "realm init"),
        (&["--log", "m2mesh=loud", "peers"], "debug"),
    ] {
        let output = m2mesh(arguments);
        let complaint = text(&output.stderr);
        let expected_code = if arguments[0] == "join" { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(expected_code), "{arguments:?}: {complaint}");
        assert!(complaint.contains(expected), "{arguments:?}: {complaint}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {}", text(&output.stdout));
    }
}

#[test]
fn errors_are_one_json_object_when_machines_read_them() {
    let empty = tempfile::tempdir().expect("a temporary directory");
    let place = empty.path().to_str().expect("a path");
    for arguments in [
        &["--json", "pers"][..],
        &["send", "a", "b", "--deadline", "soon", "--json"],
        &["send", "all", "b", "--json"],
        &["--dir", place, "--json", "status"],
        &["--dir", place, "--json", "log"],
        &["--dir", place, "--json", "log", "verify"],
        &["--dir", place, "--json", "lab", "status"],
    ] {
        let output = m2mesh(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error: Value = serde_json::from_slice(&output.stderr).expect("JSON and nothing else");
        for field in ["error", "hint"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn a_message_ends_in_an_outcome_and_an_exit_code() {
    let served = Served::new(Shelf::default(), |call| {
        let Command::Send(send) = &call.command else { panic!("{:?}", call.command) };
        let outcome = match send.payload.as_slice() {
            b"\xff\0" => Outcome::Delivered { latency_us: 1_234, hops: 1, price: 0 },
            _ => Outcome::Expired { reason: "no receipt came\x1b[2J".into() },
        };
        call.replies.push(Reply::Outcome(outcome)).expect("heard");
    });
    let output = served.run(&["send", "meter", "-"], b"\xff\0");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "delivered to meter in 1.2 ms, 1 hop\n"));
    let output = served.run(&["send", "meter", "late"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "expired: no receipt came\\u{1b}[2J\n");
    let output = served.run(&["send", "meter", "late", "--json"], b"");
    let outcome: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), outcome["outcome"].as_str()), (Some(2), Some("expired")));
}

/// Runs a verb whose output nobody can take; its exit code and what it says on standard error.
fn unprinted(served: &Served, arguments: &[&str]) -> (Option<i32>, String) {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
    let mut command = served.command(arguments);
    command.stdout(full).stderr(Stdio::piped());
    let output = limit::output(command.spawn().expect("it runs"), "a verb");
    (output.status.code(), text(&output.stderr).to_owned())
}

#[test]
fn what_became_of_a_message_is_its_exit_code_whether_or_not_it_can_be_printed() {
    let served = Served::new(Shelf::default(), |call| {
        let outcome = match &call.command {
            Command::Send(send) if send.payload == b"late" => Outcome::Expired { reason: "no receipt came".into() },
            _ => Outcome::Delivered { latency_us: 1_234, hops: 2, price: 1_250_000 },
        };
        call.replies.push(Reply::Outcome(outcome)).expect("heard");
    });
    for (arguments, code) in [
        (&["send", "meter", "21"][..], 0),
        (&["send", "meter", "21", "--json"], 0),
        (&["send", "meter", "late"], 2),
        (&["publish", "plant/a", "21"], 0),
    ] {
        let (found, said) = unprinted(&served, arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains("cannot write the output"), "{arguments:?}: {said}");
    }
    let output = served.run(&["send", "meter", "21"], b"");
    assert_eq!(text(&output.stdout), "delivered to meter in 1.2 ms, 2 hops, price 1.25\n");
}

#[test]
fn payloads_come_out_as_they_are_when_that_is_asked() {
    let shelf = Shelf::default();
    shelf.put_inbox(1, &[b"\xff\0", b"two"]);
    let (node, _) = inbox(1, 2);
    let served = Served::new(shelf, node);
    assert_eq!(served.run(&["receive", "--raw", "--keep"], b"").stdout, b"\xff\0two");
    assert_eq!(served.run(&["receive", "--keep"], b"").stdout, b"\xff\0\ntwo\n");
    assert_eq!(served.run(&["receive", "--raw", "--json"], b"").status.code(), Some(1));
}

#[test]
fn lines_are_summed_up() {
    let mut count = 0;
    let served = Served::new(Shelf::default(), move |call| {
        count += 1;
        let outcome = match count % 1_000 {
            0 => Outcome::Unreachable { reason: "no link".into() },
            _ => Outcome::Delivered { latency_us: 200, hops: 1, price: 0 },
        };
        call.replies.push(Reply::Outcome(outcome)).expect("heard");
    });
    let input = "reading\n".repeat(3_000);
    let output = served.run(&["send", "meter", "--lines"], input.as_bytes());
    let summary = text(&output.stdout);
    assert!(summary.starts_with("3000 lines in "), "{summary}");
    assert!(summary.contains("2997 delivered, 3 unreachable; p50 "), "{summary}");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("line 1000 unreachable: no link"));

    let output = served.run(&["send", "meter", "--lines", "--json"], b"one\ntwo\n");
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((lines[2]["summary"]["lines"].as_u64(), output.status.code()), (Some(2), Some(0)));
}

#[test]
fn a_response_comes_out_as_it_is() {
    let served = Served::new(Shelf::default(), |call| {
        let reply = match &call.command {
            Command::Request { service: Some(service), send } if service == "echo" => Reply::Response {
                from: send.to.clone(),
                payload: send.payload.clone(),
                latency: Duration::from_millis(1),
            },
            _ => Reply::Outcome(Outcome::Refused { reason: "no such service".into() }),
        };
        call.replies.push(reply).expect("heard");
    });
    let output = served.run(&["request", "meter/echo", "-"], b"\0\xfe no new line");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"\0\xfe no new line"[..]));
    let output = served.run(&["request", "meter/clock", "now"], b"");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("no such service"));
}

#[test]
fn a_subscription_prints_payloads_until_there_are_enough() {
    let mut standing = Vec::new();
    let served = Served::new(Shelf::default(), move |call| {
        assert_eq!(call.command, Command::subscribe("plant/+"));
        call.replies.push(Reply::Ready).expect("heard");
        for payload in ["one", "two", "three"] {
            let from = Some(Name::new("meter").expect("a name"));
            let (topic, sent) = ("plant/a".to_owned(), Unix::from_seconds(1));
            let published =
                Published { topic, payload: payload.into(), from, sent, sent_error: None, lost: 0, request: None };
            call.replies.push(Reply::Published(published)).expect("heard");
        }
        standing.push(call);
    });
    let output = served.run(&["subscribe", "plant/+", "--count", "2"], b"");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "one\ntwo\n"));
    let output = served.run(&["subscribe", "plant/+", "--count", "1", "--json"], b"");
    let message: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((message["from"].as_str(), message["topic"].as_str()), (Some("meter"), Some("plant/a")));
}

/// Answers what `receive` asks; tells of what was consumed.
fn inbox(first: u64, last: u64) -> (impl FnMut(Call) + Send + 'static, mpsc::Receiver<u64>) {
    let (sender, consumed) = mpsc::sync_channel(16);
    let mut following = Vec::new();
    let node = move |call: Call| match call.command {
        Command::Receive { .. } => {
            call.replies.push(Reply::Inbox { first, last }).expect("heard");
            following.push(call);
        }
        Command::Consume { up_to, .. } => {
            sender.send(up_to).expect("the test listens");
            call.replies.push(Reply::Ready).expect("heard");
        }
        // Whether there is such a sender.
        Command::Contacts => {
            let odd = api::Contact { name: "odd".into(), neighbour: true, changed: None };
            call.replies.push(Reply::Contacts(vec![odd])).expect("heard");
        }
        other => panic!("{other:?}"),
    };
    (node, consumed)
}

#[test]
fn messages_are_consumed_once_they_are_printed() {
    let shelf = Shelf::default();
    shelf.put_inbox(1, &[b"a", b"b", b"c"]);
    let (node, consumed) = inbox(1, 3);
    let served = Served::new(shelf, node);
    assert_eq!(text(&served.run(&["receive", "--from", "odd"], b"").stdout), "a\nc\n");
    assert_eq!(text(&served.run(&["receive", "--keep"], b"").stdout), "a\nb\nc\n");
    assert!(consumed.try_recv().is_err(), "nothing is consumed by looking");
    assert_eq!(text(&served.run(&["receive", "--count", "2"], b"").stdout), "a\nb\n");
    assert_eq!(consumed.try_iter().last(), Some(2));
    assert_eq!(text(&served.run(&["receive"], b"").stdout), "a\nb\nc\n");
    assert_eq!(consumed.try_iter().last(), Some(3));
}

#[test]
fn what_cannot_be_printed_is_not_consumed() {
    let shelf = Shelf::default();
    shelf.put_inbox(1, &[b"a"]);
    let (node, consumed) = inbox(1, 1);
    let served = Served::new(shelf, node);
    assert_eq!(unprinted(&served, &["receive"]).0, Some(1));
    assert!(consumed.try_recv().is_err());
}

/// Runs an offer until it has answered one call with this payload; the answer.
fn answered(arguments: &[&str], payload: &'static [u8]) -> Result<Vec<u8>, String> {
    let (sender, answers) = mpsc::sync_channel(16);
    let mut standing = Vec::new();
    let served = Served::new(Shelf::default(), move |call| match &call.command {
        Command::Offer { service, .. } => {
            let id = InnerId { stream: StreamId([1; 16]), sequence: 9 };
            let from = Name::new("meter").expect("a name");
            let called =
                api::Call { call: 4, service: service.clone(), from, id, payload: payload.to_vec(), blob: None };
            call.replies.push(Reply::Ready).expect("heard");
            call.replies.push(Reply::Call(called)).expect("heard");
            standing.push(call);
        }
        Command::Respond { call: 4, answer } => {
            call.replies.push(Reply::Ready).expect("heard");
            sender.send(answer.clone()).expect("the test listens");
            standing.clear();
        }
        other => panic!("{other:?}"),
    });
    let mut command = served.command(arguments);
    let offer = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    let answer = answers.recv_timeout(Duration::from_secs(60));
    drop(offer);
    answer.expect("an answer in time")
}

#[test]
fn offers_answer_by_echo_and_by_program() {
    assert_eq!(answered(&["offer", "echo", "--echo"], b"\xff same"), Ok(b"\xff same".to_vec()));
    let script = "read line; echo \"$M2MESH_FROM $M2MESH_SERVICE ${M2MESH_MESSAGE_ID##*/} $line\"";
    let answer = answered(&["offer", "adder", "--exec", "sh", "-c", script], b"1 2");
    assert_eq!(answer, Ok(b"meter adder 9 1 2\n".to_vec()));
    let answer = answered(&["offer", "adder", "--exec", "sh", "-c", "echo 'no numbers' >&2; exit 3"], b"");
    assert_eq!(answer, Err("no numbers".to_owned()));
    let answer = answered(&["offer", "adder", "--exec", "/nonexistent"], b"");
    assert!(answer.is_err_and(|reason| reason.contains("cannot be started")));
    let answer = answered(&["offer", "flood", "--exec", "sh", "-c", "head -c 200000 /dev/zero"], b"");
    assert!(answer.is_err_and(|reason| reason.contains("does not take the response")), "it keeps no blobs");
}

#[test]
fn the_log_is_shown_and_verified_through_the_node() {
    let shelf = Shelf::default();
    shelf.put_log(vec![Event::Started { version: "0".into() }, Event::EpochChanged { epoch: 7 }]);
    let served = Served::new(shelf.clone(), |call| panic!("{:?}", call.command));
    let output = served.run(&["log", "--kind", "epoch-changed"], b"");
    let line = text(&output.stdout);
    assert!(line.contains("epoch-changed") && line.contains('7') && line.lines().count() == 1, "{line}");
    let output = served.run(&["log", "verify"], b"");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stdout).starts_with("intact: 2 records"));
    shelf.put(m2mesh::engine::store::Table::Log, &2u64.to_be_bytes(), vec![0]);
    let output = served.run(&["log", "verify"], b"");
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stdout).starts_with("broken: record 2 "), "{}", text(&output.stdout));
}

#[test]
fn a_status_is_read_by_people_and_by_machines() {
    let served = Served::new(Shelf::default(), |call| {
        let status = Status {
            name: "hub".into(),
            realm: "00ff".into(),
            version: "0.1.0".into(),
            pid: 7,
            peer_id: "12D3".into(),
            anonymity: "rotating".into(),
            next_change: None,
            epoch_ends: "2026-01-31T12:00:00.000Z".into(),
            credentials_until: "2026-02-07T12:00:00.000Z".into(),
            credentials_failure: None,
            clock: "learnt".into(),
            clock_difference: Some("the clock of the device at /ip4/192.0.2.7/tcp/7707 says noon".into()),
            bulletin_overdue: None,
            listen: vec!["/ip4/127.0.0.1/tcp/1".into()],
            gauges: Gauges { links: 4, routers: 3, contacts: 4, log_records: 2, uptime_s: 3, ..Gauges::default() },
            store_failure: Some("no space left".into()),
            serial: vec![LineState { device: "/dev/ttyUSB0".into(), baud: 9_600, links: 1, failure: None }],
            twins: vec!["pump runs at /ip4/192.0.2.1/tcp/7 and /ip4/192.0.2.2/tcp/7".into()],
            quarantined: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            counters: [("busy".to_owned(), 2)].into(),
        };
        call.replies.push(Reply::Status(Box::new(status))).expect("heard");
    });
    let output = served.run(&["status"], b"");
    let shown = text(&output.stdout);
    assert!(shown.contains("links        4") && shown.contains("dropped      busy 2"), "{shown}");
    assert!(shown.contains("disk         takes no writes") && shown.contains("no space left"), "{shown}");
    assert!(shown.contains("serial line  /dev/ttyUSB0 at 9600 baud, 1 link\n"), "{shown}");
    assert!(shown.contains("clock        the clock of the device at"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours in a pipe");
    let output = served.run(&["status", "--json"], b"");
    let status: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(status["counters"]["busy"], 2);
}

#[test]
fn a_closed_output_is_no_error() {
    let shelf = Shelf::default();
    shelf.put_log((0..5_000).map(|epoch| Event::EpochChanged { epoch }).collect());
    let served = Served::new(shelf, |call| panic!("{:?}", call.command));
    let directory = served.directory.path().to_str().expect("a path");
    let script = format!("'{}' --dir '{directory}' log | head -1", PROGRAM);
    let output = process::Command::new("sh").args(["-c", &script]).output().expect("it runs");
    assert_eq!((text(&output.stdout).lines().count(), text(&output.stderr)), (1, ""));
}

#[test]
fn a_realm_is_made_listed_and_not_made_twice() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path().join("plant");
    let place = place.to_str().expect("a path");
    let output = m2mesh(&["realm", "init", place, "--name", "hub", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let output = m2mesh(&["realm", "init", place, "--name", "hub"]);
    assert_eq!(output.status.code(), Some(1));
    let output = m2mesh(&["realm", "invite", place, "--name", "meter-17"]);
    assert!(text(&output.stderr).contains("--address"), "a ticket that leads nowhere is not made");
    let nowhere = directory.path().join("nowhere");
    let output = m2mesh(&["realm", "invite", nowhere.to_str().expect("a path"), "--name", "meter-17"]);
    let said = text(&output.stderr);
    assert!(said.contains("holds no realm") && !said.contains("m2mesh run"), "{said}");
    let address = "/ip4/127.0.0.1/tcp/7300";
    let output = m2mesh(&["realm", "invite", place, "--name", "meter-17", "--address", address]);
    let ticket = text(&output.stdout).trim().to_owned();
    assert!(ticket.starts_with("m2m1"), "{ticket}");
    let output = m2mesh(&["realm", "list", place, "--json"]);
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&list["devices"][0]["name"], &list["tickets"][0]["name"]), (&"hub".into(), &"meter-17".into()));
    assert!(!text(&output.stdout).contains(&ticket), "a ticket is shown once");
    assert!(Path::new(place).join("identity").is_dir());
}
