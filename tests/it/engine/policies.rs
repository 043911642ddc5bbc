//! Messages whose policies, budgets and deadlines choose among several ways.

use super::mesh::{Mesh, message};
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Command, Outcome, Refused, Reply, Send, Token};
use m2mesh::routing::policies::{Impossible, Late, Minimise, NamedPolicy, One};
use m2mesh::wire::batch::Ack;
use std::time::Duration;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn delivered(mesh: &Mesh, token: Token) -> Option<u32> {
    match mesh.ended.get(&token) {
        Some(Outcome::Delivered { hops, .. }) => Some(*hops),
        _ => None,
    }
}

/// a – b – c is cheap and slow, a – d – c fast and dear.
fn contrast(policies: Vec<NamedPolicy>) -> Mesh {
    let settings = move |_| Settings { policies: policies.clone(), ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "d"], settings);
    for (one, other) in [(0, 1), (1, 2), (0, 3), (3, 2)] {
        mesh.connect(one, other);
    }
    for (one, other) in [(0, 1), (1, 2)] {
        mesh.assess(one, other, 0, Duration::from_millis(200));
    }
    for (one, other) in [(0, 3), (3, 2)] {
        mesh.assess(one, other, 5_000_000, Duration::from_millis(2));
    }
    mesh.run(seconds(10));
    mesh
}

fn send_under(mesh: &mut Mesh, policy: &str) -> Token {
    let send = Send { policy: Some(policy.into()), ..message("c", b"one of a few", Ack::End, 30) };
    mesh.carried.clear();
    let token = mesh.command(0, Command::Send(send));
    mesh.run(Duration::from_millis(100));
    token
}

#[test]
fn each_message_takes_the_path_that_its_policy_asks_for() {
    let mut mesh = contrast(Vec::new());
    let token = send_under(&mut mesh, "cheap");
    assert!(mesh.carried.contains_key(&(0, 1)) && !mesh.carried.contains_key(&(0, 3)), "{:?}", mesh.carried);
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { price: 0, .. })));
    let token = send_under(&mut mesh, "fast");
    assert!(mesh.carried.contains_key(&(0, 3)) && !mesh.carried.contains_key(&(0, 1)), "{:?}", mesh.carried);
    assert!(matches!(mesh.ended.get(&token), Some(Outcome::Delivered { price: 1.., .. })));
    let token = send_under(&mut mesh, "fats");
    let refused = mesh.reply(0, token);
    let Some(Reply::Refused(Refused::UnknownPolicy { nearest, .. })) = refused else { panic!("{refused:?}") };
    assert_eq!(nearest.as_deref(), Some("fast"));
}

#[test]
fn what_has_time_takes_the_cheap_way_whatever_went_the_dear_one_in_a_hurry() {
    let mut mesh = contrast(Vec::new());
    let quick = Duration::from_millis(150);
    let send =
        |lifetime| Send { policy: Some("cheap".into()), lifetime, ..message("c", b"under one policy", Ack::End, 30) };
    let price = |mesh: &Mesh, token| match mesh.ended.get(&token) {
        Some(Outcome::Delivered { price, .. }) => *price,
        other => panic!("{other:?}"),
    };
    for lifetime in [quick, seconds(30), quick, seconds(30)] {
        let token = mesh.command(0, Command::Send(send(lifetime)));
        mesh.run(Duration::from_millis(100));
        assert_eq!(price(&mesh, token) > 0, lifetime == quick, "{lifetime:?}");
    }
    // Nor do they share a frame: each would go the way of the other.
    for order in [[seconds(30), quick], [quick, seconds(30)]] {
        mesh.carried.clear();
        let tokens = order.map(|lifetime| mesh.command(0, Command::Send(send(lifetime))));
        mesh.run(Duration::from_millis(100));
        for (token, lifetime) in tokens.into_iter().zip(order) {
            assert_eq!(price(&mesh, token) > 0, lifetime == quick, "{order:?}");
        }
    }
    assert_eq!(mesh.inbox(2).len(), 8);
}

/// Invariant 1 of engine::routing::routes.
#[test]
fn limits_that_no_path_keeps_are_named_and_two_copies_take_two_paths() {
    let fast = Minimise::One(One::Delay);
    let quick_and_free = NamedPolicy {
        name: "quick-and-free".into(),
        minimise: fast,
        budget: Some(0.0),
        deadline: Some(Duration::from_millis(50)),
        impossible: Impossible::Refuse,
        ..NamedPolicy::default()
    };
    let twice = NamedPolicy { name: "twice".into(), minimise: fast, copies: Some(2), ..NamedPolicy::default() };
    let mut mesh = contrast(vec![quick_and_free, twice]);
    let token = send_under(&mut mesh, "quick-and-free");
    let refused = mesh.reply(0, token);
    let Some(Reply::Refused(Refused::NoPath { why, .. })) = refused else { panic!("{refused:?}") };
    assert!(why.contains("time") || why.contains("budget"), "{why}");
    let token = send_under(&mut mesh, "twice");
    assert!(mesh.carried.contains_key(&(0, 1)) && mesh.carried.contains_key(&(0, 3)), "{:?}", mesh.carried);
    assert!(delivered(&mesh, token).is_some());
    assert_eq!(mesh.inbox(2).len(), 1);
}

/// Invariant 1 of engine::routing::routes.
#[test]
fn a_budget_is_for_all_of_a_frame_and_for_each() {
    // A byte costs ten millionths from end to end.
    let within = |name: &str, budget| NamedPolicy {
        name: name.into(),
        minimise: Minimise::One(One::Cost),
        budget: Some(budget),
        impossible: Impossible::Refuse,
        ..NamedPolicy::default()
    };
    let mut mesh = contrast(vec![within("payload", 0.002), within("frame", 0.0075)]);
    mesh.disconnect(0, 1);
    mesh.run(seconds(1));
    let send = |policy: &str| Send { policy: Some(policy.into()), ..message("c", &[7; 150], Ack::End, 30) };
    let token = mesh.command(0, Command::Send(send("payload")));
    mesh.run(seconds(1));
    let refused = mesh.reply(0, token);
    assert!(matches!(refused, Some(Reply::Refused(Refused::NoPath { .. }))), "{refused:?}");
    mesh.carried.clear();
    let tokens: Vec<Token> = (0..10).map(|_| mesh.command(0, Command::Send(send("frame")))).collect();
    mesh.run(seconds(2));
    assert!(tokens.iter().all(|token| mesh.ended.get(token).is_some_and(Outcome::is_success)));
    assert!(mesh.carried[&(0, 3)] >= 10, "no frame takes two of them: {:?}", mesh.carried);
}

#[test]
fn a_budget_yields_when_the_deadline_comes_near() {
    let patient = NamedPolicy {
        name: "patient".into(),
        minimise: Minimise::One(One::Cost),
        budget: Some(0.0),
        late: Late::Pay,
        ..NamedPolicy::default()
    };
    let mut mesh = contrast(vec![patient]);
    mesh.disconnect(0, 1);
    mesh.run(seconds(1));
    let send = Send { policy: Some("patient".into()), ..message("c", b"in time", Ack::End, 100) };
    let token = mesh.command(0, Command::Send(send));
    mesh.run(seconds(94));
    assert_eq!(delivered(&mesh, token), None);
    mesh.run(seconds(2));
    assert_eq!(delivered(&mesh, token), Some(2));
    // A cheap way that appears is taken at once.
    let send = Send { policy: Some("patient".into()), ..message("c", b"for nothing", Ack::End, 100) };
    let token = mesh.command(0, Command::Send(send));
    mesh.run(seconds(30));
    assert_eq!(delivered(&mesh, token), None);
    mesh.connect(0, 1);
    mesh.run(seconds(3));
    assert!(
        matches!(mesh.ended.get(&token), Some(Outcome::Delivered { price: 0, .. })),
        "{:?}",
        mesh.ended.get(&token)
    );
}

/// a has ways to b and c, which both have leaf x: b by a free link that is slow, c by a dear one that is fast; all else is the same.
fn two_last_hops() -> Mesh {
    let fast = Minimise::One(One::Delay);
    let twice = NamedPolicy { name: "twice".into(), minimise: fast, copies: Some(2), ..NamedPolicy::default() };
    let free = NamedPolicy { name: "free".into(), minimise: fast, budget: Some(0.0), ..NamedPolicy::default() };
    let policies = vec![twice, free];
    let settings = move |at| Settings { forwarding: at != 3, policies: policies.clone(), ..Settings::default() };
    let mut mesh = Mesh::with(&["a", "b", "c", "x"], settings);
    for (one, other) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
        mesh.connect(one, other);
    }
    for (one, other) in [(0, 1), (0, 2)] {
        mesh.assess(one, other, 0, Duration::from_millis(10));
    }
    mesh.assess(1, 3, 0, Duration::from_millis(200));
    mesh.assess(2, 3, 5_000_000, Duration::from_millis(2));
    mesh.run(seconds(10));
    mesh
}

/// Invariant 1 of engine::routing::leaf_routes.
#[test]
fn the_last_hop_to_a_leaf_counts_as_every_other() {
    let mut mesh = two_last_hops();
    let mut send = |policy: &str| {
        let send = Send { policy: Some(policy.into()), ..message("x", b"to a leaf", Ack::End, 30) };
        mesh.carried.clear();
        let token = mesh.command(0, Command::Send(send));
        mesh.run(seconds(1));
        let by = [1, 2].map(|router| mesh.carried.contains_key(&(router, 3)));
        (by, mesh.ended.get(&token).cloned())
    };
    let (by, end) = send("cheap");
    assert!(by == [true, false] && matches!(end, Some(Outcome::Delivered { price: 0, .. })), "{by:?} {end:?}");
    let (by, end) = send("fast");
    assert!(by == [false, true] && matches!(end, Some(Outcome::Delivered { price: 1.., .. })), "{by:?} {end:?}");
}

/// Invariant 1 of engine::routing::leaf_routes.
#[test]
fn the_price_of_the_last_hop_is_within_the_budget_or_nothing_leaves() {
    let mut mesh = two_last_hops();
    let send = |mesh: &mut Mesh| {
        mesh.carried.clear();
        let send = Send { policy: Some("free".into()), ..message("x", b"for nothing", Ack::End, 5) };
        let token = mesh.command(0, Command::Send(send));
        mesh.run(seconds(6));
        (mesh.carried.clone(), mesh.ended.get(&token).cloned())
    };
    // The quicker link costs something; when the free one is gone, nothing is sent at all.
    let (_, end) = send(&mut mesh);
    assert!(matches!(end, Some(Outcome::Delivered { price: 0, .. })), "{end:?}");
    mesh.disconnect(1, 3);
    mesh.run(seconds(2));
    let (carried, end) = send(&mut mesh);
    assert!(matches!(end, Some(Outcome::Unreachable { .. } | Outcome::Expired { .. })), "{end:?}");
    assert!(!carried.contains_key(&(0, 2)) && !carried.contains_key(&(2, 3)), "{carried:?}");
}

#[test]
fn copies_to_a_leaf_and_from_a_leaf_go_by_two_routers() {
    let mut mesh = two_last_hops();
    for (from, to) in [(0, "x"), (3, "a")] {
        mesh.carried.clear();
        let send = Send { policy: Some("twice".into()), ..message(to, b"twice", Ack::End, 30) };
        let token = mesh.command(from, Command::Send(send));
        mesh.run(seconds(1));
        assert_eq!(delivered(&mesh, token), Some(2));
        let ends = if from == 0 { [(1, 3), (2, 3)] } else { [(3, 1), (3, 2)] };
        assert!(ends.iter().all(|ends| mesh.carried.contains_key(ends)), "{:?}", mesh.carried);
    }
}
