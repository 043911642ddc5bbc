//! Place: network namespaces, made by `ip`, `tc` and `nft`, and removed when they are dropped.

use std::process::Command;

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    /// Makes a namespace with a name that no other process uses.
    pub(super) fn new(number: usize) -> Result<Self, String> {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let made = Self(name);
        // Neighbour discovery of the kernel would only add packets.
        let quiet = ["all", "default"].map(|devices| format!("net.ipv6.conf.{devices}.disable_ipv6=1"));
        ip(&["netns", "exec", made.name(), "sysctl", "-q", "-w", &quiet[0], &quiet[1]])?;
        ip(&["-n", made.name(), "link", "set", "lo", "up"])?;
        Ok(made)
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Gives a device its address and brings it up: outgoing traffic has at most `rate` bits a second, and of incoming
    /// packets this share, in millionths, is lost.
    pub(super) fn set_up(&self, device: &str, address: &str, rate: Option<u64>, loss: u32) -> Result<(), String> {
        ip(&["-n", self.name(), "address", "add", address, "dev", device])?;
        ip(&["-n", self.name(), "link", "set", "dev", device, "mtu", "1500", "up"])?;
        if let Some(rate) = rate {
            let rate = format!("{rate}bit");
            let bucket = ["root", "tbf", "rate", &rate, "burst", BURST, "latency", QUEUE];
            run("tc", &[&["-n", self.name(), "qdisc", "replace", "dev", device][..], &bucket].concat())?;
        }
        if loss > 0 {
            let table = "add table inet path; \
                add chain inet path arriving { type filter hook prerouting priority -300; }";
            let rule = format!("add rule inet path arriving iifname {device} numgen random mod 1000000 < {loss} drop");
            ip(&["netns", "exec", self.name(), "nft", &format!("{table}; {rule}")])?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // An error cannot be reported here; `ip netns` lists the namespaces that are left.
        let _ = ip(&["netns", "del", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|error| format!("`{program}`: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let failed = || format!("{program} {}: {}", arguments.join(" "), said.trim());
    if output.status.success() { Ok(()) } else { Err(failed()) }
}

/// Removes namespaces of processes that were killed before they could do so.
pub(super) fn clear() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if process.is_some_and(|process| !std::path::Path::new("/proc").join(process).exists()) {
            drop(Namespace(name));
        }
    }
}

/// The prefix of the names of namespaces, which the number of the process follows.
const PREFIX: &str = "m2mesh-path-";
/// The bytes that may leave at once: two packets.
const BURST: &str = "3000";
/// The time that a packet may wait for its turn before it is lost.
const QUEUE: &str = "200ms";
