//! Promises of the medium, tested on a bare connection in virtual time.

use super::connection::{Connection, Muxer};
use super::*;
use crate::plan::{Bearer, Device, Edge, Plan, Waypoint};
use crate::world::executor;
use futures::{AsyncReadExt, AsyncWriteExt};
use futures_timer::virtual_time;
use libp2p::core::Transport;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt};
use std::future::poll_fn;
use std::time::Duration;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns a plan with two devices side by side, and a third and fourth far away, all on one bearer.
fn plan(shape: Shape, channel: Option<u64>) -> Plan {
    let bearer = Bearer { price: 2.0, channel, reach: Some(100.0), ..Bearer::wire("radio") };
    let device = |number: usize, x: f64| Device {
        name: m2mesh::id::Name::new(format!("node-{number}")).expect("a name"),
        group: "node".into(),
        track: vec![Waypoint { at: Duration::ZERO, x, y: 0.0 }],
        schedules: Vec::new(),
        power: [0.0; 2],
        battery: None,
        flush: millis(1),
        processing: Duration::ZERO,
        work: Duration::ZERO,
        start_up: Duration::ZERO,
        start_within: Duration::ZERO,
        target_links: 0,
        forwarding: true,
        area: 0,
        roles: 0,
        post: crate::plan::Post::default(),
        offers: Vec::new(),
    };
    let edge = |a, b| Edge { a, b, bearer: 0, shapes: [shape; 2], known: true };
    Plan {
        name: "pair".into(),
        question: "?".into(),
        seed: 1,
        warmup: Duration::ZERO,
        duration: millis(60_000),
        settle: Duration::ZERO,
        epoch: m2mesh::time::EpochLength::HOUR,
        epochs: 1,
        anonymity: m2mesh::identity::anonymity::Anonymity::Stable,
        start: m2mesh::time::Unix::from_seconds(1_767_600_000),
        layout: plan::Layout::default(),
        bearers: vec![bearer],
        devices: [0.0, 50.0, 1_000.0, 1_050.0].into_iter().enumerate().map(|(n, x)| device(n, x)).collect(),
        edges: vec![edge(0, 1), edge(2, 3), edge(1, 2)],
        policies: Vec::new(),
        flows: Vec::new(),
        faults: Vec::new(),
        expectations: Vec::new(),
    }
}

/// Runs a test on a thread with a clock of its own.
fn apart(test: impl FnOnce() + Send + 'static) {
    let run = move || {
        virtual_time::install(NANOS);
        test();
        executor::clear();
    };
    std::thread::spawn(run).join().expect("the test passes");
}

fn run_until(time: Duration) {
    executor::run_ready();
    while virtual_time::advance(NANOS + time.as_nanos() as u64) {
        executor::run_ready();
    }
}

/// The arrivals at the other end: the time in milliseconds, and the bytes; an empty entry for an end, `None` for a
/// reset.
type Arrived = Arc<Mutex<Vec<(u64, Option<Vec<u8>>)>>>;

/// Writes to a stream over an edge as told; `keep` keeps the writer's end, so that it is not closed.
fn transfer(medium: &Medium, edge: usize, writes: Vec<(Duration, Vec<u8>)>) -> Arrived {
    let connection = Connection::new(medium.clone(), edge, true, [3; 32]);
    let mut here = StreamMuxerBox::new(Muxer::new(connection.clone(), 0));
    let mut there = StreamMuxerBox::new(Muxer::new(connection, 1));
    let arrived = Arrived::default();
    executor::spawn(1, async move {
        let mut stream = poll_fn(|cx| here.poll_outbound_unpin(cx)).await.expect("a stream");
        for (pause, bytes) in writes {
            futures_timer::Delay::new(pause).await;
            if stream.write_all(&bytes).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
        drop((stream, here));
    });
    let seen = arrived.clone();
    executor::spawn(2, async move {
        let mut stream = poll_fn(|cx| there.poll_inbound_unpin(cx)).await.expect("a stream");
        let mut buffer = vec![0; 4_096];
        loop {
            let read = stream.read(&mut buffer).await.ok();
            let at = (now() - NANOS) / 1_000_000;
            seen.lock().expect("no panic").push((at, read.map(|count| buffer[..count].to_vec())));
            if read.is_none_or(|count| count == 0) {
                break;
            }
        }
    });
    arrived
}

fn text(arrived: &Arrived) -> Vec<(u64, Option<String>)> {
    let arrived = arrived.lock().expect("no panic");
    let tell = |(at, bytes): &(u64, Option<Vec<u8>>)| {
        (*at, bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    };
    arrived.iter().map(tell).collect()
}

fn said(at: u64, what: &str) -> (u64, Option<String>) {
    (at, Some(what.to_owned()))
}

fn delay(delay: u64) -> Shape {
    Shape { delay: millis(delay), ..Shape::default() }
}

/// Invariant 1.
#[test]
fn bytes_arrive_after_the_lines_delay_in_order_and_are_counted_and_paid() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let before = medium.trace();
        let arrived = transfer(&medium, 0, vec![(millis(5), b"one ".to_vec()), (millis(0), b"two".to_vec())]);
        run_until(millis(100));
        assert_eq!(text(&arrived), [said(25, "one two")]);
        let Spent { purposes, bearers, cost, .. } = medium.spent();
        assert_eq!(purposes.iter().sum::<u64>(), bearers[0]);
        assert!((cost - bearers[0] as f64 / 1e6 * 2.0).abs() < 1e-12 && cost > 0.0);
        assert_ne!(medium.trace(), before);
    });
}

/// Invariant 2.
#[test]
fn what_is_sent_into_silence_arrives_when_the_edge_is_open_again() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let writes =
            vec![(millis(0), b"one ".to_vec()), (millis(1_000), b"two ".to_vec()), (millis(10), b"three".to_vec())];
        let arrived = transfer(&medium, 0, writes);
        run_until(millis(500));
        medium.cut(0, true, true);
        run_until(millis(3_000));
        assert_eq!(text(&arrived), [said(20, "one ")]);
        medium.cut(0, true, false);
        run_until(millis(20_000));
        // The bytes are sent again 240, 480, 960, 1,920 and 3,840 ms after their loss.
        assert_eq!(text(&arrived), [said(20, "one "), said(4_860, "two three")]);
    });
}

#[test]
fn what_follows_a_loss_has_it_arrive_sooner() {
    // A message a second, followed by another after 10 ms or not. Returns how often it takes longer than 200 ms.
    let late = |followed: bool| {
        let count = Arc::new(Mutex::new(0));
        let told = count.clone();
        apart(move || {
            let medium = Medium::new(&plan(Shape { loss: 200_000, ..delay(20) }, None), &[]);
            let behind = followed.then(|| (millis(10), b"-".to_vec()));
            let second = [(millis(if followed { 990 } else { 1_000 }), b"m".to_vec())];
            let arrived =
                transfer(&medium, 0, (0..200).flat_map(|_| second.iter().cloned().chain(behind.clone())).collect());
            run_until(millis(300_000));
            let arrived = arrived.lock().expect("no panic");
            let of = |wanted: u8| {
                let bytes = arrived.iter().filter_map(|(at, bytes)| Some((*at, bytes.as_ref()?)));
                bytes
                    .flat_map(move |(at, bytes)| bytes.iter().filter(move |byte| **byte == wanted).map(move |_| at))
                    .collect::<Vec<_>>()
            };
            let messages = of(b'm');
            assert_eq!(messages.len(), 200, "all have arrived");
            let begins = |number: u64| if followed { 990 + number * 1_000 } else { 1_000 + number * 1_000 };
            *told.lock().expect("no panic") =
                (0..).zip(&messages).filter(|(number, at)| **at > begins(*number) + 200).count();
        });
        *count.lock().expect("no panic")
    };
    // One of five is lost. If it is followed, it is late only if the message that would reveal the loss is lost too,
    // which happens for one of five of those.
    let [alone, followed] = [false, true].map(late);
    assert!((20..70).contains(&alone) && followed * 2 < alone, "{alone} late alone, {followed} with something behind");
}

/// Invariant 1 of world::medium::processor.
#[test]
fn a_slow_processor_works_on_one_frame_after_the_other() {
    apart(|| {
        let mut plan = plan(delay(20), None);
        plan.devices[1].processing = millis(5);
        let medium = Medium::new(&plan, &[]);
        let head = b"\x13/multistream/1.0.0\n\x12/m2mesh/1/control\n".to_vec();
        let ping = [0, 0, 0, 2, m2mesh::wire::frame::Kind::Ping as u8, 0];
        let writes = vec![
            (millis(0), head),
            (millis(100), ping.to_vec()),
            (millis(0), ping.repeat(3)),
            (millis(1), ping.to_vec()),
        ];
        let arrived = transfer(&medium, 0, writes.clone());
        let beside = transfer(&medium, 0, writes);
        run_until(millis(1_000));
        // The head contains no frame. Then come one and three frames at once, on one stream and on the other, and one
        // more on each.
        let at = |arrived: &Arrived| arrived.lock().expect("no panic").iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!([at(&arrived), at(&beside)], [vec![20, 125, 140, 165], vec![20, 145, 160, 170]]);
    });
}

/// Invariant 1.
#[test]
fn a_closed_edge_resets_its_connections() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let arrived = transfer(&medium, 0, vec![(millis(0), b"one".to_vec()), (millis(1_000), b"two".to_vec())]);
        run_until(millis(500));
        medium.cut(0, false, true);
        run_until(millis(3_000));
        assert_eq!(text(&arrived), [said(20, "one"), (500, None)]);
    });
}

/// Invariant 1 of world::medium::connection.
#[test]
fn a_device_without_power_says_nothing_and_its_peer_hears_when_it_is_back() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let arrived = transfer(&medium, 0, vec![(millis(0), b"one".to_vec())]);
        run_until(millis(500));
        medium.set_dark(0, true);
        executor::drop_owner(1);
        run_until(millis(5_000));
        assert_eq!(text(&arrived), [said(20, "one")]);
        medium.set_dark(0, false);
        run_until(millis(9_000));
        assert_eq!(text(&arrived).last(), Some(&(8_200, None)));
    });
}

#[test]
fn who_shares_a_channel_waits_for_those_within_reach_only() {
    apart(|| {
        // 930 bytes and 70 of headers take a second.
        let medium = Medium::new(&plan(delay(0), Some(8_000)), &[]);
        let first = transfer(&medium, 0, vec![(millis(500), vec![b'x'; 930])]);
        let beside = transfer(&medium, 0, vec![(millis(500), vec![b'y'; 930])]);
        let far = transfer(&medium, 1, vec![(millis(500), vec![b'z'; 930])]);
        run_until(millis(10_000));
        let at = |arrived: &Arrived| arrived.lock().expect("no panic").first().map(|(at, _)| *at);
        assert_eq!((at(&first), at(&beside), at(&far)), (Some(1_500), Some(2_500), Some(1_500)));
    });
}

/// Invariant 2.
#[test]
fn out_of_reach_nothing_arrives_until_they_have_come_near() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let arrived = transfer(&medium, 2, vec![(millis(0), b"hello".to_vec())]);
        run_until(millis(1_000));
        assert_eq!(text(&arrived), []);
        medium.set_places(&[(2, (120.0, 0.0))]);
        run_until(millis(5_000));
        assert_eq!(text(&arrived).len(), 1);
    });
}

/// Invariant 1 of world::medium::stream.
#[test]
fn a_writer_waits_while_the_window_is_full() {
    apart(|| {
        let shape = Shape { delay: millis(100), rate: Some(80_000), ..Shape::default() };
        let medium = Medium::new(&plan(shape, None), &[]);
        let arrived = transfer(&medium, 0, vec![(millis(0), vec![7; 50_000])]);
        run_until(millis(2_000));
        // The rate is 10,000 bytes a second, of which headers take a small part.
        let bytes: usize = arrived.lock().expect("no panic").iter().flat_map(|(_, read)| read).map(Vec::len).sum();
        assert!((15_000..20_000).contains(&bytes), "{bytes} bytes in two seconds");
        let sent = medium.edge_bytes(0).0[0];
        assert!(sent < 26_000, "{sent} bytes were taken, of 50,000");
    });
}

#[test]
fn a_link_that_ends_with_a_former_pseudonym_has_turned_and_is_not_lost() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let [old, new, other] = [(); 3].map(|()| PeerId::random());
        let open = |peer| {
            let mut network = SimTransport::new(medium.clone(), 0, peer);
            let id = libp2p::core::transport::ListenerId::next();
            network.listen_on(id, address(0, 0)).expect("its address");
            network
        };
        let under = |peer| [Some(other), Some(peer)];
        let (first, second) = (open(old), open(new));
        medium.set_standing(0, true, under(old));
        drop(first);
        run_until(millis(1_000));
        medium.set_standing(0, false, under(old));
        let Watch { lost, turned, missing, .. } = medium.watch();
        assert_eq!((lost, turned.links, turned.apart, missing), (0, 1, 1, 1), "the pair beside it is missing still");
        assert!(medium.missing(0).is_some());
        run_until(millis(1_500));
        medium.set_standing(0, true, under(new));
        let Watch { turned, whole_at, .. } = medium.watch();
        assert_eq!((turned.apart, turned.again, turned.longest, whole_at), (0, 1, 500_000_000, None));
        // One that ends beside another takes nothing away, and one that no pseudonym ends with is lost.
        medium.set_standing(0, true, under(old));
        medium.set_standing(0, false, under(old));
        assert_eq!(medium.watch().turned.links, 1);
        medium.set_standing(0, false, under(new));
        assert_eq!((medium.watch().lost, medium.watch().turned.links), (1, 1));
        // What a killed process had open was not left.
        medium.set_gone(0, true);
        drop(second);
        medium.set_gone(0, false);
        medium.set_standing(0, true, under(new));
        medium.set_standing(0, false, under(new));
        assert_eq!((medium.watch().lost, medium.watch().turned.links), (2, 1));
    });
}

#[test]
fn nobody_is_to_link_with_a_revoked_device() {
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        assert_eq!((medium.watch().missing, medium.carries(0), medium.carries(2)), (2, true, false));
        medium.set_revoked(0);
        assert_eq!((medium.watch().missing, medium.missing(0)), (1, None));
    });
}

#[test]
fn a_dial_is_answered_when_the_listeners_process_goes_on() {
    const LISTENER: executor::Owner = 7;
    apart(|| {
        let medium = Medium::new(&plan(delay(20), None), &[]);
        let peer = PeerId::random();
        let mut listener = SimTransport::new(medium.clone(), 1, peer).of(LISTENER);
        let id = libp2p::core::transport::ListenerId::next();
        listener.listen_on(id, address(1, 0)).expect("its address");
        let mut dialer = SimTransport::new(medium, 0, PeerId::random());
        let connected = Arc::new(Mutex::new(Vec::new()));
        let mut dial = || {
            let role = libp2p::core::transport::DialOpts {
                role: libp2p::core::Endpoint::Dialer,
                port_use: libp2p::core::transport::PortUse::New,
            };
            let (dial, seen) = (dialer.dial(address(1, 0), role).expect("an address"), connected.clone());
            executor::spawn(1, async move {
                let stands = dial.await.is_ok();
                seen.lock().expect("no panic").push(((now() - NANOS) / 1_000_000, stands));
            });
        };
        dial();
        run_until(millis(1_000));
        executor::pause(LISTENER);
        dial();
        run_until(millis(5_000));
        assert_eq!(*connected.lock().expect("no panic"), [(100, true)]);
        executor::go_on(LISTENER);
        run_until(millis(6_000));
        // The last two of the five packets.
        assert_eq!(connected.lock().expect("no panic")[1..], [(5_040, true)]);
        drop(listener);
    });
}
