//! Path: whole packets carried from one network namespace to another after a delay.
//!
//! Each end is a TUN device in the namespace of a node. A thread takes packets from either device and writes them to
//! the other once they are due: after the delay, plus or minus a jitter drawn for each, and never before an earlier
//! packet, as in a queue on a real path. Between the beginning of a cut and its end packets are discarded. Other
//! effects are produced by the kernel: loss by that of the receiver (`nft`), and the rate by a token bucket before the
//! device (`tbf`).

use crate::virtual_os::splitmix;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_current_timer_slack};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// The delay of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The delay in each direction.
    pub(super) delay: Duration,
    /// The greatest deviation from the delay.
    pub(super) jitter: Duration,
    /// The seed of the jitter.
    pub(super) seed: u64,
}

/// One end of a path: the name of a namespace, and the name of the device there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) namespace: String,
    pub(super) device: String,
}

/// A path, which exists until it is dropped.
pub(super) struct Path {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Orders {
    cut: AtomicBool,
    over: AtomicBool,
    /// The number of packets that were discarded.
    thrown: AtomicU64,
}

impl Path {
    /// Makes both devices, and carries packets between them once they are up.
    pub(super) fn between(ends: [End; 2], manner: Manner) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let (told, made) = sync_channel(1);
        let followed = orders.clone();
        // A thread can enter a namespace by itself, and belongs to the last one that it has entered.
        let thread = std::thread::spawn(move || match open(&ends) {
            Ok(devices) => {
                // The caller that makes the path waits for this.
                let _ = told.send(Ok(()));
                carry(&devices, manner, &followed);
            }
            Err(error) => drop(told.send(Err(error))),
        });
        made.recv().unwrap_or_else(|_| Err(io::Error::other("the path's thread has ended")))?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// Cuts the path silently, or heals it.
    pub(super) fn cut(&self, cut: bool) {
        self.orders.cut.store(cut, Relaxed);
    }

    /// Returns the number of packets that cuts have discarded.
    pub(super) fn thrown(&self) -> u64 {
        self.orders.thrown.load(Relaxed)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.orders.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // The thread returns no value.
            let _ = thread.join();
        }
    }
}

fn open(ends: &[End; 2]) -> io::Result<[SyncDevice; 2]> {
    let [first, second] = ends;
    let open = |end: &End| -> io::Result<SyncDevice> {
        let namespace = File::open(std::path::Path::new(NAMESPACES).join(&end.namespace))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let device = DeviceBuilder::new().name(&end.device).layer(Layer::L3).build_sync()?;
        device.set_nonblocking(true)?;
        Ok(device)
    };
    Ok([open(first)?, open(second)?])
}

/// The packets under way in one direction, in order.
struct Way {
    packets: VecDeque<(Instant, Box<[u8]>)>,
    last: Instant,
    chance: u64,
}

impl Way {
    fn put(&mut self, packet: &[u8], now: Instant, manner: &Manner) {
        let jitter = u64::try_from(manner.jitter.as_nanos()).unwrap_or(u64::MAX / 4);
        let varied = Duration::from_nanos(splitmix(&mut self.chance) % (2 * jitter + 1));
        let due = (now + manner.delay.saturating_sub(manner.jitter) + varied).max(self.last);
        self.last = due;
        if self.packets.len() < MOST_PACKETS {
            self.packets.push_back((due, packet.into()));
        }
    }
}

fn carry(devices: &[SyncDevice; 2], manner: Manner, orders: &Orders) {
    // If this is not granted, packets are late by the kernel's usual slack of 50 µs.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let way =
        |number: u64| Way { packets: VecDeque::new(), last: Instant::now(), chance: manner.seed ^ (number << 32) };
    let mut ways = [way(1), way(2)];
    let mut buffer = vec![0; LARGEST];
    while !orders.over.load(Relaxed) {
        let now = Instant::now();
        for (to, way) in ways.iter_mut().enumerate() {
            while let Some((_, packet)) = way.packets.pop_front_if(|(due, _)| *due <= now) {
                // A device that is down, or full, loses the packet.
                let _ = devices[1 - to].send(&packet);
            }
        }
        let due = ways.iter().filter_map(|way| way.packets.front()).map(|(due, _)| *due).min();
        let rest = due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).min(LOOK));
        let rest = Timespec { tv_sec: 0, tv_nsec: i64::from(rest.subsec_nanos()) };
        let mut ready = devices.each_ref().map(|device| PollFd::new(device, PollFlags::IN));
        // An interruption is handled as any other wake-up.
        let _ = poll(&mut ready, Some(&rest));
        for (from, way) in ways.iter_mut().enumerate() {
            loop {
                match devices[from].recv(&mut buffer) {
                    Ok(length) if !orders.cut.load(Relaxed) => way.put(&buffer[..length], Instant::now(), &manner),
                    Ok(_) => drop(orders.thrown.fetch_add(1, Relaxed)),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
    }
}

/// The directory in which `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// The longest time, less than a second, from one check for orders to the next.
const LOOK: Duration = Duration::from_millis(50);
/// The size of the largest packet in bytes.
const LARGEST: usize = 65_536;
/// The number of packets under way in each direction. Drop policy: packets beyond it are lost.
const MOST_PACKETS: usize = 100_000;
