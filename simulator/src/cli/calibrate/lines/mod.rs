//! Lines of real nodes, each in a network namespace of its own, with paths between neighbours only.
//!
//! A line has `hops + 1` nodes, of which the first sends to the last. Several lines run beside each other, so that a
//! minute shows many losses; they share only the realm and the machine. Nodes listen on the addresses of their paths,
//! and know those of the next node, by TCP or by QUIC alone; there is no other connection, and no IP route from one
//! path to another.
//!
//! Files: `path` packets from one namespace to the next · `place` namespaces.

mod path;
mod place;
#[cfg(test)]
mod tests;

use super::super::failure::Failure;
use super::senders::{self, Confirmed, Load, Sender};
use futures_timer::Delay;
use m2mesh::id::Name;
use m2mesh::net::emulation::Shape;
use m2mesh::time::EpochLength;
use path::{End, Manner, Path};
use place::Namespace;
use std::io::{BufRead, BufReader};
use std::path::{Path as FilePath, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// The properties of the lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    /// Whether nodes are joined by QUIC instead of TCP.
    pub(super) quic: bool,
    /// The number of lines.
    pub(super) lines: usize,
    /// The number of paths in each line.
    pub(super) hops: usize,
    /// The shape of each path, in either direction.
    pub(super) shape: Shape,
    /// The seed of the jitter.
    pub(super) seed: u64,
}

/// The times at which all paths were cut and healed, in seconds after sending began.
pub(super) type Cut = (f64, f64);

/// Running lines.
pub(super) struct Lines {
    program: PathBuf,
    setting: Setting,
    /// The nodes' directories, line by line, in order along each line.
    directories: Vec<PathBuf>,
    nodes: Vec<Node>,
    paths: Vec<Path>,
    /// Dropped after the processes that are in them.
    namespaces: Vec<Namespace>,
}

/// A node's process, which is killed when this is dropped.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}

impl Lines {
    /// Starts the lines, and waits until every first node has reached its last.
    pub(super) fn start(program: &FilePath, directory: &FilePath, setting: Setting) -> Result<Self, Failure> {
        let unmade = |error: String| {
            Failure::new(
                format!("network namespaces cannot be made: {error}"),
                "run it as root on Linux with iproute2, nftables and /dev/net/tun; `--over lab` needs none of these",
            )
        };
        let count = setting.lines * (setting.hops + 1);
        let names: Vec<Name> =
            (1..=count).map(|number| Name::new(name(number)).expect("a word and a number are a name")).collect();
        let directories: Vec<PathBuf> = names.iter().map(|name| directory.join(name.as_str())).collect();
        for directory in &directories {
            std::fs::create_dir(directory).map_err(|error| Failure::file("make", directory, &error))?;
        }
        let devices: Vec<(Name, PathBuf)> = names.into_iter().zip(directories.iter().cloned()).collect();
        m2mesh::realm::found(&devices, EpochLength::HOUR)
            .map_err(|error| Failure::new(format!("no realm was founded: {error}"), "check the disk"))?;
        place::clear();
        let namespaces = (0..count).map(Namespace::new).collect::<Result<Vec<_>, _>>().map_err(unmade)?;
        let program = program.to_path_buf();
        let mut made = Self { program, setting, directories, nodes: Vec::new(), paths: Vec::new(), namespaces };
        for (from, _) in made.edges() {
            made.join(from).map_err(unmade)?;
        }
        for node in 0..count {
            made.configure(node)?;
            made.nodes.push(made.run(node)?);
        }
        made.wait_until_ready()?;
        Ok(made)
    }

    /// Makes the path from a node to the next.
    fn join(&mut self, from: usize) -> Result<(), String> {
        let Setting { shape, seed, .. } = self.setting;
        let ends = [(from, UP), (from + 1, DOWN)];
        let named = ends.map(|(node, device)| End {
            namespace: self.namespaces[node].name().to_owned(),
            device: device.to_owned(),
        });
        let manner = Manner { delay: shape.delay, jitter: shape.jitter, seed: seed.wrapping_add(from as u64) };
        let path = Path::between(named, manner).map_err(|error| format!("TUN devices: {error}"))?;
        for (node, device) in ends {
            let address = format!("{}/30", self.address(node, device));
            self.namespaces[node].set_up(device, &address, shape.rate, shape.loss)?;
        }
        self.paths.push(path);
        Ok(())
    }

    /// Returns the address of a node's device.
    fn address(&self, node: usize, device: &str) -> String {
        let path = if device == UP { node } else { node - 1 };
        format!("10.77.{path}.{}", if device == UP { 1 } else { 2 })
    }

    fn multiaddr(&self, node: usize, device: &str) -> String {
        let address = self.address(node, device);
        match self.setting.quic {
            true => format!("/ip4/{address}/udp/{PORT}/quic-v1"),
            false => format!("/ip4/{address}/tcp/{PORT}"),
        }
    }

    fn configure(&self, node: usize) -> Result<(), Failure> {
        let place = node % (self.setting.hops + 1);
        let ends = [(place > 0, DOWN), (place < self.setting.hops, UP)];
        let listen: Vec<String> =
            ends.iter().filter(|(there, _)| *there).map(|(_, device)| self.multiaddr(node, device)).collect();
        let bootstrap: Vec<String> =
            (place < self.setting.hops).then(|| self.multiaddr(node + 1, DOWN)).into_iter().collect();
        let text = format!("[net]\nlisten = {listen:?}\nbootstrap = {bootstrap:?}\nmdns = false\ntarget_links = 0\n");
        let path = self.directories[node].join("config.toml");
        std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))
    }

    /// Runs a node in its namespace.
    fn run(&self, node: usize) -> Result<Node, Failure> {
        let log = self.directories[node].join("log.txt");
        let log = std::fs::File::create(&log).map_err(|error| Failure::file("make", &log, &error))?;
        let started = Command::new("ip")
            .args(["netns", "exec", self.namespaces[node].name()])
            .arg(&self.program)
            .arg("run")
            .arg("--dir")
            .arg(&self.directories[node])
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn();
        let hint = "build it with `cargo build --release`, or say where it is with --m2mesh";
        let mut node = Node(started.map_err(|error| Failure::new(format!("a node does not start: {error}"), hint))?);
        let output = node.0.stdout.take();
        let (told, ready) = sync_channel(1);
        // Continues to read, since the node would end if nothing read its output; the thread ends with the node.
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok)) {
                if line.starts_with("READY") {
                    // Sent once; the receiver may have stopped waiting.
                    let _ = told.try_send(());
                }
            }
        });
        ready.recv_timeout(TO_START).map_err(|_| Failure::new("a node did not become ready", hint))?;
        Ok(node)
    }

    /// Returns the pairs of nodes that link: each node with the next.
    pub(super) fn edges(&self) -> Vec<(usize, usize)> {
        let Setting { lines, hops, .. } = self.setting;
        let paths = (0..lines * (hops + 1)).filter(|node| node % (hops + 1) < hops);
        paths.map(|from| (from, from + 1)).collect()
    }

    /// Returns the first and the last node of each line.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let Setting { lines, hops, .. } = self.setting;
        (0..lines).map(move |line| (line * (hops + 1), line * (hops + 1) + hops))
    }

    /// Sends a message from end to end and back, after which links are up, routes are known and sessions are open.
    fn wait_until_ready(&self) -> Result<(), Failure> {
        for (from, to) in self.pairs().flat_map(|(first, last)| [(first, last), (last, first)]) {
            let done = Command::new(&self.program)
                .arg("--dir")
                .arg(&self.directories[from])
                .args(["send", &name(to + 1), "ready?", "--ack", "end", "--deadline", "60s"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            if !done.is_ok_and(|status| status.success()) {
                return Err(Failure::new("the ends of a line did not reach each other", "try less --loss or --delay"));
            }
        }
        // By then the first LSAs have been flooded, and each round trip has been measured.
        futures::executor::block_on(Delay::new(SETTLE));
        Ok(())
    }

    /// Lets every first node send to the last of its line, with all paths cut at a time for a duration. Returns the
    /// number of messages, those that were confirmed, and the times of the cut.
    #[allow(clippy::type_complexity)]
    pub(super) fn send(
        &self,
        load: Load,
        cut: Option<(Duration, Duration)>,
    ) -> Result<(usize, Vec<Confirmed>, Option<Cut>), Failure> {
        let mut senders = Vec::new();
        for (first, last) in self.pairs() {
            senders.push(Sender::start(&self.program, &self.directories[first], &name(last + 1))?);
        }
        let began = Instant::now();
        std::thread::scope(|scope| {
            let cutting = cut.map(|(at, length)| {
                scope.spawn(move || {
                    let set = |at: Duration, cut: bool| {
                        futures::executor::block_on(Delay::new(at.saturating_sub(began.elapsed())));
                        self.paths.iter().for_each(|path| path.cut(cut));
                        began.elapsed().as_secs_f64()
                    };
                    (set(at, true), set(at + length, false))
                })
            });
            let (sent, confirmed) = senders::send(senders, load, began)?;
            let cut = cutting.and_then(|cutting| cutting.join().ok());
            let unharmed = self.paths.iter().any(|path| path.thrown() == 0);
            if cut.is_some() && unharmed {
                return Err(Failure::new("a cut has taken no packet", "make it longer, or send --every more often"));
            }
            Ok((sent, confirmed, cut))
        })
    }

    /// Stops all nodes.
    pub(super) fn stop(mut self) -> Result<(), Failure> {
        for node in &self.nodes {
            if let Some(process) = i32::try_from(node.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
                // The process may have ended by itself.
                let _ = rustix::process::kill_process(process, rustix::process::Signal::INT);
            }
        }
        for node in &mut self.nodes {
            let ended = node.0.wait();
            ended
                .map_err(|error| Failure::new(format!("a node does not end: {error}"), "see the processes that run"))?;
        }
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("node-{number}")
}

/// The names of a node's devices towards the next node, and towards the previous one.
const UP: &str = "up";
const DOWN: &str = "down";
/// The port of every node, since each has a namespace of its own.
const PORT: u16 = 7707;
/// The time that a node may take to start: many times as long as it needs.
const TO_START: Duration = Duration::from_secs(60);
/// The time from the first message to those that count.
const SETTLE: Duration = Duration::from_secs(5);
