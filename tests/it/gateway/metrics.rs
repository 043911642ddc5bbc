//! What a monitoring system reads: `GET /v1/metrics` and the verb `metrics`, to the rules of the text format.
//!
//! [`parse`] is the format as its description has it, and refuses all else. Where Python has `prometheus_client`, that one's
//! parser reads the same text, and has to find the same; else the test says so, and fails if `M2MESH_CI` is set. `.ci/run` puts it
//! beside the generator of clients.

use crate::support::fake_node::{Background, Shelf};
use m2mesh::client::{Command, Reply, Status};
use m2mesh::counter::Counter;
use m2mesh::metrics::{Gauge, Gauges};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command as Process, Output, Stdio};
use tempfile::TempDir;

fn status() -> Status {
    Status {
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
        clock: "machine".into(),
        clock_difference: None,
        bulletin_overdue: None,
        listen: vec!["/ip4/127.0.0.1/tcp/1".into()],
        gauges: Gauges { links: 4, routers: 3, inbox: 12, uptime_s: 86_400, memory: 20_971_520, ..Gauges::default() },
        store_failure: None,
        serial: vec![],
        twins: vec![],
        quarantined: Vec::new(),
        held: Vec::new(),
        waiting: Vec::new(),
        counters: [(Counter::DataLooped.name().to_owned(), 2)].into(),
    }
}

/// A node that says only what it is.
fn node() -> (TempDir, Background) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = Background::new(directory.path(), Shelf::default(), |call| {
        assert_eq!(call.command, Command::Status);
        call.replies.push(Reply::Status(Box::new(status()))).expect("heard");
    });
    (directory, node)
}

/// Head and body of an answer.
fn get(directory: &Path, path: &str) -> (String, String) {
    let mut stream = UnixStream::connect(directory.join("api.sock")).expect("it listens");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_lowercase(), body.to_owned())
}

fn verb(directory: &Path, arguments: &[&str]) -> Output {
    Process::new(env!("CARGO_BIN_EXE_m2mesh")).arg("--dir").arg(directory).args(arguments).output().expect("it runs")
}

/// Of each metric its type, its labels as they stand, and its value.
type Found = BTreeMap<String, (String, String, f64)>;

fn is_name(text: &str) -> bool {
    let begins = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    text.starts_with(begins) && text.chars().all(|c| begins(c) || c.is_ascii_digit())
}

/// Whether a text has no backslash but before what may be escaped, and none of what must be.
fn is_escaped(text: &str, also: &str) -> bool {
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let fine = match c {
            '\\' => rest.next().is_some_and(|next| next == '\\' || next == 'n' || also.contains(next)),
            c => c != '\n' && !also.contains(c),
        };
        if !fine {
            return false;
        }
    }
    true
}

/// Labels between their braces.
fn are_labels(text: &str) -> bool {
    text.split("\",").all(|pair| {
        let Some((name, value)) = pair.split_once("=\"") else { return false };
        is_name(name) && !name.contains(':') && is_escaped(value.strip_suffix('"').unwrap_or(value), "\"")
    })
}

/// The text format 0.0.4, as a node writes it: each metric is a line of help, one of its type, one with its value.
fn parse(text: &str) -> Result<Found, String> {
    let mut found = Found::new();
    let lines: Vec<&str> = text.strip_suffix('\n').ok_or("the last line does not end")?.split('\n').collect();
    for group in lines.chunks(3) {
        let &[help, kind, sample] = group else { return Err(format!("{group:?} is not whole")) };
        let bad = |what: &str| format!("{what}: {group:?}");
        let (name, help) =
            help.strip_prefix("# HELP ").and_then(|help| help.split_once(' ')).ok_or_else(|| bad("no help"))?;
        let kind = kind.strip_prefix(&format!("# TYPE {name} ")).ok_or_else(|| bad("no type"))?;
        let (series, value) = sample.rsplit_once(' ').ok_or_else(|| bad("no value"))?;
        let labels = series.strip_prefix(name).ok_or_else(|| bad("another name"))?;
        let inner = labels.strip_prefix('{').and_then(|labels| labels.strip_suffix('}'));
        let labelled = inner.map_or(labels.is_empty(), are_labels);
        if !(is_name(name) && is_escaped(help, "") && ["counter", "gauge"].contains(&kind) && labelled) {
            return Err(bad("against the rules"));
        }
        let value: f64 = value.parse().map_err(|_| bad("no number"))?;
        if found.insert(name.to_owned(), (kind.to_owned(), labels.to_owned(), value)).is_some() {
            return Err(bad("told twice"));
        }
    }
    Ok(found)
}

/// What the parser of Python's `prometheus_client` finds: name, type, value. `None` where there is none.
fn parsed_by_another(text: &str) -> Option<BTreeMap<String, (String, f64)>> {
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools/openapi/bin/python");
    let knows = |python: &&Path| {
        let known = Process::new(python).args(["-c", "import prometheus_client.parser"]).output();
        known.is_ok_and(|output| output.status.success())
    };
    let mut python = Process::new([&*made, Path::new("python3")].into_iter().find(knows)?)
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it has just run");
    python.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = python.wait_with_output().expect("it ends");
    assert!(output.status.success(), "prometheus_client cannot read it");
    Some(serde_json::from_slice(&output.stdout).expect("its JSON"))
}

const READ: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as read
families = read(sys.stdin.read())
print(json.dumps({s.name: [f.type, s.value] for f in families for s in f.samples}))
";

#[test]
fn the_exposition_keeps_the_rules_of_its_format_and_says_what_status_says() {
    let (directory, _node) = node();
    let (head, text) = get(directory.path(), "/v1/metrics");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let found = parse(&text).expect("it keeps the rules");
    assert_eq!(found.len(), 1 + Gauge::ALL.len() + Counter::ALL.len());
    for (name, kind, labels, value) in [
        ("m2mesh_info", "gauge", r#"{name="hub",realm="00ff",version="0.1.0"}"#, 1.0),
        ("m2mesh_links", "gauge", "", 4.0),
        ("m2mesh_inbox_messages", "gauge", "", 12.0),
        ("m2mesh_uptime_seconds", "gauge", "", 86_400.0),
        ("m2mesh_memory_bytes", "gauge", "", 20_971_520.0),
        ("m2mesh_data_looped_total", "counter", "", 2.0),
        ("m2mesh_messages_late_total", "counter", "", 0.0),
    ] {
        assert_eq!(found.get(name), Some(&(kind.to_owned(), labels.to_owned(), value)), "{name}");
    }
    match parsed_by_another(&text) {
        Some(read) => {
            let ours = found.into_iter().map(|(name, (kind, _, value))| (name, (kind, value)));
            assert_eq!(read, ours.collect());
        }
        None => {
            assert!(std::env::var_os("M2MESH_CI").is_none(), "Python has no prometheus_client: see .ci/run");
            eprintln!("SKIPPED: Python has no prometheus_client; the text was read by the test's own parser alone");
        }
    }
}

#[test]
fn the_verb_prints_what_the_node_answers_and_the_same_as_data() {
    let (directory, _node) = node();
    let printed = verb(directory.path(), &["metrics"]);
    assert_eq!(String::from_utf8_lossy(&printed.stdout), get(directory.path(), "/v1/metrics").1);
    let printed = verb(directory.path(), &["metrics", "--json"]);
    let data: Vec<Value> = serde_json::from_slice(&printed.stdout).expect("JSON");
    let one = |name: &str| data.iter().find(|sample| sample["name"] == name).expect("it is there").clone();
    let help = "Messages waiting in the inbox.";
    assert_eq!(
        one("m2mesh_inbox_messages"),
        json!({"name": "m2mesh_inbox_messages", "type": "gauge", "unit": "messages", "help": help, "value": 12})
    );
    assert_eq!(one("m2mesh_epoch")["unit"], Value::Null);
    assert_eq!(one("m2mesh_info")["labels"], json!({"name": "hub", "realm": "00ff", "version": "0.1.0"}));
    let told = parse(&get(directory.path(), "/v1/metrics").1).expect("it keeps the rules");
    assert_eq!(data.len(), told.len());
    for sample in &data {
        let (kind, _, value) = &told[sample["name"].as_str().expect("a name")];
        assert_eq!((sample["type"].as_str(), sample["value"].as_f64()), (Some(kind.as_str()), Some(*value)));
    }
}

#[test]
fn a_status_has_each_gauge_under_its_one_name() {
    let (directory, _node) = node();
    let status: Value = serde_json::from_str(&get(directory.path(), "/v1/status").1).expect("JSON");
    for gauge in Gauge::ALL {
        assert!(status[gauge.name].is_u64(), "{} in {status}", gauge.name);
    }
    // What programs have read since there was a status.
    for (name, value) in [("links", 4), ("routers", 3), ("inbox", 12), ("uptime_s", 86_400), ("epoch", 0)] {
        assert_eq!(status[name], value, "{name}");
    }
    for name in ["bulletin", "contacts", "outgoing", "log_records", "pid", "counters", "twins", "epoch_ends"] {
        assert!(!status[name].is_null(), "{name}");
    }
    let described = get(directory.path(), "/openapi.json").1;
    let described: Value = serde_json::from_str(&described).expect("JSON");
    for gauge in Gauge::ALL {
        let field = &described["components"]["schemas"]["Gauges"]["properties"][gauge.name];
        assert_eq!(field["description"], gauge.help, "{}", gauge.name);
    }
}

#[test]
fn the_parser_refuses_what_is_against_the_rules() {
    let sound = "# HELP m_a A.\n# TYPE m_a gauge\nm_a{x=\"b\\\"\\\\\\n\",y=\"\"} 1\n";
    parse(sound).expect("it is sound");
    for (part, instead) in [
        ("gauge\n", "count\n"),
        ("m_a{", "m_b{"),
        ("# HELP m_a A.\n", ""),
        ("\\\"", "\""),
        ("\\n", "\\t"),
        ("A.", "A\\."),
        ("} 1", "} one"),
        ("} 1\n", "} 1"),
        ("x=", "1x="),
    ] {
        assert!(parse(&sound.replacen(part, instead, 1)).is_err(), "{part:?} as {instead:?}");
    }
    assert!(parse(&sound.repeat(2)).is_err(), "told twice");
}
