//! All mailboxes lose power at one instant, with all that their disks were not made to keep: nothing in custody is lost, and nothing comes twice.
//!
//! Real processes: a gateway sends to a meter that is away, over two mailboxes, the nearer of which has little room. It asks for the confirmation of
//! the next hop, which is custody, so a message that has been reported as `sent` is with the mailboxes alone. At a random moment both are killed,
//! and of the files of their stores is left what a loss of power leaves (`power/disk.rs`). The gateway stays away. What the meter then receives
//! must hold every message that was reported, each once. `M2MESH_CUSTODY_POWER_ROUNDS=20` for a long run, `M2MESH_CUSTODY_POWER_SEED` to repeat what is drawn.
#![cfg(target_os = "linux")]

use super::power::disk::{Disk, Luck};
use super::power::random::{Random, number};
use super::power::shim;
use crate::support::limit;
use crate::support::processes::{ANYWHERE, Place, Running};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// The mailboxes.
const BOXES: [&str; 2] = ["box", "chest"];
/// Between two messages.
const PACE: Duration = Duration::from_millis(4);
/// The most messages of a round.
const MOST: u64 = 400;

/// A realm of a gateway, a meter that takes mail and has said so, and two mailboxes.
struct Site {
    place: Place,
    shim: PathBuf,
}

impl Site {
    fn new() -> Option<Self> {
        let place = Place::new();
        let shim = shim(place.path())?;
        place.pair();
        let gateway = place.start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
        for name in BOXES {
            let ticket =
                place.done(&["realm", "invite", "plant", "--name", name, "--role", "mailbox", "--contact", "all"]);
            place.done(&["join", &ticket, "--dir", name]);
        }
        // Room for a few of the gateway's mails; the others go to the other one.
        append(&place.at("box").join("config.toml"), "\n[mail]\nquota = \"32KB\"\n");
        append(&place.at("meter").join("config.toml"), "\n[mail]\nreceive = true\n");
        let run = ["run", "--dir", "meter", "--no-mdns", "--listen", ANYWHERE, "--bootstrap", gateway.address()];
        let mut meter = place.start(&run);
        until(|| counter(&place, "meter", "mail_prekeys_told") > 0);
        meter.kill();
        drop(gateway);
        Some(Self { place, shim })
    }

    /// Starts the mailboxes, with their stores under the shim if journals are named.
    fn mailboxes(&self, journals: Option<&[PathBuf; 2]>) -> Vec<Running> {
        let mut running: Vec<Running> = Vec::new();
        for at in 0..2 {
            let run = ["run", "--dir", BOXES[at], "--no-mdns", "--listen", ANYWHERE];
            let mut command = self.place.command(&run);
            for other in &running {
                command.args(["--bootstrap", other.address()]);
            }
            if let Some(journals) = journals {
                command.env("LD_PRELOAD", &self.shim).env("POWER_JOURNAL", &journals[at]);
                command.env("POWER_DIRECTORY", self.place.at(BOXES[at]).join("store"));
            }
            running.push(Running::started(command, &self.place.at("diagnostics")));
        }
        running
    }

    /// Starts a node beside them.
    fn node(&self, name: &str, mailboxes: &[Running]) -> Running {
        let mut run = vec!["run", "--dir", name, "--no-mdns", "--listen", ANYWHERE];
        mailboxes.iter().for_each(|other| run.extend(["--bootstrap", other.address()]));
        self.place.start(&run)
    }
}

fn append(path: &Path, text: &str) {
    let before = fs::read_to_string(path).unwrap_or_default();
    fs::write(path, before + text).expect("it is written");
}

#[track_caller]
fn until(is: impl Fn() -> bool) {
    let end = Instant::now() + limit::LIMIT;
    while !is() {
        assert!(Instant::now() < end, "it does not come about");
        thread::park_timeout(Duration::from_millis(50));
    }
}

fn status(place: &Place, of: &str) -> Value {
    serde_json::from_str(&place.run(&["status", "--json", "--dir", of]).out).unwrap_or_default()
}

fn counter(place: &Place, of: &str, counter: &str) -> u64 {
    status(place, of)["counters"][counter].as_u64().unwrap_or(0)
}

/// Sends numbers to the meter until about so many were reported as sent; all that were, when the mailboxes have been killed by `kill`.
fn send(site: &Site, after: u64, kill: impl FnOnce()) -> Vec<u64> {
    let arguments = ["send", "meter", "--lines", "--json", "--ack", "hop", "--deadline", "1h", "--dir", "plant"];
    let mut command = site.place.command(&arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let feeder = thread::spawn(move || {
        for number in 1..=MOST {
            // It ends with who reads.
            if writeln!(input, "{number} {}", "x".repeat(200)).is_err() {
                break;
            }
            thread::park_timeout(PACE);
        }
        input
    });
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let sent = |line: String| {
        let line: Value = serde_json::from_str(&line).expect("JSON");
        line["line"].as_u64().filter(|_| line["outcome"] == "sent")
    };
    let mut all: Vec<u64> = lines.by_ref().filter_map(sent).take(after as usize).collect();
    kill();
    child.kill().expect("it is killed");
    all.extend(lines.filter_map(sent));
    child.wait().expect("it ends");
    drop(feeder.join().expect("the feeder ends"));
    all
}

#[test]
fn what_is_in_custody_outlives_a_loss_of_power_of_all_mailboxes_at_once() {
    let mut random = Random::from_environment("M2MESH_CUSTODY_POWER_SEED");
    let (mut sent, mut kept) = (0, [0; 2]);
    for round in 0..number("M2MESH_CUSTODY_POWER_ROUNDS", 1) {
        let Some(site) = Site::new() else { return };
        // Each makes its store before the shim follows it.
        site.mailboxes(None).iter_mut().for_each(Running::kill);
        let stores = BOXES.map(|name| site.place.at(name).join("store"));
        let journals = BOXES.map(|name| site.place.at(&format!("{name}.journal")));
        let mut disks = [0, 1].map(|at| Disk::read(&stores[at]));
        let mut running = site.mailboxes(Some(&journals));
        let mut gateway = site.node("plant", &running);
        let reported = send(&site, 1 + random.below(150), || running.iter_mut().for_each(Running::kill));
        gateway.kill();
        for at in 0..2 {
            disks[at].replay(&fs::read(&journals[at]).expect("a journal"));
            let left = site.place.at(&format!("{}.left", BOXES[at]));
            disks[at].lose_power(Luck::draw(&mut random), &left, &mut random);
            fs::remove_dir_all(&stores[at]).expect("it is removed");
            fs::rename(left, &stores[at]).expect("it takes its place");
        }
        let running = site.mailboxes(None);
        for at in 0..2 {
            kept[at] += mails(&site.place, BOXES[at]);
        }
        let meter = site.node("meter", &running);
        until(|| BOXES.iter().all(|name| mails(&site.place, name) == 0));
        let mut times = BTreeMap::<u64, u64>::new();
        for line in site.place.done(&["receive", "--dir", "meter"]).lines() {
            let number = line.split(' ').next().and_then(|number| number.parse().ok()).expect("a number");
            *times.entry(number).or_default() += 1;
        }
        let lost: Vec<&u64> = reported.iter().filter(|number| !times.contains_key(number)).collect();
        assert!(lost.is_empty(), "round {round}: in custody, and lost: {lost:?} of {}", reported.len());
        assert!(times.values().all(|times| *times == 1), "round {round}: {times:?}");
        sent += reported.len();
        drop((running, meter));
    }
    println!(
        "{sent} messages in custody when all mailboxes lost power; mails left at each: {kept:?}; none lost, none twice"
    );
    assert!(sent > 0);
}

/// How many mails a mailbox keeps, once it says.
fn mails(place: &Place, of: &str) -> u64 {
    let end = Instant::now() + limit::LIMIT;
    loop {
        let said = place.run(&["mailbox", "--json", "--dir", of]);
        if let Ok(Value::Array(boxes)) = serde_json::from_str(&said.out) {
            return boxes.iter().filter_map(|one| one["mails"].as_u64()).sum();
        }
        assert!(Instant::now() < end, "{}", said.said);
        thread::park_timeout(Duration::from_millis(50));
    }
}
