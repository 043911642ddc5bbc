//! Topology: graphs as pairs of places in a list of devices, the one that dials first.
//!
//! If a graph does not exist, the function returns an error: what is wrong, and what to do next.

use super::draw::Draw;
use std::collections::BTreeSet;

/// Pairs of places.
pub(super) type Pairs = Vec<(usize, usize)>;
/// What is wrong, and what to do next.
pub(super) type Impossible = (String, String);

/// Returns the complete graph.
pub(super) fn full(count: usize) -> Result<Pairs, Impossible> {
    at_least(count, 2, "full mesh")?;
    Ok((0..count).flat_map(|to| (0..to).map(move |from| (from, to))).collect())
}

/// Returns the ring: each is linked with the next, and the last with the first.
pub(super) fn ring(count: usize) -> Result<Pairs, Impossible> {
    at_least(count, 3, "ring")?;
    Ok((0..count).map(|from| (from, (from + 1) % count)).collect())
}

/// Returns the line: each is linked with the next.
pub(super) fn line(count: usize) -> Result<Pairs, Impossible> {
    at_least(count, 2, "line")?;
    Ok((1..count).map(|to| (to - 1, to)).collect())
}

/// Returns rows with this number of columns, or as near to a square as possible; each is linked with the next in its
/// row and column.
pub(super) fn grid(count: usize, columns: Option<usize>) -> Result<Pairs, Impossible> {
    at_least(count, 2, "grid")?;
    let width = columns.unwrap_or_else(|| near_square(count));
    if width == 0 || width > count {
        return Err((
            format!("a grid of {count} devices does not have {width} columns"),
            format!("write 1 to {count}, or leave `columns` out"),
        ));
    }
    let right = (1..count).filter(|at| at % width != 0).map(|at| (at - 1, at));
    Ok(right.chain((width..count).map(|at| (at - width, at))).collect())
}

/// Returns the number of columns of a grid that is as near to a square as possible.
pub(super) fn near_square(count: usize) -> usize {
    (1..).find(|width| width * width >= count).unwrap_or(1)
}

/// Returns the tree in which each is linked with its parent, which has this number of children.
pub(super) fn tree(count: usize, fanout: usize) -> Result<Pairs, Impossible> {
    at_least(count, 2, "tree")?;
    if fanout == 0 {
        return Err(("a tree in which nobody has children".into(), "write a `fanout` of 1 or more".into()));
    }
    Ok((1..count).map(|child| (child, (child - 1) / fanout)).collect())
}

/// Links each that is no hub with this number of the hubs, distributed in turn.
pub(super) fn hub(count: usize, hubs: &BTreeSet<usize>, degree: usize) -> Result<Pairs, Impossible> {
    let centre: Vec<usize> = hubs.iter().copied().collect();
    let spokes = (0..count).filter(|place| !hubs.contains(place));
    if centre.is_empty() || hubs.len() == count {
        return Err((
            "a hub with nobody around it".into(),
            "let `between` name others besides the devices of `hub`".into(),
        ));
    }
    if degree == 0 || degree > centre.len() {
        return Err((
            format!("each device cannot link with {degree} of {} hubs", centre.len()),
            format!("write a `degree` of 1 to {}", centre.len()),
        ));
    }
    let pairs = spokes.enumerate().flat_map(|(turn, spoke)| {
        let centre = &centre;
        (0..degree).map(move |next| (spoke, centre[(turn + next) % centre.len()]))
    });
    Ok(pairs.collect())
}

/// Returns a random regular graph: each has the degree `degree`, and the graph is connected if that is possible.
///
/// It begins with a circulant graph of the degree, over devices in a random order, whose edges are switched in pairs:
/// a–b and c–d become a–d and c–b, ten times as often as there are edges, if that makes no loop and no double edge.
/// Switching keeps every degree, and many switches make the graph nearly uniform among all of that degree.
pub(super) fn random(count: usize, degree: usize, draw: &mut Draw) -> Result<Pairs, Impossible> {
    at_least(count, 2, "random graph")?;
    if degree == 0 || degree >= count {
        return Err((
            format!("in a group of {count} devices none can link with {degree} others"),
            format!("write a `degree` of 1 to {}, or raise the count", count - 1),
        ));
    }
    if !(degree * count).is_multiple_of(2) {
        return Err((
            format!(
                "{count} devices cannot each have {degree} links: every link has two ends, and {count} × {degree} is odd"
            ),
            format!("write a `degree` of {} or {}, or an even count", degree - 1, degree + 1),
        ));
    }
    let mut order: Vec<usize> = (0..count).collect();
    draw.shuffle(&mut order);
    let mut edges: Pairs = Vec::with_capacity(count * degree / 2);
    for at in 0..count {
        edges.extend((1..=degree / 2).map(|step| (at, (at + step) % count)));
        if degree % 2 == 1 && at < count / 2 {
            edges.push((at, at + count / 2));
        }
    }
    for _ in 0..ATTEMPTS {
        switch(&mut edges, draw);
        if degree == 1 || connected(count, &edges) {
            break;
        }
    }
    Ok(edges.into_iter().map(|(from, to)| (order[from], order[to])).collect())
}

fn switch(edges: &mut Pairs, draw: &mut Draw) {
    let ordered = |a: usize, b: usize| (a.min(b), a.max(b));
    let mut present: BTreeSet<(usize, usize)> = edges.iter().map(|(a, b)| ordered(*a, *b)).collect();
    for _ in 0..SWITCHES * edges.len() {
        let (one, other) = (draw.below(edges.len()), draw.below(edges.len()));
        let ((a, b), (c, d)) = (edges[one], edges[other]);
        // The choice of the ends is drawn too, since an edge has no direction here.
        let (c, d) = if draw.below(2) == 0 { (c, d) } else { (d, c) };
        let (first, second) = (ordered(a, d), ordered(c, b));
        if a == d || c == b || first == second || present.contains(&first) || present.contains(&second) {
            continue;
        }
        present.remove(&ordered(a, b));
        present.remove(&ordered(c, d));
        present.extend([first, second]);
        (edges[one], edges[other]) = ((a, d), (c, b));
    }
}

fn connected(count: usize, edges: &Pairs) -> bool {
    let mut near = vec![Vec::new(); count];
    for (a, b) in edges {
        near[*a].push(*b);
        near[*b].push(*a);
    }
    let (mut seen, mut open) = (vec![false; count], vec![0]);
    let mut reached = 0;
    while let Some(at) = open.pop() {
        if !std::mem::replace(&mut seen[at], true) {
            reached += 1;
            open.extend(near[at].iter().filter(|next| !seen[**next]));
        }
    }
    reached == count
}

/// Links those within reach of each other, and pairs of which at least one moves, wherever they are.
pub(super) fn geometric(places: &[[f64; 2]], moves: &[bool], reach: f64) -> Result<Pairs, Impossible> {
    at_least(places.len(), 2, "geometric graph")?;
    let apart = |one: usize, other: usize| (places[one][0] - places[other][0]).hypot(places[one][1] - places[other][1]);
    // From west to east, so that only those within a strip are compared.
    let mut order: Vec<usize> = (0..places.len()).filter(|place| !moves[*place]).collect();
    order.sort_by(|one, other| places[*one][0].total_cmp(&places[*other][0]));
    let (mut pairs, mut nearest) = (Vec::new(), f64::INFINITY);
    for (at, one) in order.iter().enumerate() {
        for other in &order[at + 1..] {
            let east = places[*other][0] - places[*one][0];
            if east > reach && east > nearest {
                break;
            }
            let distance = apart(*one, *other);
            nearest = nearest.min(distance);
            if distance <= reach {
                pairs.push((*one.min(other), *one.max(other)));
            }
        }
    }
    for mobile in (0..places.len()).filter(|place| moves[*place]) {
        let others = (0..places.len()).filter(|other| !moves[*other] || *other > mobile);
        pairs.extend(others.map(|other| (mobile.min(other), mobile.max(other))));
    }
    if pairs.is_empty() {
        return Err((
            format!("no two devices are within reach ({reach} m): the nearest are {nearest:.0} m apart"),
            "raise the bearer's `reach`, or place devices closer with `area` or `spacing`".into(),
        ));
    }
    pairs.sort_unstable();
    Ok(pairs)
}

fn at_least(count: usize, least: usize, graph: &str) -> Result<(), Impossible> {
    if count >= least {
        return Ok(());
    }
    let what = match count {
        1 => format!("there is no {graph} of one device"),
        _ => format!("there is no {graph} of {count} devices"),
    };
    Err((what, format!("a {graph} has at least {least}: raise a `count`, or let `between` name more groups")))
}

/// The number of switches for each edge.
const SWITCHES: usize = 10;
/// The number of times that a graph which is not connected is switched again.
const ATTEMPTS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn draw() -> Draw {
        Draw::new(7, "test", 0)
    }

    #[test]
    fn a_random_graph_is_regular_simple_and_connected() {
        for (count, degree) in [(10, 3), (9, 4), (50, 16), (6, 5), (30, 2), (4, 1)] {
            let pairs = random(count, degree, &mut draw()).expect("there is such a graph");
            let simple: BTreeSet<_> = pairs.iter().map(|(a, b)| (a.min(b), a.max(b))).collect();
            assert_eq!(simple.len(), count * degree / 2, "{count} {degree}");
            assert!(pairs.iter().all(|(a, b)| a != b));
            for place in 0..count {
                assert_eq!(simple.iter().filter(|(a, b)| **a == place || **b == place).count(), degree);
            }
            assert!(degree == 1 || connected(count, &pairs), "{count} {degree}");
        }
        let again = random(50, 16, &mut draw()).expect("there is such a graph");
        assert_eq!(random(50, 16, &mut draw()), Ok(again));
    }

    #[test]
    fn graphs_have_the_edges_that_their_names_say() {
        assert_eq!(full(3), Ok(vec![(0, 1), (0, 2), (1, 2)]));
        assert_eq!(ring(3), Ok(vec![(0, 1), (1, 2), (2, 0)]));
        assert_eq!(line(3), Ok(vec![(0, 1), (1, 2)]));
        assert_eq!(grid(4, None), Ok(vec![(0, 1), (2, 3), (0, 2), (1, 3)]));
        assert_eq!(grid(3, Some(1)), line(3));
        assert_eq!(tree(6, 2), Ok(vec![(1, 0), (2, 0), (3, 1), (4, 1), (5, 2)]));
        assert_eq!(hub(5, &BTreeSet::from([1, 4]), 1), Ok(vec![(0, 1), (2, 4), (3, 1)]));
        assert_eq!(hub(3, &BTreeSet::from([0, 1]), 2), Ok(vec![(2, 0), (2, 1)]));
        let places = [[0.0, 0.0], [300.0, 0.0], [0.0, 90.0], [50.0, 0.0]];
        assert_eq!(geometric(&places, &[false; 4], 100.0), Ok(vec![(0, 2), (0, 3)]));
        let one_moves = [false, true, false, false];
        assert_eq!(geometric(&places, &one_moves, 100.0).map(|pairs| pairs.len()), Ok(5));
    }

    #[test]
    fn what_cannot_be_is_said() {
        for (impossible, part) in [
            (ring(1), "no ring of one device"),
            (grid(1, None), "no grid of one device"),
            (random(5, 3, &mut draw()), "5 × 3 is odd"),
            (random(4, 4, &mut draw()), "none can link with 4 others"),
            (geometric(&[[0.0, 0.0], [120.0, 160.0]], &[false; 2], 100.0), "the nearest are 200 m apart"),
            (hub(2, &BTreeSet::from([0, 1]), 1), "nobody around it"),
        ] {
            let (what, _) = impossible.expect_err(part);
            assert!(what.contains(part), "{what}");
        }
    }
}
