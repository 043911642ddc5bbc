//! Networks over libp2p's memory transport, on one thread: what is still to happen is known exactly.

use futures::executor::LocalPool;
use futures::future::BoxFuture;
use futures::task::LocalSpawnExt;
use libp2p::core::transport::MemoryTransport;
use libp2p::core::upgrade::Version;
use libp2p::{Transport as _, noise, yamux};
use m2mesh::id::{LinkId, Pseudonym};
use m2mesh::net::{
    self, Gatekeeper, LinkIds, Multiaddr, NetConfig, NetEvent, Network, Skew, StreamMuxerBox, Transport,
};
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Poll;

/// What clocks say, where they differ.
pub const EARLY: u64 = 1_800_000_000;
pub const LATE: u64 = 1_800_090_000;

/// A realm is a word, and whoever says it is a member. Whoever says `late` has another time than the others; of those,
/// `lenient` does not mind. Who is `lost` does not know the time: it says `late`, and where it is told another, `word`.
pub struct Word(&'static str);

impl Word {
    fn is_late(&self) -> bool {
        ["late", "lenient", "lost"].contains(&self.0)
    }
}

impl Gatekeeper for Word {
    type Peer = ();

    fn hello(&self) -> Vec<u8> {
        if self.is_late() { b"late".to_vec() } else { self.0.as_bytes().to_vec() }
    }

    fn verify(&self, hello: &[u8], _: &Pseudonym) -> Result<(), &'static str> {
        match (self.0, hello) {
            ("lenient" | "lost", b"word") => Ok(()),
            ("late", b"word") => Err("expired"),
            ("word", b"late") => Err("not-yet-valid"),
            (word, hello) if hello == word.as_bytes() => Ok(()),
            _ => Err("realm"),
        }
    }

    fn answer(&self, theirs: &[u8]) -> Vec<u8> {
        if self.0 == "lost" { theirs.to_vec() } else { self.hello() }
    }

    fn hello_at(&self, seconds: u64) -> Option<Vec<u8>> {
        (self.0 == "lost" && seconds == EARLY).then(|| b"word".to_vec())
    }

    fn skew(&self, hello: &[u8], _: &Pseudonym) -> Option<Skew> {
        match (self.0, hello) {
            ("late", b"word") => Some(Skew { theirs: EARLY, ours: LATE }),
            ("word", b"late") => Some(Skew { theirs: LATE, ours: EARLY }),
            _ => None,
        }
    }

    fn clock(&self) -> Option<u64> {
        Some(if self.is_late() { LATE } else { EARLY })
    }
}

type Tasks = Arc<Mutex<Vec<BoxFuture<'static, ()>>>>;

/// Networks on one thread.
pub struct World {
    pub pool: LocalPool,
    pub tasks: Tasks,
    pub networks: Vec<Network<Word>>,
    /// Whose connections stand still.
    pub frozen: Vec<Arc<AtomicBool>>,
}

impl World {
    pub fn new() -> Self {
        Self { pool: LocalPool::new(), tasks: Tasks::default(), networks: Vec::new(), frozen: Vec::new() }
    }

    /// Adds a network that listens, and returns its address.
    pub fn add(&mut self, word: &'static str, bootstrap: &[Multiaddr]) -> Multiaddr {
        self.add_with(word, NetConfig { bootstrap: bootstrap.to_vec(), ..NetConfig::default() })
    }

    pub fn add_with(&mut self, word: &'static str, mut config: NetConfig) -> Multiaddr {
        config.mdns = false;
        let number = NETWORKS.fetch_add(1, Relaxed);
        let address: Multiaddr = format!("/memory/{number}").parse().unwrap();
        config.listen = vec![address.clone()];
        let seed = [number as u8; 32];
        let (transport, key) = transport(seed);
        let (tasks, frozen) = (self.tasks.clone(), Arc::new(AtomicBool::new(false)));
        self.frozen.push(frozen.clone());
        let executor: net::Executor = Box::new(move |mut task| {
            let frozen = frozen.clone();
            let task = poll_fn(move |cx| if frozen.load(Relaxed) { Poll::Pending } else { task.as_mut().poll(cx) });
            tasks.lock().unwrap().push(Box::pin(task));
        });
        let local = key.public().to_peer_id();
        self.networks.push(Network::new(
            transport,
            local,
            executor,
            Arc::new(Word(word)),
            &config,
            seed,
            &LinkIds::default(),
        ));
        address
    }

    /// Runs all networks until `handle` has seen what it wants.
    pub fn run(&mut self, handle: impl FnMut(&mut [Network<Word>], usize, NetEvent<()>) -> ControlFlow<()>) {
        self.run_beside(futures::future::pending::<()>(), handle);
    }

    /// The same, or until `work` is done, whichever comes first.
    pub fn run_beside<T>(
        &mut self,
        work: impl Future<Output = T>,
        mut handle: impl FnMut(&mut [Network<Word>], usize, NetEvent<()>) -> ControlFlow<()>,
    ) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let spawner = self.pool.spawner();
        let (networks, tasks) = (&mut self.networks, &self.tasks);
        self.pool.run_until(poll_fn(|cx| {
            loop {
                let mut idle = true;
                for task in tasks.lock().unwrap().drain(..) {
                    idle = false;
                    spawner.spawn_local(task).unwrap();
                }
                for at in 0..networks.len() {
                    while let Poll::Ready(event) = networks[at].poll(cx) {
                        idle = false;
                        if handle(networks, at, event).is_break() {
                            return Poll::Ready(None);
                        }
                    }
                }
                if let Poll::Ready(done) = work.as_mut().poll(cx) {
                    return Poll::Ready(Some(done));
                }
                if idle {
                    return Poll::Pending;
                }
            }
        }))
    }

    /// Runs everything until nothing is left to do but what timers will bring; `handle` sees the events.
    pub fn run_until_stalled(&mut self, mut handle: impl FnMut(&mut [Network<Word>], usize, NetEvent<()>)) {
        loop {
            self.pool.run_until_stalled();
            let mut idle = true;
            for at in 0..self.networks.len() {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                while let Poll::Ready(event) = self.networks[at].poll(&mut cx) {
                    idle = false;
                    handle(&mut self.networks, at, event);
                }
            }
            for task in self.tasks.lock().unwrap().drain(..) {
                idle = false;
                self.pool.spawner().spawn_local(task).unwrap();
            }
            if idle {
                return;
            }
        }
    }

    /// Two networks with a link between them.
    pub fn pair() -> (Self, [LinkId; 2]) {
        let mut world = Self::new();
        let address = world.add("word", &[]);
        world.add("word", &[address]);
        let mut links = [None; 2];
        world.run(|_, at, event| {
            if let NetEvent::LinkUp { link, .. } = event {
                links[at] = Some(link);
            }
            if links.iter().all(Option::is_some) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (world, links.map(Option::unwrap))
    }
}

pub fn transport(seed: [u8; 32]) -> (Transport, libp2p::identity::Keypair) {
    let key = net::keypair(&seed);
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed();
    (transport, key)
}

/// Tells the tests' networks apart; memory addresses are the process's.
static NETWORKS: AtomicU64 = AtomicU64::new(1);
