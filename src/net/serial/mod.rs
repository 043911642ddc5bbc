//! Serial: links over serial lines, beside those of the networks over IP. The protocol is [`crate::link::serial`]; here
//! are the devices, and what the node polls.
//!
//! [`Lines`] is to serial lines what [`Network`](super::Network) is to IP: it reports the same events and takes frames by
//! the same calls, so that nobody above knows the difference. Each line has a task, which alone reads, writes and waits
//! ([`task`]); the node and the task share the state of the line behind a lock that is held for a moment. All networks of
//! a node share its lines: a pseudonym enters them beside the one before, and gets sessions of its own.
//!
//! Invariants
//! 1. `LinkUp` is the first event of a link and `LinkDown` the last; its frames come in between.
//! - Nothing waits in this module: frames, events and their bounds are those of the line.

mod device;
mod guard;
mod task;

use super::link_ids::LinkIds;
use super::{Executor, Gatekeeper, Lane, LinkCounters, Multiaddr, NetEvent, SendError};
use crate::counter::Counter;
use crate::id::{LinkId, Pseudonym};
use crate::identity::kdf::Secret;
use crate::link::serial::lanes;
use crate::link::serial::line::{Event, Line, Settings, Tally};
use crate::link::serial::session::Happened;
use crate::link::windows::Windows;
use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use core::time::Duration;
use device::Open;
use futures::FutureExt;
use futures::task::AtomicWaker;
use guard::Member;
use libp2p::multiaddr::Protocol;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

pub use device::Flow;

/// The settings of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineConfig {
    /// The device.
    pub device: PathBuf,
    /// Its bits a second.
    pub baud: u32,
    /// The longest line frame in bytes.
    pub mtu: usize,
    /// How the device is held back.
    pub flow: Flow,
    /// The bearer of its links.
    pub bearer: u8,
    /// How long an idle link waits before it asks.
    pub keep: Duration,
    /// When the bearer may be used, until others are told.
    pub windows: Windows,
}

/// The state of one line, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineState {
    /// The device.
    pub device: String,
    /// Its bits a second.
    pub baud: u32,
    /// The number of its links.
    pub links: usize,
    /// Why it is not open; `None` while it is.
    pub failure: Option<String>,
}

/// The serial lines of a node. See the module's documentation.
pub struct Lines<G: Gatekeeper> {
    lines: Vec<Arc<Shared<G>>>,
    /// Links by number: the line, the session, and the pseudonym of this device.
    links: BTreeMap<LinkId, At>,
    ids: LinkIds,
    events: VecDeque<(Pseudonym, NetEvent<G::Peer>)>,
    reading: bool,
    /// Whether a call has left an event for [`Lines::poll`].
    wanted: bool,
    /// The line that is looked at first.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
struct At {
    line: usize,
    session: u32,
    own: Pseudonym,
}

/// A line, as its task and the node share it.
struct Shared<G: Gatekeeper> {
    config: LineConfig,
    state: Mutex<State<G>>,
    /// The start of the line's time.
    began: Instant,
    /// Wakes the task of the line.
    task: AtomicWaker,
    /// Wakes the node.
    owner: AtomicWaker,
    /// When the line's bearer may be used in the days ahead, as it was told last.
    windows: Mutex<Windows>,
}

struct State<G: Gatekeeper> {
    line: Line<Member<G>>,
    /// Why the device is not open.
    failure: Option<String>,
    /// Whether the node has gone.
    stopped: bool,
}

impl<G: Gatekeeper> Lines<G> {
    /// No lines.
    pub fn none() -> Self {
        Self {
            lines: Vec::new(),
            links: BTreeMap::new(),
            ids: LinkIds::default(),
            events: VecDeque::new(),
            reading: true,
            wanted: false,
            turn: 0,
        }
    }

    /// Opens these lines of the machine, again and again where a device is not there. `seed` feeds what they draw; `ids`
    /// gives the numbers of links.
    pub fn of_machine(configs: Vec<LineConfig>, executor: &Executor, seed: [u8; 32], ids: &LinkIds) -> Self {
        Self::new(configs, executor, seed, ids, &device::of_machine())
    }

    fn new(configs: Vec<LineConfig>, executor: &Executor, seed: [u8; 32], ids: &LinkIds, open: &Open) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let lines = configs.into_iter().map(|config| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let settings = Settings { rate: config.baud / BITS, mtu: config.mtu, keep: config.keep };
            let line = Line::new(settings, ChaCha20Rng::from_seed(seed));
            let state = State { line, failure: Some("it has not been opened yet".to_owned()), stopped: false };
            let windows = Mutex::new(config.windows.clone());
            let shared = Arc::new(Shared {
                config,
                state: Mutex::new(state),
                began: Instant::now(),
                task: AtomicWaker::new(),
                owner: AtomicWaker::new(),
                windows,
            });
            executor(task::run(shared.clone(), open.clone()).boxed());
            shared
        });
        let mut this = Self::none();
        (this.lines, this.ids) = (lines.collect(), ids.clone());
        this
    }

    /// Takes part under a pseudonym, whose key has that seed, from now on.
    pub fn enter(&mut self, own: Pseudonym, seed: &Secret, gatekeeper: &Arc<G>) {
        for shared in &self.lines {
            let member = Member::new(own, seed, gatekeeper.clone());
            let now = shared.now();
            shared.lock().line.enter(member, now);
            shared.task.wake();
        }
    }

    /// Takes part no more under a pseudonym. Returns its links, which are down without an event.
    pub fn leave(&mut self, own: &Pseudonym) -> Vec<LinkId> {
        for shared in &self.lines {
            shared.lock().line.leave(own);
            shared.task.wake();
        }
        let left: Vec<LinkId> = self.links.iter().filter(|(_, at)| at.own == *own).map(|(link, _)| *link).collect();
        self.links.retain(|_, at| at.own != *own);
        left
    }

    /// What happened next, and under which pseudonym.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Pseudonym, NetEvent<G::Peer>)> {
        self.wanted = false;
        // Each line is looked at first in its turn.
        self.turn = self.turn.wrapping_add(1);
        for step in 0..self.lines.len() {
            let at = (self.turn + step) % self.lines.len();
            // The waker is registered before the look, so that what happens in between is not missed.
            self.lines[at].owner.register(cx.waker());
            if self.events.is_empty() {
                self.look(at);
            }
        }
        match self.events.pop_front() {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }

    /// Takes over what has become of a line.
    fn look(&mut self, at: usize) {
        let shared = self.lines[at].clone();
        let (now, mut state) = (shared.now(), shared.lock());
        let Some(newest) = state.line.guards().last().map(|guard| guard.own) else { return };
        let Tally { noise, corrupt, stray, again } = state.line.tally();
        for (counter, count) in [
            (Counter::LineNoise, noise),
            (Counter::LineFramesCorrupt, corrupt),
            (Counter::LineFramesStray, stray),
            (Counter::LineFramesResent, again),
        ] {
            if count > 0 {
                self.events.push_back((newest, NetEvent::Dropped { counter, count }));
            }
        }
        while let Some(event) = state.line.event() {
            self.handle(at, event);
        }
        for (own, skew) in state.line.guards().filter_map(|guard| Some((guard.own, guard.take_skew()?))) {
            self.events.push_back((own, NetEvent::Skewed { address: shared.address(), skew }));
        }
        if self.reading
            && let Some((session, buffer)) = state.line.fetch(now)
        {
            self.push_frames(at, session, buffer);
            // Room may have been made, which the other end is told.
            shared.task.wake();
        }
    }

    fn push_frames(&mut self, line: usize, session: u32, buffer: bytes::Bytes) {
        if let Some((link, own)) = self.link_of(line, session) {
            self.events.push_back((own, NetEvent::Frames { link, lane: Lane::Data, buffer }));
        }
    }

    fn link_of(&self, line: usize, session: u32) -> Option<(LinkId, Pseudonym)> {
        let found = self.links.iter().find(|(_, at)| (at.line, at.session) == (line, session));
        found.map(|(link, at)| (*link, at.own))
    }

    fn handle(&mut self, line: usize, event: Event<G::Peer>) {
        let address = self.lines[line].address();
        match event {
            Event::Up { id, own, peer, found, outbound, age } => {
                let link = self.ids.next();
                self.links.insert(link, At { line, session: id, own });
                let bearer = self.lines[line].config.bearer;
                let up = NetEvent::LinkUp { link, peer, admitted: found, address, outbound, bearer, age };
                self.events.push_back((own, up));
            }
            Event::Frames { id, bytes } => self.push_frames(line, id, bytes),
            Event::Down { id, reason } => {
                if let Some((link, own)) = self.link_of(line, id) {
                    self.links.remove(&link);
                    self.events.push_back((own, NetEvent::LinkDown { link, reason }));
                }
            }
            Event::Session { id, happened } => {
                if let Some((link, own)) = self.link_of(line, id) {
                    let event = match happened {
                        Happened::Writable => NetEvent::Writable { link },
                        Happened::Silent => NetEvent::Silent { link },
                        Happened::Heard => NetEvent::Heard { link },
                        Happened::Measured(round_trip) => NetEvent::Measured { link, round_trip },
                    };
                    self.events.push_back((own, event));
                }
            }
            Event::Refused { own, reason } => {
                let event = match reason {
                    guard::OWN => return,
                    guard::TWIN => NetEvent::Twins { link: None, addresses: vec![address] },
                    guard::CUT => NetEvent::Cut { count: 1 },
                    reason => NetEvent::Refused { reason, count: 1 },
                };
                self.events.push_back((own, event));
            }
        }
    }

    /// Whether a call has left work for [`Lines::poll`].
    pub fn wants_poll(&self) -> bool {
        self.wanted || !self.events.is_empty()
    }

    /// Queues one whole frame.
    ///
    /// # Errors
    /// Fails if the queue is full, the link is down, or `frame` is not exactly one frame.
    pub fn try_send(&self, link: LinkId, class: Class, frame: &OutFrame) -> Result<(), SendError> {
        let lane = lanes::lane_of(class, frame).ok_or(SendError::NotAFrame)?;
        let At { line, session, .. } = self.links.get(&link).ok_or(SendError::Gone)?;
        let shared = &self.lines[*line];
        let taken = shared.lock().line.send(*session, lane, frame.clone());
        match taken {
            Some(true) => {
                shared.task.wake();
                Ok(())
            }
            Some(false) => Err(SendError::Full),
            None => Err(SendError::Gone),
        }
    }

    /// Sets whether frames are fetched. While they are not, the other ends are held back; links stay up.
    pub fn set_reading(&mut self, reading: bool) {
        self.wanted |= reading && !self.reading;
        self.reading = reading;
    }

    /// Closes a link at once; `LinkDown` with this reason follows.
    pub fn close(&mut self, link: LinkId, reason: &str) {
        if let Some(At { line, session, .. }) = self.links.get(&link) {
            self.lines[*line].lock().line.close(*session, reason);
            self.lines[*line].task.wake();
            self.wanted = true;
        }
    }

    /// Tells the lines of a bearer when it may be used in the days ahead. No session is begun outside of that.
    pub fn set_windows(&self, bearer: u8, windows: &Windows) {
        for shared in self.lines.iter().filter(|shared| shared.config.bearer == bearer) {
            *shared.windows.lock().unwrap_or_else(PoisonError::into_inner) = windows.clone();
            shared.task.wake();
        }
    }

    /// Whether a link is one of these lines.
    pub fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    /// Returns the counters of a link, or `None` if it is down.
    pub fn counters(&self, link: LinkId) -> Option<LinkCounters> {
        let At { line, session, .. } = self.links.get(&link)?;
        let (carried, round_trip) = self.lines[*line].lock().line.carried(*session)?;
        Some(LinkCounters {
            bytes_in: carried.bytes_in,
            bytes_out: carried.bytes_out,
            frames_in: carried.frames_in,
            frames_out: carried.frames_out,
            connections: 1,
            round_trip,
        })
    }

    /// The state of each line.
    pub fn states(&self) -> Vec<LineState> {
        let state = |(at, shared): (usize, &Arc<Shared<G>>)| LineState {
            device: shared.config.device.display().to_string(),
            baud: shared.config.baud,
            links: self.links.values().filter(|of| of.line == at).count(),
            failure: shared.lock().failure.clone(),
        };
        self.lines.iter().enumerate().map(state).collect()
    }
}

impl<G: Gatekeeper> Drop for Lines<G> {
    fn drop(&mut self) {
        for shared in &self.lines {
            shared.lock().stopped = true;
            shared.task.wake();
        }
    }
}

impl<G: Gatekeeper> Shared<G> {
    fn now(&self) -> Time {
        Time(u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX))
    }

    /// Every statement leaves the state consistent, so a panic of another holder does no harm.
    fn lock(&self) -> MutexGuard<'_, State<G>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the line begin sessions only while its bearer may be used, by the newest guard's clock; always if there is no
    /// clock. Returns how long that stays so, if it is known.
    fn heed_windows(&self) -> Option<Duration> {
        let windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.is_empty() {
            return None;
        }
        let (now, mut state) = (self.now(), self.lock());
        let unix = state.line.guards().last().and_then(Member::clock);
        state.line.set_begins(unix.is_none_or(|unix| windows.open_at(unix)), now);
        unix.and_then(|unix| Some(windows.next_change(unix)?.since(unix)))
    }

    fn address(&self) -> Multiaddr {
        address_of(&self.config.device)
    }
}

/// The address of a link over a device: `/unix/dev/ttyUSB0`.
fn address_of(device: &Path) -> Multiaddr {
    let path = device.to_string_lossy();
    Multiaddr::empty().with(Protocol::Unix(Cow::Owned(path.trim_start_matches('/').to_owned())))
}

/// The device of a link's address, if it is over a serial line.
pub fn device_of(address: &Multiaddr) -> Option<String> {
    address.iter().find_map(|part| match part {
        Protocol::Unix(path) => Some(format!("/{path}")),
        _ => None,
    })
}

/// Bits of an octet on the line: a start bit, eight bits, a stop bit.
const BITS: u32 = 10;

#[cfg(test)]
mod tests;
