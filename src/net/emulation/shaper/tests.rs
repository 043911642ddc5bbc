//! Tests of the model of a line.

use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000;

fn shape(delay: u64, jitter: u64, loss: u32, rate: Option<u64>) -> Shape {
    let (delay, jitter) = (Duration::from_millis(delay), Duration::from_millis(jitter));
    Shape { delay, jitter, loss, rate, price: 0 }
}

#[test]
fn a_line_adds_its_delay_and_carries_its_rate() {
    let mut line = Shaper::new(shape(20, 0, 0, Some(8_000_000)), [1; 32]);
    // A megabyte a second: 1,500 bytes take 1.5 ms, one after the other.
    assert_eq!(line.send(1_500, 0, Time(0)).arrives, Time(21_500));
    assert_eq!(line.send(1_500, 0, Time(0)).arrives, Time(23_000));
    // The line is free again after a pause.
    assert_eq!(line.send(100, 0, Time(MS * MS)).arrives, Time(MS * MS + 20_100));
    // Without a shape nothing is added.
    assert_eq!(Shaper::new(Shape::default(), [1; 32]).send(1_500, 0, Time(7)).arrives, Time(7));
}

/// Returns a line on which the first pieces are lost this often, in turn; its seed is found by trying.
fn losing(recovery: Recovery, losses: &[u64]) -> Shaper {
    let seeds = (0..=u8::MAX).flat_map(|one| (0..=u8::MAX).map(move |other| [one, other]));
    let lines = seeds.map(|[one, other]| {
        let mut seed = [one; 32];
        seed[31] = other;
        move || Shaper::with_recovery(shape(30, 0, 400_000, None), recovery, seed)
    });
    let found = lines.into_iter().find(|line| {
        let mut line = line();
        losses.iter().all(|wanted| {
            let before = line.lost();
            line.send(MTU, 0, Time(0));
            line.lost() - before == *wanted
        })
    });
    found.expect("one of so many seeds does it")()
}

/// Returns when a piece arrives after all, in milliseconds.
fn arrival(line: &Shaper, passage: Passage) -> u64 {
    line.arrival(passage.number).unwrap_or(passage.arrives).0 / MS
}

/// Invariant 4: a seed that was found by its losses shows them again.
#[test]
fn a_loss_that_nothing_follows_is_noticed_by_time_outs() {
    // Time-outs of a round trip of 60 ms and 200 ms: one, another after the probe, then twice as long.
    for (losses, takes) in [(0, 30), (1, 290), (2, 550), (3, 1_070)] {
        assert_eq!(losing(Recovery::Tcp, &[losses]).send(100, 0, Time(0)).arrives.0 / MS, takes, "{losses}");
    }
    // A piece that is not lost goes ahead: the time-out begins when it is acknowledged.
    let mut line = losing(Recovery::Tcp, &[0, 1]);
    line.send(MTU, 0, Time(0));
    assert_eq!(line.send(MTU, 0, Time(0)).arrives.0 / MS, 60 + 290);
    // A round trip, 1 ms and 25 ms until the probe, and a round trip until its answer. Both datagrams of the probe may
    // be lost.
    for losses in 1..4 {
        let arrives = losing(Recovery::Quic, &[losses]).send(100, 0, Time(0)).arrives.0 / MS;
        let extra = arrives - 30 - losses * (86 + 60);
        assert!(extra.is_multiple_of(172) && extra <= losses * 172, "{arrives} after {losses}");
    }
}

#[test]
fn what_follows_a_loss_shows_it_unless_its_acknowledgement_is_lost() {
    for (recovery, margin, alone) in [(Recovery::Tcp, 15, 290), (Recovery::Quic, 7, 176)] {
        let (mut shown, mut missed) = (0, 0);
        for seed in 0..200 {
            let mut line = Shaper::with_recovery(shape(30, 0, 400_000, None), recovery, [seed; 32]);
            let first = line.send(MTU, 0, Time(0));
            let lost = line.lost();
            let second = line.send(MTU, 0, Time(5 * MS));
            if lost != 1 || line.lost() > lost {
                continue;
            }
            // Not before a round trip and the margin have passed since the piece was sent.
            let sooner = 60 + margin.max(5) + 30;
            match arrival(&line, first) {
                took if took == sooner => shown += 1,
                took => missed += u32::from(took == alone || took == alone + 172),
            }
            assert_eq!(arrival(&line, second), arrival(&line, first), "{recovery:?}");
            assert_eq!(line.take_revised(), arrival(&line, first) == sooner);
        }
        assert!(shown > 10 && missed > 5, "{recovery:?}: {shown} shown, {missed} missed");
    }
}

#[test]
fn what_is_written_at_once_is_lost_together() {
    let mut seen = [0; 2];
    for seed in 0..100 {
        let mut line = Shaper::new(shape(30, 0, 400_000, None), [seed; 32]);
        let [one, other] = [line.send(100, 0, Time(0)), line.send(100, 1, Time(0))];
        assert_eq!(one.arrives, other.arrives);
        seen[usize::from(line.lost() > 0)] += 1;
    }
    assert!(seen[0] > 40 && seen[1] > 20, "{seen:?}");
}

#[test]
fn tcp_repairs_a_repetition_by_time_out_and_quic_by_what_follows() {
    for (recovery, least) in [(Recovery::Tcp, 75 + 260 + 30), (Recovery::Quic, 0)] {
        let soonest = (0..=u8::MAX).filter_map(|seed| {
            let mut line = Shaper::with_recovery(shape(30, 0, 400_000, None), recovery, [seed; 32]);
            let first = line.send(MTU, 0, Time(0));
            if line.lost() != 2 {
                return None;
            }
            let mut arrives = first.arrives;
            for at in 1..40 {
                line.send(MTU, 0, Time(at * 20 * MS));
                arrives = line.arrival(first.number).unwrap_or(arrives);
            }
            Some(arrives.0 / MS)
        });
        let soonest = soonest.min().expect("one of so many is lost twice");
        assert!(soonest >= least && soonest < 400, "{recovery:?}: {soonest}");
        assert!(recovery == Recovery::Tcp || soonest < 300, "{soonest}");
    }
}

#[test]
fn streams_of_quic_do_not_wait_for_each_other() {
    for recovery in [Recovery::Tcp, Recovery::Quic] {
        let mut line = losing(recovery, &[1, 0]);
        line.send(MTU, 0, Time(0));
        let other = line.send(MTU, 1, Time(0));
        assert_eq!(arrival(&line, other) == 30, recovery == Recovery::Quic, "{recovery:?}");
    }
}

/// Invariant 1.
#[test]
fn a_changed_line_lets_nothing_overtake() {
    let mut line = Shaper::new(shape(500, 0, 0, None), [1; 32]);
    let slow = line.send(100, 0, Time(0)).arrives;
    line.set_shape(Shape::default());
    assert_eq!(line.send(100, 0, Time(10)).arrives, slow);
}

#[test]
fn slow_lines_have_short_queues() {
    assert_eq!(window(&shape(20, 10, 0, None)), MOST_WINDOW);
    assert_eq!(window(&shape(100, 0, 0, Some(8_000_000))), 200_000);
    assert_eq!(window(&shape(1, 0, 0, Some(8_000_000))), 100_000);
    assert_eq!(window(&shape(1, 0, 0, Some(9_600))), LEAST_WINDOW);
    assert_eq!(window(&shape(500, 0, 0, Some(u64::MAX))), MOST_WINDOW);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Invariants 1, 2 and 3.
    #[test]
    fn what_goes_through_a_line_keeps_its_promises(
        (delay, share) in (0u64..200, 0u64..=100),
        loss in 0u32..300_000,
        rate in prop::option::of(1_000u64..10_000_000_000),
        quic in any::<bool>(),
        seed in any::<[u8; 32]>(),
        pieces in prop::collection::vec((1usize..=MTU, 0u64..3, 0u64..5_000), 1..400),
    ) {
        let shape = shape(delay, delay * share / 100, loss, rate);
        let recovery = if quic { Recovery::Quic } else { Recovery::Tcp };
        let mut line = Shaper::with_recovery(shape, recovery, seed);
        let (mut now, mut carried) = (Time(0), 0u128);
        // For each piece: when it was sent, in which lane, and when it arrives as far as is known.
        let mut known: Vec<(Time, u64, Time)> = Vec::new();
        for (bytes, lane, pause) in pieces {
            now = Time(now.0 + pause);
            let Passage { number, arrives } = line.send(bytes, lane, now);
            prop_assert_eq!(number, known.len() as u64);
            if line.take_revised() {
                for (number, (_, _, arrives)) in known.iter_mut().enumerate() {
                    let said = line.arrival(number as u64).unwrap_or(*arrives);
                    prop_assert!(said <= *arrives, "it becomes later");
                    prop_assert!(said == *arrives || said >= now, "it arrives before it was shown to be lost");
                    *arrives = said;
                }
            } else {
                let same = known.iter().enumerate().all(|(number, (.., arrives))| line.arrival(number as u64).is_none_or(|said| said == *arrives));
                prop_assert!(same, "it was not told");
            }
            known.push((now, lane, arrives));
            if loss == 0 && rate.is_none() {
                let last = known.iter().rev().skip(1).map(|(.., arrives)| *arrives).max().unwrap_or(Time(0));
                prop_assert!(arrives <= last.max(now + (shape.delay + shape.jitter)), "it arrived too late");
            }
            carried += bytes as u128 * 8_000_000;
            if let Some(rate) = rate {
                // Times are whole microseconds, so one more may have begun.
                let last = known.iter().map(|(.., arrives)| *arrives).max().unwrap_or(Time(0));
                let room = u128::from(last.since(Time(0) + (shape.delay - shape.jitter)).as_micros() as u64 + 1);
                prop_assert!(carried <= room * u128::from(rate), "more than the line carries");
            }
        }
        for (sent, _, arrives) in &known {
            prop_assert!(*arrives >= *sent + (shape.delay - shape.jitter), "it arrived too early");
        }
        for lane in 0..3 {
            let of: Vec<_> = known.iter().filter(|(_, of, _)| !quic || *of == lane).map(|(.., arrives)| *arrives).collect();
            prop_assert!(of.is_sorted(), "it overtook");
        }
    }

    #[test]
    fn as_much_is_lost_as_was_said(loss in 1_000u32..200_000, seed in any::<[u8; 32]>()) {
        let mut line = Shaper::new(shape(10, 0, loss, None), seed);
        const PIECES: u64 = 4_000;
        for at in 0..PIECES {
            line.send(100, 0, Time(at * MS));
        }
        // Each attempt is lost with probability p, so there are p / (1 - p) losses for each piece. The bound is seven
        // sigmas.
        let p = f64::from(loss) / 1e6;
        let expected = PIECES as f64 * p / (1.0 - p);
        let sigma = (PIECES as f64 * p).sqrt() / (1.0 - p);
        prop_assert!((line.lost() as f64 - expected).abs() < 7.0 * sigma, "{} for {expected}", line.lost());
    }
}
