//! Two machines on one cable, or with a router between them: network namespaces joined by pairs of virtual interfaces.
//!
//! It takes the rights of root and `ip` of iproute2; a router takes `nft` of nftables and `ethtool` besides. Where they are
//! missing a test says so and is skipped, unless the environment variable `M2MESH_NAMESPACES`, or `M2MESH_ROUTER`, is
//! `required`, as they are in CI.

use crate::support::processes::{PROGRAM, without_settings};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Name of the interface in either namespace.
pub const INTERFACE: &str = "eth0";

static CREATED: AtomicU32 = AtomicU32::new(0);

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    First,
    Second,
}

/// Both of them, until the end of the test.
pub struct Machines {
    names: [String; 2],
    router: Option<String>,
}

impl Machines {
    /// With these addresses (`192.0.2.7/24`) on either end of the cable; nothing, said loudly, where that is not possible.
    pub fn new(first: &[&str], second: &[&str]) -> Option<Self> {
        Self::named(None).or_said(|machines| machines.set_up([first, second]))
    }

    /// In two networks with a router between them: `192.0.2.7` and `198.51.100.2`.
    pub fn routed() -> Option<Self> {
        Self::named(Some("r")).or_said(Self::set_up_routed)
    }

    fn named(router: Option<&str>) -> Self {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("m2mesh-{}-{number}-{end}", std::process::id());
        Self { names: ["a", "b"].map(name), router: router.map(name) }
    }

    fn or_said(self, set_up: impl FnOnce(&Self) -> Result<(), String>) -> Option<Self> {
        if let Err(reason) = set_up(&self) {
            let wanted = if self.router.is_some() { "M2MESH_ROUTER" } else { "M2MESH_NAMESPACES" };
            let required = std::env::var(wanted).is_ok_and(|wanted| wanted == "required");
            assert!(!required, "network namespaces are required here, and cannot be made: {reason}");
            eprintln!("SKIPPED: this test needs network namespaces, which cannot be made here: {reason}");
            return None;
        }
        Some(self)
    }

    fn set_up(&self, addresses: [&[&str]; 2]) -> Result<(), String> {
        let [first, second] = &self.names;
        ip(&["netns", "add", first])?;
        ip(&["netns", "add", second])?;
        ip(&["-n", first, "link", "add", INTERFACE, "type", "veth", "peer", "name", INTERFACE, "netns", second])?;
        for (name, addresses) in self.names.iter().zip(addresses) {
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "link", "set", INTERFACE, "up"])?;
            for address in addresses {
                add(name, address)?;
            }
        }
        Ok(())
    }

    fn set_up_routed(&self) -> Result<(), String> {
        let router = self.router.as_deref().unwrap_or_default();
        ip(&["netns", "add", router])?;
        for (name, [port, own, gateway]) in self.names.iter().zip(ROUTED) {
            ip(&["netns", "add", name])?;
            ip(&["-n", name, "link", "add", INTERFACE, "type", "veth", "peer", "name", port, "netns", router])?;
            for (name, interface) in [(name.as_str(), INTERFACE), (router, port)] {
                // Packets are as long on the cable as a path has them, and not what a card would cut up later.
                let whole = ["-K", interface, "tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];
                run("ethtool", &[&["netns", "exec", name, "ethtool"], &whole[..]].concat())?;
                ip(&["-n", name, "link", "set", interface, "up"])?;
            }
            ip(&["-n", name, "link", "set", "lo", "up"])?;
            ip(&["-n", name, "address", "add", &format!("{own}/24"), "dev", INTERFACE])?;
            ip(&["-n", router, "address", "add", &format!("{gateway}/24"), "dev", port])?;
            ip(&["-n", name, "route", "add", "default", "via", gateway])?;
        }
        ip(&["netns", "exec", router, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])?;
        run("nft", &["netns", "exec", router, "nft", FORWARDED]).map(drop)
    }

    /// The router between the two loses longer packets from now on, and tells nobody.
    pub fn lose_longer_than(&self, bytes: u32) {
        let rule = format!("add rule inet path forwarded meta length > {bytes} counter drop");
        let router = self.router.as_deref().expect("there is a router");
        run("nft", &["netns", "exec", router, "nft", &rule]).expect("the rule is taken");
    }

    /// How many packets it has lost.
    pub fn lost(&self) -> u64 {
        let router = self.router.as_deref().expect("there is a router");
        let listed = run("nft", &["netns", "exec", router, "nft", "list", "chain", "inet", "path", "forwarded"]);
        let listed = listed.expect("it is listed");
        let count = listed.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        count.expect("a counter")
    }

    /// Gives a machine another address.
    pub fn add_address(&self, machine: Machine, address: &str) {
        add(&self.names[machine as usize], address).expect("the address is added");
    }

    /// Takes an address from a machine.
    pub fn remove_address(&self, machine: Machine, address: &str) {
        ip(&["-n", &self.names[machine as usize], "address", "del", address, "dev", INTERFACE]).expect("it is removed");
    }

    /// A shell's command on a machine, in a directory; `m2mesh` is the one under test.
    pub fn command(&self, machine: Machine, line: &str, directory: &Path) -> Command {
        let program = Path::new(PROGRAM).parent().expect("a directory").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine as usize], "sh", "-c", line]);
        command.env("PATH", format!("{program}:{path}"));
        without_settings(&mut command);
        command.current_dir(directory).stdin(Stdio::null());
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in self.names.iter().chain(&self.router) {
            // It may not have come into being.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

/// An address that is of use at once: nobody else on the cable can have it.
fn add(name: &str, address: &str) -> Result<(), String> {
    let mut arguments = vec!["-n", name, "address", "add", address, "dev", INTERFACE];
    if address.contains(':') {
        arguments.push("nodad");
    }
    ip(&arguments)
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("iproute2", arguments).map(drop)
}

/// Runs `ip`, and answers what that printed; what it runs in a namespace is of `package`.
fn run(package: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("`ip` of iproute2: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = || format!("ip {} (it takes {package}): {}", arguments.join(" "), said.trim());
    if output.status.success() { Ok(String::from_utf8_lossy(&output.stdout).into_owned()) } else { Err(failed()) }
}

/// The router's interfaces, each with the address of the machine behind it and its own.
const ROUTED: [[&str; 3]; 2] = [["to-a", "192.0.2.7", "192.0.2.1"], ["to-b", "198.51.100.2", "198.51.100.1"]];

/// Where the router looks at what it forwards.
const FORWARDED: &str = "add table inet path; add chain inet path forwarded { type filter hook forward priority 0; }";
