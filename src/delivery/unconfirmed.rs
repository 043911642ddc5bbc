//! Unconfirmed: messages on their way out that ask for no confirmation, and so end as they leave.
//!
//! No such message is sent again, so none has a slot. An application hands over a *load*: one message, or many that it
//! has packed in their wire form ([`wire::parcel`](crate::wire::parcel)). Loads wait in one queue for each destination
//! and lane; a parcel takes whole loads from the front for as long as they fit. A load of many messages costs no more
//! than a load of one.
//!
//! The stream's floor is always the parcel's first number: what left before is not waited for.
//!
//! Invariants
//! 1. Every load is handed back in exactly one [`Gone`].
//! 2. At most [`MAX_BYTES`] wait in all. Drop policy: `submit` refuses.

use super::departure::{Departure, PLAIN_OVERHEAD, Taken};
use super::lane::Lane;
use super::outgoing::MAX_LIFETIME;

use crate::id::{Name, StreamId};
use crate::time::{Now, Time, Unix};
use crate::wire::batch::{Ack, MAX_MESSAGES, MAX_PLAIN};
use crate::wire::data::Class;
use crate::wire::parcel::{Head, Parcel, shorten};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, VecDeque};

/// The most bytes of records that wait, for all destinations.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
/// The most bytes of a load: it fits one seal.
pub const MAX_LOAD: usize = MAX_PLAIN - PLAIN_OVERHEAD;
/// What a load counts besides its records, so that many small loads are bounded too.
const LOAD_OVERHEAD: usize = 64;

/// Messages to one destination, of one lane and lifetime.
#[derive(Clone, Debug)]
pub struct Load<T> {
    /// The caller's token, handed back with the end.
    pub token: T,
    /// The packed records, each with an `earlier` of 0; at most [`MAX_LOAD`] bytes.
    pub records: Vec<u8>,
    /// The number of records, at most [`MAX_MESSAGES`].
    pub count: u32,
    /// The lane: only messages of one lane share a frame.
    pub lane: Lane,
    /// The time after which the messages are of no use.
    pub lifetime: Duration,
}

/// The end of one load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone<T> {
    /// The token, as submitted.
    pub token: T,
    /// The number of messages.
    pub count: u32,
    /// The urgency of the messages.
    pub class: Class,
    /// Whether the messages left; otherwise their deadline passed.
    pub left: bool,
    /// The time since the load was submitted.
    pub latency: Duration,
}

/// All messages on their way out that ask for no confirmation.
#[derive(Debug)]
pub struct Unconfirmed<T> {
    streams: BTreeMap<Name, Queue<T>>,
    bytes: usize,
    count: usize,
    /// No deadline is before this time.
    wake: Option<Time>,
}

#[derive(Debug)]
struct Queue<T> {
    id: StreamId,
    next: u64,
    /// The waiting loads of each lane. Empty queues are removed soon.
    waiting: BTreeMap<Lane, VecDeque<Waiting<T>>>,
}

#[derive(Debug)]
struct Waiting<T> {
    load: Load<T>,
    submitted: Time,
    deadline: Time,
    expiry: Unix,
}

impl<T> Unconfirmed<T> {
    /// Creates an empty set.
    pub fn new() -> Self {
        Self { streams: BTreeMap::new(), bytes: 0, count: 0, wake: None }
    }

    /// Takes a load.
    ///
    /// # Errors
    /// The load itself, if there is no room for it or it is longer than [`MAX_LOAD`].
    pub fn submit(&mut self, to: &Name, load: Load<T>, now: Now, rng: &mut ChaCha20Rng) -> Result<(), Load<T>> {
        if self.bytes + load.records.len() + LOAD_OVERHEAD > MAX_BYTES || load.records.len() > MAX_LOAD {
            return Err(load);
        }
        if !self.streams.contains_key(to) {
            let mut id = [0; StreamId::LEN];
            rng.fill_bytes(&mut id);
            self.streams.insert(to.clone(), Queue { id: StreamId(id), next: 1, waiting: BTreeMap::new() });
        }
        let Some(queue) = self.streams.get_mut(to) else { return Err(load) };
        let lifetime = load.lifetime.min(MAX_LIFETIME);
        let (deadline, expiry) = (now.time + lifetime, now.unix + lifetime);
        self.bytes += load.records.len() + LOAD_OVERHEAD;
        self.count += load.count as usize;
        self.wake = Some(self.wake.map_or(deadline, |wake| wake.min(deadline)));
        let waiting = queue.waiting.entry(load.lane.clone()).or_default();
        waiting.push_back(Waiting { load, submitted: now.time, deadline, expiry });
        Ok(())
    }

    /// Whether there is room for another load of any size.
    pub fn has_room(&self) -> bool {
        self.bytes + MAX_LOAD + LOAD_OVERHEAD <= MAX_BYTES
    }

    /// The number of messages that wait.
    pub fn waiting(&self) -> usize {
        self.count
    }

    /// The lanes in which messages wait for this destination.
    pub fn lanes(&self, to: &Name) -> impl Iterator<Item = &Lane> {
        let waiting = self.streams.get(to).into_iter().flat_map(|queue| &queue.waiting);
        waiting.filter(|(_, waiting)| !waiting.is_empty()).map(|(lane, _)| lane)
    }

    /// Whether a load waits in this lane for this destination.
    pub fn waits(&self, to: &Name, lane: &Lane) -> bool {
        self.next_in(to, lane).is_some()
    }

    /// For the next load in a lane: its deadline, its lifetime at submission, and its bytes.
    pub fn next_in(&self, to: &Name, lane: &Lane) -> Option<(Unix, Duration, usize)> {
        let next = self.streams.get(to)?.waiting.get(lane)?.front()?;
        Some((next.expiry, next.load.lifetime, next.load.records.len()))
    }

    /// The bytes of the records that wait in a lane for this destination; it counts no further than about `most`.
    pub fn queued_in(&self, to: &Name, lane: &Lane, most: usize) -> usize {
        let waiting = self.streams.get(to).and_then(|queue| queue.waiting.get(lane)).into_iter().flatten();
        let mut bytes = 0;
        for next in waiting {
            bytes += next.load.records.len();
            if bytes >= most {
                break;
            }
        }
        bytes
    }

    /// Moves the load of a lane that expires first before the others. Returns whether that changed which is next.
    pub fn advance_soonest(&mut self, to: &Name, lane: &Lane) -> bool {
        let Some(queue) = self.streams.get_mut(to).and_then(|queue| queue.waiting.get_mut(lane)) else { return false };
        let soonest = (0..queue.len()).min_by_key(|at| queue[*at].expiry);
        let sooner = soonest.filter(|at| queue[*at].expiry < queue[0].expiry);
        if let Some(load) = sooner.and_then(|at| queue.remove(at)) {
            queue.push_front(load);
        }
        sooner.is_some()
    }

    /// Works as [`Outgoing::pass_over`](super::outgoing::Outgoing::pass_over) does.
    pub fn pass_over(&mut self, to: &Name, lane: &Lane, ends_by: Unix) -> bool {
        let Some(queue) = self.streams.get_mut(to).and_then(|queue| queue.waiting.get_mut(lane)) else { return false };
        let over = queue.iter().take_while(|waiting| waiting.expiry <= ends_by).count();
        let others = over > 0 && over < queue.len();
        if others {
            queue.rotate_left(over);
        }
        others
    }

    /// The destinations for which loads wait.
    pub fn destinations(&self) -> impl Iterator<Item = &Name> {
        let waits = |queue: &Queue<T>| queue.waiting.values().any(|waiting| !waiting.is_empty());
        self.streams.iter().filter(move |(_, queue)| waits(queue)).map(|(name, _)| name)
    }

    /// Takes the loads that fit one parcel, and appends its plaintext to `out`.
    pub fn take(
        &mut self,
        to: &Name,
        lane: &Lane,
        departure: &Departure<'_>,
        out: &mut Vec<u8>,
        gone: &mut Vec<Gone<T>>,
    ) -> Option<Taken> {
        let queue = self.streams.get_mut(to)?;
        let waiting = queue.waiting.get_mut(lane)?;
        let (mut loads, mut size, mut count, mut expiry) = (0, PLAIN_OVERHEAD, 0, waiting.front()?.expiry);
        for next in waiting.iter() {
            let (adds, messages) = (next.load.records.len(), next.load.count as usize);
            let near = next.expiry.0.abs_diff(expiry.0) < u64::from(u32::MAX) / 2;
            let most = departure.most.min(MAX_PLAIN);
            let in_time = departure.suits(next.expiry);
            if loads > 0 && !(near && in_time && size + adds <= most && count + messages <= MAX_MESSAGES) {
                break;
            }
            (loads, size, count, expiry) = (loads + 1, size + adds, count + messages, expiry.max(next.expiry));
        }
        let (sent, base) = (departure.now.unix.0, queue.next);
        queue.next += count as u64;
        let lifetime = expiry.0.saturating_sub(sent);
        let (stream, error, push_only) = (queue.id, departure.error, departure.push_only);
        let (floor, ack, reply) = (base, Ack::None, Vec::new());
        let head = Head { stream, floor, base, sent, ack, reply, lifetime, error, push_only };
        Parcel::put(&head, &[], out);
        for Waiting { load, submitted, expiry: own, .. } in waiting.drain(..loads) {
            let start = out.len();
            out.extend_from_slice(&load.records);
            if own < expiry {
                shorten(&mut out[start..], u32::try_from(expiry.0 - own.0).unwrap_or(u32::MAX));
            }
            self.bytes -= load.records.len() + LOAD_OVERHEAD;
            self.count -= load.count as usize;
            let latency = departure.now.time.since(submitted);
            gone.push(Gone { token: load.token, count: load.count, class: lane.class, left: true, latency });
        }
        if waiting.is_empty() {
            queue.waiting.remove(lane);
        }
        Some(Taken { messages: count, ack: Ack::None, expiry, named: false })
    }

    /// The destination is a device of the realm no more: what waits for it ends.
    pub fn cut_off(&mut self, to: &Name, now: Time, gone: &mut Vec<Gone<T>>) {
        let queue = self.streams.remove(to);
        for Waiting { load, submitted, .. } in
            queue.into_iter().flat_map(|queue| queue.waiting).flat_map(|(_, all)| all)
        {
            self.bytes -= load.records.len() + LOAD_OVERHEAD;
            self.count -= load.count as usize;
            let (count, class) = (load.count, load.lane.class);
            gone.push(Gone { token: load.token, count, class, left: false, latency: now.since(submitted) });
        }
    }

    /// Deadlines that have passed.
    pub fn handle_timeout(&mut self, now: Time, gone: &mut Vec<Gone<T>>) {
        if self.wake.is_none_or(|wake| wake > now) {
            return;
        }
        self.wake = None;
        let mut bytes = 0;
        for queue in self.streams.values_mut() {
            for waiting in queue.waiting.values_mut() {
                for Waiting { load, submitted, .. } in take_late(waiting, now) {
                    bytes += load.records.len() + LOAD_OVERHEAD;
                    self.count -= load.count as usize;
                    let (count, class) = (load.count, load.lane.class);
                    gone.push(Gone { token: load.token, count, class, left: false, latency: now.since(submitted) });
                }
                let next = waiting.iter().map(|waiting| waiting.deadline).min();
                self.wake = [self.wake, next].into_iter().flatten().min();
            }
        }
        self.bytes -= bytes;
    }

    /// When the next deadline passes, at the earliest.
    pub fn next_wake(&self) -> Option<Time> {
        if self.count == 0 { None } else { self.wake }
    }
}

impl<T> Default for Unconfirmed<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes out the loads whose deadline has passed, and keeps the rest in order.
fn take_late<T>(waiting: &mut VecDeque<Waiting<T>>, now: Time) -> Vec<Waiting<T>> {
    if waiting.iter().all(|waiting| waiting.deadline > now) {
        return Vec::new();
    }
    let (late, kept) = waiting.drain(..).partition::<Vec<_>, _>(|waiting| waiting.deadline <= now);
    waiting.extend(kept);
    late
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::OuterId;
    use crate::wire::parcel::{Records, put_record};
    use rand_chacha::rand_core::SeedableRng;

    fn at(millis: u64) -> Now {
        Now { time: Time(millis * 1_000), unix: Unix(1_800_000_000_000_000 + millis * 1_000) }
    }

    fn load(token: u8, messages: u32, lifetime_ms: u64) -> Load<u8> {
        let mut records = Vec::new();
        for _ in 0..messages {
            put_record(&mut records, 0, &[token; 100]);
        }
        let lifetime = Duration::from_millis(lifetime_ms);
        Load { token, records, count: messages, lane: Lane::default(), lifetime }
    }

    struct Bench {
        unconfirmed: Unconfirmed<u8>,
        to: Name,
        gone: Vec<Gone<u8>>,
    }

    impl Bench {
        fn new() -> Self {
            Self { unconfirmed: Unconfirmed::new(), to: Name::new("b").expect("a name"), gone: Vec::new() }
        }

        fn submit(&mut self, load: Load<u8>, now: Now) -> bool {
            let mut rng = ChaCha20Rng::seed_from_u64(1);
            self.unconfirmed.submit(&self.to, load, now, &mut rng).is_ok()
        }

        fn take(&mut self, now: Now) -> Option<(u64, Vec<(u8, u64)>)> {
            let mut plain = Vec::new();
            let departure = Departure {
                attempt: OuterId([1; 8]),
                reply: &[],
                flight: 1,
                expected: None,
                most: MAX_PLAIN,
                arrives: Unix(0),
                spares: None,
                mail: false,
                now,
                error: None,
                push_only: false,
            };
            self.unconfirmed.take(&self.to, &Lane::default(), &departure, &mut plain, &mut self.gone)?;
            let parcel = Parcel::parse(&plain[1..]).expect("our own parcel parses");
            let until = |earlier: u32| (parcel.head.lifetime - u64::from(earlier)) / 1_000;
            let records = Records(parcel.records).map(|record| (record.payload[0], until(record.earlier))).collect();
            Some((parcel.head.base, records))
        }
    }

    #[test]
    fn loads_share_a_parcel_each_message_with_its_own_lifetime() {
        let mut bench = Bench::new();
        assert!(bench.submit(load(1, 2, 500), at(0)));
        assert!(bench.submit(load(2, 1, 500), at(100)));
        assert_eq!(bench.take(at(200)), Some((1, vec![(1, 300), (1, 300), (2, 400)])));
        assert!(bench.gone.iter().all(|gone| gone.left));
        assert!(bench.submit(load(3, 1, 50), at(200)));
        assert_eq!(bench.take(at(200)), Some((4, vec![(3, 50)])), "numbers go on");
        assert_eq!(bench.take(at(200)), None);
    }

    #[test]
    fn what_does_not_leave_in_time_ends_unsent() {
        let mut bench = Bench::new();
        assert!(bench.submit(load(1, 3, 500), at(0)));
        assert!(bench.submit(load(2, 1, 900), at(0)));
        assert_eq!(bench.unconfirmed.next_wake(), Some(at(500).time));
        bench.unconfirmed.handle_timeout(at(500).time, &mut bench.gone);
        assert_eq!(
            bench.gone.iter().map(|gone| (gone.token, gone.count, gone.left)).collect::<Vec<_>>(),
            [(1, 3, false)]
        );
        assert_eq!((bench.unconfirmed.waiting(), bench.unconfirmed.next_wake()), (1, Some(at(900).time)));
        assert_eq!(bench.take(at(600)), Some((1, vec![(2, 300)])));
        assert_eq!(bench.unconfirmed.next_wake(), None);
    }

    /// Invariants 1 and 2.
    #[test]
    fn what_finds_no_room_comes_back_and_room_comes_back_too() {
        let mut bench = Bench::new();
        let mut taken = 0;
        while bench.submit(load(1, 600, 500), at(0)) {
            taken += 1;
        }
        assert!(taken > 100 && !bench.unconfirmed.has_room());
        while bench.take(at(1)).is_some() {}
        assert_eq!((bench.gone.len(), bench.unconfirmed.waiting(), bench.unconfirmed.has_room()), (taken, 0, true));
    }
}
