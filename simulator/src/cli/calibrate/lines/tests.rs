//! Tests of paths between namespaces, with packets made here.

use super::path::{End, Manner, Path};
use super::place::Namespace;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Returns two namespaces with a path between them, or prints a clear notice and returns `None` if they cannot be made.
fn joined(number: usize, manner: Manner, loss: u32) -> Option<([Namespace; 2], Path)> {
    let made = || -> Result<([Namespace; 2], Path), String> {
        let namespaces = [Namespace::new(number)?, Namespace::new(number + 1)?];
        let end = |at: usize| End { namespace: namespaces[at].name().to_owned(), device: "path".to_owned() };
        let path = Path::between([end(0), end(1)], manner).map_err(|error| format!("TUN devices: {error}"))?;
        namespaces[0].set_up("path", "10.9.0.1/30", Some(50_000_000), 0)?;
        namespaces[1].set_up("path", "10.9.0.2/30", None, loss)?;
        Ok((namespaces, path))
    };
    match made() {
        Ok(joined) => Some(joined),
        Err(reason) => {
            let required = std::env::var("M2MESH_NAMESPACES").is_ok_and(|wanted| wanted == "required");
            assert!(!required, "network namespaces are required here, and cannot be made: {reason}");
            eprintln!("SKIPPED: this test needs network namespaces, which cannot be made here: {reason}");
            None
        }
    }
}

/// Opens a socket in a namespace.
fn socket(namespace: &Namespace, address: &str) -> UdpSocket {
    let open = || -> io::Result<UdpSocket> {
        let file = File::open(std::path::Path::new("/run/netns").join(namespace.name()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
        UdpSocket::bind(address)
    };
    // The namespace that a thread has entered is its own.
    std::thread::scope(|scope| scope.spawn(open).join()).expect("no panic").expect("a socket in the namespace")
}

/// Sends packets with these numbers, and then several that mark the end.
fn send(socket: &UdpSocket, numbers: std::ops::Range<u16>, over: usize) {
    for number in numbers.chain(std::iter::repeat_n(OVER, over)) {
        socket.send_to(&number.to_be_bytes(), "10.9.0.2:5000").expect("sent");
        // Slowly enough for the device's queue, so that no packet is lost because of the speed.
        std::thread::park_timeout(Duration::from_micros(100));
    }
}

/// Returns the packets that have arrived until the end.
fn received(socket: &UdpSocket) -> Vec<u16> {
    let mut all = Vec::new();
    loop {
        let mut packet = [0; 2];
        socket.recv_from(&mut packet).expect("received");
        match u16::from_be_bytes(packet) {
            OVER => return all,
            number => all.push(number),
        }
    }
}

#[test]
fn a_path_delays_packets_keeps_their_order_and_loses_its_share() {
    let delay = Duration::from_millis(30);
    let manner = Manner { delay, jitter: delay / 3, seed: 1 };
    let Some((namespaces, _path)) = joined(900, manner, 200_000) else { return };
    let sockets = [socket(&namespaces[0], "10.9.0.1:5000"), socket(&namespaces[1], "10.9.0.2:5000")];
    let began = Instant::now();
    let arrived = std::thread::scope(|scope| {
        scope.spawn(|| send(&sockets[0], 0..2_000, 100));
        received(&sockets[1])
    });
    assert!(began.elapsed() >= delay - manner.jitter, "it arrived before it could");
    assert!(arrived.is_sorted(), "one overtook another");
    // 1,600 are expected; the bound is seven standard deviations.
    assert!(arrived.len().abs_diff(1_600) < 126, "{} of 2,000 arrived", arrived.len());
}

#[test]
fn a_cut_path_carries_nothing_until_it_is_whole() {
    let manner = Manner { delay: Duration::from_millis(1), jitter: Duration::ZERO, seed: 1 };
    let Some((namespaces, path)) = joined(910, manner, 0) else { return };
    let sockets = [socket(&namespaces[0], "10.9.0.1:5000"), socket(&namespaces[1], "10.9.0.2:5000")];
    send(&sockets[0], 0..10, 1);
    assert_eq!(received(&sockets[1]), (0..10).collect::<Vec<_>>());
    path.cut(true);
    send(&sockets[0], 10..20, 1);
    while path.thrown() < 11 {
        std::thread::yield_now();
    }
    path.cut(false);
    send(&sockets[0], 20..30, 1);
    assert_eq!(received(&sockets[1]), (20..30).collect::<Vec<_>>());
}

/// The number that marks the end.
const OVER: u16 = u16::MAX;
