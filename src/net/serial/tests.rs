//! Lines over devices in memory: two ends, or one whose device is not there.

use super::*;
use crate::identity::sign;
use crate::net::Gatekeeper;
use crate::wire::frame::{Kind, raw};
use ed25519_dalek::SigningKey;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::DuplexStream;

/// What every clock here says: Monday, 5 January 1970, noon.
const NOON: u64 = 4 * 86_400 + 43_200;

/// Lets in whoever says this, and is not this process.
struct Realm(&'static [u8], u64);

impl Gatekeeper for Realm {
    type Peer = u64;

    fn hello(&self) -> Vec<u8> {
        [&self.1.to_be_bytes(), self.0].concat()
    }

    fn verify(&self, hello: &[u8], _: &Pseudonym) -> Result<u64, &'static str> {
        let (process, realm) = hello.split_first_chunk().ok_or("malformed")?;
        if realm == self.0 { Ok(u64::from_be_bytes(*process)) } else { Err("realm") }
    }

    fn clock(&self) -> Option<u64> {
        Some(NOON)
    }

    fn bars(&self, process: &u64) -> bool {
        *process == 66
    }

    fn process(&self, peer: Option<&u64>) -> u64 {
        peer.copied().unwrap_or(self.1)
    }
}

/// Devices that are there once each, in this order.
fn devices(devices: Vec<Option<DuplexStream>>) -> (Open, Arc<AtomicUsize>) {
    let (devices, tried) = (Mutex::new(VecDeque::from(devices)), Arc::new(AtomicUsize::new(0)));
    let count = tried.clone();
    let open = move |_: &LineConfig| {
        count.fetch_add(1, Ordering::Relaxed);
        let device = devices.lock().expect("no panic").pop_front().flatten();
        device.map(|device| Box::new(device) as Box<dyn device::Device>).ok_or_else(|| "it is not there".to_owned())
    };
    (Arc::new(open), tried)
}

fn lines(key: u8, realm: &'static [u8], process: u64, open: &Open) -> Lines<Realm> {
    lines_in(key, realm, process, open, Windows::default())
}

fn lines_in(key: u8, realm: &'static [u8], process: u64, open: &Open, windows: Windows) -> Lines<Realm> {
    let config = LineConfig {
        device: "/dev/ttyUSB0".into(),
        baud: 4_000_000,
        mtu: 256,
        flow: Flow::None,
        bearer: 3,
        keep: Duration::from_secs(15),
        windows,
    };
    let executor: Executor = Box::new(|task| drop(tokio::spawn(task)));
    // Another process draws other numbers.
    let drawn = [key * 16 + process as u8; 32];
    let mut lines = Lines::new(vec![config], &executor, drawn, &LinkIds::default(), open);
    let seed = Secret::new([key; 32]);
    lines.enter(sign::public(&SigningKey::from_bytes(&seed)), &seed, &Arc::new(Realm(realm, process)));
    lines
}

/// The next event of either end.
async fn next(ends: &mut [Lines<Realm>; 2]) -> (usize, NetEvent<u64>) {
    poll_fn(|cx| {
        for (at, end) in ends.iter_mut().enumerate() {
            if let Poll::Ready((_, event)) = end.poll(cx) {
                return Poll::Ready((at, event));
            }
        }
        Poll::Pending
    })
    .await
}

/// Both ends come up. Returns their links.
async fn up(ends: &mut [Lines<Realm>; 2]) -> [LinkId; 2] {
    let mut links = [None; 2];
    while let [None, _] | [_, None] = links {
        if let (at, NetEvent::LinkUp { link, address, bearer, .. }) = next(ends).await {
            assert_eq!((device_of(&address).as_deref(), bearer), (Some("/dev/ttyUSB0"), 3));
            assert_eq!(crate::net::transport_of(&address), "serial");
            links[at] = Some(link);
        }
    }
    links.map(|link| link.expect("it is up"))
}

/// Invariant 1.
#[tokio::test]
async fn two_ends_have_links_that_carry_frames_and_go_with_the_device() {
    let ((one, other), (again, and_again)) = (tokio::io::duplex(512), tokio::io::duplex(512));
    let (open, _) = devices(vec![Some(one), Some(again)]);
    let (other_open, tried) = devices(vec![None, Some(other), Some(and_again)]);
    let mut ends = [lines(1, b"ours", 1, &open), lines(2, b"ours", 2, &other_open)];
    assert_eq!(ends[1].states()[0].links, 0);
    let links = up(&mut ends).await;
    assert!(tried.load(Ordering::Relaxed) >= 2, "it is tried again until it is there");
    assert_eq!(ends[0].states()[0].failure, None);

    let frame: OutFrame = raw(Kind::Data, &[7; 60_000]).into();
    ends[0].try_send(links[0], Class::Bulk, &frame).expect("there is room");
    assert_eq!(ends[0].try_send(links[0], Class::Bulk, &frame), Err(SendError::Full));
    assert_eq!(ends[0].try_send(links[0], Class::Alarm, &raw(Kind::Data, b"now").into()), Ok(()));
    assert_eq!(ends[0].try_send(links[0], Class::Alarm, &vec![0, 0, 0, 9].into()), Err(SendError::NotAFrame));
    let (mut got, mut writable) = (Vec::new(), false);
    while got.len() < frame.len() + 9 || !writable {
        match next(&mut ends).await {
            (1, NetEvent::Frames { link, buffer, .. }) if link == links[1] => got.extend_from_slice(&buffer),
            (0, NetEvent::Writable { link }) => writable |= link == links[0],
            (_, NetEvent::LinkDown { reason, .. }) => unreachable!("{reason}"),
            _ => {}
        }
    }
    assert_eq!(got[..9], raw(Kind::Data, b"now"), "the alarm has overtaken it");
    let counters = ends[0].counters(links[0]).expect("it is up");
    assert_eq!((counters.frames_out, counters.bytes_out), (2, got.len() as u64));
    assert_eq!(ends[1].counters(links[1]).map(|counters| counters.frames_in), Some(2));

    // One end gives the device up; both open another.
    ends[0].close(links[0], "to see what follows");
    let mut down = 0;
    while down < 2 {
        if let (at, NetEvent::LinkDown { link, reason }) = next(&mut ends).await {
            assert_eq!(link, links[at]);
            assert_eq!(reason, ["to see what follows", "the other end has closed it"][at]);
            down += 1;
        }
    }
    assert_eq!(ends[0].try_send(links[0], Class::Bulk, &frame), Err(SendError::Gone));
    let links = up(&mut ends).await;
    let left = ends[0].leave(&sign::public(&SigningKey::from_bytes(&[1; 32])));
    assert_eq!(left, [links[0]]);
    assert!(!ends[0].has(links[0]));
}

#[tokio::test]
async fn noise_and_damage_are_counted_and_who_is_not_a_member_is_refused() {
    use tokio::io::AsyncWriteExt;
    let (one, mut middle) = tokio::io::duplex(4_096);
    let (mut also_middle, other) = tokio::io::duplex(4_096);
    let ((open, _), (other_open, _)) = (devices(vec![Some(one)]), devices(vec![Some(other)]));
    middle.write_all(b"Booting...\r\n~ not a frame ~").await.expect("written");
    tokio::spawn(async move { tokio::io::copy_bidirectional(&mut middle, &mut also_middle).await });
    let mut ends = [lines(1, b"ours", 1, &open), lines(2, b"theirs", 2, &other_open)];
    let (mut refused, mut counted) = (0, BTreeMap::new());
    while refused == 0 || !counted.contains_key(&Counter::LineNoise) {
        match next(&mut ends).await {
            (_, NetEvent::Refused { reason, .. }) => refused += u64::from(reason == "realm"),
            (0, NetEvent::Dropped { counter, count }) => *counted.entry(counter).or_insert(0) += count,
            (_, NetEvent::LinkUp { link, .. }) => unreachable!("{link:?}"),
            _ => {}
        }
    }
    assert_eq!(counted[&Counter::LineFramesCorrupt], 1);
    assert_eq!(counted[&Counter::LineNoise], 25);
}

/// Carries octets one way; changes one in every seventh read, and says every ninth twice.
async fn relay(mut from: impl tokio::io::AsyncRead + Unpin, mut to: impl tokio::io::AsyncWrite + Unpin) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = [0; 200];
    for turn in 1_u64.. {
        let Ok(length @ 1..) = from.read(&mut buffer).await else { return };
        if turn.is_multiple_of(7) {
            buffer[length / 2] ^= 1;
        }
        for _ in 0..if turn.is_multiple_of(9) { 2 } else { 1 } {
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn what_a_bad_line_loses_is_sent_again_and_what_it_repeats_is_not_taken() {
    let (one, middle) = tokio::io::duplex(4_096);
    let (also_middle, other) = tokio::io::duplex(4_096);
    let ((open, _), (other_open, _)) = (devices(vec![Some(one)]), devices(vec![Some(other)]));
    let ((from, to), (also_from, also_to)) = (tokio::io::split(middle), tokio::io::split(also_middle));
    tokio::spawn(relay(from, also_to));
    tokio::spawn(relay(also_from, to));
    let mut ends = [lines(1, b"ours", 1, &open), lines(2, b"ours", 2, &other_open)];
    let links = up(&mut ends).await;
    let (mut sent, mut got, mut counted) = (0_u32, 0_u32, BTreeMap::new());
    let due = [Counter::LineFramesResent, Counter::LineFramesStray, Counter::LineFramesCorrupt];
    // Frames are sent until everything has been counted, and then all of them arrive.
    while got < sent || !due.iter().all(|counter| counted.contains_key(counter)) {
        let is_counted = due.iter().all(|counter| counted.contains_key(counter));
        let body = |number: u32| [&number.to_be_bytes()[..], &[7; 100]].concat();
        while !is_counted && ends[0].try_send(links[0], Class::Bulk, &raw(Kind::Data, &body(sent)).into()).is_ok() {
            sent += 1;
        }
        match next(&mut ends).await {
            (1, NetEvent::Frames { buffer, .. }) => {
                for frame in crate::wire::frame::Frames(&buffer) {
                    assert_eq!(frame.expect("a frame").body, body(got), "in order, and once");
                    got += 1;
                }
            }
            (_, NetEvent::Dropped { counter, count }) => *counted.entry(counter).or_insert(0) += count,
            (_, NetEvent::LinkDown { reason, .. }) => unreachable!("{reason}"),
            _ => {}
        }
    }
    assert!(counted.values().all(|count| *count > 0), "{counted:?}");
}

#[tokio::test]
async fn a_node_that_meets_its_twin_or_one_that_it_keeps_apart_from_has_no_link() {
    for (key, process) in [(1, 2), (2, 66)] {
        let (one, other) = tokio::io::duplex(4_096);
        let ((open, _), (other_open, _)) = (devices(vec![Some(one)]), devices(vec![Some(other)]));
        let mut ends = [lines(1, b"ours", 1, &open), lines(key, b"ours", process, &other_open)];
        loop {
            match next(&mut ends).await {
                (_, NetEvent::Twins { link: None, addresses }) if key == 1 => {
                    assert_eq!(addresses.len(), 1);
                    break;
                }
                (0, NetEvent::Cut { count: 1 }) if key == 2 => break,
                (0, NetEvent::LinkUp { link, .. }) => unreachable!("{link:?}"),
                _ => {}
            }
        }
    }
    // A line that leads back to the node that it comes from.
    let own = sign::public(&SigningKey::from_bytes(&[1; 32]));
    let member = Member::new(own, &Secret::new([1; 32]), Arc::new(Realm(b"ours", 1)));
    use crate::link::serial::Guard;
    assert_eq!(member.verify(&member.hello(0), &own), Err(guard::OWN));
}

/// The other end sees what is on the line: nothing while the bearer is closed, and a handshake once it is open.
#[tokio::test]
async fn no_session_is_begun_while_the_bearer_is_closed_and_one_that_is_begun_by_the_other_end_is_answered() {
    use crate::link::windows::{EVERY_DAY, Window};
    use tokio::io::AsyncReadExt;
    let night = Windows::new(Window::new(1_380, 60, EVERY_DAY));
    let day = Windows::new(Window::new(600, 900, EVERY_DAY));
    let (one, mut line) = tokio::io::duplex(4_096);
    let (open, tried) = devices(vec![Some(one)]);
    let closed = lines_in(1, b"ours", 1, &open, night.clone());
    while tried.load(Ordering::Relaxed) == 0 || closed.states()[0].failure.is_some() {
        tokio::task::yield_now().await;
    }
    let mut octets = [0; 64];
    // The device is open, so that the line has been looked at.
    tokio::task::yield_now().await;
    assert!(line.read(&mut octets).now_or_never().is_none(), "nothing has been written");
    // Windows of another bearer change nothing.
    closed.set_windows(9, &day);
    tokio::task::yield_now().await;
    assert!(line.read(&mut octets).now_or_never().is_none());
    closed.set_windows(3, &day);
    assert!(line.read(&mut octets).await.is_ok_and(|length| length > 0), "it begins");

    let ((one, other), also_night) = (tokio::io::duplex(4_096), night);
    let ((open, _), (other_open, _)) = (devices(vec![Some(one)]), devices(vec![Some(other)]));
    let mut ends = [lines_in(1, b"ours", 1, &open, also_night), lines(2, b"ours", 2, &other_open)];
    let links = up(&mut ends).await;
    assert_eq!(ends[0].counters(links[0]).map(|counters| counters.connections), Some(1));
}
