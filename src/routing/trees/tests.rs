//! Kept trees compared with searches without them, over graphs that change.

use super::*;
use crate::routing::graph::Metrics;
use crate::routing::search::search;
use crate::wire::data::Policy;
use proptest::prelude::*;

/// From, to, bearer; price, delay.
type Row = ((u8, u8, u8), (u64, u32));

const NODES: u8 = 14;

fn node(n: u8) -> Pseudonym {
    Pseudonym([n; 32])
}

fn graph(gone: &BTreeSet<u8>, rows: &BTreeMap<(u8, u8, u8), (u64, u32)>) -> Graph {
    let edges = rows.iter().map(|(&(from, to, bearer), &(price, delay))| {
        let metrics = Metrics { price, delay, success: u16::MAX, ..Metrics::default() };
        (node(from), node(to), bearer, metrics)
    });
    Graph::new((0..NODES).filter(|at| !gone.contains(at)).map(node), edges)
}

fn any_row() -> impl Strategy<Value = Row> {
    ((0..NODES, 0..NODES, 0..2u8), (0..4u64, 0..4u32))
}

/// One change: an edge that is set or removed, a node that is removed or comes back, a doubt, a shunned pair.
#[derive(Clone, Debug)]
enum Step {
    Set(Row),
    Gone((u8, u8, u8)),
    Toggle(u8),
    Doubt(u32, u32, u16),
    Shun(u32, u32),
}

fn any_step() -> impl Strategy<Value = Step> {
    let end = 0..u32::from(NODES);
    prop_oneof![
        6 => any_row().prop_map(Step::Set),
        3 => any_row().prop_map(|row| Step::Gone(row.0)),
        1 => (1..NODES).prop_map(Step::Toggle),
        1 => (end.clone(), end.clone(), any::<u16>()).prop_map(|(from, to, factor)| Step::Doubt(from, to, factor)),
        1 => (end.clone(), end).prop_map(|(from, to)| Step::Shun(from, to)),
    ]
}

fn wants(weights: [u8; 4], time: Option<u64>) -> Wants {
    Wants { policy: Policy { weights, ..Policy::default() }, time, bytes: 1_000_000 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 1.
    #[test]
    fn over_every_change_trees_answer_as_a_search_does(
        rows in prop::collection::vec(any_row(), 20..60),
        changes in prop::collection::vec(prop::collection::vec(any_step(), 0..3), 1..8),
        time in prop::option::of(0..12u64),
        excluded in prop::option::weighted(0.3, 1..u32::from(NODES)),
    ) {
        let (mut trees, mut rows) = (SptCache::default(), rows.into_iter().collect::<BTreeMap<_, _>>());
        let (mut gone, mut overlay) = (BTreeSet::new(), Overlay::default());
        for (generation, steps) in (0..).zip(changes) {
            for step in steps {
                match step {
                    Step::Set((edge, worth)) => _ = rows.insert(edge, worth),
                    Step::Gone(edge) => _ = rows.remove(&edge),
                    Step::Toggle(at) => if !gone.remove(&at) { gone.insert(at); },
                    Step::Doubt(from, to, factor) => _ = overlay.doubts.insert((from, to), factor),
                    Step::Shun(from, to) => _ = overlay.shunned.insert((from, to)),
                }
            }
            let graph = graph(&gone, &rows);
            let last = NodeIndex::try_from(graph.len()).expect("few") - 1;
            for weights in [[1, 0, 0, 0], [0, 1, 0, 0], [1, 2, 1, 0]] {
                for to in [vec![last], vec![last / 2, 1], vec![last / 3]] {
                    let mut overlay = overlay.clone();
                    overlay.excluded.extend(excluded);
                    let wants = wants(weights, time);
                    let kept = trees.search(&graph, generation, 0, &to, &wants, &overlay);
                    prop_assert_eq!(kept, search(&graph, 0, &to, &wants, &overlay));
                }
            }
        }
    }

    #[test]
    fn a_repaired_tree_is_the_tree_that_would_have_been_grown(
        before in prop::collection::vec(any_row(), 20..60),
        steps in prop::collection::vec(any_step(), 1..4),
    ) {
        let mut rows: BTreeMap<_, _> = before.into_iter().collect();
        let (mut gone, wants, overlay) = (BTreeSet::new(), wants([1, 1, 0, 0], None), Overlay::default());
        let old = graph(&gone, &rows);
        for step in steps {
            match step {
                Step::Set((edge, worth)) => _ = rows.insert(edge, worth),
                Step::Gone(edge) => _ = rows.remove(&edge),
                Step::Toggle(at) => _ = gone.insert(at),
                Step::Doubt(..) | Step::Shun(..) => {}
            }
        }
        let new = graph(&gone, &rows);
        let objective = |graph: &Graph| Objective::new(graph, Query::new(graph, 0, &[], &wants, &overlay).view(true));
        let grown = |graph: &Graph, objective: &Objective| From::all(graph, &objective.steps, 0).reach;
        let (old_objective, new_objective) = (objective(&old), objective(&new));
        let tree = grown(&old, &old_objective);
        if let Some(reach) = repair::repaired(&Shape::of(&old), &old_objective.steps, &tree, &new, &new_objective.steps) {
            prop_assert_eq!(reach, grown(&new, &new_objective));
        }
    }
}

/// Invariant 2.
#[test]
fn a_tree_is_walked_repaired_and_dropped_when_others_are_asked_for() {
    let rows: BTreeMap<_, _> = (0..NODES - 1).map(|at| ((at, at + 1, 0), (1, 1))).collect();
    let (mut trees, overlay, line) = (SptCache::default(), Overlay::default(), graph(&BTreeSet::new(), &rows));
    let mut ask = |graph: &Graph, generation, weights| {
        let found = trees.search(graph, generation, 0, &[13], &wants(weights, None), &overlay);
        (found.map(|found| found.best.edges.len()), trees.counters())
    };
    for _ in 0..3 {
        ask(&line, 1, [1, 0, 0, 0]).0.expect("a way");
    }
    let (hops, counters) = ask(&line, 2, [1, 0, 0, 0]);
    assert_eq!((hops, counters), (Ok(13), Counters { walked: 4, grown: 1, repaired: 1, ..Counters::default() }));
    let mut shorter = rows.clone();
    shorter.insert((0, 12, 0), (1, 1));
    let (hops, counters) = ask(&graph(&BTreeSet::new(), &shorter), 3, [1, 0, 0, 0]);
    assert_eq!((hops, counters.grown, counters.repaired), (Ok(2), 1, 2));
    for weight in 1..=9 {
        ask(&line, 4, [0, weight, 0, 0]).0.expect("a way");
    }
    let (_, counters) = ask(&line, 4, [1, 0, 0, 0]);
    assert_eq!((counters.grown, counters.dropped), (11, 3));
}

#[test]
fn a_stale_generation_never_reads_past_a_graph() {
    let rows: BTreeMap<_, _> = (0..NODES - 1).map(|at| ((at, at + 1, 0), (1, 1))).collect();
    let (mut trees, overlay) = (SptCache::default(), Overlay::default());
    let large = graph(&BTreeSet::new(), &rows);
    let small = graph(&(5..NODES).collect(), &rows);
    for graph in [&large, &small, &large] {
        let last = NodeIndex::try_from(graph.len()).expect("few") - 1;
        assert!(trees.search(graph, 7, 0, &[last], &wants([1, 0, 0, 0], None), &overlay).is_ok());
    }
}

#[test]
fn an_alternate_that_is_remembered_is_worth_what_it_is_now() {
    let rows = |price| BTreeMap::from([((0, 2, 0), (0, 1)), ((0, 1, 0), (price, 1)), ((1, 2, 0), (0, 1))]);
    let (mut trees, overlay) = (SptCache::default(), Overlay::default());
    for price in [5, 7] {
        let graph = graph(&BTreeSet::new(), &rows(price));
        let found = trees.search(&graph, price, 0, &[2], &wants([0, 1, 0, 0], None), &overlay).expect("two ways");
        assert_eq!(found.alternate.map(|path| path.totals.price), Some(price));
    }
}
