//! What a database keeps, gives away, and makes a graph of.

use super::*;
use crate::id::{AgreementKey, IssuerId, RealmId};
use crate::routing::graph::Metrics;
use crate::time::{Epoch, EpochLength};
use crate::wire;
use crate::wire::lsa::{LsaAccess, LsaLink, MAX_LINKS};

const EPOCH: u64 = 500_000;

fn at(epoch: u64) -> Now {
    Now { time: Time(1), unix: EpochLength::HOUR.start(Epoch(epoch)) }
}

fn router(number: u16) -> Pseudonym {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    Pseudonym(key)
}

fn hash_of(number: u16, epoch: u64) -> CredentialHash {
    let mut hash = [0; 16];
    hash[..2].copy_from_slice(&number.to_be_bytes());
    hash[2] = u8::try_from(epoch - EPOCH).expect("a near epoch");
    CredentialHash(hash)
}

fn handle(number: u16, epoch: u64) -> Handle {
    let mut handle = [1; 16];
    handle[..8].copy_from_slice(&hash_of(number, epoch).0[..8]);
    Handle(handle)
}

fn credential(number: u16, epoch: u64) -> PeerCredential {
    let body = Credential {
        version: 1,
        realm: RealmId([0; 32]),
        issuer: IssuerId([0; 8]),
        epoch: Epoch(epoch),
        epoch_length: 3_600u32.to_be_bytes(),
        segments: [0; 8],
        roles: [0; 2],
        key: router(number),
        agreement: AgreementKey([0; 32]),
        handle: handle(number, epoch),
        sealed_id: Vec::new(),
    };
    PeerCredential { hash: hash_of(number, epoch), body, signed: [].into() }
}

fn metrics() -> Metrics {
    Metrics { price: 0, delay: 1_000, deviation: 10, success: 65_000, energy: 0, rate: u32::MAX, mtu: 65_536 }
}

fn link_at(to: u16, epoch: u64, bearer: u8, metrics: Metrics) -> LsaLink {
    let Metrics { price, delay, deviation, success, energy, rate, mtu } = metrics;
    LsaLink { to: hash_of(to, epoch), bearer, price, delay, deviation, success, energy, rate, mtu }
}

fn lsa(number: u16, sequence: u64, to: &[u16]) -> Lsa {
    Lsa {
        origin: hash_of(number, EPOCH),
        sequence,
        area: 0,
        leaving: false,
        links: to.iter().map(|to| link_at(*to, EPOCH, 0, metrics())).collect(),
        leaves: Vec::new(),
        groups: Vec::new(),
        services: Vec::new(),
        borders: Vec::new(),
        accesses: Vec::new(),
    }
}

fn signed(lsa: &Lsa) -> Arc<[u8]> {
    wire::encode(lsa).into()
}

fn put(db: &mut Lsdb, number: u16, lsa: Lsa) -> Inserted {
    let signed = signed(&lsa);
    db.insert(&credential(number, EPOCH), lsa, signed, at(EPOCH))
}

/// Inserts the advertisement under the next epoch's credential.
fn put_next(db: &mut Lsdb, number: u16, mut lsa: Lsa) -> Inserted {
    lsa.origin = hash_of(number, EPOCH + 1);
    let signed = signed(&lsa);
    db.insert(&credential(number, EPOCH + 1), lsa, signed, at(EPOCH + 1))
}

fn tell(db: &mut Lsdb, number: u16, lsa: Lsa) -> Inserted {
    let signed = signed(&lsa);
    db.tell(hash_of(number, EPOCH), &credential(number, EPOCH).body, lsa, signed, at(EPOCH))
}

fn nobody(_: &CredentialHash) -> Option<Pseudonym> {
    None
}

/// From, to, bearer, delay of each edge.
fn edges(graph: &super::super::graph::Graph) -> Vec<(u16, u16, u8, u32)> {
    let number = |at: u32| u16::from_be_bytes([graph.node(at).0[0], graph.node(at).0[1]]);
    graph.edges().iter().map(|e| (number(e.from), number(e.to), e.bearer, e.metrics.delay)).collect()
}

/// Invariant 1.
#[test]
fn the_later_of_two_stands_whatever_their_order() {
    let (first, second) = (lsa(1, 1, &[2]), lsa(1, 2, &[2, 3]));
    let mut db = Lsdb::new(router(9));
    assert_eq!(put(&mut db, 1, first.clone()), Inserted::Newer);
    assert_eq!(put(&mut db, 1, first.clone()), Inserted::Same);
    assert_eq!(put(&mut db, 1, second.clone()), Inserted::Newer);
    assert_eq!(put(&mut db, 1, first), Inserted::Older(signed(&second)));
    // A credential of the next epoch counts more than a sequence number.
    let next = lsa(1, 1, &[3]);
    assert_eq!(put_next(&mut db, 1, next), Inserted::Newer);
    assert!(matches!(put(&mut db, 1, second), Inserted::Older(_)));
    assert_eq!(db.len(), 1);
    assert_eq!(db.entry(&router(1)).map(|entry| entry.lsa.links.len()), Some(1));
}

/// Invariant 1.
#[test]
fn two_advertisements_under_one_number_leave_the_same_one_everywhere() {
    let (one, other) = (lsa(1, 5, &[2]), lsa(1, 5, &[3]));
    let of = |order: [&Lsa; 2]| {
        let mut db = Lsdb::new(router(9));
        for lsa in order {
            put(&mut db, 1, lsa.clone());
        }
        db.entry(&router(1)).map(|entry| entry.signed.clone())
    };
    assert_eq!(of([&one, &other]), of([&other, &one]));
}

/// An advertisement with three leaves, and these bearers and places of links to them.
fn with_accesses(kinds: &[(u8, &[u8])]) -> Lsa {
    let Metrics { price, delay, deviation, success, energy, rate, mtu } = metrics();
    let access = |(bearer, leaves): &(u8, &[u8])| LsaAccess {
        bearer: *bearer,
        price,
        delay,
        deviation,
        success,
        energy,
        rate,
        mtu,
        leaves: leaves.to_vec(),
    };
    let leaves = (1..=3).map(|number| Handle([number; 16])).collect();
    Lsa { leaves, accesses: kinds.iter().map(access).collect(), ..lsa(1, 1, &[2, 3]) }
}

/// Invariant 2: the area, and what is well-formed.
#[test]
fn what_is_not_well_formed_is_refused_and_counted() {
    let mut db = Lsdb::new(router(9));
    let good = || lsa(1, 1, &[2, 3]);
    let links: Vec<u16> = (2..).take(MAX_LINKS + 1).collect();
    let leaves = (0..=1_024u16).map(|n| handle(n, EPOCH)).collect();
    let tags = (0..8_000u64).map(|n| Tag(n.to_be_bytes())).collect();
    let bad = [
        (Lsa { origin: hash_of(2, EPOCH), ..good() }, Flaw::Origin),
        (Lsa { sequence: 0, ..good() }, Flaw::Sequence),
        (lsa(1, 1, &[1]), Flaw::LinkToItself),
        (lsa(1, 1, &[3, 2]), Flaw::Order("links")),
        (lsa(1, 1, &[2, 2]), Flaw::Order("links")),
        (Lsa { leaves: vec![Handle([1; 16]); 2], ..good() }, Flaw::Order("leaves")),
        (Lsa { groups: vec![Tag([2; 8]), Tag([1; 8])], ..good() }, Flaw::Order("groups")),
        (Lsa { services: vec![Tag([1; 8]); 2], ..good() }, Flaw::Order("services")),
        (lsa(1, 1, &links), Flaw::TooManyLinks),
        (Lsa { leaves, ..good() }, Flaw::TooManyLeaves),
        (Lsa { services: tags, ..good() }, Flaw::TooLong),
        (Lsa { groups: (0..2_049u64).map(|n| Tag(n.to_be_bytes())).collect(), ..good() }, Flaw::TooManyTags),
        (Lsa { borders: (0..17).collect(), ..good() }, Flaw::TooManyTags),
        (Lsa { borders: vec![2, 1], ..good() }, Flaw::Order("borders")),
        (with_accesses(&[(2, &[1]), (1, &[2])]), Flaw::Order("kinds of links to leaves")),
        (with_accesses(&[(1, &[1]), (2, &[3])]), Flaw::Accesses),
        (with_accesses(&[(1, &[8])]), Flaw::Accesses),
        (with_accesses(&[(1, &[0])]), Flaw::Accesses),
        (with_accesses(&[(1, &[])]), Flaw::Accesses),
    ];
    let count = bad.len() as u64;
    for (lsa, flaw) in bad {
        assert_eq!(put(&mut db, 1, lsa), Inserted::Malformed(flaw));
    }
    assert_eq!(put(&mut db, 1, Lsa { area: 7, ..good() }), Inserted::OtherArea);
    let late = Now { unix: EpochLength::HOUR.end(Epoch(EPOCH + 1)), ..at(EPOCH) };
    assert_eq!(db.insert(&credential(1, EPOCH), good(), signed(&good()), late), Inserted::Expired);
    assert_eq!(db.refused(), Refused { malformed: count, other_area: 1, expired: 1, full: 0, second_of_handle: 0 });
    assert!(db.is_empty());
    // Two bearers to one neighbour are two links.
    let mut two = good();
    two.links.insert(1, link_at(2, EPOCH, 1, metrics()));
    assert_eq!(put(&mut db, 1, two), Inserted::Newer);
}

/// Invariant 2.
#[test]
fn a_full_area_refuses_newcomers_but_not_this_node() {
    let mut db = Lsdb::new(router(9_999));
    for number in 0..1_023 {
        assert_eq!(put(&mut db, number, lsa(number, 1, &[])), Inserted::Newer);
    }
    assert_eq!(put(&mut db, 2_000, lsa(2_000, 1, &[])), Inserted::Full);
    assert_eq!(put(&mut db, 7, lsa(7, 2, &[])), Inserted::Newer);
    assert_eq!(tell(&mut db, 9_999, lsa(9_999, 1, &[])), Inserted::Newer);
    assert_eq!((db.len(), db.refused().full), (MAX_ROUTERS, 1));
    assert_eq!(put(&mut db, 2_000, lsa(2_000, 1, &[])), Inserted::Full);
}

#[test]
fn an_own_advertisement_that_is_ahead_is_reported_and_not_kept() {
    let mut db = Lsdb::new(router(1));
    // Before this node has sent anything, and after.
    assert_eq!(put(&mut db, 1, lsa(1, 7, &[2])), Inserted::OwnAhead(7));
    assert_eq!(tell(&mut db, 1, lsa(1, 1, &[])), Inserted::Newer);
    assert_eq!(put(&mut db, 1, lsa(1, 7, &[2])), Inserted::OwnAhead(7));
    assert_eq!(put(&mut db, 1, lsa(1, 1, &[])), Inserted::Same);
    assert_eq!(tell(&mut db, 1, lsa(1, 8, &[3])), Inserted::Newer);
    assert!(matches!(put(&mut db, 1, lsa(1, 7, &[2])), Inserted::Older(_)));
    assert_eq!(tell(&mut db, 1, lsa(1, 3, &[])), Inserted::OwnAhead(8));
    // An advertisement of an epoch that this node's clock has not reached yet.
    assert_eq!(put_next(&mut db, 1, lsa(1, 4, &[2])), Inserted::Newer);
    assert!(matches!(tell(&mut db, 1, lsa(1, 9, &[])), Inserted::Older(_)));
}

#[test]
fn entries_end_with_their_credentials() {
    let mut db = Lsdb::new(router(9));
    put(&mut db, 1, lsa(1, 1, &[2]));
    put(&mut db, 2, lsa(2, 1, &[1]));
    put_next(&mut db, 2, lsa(2, 1, &[1]));
    let end = EpochLength::HOUR.end(Epoch(EPOCH)) + EpochLength::HOUR.skew() * 2;
    assert_eq!(db.next_expiry(), Some(end));
    assert_eq!(db.expire(end), []);
    assert_eq!(db.router_of(&hash_of(2, EPOCH)), Some(router(2)));
    assert_eq!(db.router_with(&handle(2, EPOCH)), Some(router(2)));
    let before = db.generation();
    assert_eq!(db.expire(Unix(end.0 + 1)), [router(1)]);
    assert!(db.generation() > before);
    assert_eq!((db.len(), db.router_of(&hash_of(2, EPOCH)), db.router_with(&handle(2, EPOCH))), (1, None, None));
    assert_eq!(db.router_with(&handle(2, EPOCH + 1)), Some(router(2)));
}

#[test]
fn digests_show_what_either_lacks() {
    let (mut ours, mut theirs) = (Lsdb::new(router(8)), Lsdb::new(router(9)));
    put(&mut ours, 1, lsa(1, 3, &[]));
    put(&mut theirs, 1, lsa(1, 3, &[]));
    put(&mut ours, 2, lsa(2, 3, &[]));
    put(&mut theirs, 2, lsa(2, 4, &[]));
    put(&mut ours, 3, lsa(3, 3, &[]));
    put(&mut theirs, 3, lsa(3, 2, &[]));
    put(&mut ours, 4, lsa(4, 1, &[]));
    put(&mut theirs, 5, lsa(5, 1, &[]));
    // Router 6 is known to both, here under its old credential and the next.
    put(&mut ours, 6, lsa(6, 9, &[]));
    put_next(&mut ours, 6, lsa(6, 1, &[]));
    put(&mut theirs, 6, lsa(6, 9, &[]));

    let digest = |db: &Lsdb| db.digest();
    assert!(digest(&theirs).is_sorted_by(|a, b| a.origin < b.origin));
    assert_ne!(ours.summary(), theirs.summary());
    let wanted = |db: &Lsdb, other: &Lsdb| {
        db.newer(&digest(other)).into_iter().map(|key| key.origin).collect::<Vec<CredentialHash>>()
    };
    let here = wanted(&ours, &theirs);
    assert_eq!(here, [hash_of(2, EPOCH), hash_of(5, EPOCH)]);
    // The next credential is not known there, so it is requested.
    let there = wanted(&theirs, &ours);
    assert_eq!(there, [hash_of(3, EPOCH), hash_of(4, EPOCH), hash_of(6, EPOCH + 1)]);
    let (to_ours, to_theirs) = (theirs.answer(&here), ours.answer(&there));
    assert_eq!((to_ours.len(), to_theirs.len()), (2, 3));

    // After the exchange both are the same.
    for signed in to_ours.iter().chain(&to_theirs) {
        let lsa: Lsa = wire::decode(signed).expect("our own");
        for db in [&mut ours, &mut theirs] {
            let number = u16::from_be_bytes([lsa.origin.0[0], lsa.origin.0[1]]);
            let by = credential(number, EPOCH + u64::from(lsa.origin.0[2]));
            db.insert(&by, lsa.clone(), signed.clone(), at(EPOCH + 1));
        }
    }
    assert_eq!(digest(&ours), digest(&theirs));
    assert_eq!(ours.summary(), theirs.summary());
    assert_eq!((wanted(&ours, &theirs), wanted(&theirs, &ours)), (Vec::new(), Vec::new()));
}

/// Invariant 4.
#[test]
fn the_generation_grows_with_content_only() {
    let mut db = Lsdb::new(router(9));
    let mut grows = |lsa: Lsa| {
        let before = db.generation();
        put(&mut db, 1, lsa);
        db.generation() > before
    };
    assert!(grows(lsa(1, 1, &[2])));
    assert!(!grows(lsa(1, 2, &[2])));
    assert!(!grows(lsa(1, 1, &[3])), "it is older");
    assert!(grows(lsa(1, 3, &[3])));
    assert!(grows(Lsa { leaves: vec![Handle([1; 16])], ..lsa(1, 4, &[3]) }));
    assert!(!grows(Lsa { leaves: vec![Handle([1; 16])], ..lsa(1, 5, &[3]) }));
    assert!(grows(Lsa { groups: vec![Tag([1; 8])], ..lsa(1, 6, &[3]) }));
    assert!(grows(Lsa { services: vec![Tag([1; 8])], ..lsa(1, 7, &[3]) }));
    assert!(grows(Lsa { borders: vec![1], ..lsa(1, 8, &[3]) }));
    assert!(grows(Lsa { sequence: 9, ..with_accesses(&[(1, &[1])]) }));
    assert!(grows(Lsa { sequence: 10, ..with_accesses(&[(1, &[2])]) }));
    assert!(!grows(Lsa { sequence: 11, ..with_accesses(&[(1, &[2])]) }));
    assert!(grows(Lsa { leaving: true, ..lsa(1, 12, &[3]) }));
}

#[test]
fn a_link_or_leaf_that_is_missing_has_been_taken_away() {
    let mut db = Lsdb::new(router(9));
    put(&mut db, 1, lsa(1, 1, &[]));
    put_next(&mut db, 1, lsa(1, 1, &[]));
    put(&mut db, 2, Lsa { leaves: vec![handle(5, EPOCH)], ..lsa(2, 1, &[1, 3]) });
    let takes = |told: &Lsa| db.takes_away(&router(2), told);
    let same = Lsa { leaves: vec![handle(5, EPOCH)], ..lsa(2, 2, &[1, 3]) };
    assert!(!takes(&same));
    assert!(!takes(&Lsa { leaves: vec![handle(5, EPOCH)], ..lsa(2, 2, &[1, 3, 4]) }));
    assert!(takes(&Lsa { leaves: Vec::new(), ..same.clone() }));
    assert!(takes(&Lsa { leaves: vec![handle(5, EPOCH)], ..lsa(2, 2, &[1, 4]) }));
    assert!(takes(&Lsa { leaving: true, ..same.clone() }));
    // The link to router 1 under its next credential, and a link to router 3 over another bearer.
    let by_next = |bearer| vec![link_at(1, EPOCH + 1, 0, metrics()), link_at(3, EPOCH, bearer, metrics())];
    assert!(!takes(&Lsa { links: by_next(0), ..same.clone() }));
    assert!(takes(&Lsa { links: by_next(1), ..same }));
    assert!(!db.takes_away(&router(7), &lsa(7, 1, &[])));
}

#[test]
fn leaves_groups_and_services_are_found_while_their_router_stays() {
    let (leaf, group, service) = (Handle([5; 16]), Tag([6; 8]), Tag([7; 8]));
    let with = |number, sequence| Lsa {
        leaves: vec![leaf],
        groups: vec![group],
        services: vec![service],
        ..lsa(number, sequence, &[])
    };
    let mut db = Lsdb::new(router(9));
    put(&mut db, 2, with(2, 1));
    put(&mut db, 1, with(1, 1));
    assert_eq!(db.routers_of_leaf(&leaf), [router(1), router(2)]);
    assert_eq!(db.members_of(&group), [router(1), router(2)]);
    assert_eq!(db.offering(&service), [router(1), router(2)]);
    assert_eq!((db.groups(), db.router_with(&handle(1, EPOCH))), (vec![group], Some(router(1))));
    put(&mut db, 1, lsa(1, 2, &[]));
    assert_eq!(db.routers_of_leaf(&leaf), [router(2)]);
    put(&mut db, 2, Lsa { leaving: true, ..with(2, 2) });
    assert_eq!((db.routers_of_leaf(&leaf), db.groups()), (vec![], vec![]));
    assert_eq!((db.members_of(&group), db.offering(&service), db.offering(&Tag([8; 8]))), (vec![], vec![], vec![]));
}

/// Invariant 1 of routing.
#[test]
fn a_link_counts_at_both_ends_and_at_the_worse_of_both_claims() {
    let mut db = Lsdb::new(router(9));
    let (good, bad) = (
        Metrics { price: 1, delay: 50, deviation: 1, success: 10, energy: 7, rate: 5, mtu: 100 },
        Metrics { price: 2, delay: 20, deviation: 3, success: 9, energy: 1, rate: 9, mtu: 90 },
    );
    let mut one = lsa(1, 1, &[3]);
    one.links.insert(0, link_at(2, EPOCH, 1, good));
    put(&mut db, 1, one);
    let mut two = lsa(2, 1, &[]);
    // Router 2 claims Ethernet to router 3, which claims Wi-Fi.
    two.links = vec![link_at(1, EPOCH, 1, bad), link_at(3, EPOCH, 0, metrics())];
    put(&mut db, 2, two);
    let mut three = lsa(3, 1, &[]);
    three.links = vec![link_at(2, EPOCH, 1, metrics())];
    put(&mut db, 3, three);
    let graph = db.told_graph(&nobody);
    assert_eq!(edges(&graph), [(1, 2, 1, 50), (2, 1, 1, 50)]);
    let worse = Metrics { price: 2, delay: 50, deviation: 3, success: 9, energy: 7, rate: 5, mtu: 90 };
    assert!(graph.edges().iter().all(|edge| edge.metrics == worse));
    assert_eq!(graph.nodes(), [1, 2, 3, 9].map(router));

    // A router that leaves has no links.
    put(&mut db, 1, Lsa { leaving: true, ..lsa(1, 2, &[2, 3]) });
    assert_eq!(edges(&db.told_graph(&nobody)), []);
}

#[test]
fn links_are_named_by_any_credential_of_their_neighbour() {
    let mut db = Lsdb::new(router(9));
    put(&mut db, 1, lsa(1, 1, &[2]));
    put(&mut db, 2, lsa(2, 1, &[1]));
    // Router 2 has its next credential; router 1 still names the old one.
    put_next(&mut db, 2, Lsa { links: vec![link_at(1, EPOCH, 0, metrics())], ..lsa(2, 1, &[]) });
    assert_eq!(edges(&db.told_graph(&nobody)).len(), 2);
    // Now router 1 names a credential that no advertisement has used.
    put(&mut db, 1, Lsa { links: vec![link_at(2, EPOCH + 2, 0, metrics())], ..lsa(1, 2, &[]) });
    assert_eq!(edges(&db.told_graph(&nobody)), []);
    let resolve = |hash: &CredentialHash| (*hash == hash_of(2, EPOCH + 2)).then(|| router(2));
    assert_eq!(edges(&db.told_graph(&resolve)).len(), 2);
}

/// Invariant 1 of routing.
#[test]
fn own_links_are_as_this_node_sees_them() {
    let mut db = Lsdb::new(router(1));
    put(&mut db, 2, lsa(2, 1, &[1, 3]));
    put(&mut db, 3, lsa(3, 1, &[1, 2]));
    let own = |to: u16, delay: u32, usable: bool| OwnLink {
        to: router(to),
        bearer: 0,
        metrics: Metrics { delay, price: 5, ..metrics() },
        usable,
    };
    let seen = [own(2, 10, true), own(3, 20, false)];
    // A node that advertises nothing: its links count, in one direction.
    assert_eq!(edges(&db.graph(&nobody, &seen)), [(1, 2, 0, 10), (2, 3, 0, 1_000), (3, 2, 0, 1_000)]);
    // A router: both directions count, with its own measurement for the outgoing one, and the worse claim for the
    // incoming one.
    tell(&mut db, 1, lsa(1, 1, &[2, 3]));
    let graph = db.graph(&nobody, &seen);
    assert_eq!(edges(&graph), [(1, 2, 0, 10), (2, 1, 0, 1_000), (2, 3, 0, 1_000), (3, 2, 0, 1_000)]);
    assert_eq!(graph.edge(0).metrics.price, 5);
    // A link that this node sees and the neighbour does not claim does not count; nor does one that it has advertised
    // and no longer sees.
    put(&mut db, 2, lsa(2, 2, &[3]));
    assert_eq!(edges(&db.graph(&nobody, &seen)), [(2, 3, 0, 1_000), (3, 2, 0, 1_000)]);
    assert_eq!(edges(&db.told_graph(&nobody)).len(), 4);
}

#[test]
fn a_hop_that_could_be_two_routers_is_both_of_them_to_whoever_asks() {
    let mut db = Lsdb::new(router(9));
    put(&mut db, 1, lsa(1, 1, &[]));
    put(&mut db, 2, lsa(2, 1, &[]));
    let under = |db: &Lsdb, number| db.routers_under(&hash_of(number, EPOCH).prefix()).collect::<Vec<_>>();
    assert_eq!((under(&db, 1), under(&db, 3)), (vec![router(1)], vec![]));
    // Another credential with the same prefix as that of router 1.
    let mut twin = credential(3, EPOCH);
    twin.hash = hash_of(1, EPOCH);
    twin.hash.0[15] = 1;
    let told = Lsa { origin: twin.hash, ..lsa(3, 1, &[]) };
    let signed = wire::encode(&told).into();
    assert_eq!(db.insert(&twin, told, signed, at(EPOCH)), Inserted::Newer);
    assert_eq!(under(&db, 1), [router(1), router(3)]);
}

/// Invariant 2.
#[test]
fn routers_that_have_left_take_nobody_s_place() {
    let most = u16::try_from(MAX_ROUTERS).expect("few");
    let mut db = Lsdb::new(router(0));
    for number in 1..most {
        assert_eq!(put(&mut db, number, lsa(number, 1, &[])), Inserted::Newer);
    }
    assert_eq!(put(&mut db, most, lsa(most, 1, &[])), Inserted::Full);
    // One router continues under another pseudonym: the area is as full as before.
    assert_eq!(put(&mut db, 1, Lsa { leaving: true, ..lsa(1, 2, &[]) }), Inserted::Newer);
    assert_eq!(put(&mut db, most, lsa(most, 1, &[])), Inserted::Newer);
    assert_eq!(put(&mut db, 1, lsa(1, 3, &[])), Inserted::Full, "its place is taken");
    assert_eq!(put(&mut db, most + 1, lsa(most + 1, 1, &[])), Inserted::Full);
    // All of them do so; the number of entries stays bounded.
    for number in 2..=most {
        assert_eq!(put(&mut db, number, Lsa { leaving: true, ..lsa(number, 9, &[]) }), Inserted::Newer);
    }
    let more = (most + 1..3 * most).filter(|number| put(&mut db, *number, lsa(*number, 1, &[])) == Inserted::Newer);
    assert_eq!(more.count(), MAX_ROUTERS - 1);
    assert!(db.len() < MAX_ENTRIES && db.digest().len() < MAX_ENTRIES);
}

/// Invariant 3.
#[test]
fn a_handle_has_one_place_whatever_the_order() {
    // One device, for which a dishonest issuer has certified many keys.
    let forged = |number: u16| {
        let mut forged = credential(number, EPOCH);
        forged.body.handle = handle(50, EPOCH);
        forged
    };
    let of = |order: &[u16]| {
        let mut db = Lsdb::new(router(9));
        put(&mut db, 2, lsa(2, 1, &[]));
        for number in order {
            let lsa = lsa(*number, 1, &[2]);
            let signed = signed(&lsa);
            db.insert(&forged(*number), lsa, signed, at(EPOCH));
        }
        assert_eq!(db.refused().second_of_handle, order.len() as u64 - 1);
        db.entries().map(|entry| entry.router).collect::<Vec<_>>()
    };
    assert_eq!(of(&[50, 51, 52, 53]), [router(2), router(50)]);
    assert_eq!(of(&[53, 51, 50, 52]), [router(2), router(50)]);
    // Nobody takes the place of this node.
    let mut db = Lsdb::new(router(50));
    assert_eq!(tell(&mut db, 50, lsa(50, 1, &[2])), Inserted::Newer);
    let (lsa, mut thief) = (lsa(3, 1, &[2]), credential(3, EPOCH));
    thief.body.handle = handle(50, EPOCH);
    let signed = signed(&lsa);
    assert_eq!(db.insert(&thief, lsa, signed, at(EPOCH)), Inserted::SecondOfHandle);
}
