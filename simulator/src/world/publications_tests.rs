//! Each kind of violation is found once, and no other.

use super::*;

const SECOND: u64 = 1_000_000_000;
const NODE: usize = 1;
const FROM: usize = 0;
const TOPIC: u32 = 7;

/// Returns a publication each second from 10 s on, with a lifetime of ten seconds: numbers 0, 1, 2 and so on.
fn stream(count: u64) -> Vec<Publication> {
    let one = |id| {
        let sent = (10 + id) * SECOND;
        Publication { id, sent, made: sent, deadline: sent + 10 * SECOND, sure: true }
    };
    (0..count).map(one).collect()
}

/// Returns the findings on these messages and reports: number, count reported as missed, and seconds after which it was
/// handed over.
fn found(stream: Vec<Publication>, began: u64, heard: &[(u64, u64, u64)]) -> Findings {
    let mut publications = Publications::default();
    let subscription = publications.handle_subscribed(NODE, TOPIC, began);
    for (id, lost, after) in heard {
        let at = (10 + id + after) * SECOND;
        publications
            .handle_heard(subscription, Heard { from: FROM, message: Some(*id), lost: *lost, uncertain: false, at });
    }
    judged(&publications, stream)
}

fn judged(publications: &Publications, stream: Vec<Publication>) -> Findings {
    judged_by(publications, stream, &BTreeMap::new())
}

fn judged_by(publications: &Publications, stream: Vec<Publication>, excused: &BTreeMap<usize, u64>) -> Findings {
    // Epochs are a thousand seconds long.
    let turn = |_: usize, at: u64| (at / (1_000 * SECOND) + 1) * 1_000 * SECOND;
    let epoch = |at: u64, wrong: i64| at.saturating_add_signed(wrong * 1_000) / (1_000 * SECOND);
    let heard = |_: usize, _: usize, _: u32| true;
    let end = 5_000 * SECOND;
    let rules = Rules { slack: SECOND / 50, excused, turn: &turn, epoch: &epoch, heard: &heard, end };
    publications.judge(&Streams::from([((TOPIC, FROM), stream)]), &rules)
}

/// As [`judged`], with a publisher that takes another key at a time.
fn judged_rekeyed(publications: &Publications, stream: Vec<Publication>, at: u64) -> Findings {
    let turn = |_: usize, sent: u64| if sent < at { at } else { 1_000 * SECOND };
    let epoch = |_: u64, _: i64| 0;
    let (heard, excused) = (|_: usize, _: usize, _: u32| true, BTreeMap::new());
    let end = 5_000 * SECOND;
    let rules = Rules { slack: SECOND / 50, excused: &excused, turn: &turn, epoch: &epoch, heard: &heard, end };
    publications.judge(&Streams::from([((TOPIC, FROM), stream)]), &rules)
}

/// Returns the violations of each kind: untold, invented, twice, disordered, late.
fn kinds(findings: &Findings) -> [u64; 5] {
    let Findings { untold, invented, twice, disordered, late, .. } = findings;
    [*untold, *invented, *twice, *disordered, *late]
}

#[test]
fn who_hears_everything_in_order_has_nothing_to_complain_of() {
    let findings = found(stream(4), SECOND, &[(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 0, 1)]);
    assert_eq!((findings.owed, findings.missed, kinds(&findings)), (4, 0, [0; 5]));
}

/// Invariant 1.
#[test]
fn what_is_missed_has_to_be_told_with_the_next_and_no_more_than_that() {
    let told = found(stream(6), SECOND, &[(0, 0, 1), (4, 3, 1), (5, 0, 1)]);
    assert_eq!((told.owed, told.missed, kinds(&told)), (6, 3, [0; 5]));
    let untold = found(stream(6), SECOND, &[(0, 0, 1), (4, 1, 1), (5, 0, 1)]);
    assert_eq!((untold.missed, kinds(&untold)), (3, [2, 0, 0, 0, 0]));
    let too_late = found(stream(6), SECOND, &[(0, 0, 1), (4, 0, 1), (5, 3, 1)]);
    assert_eq!(kinds(&too_late), [3, 3, 0, 0, 0]);
    let invented = found(stream(2), SECOND, &[(0, 0, 1), (1, 3, 1)]);
    assert_eq!(kinds(&invented), [0, 3, 0, 0, 0]);
}

#[test]
fn a_report_that_names_no_publisher_may_be_of_any_and_a_new_key_ends_a_stream() {
    let mut publications = Publications::default();
    let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
    let hear = |publications: &mut Publications, from, message: Option<u64>, uncertain, at: u64| {
        publications.handle_heard(subscription, Heard { from, message, lost: 0, uncertain, at: at * SECOND });
    };
    hear(&mut publications, FROM, Some(0), false, 11);
    hear(&mut publications, FROM, Some(4), false, 15);
    assert_eq!(kinds(&judged(&publications, stream(5))), [3, 0, 0, 0, 0]);
    // Of the stream of another key it may be told later.
    let findings = judged_rekeyed(&publications, stream(5), 13 * SECOND);
    assert_eq!(findings.untold, 3, "and was not: {findings:?}");
    hear(&mut publications, UNNAMED, None, true, 30);
    assert_eq!(kinds(&judged_rekeyed(&publications, stream(5), 14 * SECOND)), [0; 5]);
    assert_eq!(kinds(&judged(&publications, stream(5))), [3, 0, 0, 0, 0], "with the next of the same stream");
}

#[test]
fn what_came_before_a_subscription_is_not_missed_by_it() {
    // The subscription begins after number 20, and hears from 26 on.
    let began = 30 * SECOND + SECOND / 2;
    let findings = found(stream(28), began, &[(26, 5, 1), (27, 0, 1)]);
    assert_eq!((findings.owed, findings.missed, kinds(&findings)), (7, 5, [0; 5]));
    let blamed = found(stream(28), began, &[(26, 26, 1), (27, 0, 1)]);
    // Publications made within ten seconds before it may have been under way.
    assert_eq!(blamed.invented, 11, "{blamed:?}");
    // Publications made within four seconds after it may have waited for a listener.
    let silent = found(stream(28), began, &[(26, 0, 1), (27, 0, 1)]);
    assert!((1..=3).contains(&silent.untold), "{silent:?}");
}

#[test]
fn what_a_node_made_that_stood_still_before_may_be_told_or_not() {
    // The subscription begins after number 20; the node processed numbers 10 to 23 when it resumed, which was later.
    let began = 30 * SECOND + SECOND / 2;
    let mut stood_still = stream(28);
    for one in &mut stood_still[10..24] {
        one.made = 34 * SECOND;
    }
    for lost in [13, 3] {
        let findings = found(stood_still.clone(), began, &[(26, lost, 1), (27, 0, 1)]);
        assert_eq!((findings.owed, kinds(&findings)[1]), (7, 0), "{lost} told: {findings:?}");
    }
    let blamed = found(stood_still, began, &[(26, 17, 1), (27, 0, 1)]);
    assert_eq!(kinds(&blamed)[1], 1, "{blamed:?}");
}

#[test]
fn repetition_disorder_and_lateness_are_told_apart() {
    let findings = found(stream(5), SECOND, &[(0, 0, 1), (0, 0, 2), (2, 0, 1), (1, 0, 3), (3, 0, 11), (4, 0, 10)]);
    assert_eq!((findings.missed, kinds(&findings)), (1, [1, 0, 1, 1, 1]));
    assert!(findings.examples.iter().any(|example| example.contains("message 1 after message 2")), "{findings:?}");
}

#[test]
fn what_one_life_of_a_device_heard_does_not_come_to_the_next() {
    let mut publications = Publications::default();
    for (begins, numbers) in [(SECOND, [0, 1]), (13 * SECOND, [1, 3])] {
        let subscription = publications.handle_subscribed(NODE, TOPIC, begins);
        for id in numbers {
            let at = begins.max((10 + id) * SECOND);
            publications
                .handle_heard(subscription, Heard { from: FROM, message: Some(id), lost: 0, uncertain: false, at });
        }
        if begins == SECOND {
            publications.handle_down(NODE, 12 * SECOND);
        }
    }
    // Number 2 was made while it was down.
    assert_eq!(kinds(&judged(&publications, stream(4))), [0, 0, 1, 0, 0]);
}

#[test]
fn the_end_of_a_stream_tells_what_was_missed_and_a_crash_need_not() {
    let mut publications = Publications::default();
    let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
    publications
        .handle_heard(subscription, Heard { from: FROM, message: Some(0), lost: 0, uncertain: false, at: 11 * SECOND });
    assert_eq!(kinds(&judged(&publications, stream(4))), [3, 0, 0, 0, 0]);
    publications
        .handle_heard(subscription, Heard { from: FROM, message: None, lost: 3, uncertain: false, at: 1_010 * SECOND });
    assert_eq!(kinds(&judged(&publications, stream(4))), [0; 5]);
    publications
        .handle_heard(subscription, Heard { from: FROM, message: None, lost: 1, uncertain: false, at: 1_020 * SECOND });
    assert_eq!(kinds(&judged(&publications, stream(4))), [0, 1, 0, 0, 0]);
    let mut crashed = Publications::default();
    let subscription = crashed.handle_subscribed(NODE, TOPIC, SECOND);
    crashed
        .handle_heard(subscription, Heard { from: FROM, message: Some(0), lost: 0, uncertain: false, at: 11 * SECOND });
    crashed.handle_down(FROM, 15 * SECOND);
    assert_eq!(kinds(&judged(&crashed, stream(4))), [0; 5]);
}

#[test]
fn a_clock_that_is_set_into_another_epoch_ends_streams_as_a_crash_does() {
    let missed = |set: i64| {
        let mut publications = Publications::default();
        let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
        for (message, at) in [(0, 11), (3, 14)] {
            let heard = Heard { from: FROM, message: Some(message), lost: 0, uncertain: false, at: at * SECOND };
            publications.handle_heard(subscription, heard);
        }
        publications.handle_set(FROM, 12 * SECOND + SECOND / 2, set * 1_000_000);
        kinds(&judged(&publications, stream(4)))
    };
    // With an error of twelve seconds the clock stays within its epoch; with one of a thousand it does not.
    assert_eq!((missed(12), missed(1_000)), ([2, 0, 0, 0, 0], [0; 5]));
    // A clock that was wrong before reaches the end of its epoch in between.
    let mut publications = Publications::default();
    let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
    publications.handle_set(FROM, 2 * SECOND, 987 * 1_000_000 + 500_000);
    for (message, at) in [(0, 11), (3, 14)] {
        let heard = Heard { from: FROM, message: Some(message), lost: 0, uncertain: false, at: at * SECOND };
        publications.handle_heard(subscription, heard);
    }
    assert_eq!(kinds(&judged(&publications, stream(4))), [0; 5]);
}

#[test]
fn what_a_restarted_subscriber_takes_for_heard_need_not_be_told() {
    let missed = |back: i64, down: bool| {
        let mut publications = Publications::default();
        if down {
            publications.handle_down(NODE, SECOND / 2);
        }
        let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
        publications.handle_set(FROM, 2 * SECOND, -back * 1_000_000);
        for (message, at) in [(0, 11), (3, 14)] {
            let heard = Heard { from: FROM, message: Some(message), lost: 0, uncertain: false, at: at * SECOND };
            publications.handle_heard(subscription, heard);
        }
        kinds(&judged(&publications, stream(4)))[0]
    };
    assert_eq!([missed(9, true), missed(9, false), missed(-9, true)], [0, 2, 2]);
}

#[test]
fn who_is_told_that_there_may_be_others_need_not_be_told_how_many() {
    let doubtful = |at: u64| {
        let mut publications = Publications::default();
        let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
        let heard = Heard { from: FROM, message: Some(0), lost: 0, uncertain: false, at: 11 * SECOND };
        publications.handle_heard(subscription, heard);
        let heard = Heard { from: FROM, message: None, lost: 0, uncertain: true, at };
        publications.handle_heard(subscription, heard);
        kinds(&judged(&publications, stream(4)))
    };
    assert_eq!(doubtful(1_010 * SECOND), [0; 5]);
    // A number may be reported after the report of possible losses, as the end of the stream gives it, but no larger
    // one.
    let and_then = |lost| {
        let mut publications = Publications::default();
        let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
        let told = [(Some(0), 0, false, 11), (None, 0, true, 1_010), (None, lost, false, 1_020)];
        for (message, lost, uncertain, at) in told {
            let heard = Heard { from: FROM, message, lost, uncertain, at: at * SECOND };
            publications.handle_heard(subscription, heard);
        }
        kinds(&judged(&publications, stream(4)))
    };
    assert_eq!((and_then(3), and_then(5)), ([0; 5], [0, 2, 0, 0, 0]));
    // A publication made after the report of possible losses is certainly missed.
    assert_eq!(doubtful(11 * SECOND + 1), [2, 0, 0, 0, 0]);
}

#[test]
fn what_may_not_have_been_made_may_be_told_or_not() {
    let mut doubtful = stream(3);
    doubtful[1].sure = false;
    for lost in [0, 1] {
        let findings = found(doubtful.clone(), SECOND, &[(0, 0, 1), (2, lost, 1)]);
        assert_eq!((findings.owed, findings.missed, kinds(&findings)), (2, 0, [0; 5]), "{lost} told");
    }
}

#[test]
fn what_waited_at_its_publisher_over_the_end_of_an_epoch_may_be_of_either_stream() {
    // Numbers 985 to 989 are submitted in the last seconds of an epoch; from 988 on they leave in the next.
    let mut waited = stream(991).split_off(985);
    for one in &mut waited[3..] {
        one.made = 1_001 * SECOND;
    }
    let judge = |told: Option<u64>, with: u64| {
        let mut publications = Publications::default();
        let subscription = publications.handle_subscribed(NODE, TOPIC, 980 * SECOND);
        let heard = |message, lost, at| Heard { from: FROM, message, lost, uncertain: false, at };
        publications.handle_heard(subscription, heard(Some(985), 0, 996 * SECOND));
        publications.handle_heard(subscription, heard(Some(989), with, 1_002 * SECOND));
        if let Some(lost) = told {
            publications.handle_heard(subscription, heard(None, lost, 1_003 * SECOND));
        }
        publications.handle_heard(subscription, heard(Some(990), 0, 1_004 * SECOND));
        kinds(&judged(&publications, waited.clone()))
    };
    // Missed publications of the first stream are reported by its end, after a message of the second; those of the
    // second with that message.
    assert_eq!([judge(Some(3), 0), judge(Some(2), 1), judge(None, 3)], [[0; 5]; 3]);
    assert_eq!((judge(None, 0), judge(Some(4), 0)), ([3, 0, 0, 0, 0], [0, 1, 0, 0, 0]));
}

#[test]
fn what_a_publisher_took_for_a_later_epoch_is_heard_after_what_it_made_then() {
    // From 990 s on, by a clock that is ten minutes ahead for four seconds.
    let mut later = stream(12);
    for one in &mut later {
        one.sent += 980 * SECOND;
        one.made = one.sent;
    }
    let heard = |set: bool, order: [u64; 3]| {
        let mut publications = Publications::default();
        let subscription = publications.handle_subscribed(NODE, TOPIC, SECOND);
        if set {
            publications.handle_set(FROM, 992 * SECOND, 600_000_000);
            publications.handle_set(FROM, 996 * SECOND, 0);
        }
        for id in order {
            let at = 1_000 * SECOND;
            publications
                .handle_heard(subscription, Heard { from: FROM, message: Some(id), lost: 0, uncertain: true, at });
        }
        judged(&publications, later.clone()).disordered
    };
    assert_eq!(heard(true, [0, 4, 7]), 0);
    assert_eq!(heard(true, [0, 7, 4]), 0);
    assert_eq!(heard(false, [0, 7, 4]), 1);
    assert_eq!(heard(true, [4, 0, 7]), 1, "made in the epoch before, and heard after it");
}

#[test]
fn what_is_made_just_before_a_turn_may_be_of_the_epoch_after_by_a_clock_that_is_off() {
    let mut publications = Publications::default();
    publications.handle_subscribed(NODE, TOPIC, SECOND);
    let mut one = stream(1);
    one[0].sent = 1_000 * SECOND - SECOND / 1_000;
    one[0].made = one[0].sent;
    assert_eq!(kinds(&judged(&publications, one.clone())), [1, 0, 0, 0, 0]);
    let off = BTreeMap::from([(FROM, SECOND / 500)]);
    assert_eq!(kinds(&judged_by(&publications, one.clone(), &off)), [0; 5]);
    one[0].sent -= SECOND;
    one[0].made = one[0].sent;
    assert_eq!(kinds(&judged_by(&publications, one, &off)), [1, 0, 0, 0, 0]);
}
