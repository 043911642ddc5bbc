//! A node on a real machine: the machine's clock, disk and sockets, and the start and stop of the node.
//!
//! The start takes its steps in the order in which an operator would fix what is wrong: directory lock, settings,
//! identity, store, sockets, local API. A node is ready when it listens and the API answers. It stops in good order:
//! everything it has accepted becomes durable, links are closed, the socket is removed.

mod blobs;
mod internet;
mod opener;
mod ports;
mod processor;

use super::places::{self, Places};
use super::{EventLoop, Host, Issued, OpenNetwork, Parts, preflight};
use crate::blob::disk;
use crate::client::Door;
use crate::config::cron::Schedule;
use crate::config::{self, Config, ConfigError};
use crate::engine::{Engine, Input, Settings};
use crate::gateway::{self, Gateway, dto};
use crate::id::{IssuerId, OuterId, Pseudonym};
use crate::identity::admission::AdmissionView;
use crate::identity::clock::Standing;
use crate::identity::enrolment::AnswerJudge;
use crate::identity::kdf::Secret;
use crate::identity::membership::{Membership, Stored};
use crate::keystore::Keyring;
use crate::keystore::device_dir::{DeviceDir, DeviceDirError};
use crate::keystore::realm_dir::{RealmDir, RealmDirError};
use crate::keystore::saver::Saver;
use crate::link::windows::Windows;
use crate::net::emulation::Lab;
use crate::net::{self, Multiaddr, NetConfig, Unhelpful, reach};
use crate::store::{BlobDisk, DirectoryLock, LockError, Opened, SledReader, SledStore, Store};
use crate::time::{Now, Time, Unix};
use crate::wire::hello::{EnrolHello, EnrolReply};
use blobs::BlobThread;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use internet::Internet;
use opener::{OpenError, Opener};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The options that a node is started with.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The node's directory: identity, store, socket.
    pub dir: PathBuf,
    /// Opens the keys in the directory, where they are sealed under a passphrase.
    pub keys: Keyring,
    /// File with the settings; `None` for `config.toml` in the directory.
    pub config: Option<PathBuf>,
    /// Multiaddresses to listen on; if empty, those in the settings.
    pub listen: Vec<String>,
    /// Multiaddresses of members to connect with, in addition to those in the settings.
    pub bootstrap: Vec<String>,
    /// Turns multicast DNS off, whatever the settings say.
    pub no_mdns: bool,
    /// Opens no local API: only the program around the node can use it.
    pub no_api: bool,
}

/// What is known of a node once it can be reached.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The name of this device.
    pub name: String,
    /// The multiaddresses that it listens on.
    pub listen: Vec<String>,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another process uses the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The settings cannot be read or are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address given in the options is no multiaddress.
    #[error("{address:?} is no multiaddress: {reason}; write for example /ip4/192.0.2.7/tcp/7707")]
    Address {
        /// The address, as given.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// The directory holds no identity, or one that cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceDirError),
    /// The realm's keys in this directory cannot be used.
    #[error(transparent)]
    Realm(#[from] RealmDirError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] crate::store::OpenError),
    /// The folder of the blobs cannot be opened.
    #[error("the folder `blobs` in the node's directory cannot be opened: {0}; check who owns it, and the disk")]
    Blobs(std::io::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] crate::engine::store::ReadError),
    /// The network cannot be set up.
    #[error("cannot set up the network: {0}")]
    Network(#[from] net::TransportError),
    /// The node cannot listen on any of its addresses.
    #[error("cannot listen: {0}; choose another with --listen, or in [net] of config.toml")]
    Listen(String),
    /// The local API's socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] gateway::BindError),
    /// The thread that reads the identity failed.
    #[error("the identity could not be read: {0}")]
    Thread(String),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
}

/// A node that runs, with its task handles and the channels that stop it.
pub(super) struct Running {
    pub(super) ready: Ready,
    pub(super) door: Door<SledReader>,
    close_api: oneshot::Sender<()>,
    api: Option<JoinHandle<()>>,
    stop: oneshot::Sender<()>,
    node: JoinHandle<()>,
    keeper: JoinHandle<()>,
    _lock: DirectoryLock,
}

impl Running {
    /// Stops the local API first, so that its clients hear how their last commands ended, then the node.
    pub(super) async fn stop(self) {
        let _ = self.close_api.send(());
        if let Some(api) = self.api {
            let _ = api.await;
        }
        let _ = self.stop.send(());
        let _ = self.node.await;
        let _ = self.keeper.await;
    }
}

/// Starts a node. When this returns, the node listens.
///
/// # Errors
/// [`NodeError`] names the step that failed.
pub(super) async fn start(options: RunOptions) -> Result<Running, NodeError> {
    if !options.dir.exists() {
        return Err(DeviceDirError::NoDevice { directory: options.dir }.into());
    }
    let lock = DirectoryLock::take(&options.dir)?;
    let mut config = Config::load(&options.dir, options.config.as_deref())?;
    if !options.listen.is_empty() {
        config.net.listen = parse_addresses(&options.listen)?;
    }
    let mut told_where = config.net.listen != NetConfig::default().listen;
    let places = places::load(&options.dir);
    config.net.met.clone_from(&places.met);
    config.net.mdns &= !options.no_mdns;
    config.net.bootstrap.extend(parse_addresses(&options.bootstrap)?);
    config.net.bearers = config::bearer::bearers(&config.bearers, &config.serial);
    let lab = load_lab(&options.dir)?;
    config.net.shaping = lab.is_some();
    let clock = Clock::new();
    let mut rng = system_rng()?;
    let device = DeviceDir::with_keys(&options.dir, options.keys.clone());
    let (membership, realm) = load(device.clone(), options.keys).await?;
    let own_epoch = membership.epoch_of_pseudonym(clock.now().unix);
    if lab.is_none() && own_epoch.is_some() {
        config.net.listen = ports::of_this_epoch(told_where.then_some(&config.net.listen[..]), &places, own_epoch);
        told_where = true;
    }
    if told_where {
        preflight::ports_are_free(&config.net.listen).map_err(NodeError::Listen)?;
    }
    let issuer: Option<IssuerId> = realm.as_ref().map(|realm| realm.issuer().id());
    let Opened { store, quarantined, .. } = SledStore::open(&options.dir, clock.now().unix)?;
    let reader = store.reader();
    let blobs = BlobDisk::open(&options.dir).map_err(NodeError::Blobs)?;

    let name = membership.name().to_string();
    let settings = Settings { aes: processor::has_aes(), built: BUILT, ..config.settings() };
    let mut engine = Engine::new(membership, issuer, settings, &reader, system_rng()?, clock.now())?;
    let (machine, now) = (clock.now().unix, engine.read_clock(clock.now()).unix);
    if engine.clock() == Standing::Unset {
        tracing::warn!(
            "this machine's clock is not set, it says {machine}: the node goes on from {now}, and asks for the time"
        );
    }
    if let Some(complaint) = preflight::lapsed(engine.membership(), now) {
        tracing::error!("{complaint}");
    }
    if let Some(found) = quarantined {
        // The event log has it too: the store has left a note there.
        tracing::error!(
            "the store was damaged and is set aside as {}, the node begins a new one: {}; keep it for an analysis",
            found.place,
            found.reason
        );
    }
    let opener = Opener::new(clock, config.net.clone(), options.dir.clone(), told_where);
    let own = engine.pseudonym();
    let (view, seed) = (engine.admission_view_of(&own), engine.membership().libp2p_seed(now));
    let network = opener.open(own, &seed, view, &mut rng).await.map_err(|error| match error {
        OpenError::Transport(error) => NodeError::Network(error),
        OpenError::Listen(reason) => NodeError::Listen(reason),
    })?;
    let mut lines = opener.lines(&config.serial, &mut rng);
    lines.enter(own, &seed, &network.gate);
    if let Some(lab) = &lab {
        network.gate.bar(lab, engine.membership().contacts(), now);
    }
    let listen = network.listening.clone();
    if lab.is_none() && !listen.is_empty() && listen.iter().all(reach::is_loopback) {
        if told_where {
            tracing::warn!("listens on loopback addresses only: devices on other machines cannot reach this one");
        } else {
            tracing::warn!(
                "no interface has an address that others could reach this node at; link-local ones (fe80::/10) are not \
                 used: give an interface an IPv4 address, or another of IPv6, such as one of fd00::/8"
            );
        }
    }
    let found = Places { listening: listen.clone(), met: config.net.met.clone(), epoch: own_epoch };
    if let Err(error) = places::save(&options.dir, &found) {
        tracing::warn!(%error, "the addresses could not be noted; `realm invite` will need --address");
    }

    let addresses = reach::for_others(&listen).iter().map(Multiaddr::to_vec).collect();
    engine.handle(Input::Listening { own, addresses }, clock.now());

    let gateway = if options.no_api { None } else { Some(Gateway::bind(&options.dir)?) };
    let (door, calls) = Door::new(reader.clone());
    let door = door.with_blobs(blobs.clone());
    let (close_api, api_closed) = oneshot::channel::<()>();
    let for_api = door.clone();
    let serve = |gateway: Gateway| tokio::spawn(gateway.serve(for_api, api_closed.map(|_| ())));
    let api = gateway.map(serve);
    let (send_stop, stop) = oneshot::channel();
    let (places, changed) = watch::channel(found);
    let keeper = tokio::spawn(keep_places(options.dir, changed));
    let host = System {
        clock,
        saver: Saver::new(device),
        realm: realm.map(|realm| Arc::new(Mutex::new(realm))),
        places,
        opener,
        blobs: BlobThread::new(blobs),
        schedule: Schedule::new(&config.bearers).with_awake(&config.sleep.awake),
    };
    let bootstrap = config.net.bootstrap.clone();
    let parts = Parts { engine, network, lines, store, host, calls, stop, bootstrap, lab };
    let node = tokio::spawn(EventLoop::new(parts));
    let ready = Ready { name, listen: listen.iter().map(Multiaddr::to_string).collect() };
    Ok(Running { ready, door, close_api, api, stop: send_stop, node, keeper, _lock: lock })
}

/// Reads the identity and the realm's keys on a thread of its own, since that is slow where they are sealed.
async fn load(device: DeviceDir, keys: Keyring) -> Result<(Membership, Option<RealmDir>), NodeError> {
    let read = blocking(move || {
        let mut membership = device.load()?;
        let there = RealmDir::is_there(device.path());
        let realm = there.then(|| RealmDir::open_with(device.path(), &keys)).transpose()?;
        if let Some(realm) = &realm {
            // From here the operator's bulletin and the documents it names go out to everybody.
            let bulletin = realm.bulletin();
            let taken = membership.accept_bulletin(bulletin.signed());
            let documents = bulletin.documents().map(|document| membership.accept_document(document));
            for failed in [taken].into_iter().chain(documents).filter_map(Result::err) {
                tracing::error!(error = %failed, "what lies in realm/ is not taken");
            }
        }
        keys.forget();
        Ok((membership, realm))
    });
    read.await.unwrap_or_else(|error| Err(NodeError::Thread(error)))
}

/// Returns the addresses at which the node of this directory was last reachable. Invitations name them.
pub fn last_addresses(directory: &Path) -> Vec<Multiaddr> {
    places::load(directory).listening
}

/// Saves places whenever they change, one state after the other; a state that a newer one has replaced is skipped.
async fn keep_places(directory: PathBuf, mut changed: watch::Receiver<Places>) {
    while changed.changed().await.is_ok() {
        let (directory, places) = (directory.clone(), changed.borrow_and_update().clone());
        let saved = blocking(move || places::save(&directory, &places).map_err(|error| error.to_string())).await;
        if let Err(error) = saved.and_then(|saved| saved) {
            tracing::warn!(%error, "where the node is and whom it met could not be noted");
        }
    }
}

/// Returns a generator seeded by the operating system, anew at each start, so that the keys used for sealing are fresh
/// in every process, even in two processes started on copies of one disk. Its state is never written to disk.
pub fn system_rng() -> Result<ChaCha20Rng, NodeError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| NodeError::Randomness(error.to_string()))?;
    Ok(ChaCha20Rng::from_seed(seed))
}

/// Returns the time of the wall clock.
pub fn unix_now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Asks members in turn, over connections of their own under the key derived from `seed`, until one brings the issuer's
/// answer. Each may take up to `limit`. `note` is called for each that failed, with whether another will be asked.
///
/// # Errors
/// Returns what went wrong with each member if none brought the answer.
pub async fn enrol(
    seed: &Secret,
    members: Vec<Multiaddr>,
    hello: &EnrolHello,
    judge: &AnswerJudge,
    limit: Duration,
    note: impl FnMut(&Unhelpful, bool) + Send,
) -> Result<EnrolReply, Vec<Unhelpful>> {
    let mut reach = Internet { key: net::keypair(seed), note };
    net::ask_around(&mut reach, members, hello, limit, |reply| judge.judge(reply)).await
}

/// Summarizes in one line why no member brought the issuer's answer.
fn nobody_helped(failures: &[Unhelpful]) -> String {
    if failures.is_empty() {
        return "no member's address is known".to_owned();
    }
    let failures: Vec<String> = failures.iter().map(ToString::to_string).collect();
    format!("no member brought the issuer's answer ({})", failures.join("; "))
}

/// The machine's clocks.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    fn new() -> Self {
        Self { start: Instant::now() }
    }

    pub(super) fn now(&self) -> Now {
        let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        Now { time: Time(elapsed), unix: unix_now() }
    }
}

/// Returns the resident memory of a process in bytes; `None` where `/proc` does not say.
pub(crate) fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// The machine as the node's host.
struct System {
    opener: Opener,
    blobs: BlobThread,
    clock: Clock,
    saver: Saver,
    realm: Option<Arc<Mutex<RealmDir>>>,
    places: watch::Sender<Places>,
    schedule: Schedule,
}

impl Host for System {
    fn now(&self) -> Now {
        self.clock.now()
    }

    fn memory(&self) -> u64 {
        resident(std::process::id()).unwrap_or_default()
    }

    fn windows(&mut self, now: Unix) -> Vec<(u8, Windows)> {
        self.schedule.renew(now)
    }

    fn save(&mut self, membership: Stored) -> BoxFuture<'static, Result<(), String>> {
        let save = self.saver.take(membership);
        blocking(move || save.write().map_err(|error| error.to_string()))
            .map(|result| result.unwrap_or_else(Err))
            .boxed()
    }

    fn issue(&mut self, hello: EnrolHello, relayed: Option<OuterId>, at: Unix) -> BoxFuture<'static, Issued> {
        let realm = self.realm.clone();
        blocking(move || {
            let realm = realm.ok_or("no issuer here")?;
            let mut rng = system_rng().map_err(|error| error.to_string())?;
            let mut realm = realm.lock().unwrap_or_else(PoisonError::into_inner);
            let answered = realm.answer(&hello, at, &mut rng);
            Ok::<_, String>(Issued::of(realm.issuer(), &hello, relayed, answered))
        })
        .map(|result| result.and_then(|inner| inner).unwrap_or_else(|_| Issued::unavailable()))
        .boxed()
    }

    fn renew(
        &mut self,
        hello: EnrolHello,
        seed: Secret,
        judge: AnswerJudge,
        members: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<EnrolReply, String>> {
        async move {
            let answer = enrol(&seed, members, &hello, &judge, RENEWAL_TIME, |_, _| {}).await;
            answer.map_err(|failures| nobody_helped(&failures))
        }
        .boxed()
    }

    fn open_network(
        &mut self,
        own: Pseudonym,
        seed: &Secret,
        view: AdmissionView,
        known: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<OpenNetwork, String>> {
        let (opener, seed) = (self.opener.beside(known), seed.clone());
        async move {
            let mut rng = system_rng().map_err(|error| error.to_string())?;
            opener.open(own, &seed, view, &mut rng).await.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn blob(&mut self, order: disk::Order) -> BoxFuture<'static, Vec<disk::Done>> {
        self.blobs.order(order)
    }

    fn keep_places(&mut self, places: Places) {
        // The receiver outlives this sender: the task that writes the file ends after it.
        let _ = self.places.send(places);
    }

    fn keep_lab(&mut self, lab: dto::Lab) -> BoxFuture<'static, Result<(), String>> {
        let directory = self.saver.device().path().to_owned();
        blocking(move || config::lab::save(&directory, &lab).map_err(|error| error.to_string()))
            .map(|result| result.unwrap_or_else(Err))
            .boxed()
    }
}

/// Runs work on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Reads the orders of a lab, if the node is in one.
fn load_lab(directory: &Path) -> Result<Option<Lab>, ConfigError> {
    let Some(lab) = config::lab::load(directory)? else { return Ok(None) };
    let path = directory.join(config::lab::FILE);
    Lab::try_from(lab).map(Some).map_err(|message| ConfigError::Parse { path, message })
}

fn parse_addresses(addresses: &[String]) -> Result<Vec<Multiaddr>, NodeError> {
    let parse = |address: &String| {
        address.parse().map_err(|error: libp2p::multiaddr::Error| NodeError::Address {
            address: address.clone(),
            reason: error.to_string(),
        })
    };
    addresses.iter().map(parse).collect()
}

/// No clock that is set says less: when the program was built (`SOURCE_DATE_EPOCH`, <https://reproducible-builds.org>, where whoever
/// builds it says so, which leaves the same source the same program), else when its release was begun.
const BUILT: Unix = Unix(built(option_env!("SOURCE_DATE_EPOCH")) * 1_000_000);
/// 2026-11-01. Set anew with each release.
const RELEASED: u64 = 1_793_491_200;

const fn built(epoch: Option<&str>) -> u64 {
    let Some(text) = epoch else { return RELEASED };
    match u64::from_str_radix(text, 10) {
        // One that is years ahead would be a mistake, which no device could get over.
        Ok(seconds) if seconds < RELEASED + 10 * 365 * 86_400 => seconds,
        _ => RELEASED,
    }
}

/// How long one member may take to answer a renewal.
const RENEWAL_TIME: Duration = Duration::from_secs(200);
