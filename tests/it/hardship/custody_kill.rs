//! A mailbox that is killed keeps what it has said to keep, and hands it on when its receiver is there, though the sender is gone.

use crate::support::limit;
use crate::support::processes::{ANYWHERE, Place};
use serde_json::Value;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Asks until the answer is as it is to be.
#[track_caller]
fn until(place: &Place, arguments: &[&str], is: impl Fn(&Value) -> bool) {
    let end = Instant::now() + limit::LIMIT;
    loop {
        let said = place.run(arguments);
        if serde_json::from_str(&said.out).is_ok_and(|said| is(&said)) {
            return;
        }
        assert!(Instant::now() < end, "{arguments:?}: {}{}", said.out, said.said);
        thread::park_timeout(Duration::from_millis(100));
    }
}

/// How many mails a mailbox keeps.
fn mails(boxes: &Value) -> u64 {
    boxes.as_array().map_or(0, |boxes| boxes.iter().filter_map(|one| one["mails"].as_u64()).sum())
}

#[test]
fn what_a_mailbox_keeps_outlives_its_kill_and_reaches_the_receiver_once() {
    let place = Place::new();
    place.pair();
    let mut gateway = place.start(&["run", "--dir", "plant", "--no-mdns", "--listen", ANYWHERE]);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "box", "--role", "mailbox"]);
    place.done(&["join", &ticket, "--dir", "box"]);
    let (of_gateway, run) = (gateway.address().to_owned(), ["run", "--no-mdns", "--listen", ANYWHERE, "--bootstrap"]);
    let run_box = [&run[..], &[&of_gateway, "--dir", "box"]].concat();
    let mut mailbox = place.start(&run_box);
    let settings = place.at("meter").join("config.toml");
    let before = std::fs::read_to_string(&settings).unwrap_or_default();
    std::fs::write(&settings, format!("{before}\n[mail]\nreceive = true\n")).expect("it is written");
    let run_meter = |address: &str| place.start(&[&run[..], &[address, "--dir", "meter"]].concat());
    let mut meter = run_meter(mailbox.address());
    until(&place, &["status", "--json", "--dir", "meter"], |status| {
        status["counters"]["mail_prekeys_told"].as_u64().is_some_and(|told| told > 0)
    });
    meter.kill();
    let send = ["send", "meter", "hello", "--deadline", "30m", "--dir", "plant"];
    let mut sending = place.command(&send).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let look = ["mailbox", "--json", "--dir", "box"];
    until(&place, &look, |boxes| mails(boxes) == 1);
    // Custody has been stated when the sender counts it.
    until(&place, &["status", "--json", "--dir", "plant"], |status| {
        status["counters"]["mail_taken"].as_u64() == Some(1)
    });
    // It would wait for its node to come back.
    sending.kill().expect("it is killed");
    limit::wait(&mut sending, "send");
    gateway.kill();
    mailbox.kill();
    let mailbox = place.start(&run_box);
    until(&place, &look, |boxes| mails(boxes) == 1);
    let shown = place.done(&["mailbox", "--dir", "box"]);
    assert!(shown.contains("FOR") && shown.lines().count() == 2, "{shown}");
    let _meter = run_meter(mailbox.address());
    until(&place, &look, |boxes| mails(boxes) == 0);
    assert_eq!(place.done(&["receive", "--dir", "meter"]), "hello");
}
