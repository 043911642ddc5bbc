//! A lab of real processes: topologies, cuts, shapes, nodes that are killed and start again.

use crate::support::limit;
use crate::support::processes::{Running, done, m2mesh, refused};
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::Lab;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// A running lab in `at/lab`.
struct Place<'a> {
    at: &'a Path,
    lab: Running,
}

impl<'a> Place<'a> {
    fn start(at: &'a Path, arguments: &[&str]) -> Self {
        let all = [&["lab", "--dir", "lab"], arguments].concat();
        Self { at, lab: Running::start(&all, at) }
    }

    fn lab(&self, verb: &[&str]) -> String {
        done(&[&["lab", "--dir", "lab"], verb].concat(), self.at)
    }

    fn refused(&self, verb: &[&str]) -> (Option<i32>, String) {
        refused(&[&["lab", "--dir", "lab"], verb].concat(), self.at)
    }

    /// What a node's verb answers.
    fn node(&self, node: &str, verb: &str) -> Value {
        let directory = format!("lab/{node}");
        serde_json::from_str(&done(&[verb, "--json", "--dir", &directory], self.at)).expect("JSON")
    }

    fn log(&self, node: &str) -> String {
        let directory = format!("lab/{node}");
        done(&["log", "--dir", &directory], self.at)
    }

    /// Names of a node's peers.
    fn peers(&self, node: &str) -> Vec<String> {
        let peers = self.node(node, "peers");
        let peers = peers.as_array().expect("a list").iter();
        peers.map(|peer| peer["name"].as_str().expect("a name").to_owned()).collect()
    }

    fn lab_ends_well(mut self) {
        assert_eq!(self.lab.stop_by("-INT"), Some(0));
    }
}

/// Asks until the answer is yes; each question takes a process, so this is no busy loop. Says how long it took.
fn until(what: &str, mut yes: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !yes() {
        assert!(began.elapsed() < LIMIT, "not within {} s: {what}", LIMIT.as_secs());
    }
    began.elapsed()
}

#[test]
fn a_topology_is_kept_and_a_cut_link_heals() {
    let place = tempfile::tempdir().expect("a directory");
    let lab = Place::start(place.path(), &["--nodes", "3", "--topology", "line"]);
    assert!(lab.lab.ready.contains("3 nodes, 2 links"), "{}", lab.lab.ready);
    // node-2 tells a newcomer where the others are, and it tries to reach them.
    lab.lab(&["kill", "node-3"]);
    lab.lab(&["start", "node-3"]);
    let kept_apart = |node| lab.node(node, "status")["counters"]["connections_cut"].as_u64().unwrap_or_default();
    until("the ends of the line meet and stay apart", || kept_apart("node-1") > 0 && kept_apart("node-3") > 0);
    assert_eq!([lab.peers("node-1"), lab.peers("node-3")], [["node-2"], ["node-2"]]);

    // Whoever was on its way to node-3 when that was killed may be told of before.
    let before = [lab.log("node-1"), lab.log("node-3")];
    lab.lab(&["cut", "node-2", "node-1"]);
    until("both ends see the cut", || lab.peers("node-1").is_empty() && lab.peers("node-2") == ["node-3"]);
    let times = kept_apart("node-1");
    until("node-1 is met again, and kept apart", || kept_apart("node-1") > times);
    assert!(lab.peers("node-1").is_empty());
    // A question takes as long as the machine has else to do.
    let question = until("a question is answered", || lab.peers("node-2") == ["node-3"]);
    let healed: Value = serde_json::from_str(&lab.lab(&["heal", "node-1", "node-2", "--json"])).expect("JSON");
    assert_eq!(healed["cut"], false);
    let took = until("the healed link is up", || lab.peers("node-1") == ["node-2"]);
    assert!(took < Duration::from_secs(4) + question * 10, "it took {took:?}, a question {question:?}");

    for ((node, other), before) in [("node-1", "node-3"), ("node-3", "node-1")].into_iter().zip(before) {
        let log = lab.log(node);
        let since = log.strip_prefix(&before).expect("it goes on");
        assert!(!since.contains("refused"), "nobody is to blame for a cut:\n{log}");
        assert!(!log.contains(other), "they were linked:\n{log}");
    }
    let (code, said) = lab.refused(&["heal", "node-1", "node-3"]);
    assert!(code == Some(1) && said.contains("topology has no link"), "{said}");
    lab.lab_ends_well();
}

#[test]
fn a_killed_node_comes_back_as_it_was() {
    let place = tempfile::tempdir().expect("a directory");
    let lab = Place::start(place.path(), &["--nodes", "2"]);
    lab.lab(&["shape", "node-1", "node-2", "--delay", "50ms", "--price", "7"]);
    for node in ["node-1", "node-2"] {
        let peer = || lab.node(node, "peers")[0].clone();
        // Half of it while the other end was not told yet.
        until("the round trip is measured", || peer()["rtt_us"].as_u64().is_some_and(|rtt| rtt >= 100_000));
        assert_eq!((&peer()["shape"]["delay"], &peer()["shape"]["price"]), (&"50ms".into(), &7.0.into()));
    }
    let (listen, first) = {
        let status: Value = serde_json::from_str(&lab.lab(&["status", "--json"])).expect("JSON");
        (status[1]["listen"].clone(), status[1]["pid"].clone())
    };

    assert!(lab.lab(&["kill", "node-2"]).contains("node-2 killed"));
    // It is down on purpose: the lab goes on, and its status is no error.
    let status: Value = serde_json::from_str(&lab.lab(&["status", "--json"])).expect("JSON");
    assert_eq!(status[1]["state"], "killed");
    let (code, said) = lab.refused(&["kill", "node-2"]);
    assert!(code == Some(1) && said.contains("down already"), "{said}");
    // What is said of a link now holds when the node is there again.
    lab.lab(&["shape", "node-1", "node-2", "--loss", "1%"]);

    assert!(lab.lab(&["start", "node-2"]).contains("node-2 up"));
    let (code, said) = lab.refused(&["start", "node-2"]);
    assert!(code == Some(1) && said.contains("runs already"), "{said}");
    until("they are linked again", || lab.peers("node-2") == ["node-1"]);
    let peer = lab.node("node-2", "peers")[0].clone();
    assert_eq!(peer["shape"], serde_json::json!({ "delay": "50ms", "loss": 0.01, "price": 7.0 }));
    done(&["send", "node-1", "hello", "--dir", "lab/node-2"], lab.at);
    let status: Value = serde_json::from_str(&lab.lab(&["status", "--json"])).expect("JSON");
    assert_eq!((&status[1]["state"], &status[1]["listen"]), (&"up".into(), &listen));
    assert_ne!(status[1]["pid"], first);

    lab.lab(&["shape", "node-2", "node-1", "--off"]);
    assert_eq!(lab.node("node-1", "peers")[0].get("shape"), None);
    lab.lab_ends_well();
}

#[test]
fn nodes_are_named_and_numbers_checked() {
    let place = tempfile::tempdir().expect("a directory");
    std::fs::write(place.path().join("star"), "node-1 node-2\nnode-1 node-3\n").expect("written");
    let lab = Place::start(place.path(), &["--nodes", "3", "--topology", "star"]);
    for (verb, expected) in [
        (&["cut", "node-1", "nod-2"][..], "did you mean node-2?"),
        (&["cut", "node-1", "node-1"], "no link with itself"),
        (&["shape", "node-1", "node-2", "--loss", "0.95"], "cut the link"),
        (&["shape", "node-1", "node-2", "--jitter", "5ms"], "at most the delay"),
        (&["kill", "node-7"], "did you mean"),
        (&["shape", "node-1", "node-2", "--price", "-1"], "unexpected argument"),
        (&["shape", "node-1", "node-2", "--price=-1"], "units of money a MB"),
        (&["--nodes", "4", "status"], "--nodes is for a lab that is to start"),
        // All that is wrong, and how it is written.
        (&["exec", "node-1", "--", "send"], "<DEST>"),
        (&["exec", "node-1", "--", "send"], "write it as `m2mesh send"),
    ] {
        let (code, said) = lab.refused(verb);
        assert!(code == Some(1) && said.contains(expected), "{verb:?}: {said}");
    }
    let (code, said) = lab.refused(&["exec", "node-1", "--", "send", "node-2", "--json"]);
    let error: Value = serde_json::from_str(&said).expect("JSON and nothing else");
    assert!(code == Some(1) && error["error"].is_string() && error["hint"].is_string(), "{said}");
    lab.lab_ends_well();
    let (code, said) = refused(&["lab", "--dir", "lab", "cut", "node-1", "node-2"], place.path());
    assert!(code == Some(1) && said.contains("no lab runs"), "{said}");
}

#[tokio::test]
async fn a_node_outside_a_lab_takes_no_such_orders() {
    let place = tempfile::tempdir().expect("a directory");
    done(&["realm", "init", "plant", "--name", "gateway"], place.path());
    let run = ["run", "--dir", "plant", "--no-mdns", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let _node = Running::start(&run, place.path());
    let client = Client::new(place.path().join("plant"));
    let orders = Lab { cut: ["pump".to_owned()].into(), ..Lab::default() };
    for answer in [client.get::<Lab>("/v1/lab", &()).await, client.put("/v1/lab", &orders).await] {
        assert!(
            matches!(&answer, Err(ClientError::Api(body)) if body.error == "this node is not in a lab"),
            "{answer:?}"
        );
    }
    assert!(!place.path().join("plant/lab.toml").exists());
}

/// How long anything here may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn lines_survive_their_node_and_each_arrives_once() {
    let place = tempfile::tempdir().expect("a directory");
    let lab = Place::start(place.path(), &["--nodes", "2"]);
    lab.lab(&["cut", "node-1", "node-2"]);
    let lines: String = (1..=300).map(|number| format!("{number}\n")).collect();
    std::fs::write(place.path().join("lines"), &lines).expect("a file");
    let sending = ["send", "node-2", "--lines", "--json", "--deadline", "60s", "--dir", "lab/node-1"];
    let input = std::fs::File::open(place.path().join("lines")).expect("the file");
    let send = m2mesh(&sending, place.path()).stdin(input).stdout(std::process::Stdio::piped()).spawn();
    let send = send.expect("the command runs");
    until("all lines are under way", || lab.node("node-1", "status")["outgoing"] == 300);
    lab.lab(&["kill", "node-1"]);
    lab.lab(&["start", "node-1"]);
    lab.lab(&["heal", "node-1", "node-2"]);
    let told = limit::output(send, "the sender");
    assert!(told.status.success());
    let told = String::from_utf8(told.stdout).expect("JSON");
    assert_eq!(told.lines().filter(|line| line.contains(r#""outcome":"delivered""#)).count(), 300);
    let inbox = done(&["receive", "--dir", "lab/node-2"], place.path());
    let mut there: Vec<u32> = inbox.lines().map(|line| line.parse().expect("a number")).collect();
    there.sort_unstable();
    assert_eq!(there, (1..=300).collect::<Vec<_>>());
    lab.lab_ends_well();
}

#[test]
fn a_silent_cut_leaves_the_link_and_nothing_passes_until_it_heals() {
    let place = tempfile::tempdir().expect("a directory");
    let lab = Place::start(place.path(), &["--nodes", "2"]);
    until("they are linked", || lab.peers("node-1") == ["node-2"]);
    let cut: Value = serde_json::from_str(&lab.lab(&["cut", "node-1", "node-2", "--silent", "--json"])).expect("JSON");
    assert_eq!((&cut["cut"], &cut["silent"]), (&true.into(), &true.into()));
    let lost = ["send", "node-2", "hello", "--deadline", "2s", "--dir", "lab/node-1"];
    let (code, said) = refused(&lost, lab.at);
    assert!(code != Some(0), "it was delivered: {said}");
    assert_eq!([lab.peers("node-1"), lab.peers("node-2")], [["node-2"], ["node-1"]]);
    let healed: Value = serde_json::from_str(&lab.lab(&["heal", "node-1", "node-2", "--json"])).expect("JSON");
    assert_eq!((&healed["cut"], &healed["silent"]), (&false.into(), &false.into()));
    done(&["send", "node-2", "hello", "--dir", "lab/node-1"], lab.at);
    lab.lab_ends_well();
}
