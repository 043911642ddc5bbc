//! A path: whole packets carried from one network namespace to another after a delay.
//!
//! Each end is a TUN device in the namespace of a node. A thread takes packets from either and writes them to the other once
//! they are due: the delay, give or take a jitter drawn for each, and never before the packet that went in ahead, as a queue
//! on a real path. Between a cut and its end packets are taken and thrown away. Nothing else is done to them here: loss is
//! the receiving kernel's (`nft`), and the rate is that of a token bucket before the device (`tbf`).

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

/// How a path delays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// Each way.
    pub(super) delay: Duration,
    /// Most by which that varies.
    pub(super) jitter: Duration,
    /// What the jitter is drawn from.
    pub(super) seed: u64,
}

/// One end: a namespace by its name, and what the device is called there.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub(super) namespace: String,
    pub(super) device: String,
}

/// A path, until it is let go of.
pub(super) struct Path {
    orders: Arc<Orders>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Orders {
    cut: AtomicBool,
    over: AtomicBool,
    /// Packets that were thrown away.
    thrown: AtomicU64,
}

impl Path {
    /// Makes both devices, and carries between them once they are up.
    pub(super) fn between(ends: [End; 2], manner: Manner) -> io::Result<Self> {
        let orders = Arc::new(Orders::default());
        let (told, made) = sync_channel(1);
        let followed = orders.clone();
        // A thread can enter a namespace by itself, and belongs to the last one that it has entered.
        let thread = std::thread::spawn(move || match open(&ends) {
            Ok(devices) => {
                // Who made the path waits for this.
                let _ = told.send(Ok(()));
                carry(&devices, manner, &followed);
            }
            Err(error) => drop(told.send(Err(error))),
        });
        made.recv().unwrap_or_else(|_| Err(io::Error::other("the path's thread has ended")))?;
        Ok(Self { orders, thread: Some(thread) })
    }

    /// From now on nothing is carried and nobody is told, or all is again.
    pub(super) fn cut(&self, cut: bool) {
        self.orders.cut.store(cut, Relaxed);
    }

    /// How many packets cuts have taken.
    pub(super) fn thrown(&self) -> u64 {
        self.orders.thrown.load(Relaxed)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.orders.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
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

/// Packets on their way in one direction, in order.
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
    // What is not granted makes packets late by what the kernel usually allows itself, 50 µs.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let way =
        |number: u64| Way { packets: VecDeque::new(), last: Instant::now(), chance: manner.seed ^ (number << 32) };
    let mut ways = [way(1), way(2)];
    let mut buffer = vec![0; LARGEST];
    while !orders.over.load(Relaxed) {
        let now = Instant::now();
        for (to, way) in ways.iter_mut().enumerate() {
            while let Some((_, packet)) = way.packets.pop_front_if(|(due, _)| *due <= now) {
                // A device that is down, or full, loses it.
                let _ = devices[1 - to].send(&packet);
            }
        }
        let due = ways.iter().filter_map(|way| way.packets.front()).map(|(due, _)| *due).min();
        let rest = due.map_or(LOOK, |due| due.saturating_duration_since(Instant::now()).min(LOOK));
        let rest = Timespec { tv_sec: 0, tv_nsec: i64::from(rest.subsec_nanos()) };
        let mut ready = devices.each_ref().map(|device| PollFd::new(device, PollFlags::IN));
        // An interruption is a reason to look anew, as any.
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

/// Where `ip netns` keeps namespaces.
const NAMESPACES: &str = "/run/netns";
/// Longest time, less than a second, from one look at orders to the next.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes of the largest packet.
const LARGEST: usize = 65_536;
/// Packets on their way, in each direction; what comes beyond is lost.
const MOST_PACKETS: usize = 100_000;
