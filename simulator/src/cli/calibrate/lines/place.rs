//! Network namespaces by `ip`, `tc` and `nft`: made here, gone when they are let go of.

use std::process::Command;

/// A network namespace.
#[derive(Debug)]
pub(super) struct Namespace(String);

impl Namespace {
    /// Makes one, of which nobody else can have the name.
    pub(super) fn new(number: usize) -> Result<Self, String> {
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let made = Self(name);
        // Kernels that look for neighbours would only add packets.
        let quiet = ["all", "default"].map(|devices| format!("net.ipv6.conf.{devices}.disable_ipv6=1"));
        ip(&["netns", "exec", made.name(), "sysctl", "-q", "-w", &quiet[0], &quiet[1]])?;
        ip(&["-n", made.name(), "link", "set", "lo", "up"])?;
        Ok(made)
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// Gives a device its address and lets it carry: at most `rate` bits a second of what leaves, and of what arrives without
    /// this share, in millionths.
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
        // There is nobody to tell; `ip netns` lists what is left.
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

/// What names of namespaces begin with; the number of the process follows.
const PREFIX: &str = "m2mesh-path-";
/// Bytes that may leave at once: two packets.
const BURST: &str = "3000";
/// How long a packet may wait for its turn before it is lost.
const QUEUE: &str = "200ms";
