//! Several areas, joined over many borders: a device beyond the area next door is found, and messages reach it.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::Settings;
use m2mesh::engine::api::{Outcome, Token};
use m2mesh::wire::batch::Ack;
use std::time::Duration;

/// Routers of each area: a square.
const SIDE: usize = 4;
const AREA: usize = SIDE * SIDE;

/// Areas in rows and columns, each a grid of routers that are linked to the nearest, and to every other one of those
/// diagonally below.
fn areas(columns: usize, rows: usize) -> (Mesh, Vec<String>) {
    let (width, height) = (columns * SIDE, rows * SIDE);
    // Area by area: so whoever is of the same one stands together.
    let at = |x: usize, y: usize| (y / SIDE * columns + x / SIDE) * AREA + y % SIDE * SIDE + x % SIDE;
    let names: Vec<String> = (0..width * height).map(|at| format!("n-{}-{}", at / AREA, at % AREA)).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let area = |at: usize| u32::try_from(at / AREA).expect("few");
    let mut mesh = Mesh::with(&all, |at| Settings { area: area(at), ..Settings::default() });
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let mut near = vec![(x + 1, y), (x, y + 1)];
        near.extend(((x + y) % 2 == 0).then_some((x + 1, y + 1)));
        for (right, below) in near.into_iter().filter(|(right, below)| *right < width && *below < height) {
            mesh.connect(at(x, y), at(right, below));
        }
    }
    mesh.run(Duration::from_secs(15));
    (mesh, names)
}

/// Routers of one area write to those of another, each to one, a little after each other: questions overtake answers.
fn pairs(from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..AREA).map(move |at| (from * AREA + at, to * AREA + at * 7 % AREA))
}

fn assert_all_arrive(mesh: &mut Mesh, names: &[String], pairs: &[(usize, usize)]) {
    let mut sent: Vec<(Token, &str, &str)> = Vec::new();
    for (turn, (from, to)) in pairs.iter().enumerate() {
        let token = mesh.send(*from, &names[*to], b"across", Ack::End, 20);
        sent.push((token, &names[*from], &names[*to]));
        mesh.run(Duration::from_millis(turn as u64 * 37 % 11));
    }
    mesh.run(Duration::from_secs(25));
    sent.retain(|(token, ..)| !matches!(mesh.ended.get(token), Some(Outcome::Delivered { .. })));
    assert_eq!(sent, [], "{} of {} did not arrive", sent.len(), pairs.len());
}

/// Invariant 1 of engine::routing::locate.
#[test]
fn messages_cross_the_area_between_whoever_has_asked_what_before() {
    let (mut mesh, names) = areas(2, 2);
    let pairs: Vec<_> = [(0, 3), (1, 2), (2, 1)].into_iter().flat_map(|(from, to)| pairs(from, to)).collect();
    for _ in 0..2 {
        assert_all_arrive(&mut mesh, &names, &pairs);
    }
    // Nobody was asked to hand on what leads back, and nobody waited for a second try.
    let counted = |counter| (0..names.len()).map(|at| mesh.counted(at, counter)).sum::<u64>();
    assert_eq!((counted(Counter::DataWithoutWay), counted(Counter::DataLooped)), (0, 0));
}

#[test]
fn messages_cross_a_row_of_areas_both_ways() {
    let (mut mesh, names) = areas(5, 1);
    let pairs: Vec<_> = [(0, 4), (4, 0), (2, 0)].into_iter().flat_map(|(from, to)| pairs(from, to)).collect();
    assert_all_arrive(&mut mesh, &names, &pairs);
}
