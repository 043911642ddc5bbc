//! Searches compared with an oracle that enumerates every path, and single cases.

use super::*;
use crate::id::Pseudonym;
use crate::routing::graph::Metrics;
use crate::wire::data::Policy;
use proptest::prelude::*;

/// From, to, bearer, price, delay, success, energy.
type Row = (u8, u8, u8, u64, u32, u16, u32);

fn graph(nodes: u8, rows: &[Row]) -> Graph {
    let node = |n: u8| Pseudonym([n; 32]);
    let edges = rows.iter().map(|&(from, to, bearer, price, delay, success, energy)| {
        let metrics = Metrics { price, delay, deviation: 1, success, energy, rate: u32::MAX, mtu: 65_536 };
        (node(from), node(to), bearer, metrics)
    });
    Graph::new((0..nodes).map(node), edges)
}

/// A message of 1 MB, so that its cost equals the price.
fn wants(weights: [u8; 4]) -> Wants {
    Wants { policy: Policy { weights, ..Policy::default() }, time: None, bytes: 1_000_000 }
}

/// The cases of each property; more where they run fast.
const CASES: u32 = if cfg!(debug_assertions) { 2_000 } else { 50_000 };
const CHEAP: [u8; 4] = [1, 0, 0, 0];
const FAST: [u8; 4] = [0, 1, 0, 0];
const ALWAYS: u16 = u16::MAX;

fn row(from: u8, to: u8, price: u64, delay: u32) -> Row {
    (from, to, 0, price, delay, ALWAYS, 0)
}

/// The nodes of a path after its start.
fn hops(graph: &Graph, path: &Path) -> Vec<NodeIndex> {
    path.hops(graph).collect()
}

/// What the oracle knows of a path: what it is ranked by, and its edges.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    objective: u64,
    hops: usize,
    /// The last edge first.
    edges: Vec<EdgeIndex>,
}

/// Every path from a node to a target that keeps all limits and whose edges pass `open`.
fn every_way(query: &Query<'_>, open: &dyn Fn(EdgeIndex) -> bool) -> Vec<Way> {
    let mut ways = Vec::new();
    walk(query, open, &mut vec![query.ends.from], &mut Vec::new(), &mut ways);
    ways.sort();
    ways
}

fn walk(
    query: &Query<'_>,
    open: &dyn Fn(EdgeIndex) -> bool,
    nodes: &mut Vec<NodeIndex>,
    edges: &mut Vec<EdgeIndex>,
    ways: &mut Vec<Way>,
) {
    let at = *nodes.last().expect("a start");
    if query.ends.to.contains(&at) {
        ways.extend(weigh(query, edges));
        return;
    }
    for (edge, to) in query.graph.from(at).map(|(at, edge)| (at, edge.to)) {
        if open(edge) && !nodes.contains(&to) {
            nodes.push(to);
            edges.push(edge);
            walk(query, open, nodes, edges, ways);
            nodes.pop();
            edges.pop();
        }
    }
}

/// The rank of a path; `None` if it breaks a limit.
fn weigh(query: &Query<'_>, edges: &[EdgeIndex]) -> Option<Way> {
    let Query { graph, wants, overlay, .. } = *query;
    let (mut price, mut delay, mut failures, mut energy) = (0, 0, 0, 0);
    for edge in edges.iter().map(|edge| graph.edge(*edge)) {
        price += edge.metrics.price;
        delay += u64::from(edge.metrics.delay);
        energy += u64::from(edge.metrics.energy);
        let doubt = overlay.doubts.get(&(edge.from, edge.to)).map_or(0, |factor| nats(*factor));
        failures += nats(edge.metrics.success) + doubt;
        if wants.policy.avoid.is_some_and(|avoid| avoid >> edge.bearer & 1 == 1) || overlay.excluded.contains(&edge.to)
        {
            return None;
        }
    }
    let kept = wants.time.is_none_or(|time| delay <= time)
        && wants.policy.budget.is_none_or(|budget| price <= budget)
        && wants.policy.success.is_none_or(|least| failures <= nats(least))
        && overlay.hops.is_none_or(|most| edges.len() <= most as usize);
    let weights = effective(wants.policy.weights).map(u64::from);
    let objective = weights[0] * price + weights[1] * delay + weights[2] * failures + weights[3] * energy;
    let hops = edges.len();
    kept.then(|| Way { objective: objective + hops as u64, hops, edges: edges.iter().rev().copied().collect() })
}

fn any_row(nodes: u8) -> impl Strategy<Value = Row> {
    let chance = prop_oneof![3 => Just(ALWAYS), 2 => 50_000..ALWAYS, 1 => any::<u16>()];
    (0..nodes, 0..nodes, 0..3u8, 0..6u64, 0..6u32, chance, 0..4u32)
}

fn any_graph() -> impl Strategy<Value = Graph> {
    (2..=12u8).prop_flat_map(|nodes| {
        prop::collection::vec(any_row(nodes), 0..34).prop_map(move |rows| {
            // At most one edge for each pair and bearer, as the database makes them.
            let only: BTreeMap<_, Row> = rows.into_iter().map(|row| ((row.0, row.1, row.2), row)).collect();
            graph(nodes, &only.into_values().collect::<Vec<_>>())
        })
    })
}

/// A row of nodes with three edges from each to the next and one past it, all with different metrics: hundreds of
/// paths, none of them better in every respect.
fn any_ladder() -> impl Strategy<Value = Graph> {
    let part = || 1..1_000u64;
    (5..=8u8).prop_flat_map(move |nodes| {
        let chance = 60_000..ALWAYS;
        let worth = prop::collection::vec((part(), part(), chance, part()), 4 * usize::from(nodes));
        worth.prop_map(move |worth| {
            let row = |(at, (price, delay, success, energy)): (u8, (u64, u64, u16, u64))| {
                let (from, bearer) = (at / 4, at % 4);
                let to = from + if bearer == 3 { 2 } else { 1 };
                let (delay, energy) = (u32::try_from(delay).unwrap_or(0), u32::try_from(energy).unwrap_or(0));
                (from, to, bearer, price, delay, success, energy)
            };
            graph(nodes, &(0..).zip(worth).map(row).collect::<Vec<_>>())
        })
    })
}

fn any_wants() -> impl Strategy<Value = Wants> {
    let weights = prop_oneof![Just(CHEAP), Just(FAST), Just([0, 0, 1, 0]), Just([0; 4]), prop::array::uniform4(0..4u8)];
    let maybe = |most: u64| prop::option::of(0..most);
    (weights, maybe(20), maybe(20), prop::option::of(any::<u16>()), prop::option::of(0..8u16)).prop_map(
        |(weights, time, budget, success, avoid)| Wants {
            policy: Policy { weights, budget, success, avoid, copies: None },
            time,
            bytes: 1_000_000,
        },
    )
}

pub(super) fn any_overlay() -> impl Strategy<Value = Overlay> {
    let pair = || (0..12u32, 0..12u32);
    let doubts = prop::collection::btree_map(pair(), any::<u16>(), 0..4);
    let shunned = prop::collection::btree_set(pair(), 0..6);
    let excluded = prop::collection::btree_set(0..12u32, 0..2);
    (doubts, shunned, excluded, prop::option::weighted(0.3, 0..6u32))
        .prop_map(|(doubts, shunned, excluded, hops)| Overlay { doubts, shunned, excluded, hops })
}

fn agrees_with_the_oracle(query: &Query<'_>) -> Result<(), TestCaseError> {
    let Query { graph, ends, wants, overlay } = *query;
    let pair = |edge: EdgeIndex| (graph.edge(edge).from, graph.edge(edge).to);
    let calm = |edge: EdgeIndex| !overlay.shunned.contains(&pair(edge));
    let sure = every_way(query, &calm);
    let all = every_way(query, &|_| true);
    let answer = search(graph, ends.from, ends.to, wants, overlay);
    let found = match answer {
        Err(none) => {
            prop_assert!(all.is_empty(), "there is {:?}", all.first());
            if let Some(miss) = none.nearest {
                let broken = query.broken(&miss.path);
                prop_assert!(miss.exact && broken.contains(&(miss.limit, miss.by)), "{miss:?} in {broken:?}");
            }
            return Ok(());
        }
        Ok(found) => found,
    };
    prop_assert_eq!(found.last_resort, sure.is_empty());
    prop_assert!(found.exact);
    let open = |edge: EdgeIndex| found.last_resort || calm(edge);
    let ways = if found.last_resort { all } else { sure };
    let best = weigh(query, &found.best.edges);
    prop_assert!(best.is_some(), "{:?} breaks a limit", found.best);
    let rank = |way: &Way| (way.objective, way.hops);
    prop_assert_eq!(best.as_ref().map(rank), ways.first().map(rank));
    // Where limits rule nothing out, ties are decided completely.
    let free = Wants { time: None, policy: Policy { budget: None, success: None, ..wants.policy.clone() }, bytes: 0 };
    let unlimited = Overlay { hops: None, ..overlay.clone() };
    let freely = every_way(&Query { wants: &free, overlay: &unlimited, ..*query }, &open);
    if freely.first() == ways.first() {
        prop_assert_eq!(best.as_ref(), ways.first());
    }
    let relays: BTreeSet<NodeIndex> = found.best.relays(graph).collect();
    let apart = |edge: EdgeIndex| open(edge) && !relays.contains(&graph.edge(edge).to) && found.best.edges != [edge];
    let others = if found.best.edges.is_empty() { Vec::new() } else { every_way(query, &apart) };
    let alternate = found.alternate.as_ref().map(|path| weigh(query, &path.edges));
    prop_assert_eq!(alternate.as_ref().map(|way| way.as_ref().map(rank)), others.first().map(|way| Some(rank(way))));
    prop_assert!(found.alternate.iter().all(|path| path.edges.iter().all(|edge| apart(*edge))));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Invariant 3 of routing.
    /// Invariants 1, 2 and 3.
    #[test]
    fn a_search_finds_what_looking_at_every_way_finds(
        graph in any_graph(),
        from in 0..12u32,
        to in prop::collection::vec(0..12u32, 1..3),
        wants in any_wants(),
        overlay in any_overlay(),
    ) {
        let from = from % u32::try_from(graph.len()).expect("few");
        let to = targets(&graph, &to);
        agrees_with_the_oracle(&Query::new(&graph, from, &to, &wants, &overlay))?;
    }

    /// Invariant 1 of routing::search::labels.
    #[test]
    fn where_ways_trade_one_thing_for_another_the_best_within_limits_is_found(
        graph in any_ladder(),
        weights in prop_oneof![Just(CHEAP), Just([0, 0, 0, 1]), Just([1, 1, 0, 2])],
        (time, price, failures) in (0..100u64, prop::option::of(0..100u64), prop::option::of(0..100u64)),
        hops in prop::option::weighted(0.2, 3..8u32),
    ) {
        // Limits between the least possible value and that of the shortest path, in per cent of the difference.
        let overlay = Overlay { hops, ..Overlay::default() };
        let last = u32::try_from(graph.len()).expect("few") - 1;
        let totals = |weights| search(&graph, 0, &[last], &wants(weights), &Overlay::default()).expect("a way").best.totals;
        let between = |least: u64, most: u64, part: u64| least + most.saturating_sub(least) * part / 100;
        let (free, fast, cheap, sure) = (totals(weights), totals(FAST), totals(CHEAP), totals([0, 0, 1, 0]));
        let mut wants = wants(weights);
        wants.time = Some(between(fast.delay, free.delay, time));
        wants.policy.budget = price.map(|part| between(cheap.price, free.price.max(fast.price), part));
        let failures = failures.map(|part| between(sure.failures, free.failures.max(fast.failures), part));
        wants.policy.success = failures.map(|failures| Totals { failures, ..Totals::default() }.success());
        agrees_with_the_oracle(&Query::new(&graph, 0, &[last], &wants, &overlay))?;
    }

    #[test]
    fn whatever_is_claimed_nothing_panics_and_limits_are_kept(
        rows in prop::collection::vec((0..6u8, 0..6u8, 0..20u8, any::<u64>(), any::<u32>(), any::<u16>(), any::<u32>()), 0..20),
        (weights, time, budget, success) in any::<([u8; 4], Option<u64>, Option<u64>, Option<u16>)>(),
        (avoid, bytes) in any::<(Option<u16>, u32)>(),
    ) {
        let graph = graph(6, &rows);
        let wants = Wants { policy: Policy { weights, budget, success, avoid, copies: None }, time, bytes };
        let overlay = Overlay::default();
        if let Ok(found) = search(&graph, 0, &[5], &wants, &overlay) {
            let query = Query::new(&graph, 0, &[5], &wants, &overlay);
            prop_assert_eq!(query.broken(&found.best), []);
            prop_assert_eq!(found.alternate.map_or(Vec::new(), |path| query.broken(&path)), []);
        }
    }

    #[test]
    fn at_the_cap_a_relaxation_keeps_the_limits_and_finds_all_under_one_limit(
        graph in any_graph(),
        wants in any_wants(),
    ) {
        let overlay = Overlay::default();
        let query = Query::new(&graph, 0, &[1], &wants, &overlay);
        let objective = query.objective(true);
        let limits = query.limits();
        let ways = every_way(&query, &|_| true);
        let outcome = labels::constrained(&graph, &objective, query.ends, &limits, false);
        let way = if let Outcome::Capped(way) = outcome { way } else { None };
        if let Some(way) = &way {
            let found = weigh(&query, way);
            prop_assert!(found.is_some_and(|found| found.objective >= ways[0].objective));
        }
        if limits.len() == 1 {
            prop_assert_eq!(way.is_some(), !ways.is_empty());
        }
    }
}

#[test]
fn each_limit_turns_the_path_and_the_miss_names_it() {
    // Over 1: cheap and slow. Over 2: expensive and fast. Over 3: in between, likely to fail, and over Wi-Fi.
    let rows = [
        row(0, 1, 1, 100),
        row(1, 4, 1, 100),
        row(0, 2, 50, 5),
        row(2, 4, 50, 5),
        (0, 3, 1, 10, 30, 60_000, 0),
        (3, 4, 1, 10, 30, 60_000, 0),
    ];
    let graph = graph(5, &rows);
    let overlay = Overlay::default();
    let way = |wants: &Wants| search(&graph, 0, &[4], wants, &overlay).map(|found| hops(&graph, &found.best));
    let mut wants = wants(CHEAP);
    assert_eq!(way(&wants), Ok(vec![1, 4]));
    wants.time = Some(60);
    assert_eq!(way(&wants), Ok(vec![3, 4]));
    wants.policy.success = Some(60_000);
    assert_eq!(way(&wants), Ok(vec![2, 4]));
    wants.policy.success = None;
    wants.policy.avoid = Some(1 << 1);
    assert_eq!(way(&wants), Ok(vec![2, 4]));
    wants.policy.budget = Some(99);
    let miss = way(&wants).expect_err("too dear").nearest.expect("a way that is too dear");
    assert_eq!((miss.limit, miss.by, hops(&graph, &miss.path)), (Limit::Budget, 1, vec![2, 4]));
    wants.policy.avoid = Some(u16::MAX);
    let miss = way(&wants).expect_err("all avoided").nearest.expect("a way over them");
    assert_eq!((miss.limit, miss.by), (Limit::Bearer, 1));
    assert_eq!(search(&graph, 4, &[0], &wants, &overlay), Err(NoPath { nearest: None }));
    let far = search(&graph, 9, &[0], &wants, &overlay);
    assert_eq!(far, Err(NoPath { nearest: None }), "a start that is in no graph");
}

#[test]
fn doubts_turn_the_path_and_count_against_the_chance_of_arrival() {
    let graph = graph(4, &[row(0, 1, 0, 0), row(1, 3, 0, 0), row(0, 2, 0, 9), row(2, 3, 0, 9)]);
    let mut overlay = Overlay::default();
    let mut wants = wants([0, 1, 1, 0]);
    let calm = search(&graph, 0, &[3], &wants, &overlay).expect("a way");
    assert_eq!((hops(&graph, &calm.best), calm.best.totals.success()), (vec![1, 3], ALWAYS));
    assert_eq!(calm.alternate.map(|path| hops(&graph, &path)), Some(vec![2, 3]));
    overlay.doubts.insert((1, 3), 32_768);
    let found = search(&graph, 0, &[3], &wants, &overlay).expect("a way");
    assert_eq!(hops(&graph, &found.best), [2, 3]);
    let doubted = found.alternate.expect("the other").totals.success();
    assert_eq!(doubted, 32_768);
    overlay.doubts.insert((2, 3), 32_767);
    wants.policy.success = Some(32_769);
    let miss = search(&graph, 0, &[3], &wants, &overlay).expect_err("both are doubtful").nearest.expect("a miss");
    assert_eq!((miss.limit, miss.by), (Limit::Success, 1));
}

#[test]
fn shunned_pairs_are_the_last_resort_and_excluded_nodes_are_none() {
    let graph = graph(4, &[row(0, 1, 0, 0), row(1, 3, 0, 0), row(0, 2, 0, 9), row(2, 3, 0, 9)]);
    let mut overlay = Overlay { shunned: [(1, 3)].into(), ..Overlay::default() };
    let wants = wants(FAST);
    let found = search(&graph, 0, &[3], &wants, &overlay).expect("the other way");
    assert_eq!((hops(&graph, &found.best), found.alternate, found.last_resort), (vec![2, 3], None, false));
    overlay.excluded.insert(2);
    let found = search(&graph, 0, &[3], &wants, &overlay).expect("the shunned way");
    assert_eq!((hops(&graph, &found.best), found.last_resort), (vec![1, 3], true));
    overlay.excluded.insert(1);
    assert_eq!(search(&graph, 0, &[3], &wants, &overlay).expect_err("none").nearest, None);
}

/// Invariant 2 of routing.
#[test]
fn ties_go_to_fewer_hops_then_to_the_lower_node() {
    let overlay = Overlay::default();
    let square = graph(5, &[row(0, 2, 0, 1), row(0, 1, 0, 1), row(1, 3, 0, 1), row(2, 3, 0, 1), row(0, 4, 0, 1)]);
    let found = search(&square, 0, &[3], &wants(FAST), &overlay).expect("two ways");
    assert_eq!(hops(&square, &found.best), [1, 3]);
    assert_eq!(found.alternate.map(|path| hops(&square, &path)), Some(vec![2, 3]));
    let near = search(&square, 0, &[4, 2, 1, 2], &wants(FAST), &overlay).expect("three ways");
    assert_eq!(hops(&square, &near.best), [1]);
    // One hop of 3 costs as much as two of 1: 3 + 1 = 1 + 1 + 2.
    let hop = graph(3, &[row(0, 1, 0, 1), row(1, 2, 0, 1), row(0, 2, 0, 3)]);
    let found = search(&hop, 0, &[2], &wants(FAST), &overlay).expect("two ways");
    assert_eq!((hops(&hop, &found.best), found.alternate.map(|path| path.edges.len())), (vec![2], Some(2)));
}

#[test]
fn an_only_edge_has_its_parallel_as_alternate_and_a_target_needs_none() {
    let graph = graph(2, &[row(0, 1, 0, 1), (0, 1, 2, 0, 9, ALWAYS, 0)]);
    let overlay = Overlay::default();
    let found = search(&graph, 0, &[1], &wants(FAST), &overlay).expect("two edges");
    assert_eq!((found.best.edges, found.alternate.map(|path| path.edges)), (vec![0], Some(vec![1])));
    let here = search(&graph, 0, &[1, 0], &wants(FAST), &overlay).expect("it is there");
    assert_eq!((here.best.edges.len(), here.alternate), (0, None));
}

/// Invariant 2 of routing::search::labels.
/// Invariant 4.
#[test]
fn a_graph_that_has_too_many_ways_is_answered_under_the_cap() {
    // A ladder whose rungs trade price for delay in sums that are all different: two to the forty Pareto-optimal paths.
    let rows = (0..40u8).flat_map(|at| {
        let part = 1 << (at % 20);
        [(at, at + 1, 0, u64::from(part), 0, ALWAYS, 0), (at, at + 1, 1, 0, part, ALWAYS, 0)]
    });
    let graph = graph(41, &rows.collect::<Vec<_>>());
    let mut wants = wants(CHEAP);
    let half = (1u64 << 20) - 1;
    wants.time = Some(half);
    wants.policy.budget = Some(half + 2);
    let overlay = Overlay::default();
    match search(&graph, 0, &[40], &wants, &overlay) {
        Ok(found) => {
            assert_eq!(Query::new(&graph, 0, &[40], &wants, &overlay).broken(&found.best), []);
            assert!(!found.exact || found.best.totals.price == half);
        }
        Err(none) => assert!(none.nearest.is_some_and(|miss| !miss.exact), "there is a way"),
    }
}
