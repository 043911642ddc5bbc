//! Pacing: what is handed to a connection goes no faster than its bearer carries it.
//!
//! Bytes that have been handed to a transport can no longer be overtaken. Before an alarm may stand, from the message
//! to the air:
//!
//! ```text
//!  buffer                                  held to                             by
//!  messages of a destination, by class     24,576, a quarter of the bytes      delivery::outgoing   overtaken
//!  frames that have been sealed            none for a class of which the link  engine, Blocked      overtaken
//!                                          has no room, or half a second lies
//!                                          before it, by the bearer's rate     neighbours::air
//!  frames that wait for a link, by class   4,096; 1,024 of bulk                node::stalled        overtaken
//!  outbox of each lane, by class           50 ms of the lane's pace            net::outbox          overtaken
//!  ──────────────────────────────────────── from here on nothing is overtaken ────────────────────────────────
//!  piece that is being written             32 ms of the bearer's rate,         Profile::piece       one
//!                                          512 bytes at least
//!  Yamux, Noise, QUIC, socket, modem       what the bearer is behind by:       this module          LATE
//!                                          10 ms at most
//! ```
//!
//! The buffers below the line are of unknown size (the kernel's alone grow to megabytes, minutes of a slow bearer), and
//! an overlay cannot see into them. They stay empty if no more is put in than goes out. So each connection whose
//! bearer has a rate in the settings is written by a token bucket of that rate, one *piece* deep: a piece is written
//! when the one before it has been carried, by the bearer's rate and with the overhead of its packets. Its two lanes take
//! turns, except that alarms go before what else waits, [`PATIENCE`] times in a row at most. Data frames are cut into
//! pieces before they are queued ([`crate::wire::fragment`]); a control frame is written in parts, between which the data lane has its turn.
//!
//! Packets that are smaller than 512 bytes are written several at a time ([`Profile::burst`]): frames that leave together
//! share packets, which short messages are paid by.
//!
//! A class may have a *share* of the rate: a bucket of its own, of the depth of one piece as well.
//!
//! A bearer without a rate is written at the pace that its lanes are observed to take
//! ([`queue_limit`](super::queue_limit)): then up to 64 KiB go at once, and buffers below the line fill as far as they are
//! large. Whoever has slow links states their rate.
//!
//! Invariants
//! 1. In any span of time, a paced connection is given at most what its bearer carries in that span and [`LATE`], and
//!    one piece.
//! 2. A class with a share is given at most its share in any span, and two pieces.

use super::Lane;
use crate::link::bearer::{PACKET, Profile};
use crate::wire::data::Class;
use futures::FutureExt;
use futures_timer::Delay;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The token buckets of one connection.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes a second that leave, overhead included; `None` if there is no limit.
    rate: Option<f64>,
    /// The bytes that each packet costs besides what it carries.
    overhead: usize,
    /// The most bytes that are written before the next turn.
    piece: usize,
    /// When what was written will have been carried.
    free: Instant,
    /// Classes with a share: their bytes a second, and when each may leave again.
    shares: [Option<(f64, Instant)>; Class::ALL.len()],
    timer: Option<Delay>,
    /// The lane that was written last.
    last: Lane,
    /// How many times in a row alarms went before the control lane.
    alarms: u32,
}

/// The classes that may leave now.
pub(crate) type Allowed = [bool; Class::ALL.len()];

/// All classes.
pub(crate) const ALL: Allowed = [true; Class::ALL.len()];

impl Pacer {
    /// Creates the buckets of a connection over this bearer, full.
    pub(crate) fn new(bearer: &Profile) -> Self {
        let now = Instant::now();
        let rate = (bearer.rate != u32::MAX).then(|| f64::from(bearer.rate) * BYTES_OF_KILOBIT * PART);
        let shares = bearer.shares.map(|share| rate.and(share).map(|bits| (bits as f64 / 8.0, now)));
        Self {
            rate,
            overhead: bearer.overhead as usize,
            piece: bearer.burst(),
            free: now,
            shares,
            timer: None,
            last: Lane::Data,
            alarms: 0,
        }
    }

    /// Whether the connection is paced at all.
    pub(crate) fn is_paced(&self) -> bool {
        self.rate.is_some()
    }

    /// Ready with the most bytes that may be written now. Otherwise the task is woken when some may.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if self.rate.is_none() {
            return Poll::Ready(usize::MAX);
        }
        match self.free.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
            None => Poll::Ready(self.piece),
            Some(rest) => self.sleep(rest, cx).map(|()| self.piece),
        }
    }

    /// The order in which the lanes are asked for the next piece; `urgent` tells that an alarm waits.
    pub(crate) fn order(&self, urgent: bool) -> [Lane; 2] {
        let data_first = if urgent { self.alarms < PATIENCE } else { self.last == Lane::Control };
        if data_first { [Lane::Data, Lane::Control] } else { [Lane::Control, Lane::Data] }
    }

    /// The classes that are within their shares.
    pub(crate) fn allowed(&self) -> Allowed {
        let now = Instant::now();
        self.shares.map(|share| share.is_none_or(|(_, free)| free <= now))
    }

    /// Charges what a lane has been given: `bytes` in all, and frames of these lengths by class.
    pub(crate) fn charge(&mut self, lane: Lane, bytes: usize, classes: &[usize; Class::ALL.len()]) {
        let Some(rate) = self.rate else { return };
        let now = Instant::now();
        let on_air = bytes + bytes.div_ceil(PACKET).max(1) * self.overhead;
        let earliest = now.checked_sub(LATE).unwrap_or(now);
        self.free = self.free.max(earliest) + Duration::from_secs_f64(on_air as f64 / rate);
        for (share, taken) in self.shares.iter_mut().zip(classes).filter(|(_, taken)| **taken > 0) {
            if let Some((rate, free)) = share {
                *free = (*free).max(now) + Duration::from_secs_f64(*taken as f64 / *rate);
            }
        }
        self.alarms = if classes[Class::Alarm as usize] > 0 && lane == Lane::Data { self.alarms + 1 } else { 0 };
        self.last = lane;
    }

    /// Wakes the task when the first class that is beyond its share may leave again, if one of those `waiting` is.
    pub(crate) fn await_share(&mut self, waiting: Allowed, cx: &mut Context<'_>) {
        let now = Instant::now();
        let beyond = self.shares.iter().zip(waiting).filter(|(_, waits)| *waits).filter_map(|(share, _)| *share);
        let next = beyond.map(|(_, free)| free).filter(|free| *free > now).min();
        if let Some(next) = next
            && self.sleep(next - now, cx).is_ready()
        {
            cx.waker().wake_by_ref();
        }
    }

    fn sleep(&mut self, rest: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let timer = match &mut self.timer {
            Some(timer) => {
                timer.reset(rest);
                timer
            }
            None => self.timer.insert(Delay::new(rest)),
        };
        timer.poll_unpin(cx)
    }
}

/// A kilobit in bytes.
const BYTES_OF_KILOBIT: f64 = 125.0;
/// The part of a bearer's rate that is used: what is given beyond the rate stays in buffers for ever.
const PART: f64 = 0.98;
/// How much time a task that is woken late may make up for.
const LATE: Duration = Duration::from_millis(10);
/// The most times in a row that alarms go before the control lane.
const PATIENCE: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use futures::future::poll_fn;

    /// Writes pieces for that long and returns how many bytes they have, overhead included.
    /// What leaves with its overhead, and in what time.
    fn written(bearer: &Profile, span: Duration) -> (usize, Duration) {
        let (mut pacer, began, mut bytes) = (Pacer::new(bearer), Instant::now(), 0);
        while began.elapsed() < span {
            let room = block_on(poll_fn(|cx| pacer.poll_room(cx)));
            pacer.charge(Lane::Data, room, &[0, 0, 0, room]);
            bytes += room + room.div_ceil(PACKET) * bearer.overhead as usize;
        }
        (bytes, began.elapsed())
    }

    /// Invariant 1.
    #[test]
    fn no_more_leaves_than_the_bearer_carries_and_nearly_all_of_that() {
        let bearer = Profile { rate: 400, ..Profile::default() };
        let span = Duration::from_millis(400);
        let largest = bearer.piece() + bearer.piece().div_ceil(PACKET) * bearer.overhead as usize;
        // A machine that is busy with other things wakes a task too late to make that up; not every time.
        let is_busy = (0..20).any(|_| {
            let (bytes, took) = written(&bearer, span);
            let most = 0.05 * (took + LATE).as_micros() as f64 + largest as f64;
            assert!(bytes as f64 <= most, "{bytes} of {most} in {took:?}");
            bytes >= 16_000
        });
        assert!(is_busy, "the line stood idle");
    }

    /// Invariant 2.
    #[test]
    fn a_class_is_held_to_its_share_and_the_others_are_not() {
        let mut shares = [None; 4];
        shares[Class::Bulk as usize] = Some(40_000);
        let mut pacer = Pacer::new(&Profile { rate: 1_000, shares, ..Profile::default() });
        assert_eq!(pacer.allowed(), ALL);
        pacer.charge(Lane::Data, 500, &[0, 0, 0, 500]);
        assert_eq!(pacer.allowed(), [true, true, true, false]);
        let began = Instant::now();
        let mut asked = false;
        block_on(poll_fn(|cx| {
            if core::mem::replace(&mut asked, true) && pacer.allowed()[3] {
                return Poll::Ready(());
            }
            pacer.await_share([false, false, false, true], cx);
            Poll::Pending
        }));
        assert!(began.elapsed() >= Duration::from_millis(95), "{:?}", began.elapsed());
    }

    #[test]
    fn lanes_take_turns_and_alarms_go_first_up_to_a_bound() {
        let mut pacer = Pacer::new(&Profile { rate: 1_000, ..Profile::default() });
        assert_eq!(pacer.order(false)[0], Lane::Control);
        pacer.charge(Lane::Control, 100, &[0; 4]);
        assert_eq!(pacer.order(false)[0], Lane::Data);
        for _ in 0..PATIENCE {
            assert_eq!(pacer.order(true)[0], Lane::Data);
            pacer.charge(Lane::Data, 100, &[100, 0, 0, 0]);
        }
        assert_eq!(pacer.order(true)[0], Lane::Control);
    }

    #[test]
    fn a_bearer_without_a_rate_takes_everything_at_once() {
        let mut pacer = Pacer::new(&Profile::default());
        pacer.charge(Lane::Data, 1 << 20, &[0, 0, 0, 1 << 20]);
        let waker = futures::task::noop_waker();
        assert_eq!(pacer.poll_room(&mut Context::from_waker(&waker)), Poll::Ready(usize::MAX));
    }
}
