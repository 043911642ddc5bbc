//! "Two machines" of README, followed to the letter on two machines: network namespaces with a cable between them.
//!
//! The commands are those of README.md itself, and so is what they must print; only the ticket is the one that
//! `realm invite` has printed. Variants add arguments to them, for what README leaves out.

mod namespaces;
mod readme;

use crate::support::processes::Running;
use namespaces::{Machine, Machines};
use readme::Line;
use std::path::PathBuf;

/// README's addresses.
const IPV4: [&str; 2] = ["192.0.2.7/24", "192.0.2.2/24"];
const IPV6: [&str; 2] = ["2001:db8::7/64", "2001:db8::2/64"];

/// Who follows README.
struct Reader {
    machines: Machines,
    place: tempfile::TempDir,
    /// What is added to a command that contains the text.
    additions: Vec<(&'static str, &'static str)>,
    only_ipv6: bool,
    ticket: String,
    first: Option<Running>,
    second: Option<Running>,
}

impl Reader {
    fn new(first: &[&str], second: &[&str], additions: &[(&'static str, &'static str)]) -> Option<Self> {
        let only_ipv6 = first.iter().all(|address| address.contains(':'));
        Some(Self { only_ipv6, ..Self::on(Machines::new(first, second)?, additions) })
    }

    fn on(machines: Machines, additions: &[(&'static str, &'static str)]) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let (additions, ticket) = (additions.to_vec(), String::new());
        let reader = Self { machines, place, additions, only_ipv6: false, ticket, first: None, second: None };
        for machine in [Machine::First, Machine::Second] {
            std::fs::create_dir(reader.directory(machine)).expect("a directory");
        }
        reader
    }

    fn directory(&self, machine: Machine) -> PathBuf {
        self.place.path().join(match machine {
            Machine::First => "first",
            Machine::Second => "second",
        })
    }

    /// Does what the console block says, and compares what it prints.
    fn follow(&mut self) {
        let mut machine = Machine::First;
        for line in readme::console("Two machines") {
            match line {
                Line::Comment(comment) if comment.contains("on the second") => machine = Machine::Second,
                Line::Comment(_) => machine = Machine::First,
                Line::Command { line, prints } => {
                    let printed = self.run(machine, &line);
                    if self.additions.is_empty() {
                        let prints: Vec<String> = prints.iter().map(|line| self.without_ipv4(line)).collect();
                        assert!(readme::is_shown(&prints, &printed), "$ {line}\n{printed:#?}\nREADME: {prints:#?}");
                    }
                }
            }
        }
    }

    /// The line as it is where there is no IPv4.
    fn without_ipv4(&self, line: &str) -> String {
        match self.only_ipv6 {
            true => line.replace("/ip4/192.0.2.", "/ip6/2001:db8::"),
            false => line.to_owned(),
        }
    }

    /// What a command prints; of one in the background, up to its being ready.
    fn run(&mut self, machine: Machine, line: &str) -> Vec<String> {
        let mut line = self.completed(line);
        if let Some(node) = line.strip_suffix('&') {
            let node = self.start(machine, node);
            let ready = node.ready.clone();
            match machine {
                Machine::First => self.first = Some(node),
                Machine::Second => self.second = Some(node),
            }
            return vec![ready];
        }
        line.push_str(" 2> said");
        let output = self.machines.command(machine, &line, &self.directory(machine)).output().expect("it runs");
        let printed: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        let said = std::fs::read_to_string(self.directory(machine).join("said")).unwrap_or_default();
        assert!(output.status.success(), "{machine:?}: $ {line}\n{printed:#?}\n{said}");
        if let Some(ticket) = printed.iter().find(|line| line.starts_with("m2m1")) {
            self.ticket.clone_from(ticket);
        }
        printed
    }

    /// The command with the ticket that was printed, and what a variant adds.
    fn completed(&self, line: &str) -> String {
        let words = line.split(' ').map(|word| if word.starts_with("m2m1") { &self.ticket } else { word });
        let mut line = words.collect::<Vec<_>>().join(" ");
        for (part, addition) in &self.additions {
            if let Some(at) = line.find(part) {
                line.insert_str(at + part.len(), &format!(" {addition}"));
            }
        }
        line
    }

    fn start(&self, machine: Machine, line: &str) -> Running {
        let directory = self.directory(machine);
        let command = self.machines.command(machine, &format!("exec {line}"), &directory);
        Running::started(command, &directory.join("diagnostics"))
    }

    fn diagnostics(&self, machine: Machine) -> String {
        std::fs::read_to_string(self.directory(machine).join("diagnostics")).unwrap_or_default()
    }

    /// Both nodes stop as by a power cut, and are started again by README's commands.
    fn restart(&mut self) {
        (self.first, self.second) = (None, None);
        let mut machine = Machine::First;
        for line in readme::console("Two machines") {
            match line {
                Line::Comment(comment) if comment.contains("on the second") => machine = Machine::Second,
                Line::Comment(_) => machine = Machine::First,
                Line::Command { line, .. } if line.ends_with('&') => drop(self.run(machine, &line)),
                Line::Command { .. } => {}
            }
        }
    }

    /// Messages arrive both ways.
    fn talk(&mut self) {
        self.run(Machine::Second, "m2mesh --dir meter send gateway again");
        assert_eq!(self.run(Machine::First, "m2mesh --dir plant receive --count 1"), ["again"]);
        self.run(Machine::First, "m2mesh --dir plant send meter-17 thanks");
        assert_eq!(self.run(Machine::Second, "m2mesh --dir meter receive --count 1"), ["thanks"]);
    }

    /// What carries the second's link to the first.
    fn carriers(&mut self) -> String {
        self.run(Machine::Second, "m2mesh --dir meter peers --json").join("\n")
    }
}

#[test]
fn what_readme_says_of_two_machines_works_as_printed_and_after_both_were_restarted() {
    let Some(mut reader) = Reader::new(&[IPV4[0], IPV6[0]], &[IPV4[1], IPV6[1]], &[]) else { return };
    reader.follow();
    reader.restart();
    reader.talk();
}

#[test]
fn two_machines_meet_over_tcp_alone_and_again_after_a_restart() {
    let additions = [
        ("run --dir plant", "--no-mdns --listen /ip4/0.0.0.0/tcp/7707"),
        ("run --dir meter", "--no-mdns --listen /ip4/0.0.0.0/tcp/7707"),
    ];
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &additions) else { return };
    reader.follow();
    assert!(reader.carriers().contains(r#""tcp""#));
    reader.restart();
    reader.talk();
}

#[test]
fn two_machines_meet_over_quic_alone_and_again_after_a_restart() {
    let additions = [
        ("run --dir plant", "--no-mdns --listen /ip4/0.0.0.0/udp/7707/quic-v1"),
        ("run --dir meter", "--no-mdns --listen /ip4/0.0.0.0/udp/7707/quic-v1"),
    ];
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &additions) else { return };
    reader.follow();
    assert!(reader.carriers().contains(r#""quic""#));
    reader.restart();
    reader.talk();
}

#[test]
fn two_machines_meet_without_multicast_dns_and_again_after_a_restart() {
    let additions = [("run --dir plant", "--no-mdns"), ("run --dir meter", "--no-mdns")];
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &additions) else { return };
    reader.follow();
    reader.restart();
    reader.talk();
}

#[test]
fn two_machines_meet_where_there_is_only_ipv6_and_again_after_a_restart() {
    let Some(mut reader) = Reader::new(&[IPV6[0]], &[IPV6[1]], &[]) else { return };
    reader.follow();
    assert!(reader.carriers().contains("/ip6/2001:db8::7/"));
    reader.restart();
    reader.talk();
}

#[test]
fn on_a_network_of_ipv6_alone_members_find_each_other_without_any_address() {
    let Some(mut reader) = Reader::new(&[IPV6[0]], &[IPV6[1]], &[]) else { return };
    reader.follow();
    // Neither what the ticket said nor where the other was met.
    reader.second = None;
    for file in ["config.toml", "met"] {
        std::fs::remove_file(reader.directory(Machine::Second).join("meter").join(file)).expect("it is there");
    }
    reader.run(Machine::Second, "m2mesh run --dir meter &");
    reader.talk();
}

#[test]
fn a_ticket_names_every_address_that_others_can_use_and_those_that_come_later() {
    let Some(mut reader) = Reader::new(&[IPV4[0], IPV6[0]], &[IPV4[1]], &[]) else { return };
    reader.run(Machine::First, "m2mesh realm init plant --name gateway");
    reader.run(Machine::First, "m2mesh run --dir plant --no-mdns &");
    let invite = |reader: &mut Reader, name: &str| {
        let line = format!("m2mesh realm invite plant --name {name} --json");
        let said = reader.run(Machine::First, &line).join("\n");
        let named = said.split("\"addresses\":[").nth(1).and_then(|rest| rest.split(']').next()).expect("addresses");
        let mut named: Vec<String> = named.split(',').map(|address| address.trim_matches('"').to_owned()).collect();
        named.sort();
        named
    };
    let both = |host: &str| [format!("{host}/tcp/7707"), format!("{host}/udp/7707/quic-v1")];
    let usual = [both("/ip4/192.0.2.7"), both("/ip6/2001:db8::7")].concat();
    assert_eq!(invite(&mut reader, "one"), usual);
    let status = reader.run(Machine::First, "m2mesh --dir plant status").join("\n");
    for address in usual.iter().chain(&both("/ip4/127.0.0.1")) {
        assert_eq!(status.matches(&format!(" {address}\n")).count(), 1, "{address} in {status}");
    }
    assert!(!status.contains("/fe80:"), "{status}");

    let changed = |reader: &mut Reader, wanted: &[String]| {
        for _ in 0..200 {
            let status = reader.run(Machine::First, "m2mesh --dir plant status").join("\n");
            let file = std::fs::read_to_string(reader.directory(Machine::First).join("plant/addresses"));
            let file = file.expect("it is there");
            if wanted.iter().all(|address| status.contains(address) && file.contains(address)) {
                return file;
            }
        }
        unreachable!("{wanted:?} did not come")
    };
    reader.machines.add_address(Machine::First, "198.51.100.7/24");
    changed(&mut reader, &both("/ip4/198.51.100.7"));
    let mut more = [usual, both("/ip4/198.51.100.7").to_vec()].concat();
    more.sort();
    assert_eq!(invite(&mut reader, "two"), more);
    reader.machines.remove_address(Machine::First, "192.0.2.7/24");
    reader.machines.add_address(Machine::First, "203.0.113.7/24");
    let file = changed(&mut reader, &both("/ip4/203.0.113.7"));
    assert!(!file.contains("192.0.2.7"), "{file}");
}

#[test]
fn a_ticket_of_a_node_on_loopback_says_that_it_serves_this_machine_only() {
    let listen = "--no-mdns --listen /ip4/127.0.0.1/tcp/7707";
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &[("run --dir plant", listen)]) else { return };
    reader.run(Machine::First, "m2mesh realm init plant --name gateway");
    reader.run(Machine::First, "m2mesh run --dir plant &");
    assert!(reader.diagnostics(Machine::First).contains("loopback"), "{}", reader.diagnostics(Machine::First));
    let ticket = reader.run(Machine::First, "m2mesh realm invite plant --name meter-17 --json").join("");
    assert!(ticket.contains(r#""addresses":["/ip4/127.0.0.1/tcp/7707"]"#), "{ticket}");
    let said = std::fs::read_to_string(reader.directory(Machine::First).join("said")).expect("it is there");
    assert!(said.contains("loopback") && said.contains("this machine"), "{said}");
}

#[test]
fn a_node_whose_port_is_taken_has_another_and_keeps_it() {
    let Some(mut reader) = Reader::new(&[IPV4[0], IPV6[0]], &[IPV4[1]], &[]) else { return };
    reader.run(Machine::First, "m2mesh realm init plant --name gateway");
    reader.run(Machine::First, "m2mesh run --dir plant &");
    let ticket = reader.run(Machine::First, "m2mesh realm invite plant --name other").join("");
    reader.run(Machine::First, &format!("m2mesh join --anonymity stable {ticket} --dir other"));
    let port = |node: &Running| {
        let first = node.ready.split("/tcp/").nth(1).expect("a port");
        first.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let other = reader.start(Machine::First, "m2mesh run --dir other");
    let kept = port(&other);
    assert_ne!(kept, "7707");
    assert!(reader.diagnostics(Machine::First).contains("another program uses port 7707"));
    drop(other);
    reader.first = None;
    // The usual port is free now, and others know this device at its own.
    let other = reader.start(Machine::First, "m2mesh run --dir other");
    assert_eq!(port(&other), kept);
}

#[test]
fn a_device_finds_the_others_where_it_met_them_when_the_one_it_joined_by_has_gone() {
    let quiet = [("run --dir plant", "--no-mdns"), ("run --dir meter", "--no-mdns"), ("run --dir pump", "--no-mdns")];
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &quiet) else { return };
    reader.follow();
    let ticket = reader.run(Machine::First, "m2mesh realm invite plant --name pump --contact gateway meter-17");
    reader.run(Machine::First, &format!("m2mesh join {} --dir pump", ticket.join("")));
    let pump = reader.start(Machine::First, "m2mesh run --dir pump --no-mdns");
    // The two have met, on addresses that one has heard of from the gateway.
    reader.run(Machine::First, "m2mesh --dir pump send meter-17 hello --deadline 60s");
    assert_eq!(reader.run(Machine::Second, "m2mesh --dir meter receive --count 1"), ["hello"]);
    let met = |reader: &Reader, machine, device: &str| {
        std::fs::read_to_string(reader.directory(machine).join(device).join("met")).unwrap_or_default()
    };
    let is_there = |reader: &Reader| {
        let pump_met = met(reader, Machine::First, "pump").contains("192.0.2.2");
        let first = met(reader, Machine::Second, "meter");
        pump_met || first.lines().any(|line| line.contains("192.0.2.7") && !line.contains("/7707"))
    };
    for _ in 0..200 {
        if is_there(&reader) {
            break;
        }
        reader.run(Machine::First, "m2mesh --dir pump status");
    }
    assert!(is_there(&reader));
    // All go; the gateway does not come back.
    drop(pump);
    (reader.first, reader.second) = (None, None);
    let _pump = reader.start(Machine::First, "m2mesh run --dir pump --no-mdns");
    reader.run(Machine::Second, "m2mesh run --dir meter &");
    reader.run(Machine::Second, "m2mesh --dir meter send pump again --deadline 60s");
    assert_eq!(reader.run(Machine::First, "m2mesh --dir pump receive --count 1"), ["again"]);
}

#[test]
fn a_name_among_the_bootstrap_addresses_is_looked_up_anew_each_time() {
    let quiet = [("run --dir plant", "--no-mdns"), ("run --dir meter", "--no-mdns")];
    let Some(mut reader) = Reader::new(&[IPV4[0]], &[IPV4[1]], &quiet) else { return };
    let directory = reader.directory(Machine::Second);
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, "192.0.2.7 hub.example\n").expect("written");
    // The second machine's hosts file, which can be written to.
    let with_hosts = format!("unshare --mount sh -c 'mount --bind {} /etc/hosts && exec ", hosts.display());
    reader.run(Machine::First, "m2mesh realm init plant --name gateway");
    reader.run(Machine::First, "m2mesh run --dir plant &");
    let name = "--address /dns4/hub.example/tcp/7707";
    let ticket = reader.run(Machine::First, &format!("m2mesh realm invite plant --name meter-17 {name}")).join("");
    reader.run(Machine::Second, &format!("{with_hosts} m2mesh join {ticket} --dir meter'"));
    let settings = std::fs::read_to_string(directory.join("meter/config.toml")).expect("it is there");
    assert!(settings.contains("/dns4/hub.example/tcp/7707"), "{settings}");
    reader.second = Some(reader.start(Machine::Second, &format!("{with_hosts} m2mesh run --dir meter --no-mdns'")));
    reader.talk();

    // The gateway moves, and the name with it.
    reader.first = None;
    reader.machines.remove_address(Machine::First, "192.0.2.7/24");
    reader.machines.add_address(Machine::First, "192.0.2.99/24");
    reader.run(Machine::First, "m2mesh run --dir plant &");
    std::fs::write(&hosts, "192.0.2.99 hub.example\n").expect("written");
    reader.run(Machine::Second, "m2mesh --dir meter send gateway moved --deadline 60s");
    assert_eq!(reader.run(Machine::First, "m2mesh --dir plant receive --count 1"), ["moved"]);
}

#[test]
fn a_path_that_loses_long_packets_and_tells_nobody_stops_no_messages() {
    let Some(machines) = Machines::routed() else { return };
    let mut reader = Reader::on(machines, &[("run --dir plant", "--no-mdns"), ("run --dir meter", "--no-mdns")]);
    reader.follow();
    assert!(reader.carriers().contains(r#""tcp""#), "{}", reader.carriers());
    reader.machines.lose_longer_than(1_300);
    // Small ones behind a long one, which nothing but another connection can carry.
    let lines = "(head -c 20000 /dev/zero | tr '\\0' x; echo; seq 1 8)";
    reader.run(Machine::Second, &format!("{lines} | m2mesh --dir meter send gateway --lines --deadline 30s"));
    let received = reader.run(Machine::First, "m2mesh --dir plant receive --count 9");
    assert_eq!(received.iter().map(String::len).sum::<usize>(), 20_008);
    assert!(reader.machines.lost() > 0, "nothing was in the way");
}
