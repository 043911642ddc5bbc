//! What it costs to find a path: percentiles over many random queries, since the worst case of a search is what stalls
//! a router, then the common cases with a baseline of the same run:
//!
//! ```sh
//! cargo bench --bench path_search
//! ```
//!
//! There are three networks: routers at random places that reach those near them (1,000 with 8,000 edges, 10,000 with
//! 80,000), and a grid of 100 × 100. Price, delay and success of each edge are drawn at random. A query asks for the
//! cheapest path within 1.3 times the least delay, or for more; an answer has the best path and a disjoint alternate.

use divan::{Bencher, black_box};
use m2mesh::id::Pseudonym;
use m2mesh::routing::graph::{Graph, Metrics, NodeIndex};
use m2mesh::routing::policy::Wants;
use m2mesh::routing::search::{Overlay, search};
use m2mesh::routing::trees::SptCache;
use m2mesh::wire::data::Policy;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Size of a message, in bytes.
const BYTES: u32 = 1_000_000;
/// Weights of a policy that counts cost alone.
const CHEAP: [u8; 4] = [1, 0, 0, 0];
/// Weights of a policy that counts delay alone.
const FAST: [u8; 4] = [0, 1, 0, 0];

fn main() {
    // `cargo bench` passes this argument; `cargo test --bench` does not, and runs each of divan's benches once.
    if std::env::args().any(|argument| argument == "--bench") {
        println!("milliseconds of processor time, best path and alternate");
        for (name, graph, queries) in [
            ("1,000 routers, 8,000 edges", geometric(1_000, 8_000), 2_000),
            ("10,000 routers, 80,000 edges", geometric(10_000, 80_000), 300),
            ("grid of 100 × 100", grid(100), 300),
        ] {
            percentiles(name, &graph, queries);
        }
    }
    divan::main();
}

fn drawn(random: &mut ChaCha20Rng, below: u32) -> u32 {
    random.next_u32() % below
}

fn node(at: usize) -> Pseudonym {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&(at as u64).to_be_bytes());
    Pseudonym(key)
}

fn metrics(random: &mut ChaCha20Rng, delay: u32) -> Metrics {
    let success = u16::MAX - u16::try_from(drawn(random, 2_000)).unwrap_or(0);
    let price = u64::from(1 + drawn(random, 100_000));
    Metrics { price, delay, success, energy: drawn(random, 1_000), rate: u32::MAX, mtu: 65_536, ..Metrics::default() }
}

/// Routers at random places in a square. The nearest pairs are joined in both directions, by one of three bearers.
fn geometric(routers: usize, edges: usize) -> Graph {
    let mut random = ChaCha20Rng::seed_from_u64(1);
    let side = 1 << 20;
    let places: Vec<(i64, i64)> =
        (0..routers).map(|_| (i64::from(drawn(&mut random, side)), i64::from(drawn(&mut random, side)))).collect();
    let mut pairs = Vec::new();
    // Only pairs within twice the distance that yields the wanted number of edges on average.
    let reach = (4.0 * f64::from(side) * f64::from(side) * edges as f64 / (3.2 * (routers * routers) as f64)) as i64;
    for (a, (ax, ay)) in places.iter().enumerate() {
        for (b, (bx, by)) in places.iter().enumerate().skip(a + 1) {
            let apart = (ax - bx).pow(2) + (ay - by).pow(2);
            if apart < reach {
                pairs.push((apart, a, b));
            }
        }
    }
    pairs.sort_unstable();
    pairs.truncate(edges / 2);
    let mut all = Vec::new();
    for (apart, a, b) in pairs {
        let bearer = u8::try_from(drawn(&mut random, 3)).unwrap_or(0);
        for (from, to) in [(a, b), (b, a)] {
            let delay = 500 + (apart as f64).sqrt() as u32 / 4 + drawn(&mut random, 5_000);
            all.push((node(from), node(to), bearer, metrics(&mut random, delay)));
        }
    }
    Graph::new((0..routers).map(node), all)
}

fn grid(side: usize) -> Graph {
    let mut random = ChaCha20Rng::seed_from_u64(2);
    let at = |x: usize, y: usize| node(y * side + x);
    let mut edges = Vec::new();
    for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (x, y))) {
        for (to_x, to_y) in [(x + 1, y), (x, y + 1)] {
            if to_x < side && to_y < side {
                for (from, to) in [(at(x, y), at(to_x, to_y)), (at(to_x, to_y), at(x, y))] {
                    let delay = 1_000 + drawn(&mut random, 20_000);
                    edges.push((from, to, 0, metrics(&mut random, delay)));
                }
            }
        }
    }
    Graph::new((0..side * side).map(node), edges)
}

fn wants(weights: [u8; 4]) -> Wants {
    Wants { policy: Policy { weights, ..Policy::default() }, time: None, bytes: BYTES }
}

struct Asked {
    from: NodeIndex,
    to: NodeIndex,
    wants: Wants,
}

/// Random pairs of connected routers, with a query for the cheapest path within `slack` per cent of the least delay. If
/// `all` is true, it asks for the least energy instead, with limits on the price and the probability of arrival.
fn asked(graph: &Graph, queries: usize, slack: u64, all: bool) -> Vec<Asked> {
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let nodes = u32::try_from(graph.len()).unwrap_or(0);
    let mut asked = Vec::new();
    while asked.len() < queries {
        let (from, to) = (drawn(&mut random, nodes), drawn(&mut random, nodes));
        let Ok(fastest) = search(graph, from, &[to], &wants(FAST), &Overlay::default()) else { continue };
        if from == to {
            continue;
        }
        let totals = fastest.best.totals;
        let mut wants = wants(if all { [0, 0, 0, 1] } else { CHEAP });
        wants.time = Some(totals.delay * slack / 100);
        if all {
            wants.policy.budget = Some(totals.cost_of(BYTES.into()) * 80 / 100);
            wants.policy.success = Some(totals.success());
        }
        asked.push(Asked { from, to, wants });
    }
    asked
}

/// Processor time of this thread, so that other load of the machine is not measured. Where the kernel does not tell it,
/// the time since the first call.
fn spent() -> Duration {
    // Yielding brings the kernel's figure up to date.
    std::thread::yield_now();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split_whitespace().next()?.parse().ok());
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanoseconds.map_or_else(|| START.elapsed(), Duration::from_nanos)
}

fn percentiles(name: &str, graph: &Graph, queries: usize) {
    println!("{name}: {} edges", graph.edges().len());
    let overlay = Overlay::default();
    for (what, slack, all) in [
        ("cheapest, no limit", u64::from(u32::MAX), false),
        ("cheapest within 1.1 of the least delay", 110, false),
        ("cheapest within 1.3 of the least delay", 130, false),
        ("cheapest within 2 of the least delay", 200, false),
        ("least energy, 1.3 of delay, price and chance limited", 130, true),
    ] {
        let (mut exact, mut found) = (0, 0);
        let mut took: Vec<Duration> = Vec::new();
        for Asked { from, to, wants } in asked(graph, queries, slack, all) {
            let begun = spent();
            let answer = black_box(search(graph, from, &[to], &wants, &overlay));
            took.push(spent().saturating_sub(begun));
            found += usize::from(answer.is_ok());
            exact +=
                usize::from(answer.map_or_else(|none| none.nearest.is_none_or(|miss| miss.exact), |found| found.exact));
        }
        took.sort_unstable();
        let at = |per_mille: usize| took[(took.len() - 1) * per_mille / 1_000].as_secs_f64() * 1e3;
        let of = took.len();
        println!(
            "  {what:<52}  p50 {:>7.3} ms  p99 {:>7.3} ms  max {:>7.3} ms  exact {exact}/{of}, found {found}",
            at(500),
            at(990),
            at(1_000),
        );
    }
}

mod thousand_routers {
    use super::*;

    #[divan::bench]
    fn baseline_copy_of_the_edges(bencher: Bencher<'_, '_>) {
        let graph = geometric(1_000, 8_000);
        bencher.bench(|| black_box(graph.edges()).to_vec());
    }

    #[divan::bench]
    fn search_without_limits(bencher: Bencher<'_, '_>) {
        let (graph, overlay) = (geometric(1_000, 8_000), Overlay::default());
        bencher.bench(|| search(black_box(&graph), 0, &[999], &wants(CHEAP), &overlay).is_ok());
    }

    #[divan::bench]
    fn search_again_in_a_kept_tree(bencher: Bencher<'_, '_>) {
        let (graph, overlay, mut trees) = (geometric(1_000, 8_000), Overlay::default(), SptCache::default());
        bencher.bench_local(|| trees.search(black_box(&graph), 1, 0, &[999], &wants(CHEAP), &overlay).is_ok());
    }
}
