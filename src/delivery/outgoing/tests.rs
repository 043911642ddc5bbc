//! Every message ends, exactly once, whatever happens to its sender.

use super::*;
use crate::wire::batch::Purpose;
use crate::wire::data::Class;
use crate::wire::parcel::{Parcel, Records};
use proptest::prelude::*;
use rand_chacha::rand_core::SeedableRng;

fn message(token: u32, ack: Ack, lifetime_s: u64) -> Submission<u32> {
    Submission {
        token,
        payload: token.to_be_bytes().to_vec(),
        content: Content::Inbox,
        ack,
        lane: Lane::default(),
        lifetime: Duration::from_secs(lifetime_s),
        keep: true,
        latest: None,
        id: None,
    }
}

fn at(seconds: u64) -> Now {
    Now { time: Time(seconds * 1_000_000), unix: Unix::from_seconds(1_800_000_000 + seconds) }
}

fn call(purpose: Purpose) -> Submission<u32> {
    let content = Content::Call { purpose, service: Some("add".into()), replies_to: None };
    Submission { content, ..message(9, Ack::End, 30) }
}

struct Bench {
    outgoing: Outgoing<u32>,
    rng: ChaCha20Rng,
    to: Name,
    ends: Vec<End<u32>>,
    overdue: Overdue,
    /// The records of the store.
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            outgoing: Outgoing::new(),
            rng: ChaCha20Rng::seed_from_u64(1),
            to: Name::new("b").expect("a name"),
            ends: Vec::new(),
            overdue: Overdue::default(),
            disk: BTreeMap::new(),
        }
    }

    fn submit(&mut self, token: u32, ack: Ack, lifetime_s: u64, now: Now) -> InnerId {
        self.outgoing.submit(&self.to, message(token, ack, lifetime_s), now, &mut self.rng).expect("room")
    }

    /// Takes a parcel; returns the sequence numbers and tokens in it.
    fn take(&mut self, now: Now) -> Vec<(u64, u32)> {
        self.take_by(Unix(0), None, now)
    }

    /// The same on a path on which the parcel arrives at `arrives`, taken in place of one on which it would arrive at
    /// `spares`.
    fn take_by(&mut self, arrives: Unix, spares: Option<Unix>, now: Now) -> Vec<(u64, u32)> {
        let mut plain = Vec::new();
        let departure = Departure {
            attempt: OuterId([1; 8]),
            reply: &[],
            flight: 1,
            expected: None,
            most: usize::MAX,
            arrives,
            spares,
            mail: false,
            now,
            error: None,
            push_only: false,
        };
        let taken = self.outgoing.take_batch(&self.to, &Lane::default(), &departure, &mut plain, &mut self.ends);
        if taken.is_none() {
            return Vec::new();
        }
        let parcel = Parcel::parse(&plain[1..]).expect("our own parcel parses");
        let token = |payload: &[u8]| payload.try_into().map(u32::from_be_bytes).expect("a token");
        (parcel.head.base..).zip(Records(parcel.records).map(|record| token(record.payload))).collect()
    }

    fn numbers(&mut self, now: Now) -> Vec<u64> {
        self.take(now).into_iter().map(|(number, _)| number).collect()
    }

    fn receipt(&mut self, id: InnerId, verdict: Verdict, now: Now) {
        let ranges = vec![id.sequence, id.sequence];
        let receipt = Receipt { stream: id.stream, verdict, ranges, visited: vec![], at: now.unix.0 };
        self.outgoing.handle_receipt(&self.to.clone(), &receipt, now.time, &mut self.ends);
    }

    fn write(&mut self) {
        for (key, value) in self.outgoing.poll_writes() {
            match value {
                Some(value) => self.disk.insert(key, value),
                None => self.disk.remove(&key),
            };
        }
    }

    /// Starts a new process on what the store holds. A message's token is in its payload.
    fn restart(&mut self, now: Now) {
        self.outgoing = Outgoing::new();
        for value in self.disk.values() {
            let record: KeptRecord<'_> = crate::wire::decode(value).expect("our own record");
            self.outgoing
                .restore(record, now, &mut |message| message.payload.as_ref().try_into().ok().map(u32::from_be_bytes));
        }
    }

    fn tokens(&self) -> Vec<u32> {
        self.ends.iter().map(|end| end.token).collect()
    }
}

#[test]
fn what_a_receipt_confirms_is_delivered_once() {
    let mut bench = Bench::new();
    let id = bench.submit(1, Ack::End, 30, at(0));
    assert_eq!(bench.take(at(0)), [(1, 1)]);
    bench.receipt(id, Verdict::Delivered, at(1));
    bench.receipt(id, Verdict::Delivered, at(2));
    let (fate, latency) = (Fate::Delivered { hops: 1 }, Duration::from_secs(1));
    assert_eq!(bench.ends, [End { token: 1, id: None, class: Class::Telemetry, fate, latency, flight: Some(1) }]);
    assert_eq!((bench.outgoing.open(), bench.outgoing.next_wake()), (0, None));
}

/// Invariant 2 of delivery::stream.
/// Invariant 3.
#[test]
fn a_broken_path_sends_again_under_the_old_numbers_and_in_order() {
    let mut bench = Bench::new();
    for token in 1..=3 {
        bench.submit(token, Ack::End, 30, at(0));
    }
    assert_eq!(bench.numbers(at(0)), [1, 2, 3]);
    bench.submit(4, Ack::End, 30, at(0));
    bench.outgoing.handle_path_broken(&bench.to.clone());
    bench.outgoing.handle_timeout(at(0).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!((bench.overdue.suspicious.len(), bench.overdue.lost.len()), (0, 1), "the flight is over, and told once");
    assert_eq!(bench.numbers(at(1)), [1, 2, 3, 4]);
}

#[test]
fn what_is_confirmed_when_it_is_queued_again_was_in_the_flight_that_it_left_in() {
    let mut bench = Bench::new();
    let id = bench.submit(1, Ack::End, 30, at(0));
    assert_eq!(bench.take(at(0)), [(1, 1)]);
    bench.outgoing.handle_path_broken(&bench.to.clone());
    bench.receipt(id, Verdict::Delivered, at(1));
    assert_eq!(bench.ends.iter().map(|end| end.flight).collect::<Vec<_>>(), [Some(1)]);
}

#[test]
fn no_receipt_is_tried_again_and_then_expires() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::End, 20, at(0));
    assert_eq!(bench.numbers(at(0)), [1]);
    bench.outgoing.handle_timeout(at(15).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.numbers(at(15)), [1]);
    bench.outgoing.handle_timeout(at(20).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.ends.iter().map(|end| end.fate).collect::<Vec<_>>(), [Fate::Expired]);
}

#[test]
fn what_never_left_is_unreachable() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::Hop, 5, at(0));
    assert_eq!(bench.outgoing.next_wake(), Some(at(5).time));
    bench.outgoing.handle_timeout(at(5).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.ends.iter().map(|end| end.fate).collect::<Vec<_>>(), [Fate::Unreachable]);
    assert!(bench.take(at(6)).is_empty());
}

#[test]
fn messages_that_ask_for_different_things_do_not_share_a_batch() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::End, 30, at(0));
    bench.submit(2, Ack::Hop, 30, at(0));
    bench.outgoing.submit(&bench.to, call(Purpose::Request), at(0), &mut bench.rng).expect("room");
    assert_eq!(bench.numbers(at(0)), [1]);
    assert_eq!(bench.numbers(at(0)), [2]);
    let (mut plain, mut ends) = (Vec::new(), Vec::new());
    let departure = Departure {
        attempt: OuterId([1; 8]),
        reply: &[],
        flight: 1,
        expected: None,
        most: usize::MAX,
        arrives: Unix(0),
        spares: None,
        mail: false,
        now: at(0),
        error: None,
        push_only: false,
    };
    bench.outgoing.take_batch(&bench.to, &Lane::default(), &departure, &mut plain, &mut ends).expect("the call");
    let batch: crate::wire::batch::Batch<'_> = crate::wire::decode(&plain[1..]).expect("a batch");
    assert_eq!((batch.base, batch.messages[0].service), (3, Some("add")));
}

#[test]
fn what_is_in_a_hurry_and_what_has_time_share_no_batch_where_a_way_parts_them() {
    let mut bench = Bench::new();
    for (token, lifetime) in [(1, 60), (2, 60), (3, 4), (4, 60)] {
        bench.submit(token, Ack::End, lifetime, at(0));
    }
    let (soon, late) = (at(1).unix, at(5).unix);
    assert_eq!(bench.take_by(late, None, at(0)), [(1, 1), (2, 2)], "the third is over by then");
    assert_eq!(bench.take_by(soon, Some(late), at(0)), [(3, 3)], "the fourth has time for the other way");
    assert_eq!(bench.take_by(late, None, at(0)), [(4, 4)]);
}

/// Invariant 2.
/// Invariant 1 of delivery::stream.
#[test]
fn a_full_stream_refuses() {
    let mut bench = Bench::new();
    for token in 0..WINDOW {
        bench.submit(u32::try_from(token).expect("small"), Ack::End, 30, at(0));
    }
    let more = message(0, Ack::End, 30);
    assert_eq!(bench.outgoing.submit(&bench.to, more, at(0), &mut bench.rng), Err(Full::Stream));
}

/// Invariant 2 of delivery::persisted.
#[test]
fn after_a_restart_what_was_open_goes_under_its_old_number_and_what_is_new_in_a_new_stream() {
    let mut bench = Bench::new();
    let ids: Vec<InnerId> = (1..=4).map(|token| bench.submit(token, Ack::End, 30, at(0))).collect();
    bench.write();
    assert_eq!(bench.numbers(at(0)), [1, 2, 3, 4]);
    bench.receipt(ids[1], Verdict::Forbidden, at(1));
    bench.write();
    bench.restart(at(2));
    let new = bench.submit(9, Ack::End, 30, at(2));
    assert_ne!(new.stream, ids[0].stream);
    // The refused message is not sent again.
    assert_eq!(bench.take(at(2)), [(1, 1)]);
    assert_eq!(bench.take(at(2)), [(3, 3), (4, 4)]);
    assert_eq!(bench.take(at(2)), [(1, 9)]);
    for id in [ids[0], ids[2], new] {
        bench.receipt(id, Verdict::Delivered, at(3));
    }
    bench.outgoing.handle_timeout(at(30).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.tokens(), [2, 1, 3, 9, 4]);
    bench.write();
    assert!(bench.disk.is_empty(), "nothing is kept that has ended");
}

#[test]
fn a_clock_that_was_ahead_before_a_restart_stretches_no_deadline() {
    let ahead = |seconds: u64| Now { time: at(seconds).time, unix: at(seconds + 400).unix };
    let mut bench = Bench::new();
    bench.submit(1, Ack::End, 30, ahead(0));
    bench.submit(2, Ack::End, 500, ahead(0));
    bench.write();
    bench.restart(at(2));
    let expiry = |bench: &Bench, token| {
        let streams = bench.outgoing.streams[&bench.to].iter();
        let slots = streams.flat_map(|stream| (1..=2).filter_map(|sequence| stream.slot(sequence)));
        slots.filter(|slot| slot.message.token == token).map(|slot| slot.expiry).next()
    };
    assert_eq!(expiry(&bench, 1), Some(at(32).unix), "on the wire, too");
    assert_eq!(expiry(&bench, 2), Some(at(502).unix));
    bench.outgoing.handle_timeout(at(33).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.tokens(), [1]);
    bench.outgoing.handle_timeout(at(503).time, &mut bench.ends, &mut bench.overdue);
    assert_eq!(bench.tokens(), [1, 2]);
}

proptest! {
    /// Invariant 1.
    /// Invariant 1 of delivery.
    #[test]
    fn every_message_ends_exactly_once(steps in proptest::collection::vec((0u8..6, 1u64..40), 1..200)) {
        let mut bench = Bench::new();
        let (mut now, mut ids, mut submitted) = (0, Vec::new(), 0);
        for (step, value) in steps {
            match step {
                0 | 1 => {
                    let ack = [Ack::End, Ack::Hop][(value % 2) as usize];
                    ids.push(bench.submit(submitted, ack, value, at(now)));
                    submitted += 1;
                }
                2 => { bench.take(at(now)); }
                3 => if let Some(id) = ids.get(value as usize % ids.len().max(1)) {
                    bench.receipt(*id, Verdict::Delivered, at(now));
                },
                4 => bench.outgoing.handle_path_broken(&bench.to.clone()),
                _ => {
                    now += value / 4;
                    bench.outgoing.handle_timeout(at(now).time, &mut bench.ends, &mut bench.overdue);
                }
            }
        }
        bench.outgoing.handle_timeout(at(now + 100).time, &mut bench.ends, &mut bench.overdue);
        let mut tokens = bench.tokens();
        tokens.sort_unstable();
        prop_assert_eq!(tokens, (0..submitted).collect::<Vec<_>>());
        prop_assert_eq!((bench.outgoing.open(), bench.outgoing.bytes), (0, 0));
    }

    /// What was written ends at least once across restarts, and a message that ended as failed does not end again.
    /// Invariant 1 of delivery::persisted.
    #[test]
    fn what_was_kept_ends_after_any_restart(steps in proptest::collection::vec((0u8..7, 1u64..40), 1..200)) {
        let mut bench = Bench::new();
        let (mut now, mut ids, mut submitted) = (0, Vec::new(), 0);
        for (step, value) in steps {
            match step {
                0 | 1 => {
                    ids.push(bench.submit(submitted, Ack::End, value, at(now)));
                    submitted += 1;
                    bench.write();
                }
                2 => { bench.take(at(now)); }
                3 => if let Some(id) = ids.get(value as usize % ids.len().max(1)) {
                    let verdict = if value % 3 == 0 { Verdict::Forbidden } else { Verdict::Delivered };
                    bench.receipt(*id, verdict, at(now));
                    bench.write();
                },
                4 => bench.outgoing.handle_path_broken(&bench.to.clone()),
                5 => bench.restart(at(now)),
                _ => {
                    now += value / 4;
                    bench.outgoing.handle_timeout(at(now).time, &mut bench.ends, &mut bench.overdue);
                    bench.write();
                }
            }
        }
        bench.outgoing.handle_timeout(at(now + 100).time, &mut bench.ends, &mut bench.overdue);
        bench.write();
        prop_assert!(bench.disk.is_empty());
        for token in 0..submitted {
            let fates: Vec<Fate> = bench.ends.iter().filter(|end| end.token == token).map(|end| end.fate).collect();
            let delivered = |fate: &&Fate| matches!(fate, Fate::Delivered { .. });
            let told = fates.iter().filter(delivered).count();
            prop_assert!(!fates.is_empty(), "{token} never ended");
            // A delivered message may be reported again, or not at all; a failure is the last that is reported.
            prop_assert!(fates.len() - told <= 1, "{token} ended as {fates:?}");
        }
    }
}
