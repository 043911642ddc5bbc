//! Large payloads between real processes: through kills of either end, in files of the user's own.

use crate::support::processes::{ANYWHERE, Place, Process, Running, end, output};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Bytes that differ from chunk to chunk and do not compress.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(next).collect()
}

fn run(place: &Place, directory: &str, listen: &str) -> Running {
    let at = place.path();
    Running::start(&["run", "--dir", directory, "--no-mdns", "--listen", listen], at)
}

/// Waits until a file of the fetched blob holds something, and is not whole.
fn wait_for_part(directory: &Path) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let names = directory.join("blobs").read_dir().into_iter().flatten().flatten();
        if names.into_iter().any(|entry| entry.file_name().to_string_lossy().ends_with(".part")) {
            return;
        }
        assert!(Instant::now() < until, "nothing is fetched");
        std::thread::yield_now();
    }
}

#[test]
fn a_large_payload_arrives_once_through_kills_of_both_ends() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let mut gateway = run(&place, "plant", ANYWHERE);
    let listen = gateway.address().to_owned();
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter"]);
    place.done(&["join", &ticket, "--dir", "meter"]);
    let mut meter = run(&place, "meter", ANYWHERE);
    let (file, blob) = (place.at("map.tiles"), bytes(24 * 1024 * 1024 + 5));
    std::fs::write(&file, &blob).expect("a file");
    place.done(&["send", "meter", "hello", "--dir", "plant"]);
    let send = ["blob", "send", "meter", "@map.tiles", "--deadline", "10m", "--json", "--dir", "plant"];
    let mut sending = place.command(&send);
    let sending = sending.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let sending = sending.expect("it starts");
    wait_for_part(&place.at("meter"));
    meter.kill();
    let meter = run(&place, "meter", ANYWHERE);
    wait_for_part(&place.at("meter"));
    gateway.kill();
    let _gateway = run(&place, "plant", &listen);
    let output = sending.wait_with_output().expect("it ends");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = told.lines().last().unwrap_or_default();
    assert!(
        output.status.success() && last.contains("\"delivered\""),
        "{told}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(place.done(&["receive", "--dir", "meter", "--out", "received", "--count", "1"]), "hello");
    place.done(&["receive", "--dir", "meter", "--out", "received", "--count", "1", "--json"]);
    assert_eq!(std::fs::read(place.at("received/map.tiles")).expect("it is written"), blob);
    assert_eq!(place.done(&["receive", "--dir", "meter"]), "", "once");
    for entry in place.at("meter/blobs").read_dir().expect("a folder").flatten() {
        assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
    }
    drop(meter);
}

#[test]
fn a_blob_is_put_got_listed_and_removed() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let _gateway = run(&place, "plant", ANYWHERE);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter"]);
    place.done(&["join", &ticket, "--dir", "meter"]);
    let _meter = run(&place, "meter", ANYWHERE);
    let blob = bytes(200_000);
    std::fs::write(place.at("map.tiles"), &blob).expect("a file");
    let hash = place.done(&["blob", "put", "@map.tiles", "--dir", "plant"]);
    place.done(&["blob", "get", &hash, "-o", "copy", "--dir", "meter"]);
    assert_eq!(std::fs::read(place.at("copy")).expect("it is written"), blob);
    let listed = place.done(&["blob", "list", "--json", "--dir", "meter"]);
    assert!(
        listed.contains(&hash) && listed.contains("\"bytes\":200000") && listed.contains("\"kept\":true"),
        "{listed}"
    );
    place.done(&["blob", "remove", &hash, "--dir", "meter"]);
    assert_eq!(place.done(&["blob", "list", "--json", "--dir", "meter"]), "");
    let again = end(place.command(&["blob", "remove", &hash, "--dir", "meter"]));
    assert!(again.code == Some(1) && again.said.contains("blob list"), "{again:?}");
    let odd = end(place.command(&["blob", "get", "12ab", "--dir", "meter"]));
    assert!(odd.code == Some(1) && odd.said.contains("64 hexadecimal digits"), "{odd:?}");
    // `send` takes what is larger than a message, and `receive` gives it as one.
    place.done(&["send", "meter", "@map.tiles", "--dir", "plant"]);
    let raw = output(place.command(&["receive", "--count", "1", "--raw", "--dir", "meter"]));
    assert_eq!(raw.stdout, blob);
}

/// Starts an offer of `plant`, and waits until it stands.
fn offer(place: &Place, arguments: &[&str]) -> Process {
    let mut command = place.command(&[&["offer", "--dir", "plant"], arguments].concat());
    let mut process = Process(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts"));
    let mut lines = BufReader::new(process.0.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("offers")), "the offer ended");
    std::thread::spawn(move || lines.for_each(drop));
    process
}

#[test]
fn long_questions_and_answers_go_through_programs() {
    let place = Place::new();
    place.done(&["realm", "init", "plant", "--name", "gateway"]);
    let _gateway = run(&place, "plant", ANYWHERE);
    let ticket = place.done(&["realm", "invite", "plant", "--name", "meter"]);
    place.done(&["join", &ticket, "--dir", "meter"]);
    let _meter = run(&place, "meter", ANYWHERE);
    let question = bytes(1_500_000);
    std::fs::write(place.at("question"), &question).expect("a file");
    let ask = |service: &str, payload: &str| {
        let arguments = ["request", service, payload, "--timeout", "60s", "--dir", "meter"];
        let output = output(place.command(&arguments));
        assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let offers = [
        offer(&place, &["copy", "--exec", "cat"]),
        offer(&place, &["same", "--echo"]),
        offer(&place, &["size", "--exec", "wc", "-c"]),
        offer(&place, &["long", "--exec", "head", "-c", "200000", "/dev/zero"]),
    ];
    assert!(ask("gateway/copy", "@question") == question, "through a program");
    assert!(ask("gateway/same", "@question") == question, "as it came");
    assert_eq!(String::from_utf8_lossy(&ask("gateway/size", "@question")).trim(), "1500000");
    assert_eq!(ask("gateway/long", "short"), vec![0; 200_000]);
    drop(offers);
}
