//! Tests of discovery: which address is dialled when, and which are forgotten.

use super::entry::{LONGEST_FULL, SHORTEST_FULL, SHORTEST_HEARSAY};
use super::*;
use crate::link::bearer::{Bearers, Profile, Rule};
use futures::task::noop_waker;

fn at(address: &str) -> Multiaddr {
    address.parse().unwrap()
}

fn port(port: u32) -> Multiaddr {
    at(&format!("/memory/{port}"))
}

fn discovery(bootstrap: &[Multiaddr], target: u32) -> Discovery {
    Discovery::new(bootstrap, &[], target, Arc::new(Sorter::new(Bearers::default())), [1; 32])
}

fn next(discovery: &mut Discovery, links: usize) -> Option<Multiaddr> {
    match discovery.poll(links, &|| None, &mut Context::from_waker(&noop_waker())) {
        Poll::Ready(address) => Some(address),
        Poll::Pending => None,
    }
}

#[test]
fn bootstrap_comes_first_and_without_a_peer_id() {
    let peer = libp2p::PeerId::random();
    let mut discovery = discovery(&[at(&format!("/ip4/10.0.0.1/tcp/1/p2p/{peer}"))], 8);
    assert!(discovery.handle_heard(&at("/ip4/10.0.0.0/tcp/1")));
    assert_eq!(next(&mut discovery, 0), Some(at("/ip4/10.0.0.1/tcp/1")));
    assert_eq!(next(&mut discovery, 0), Some(at("/ip4/10.0.0.0/tcp/1")));
    assert_eq!(next(&mut discovery, 0), None);
}

#[test]
fn beyond_the_target_only_bootstrap_is_dialled() {
    let mut discovery = discovery(&[port(1)], 2);
    assert!(discovery.handle_heard(&port(2)));
    assert_eq!(next(&mut discovery, 2), Some(port(1)));
    assert_eq!(next(&mut discovery, 2), None);
    discovery.handle_linked(&port(1), LinkId(1));
    assert_eq!(next(&mut discovery, 1), Some(port(2)));
}

/// Invariant 3.
#[test]
fn own_and_linked_addresses_are_left_alone() {
    let mut discovery = discovery(&[port(1), port(2)], 8);
    discovery.handle_listening(&port(2));
    assert_eq!(next(&mut discovery, 0), Some(port(1)));
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    discovery.handle_linked(&port(1), LinkId(1));
    assert!(discovery.handle_neighbour(LinkId(1), &port(3)));
    assert!(discovery.handle_heard(&port(3)));
    assert_eq!(next(&mut discovery, 1), None);
}

#[test]
fn a_failed_address_rests_longer_each_time() {
    let mut discovery = discovery(&[port(1)], 8);
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    let mut rests = Vec::new();
    for _ in 0..200 {
        discovery.handle_failed(&port(1), Failure::Usual);
        let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("idle after a failure") };
        rests.push(due.saturating_duration_since(Instant::now()));
    }
    assert!(rests[0] <= SHORTEST && rests[1] <= SHORTEST * 2);
    assert!(rests.iter().all(|rest| *rest <= LONGEST_UNREACHED));
    assert!(rests.iter().any(|rest| *rest > LONGEST));
}

#[test]
fn who_hears_nobody_any_more_dials_again_soon() {
    let mut discovery = discovery(&[port(1)], 8);
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    let rest = |discovery: &Discovery| match discovery.addresses[&port(1)].state {
        State::Idle(due) => due.saturating_duration_since(Instant::now()),
        state => unreachable!("{state:?}"),
    };
    for _ in 0..20 {
        discovery.handle_failed(&port(1), Failure::Usual);
        while rest(&discovery) < Duration::from_secs(3) {
            discovery.handle_failed(&port(1), Failure::Usual);
        }
        discovery.handle_silence(LinkId(1), true);
        assert!(rest(&discovery) <= Duration::from_secs(2));
        discovery.handle_silence(LinkId(1), false);
    }
    // A silent link does not count towards the wanted number of links.
    discovery.handle_link_up(LinkId(2), PeerId::random(), 0);
    discovery.target = 2;
    assert!(discovery.handle_heard(&port(2)));
    discovery.addresses.remove(&port(1));
    assert_eq!(next(&mut discovery, 2), None);
    discovery.handle_silence(LinkId(1), true);
    assert_eq!(next(&mut discovery, 2), Some(port(2)));
}

#[test]
fn where_a_link_was_lost_is_dialled_again_soon_and_ever_less_often() {
    let mut discovery = discovery(&[port(1)], 8);
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    assert_eq!(next(&mut discovery, 1), Some(port(1)));
    let ago = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).expect("so long ago");
    let mut longest_rest = |lasted: u64, gone_for: u64| {
        discovery.handle_link_up(LinkId(2), PeerId::random(), 0);
        discovery.handle_linked(&port(1), LinkId(2));
        let entry = discovery.addresses.get_mut(&port(1)).expect("known");
        entry.state = State::Linked(LinkId(2), ago(lasted));
        discovery.handle_link_down(LinkId(2));
        let entry = discovery.addresses.get_mut(&port(1)).expect("known");
        entry.lost = entry.lost.map(|_| ago(gone_for));
        let rests = (0..200).map(|_| {
            discovery.handle_failed(&port(1), Failure::Usual);
            let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("idle after a failure") };
            due.saturating_duration_since(Instant::now())
        });
        rests.max().unwrap_or_default().as_secs()
    };
    assert_eq!(longest_rest(1, 0), 29, "a link that has not lasted is no loss");
    assert_eq!(longest_rest(60, 0), 1);
    assert!((8..10).contains(&longest_rest(60, 80)));
    assert_eq!(longest_rest(60, 1_000), 29);
}

#[test]
fn a_member_that_is_shunned_is_dialled_at_none_of_its_addresses_until_its_time_is_over() {
    let mut discovery = discovery(&[port(1)], 8);
    let (shunned, other, minute) = (PeerId::random(), PeerId::random(), Duration::from_secs(60));
    assert_eq!(next(&mut discovery, 0), Some(port(1)));
    for (link, peer, of) in [(1, shunned, 2), (2, other, 3)] {
        discovery.handle_link_up(LinkId(link), peer, 0);
        assert!(discovery.handle_neighbour(LinkId(link), &port(of)));
    }
    discovery.handle_linked(&port(1), LinkId(1));
    discovery.shun(shunned, minute);
    [1, 2].into_iter().for_each(|link| discovery.handle_link_down(LinkId(link)));
    // Alone, it would dial all of them within two seconds.
    discovery.hasten();
    let rest = |discovery: &Discovery, of: u32| match discovery.addresses[&port(of)].state {
        State::Idle(due) => due.saturating_duration_since(Instant::now()),
        state => unreachable!("{state:?}"),
    };
    let rests = [1, 2, 3].map(|of| rest(&discovery, of) > minute - Duration::from_secs(10));
    assert_eq!(rests, [true, true, false]);
    discovery.shun(shunned, Duration::ZERO);
    let dialled: BTreeSet<_> = std::iter::from_fn(|| next(&mut discovery, 0)).collect();
    assert!(dialled.contains(&port(1)) && dialled.contains(&port(2)), "{dialled:?}");
}

#[test]
fn a_forgotten_back_off_is_no_rest() {
    let mut discovery = discovery(&[port(1)], 8);
    for _ in 0..20 {
        discovery.handle_failed(&port(1), Failure::Usual);
    }
    assert_eq!(next(&mut discovery, 0), None);
    discovery.forget_backoff();
    assert_eq!(next(&mut discovery, 0), Some(port(1)));
}

/// Invariants 1 and 2.
#[test]
fn dials_and_addresses_are_bounded() {
    let mut discovery = discovery(&[port(0)], 100_000);
    let kept = (1..=MAX_ADDRESSES as u32 + 10).filter(|n| discovery.handle_heard(&port(*n))).count();
    assert_eq!((kept, discovery.addresses.len()), (MAX_ADDRESSES - 1, MAX_ADDRESSES));
    assert!(discovery.addresses.contains_key(&port(0)));
    let dials = std::iter::from_fn(|| next(&mut discovery, 0)).count();
    assert_eq!(dials, MAX_DIALS);
}

#[test]
fn a_hopeless_address_is_forgotten_unless_it_is_bootstrap() {
    let mut discovery = discovery(&[port(1)], 8);
    assert!(discovery.handle_heard(&port(2)));
    for _ in 0..FORGET {
        discovery.handle_failed(&port(1), Failure::Usual);
        discovery.handle_failed(&port(2), Failure::Usual);
    }
    assert_eq!(discovery.addresses.keys().collect::<Vec<_>>(), [&port(1)]);
}

#[test]
fn an_address_on_a_neighbours_word_alone_is_dialled_twice_and_no_more() {
    let mut discovery = discovery(&[], 8);
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    assert!(discovery.handle_told(LinkId(1), &port(1)) && discovery.handle_heard(&port(2)));
    discovery.handle_failed(&port(1), Failure::Usual);
    let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("it rests") };
    let rest = due.duration_since(Instant::now());
    assert!(rest > SHORTEST_HEARSAY / 3 && rest <= SHORTEST_HEARSAY, "whoever starts anew is met: {rest:?}");
    for address in [port(1), port(2), port(2)] {
        discovery.handle_failed(&address, Failure::Usual);
    }
    assert_eq!(discovery.addresses.keys().collect::<Vec<_>>(), [&port(2)]);
    // An address that has led to a member is kept when that member goes, whoever told it.
    assert!(discovery.handle_told(LinkId(1), &port(3)));
    discovery.handle_link_up(LinkId(2), PeerId::random(), 0);
    discovery.handle_linked(&port(3), LinkId(2));
    discovery.handle_link_down(LinkId(2));
    (0..=2 * FORGET).for_each(|_| discovery.handle_failed(&port(3), Failure::Usual));
    assert!(discovery.addresses.contains_key(&port(3)));
    // A neighbour that connected by itself and restarts is dialled where it says that it listens.
    discovery.handle_link_up(LinkId(3), PeerId::random(), 0);
    assert!(discovery.handle_neighbour(LinkId(3), &port(4)));
    discovery.handle_link_down(LinkId(3));
    discovery.handle_failed(&port(4), Failure::Usual);
    assert!(discovery.addresses.contains_key(&port(4)), "once in vain");
    discovery.handle_failed(&port(4), Failure::Usual);
    assert!(!discovery.addresses.contains_key(&port(4)));
    // A member without room is still a member.
    assert!(discovery.handle_told(LinkId(1), &port(5)));
    (1..FORGET).for_each(|_| discovery.handle_failed(&port(5), Failure::Full));
    assert!(discovery.addresses.contains_key(&port(5)));
}

/// Invariant 6.
#[test]
fn where_members_were_met_is_kept_and_known_to_the_next() {
    let mut first = discovery(&[port(1)], 8);
    assert!(first.handle_heard(&port(2)) && first.handle_heard(&port(3)));
    first.handle_link_up(LinkId(1), PeerId::random(), 0);
    assert!(first.handle_linked(&port(2), LinkId(1)), "met for the first time");
    first.handle_link_down(LinkId(1));
    first.handle_link_up(LinkId(2), PeerId::random(), 0);
    assert!(!first.handle_linked(&port(2), LinkId(2)), "met before");
    first.handle_link_down(LinkId(2));
    let met: Vec<Multiaddr> = first.met().cloned().collect();
    assert_eq!(met, [port(2)], "heard of is not met");

    let sorter = || Arc::new(Sorter::new(Bearers::default()));
    let mut second = Discovery::new(&[], &met, 8, sorter(), [1; 32]);
    assert!(second.handle_heard(&port(3)));
    assert_eq!(next(&mut second, 0), Some(port(2)), "before what was only heard of");
    for _ in 0..=2 * FORGET {
        second.handle_failed(&port(2), Failure::Usual);
        second.handle_failed(&port(3), Failure::Usual);
    }
    assert_eq!(second.addresses.keys().collect::<Vec<_>>(), [&port(2)]);
    // Only the latest are kept, however many there were.
    for at in 0..2 * MAX_MET as u32 {
        second.handle_linked(&port(100 + at), LinkId(1));
    }
    assert_eq!(second.met().count(), MAX_MET);
    assert_eq!(second.met().next(), Some(&port(99 + 2 * MAX_MET as u32)));
    let many: Vec<Multiaddr> = (0..2 * MAX_MET as u32).map(port).collect();
    assert_eq!(Discovery::new(&[], &many, 8, sorter(), [1; 32]).met().count(), MAX_MET);
}

#[test]
fn what_is_met_no_more_rests_for_long_but_not_in_solitude() {
    let mut discovery = Discovery::new(&[], &[port(1)], 8, Arc::new(Sorter::new(Bearers::default())), [1; 32]);
    let longest = |discovery: &mut Discovery| {
        let rests = (0..200).map(|_| {
            discovery.handle_failed(&port(1), Failure::Usual);
            match discovery.addresses[&port(1)].state {
                State::Idle(due) => due.saturating_duration_since(Instant::now()),
                state => unreachable!("{state:?}"),
            }
        });
        rests.max().unwrap_or_default()
    };
    assert!(longest(&mut discovery) <= Duration::from_secs(2), "alone");
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    let rest = longest(&mut discovery);
    assert!(rest > LONGEST_UNREACHED && rest <= LONGEST_MET, "{rest:?}");
}

#[test]
fn an_address_that_is_not_the_nodes_own_any_more_may_be_dialled() {
    let mut discovery = discovery(&[], 8);
    discovery.handle_listening(&port(1));
    assert!(discovery.handle_heard(&port(1)));
    assert_eq!(next(&mut discovery, 0), None);
    discovery.handle_not_listening(&port(1));
    assert!(discovery.handle_heard(&port(1)) && discovery.handle_heard(&at("/ip6/fe80::1/tcp/1")));
    assert_eq!(next(&mut discovery, 0), Some(port(1)));
    assert_eq!(next(&mut discovery, 0), None, "a link-local address names no interface");
}

/// Discovery with two bearers, of which the first carries the addresses 10.0.0.0/8.
fn two_bearers() -> Discovery {
    let rule = Rule { addresses: vec!["10.0.0.0/8".parse().expect("a network")], ..Rule::default() };
    let sorter = Sorter::new(Bearers::new([(Profile::default(), rule)]));
    Discovery::new(&[], &[], 1, Arc::new(sorter), [1; 32])
}

#[test]
fn a_neighbour_is_dialled_on_the_bearers_that_lack_a_link() {
    let mut discovery = two_bearers();
    let (peer, link) = (PeerId::random(), LinkId(1));
    let (radio, wire, other) = (at("/ip4/10.0.0.1/tcp/1"), at("/ip4/192.0.2.1/tcp/1"), at("/ip4/192.0.2.1/tcp/2"));
    discovery.handle_link_up(link, peer, 0);
    assert!(discovery.handle_neighbour(link, &radio));
    assert_eq!(next(&mut discovery, 1), None);
    for address in [&wire, &other] {
        assert!(discovery.handle_neighbour(link, address));
    }
    // One of the two at a time, even beyond the target.
    let dialled = next(&mut discovery, 1).expect("an address");
    assert!([&wire, &other].contains(&&dialled));
    assert_eq!(next(&mut discovery, 1), None);
    for _ in 0..=FORGET {
        discovery.handle_failed(&dialled, Failure::Usual);
    }
    assert!(discovery.addresses.contains_key(&dialled), "forgotten");
    discovery.handle_link_up(LinkId(2), peer, 1);
    discovery.forget_backoff();
    assert_eq!(next(&mut discovery, 1), None);
    discovery.handle_link_down(LinkId(2));
    discovery.forget_backoff();
    assert!(next(&mut discovery, 1).is_some());
    // The addresses of a former neighbour are like any others.
    discovery.handle_link_down(link);
    for _ in 0..FORGET {
        discovery.handle_failed(&dialled, Failure::Usual);
    }
    assert!(!discovery.addresses.contains_key(&dialled));
}

/// Invariant 4: the share.
#[test]
fn what_a_neighbour_names_in_vain_costs_its_word() {
    let mut discovery = discovery(&[], 1_000);
    let (liar, honest) = (LinkId(1), LinkId(2));
    discovery.handle_link_up(liar, PeerId::random(), 0);
    discovery.handle_link_up(honest, PeerId::random(), 0);
    let told = |discovery: &mut Discovery, from: u32| {
        (from..from + 1_000).filter(|n| discovery.handle_told(liar, &port(*n))).count()
    };
    let given_up = |discovery: &mut Discovery| {
        let known: Vec<Multiaddr> = discovery.addresses.keys().cloned().collect();
        known.iter().for_each(|address| (0..FORGET).for_each(|_| discovery.handle_failed(address, Failure::Usual)));
    };
    let mut tried = Vec::new();
    for round in 1..6 {
        tried.push(told(&mut discovery, round * 1_000));
        given_up(&mut discovery);
    }
    assert!(tried[0] <= 48 && tried.is_sorted_by(|a, b| a >= b), "{tried:?}");
    assert_eq!(tried[4], 2, "{tried:?}");
    // Other neighbours' shares are untouched, and an address that leads to a member wins a place back.
    assert_eq!((1..=48).filter(|n| discovery.handle_told(honest, &port(*n))).count(), 48);
    assert!(!discovery.handle_told(honest, &port(49)));
    discovery.handle_link_up(LinkId(3), PeerId::random(), 0);
    assert!(discovery.handle_linked(&port(1), LinkId(3)));
    assert!(discovery.handle_told(honest, &port(49)), "a place that is taken no more");
}

/// Invariant 4: what has led to a member.
#[test]
fn an_address_that_led_to_a_neighbour_is_not_given_to_whoever_claims_it() {
    let mut discovery = discovery(&[port(1)], 8);
    let (member, claimant) = (PeerId::random(), PeerId::random());
    discovery.handle_link_up(LinkId(1), member, 0);
    discovery.handle_linked(&port(1), LinkId(1));
    discovery.handle_link_up(LinkId(2), claimant, 0);
    assert!(discovery.handle_neighbour(LinkId(2), &port(1)));
    assert_eq!(discovery.addresses[&port(1)].of, Some(member));
    // Once that member is gone, the claim of another is as good as any.
    discovery.handle_link_down(LinkId(1));
    assert!(discovery.handle_neighbour(LinkId(2), &port(1)));
    assert_eq!(discovery.addresses[&port(1)].of, Some(claimant));
}

#[test]
fn who_has_no_room_is_left_alone_for_longer_and_others_go_first() {
    let mut discovery = discovery(&[port(1)], 8);
    assert_eq!(next(&mut discovery, 0), Some(port(1)));
    let before = Instant::now();
    discovery.handle_failed(&port(1), Failure::Full);
    let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("it rests") };
    assert!(due.duration_since(before) >= SHORTEST_FULL / 2, "although the node is alone");
    assert!(discovery.handle_heard(&port(2)));
    assert_eq!(next(&mut discovery, 0), Some(port(2)));
    for _ in 0..20 {
        discovery.handle_failed(&port(1), Failure::Full);
    }
    let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("it rests") };
    assert!((LONGEST_FULL / 2..=LONGEST_FULL + LASTING).contains(&due.duration_since(before)));
}

#[test]
fn dials_cost_little_money_however_long_they_fail() {
    let profile = Profile { name: "sky".into(), price: 10_000_000, metered: true, ..Profile::default() };
    let sorter = Arc::new(Sorter::new(Bearers::new([(profile, Rule::default())])));
    let mut discovery = Discovery::new(&[port(1)], &[], 8, sorter, [1; 32]);
    let (mut dials, mut passed) = (0, Duration::ZERO);
    while passed < Duration::from_secs(86_400) {
        let before = Instant::now();
        discovery.handle_failed(&port(1), Failure::Usual);
        let State::Idle(due) = discovery.addresses[&port(1)].state else { panic!("it rests") };
        passed += due.duration_since(before);
        dials += 1;
    }
    // 24 hours at two and a half to five dials an hour, and a few that come sooner at first.
    assert!((60..=130).contains(&dials), "{dials} dials a day");
}

#[test]
fn a_neighbour_that_is_silent_after_much_was_sent_is_dialled_over_datagrams() {
    let stream = at("/ip4/10.0.0.1/tcp/7");
    let mut discovery = discovery(std::slice::from_ref(&stream), 1);
    assert_eq!(next(&mut discovery, 0), Some(stream.clone()));
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    discovery.handle_linked(&stream, LinkId(1));
    discovery.handle_stuck(LinkId(1), &stream);
    discovery.handle_stuck(LinkId(1), &stream);
    assert_eq!(next(&mut discovery, 1), Some(at("/ip4/10.0.0.1/udp/7/quic-v1")));
    assert_eq!(next(&mut discovery, 1), None);
    // An announced address is preferred to a guess.
    let announced = at("/ip4/10.0.0.1/udp/9/quic-v1");
    discovery.handle_failed(&at("/ip4/10.0.0.1/udp/7/quic-v1"), Failure::Usual);
    discovery.addresses.remove(&at("/ip4/10.0.0.1/udp/7/quic-v1"));
    assert!(discovery.handle_neighbour(LinkId(1), &announced));
    discovery.handle_stuck(LinkId(1), &stream);
    assert_eq!(next(&mut discovery, 1), Some(announced.clone()));
    discovery.handle_linked(&announced, LinkId(1));
    discovery.handle_stuck(LinkId(1), &announced);
    assert_eq!(next(&mut discovery, 1), None, "there is no other way");
}

/// Invariant 5.
#[test]
fn multicast_dns_drives_out_nobody_and_no_host_takes_all_of_its_share() {
    let mut discovery = discovery(&[], 8);
    discovery.handle_link_up(LinkId(1), PeerId::random(), 0);
    let honest: Vec<Multiaddr> = (0..20).map(|n| at(&format!("/ip4/192.0.2.{n}/tcp/7707"))).collect();
    assert!(honest.iter().all(|address| discovery.handle_told(LinkId(1), address)));
    let one_host = (1..5_000).filter(|n| discovery.handle_multicast(&at(&format!("/ip4/10.0.0.1/tcp/{n}"))));
    assert_eq!(one_host.count(), multicast::HOST_SHARE);
    let made_up = |discovery: &mut Discovery, net: u8| {
        let addresses = (0..5_000).map(|n| at(&format!("/ip4/10.{net}.{}.{}/tcp/7707", n / 250, n % 250)));
        addresses.filter(|address| discovery.handle_multicast(address)).count()
    };
    assert_eq!(made_up(&mut discovery, 1), multicast::SHARE - multicast::HOST_SHARE);
    assert!(honest.iter().all(|address| discovery.addresses.contains_key(address)));
    assert_eq!(discovery.addresses.len(), honest.len() + multicast::SHARE);
    // A late address finds a place as soon as a dial to another has failed.
    let late = at("/ip4/192.0.2.99/tcp/7707");
    assert!(!discovery.handle_multicast(&late));
    discovery.handle_failed(&at("/ip4/10.0.0.1/tcp/1"), Failure::Usual);
    assert!(discovery.handle_multicast(&late));
    assert!(!discovery.addresses.contains_key(&at("/ip4/10.0.0.1/tcp/1")));
    // An address that has led to a member no longer counts.
    discovery.handle_link_up(LinkId(2), PeerId::random(), 0);
    discovery.handle_linked(&late, LinkId(2));
    assert!(discovery.handle_multicast(&at("/ip4/192.0.2.98/tcp/7707")));
}

#[test]
fn nothing_is_dialled_over_a_bearer_outside_of_its_windows() {
    use crate::link::windows::{EVERY_DAY, Window, Windows};
    // The window is from one to two o'clock in the night.
    let windows = Windows::new(Window::new(60, 120, EVERY_DAY));
    let night = Rule { addresses: vec!["10.7.0.0/16".parse().unwrap()], ..Rule::default() };
    let bearers = Bearers::new([(Profile { windows, ..Profile::default() }, night)]);
    let addresses = [at("/ip4/10.7.0.1/tcp/1"), at("/ip4/192.0.2.1/tcp/1")];
    let mut discovery = Discovery::new(&addresses, &[], 8, Arc::new(Sorter::new(bearers)), [1; 32]);
    let mut next = |second: u64| match discovery.poll(0, &|| Some(second), &mut Context::from_waker(&noop_waker())) {
        Poll::Ready(address) => Some(address),
        Poll::Pending => None,
    };
    assert_eq!([next(3_599), next(3_599)], [Some(at("/ip4/192.0.2.1/tcp/1")), None]);
    assert_eq!(next(7_200), None);
    // The clock may be set meanwhile, so no address waits until the next day for it.
    let now = Instant::now();
    let openings = discovery.sorter.openings(&|| Some(7_200), now);
    assert!(openings[0] > now && openings[0] <= now + Duration::from_secs(60) && openings[1] == now);
    discovery.handle_own(&at("/ip4/192.0.2.1/tcp/1"));
    let opened = discovery.poll(0, &|| Some(86_400 + 3_600), &mut Context::from_waker(&noop_waker()));
    assert_eq!(opened, Poll::Ready(at("/ip4/10.7.0.1/tcp/1")));
}
