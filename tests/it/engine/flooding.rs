//! Link state gets everywhere, quickly, and little of it more than once.

use super::mesh::Mesh;
use m2mesh::engine::api::{Command, Reply};
use m2mesh::wire::frame::Kind;
use m2mesh::wire::lsa::{Lsa, LsaDigest};
use m2mesh::wire::{self, Signed};
use std::collections::BTreeSet;
use std::time::Duration;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SIDE: usize = 5;
const LINKS: usize = 2 * 2 * SIDE * (SIDE - 1);

/// Five by five.
fn grid() -> Mesh {
    let names: Vec<String> = (0..SIDE * SIDE).map(|at| format!("n{at}")).collect();
    let mut mesh = Mesh::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for at in 0..SIDE * SIDE {
        if at % SIDE + 1 < SIDE {
            mesh.connect(at, at + 1);
        }
        if at + SIDE < SIDE * SIDE {
            mesh.connect(at, at + SIDE);
        }
    }
    mesh
}

/// What a node knows of the area's links, each in both directions.
fn links(mesh: &mut Mesh, at: usize) -> usize {
    let token = mesh.command(at, Command::Routes);
    match mesh.reply(at, token) {
        Some(Reply::Routes(view)) => view.links,
        other => unreachable!("{other:?}"),
    }
}

/// How many nodes know of so many links.
fn knowing(mesh: &mut Mesh, wanted: usize) -> usize {
    (0..mesh.nodes.len()).filter(|at| links(mesh, *at) == wanted).count()
}

/// What nodes have sent since the last look: LSAs, how many different ones, and names of LSAs.
fn sent(mesh: &mut Mesh) -> (usize, usize, usize) {
    let frames: Vec<Vec<u8>> = mesh.nodes.iter_mut().flat_map(|node| std::mem::take(&mut node.sent)).collect();
    let of = |kind: Kind| frames.iter().filter(move |frame| frame[4] == kind as u8).map(|frame| &frame[6..]);
    let name = |bytes: &[u8]| {
        let signed: Signed<'_> = wire::decode(bytes).expect("signed");
        let lsa: Lsa = wire::decode(signed.body).expect("link state");
        (lsa.origin, lsa.sequence)
    };
    let names = |bytes: &[u8]| {
        let digest: LsaDigest = wire::decode(bytes).expect("a digest");
        digest.entries.map_or(0, |entries| entries.len())
    };
    let different: BTreeSet<_> = of(Kind::Lsa).map(name).collect();
    (of(Kind::Lsa).count(), different.len(), of(Kind::LsaDigest).map(names).sum())
}

/// Invariant 2 of engine::routing::link_state.
#[test]
fn an_lsa_reaches_each_router_about_once() {
    let mut mesh = grid();
    mesh.run(ms(3_000));
    assert_eq!(knowing(&mut mesh, LINKS), SIDE * SIDE);
    let (at_start, ..) = sent(&mut mesh);
    let others = SIDE * SIDE - 1;
    assert!(at_start <= 3 * SIDE * SIDE * others, "{at_start}");
    // Four routers tell something else.
    mesh.assess(0, 1, 7, ms(1));
    mesh.assess(12, 13, 7, ms(1));
    mesh.run(ms(2_000));
    let (frames, lsas, names) = sent(&mut mesh);
    assert!(lsas >= 4 && frames >= lsas * others, "{frames} of {lsas} LSAs");
    assert!(frames <= lsas * others * 11 / 10, "{frames} of {lsas} LSAs");
    // Its name crosses each link about once, though every router tells it.
    assert!(names <= lsas * LINKS / 2 * 13 / 10, "{names} names of {lsas} LSAs");
}

#[test]
fn that_a_link_is_gone_waits_for_nobody() {
    let mut mesh = grid();
    mesh.run(ms(20_000));
    mesh.disconnect(0, 1);
    // A millisecond a hop.
    mesh.run(ms(9));
    assert_eq!(knowing(&mut mesh, LINKS - 2), SIDE * SIDE);
}

#[test]
fn who_has_one_neighbour_is_not_asked_whether_it_wants_it() {
    let mut mesh = Mesh::new(&["hub", "b", "c", "d"]);
    (1..4).for_each(|spoke| mesh.connect(0, spoke));
    mesh.run(ms(20_000));
    sent(&mut mesh);
    mesh.connect(1, 2);
    mesh.run(ms(2_000));
    mesh.disconnect(1, 2);
    mesh.run(ms(20_000));
    sent(&mut mesh);
    mesh.assess(0, 3, 7, ms(1));
    mesh.run(ms(2_000));
    let (frames, lsas, names) = sent(&mut mesh);
    assert_eq!((frames, names), (3 * lsas, 0));
    assert!(lsas >= 2, "{lsas}");
}

#[test]
fn what_one_neighbour_does_not_give_the_next_is_asked_for() {
    for deaf in [1, 2] {
        let mut mesh = Mesh::new(&["a", "b", "c", "d", "e"]);
        for (one, other) in [(0, 1), (0, 2), (1, 3), (2, 3)] {
            mesh.connect(one, other);
        }
        mesh.run(ms(20_000));
        assert_eq!(links(&mut mesh, 0), 8);
        // a hears from it that there is news, and asks in vain.
        mesh.vanish.insert((0, deaf));
        mesh.connect(3, 4);
        mesh.run(ms(1_000));
        mesh.run(ms(2_500));
        assert_eq!(links(&mut mesh, 0), 10, "while {deaf} is deaf");
    }
}
