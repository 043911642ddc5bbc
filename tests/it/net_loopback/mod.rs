//! Networks over libp2p's memory transport: links, lanes, back-pressure, refusals, enrolment.
//!
//! Everything runs on one thread; what is still to happen is known exactly, so no test sleeps.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests, and helpers of tests")]

mod memory;

use m2mesh::id::{IssuerId, LinkId, RealmId};
use m2mesh::net::{self, Lane, Multiaddr, NetConfig, NetEvent, Network, SendError, Skew};
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::{Frames, Kind, raw};
use m2mesh::wire::hello::{EnrolHello, EnrolReply};
use memory::{EARLY, LATE, Word, World, transport};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Sends numbered frames as fast as they are taken.
struct Sender {
    link: LinkId,
    kind: Kind,
    next: u32,
    end: u32,
    size: usize,
}

impl Sender {
    fn send(&mut self, network: &Network<Word>) {
        while self.next < self.end {
            let mut body = self.next.to_be_bytes().to_vec();
            body.resize(self.size, 7);
            match network.try_send(self.link, Class::Telemetry, &raw(self.kind, &body).into()) {
                Ok(()) => self.next += 1,
                Err(SendError::Full) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Invariant 2 of wire::frame.
/// Invariant 1 of net::handler.
#[test]
fn ten_thousand_frames_arrive_in_order_on_both_lanes_both_ways() {
    const COUNT: u32 = 10_000;
    let (mut world, links) = World::pair();
    let mut senders: Vec<Vec<Sender>> = links
        .iter()
        .map(|link| {
            [Kind::Announce, Kind::Data].map(|kind| Sender { link: *link, kind, next: 0, end: COUNT, size: 100 })
        })
        .map(Vec::from)
        .collect();
    for (senders, network) in senders.iter_mut().zip(&world.networks) {
        senders.iter_mut().for_each(|sender| sender.send(network));
    }
    let mut next = [[0u32; 2]; 2];
    world.run(|networks, at, event| {
        match event {
            NetEvent::Frames { link, lane, buffer } => {
                assert_eq!(link, links[at]);
                for frame in Frames(&buffer) {
                    let frame = frame.unwrap();
                    let number = u32::from_be_bytes(*frame.body.first_chunk().unwrap());
                    let expected = &mut next[at][lane as usize];
                    assert_eq!(number, *expected);
                    assert_eq!(Kind::from_u8(frame.kind).unwrap().is_control(), lane == Lane::Control);
                    *expected += 1;
                }
            }
            NetEvent::Writable { .. } => senders[at].iter_mut().for_each(|sender| sender.send(&networks[at])),
            NetEvent::LinkDown { reason, .. } => panic!("{reason}"),
            _ => {}
        }
        if next == [[COUNT; 2]; 2] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let counters = world.networks[0].counters(links[0]).unwrap();
    assert_eq!(counters.frames_in, u64::from(2 * COUNT));
    assert_eq!(counters.frames_out, u64::from(2 * COUNT));
    assert!(counters.round_trip.is_some());
}

/// Invariant 3 of net.
#[test]
fn dialling_each_other_makes_one_link() {
    for _ in 0..5 {
        let mut world = World::new();
        let first = world.add("word", &[]);
        let second = world.add("word", std::slice::from_ref(&first));
        world.networks[0].add_addresses([second]);
        let (mut links, mut most) = ([None; 2], [0; 2]);
        world.run(|networks, at, event| {
            match event {
                NetEvent::LinkUp { link, .. } => assert_eq!(links[at].replace(link), None, "a second link"),
                NetEvent::LinkDown { reason, .. } => panic!("the link went down: {reason}"),
                NetEvent::Broken { .. } => panic!("a connection did not end in good order"),
                _ => {}
            }
            let connections = |at: usize| {
                let counters = links[at].and_then(|link| networks[at].counters(link));
                counters.map_or(0, |counters| counters.connections)
            };
            let now = [connections(0), connections(1)];
            most = [most[0].max(now[0]), most[1].max(now[1])];
            if most == [2, 2] && now == [1, 1] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // What is left carries frames.
        let link = links[0].unwrap();
        world.networks[0].try_send(link, Class::Alarm, &raw(Kind::Data, b"x").into()).unwrap();
        world.run(|_, at, event| match event {
            NetEvent::Frames { .. } if at == 1 => ControlFlow::Break(()),
            NetEvent::Broken { .. } => panic!("a connection did not end in good order"),
            _ => ControlFlow::Continue(()),
        });
    }
}

/// Invariant 2 of net.
/// Invariant 2 of net::handler.
#[test]
fn a_receiver_that_does_not_read_holds_the_sender_back() {
    const SIZE: usize = 32 * 1024;
    const COUNT: u32 = 4_000;
    let (mut world, links) = World::pair();
    world.networks[1].set_reading(false);
    let mut sender = Sender { link: links[0], kind: Kind::Data, next: 0, end: COUNT, size: SIZE };
    sender.send(&world.networks[0]);
    world.run_until_stalled(|networks, at, event| match event {
        NetEvent::Writable { .. } if at == 0 => sender.send(&networks[0]),
        NetEvent::Frames { .. } => panic!("frames although nobody reads"),
        NetEvent::LinkDown { reason, .. } => panic!("{reason}"),
        _ => {}
    });
    // It may have been told of half an outbox.
    sender.send(&world.networks[0]);
    let held = sender.next as usize * SIZE;
    assert!(held < 8 * 1024 * 1024, "{held} bytes are on their way to a receiver that does not read");
    assert_eq!(
        world.networks[0].try_send(links[0], Class::Telemetry, &raw(Kind::Data, &[0; SIZE]).into()),
        Err(SendError::Full)
    );
    // Another class still has space.
    assert_eq!(world.networks[0].try_send(links[0], Class::Alarm, &raw(Kind::Custody, b"").into()), Ok(()));

    world.networks[1].set_reading(true);
    let (mut next, mut alarms) = (0, 0);
    world.run(|networks, at, event| {
        match event {
            NetEvent::Writable { .. } if at == 0 => sender.send(&networks[0]),
            NetEvent::Frames { buffer, .. } => {
                for frame in Frames(&buffer).map(Result::unwrap) {
                    if frame.kind == Kind::Custody as u8 {
                        alarms += 1;
                        continue;
                    }
                    assert_eq!(frame.body[..4], u32::to_be_bytes(next));
                    next += 1;
                }
            }
            _ => {}
        }
        if next == COUNT { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(alarms, 1);
}

/// Invariant 1 of net.
/// Invariants 1 and 3 of net::admission.
#[test]
fn a_stranger_gets_no_link_and_is_counted() {
    let mut world = World::new();
    let address = world.add("word", &[]);
    world.add("another word", std::slice::from_ref(&address));
    world.add("word", &[address]);
    let (mut refused, mut up) = ([false; 3], [false; 3]);
    world.run(|_, at, event| {
        match event {
            NetEvent::Refused { reason: "realm", .. } if at == 0 => refused[0] = true,
            NetEvent::Refused { reason: "peer-refused", .. } if at == 1 => refused[1] = true,
            NetEvent::LinkUp { .. } => up[at] = true,
            NetEvent::Refused { reason, .. } => panic!("{reason} at {at}"),
            _ => {}
        }
        assert!(!up[1], "a link with a stranger");
        let done = refused[0] && refused[1] && up[0] && up[2];
        if done { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(world.networks[1].links().count(), 0);
}

/// Whoever dials, whichever clock is wrong, and whoever notices.
#[test]
fn both_ends_learn_that_nothing_but_their_clocks_keeps_them_apart() {
    for (listener, dialer, expected) in [
        ("word", "late", ["not-yet-valid", "peer-clock"]),
        ("late", "word", ["expired", "peer-clock"]),
        ("lenient", "word", ["peer-clock", "not-yet-valid"]),
    ] {
        let mut world = World::new();
        let address = world.add(listener, &[]);
        world.add(dialer, std::slice::from_ref(&address));
        let mut told = [None; 2];
        let mut reasons = [None; 2];
        world.run(|_, at, event| {
            match event {
                NetEvent::Skewed { skew, .. } => told[at] = Some(skew),
                NetEvent::Refused { reason, .. } => reasons[at] = reasons[at].or(Some(reason)),
                NetEvent::LinkUp { .. } => panic!("a link at {at}"),
                _ => {}
            }
            let all = told.iter().all(Option::is_some) && reasons.iter().all(Option::is_some);
            if all { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let seen = |word| match word {
            "word" => Some(Skew { theirs: LATE, ours: EARLY }),
            _ => Some(Skew { theirs: EARLY, ours: LATE }),
        };
        assert_eq!(told, [seen(listener), seen(dialer)], "{listener} and {dialer}");
        assert_eq!(reasons, expected.map(Some), "{listener} and {dialer}");
    }
}

/// Invariant 2 of net::links.
#[test]
fn who_does_not_know_the_time_is_told_it_and_let_in_on_the_same_connection() {
    for (listener, dialer) in [("word", "lost"), ("lost", "word")] {
        let mut world = World::new();
        let address = world.add(listener, &[]);
        world.add(dialer, std::slice::from_ref(&address));
        let (mut up, mut told) = ([false; 2], [None; 2]);
        world.run(|_, at, event| {
            match event {
                NetEvent::Skewed { skew, .. } => told[at] = Some(skew),
                NetEvent::Refused { reason, .. } => panic!("{reason} at {at}"),
                NetEvent::LinkUp { .. } => up[at] = true,
                _ => {}
            }
            if up == [true; 2] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // The listener knows what the other's clock says; a dialer asks nobody that it could tell.
        let expected = (listener == "word").then_some(Skew { theirs: LATE, ours: EARLY });
        assert_eq!(told[0], expected);
    }
}

#[test]
fn closing_a_link_tells_why_and_the_bootstrap_is_dialled_again() {
    let (mut world, links) = World::pair();
    world.networks[1].close(links[1], "tired");
    assert_eq!(world.networks[1].try_send(links[1], Class::Alarm, &raw(Kind::Data, b"").into()), Err(SendError::Gone));
    let mut reason = None;
    let mut again = [false; 2];
    world.run(|_, at, event| {
        match event {
            NetEvent::LinkDown { link, reason: why } if at == 1 => {
                assert_eq!(link, links[1]);
                reason = Some(why);
            }
            NetEvent::LinkUp { link, .. } => {
                assert_ne!(link, links[at], "a number was used twice");
                again[at] = true;
            }
            _ => {}
        }
        if again == [true; 2] { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(reason.as_deref(), Some("tired"));
}

#[test]
fn what_is_not_one_frame_is_not_taken() {
    let (world, links) = World::pair();
    let two = [raw(Kind::Data, b"a"), raw(Kind::Data, b"b")].concat();
    let sent = |frame: &[u8]| world.networks[0].try_send(links[0], Class::Bulk, &frame.to_vec().into());
    assert_eq!(sent(&two), Err(SendError::NotAFrame));
    assert_eq!(sent(&two[..3]), Err(SendError::NotAFrame));
    assert_eq!(sent(&[0, 0, 0, 1, 64]), Err(SendError::NotAFrame));
    assert_eq!(sent(&raw(Kind::Data, b"a")), Ok(()));
}

#[test]
fn a_quiet_link_is_kept_by_pings_and_a_dead_one_closed() {
    let quick = |bootstrap: &[Multiaddr]| NetConfig {
        bootstrap: bootstrap.to_vec(),
        ping_after: Duration::from_millis(300),
        dead_after: Duration::from_secs(3),
        ..NetConfig::default()
    };
    let mut world = World::new();
    let address = world.add_with("word", quick(&[]));
    world.add_with("word", quick(&[address]));
    let mut links = 0;
    world.run(|_, _, event| {
        links += u32::from(matches!(event, NetEvent::LinkUp { .. }));
        if links == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    // Longer than a dead link would last, and nothing but pings keeps it.
    let over = world.run_beside(futures_timer::Delay::new(Duration::from_secs(4)), |_, _, event| match event {
        NetEvent::LinkDown { reason, .. } => panic!("a living link was closed: {reason}"),
        _ => ControlFlow::Continue(()),
    });
    assert_eq!(over, Some(()));

    // Now the second one's connection stands still.
    world.frozen[1].store(true, Relaxed);
    world.run(|_, at, event| match event {
        NetEvent::LinkDown { reason, .. } if at == 0 => {
            assert_eq!(reason, "silent for too long");
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
}

/// Invariant 1 of net::admission.
#[test]
fn an_enrolling_device_gets_its_answer_and_no_connection() {
    let mut world = World::new();
    let address = world.add("word", &[]);
    let hello = EnrolHello { realm: RealmId([1; 32]), issuer: IssuerId([2; 8]), sealed: vec![3; 10_000] };
    let (transport, _) = transport([0xee; 32]);
    let mut sealed = vec![9; 300_000];
    let client = net::enrol(transport, address, &hello, Duration::from_secs(20));
    let reply = world.run_beside(client, |_, _, event| {
        match event {
            NetEvent::Enrol { hello: said, respond } => {
                assert_eq!(said, hello);
                let reply = EnrolReply { sealed: Some(std::mem::take(&mut sealed)), refused: None };
                respond.send(reply).unwrap();
            }
            NetEvent::LinkUp { .. } => panic!("an enrolling device got a link"),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let reply = reply.unwrap().unwrap();
    assert_eq!(reply.sealed.map(|sealed| sealed.len()), Some(300_000));
}
