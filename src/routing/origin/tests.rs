//! When claims are advertised, and what an advertisement contains.

use super::*;
use crate::id::{Handle, Pseudonym, Tag};
use crate::routing::graph::Metrics;
use crate::wire::lsa::{LsaLink, MAX_ACCESSES, MAX_LEAVES};

const SKEW: Duration = Duration::from_secs(300);
const HASH: CredentialHash = CredentialHash([9; 16]);

fn ms(millis: u64) -> Time {
    Time(1_000_000_000 + millis * 1_000)
}

fn claim(number: u8, delay: u32, success: u16) -> Claim {
    let to = CredentialHash([number; 16]);
    let link =
        LsaLink { to, bearer: 0, price: 0, delay, deviation: 100, success, energy: 0, rate: u32::MAX, mtu: 65_536 };
    Claim { neighbour: Pseudonym([number; 32]), link }
}

fn links(links: &[Claim]) -> Claims {
    Claims { links: links.to_vec(), ..Claims::default() }
}

fn with_leaves(count: u8) -> Claims {
    let leaves = (0..count).map(|n| Handle([n; 16])).collect();
    Claims { leaves, services: vec![Tag([1; 8])], ..Claims::default() }
}

/// An origin that has advertised these claims, long ago.
fn told(claims: &Claims) -> Origin {
    let mut origin = Origin::new();
    origin.take_credential(HASH, SKEW);
    origin.note(claims.clone(), Time(0));
    assert_eq!(origin.due(Time(0) + STILL).map(|lsa| lsa.sequence), Some(1));
    assert_eq!(origin.next_wake(), None);
    origin
}

/// Notes claims and lets time pass until a moment; returns when advertisements were made, in ms.
fn run(origin: &mut Origin, notes: impl IntoIterator<Item = (u64, Claims)>, until: u64) -> Vec<u64> {
    let mut at = Vec::new();
    let mut pass = |origin: &mut Origin, until: Time| {
        while let Some(wake) = origin.next_wake().filter(|wake| *wake <= until) {
            let now = wake.max(ms(0));
            assert!(origin.due(now).is_some(), "what is due is told");
            at.push((now.0 - ms(0).0) / 1_000);
        }
    };
    for (noted, claims) in notes {
        pass(origin, ms(noted));
        origin.note(claims, ms(noted));
    }
    pass(origin, ms(until));
    at
}

#[test]
fn nothing_is_told_before_there_is_a_credential_and_something_to_say() {
    let mut origin = Origin::new();
    origin.note(with_leaves(1), ms(0));
    assert_eq!((origin.next_wake(), origin.due(ms(1))), (None, None));
    origin.take_credential(HASH, SKEW);
    let lsa = origin.due(ms(200)).expect("it is due");
    assert_eq!((lsa.origin, lsa.sequence, lsa.leaves.len()), (HASH, 1, 1));
    assert_eq!((origin.due(ms(201)), origin.told_at()), (None, Some(ms(200))));
    let mut silent = Origin::new();
    silent.take_credential(HASH, SKEW);
    assert_eq!(run(&mut silent, [(0, Claims::default())], 60_000), [0; 0], "nothing to say");
    origin.note(with_leaves(1), ms(500_000));
    assert_eq!(origin.next_wake(), None, "the same is not told again");
}

#[test]
fn nothing_is_due_while_there_is_no_credential() {
    let mut origin = told(&links(&[claim(1, 10, 100)]));
    origin.note(links(&[claim(1, 10, 100), claim(2, 10, 100)]), ms(50));
    assert!(origin.next_wake().is_some());
    origin.rest();
    assert_eq!((origin.next_wake(), origin.due(ms(99_000))), (None, None));
    origin.take_credential(CredentialHash([2; 16]), Duration::from_secs(300));
    assert!(origin.due(ms(99_000)).is_some());
}

/// Invariant 2.
#[test]
fn a_single_change_is_told_at_once_and_a_stream_of_them_less_and_less_often() {
    let mut origin = told(&with_leaves(0));
    assert_eq!(run(&mut origin, [(0, with_leaves(1))], 20_000), [0]);
    // A change every 50 ms for 30 s.
    let mut origin = told(&with_leaves(0));
    let stream = (0..600u64).map(|n| (n * 50, with_leaves(1 + (n % 200) as u8)));
    let at = run(&mut origin, stream, 60_000);
    assert_eq!(at[..7], [0, 200, 600, 1_400, 3_000, 6_200, 11_200]);
    assert_eq!(at.len(), 6 + 5, "then every 5 s: {at:?}");
    assert_eq!(origin.told(), Some(&with_leaves(200)), "and the last state is told");
    // After a quiet time, a change is advertised at once.
    let two = [(75_000, with_leaves(3)), (75_010, with_leaves(4))];
    assert_eq!(run(&mut origin, two, 90_000), [75_000, 75_200]);
}

#[test]
fn links_that_come_up_one_after_the_other_are_told_together() {
    let starting = |every: u64, count: u8| {
        let mut origin = Origin::new();
        origin.take_credential(HASH, SKEW);
        let notes =
            (0..count).map(|n| (u64::from(n) * every, links(&(0..=n).map(|n| claim(n, 1, 1)).collect::<Vec<_>>())));
        run(&mut origin, notes, 20_000)
    };
    assert_eq!(starting(50, 5), [300], "100 ms after the last");
    assert_eq!(starting(50, 10), [400, 600], "not for longer than 400 ms");
    assert_eq!(starting(150, 2), [100, 300], "what comes later is a change");
}

#[test]
fn measurements_are_told_less_in_a_large_area() {
    let swings = (0..360u64).map(|n| (n * 10_000, links(&[claim(1, 100_000 * (1 + n as u32 % 2), 65_000)])));
    let mut origin = told(&links(&[claim(1, 100_000, 65_000)]));
    origin.set_area(200);
    let at = run(&mut origin, swings, 3_600_000);
    assert!(at.len() <= 6, "once at once, then every 12 minutes: {at:?}");
}

#[test]
fn what_comes_back_before_it_is_told_is_not_told() {
    let mut origin = told(&with_leaves(0));
    let flap = [(0, with_leaves(1)), (50, with_leaves(2)), (150, with_leaves(1))];
    assert_eq!(run(&mut origin, flap, 20_000), [0]);
}

#[test]
fn price_is_told_like_structure() {
    let mut dear = claim(1, 1_000, 65_000);
    dear.link.price = 5;
    let mut origin = told(&links(&[claim(1, 1_000, 65_000)]));
    assert_eq!(run(&mut origin, [(0, links(&[dear]))], 20_000), [0]);
}

#[test]
fn measurements_are_told_when_they_leave_the_hysteresis() {
    let tells = |before: Claim, after: Claim| {
        let mut origin = told(&links(&[before]));
        !run(&mut origin, [(0, links(&[after]))], 20_000).is_empty()
    };
    let delay = |old, new| tells(claim(1, old, 65_000), claim(1, new, 65_000));
    assert!(!delay(1_000, 5_900), "less than 5 ms more");
    assert!(!delay(100_000, 124_000), "less than a quarter more");
    assert!(delay(100_000, 126_000));
    assert!(delay(100_000, 74_000));
    let success = |old, new| tells(claim(1, 1_000, old), claim(1, 1_000, new));
    assert!(!success(65_000, 64_400), "less than a hundredth");
    assert!(success(65_000, 64_000));
    assert!(!success(52_000, 50_000), "a seventh of the failures");
    assert!(success(52_000, 48_000));
    assert!(success(2_000, 1_000), "half of the successes");
}

#[test]
fn measurements_are_told_three_times_then_every_three_minutes() {
    // A delay that doubles or halves every 10 s, for an hour.
    let swings = (0..360u64).map(|n| (n * 10_000, links(&[claim(1, 100_000 * (1 + n as u32 % 2), 65_000)])));
    let mut origin = told(&links(&[claim(1, 100_000, 65_000)]));
    let at = run(&mut origin, swings, 3_600_000);
    assert_eq!(at[..4], [11_000, 21_000, 31_000, 201_000]);
    assert!((18..=23).contains(&at.len()), "{at:?}");
    assert!(at.windows(2).skip(2).all(|pair| pair[1] - pair[0] >= 160_000), "{at:?}");
    // A spike shorter than a second is not advertised, and several links are advertised together.
    let both = |delay| links(&[claim(1, delay, 65_000), claim(2, delay, 65_000)]);
    let mut origin = told(&both(10_000));
    let spike = [(0, both(90_000)), (900, both(10_000))];
    assert_eq!(run(&mut origin, spike, 5_000), [0; 0]);
    let one = links(&[claim(1, 90_000, 65_000), claim(2, 10_000, 65_000)]);
    assert_eq!(run(&mut origin, [(6_000, one), (6_500, both(90_000))], 20_000), [7_000]);
}

/// Invariant 2.
#[test]
fn what_is_told_of_a_measurement_stays_until_it_leaves_the_hysteresis() {
    let mut origin = told(&links(&[claim(1, 10_000, 65_000), claim(2, 10_000, 65_000)]));
    // A third link is added; of the others one has changed a little, the other much.
    let now = links(&[claim(1, 11_000, 65_000), claim(2, 90_000, 65_000), claim(3, 1, 65_000)]);
    origin.note(now, ms(0));
    let lsa = origin.due(ms(0)).expect("a link more");
    assert_eq!(lsa.links.iter().map(|link| link.delay).collect::<Vec<_>>(), [10_000, 90_000, 1]);
    assert_eq!(origin.next_wake(), None);
    // After further small changes it leaves the hysteresis: the difference is to the advertised value.
    origin.note(links(&[claim(1, 16_000, 65_000), claim(2, 90_000, 65_000), claim(3, 1, 65_000)]), ms(60_000));
    assert_eq!(origin.next_wake(), Some(ms(61_000)));
}

/// Invariant 1.
#[test]
fn a_new_credential_begins_with_one_at_once() {
    let mut origin = told(&with_leaves(1));
    origin.note(with_leaves(2), ms(0));
    assert!(origin.due(ms(0)).is_some());
    origin.take_credential(CredentialHash([8; 16]), SKEW);
    let lsa = origin.due(ms(1)).expect("it does not wait");
    assert_eq!((lsa.origin, lsa.sequence), (CredentialHash([8; 16]), 1));
    origin.take_credential(CredentialHash([8; 16]), SKEW);
    assert_eq!(origin.due(ms(60_000)), None);
}

#[test]
fn a_neighbours_new_credential_is_told_with_the_next_change_or_within_a_minute() {
    let (old, mut new) = (claim(1, 1_000, 65_000), claim(1, 1_000, 65_000));
    new.link.to = CredentialHash([7; 16]);
    let mut origin = told(&links(std::slice::from_ref(&old)));
    assert_eq!(run(&mut origin, [(0, links(&[new.clone()]))], 120_000), [60_000]);
    let mut origin = told(&links(&[old]));
    let leaf = Claims { leaves: vec![Handle([1; 16])], ..links(&[new.clone()]) };
    assert_eq!(run(&mut origin, [(0, links(&[new])), (5_000, leaf)], 120_000), [5_000]);
    assert_eq!(origin.told().map(|claims| claims.links[0].link.to), Some(CredentialHash([7; 16])));
}

#[test]
fn it_goes_past_what_it_told_before_a_restart() {
    let mut origin = told(&with_leaves(1));
    origin.jump_past(41, ms(0));
    assert_eq!(origin.due(ms(0)).map(|lsa| lsa.sequence), Some(42));
    origin.jump_past(41, ms(10));
    assert_eq!(origin.next_wake(), None, "that is past");
    // Two nodes with one key do not make each other advertise without end.
    let mut told = 0;
    for millis in 100..10_000 {
        if let Some(lsa) = origin.due(ms(millis)) {
            told += 1;
            origin.jump_past(lsa.sequence, ms(millis));
        } else {
            origin.jump_past(origin.sequence(), ms(millis));
        }
    }
    assert!(told <= 7, "{told}");
    // There is no number after the last one.
    origin.jump_past(u64::MAX, ms(20_000));
    assert_eq!((origin.next_wake(), origin.due(ms(30_000))), (None, None));
}

#[test]
fn that_it_leaves_does_not_wait() {
    let mut origin = told(&with_leaves(0));
    let at = run(&mut origin, [(0, with_leaves(1)), (10, Claims { leaving: true, ..with_leaves(1) })], 11);
    assert_eq!(at.len(), 2);
}

/// Invariant 3.
#[test]
fn what_is_told_is_in_order_and_within_bounds() {
    let mut origin = Origin::new();
    origin.take_credential(HASH, SKEW);
    let leaf = |n: usize| {
        let mut leaf = [0; 16];
        leaf[..8].copy_from_slice(&n.to_be_bytes());
        Handle(leaf)
    };
    let mut claims = links(&[claim(2, 1, 1), claim(1, 1, 1), claim(2, 1, 1)]);
    // Credentials in another order than pseudonyms.
    claims.links[1].link.to = CredentialHash([5; 16]);
    claims.leaves = (0..MAX_LEAVES + 3).rev().map(leaf).collect();
    claims.groups = vec![Tag([2; 8]), Tag([1; 8]), Tag([2; 8])];
    origin.note(claims, ms(0));
    let lsa = origin.due(ms(100)).expect("it is due");
    assert_eq!(lsa.links.iter().map(|link| link.to.0[0]).collect::<Vec<_>>(), [2, 5]);
    assert!(lsa.leaves.is_sorted() && lsa.leaves.len() == MAX_LEAVES);
    assert_eq!((lsa.groups, origin.left_out()), (vec![Tag([1; 8]), Tag([2; 8])], 3));
}

/// A link to a leaf: the leaf, its bearer, and what it is worth.
fn to_leaf(number: u8, bearer: u8, price: u64, delay: u32) -> (Handle, u8, Metrics) {
    let metrics = Metrics { price, delay, success: 60_000, rate: 1_000, mtu: 1_500, ..Metrics::default() };
    (Handle([number; 16]), bearer, metrics)
}

fn with_links_to_leaves(links: &[(Handle, u8, Metrics)]) -> Claims {
    Claims {
        leaves: links.iter().map(|link| link.0).collect(),
        accesses: Access::gathered(links.iter().copied()),
        ..Claims::default()
    }
}

/// Invariant 1 of routing::origin::accesses.
#[test]
fn links_to_leaves_are_told_by_kind_with_their_means() {
    // Leaf 3 is linked twice, and its free link counts.
    let links = [to_leaf(3, 2, 500, 10), to_leaf(1, 1, 0, 8_000), to_leaf(3, 1, 0, 12_000), to_leaf(2, 2, 500, 90_000)];
    let mut origin = Origin::new();
    origin.take_credential(HASH, SKEW);
    origin.note(with_links_to_leaves(&links), ms(0));
    let lsa = origin.due(ms(100)).expect("it is due");
    let told: Vec<_> = lsa.accesses.iter().map(|a| (a.bearer, a.price, a.delay, a.leaves.clone())).collect();
    assert_eq!(told, [(1, 0, 10_000, vec![0b101]), (2, 500, 90_000, vec![0b010])]);
    let access = |number| lsa.access_of(&Handle([number; 16])).map(|access| access.bearer);
    assert_eq!([1, 2, 3, 4].map(access), [Some(1), Some(2), Some(1), None]);
}

#[test]
fn links_to_leaves_are_told_again_when_they_differ_enough() {
    let at = |delay| with_links_to_leaves(&[to_leaf(1, 1, 0, delay), to_leaf(2, 1, 0, delay)]);
    let mut origin = told(&at(40_000));
    // By less than a fourth, then by as much, and then one of them is over another bearer.
    assert_eq!(run(&mut origin, [(0, at(49_000)), (10_000, at(51_000))], 20_000), [11_000]);
    assert_eq!(origin.told().map(|claims| claims.accesses[0].metrics.delay), Some(51_000));
    let moved = with_links_to_leaves(&[to_leaf(1, 1, 0, 53_000), to_leaf(2, 2, 0, 53_000)]);
    assert_eq!(run(&mut origin, [(30_000, moved)], 40_000), [30_000]);
    let delays = |claims: &Claims| claims.accesses.iter().map(|access| access.metrics.delay).collect::<Vec<_>>();
    assert_eq!(origin.told().map(delays), Some(vec![51_000, 53_000]), "what hardly differs is repeated");
}

#[test]
fn no_more_kinds_of_links_to_leaves_are_told_than_there_is_room_for() {
    let links: Vec<_> = (0..20).map(|number| to_leaf(number, 1, number.into(), 1)).collect();
    let mut origin = Origin::new();
    origin.take_credential(HASH, SKEW);
    origin.note(with_links_to_leaves(&links), ms(0));
    let lsa = origin.due(ms(100)).expect("it is due");
    assert_eq!((lsa.leaves.len(), lsa.accesses.len(), origin.left_out()), (20, MAX_ACCESSES, 4));
}

/// Invariant 1.
#[test]
fn a_credential_that_comes_back_goes_on_after_its_last_number() {
    let mut origin = told(&with_leaves(1));
    origin.take_credential(CredentialHash([8; 16]), SKEW);
    assert_eq!(origin.due(ms(0)).map(|lsa| (lsa.origin, lsa.sequence)), Some((CredentialHash([8; 16]), 1)));
    // The clock was set back, into the previous epoch.
    origin.take_credential(HASH, SKEW);
    assert_eq!(origin.due(ms(1)).map(|lsa| (lsa.origin, lsa.sequence)), Some((HASH, 2)));
    origin.take_credential(CredentialHash([8; 16]), SKEW);
    assert_eq!(origin.due(ms(2)).map(|lsa| lsa.sequence), Some(2));
}
