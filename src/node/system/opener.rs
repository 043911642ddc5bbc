//! Opening networks over the machine's sockets: the first one, and another beside it when the pseudonym changes.

use super::{Clock, ports};
use crate::config::serial::Serial;
use crate::id::Pseudonym;
use crate::identity::admission::AdmissionView;
use crate::identity::kdf::Secret;
use crate::net::serial::Lines;
use crate::net::{self, LinkIds, Multiaddr, NetConfig, Network, names};
use crate::node::{Gate, OpenNetwork, port};
use core::fmt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::future::poll_fn;
use std::path::PathBuf;
use std::time::Duration;

/// Opens networks over the machine's sockets.
#[derive(Clone)]
pub(super) struct Opener {
    clock: Clock,
    config: NetConfig,
    link_ids: LinkIds,
    directory: PathBuf,
    /// Whether the node was told where to listen.
    told_where: bool,
}

/// Why a network could not be opened.
pub(super) enum OpenError {
    /// There are no sockets.
    Transport(net::TransportError),
    /// It cannot listen.
    Listen(String),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(error) => write!(f, "{error}"),
            Self::Listen(reason) => f.write_str(reason),
        }
    }
}

impl Opener {
    /// For the node of a directory, with its settings. `told_where`: these say where it listens.
    pub(super) fn new(clock: Clock, config: NetConfig, directory: PathBuf, told_where: bool) -> Self {
        Self { clock, config, link_ids: LinkIds::default(), directory, told_where }
    }

    /// One for another network beside the first: at any free port, since those of the first are in use and would say who this
    /// is. It dials the addresses `known` first.
    pub(super) fn beside(&self, known: Vec<Multiaddr>) -> Self {
        let mut other = self.clone();
        other.config.listen = ports::of_one_pseudonym(self.told_where.then_some(&self.config.listen[..]), None);
        (other.config.met, other.config.start_within, other.told_where) = (known, Duration::ZERO, true);
        other
    }

    /// Opens the serial lines, under no pseudonym yet.
    pub(super) fn lines(&self, settings: &[Serial], rng: &mut ChaCha20Rng) -> Lines<Gate> {
        let executor: net::Executor = Box::new(|task| drop(tokio::spawn(task)));
        let lines = settings.iter().map(|line| line.line(&self.config.bearers)).collect();
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        Lines::of_machine(lines, &executor, seed, &self.link_ids)
    }

    /// Opens a network that listens where the settings say or, if they do not say, at the port that the device has.
    pub(super) async fn open(
        &self,
        own: Pseudonym,
        seed: &Secret,
        view: AdmissionView,
        rng: &mut ChaCha20Rng,
    ) -> Result<OpenNetwork, OpenError> {
        let key = net::keypair(seed);
        let clock = self.clock;
        // Under another pseudonym neighbours see another process.
        let gate = Gate::new(view, rng.next_u64(), move || clock.now());
        let mut config = self.config.clone();
        let mut attempts = 0;
        loop {
            attempts += 1;
            if !self.told_where {
                config.listen = port::choose(&self.directory);
            }
            let transport = net::transport::system(&key).map_err(OpenError::Transport)?;
            let executor: net::Executor = Box::new(|task| drop(tokio::spawn(task)));
            let (mut jitter, local) = ([0; 32], key.public().to_peer_id());
            rng.fill_bytes(&mut jitter);
            let mut network = Network::new(transport, local, executor, gate.clone(), &config, jitter, &self.link_ids);
            network.set_resolver(names::system());
            // A node that says it is ready can be reached.
            match poll_fn(|cx| network.poll_listening(cx)).await {
                Ok(listening) => return Ok(OpenNetwork { own, network, gate, listening }),
                // Another program has taken the port meanwhile.
                Err(_) if !self.told_where && attempts < ATTEMPTS => {}
                Err(reason) => return Err(OpenError::Listen(reason)),
            }
        }
    }
}

/// How often a free port is looked for when another program takes it meanwhile.
const ATTEMPTS: u32 = 4;
