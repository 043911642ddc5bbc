//! Every message ends, exactly once.

use super::*;
use proptest::prelude::*;
use rand_chacha::rand_core::SeedableRng;

fn message(token: u32, ack: Ack, lifetime_s: u64) -> Submission<u32> {
    Submission {
        token,
        payload: vec![7; 100],
        purpose: Purpose::Deliver,
        service: None,
        replies_to: None,
        ack,
        class: Class::Telemetry,
        lifetime: Duration::from_secs(lifetime_s),
    }
}

fn at(seconds: u64) -> Now {
    Now { time: Time(seconds * 1_000_000), unix: Unix::from_seconds(1_800_000_000 + seconds) }
}

struct Bench {
    outgoing: Outgoing<u32>,
    rng: ChaCha20Rng,
    to: Name,
    ends: Vec<End<u32>>,
}

impl Bench {
    fn new() -> Self {
        Self {
            outgoing: Outgoing::new(),
            rng: ChaCha20Rng::seed_from_u64(1),
            to: Name::new("b").expect("a name"),
            ends: Vec::new(),
        }
    }

    fn submit(&mut self, token: u32, ack: Ack, lifetime_s: u64, now: Now) -> InnerId {
        let message = message(token, ack, lifetime_s);
        self.outgoing.submit(&self.to, message, now.time, now.unix, &mut self.rng).expect("room")
    }

    /// Takes a batch; the sequence numbers in it.
    fn take(&mut self, now: Now) -> Vec<u64> {
        let mut plain = Vec::new();
        let departure = Departure { attempt: OuterId([1; 8]), reply: &[], now };
        let taken = self.outgoing.take_batch(&self.to, Class::Telemetry, &departure, &mut plain, &mut self.ends);
        if taken.is_none() {
            return Vec::new();
        }
        let batch: Batch<'_> = crate::wire::decode(&plain[1..]).expect("our own batch decodes");
        batch.messages.iter().map(|message| batch.base + u64::from(message.offset)).collect()
    }

    fn receipt(&mut self, id: InnerId, now: Now) {
        let ranges = vec![id.sequence, id.sequence];
        let receipt =
            Receipt { stream: id.stream, verdict: Verdict::Delivered, ranges, visited: vec![], at: now.unix.0 };
        self.outgoing.handle_receipt(&self.to.clone(), &receipt, now.time, &mut self.ends);
    }
}

#[test]
fn what_a_receipt_confirms_is_delivered_once() {
    let mut bench = Bench::new();
    let id = bench.submit(1, Ack::End, 30, at(0));
    assert_eq!(bench.take(at(0)), [1]);
    bench.receipt(id, at(1));
    bench.receipt(id, at(2));
    let delivered = Fate::Delivered { hops: 1 };
    assert_eq!(bench.ends, [End { token: 1, fate: delivered, latency: Duration::from_secs(1) }]);
    assert_eq!((bench.outgoing.open(), bench.outgoing.next_wake()), (0, None));
}

#[test]
fn a_broken_path_sends_again_under_the_old_numbers_and_in_order() {
    let mut bench = Bench::new();
    for token in 1..=3 {
        bench.submit(token, Ack::End, 30, at(0));
    }
    assert_eq!(bench.take(at(0)), [1, 2, 3]);
    bench.submit(4, Ack::End, 30, at(0));
    bench.outgoing.handle_path_broken(&bench.to.clone());
    assert_eq!(bench.take(at(1)), [1, 2, 3, 4]);
}

#[test]
fn no_receipt_is_tried_again_and_then_expires() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::End, 20, at(0));
    assert_eq!(bench.take(at(0)), [1]);
    bench.outgoing.handle_timeout(at(15).time, &mut bench.ends);
    assert_eq!(bench.take(at(15)), [1]);
    bench.outgoing.handle_timeout(at(20).time, &mut bench.ends);
    assert_eq!(bench.ends.iter().map(|end| end.fate).collect::<Vec<_>>(), [Fate::Expired]);
}

#[test]
fn what_never_left_is_unreachable() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::None, 5, at(0));
    assert_eq!(bench.outgoing.next_wake(), Some(at(5).time));
    bench.outgoing.handle_timeout(at(5).time, &mut bench.ends);
    assert_eq!(bench.ends.iter().map(|end| end.fate).collect::<Vec<_>>(), [Fate::Unreachable]);
    assert!(bench.take(at(6)).is_empty());
}

#[test]
fn messages_that_ask_for_different_things_do_not_share_a_batch() {
    let mut bench = Bench::new();
    bench.submit(1, Ack::End, 30, at(0));
    bench.submit(2, Ack::None, 30, at(0));
    assert_eq!(bench.take(at(0)), [1]);
    assert_eq!(bench.take(at(0)), [2]);
}

#[test]
fn a_full_stream_refuses() {
    let mut bench = Bench::new();
    for token in 0..WINDOW {
        bench.submit(u32::try_from(token).expect("small"), Ack::End, 30, at(0));
    }
    let more = message(0, Ack::End, 30);
    let refused = bench.outgoing.submit(&bench.to, more, at(0).time, at(0).unix, &mut bench.rng);
    assert_eq!(refused, Err(Full::Stream));
}

proptest! {
    #[test]
    fn every_message_ends_exactly_once(steps in proptest::collection::vec((0u8..6, 1u64..40), 1..200)) {
        let mut bench = Bench::new();
        let (mut now, mut ids, mut submitted) = (0, Vec::new(), 0);
        for (step, value) in steps {
            match step {
                0 | 1 => {
                    let ack = [Ack::End, Ack::None, Ack::Hop][(value % 3) as usize];
                    ids.push(bench.submit(submitted, ack, value, at(now)));
                    submitted += 1;
                }
                2 => { bench.take(at(now)); }
                3 => if let Some(id) = ids.get(value as usize % ids.len().max(1)) { bench.receipt(*id, at(now)); },
                4 => bench.outgoing.handle_path_broken(&bench.to.clone()),
                _ => {
                    now += value / 4;
                    bench.outgoing.handle_timeout(at(now).time, &mut bench.ends);
                }
            }
        }
        bench.outgoing.handle_timeout(at(now + 100).time, &mut bench.ends);
        let mut tokens: Vec<u32> = bench.ends.iter().map(|end| end.token).collect();
        tokens.sort_unstable();
        prop_assert_eq!(tokens, (0..submitted).collect::<Vec<_>>());
        prop_assert_eq!((bench.outgoing.open(), bench.outgoing.bytes), (0, 0));
    }
}
