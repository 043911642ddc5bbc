//! Files for other programs: tables, figures, the answer for a CI system, packets; and the answer in words.

#![allow(clippy::panic, reason = "a helper that cannot go on fails its test")]

use pcap_parser::pcapng::{EnhancedPacketBlock, InterfaceDescriptionBlock};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, PcapNGReader};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Two meters send to a gateway; the link of one is cut for a while.
const SITE: &str = r#"
question = "Does what a run leaves behind read well elsewhere?"
duration = "1m"
settle = "30s"
expect = ["delivered[flow=readings] == 1", "latency.max <= 20s"]
[bearers.lan]
delay = "10ms"
price = 3.0
[devices.gateway]
[devices.meter]
count = 2
[[links]]
kind = "hub"
hub = "gateway"
[[traffic]]
name = "readings"
kind = "send"
from = "meter"
to = "gateway"
every = "5s"
size = 4000
[[faults]]
name = "away"
kind = "cut"
links = [["gateway-1", "meter-1"]]
silent = true
at = "20s"
for = "3s"
"#;

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh-sim"));
    command.args(arguments).env("NO_COLOR", "1").stdin(Stdio::null()).output().expect("the simulator starts")
}

/// Returns the printed text, after a check of the exit code.
#[track_caller]
fn said(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(output.status.code(), Some(code), "{}{}", text(&output.stdout), text(&output.stderr));
    text(if code == 1 { &output.stderr } else { &output.stdout })
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).expect("a file with text")
}

/// Returns a directory with the scenario in it, and a function that gives the path of a file there.
fn place() -> (TempDir, impl Fn(&str) -> String) {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().to_str().expect("a path in UTF-8").to_owned();
    let at = move |name: &str| format!("{root}/{name}");
    std::fs::write(at("site.toml"), SITE).expect("written");
    (place, at)
}

#[test]
fn tables_figures_and_test_cases_are_written_and_the_answer_says_why() {
    let (_place, at) = place();
    let files = ["--csv", &at("csv"), "--figures", &at("figures"), "--junit", &at("cases.xml")];
    let told = said(&sim(&[&["run", &at("site.toml")][..], &files].concat()), 0);
    assert!(told.contains("answer    holds\nwhy       All 2 expectations held, and no check was violated."), "{told}");
    let links = read(at("csv/links.csv"));
    assert!(links.starts_with("device,other,bearer,bytes_there,bytes_back,cost\r\n"), "{links}");
    assert_eq!(links.lines().count(), 3, "{links}");
    let spending = read(at("csv/spending.csv"));
    let cost = |line: &str| line.split(',').nth(4).and_then(|cost| cost.parse::<f64>().ok());
    let paid: f64 = spending.lines().skip(1).filter_map(cost).sum();
    let metrics = read(at("csv/metrics.csv"));
    let total = metrics.lines().find_map(|line| line.strip_prefix("cost.total,")).expect("a metric");
    let total: f64 = total.parse().expect("a number");
    assert!(total > 0.0 && (paid / total - 1.0).abs() < 1e-9, "devices pay {paid} of {total} together");
    for name in ["latency", "messages", "reachability", "traffic-by-purpose"] {
        assert!(read(at(&format!("figures/{name}.svg"))).starts_with("<svg"), "{name}");
        let pixels = std::fs::read(at(&format!("figures/{name}.png"))).expect("a file");
        assert!(pixels.starts_with(b"\x89PNG\r\n\x1a\n"), "{name}");
    }
    assert!(read(at("cases.xml")).contains("failures=\"0\""));
    let missed = ["--set", "expect=[\"latency.max <= 1ms\"]", "--junit", &at("cases.xml"), "--json"];
    let told = said(&sim(&[&["run", &at("site.toml")][..], &missed].concat()), 2);
    let told: Value = serde_json::from_str(&told).expect("one JSON object");
    assert_eq!(told["answer"], "does not hold");
    assert!(told["why"].as_str().is_some_and(|why| why.contains("latency.max <= 1ms (found")), "{told}");
    let cases = read(at("cases.xml"));
    let parsed = roxmltree::Document::parse(&cases).expect("well-formed");
    let failure = parsed.descendants().find(|node| node.has_tag_name("failure")).expect("it failed");
    assert!(failure.attribute("message").is_some_and(|message| message.contains("latency.max <= 1ms: found")));
}

#[test]
fn a_sweep_has_a_suite_for_each_run() {
    let (_place, at) = place();
    let what = ["--seeds", "1..3", "--out", &at("out"), "--junit", &at("cases.xml")];
    said(&sim(&[&["sweep", &at("site.toml")][..], &what].concat()), 0);
    let cases = read(at("cases.xml"));
    let parsed = roxmltree::Document::parse(&cases).expect("well-formed");
    let suites: Vec<_> = parsed.descendants().filter(|node| node.has_tag_name("testsuite")).collect();
    let names: Vec<_> = suites.iter().filter_map(|suite| suite.attribute("name")).collect();
    assert_eq!(names, ["site seed 1", "site seed 2", "site seed 3"]);
}

#[test]
fn what_cannot_be_written_is_said_before_the_run() {
    let (_place, at) = place();
    let scenario = at("site.toml");
    let run = |more: &[&str]| said(&sim(&[&["run", &scenario][..], more].concat()), 1);
    assert!(run(&["--csv", "/proc/none"]).contains("/proc/none"));
    assert!(run(&["--junit", "/no/such/cases.xml"]).contains("check the path"));
    let pcap = at("link.pcapng");
    let link = |ends: &str| run(&["--pcap", &pcap, "--pcap-link", ends]);
    assert!(link("meter-1,meter-9").contains("no node is called meter-9"));
    assert!(link("meter-1,meter-2").contains("meter-1 and meter-2 can have no link"));
}

/// A packet of the file.
struct Packet {
    /// The time in seconds since 1970.
    at: f64,
    comment: String,
    bytes: Vec<u8>,
}

/// Returns the interfaces and packets of a file, as another program reads them.
fn packets(path: &str) -> (Vec<String>, Vec<Packet>) {
    let file = std::fs::File::open(path).expect("a file");
    let mut reader = PcapNGReader::new(1 << 20, file).expect("a section");
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    let text = |options: &[pcap_parser::PcapNGOption<'_>], code: OptionCode| {
        let found = options.iter().find(|option| option.code == code).expect("the option");
        let value = &found.value[..usize::from(found.len)];
        String::from_utf8(value.to_vec()).expect("text")
    };
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::InterfaceDescription(InterfaceDescriptionBlock {
                        linktype,
                        ref options,
                        if_tsresol,
                        ..
                    })) => {
                        assert_eq!((linktype, if_tsresol), (Linktype::RAW, 9));
                        interfaces.push(text(options, OptionCode(2)));
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(EnhancedPacketBlock {
                        ts_high,
                        ts_low,
                        caplen,
                        origlen,
                        data,
                        ref options,
                        ..
                    })) => {
                        assert_eq!(caplen, origlen);
                        let at = (u64::from(ts_high) << 32 | u64::from(ts_low)) as f64 / 1e9;
                        let comment = text(options, OptionCode::Comment);
                        packets.push(Packet { at, comment, bytes: data[..caplen as usize].to_vec() });
                    }
                    _ => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => return (interfaces, packets),
            Err(PcapError::Incomplete(_)) => reader.refill().expect("more of the file"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Returns the ones' complement sum of 16-bit words, which is 0xffff if the checksum among them is right.
fn sum(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

/// Invariant 1 of world::medium::capture.
#[test]
fn a_link_is_captured_as_packets_that_another_reader_puts_together_again() {
    let (_place, at) = place();
    let file = at("link.pcapng");
    let run = ["run", &at("site.toml"), "--pcap", &file, "--pcap-link", "gateway-1,meter-1"];
    let told = said(&sim(&run), 0);
    let plain = said(&sim(&["run", &at("site.toml")]), 0);
    let trace = |told: &str| told.lines().find(|line| line.starts_with("trace")).map(str::to_owned);
    assert_eq!(trace(&told), trace(&plain), "who listens changes nothing");
    let (interfaces, packets) = packets(&file);
    assert_eq!(interfaces, ["gateway-1 - meter-1 over lan"]);
    let mut streams = BTreeMap::<(Vec<u8>, u16, u16), (u32, Vec<u8>)>::new();
    let mut last = 0.0;
    for Packet { at, comment, bytes } in &packets {
        assert!(*at >= last, "in the order of time");
        last = *at;
        assert_eq!((bytes[0], usize::from(bytes[2]) << 8 | usize::from(bytes[3])), (0x45, bytes.len()));
        assert!(bytes.len() <= 1500);
        let (ip, tcp) = bytes.split_at(20);
        let length = (tcp.len() as u16).to_be_bytes();
        let pseudo = [&ip[12..20], &[0, 6], &length].concat();
        assert_eq!((sum(ip), sum(&[&pseudo[..], tcp].concat())), (0xffff, 0xffff), "checksums");
        let port = |place: usize| u16::from_be_bytes([tcp[place], tcp[place + 1]]);
        let number = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let (flags, payload) = (tcp[13], &tcp[20..]);
        let key = (ip[12..16].to_vec(), port(0), port(2));
        if flags & 0x02 != 0 {
            streams.insert(key.clone(), (number, Vec::new()));
        }
        let (next, stream) = streams.get_mut(&key).expect("a stream begins with a handshake");
        assert_eq!(number, *next, "no gap");
        stream.extend(payload);
        *next = next.wrapping_add(payload.len() as u32 + u32::from(flags & 0x03 != 0));
        let purpose = comment.split(',').next().unwrap_or_default();
        assert!(["payload", "routing", "admission"].contains(&purpose), "{comment}");
    }
    let begins = |stream: &Vec<u8>| stream.windows(19).any(|part| part == b"/multistream/1.0.0\n");
    assert!(streams.values().any(|(_, stream)| begins(stream)), "streams of libp2p");
    let meter: usize = streams.iter().filter(|((ip, ..), _)| ip[3] == 1).map(|(_, (_, bytes))| bytes.len()).sum();
    assert!(meter > 11 * 4000, "the messages are in it: {meter}");
    assert!(packets.iter().any(|packet| packet.comment.contains("does not get through")), "the cut is seen");
    assert!(last > 1_767_571_200.0 && last < 1_767_571_200.0 + 300.0, "on the scenario's own clock: {last}");
}
