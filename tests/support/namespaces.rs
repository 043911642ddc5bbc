//! Two machines on one cable: network namespaces with a pair of virtual interfaces between them.
//!
//! It takes the rights of root and `ip` of iproute2. Where they are missing a test says so and is skipped, unless the
//! environment variable `M2MESH_NAMESPACES` is `required`, as it is in CI.

#![allow(dead_code)] // each test binary uses its part

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
}

impl Machines {
    /// With these addresses (`192.0.2.7/24`) on either end of the cable; nothing, said loudly, where that is not possible.
    pub fn new(first: &[&str], second: &[&str]) -> Option<Self> {
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("m2mesh-{}-{number}-{end}", std::process::id());
        let machines = Self { names: [name("a"), name("b")] };
        if let Err(reason) = machines.set_up([first, second]) {
            let required = std::env::var("M2MESH_NAMESPACES").is_ok_and(|wanted| wanted == "required");
            assert!(!required, "network namespaces are required here, and cannot be made: {reason}");
            eprintln!("SKIPPED: this test needs two network namespaces, which cannot be made here: {reason}");
            return None;
        }
        Some(machines)
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
        let program = Path::new(env!("CARGO_BIN_EXE_m2mesh")).parent().expect("a directory").display().to_string();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[machine as usize], "sh", "-c", line]);
        command.env("PATH", format!("{program}:{path}")).env_remove("M2MESH_DIR");
        command.current_dir(directory).stdin(Stdio::null());
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
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
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("`ip` of iproute2: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {}", arguments.join(" "), said.trim())) }
}
