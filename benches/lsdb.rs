//! What link state costs a router: a flooded advertisement, a digest, the graph of a whole area, a tree in it. Each is
//! compared with a baseline of the same run, since only ratios are meaningful:
//!
//! ```sh
//! cargo bench --bench lsdb
//! ```

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ed25519_dalek::SigningKey;
use m2mesh::id::{AgreementKey, CredentialHash, Handle, IssuerId, Pseudonym, RealmId, Tag};
use m2mesh::identity::credential::{PeerCredential, hash};
use m2mesh::identity::sign;
use m2mesh::routing::lsdb::{Inserted, Lsdb, OwnLink};
use m2mesh::routing::tree::SteinerTrees;
use m2mesh::time::{Epoch, EpochLength, Now, Time};
use m2mesh::wire::credential::Credential;
use m2mesh::wire::lsa::{CONTEXT, Lsa, LsaLink};
use m2mesh::wire::{Signed, decode};
use std::sync::Arc;

const EPOCH: Epoch = Epoch(500_000);
/// Number of routers in the area.
const ROUTERS: usize = 1_000;
/// Links of each router, which makes 8,000 edges.
const LINKS: usize = 8;

fn main() {
    divan::main();
}

fn now() -> Now {
    Now { time: Time(1), unix: EpochLength::HOUR.start(EPOCH) }
}

struct Router {
    key: SigningKey,
    credential: PeerCredential,
}

fn routers() -> Vec<Router> {
    let router = |number: usize| {
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_bytes(&seed);
        let body = Credential {
            version: 1,
            realm: RealmId([0; 32]),
            issuer: IssuerId([0; 8]),
            epoch: EPOCH,
            epoch_length: 3_600u32.to_be_bytes(),
            segments: [0; 8],
            roles: [0; 2],
            key: sign::public(&key),
            agreement: AgreementKey([0; 32]),
            handle: Handle(*seed.first_chunk().expect("a seed is longer")),
            sealed_id: Vec::new(),
        };
        Router { credential: PeerCredential { hash: hash(&seed), body, signed: seed.as_slice().into() }, key }
    };
    (0..ROUTERS).map(router).collect()
}

/// The advertisement of a router on a ring with chords: its links go 1, 4, 9 and 16 routers ahead and as many back.
fn lsa(routers: &[Router], number: usize, sequence: u64) -> Lsa {
    let neighbour = |by: usize| (number + by) % routers.len();
    let steps = (1..=LINKS / 2).flat_map(|by| [by * by, routers.len() - by * by]);
    let mut links: Vec<LsaLink> = steps
        .map(|by| LsaLink {
            to: routers[neighbour(by)].credential.hash,
            bearer: 0,
            price: 0,
            delay: 1_000,
            deviation: 100,
            success: 65_000,
            energy: 1,
            rate: 100_000,
            mtu: 65_536,
        })
        .collect();
    links.sort_by_key(|link| link.to);
    let tag = |number: usize| Tag((number as u64).to_be_bytes());
    Lsa {
        origin: routers[number].credential.hash,
        sequence,
        area: 0,
        leaving: false,
        links,
        leaves: (0..4u8).map(|n| Handle([n; 16])).collect(),
        groups: vec![tag(number % 10)],
        services: vec![tag(number % 20)],
        borders: Vec::new(),
        accesses: Vec::new(),
    }
}

fn signed(router: &Router, lsa: &Lsa) -> Arc<[u8]> {
    sign::sign_document(&router.key, CONTEXT, &m2mesh::wire::encode(lsa)).into()
}

fn full(routers: &[Router]) -> Lsdb {
    let mut db = Lsdb::new(routers[0].credential.body.key);
    let own = lsa(routers, 0, 1);
    let first = &routers[0];
    db.tell(first.credential.hash, &first.credential.body, own.clone(), signed(first, &own), now());
    for number in 1..routers.len() {
        let lsa = lsa(routers, number, 1);
        let signed = signed(&routers[number], &lsa);
        assert_eq!(db.insert(&routers[number].credential, lsa, signed, now()), Inserted::Newer);
    }
    db
}

fn nobody(_: &CredentialHash) -> Option<Pseudonym> {
    None
}

mod flood {
    use super::*;

    fn flooded(routers: &[Router]) -> Vec<Arc<[u8]>> {
        (1..ROUTERS).map(|number| signed(&routers[number], &lsa(routers, number, 2))).collect()
    }

    /// Decodes, verifies if `verify` is true, and inserts the new advertisements of all routers.
    fn take(bencher: Bencher<'_, '_>, verify: bool) {
        let routers = routers();
        let (db, frames) = (full(&routers), flooded(&routers));
        bencher.counter(ItemsCount::new(frames.len())).with_inputs(|| db.clone()).bench_values(|mut db| {
            for (router, frame) in routers[1..].iter().zip(&frames) {
                let document: Signed<'_> = decode(frame).expect("our own");
                let good = !verify || sign::verify_signed(CONTEXT, &router.credential.body.key, &document);
                let lsa: Lsa = decode(document.body).expect("our own");
                assert!(good && db.insert(&router.credential, lsa, frame.clone(), now()) == Inserted::Newer);
            }
            db
        });
    }

    #[divan::bench]
    fn baseline_verify_signatures_alone(bencher: Bencher<'_, '_>) {
        let routers = routers();
        let frames = flooded(&routers);
        bencher.counter(ItemsCount::new(frames.len())).bench(|| {
            let good = routers[1..].iter().zip(&frames).filter(|(router, frame)| {
                let document: Signed<'_> = decode(frame).expect("our own");
                sign::verify_signed(CONTEXT, &router.credential.body.key, &document)
            });
            good.count()
        });
    }

    #[divan::bench]
    fn decode_and_insert(bencher: Bencher<'_, '_>) {
        take(bencher, false);
    }

    #[divan::bench]
    fn decode_verify_and_insert(bencher: Bencher<'_, '_>) {
        take(bencher, true);
    }
}

mod exchange {
    use super::*;

    #[divan::bench]
    fn digest(bencher: Bencher<'_, '_>) {
        let db = full(&routers());
        bencher.counter(ItemsCount::new(ROUTERS)).bench(|| black_box(&db).digest());
    }

    #[divan::bench]
    fn summary(bencher: Bencher<'_, '_>) {
        let db = full(&routers());
        bencher.counter(ItemsCount::new(ROUTERS)).bench(|| black_box(&db).summary());
    }

    #[divan::bench]
    fn newer_in_the_same(bencher: Bencher<'_, '_>) {
        let db = full(&routers());
        let digest = db.digest();
        bencher.counter(ItemsCount::new(ROUTERS)).bench(|| db.newer(black_box(&digest)));
    }

    #[divan::bench]
    fn newer_in_nothing(bencher: Bencher<'_, '_>) {
        let db = full(&routers());
        bencher.counter(ItemsCount::new(ROUTERS)).bench(|| db.newer(black_box(&[])));
    }
}

mod graph {
    use super::*;

    #[divan::bench]
    fn of_1_000_routers_and_8_000_edges(bencher: Bencher<'_, '_>) {
        let db = full(&routers());
        let edges = db.told_graph(&nobody).edges().len();
        assert_eq!(edges, ROUTERS * LINKS);
        bencher.counter(ItemsCount::new(edges)).bench(|| black_box(&db).told_graph(&nobody));
    }

    #[divan::bench]
    fn with_own_links(bencher: Bencher<'_, '_>) {
        let routers = routers();
        let db = full(&routers);
        let told = db.told_graph(&nobody);
        let this = told.index(&routers[0].credential.body.key).expect("it is there");
        let own: Vec<OwnLink> = told
            .from(this)
            .map(|(_, edge)| OwnLink { to: *told.node(edge.to), bearer: 0, metrics: edge.metrics, usable: true })
            .collect();
        bencher.counter(ItemsCount::new(ROUTERS * LINKS)).bench(|| black_box(&db).graph(&nobody, &own));
    }
}

mod tree {
    use super::*;

    #[divan::bench]
    fn make_the_graph_ready(bencher: Bencher<'_, '_>) {
        let graph = full(&routers()).told_graph(&nobody);
        bencher.bench(|| SteinerTrees::new(black_box(&graph)));
    }

    #[divan::bench(args = [10, 100])]
    fn of_members(bencher: Bencher<'_, '_>, members: usize) {
        let graph = full(&routers()).told_graph(&nobody);
        let trees = SteinerTrees::new(&graph);
        let members = graph.nodes().iter().step_by(ROUTERS / members).copied().collect();
        bencher.bench(|| trees.of(black_box(&members)));
    }
}
