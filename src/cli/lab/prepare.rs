//! Prepares a lab: its directory, an ephemeral realm, ports, and the settings of each node.

use super::record;
use super::topology::Links;
use crate::cli::arguments;
use crate::cli::failure::Failure;
use crate::config;
use crate::gateway::dto::Lab;
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::node::realm;
use crate::store::{DirectoryLock, LockError};
use crate::time::EpochLength;
use serde::Serialize;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// A node to be started.
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) listen: Vec<String>,
    /// Number of nodes that it is to link with.
    pub(super) links: usize,
    /// Its port, reserved until it starts.
    pub(super) reserved: Reserved,
}

/// A port that is bound for TCP and UDP.
pub(super) struct Reserved {
    _tcp: TcpListener,
    _udp: UdpSocket,
    port: u16,
}

/// Creates the lab's directory, or takes over one that a lab has left. It belongs to this process while the lock
/// exists.
pub(super) fn directory(directory: &Path) -> Result<DirectoryLock, Failure> {
    arguments::make_directory(directory)?;
    let lock = DirectoryLock::take(directory).map_err(|error| match error {
        LockError::Held { .. } => Failure::new(
            format!("a lab already runs in {}", directory.display()),
            "use it with `m2mesh lab exec`, or name another directory with --dir",
        ),
        error => Failure::split(error, "name another directory with --dir"),
    })?;
    let failed = |error| Failure::file("read", directory, &error);
    let mut others = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != record::FILE && name != LOCK {
            others.push(name);
        }
    }
    if !others.is_empty() && !directory.join(record::FILE).exists() {
        return Err(Failure::new(
            format!("{} holds something that is no lab's", directory.display()),
            "name an empty directory, or one that does not exist yet, with --dir",
        ));
    }
    for name in others {
        remove(&directory.join(name))?;
    }
    record::mark(directory)?;
    Ok(lock)
}

/// Cleans up at the end: removes the directory of an ephemeral lab; in any other, keeps the nodes' directories for
/// inspection.
pub(super) fn clear(directory: &Path, ephemeral: bool) -> Result<(), Failure> {
    if ephemeral { remove(directory) } else { record::mark(directory) }
}

/// Creates the realm, and the identity and settings of each node. The first node holds the issuer's key.
pub(super) fn nodes(
    directory: &Path,
    count: u16,
    (epoch, anonymity): (EpochLength, Anonymity),
    links: &Links,
) -> Result<Vec<Plan>, Failure> {
    let mut plans = Vec::new();
    for number in 1..=usize::from(count) {
        let name = format!("node-{number}");
        let directory = directory.join(&name);
        arguments::make_directory(&directory)?;
        let reserved = reserve().map_err(|error| {
            Failure::new(format!("no port is free on 127.0.0.1: {error}"), "start fewer nodes with --nodes")
        })?;
        let port = reserved.port;
        let listen = vec![format!("/ip4/127.0.0.1/tcp/{port}"), format!("/ip4/127.0.0.1/udp/{port}/quic-v1")];
        let links = links.of(number - 1).count();
        plans.push(Plan { name, directory, listen, links, reserved });
    }
    enrol(&plans, epoch, anonymity)?;
    for (index, plan) in plans.iter().enumerate() {
        let others: Vec<&Plan> = links.of(index).map(|other| &plans[other]).collect();
        let bootstrap = others.iter().filter_map(|other| other.listen.first().cloned()).collect();
        // The first is where others begin, and stays known.
        configure(plan, bootstrap, if index == 0 { Anonymity::Stable } else { anonymity })?;
        let only = others.iter().map(|other| other.name.clone()).collect();
        let orders = Lab { only: (!links.is_full()).then_some(only), ..Lab::default() };
        config::lab::save(&plan.directory, &orders)
            .map_err(|error| Failure::file("write", &plan.directory.join(config::lab::FILE), &error))?;
    }
    Ok(plans)
}

/// Founds the realm in the first node's directory and makes every node a contact of every other.
fn enrol(plans: &[Plan], epoch: EpochLength, anonymity: Anonymity) -> Result<(), Failure> {
    let named = |plan: &Plan| {
        let name = Name::new(plan.name.clone()).expect("node-N is a name");
        (name, plan.directory.clone())
    };
    let devices: Vec<(Name, PathBuf)> = plans.iter().map(named).collect();
    realm::found_as(&devices, epoch, anonymity)
        .map_err(|error| Failure::split(error, "choose another --dir, and check the disk"))
}

#[derive(Serialize)]
struct Settings<'a> {
    anonymity: Anonymity,
    net: NetSettings<'a>,
}

#[derive(Serialize)]
struct NetSettings<'a> {
    listen: &'a [String],
    bootstrap: Vec<String>,
    mdns: bool,
}

fn configure(plan: &Plan, bootstrap: Vec<String>, anonymity: Anonymity) -> Result<(), Failure> {
    let settings = Settings { anonymity, net: NetSettings { listen: &plan.listen, bootstrap, mdns: false } };
    let text = toml::to_string(&settings).expect("texts, lists and a truth value are TOML");
    let path = plan.directory.join(config::FILE);
    fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))
}

/// Reserves a port that is free for TCP and UDP.
fn reserve() -> io::Result<Reserved> {
    let mut result = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..PORT_ATTEMPTS {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(udp) => return Ok(Reserved { _tcp: tcp, _udp: udp, port }),
            Err(error) => result = Err(error),
        }
    }
    result
}

fn remove(path: &Path) -> Result<(), Failure> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| Failure::file("remove", path, &error))
}

/// Name of the lock's file.
const LOCK: &str = "lock";
/// How many ports that are free for TCP are tried until one is free for UDP too.
const PORT_ATTEMPTS: usize = 16;
