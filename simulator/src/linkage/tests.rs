//! The classifier on views whose truth is made up, and what observers see.

use super::classify::{Classifier, Turn};
use super::features::Feature;
use super::measures::{OTHER_ADDRESS, SHIPPED, assess};
use super::observed::{Advert, Alias, Carried, Id, LinkSeen, Observed, Seen, Span, Traffic};
use super::views::{Observer, Place, Sight, View};
use super::{Assessment, Finding};
use crate::virtual_os::splitmix;
use std::collections::BTreeMap;

const DEVICES: usize = 30;
const EPOCHS: usize = 6;
const EPOCH_S: f64 = 600.0;

/// Returns a number from 0 to 1 that is drawn from these.
fn drawn(what: u64, device: usize, epoch: usize) -> f64 {
    let mut state = (what << 48) ^ ((device as u64) << 16) ^ epoch as u64;
    splitmix(&mut state) as f64 / u64::MAX as f64
}

fn id(device: usize, epoch: usize) -> Id {
    (epoch * DEVICES + device) as Id
}

/// Returns a ring of devices, all of whose pseudonyms change at one moment, and in which nothing tells one from another
/// but its address.
fn ring() -> Observed {
    let mut observed = Observed {
        seed: 3,
        epoch_s: EPOCH_S,
        epochs: EPOCHS,
        devices: vec![Seen { router: true, area: 0 }; DEVICES],
        contacts: vec![Vec::new(); DEVICES],
        ..Observed::default()
    };
    for epoch in 0..EPOCHS {
        for device in 0..DEVICES {
            let mark = (drawn(1, device, epoch) * 1e15) as u64;
            observed.aliases.push(Alias { device, epoch, mark });
        }
        for device in 0..DEVICES {
            let span = Span { first: EPOCH_S * epoch as f64, last: EPOCH_S * (epoch + 1) as f64 };
            let mut traffic = Traffic::default();
            (0..50).for_each(|_| traffic.add(100));
            let ends = [id(device, epoch), id((device + 1) % DEVICES, epoch)];
            let sent = [traffic.clone(), traffic];
            observed.links.push(LinkSeen { ends, bearer: 0, span, round_trip: 0.02, sent });
        }
    }
    observed
}

/// Returns what is found under a condition, when there is one kind of device.
#[track_caller]
fn found<'a>(assessed: &'a Assessment, condition: &str) -> &'a Finding {
    let mut all = assessed.findings.iter().filter(|finding| finding.condition == condition);
    let first = all.next().expect("a finding");
    assert_eq!(all.next(), None);
    first
}

fn assessed(observed: &Observed) -> Assessment {
    assess(observed, "wire", Observer::Wire, &mut || ())
}

#[test]
fn devices_that_can_be_told_apart_are_all_followed_and_others_by_chance() {
    let assessed = assessed(&ring());
    let shipped = found(&assessed, SHIPPED);
    assert_eq!((shipped.top1, shipped.followed, shipped.seen), (1.0, 1.0, 1.0), "by their addresses");
    assert!(shipped.bits < 0.5, "{shipped:?}");
    let other = found(&assessed, OTHER_ADDRESS);
    assert_eq!((other.devices, assessed.turns), (DEVICES, EPOCHS - 1));
    assert!((other.chance - 1.0 / DEVICES as f64).abs() < 1e-9 && other.top1 <= 4.0 * other.chance, "{other:?}");
    assert!((other.bits - other.bits_most).abs() < 0.01 && other.followed == 0.0, "{other:?}");
    assert_eq!(found(&assessed, "port kept").top1, 1.0);
}

#[test]
fn noise_is_not_taken_for_knowledge() {
    let mut observed = ring();
    for (at, link) in observed.links.iter_mut().enumerate() {
        link.round_trip = 0.01 + 0.03 * drawn(2, at, 0);
        for (end, sent) in link.sent.iter_mut().enumerate() {
            (0..40).for_each(|piece| sent.add((1_400.0 * drawn(3, at, 2 * piece + end)) as usize));
        }
    }
    let assessed = assessed(&observed);
    let other = found(&assessed, OTHER_ADDRESS);
    assert!(other.top1 <= 4.0 * other.chance && other.bits > other.bits_most - 0.7, "{other:?}");
}

/// Each of these by itself tells devices apart.
#[test]
fn delays_sizes_and_times_give_devices_away_unless_they_are_hidden() {
    let with = |change: &dyn Fn(usize, &mut LinkSeen)| {
        let mut observed = ring();
        observed.links.iter_mut().enumerate().for_each(|(at, link)| change(at % DEVICES, link));
        assessed(&observed)
    };
    let delays = with(&|at, link| link.round_trip = 0.01 + 0.05 * drawn(4, at, 0));
    assert!(found(&delays, OTHER_ADDRESS).top1 > 0.9, "{:?}", found(&delays, OTHER_ADDRESS));
    assert!(found(&delays, "hidden delays").top1 < 0.2, "{:?}", found(&delays, "hidden delays"));
    let sizes = with(&|at, link| {
        (0..400).for_each(|piece| link.sent[0].add((1_400.0 * drawn(5, at, piece).powi(1 + at as i32 % 9)) as usize));
    });
    let (other, padded) = (found(&sizes, OTHER_ADDRESS), found(&sizes, "padding"));
    assert!(other.top1 > 0.9 && padded.top1 < 0.2, "{other:?} {padded:?}");
}

/// Make before break: the new pseudonym is there for some seconds beside the old one.
#[test]
fn a_jitter_gives_away_what_turns_at_one_moment_hide() {
    let mut observed = ring();
    observed.links.clear();
    for epoch in 0..EPOCHS {
        for device in 0..DEVICES {
            let turn = |epoch: usize| EPOCH_S * epoch as f64 + 75.0 * drawn(6, device, epoch);
            let first = if epoch == 0 { 0.0 } else { turn(epoch) };
            let span = Span { first, last: turn(epoch + 1) + 7.0 + 0.2 * drawn(7, device, epoch) };
            observed.adverts.insert(id(device, epoch), Advert { span: Some(span), ..Advert::default() });
        }
    }
    let assessed = assess(&observed, "members:10%", Observer::Members(0.1), &mut || ());
    let top1 = |condition: &str| {
        let all =
            assessed.findings.iter().filter(|found| (found.condition, found.seen_from) == (condition, "elsewhere"));
        all.map(|finding| finding.top1).next().expect("devices elsewhere")
    };
    assert!(top1(OTHER_ADDRESS) > 0.5, "{assessed:#?}");
    assert!(top1("silence") < 0.3 && top1("no jitter") < 0.3, "{} {}", top1("silence"), top1("no jitter"));
}

/// Returns the sights of devices on a graph that is drawn anew for nobody: the same links in every epoch, of which
/// nothing is known but who has them, and a few anchors.
fn graph(epochs: usize) -> Vec<Vec<Sight>> {
    let linked = |one: usize, other: usize| drawn(8, one.min(other), one.max(other)) < 0.2;
    let sight = |device: usize, epoch: usize| {
        let neighbours = (0..DEVICES).filter(|other| *other != device && linked(device, *other));
        let place = |other: usize| if other < 3 { Place::Anchor(other) } else { Place::Alias(id(other, epoch)) };
        let places = neighbours.map(|other| (place(other), None)).collect();
        let mark = (drawn(9, device, epoch) * 1e15) as u64;
        Sight { id: id(device, epoch), epoch, mark, span: Some(Span::at(0.0)), places, ..Sight::default() }
    };
    (0..epochs).map(|epoch| (3..DEVICES).map(|device| sight(device, epoch)).collect()).collect()
}

#[test]
fn a_place_in_the_graph_is_found_from_a_few_that_are_known() {
    let sights = graph(4);
    let turn = |epoch: usize| Turn {
        old: sights[epoch].iter().collect(),
        new: sights[epoch + 1].iter().collect(),
        truth: (0..DEVICES - 3).map(Some).collect(),
    };
    let turns: Vec<Turn<'_>> = (0..3).map(turn).collect();
    let classifier = Classifier::new(&turns, &|_| 0);
    let right = |features: &[Feature]| {
        let answers = classifier.answers(features);
        let hits = answers.iter().flat_map(|answer| answer.successors.iter().enumerate());
        hits.filter(|(row, column)| **column == Some(*row)).count() as f64 / (3 * (DEVICES - 3)) as f64
    };
    let (graph, anchors) = (right(&[Feature::Neighbours, Feature::Graph]), right(&[Feature::Neighbours]));
    assert!(graph > 0.85 && graph > anchors + 0.1, "{graph} with the graph, {anchors} by anchors alone");
}

/// Invariant 1 of linkage::learning.
#[test]
fn what_is_answered_at_a_turn_does_not_depend_on_its_truth() {
    let mut observed = ring();
    for (at, link) in observed.links.iter_mut().enumerate() {
        link.round_trip = 0.01 + 0.03 * drawn(10, at % DEVICES, 0) + 0.004 * drawn(11, at, 0);
    }
    let view = View::new(&observed, Observer::Wire);
    let sights: BTreeMap<Id, &Sight> = view.sights.iter().map(|sight| (sight.id, sight)).collect();
    let turns = |wrong: bool| -> Vec<Turn<'_>> {
        let turn = |epoch: usize| Turn {
            old: (0..DEVICES).map(|device| sights[&id(device, epoch)]).collect(),
            new: (0..DEVICES).map(|device| sights[&id(device, epoch + 1)]).collect(),
            truth: (0..DEVICES).map(|row| Some(if wrong && epoch == 2 { DEVICES - 1 - row } else { row })).collect(),
        };
        (0..EPOCHS - 1).map(turn).collect()
    };
    let features = [Feature::Delays, Feature::Neighbours, Feature::Graph, Feature::Rate];
    let answer = |turns: &[Turn<'_>]| Classifier::new(turns, &|_| 0).answers(&features);
    let (right, wrong) = (answer(&turns(false)), answer(&turns(true)));
    assert_eq!(right[2], wrong[2]);
    assert_ne!(right[1].bits, wrong[1].bits, "what is learnt there counts elsewhere");
}

/// Invariant 1 of linkage::views.
#[test]
fn an_observer_sees_what_is_before_its_devices_and_no_more() {
    let mut observed = ring();
    let span = Span { first: 5.0, last: 6.0 };
    let wire = View::new(&observed, Observer::Wire);
    assert_eq!((wire.sights.len(), wire.anchors.len()), (DEVICES * EPOCHS, 0));
    let members = View::new(&observed, Observer::Members(0.1));
    let own = &members.anchors;
    assert!(own.len() == 3 && !own.contains(&0) && members.contacts.is_empty(), "{own:?}");
    let next = |device: usize| [(device + 1) % DEVICES, (device + DEVICES - 1) % DEVICES];
    for sight in &members.sights {
        let device = observed.aliases[sight.id as usize].device;
        assert!(!own.contains(&device) && next(device).iter().any(|other| own.contains(other)) && sight.near);
        assert!(sight.places.keys().all(|place| matches!(place, Place::Anchor(device) if own.contains(device))));
    }
    // Advertisements reach it as a router of the area; frames only where one of its devices receives them.
    let far = (1..DEVICES).find(|device| !own.contains(device) && !next(*device).iter().any(|at| own.contains(at)));
    let far = far.expect("a device far off");
    let sees = |observed: &Observed| {
        View::new(observed, Observer::Members(0.1)).sights.into_iter().find(|sight| sight.id == id(far, 1))
    };
    assert_eq!(sees(&observed), None);
    let by = *own.first().expect("a device");
    let carried = |by: usize| Carried { alias: id(far, 1), by, published: true, span, traffic: Traffic::default() };
    observed.carried.push(carried(far));
    assert_eq!(sees(&observed), None);
    observed.carried.push(carried(by));
    let seen = sees(&observed).expect("its publications are seen");
    assert!(seen.span == Some(span) && !seen.near && seen.addresses.is_empty() && seen.places.is_empty());
    observed.told.insert((id(far, 1), 0, by));
    assert_eq!(sees(&observed).map(|sight| sight.addresses.len()), Some(1));
    let leaf = BTreeMap::from([(id(far, 1), span)]);
    observed.adverts.insert(id(0, 1), Advert { span: Some(span), leaves: leaf, ..Advert::default() });
    assert_eq!(sees(&observed).map(|sight| sight.places.len()), Some(1));
    // A device of the observer's own that is a leaf is told no link state.
    own.iter().for_each(|device| observed.devices[*device].router = false);
    assert_eq!(sees(&observed).map(|sight| sight.places.len()), Some(0));
}

#[test]
fn a_contact_follows_those_whose_cards_it_has_and_looks_for_the_others() {
    let mut observed = ring();
    let alone = View::new(&observed, Observer::Contact);
    let own = *alone.anchors.first().expect("a device");
    observed.contacts[own] = vec![((own + 1) % DEVICES, true), ((own + 2) % DEVICES, false)];
    let view = View::new(&observed, Observer::Contact);
    assert_eq!((view.anchors.len(), view.contacts.len()), (2, 1), "the other card did not name the handles");
    let assessed = assess(&observed, "contact", Observer::Contact, &mut || ());
    assert_eq!((assessed.own, assessed.contacts), (1, 1));
    let devices: usize =
        assessed.findings.iter().filter(|finding| finding.condition == SHIPPED).map(|finding| finding.devices).sum();
    assert_eq!(devices, DEVICES - 2);
}

#[test]
fn what_was_observed_is_read_back() {
    let observed = ring();
    let text = serde_json::to_string(&observed).expect("JSON");
    let again: Observed = serde_json::from_str(&text).expect("the same");
    assert!(again.is_sound() && again.links == observed.links);
    let wrong = Observed { devices: vec![Seen::default(); 3], ..again };
    assert!(!wrong.is_sound());
}
