//! Pipe: the state of one connection that its task and the network share.

use super::outbox::Outbox;
use super::{Lane, LinkCounters, SendError};
use crate::wire::OutFrame;
use crate::wire::data::Class;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The outboxes and counters of one connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) control: Outbox,
    pub(crate) data: Outbox,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    /// The smoothed round-trip time, in microseconds; 0 before the first measurement.
    round_trip: AtomicU64,
    /// Buffers that the task has handed over: the network fetches them all before it reports the end of the link.
    pub(crate) handed_over: AtomicU64,
    /// When both directions ended in good order: from then on the other end may still be reading.
    pub(crate) finished: OnceLock<Instant>,
}

impl Pipe {
    pub(crate) fn new(outbox_bytes: usize) -> Self {
        Self {
            control: Outbox::control(outbox_bytes),
            data: Outbox::data(outbox_bytes),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            frames_in: AtomicU64::new(0),
            frames_out: AtomicU64::new(0),
            round_trip: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            finished: OnceLock::new(),
        }
    }

    pub(crate) fn try_send(&self, lane: Lane, class: Class, frame: &OutFrame) -> Result<(), SendError> {
        match lane {
            Lane::Control => self.control.try_send(class, frame),
            Lane::Data => self.data.try_send(class, frame),
        }
    }

    /// Takes no more frames; those that wait still leave.
    pub(crate) fn close(&self) {
        self.control.close();
        self.data.close();
    }

    /// Adds a measurement to the smoothed round-trip time with a weight of an eighth (RFC 6298, section 2).
    pub(crate) fn measured(&self, round_trip: Duration) {
        let new = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX).max(1);
        let old = self.round_trip.load(Relaxed);
        self.round_trip.store(if old == 0 { new } else { old - old / 8 + new / 8 }, Relaxed);
    }

    /// Discards the smoothed round-trip time.
    pub(crate) fn forget_round_trip(&self) {
        self.round_trip.store(0, Relaxed);
    }

    /// Adds this connection's counters to those of its link.
    pub(crate) fn add_to(&self, counters: &mut LinkCounters) {
        counters.bytes_in += self.bytes_in.load(Relaxed);
        counters.bytes_out += self.bytes_out.load(Relaxed);
        counters.frames_in += self.frames_in.load(Relaxed);
        counters.frames_out += self.frames_out.load(Relaxed);
        let round_trip = self.round_trip.load(Relaxed);
        if round_trip > 0 {
            counters.round_trip = Some(Duration::from_micros(round_trip));
        }
    }
}
