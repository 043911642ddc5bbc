//! What members seal to a group and open, and when.

use super::*;
use crate::id::{Name, StreamId};
use crate::identity::group_tree::{self, GroupTree};
use crate::identity::invitation::MemoryRealm;
use crate::identity::membership::Membership;
use crate::identity::sign;
use crate::time::EpochLength;
use crate::wire::group::GroupMessage;
use crate::wire::{Signed, decode};
use rand_chacha::rand_core::SeedableRng;
use std::collections::BTreeSet;

const NOW: Unix = Unix(1_800_000_100_000_000);
const EPOCH: Epoch = Epoch(500_000);

fn members(seed: u8) -> (Vec<Membership>, ChaCha20Rng) {
    let mut rng = ChaCha20Rng::from_seed([seed; 32]);
    let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
    (realm.enrol(names, 1, NOW, &mut rng).expect("members"), rng)
}

fn batch() -> GroupBatch<'static> {
    let messages = vec![GroupMessage { topic: "plant/vmstat", number: 1, payload: b"line", request: false }];
    GroupBatch {
        stream: StreamId([1; 16]),
        first: 1,
        began: NOW.0,
        ends: false,
        messages,
        pause: 0,
        asks: false,
        rests: false,
        error: None,
    }
}

/// Invariant 2.
#[test]
fn members_open_what_a_member_seals_and_strangers_do_not() {
    let (members, mut rng) = members(1);
    let own = members[0].credential(NOW).expect("a credential").clone();
    let mut sender = members[0].groups().sender(&mut rng, ("plant", 0), EPOCH, own.clone()).expect("a key");
    let bytes = sender.seal(&batch(), NOW, NOW);
    let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
    assert!(sign::verify_signed(CONTEXT, &own.pseudonym(), &signed));
    let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
    let keys = members[1].groups();
    assert_eq!((frame.sender, frame.group), (own.hash, keys.tag("plant", EPOCH)));
    let plain = keys.open(&frame, "plant", &own.pseudonym()).expect("it opens");
    assert_eq!(decode::<GroupBatch<'_>>(&plain).expect("a batch"), batch());
    assert!(!bytes.windows(5).any(|part| part == b"plant"), "the topic stays inside the seal");

    assert_eq!(keys.open(&frame, "other", &own.pseudonym()), Err(GroupError::Group));
    assert_eq!(keys.open(&frame, "plant", &members[1].pseudonym(NOW)), Err(GroupError::Opening));
    for changed in [
        GroupFrame { expiry: frame.expiry + 1, ..frame.clone() },
        GroupFrame { sent: frame.sent + 1, ..frame.clone() },
        GroupFrame { counter: frame.counter + 1, ..frame.clone() },
    ] {
        assert_eq!(keys.open(&changed, "plant", &own.pseudonym()), Err(GroupError::Opening));
    }
    let newer = GroupFrame { version: 2, ..frame.clone() };
    assert!(matches!(keys.open(&newer, "plant", &own.pseudonym()), Err(GroupError::Version { .. })));
    let (strangers, _) = super::tests::members(2);
    assert!(strangers[0].groups().open(&frame, "plant", &own.pseudonym()).is_err());
}

/// Invariant 1.
#[test]
fn no_key_and_nonce_come_together_twice() {
    let (members, mut rng) = members(1);
    let own = members[0].credential(NOW).expect("a credential");
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let mut sender = members[0].groups().sender(&mut rng, ("plant", 0), EPOCH, own.clone()).expect("a key");
        for _ in 0..3 {
            let bytes = sender.seal(&batch(), NOW, NOW);
            let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
            let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
            assert!(seen.insert((frame.salt, frame.counter)));
        }
    }
}

#[test]
fn tags_change_with_group_and_epoch() {
    let (members, _) = members(1);
    let (keys, other) = (members[0].groups(), members[1].groups());
    let tag = keys.tag("plant", EPOCH);
    assert_eq!(tag, other.tag("plant", EPOCH));
    assert_ne!(tag, keys.tag("plant", Epoch(EPOCH.0 + 1)));
    assert_ne!(tag, keys.tag("plan", EPOCH));
    assert_eq!(keys.service_tag("echo", EPOCH), other.service_tag("echo", EPOCH));
    assert_ne!(keys.service_tag("echo", EPOCH), keys.service_tag("echo", Epoch(EPOCH.0 + 1)));
}

/// A realm whose bulletin names these versions, with the documents of all of them.
fn bulletin_of(versions: &[(Option<&str>, u32, u64)], excluded: &BTreeSet<u32>) -> (GroupTree, VerifiedBulletin) {
    let tree = GroupTree::new(Secret::new([1; 32]));
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
    let mut body = realm.bulletin.body().clone();
    let mut documents = Vec::new();
    body.groups.clear();
    for (group, version, from) in versions {
        let tag = group.map(|group| name_tag(body.realm, group));
        let excluded = if group.is_some() { excluded.clone() } else { BTreeSet::new() };
        let secret = Secret::new([*version as u8; 32]);
        let document = tree.seal_version(&mut rng, (tag, *version), &secret, 2, &excluded);
        body.groups.push(group_tree::reference(&document, *from));
        documents.push(encode(&document));
    }
    let mut bulletin = realm.founding.operator.sign(&body).expect("the operator's");
    for document in documents {
        assert_eq!(bulletin.attach(&document), Ok(true));
    }
    (tree, bulletin)
}

fn keys_of(tree: &GroupTree, leaf: u32, bulletin: &VerifiedBulletin, at: Unix) -> GroupKeys {
    let path = tree.path(leaf).expect("a leaf");
    let mut keys = GroupKeys::new(&path, &[], bulletin, None).expect("the root is covered");
    keys.set_time(at);
    keys
}

/// Invariant 1 of identity::group_versions.
#[test]
fn of_several_versions_the_highest_whose_time_has_come_holds() {
    let now = NOW.seconds();
    for order in [[2, 3, 1], [3, 1, 2], [1, 2, 3]] {
        let versions: Vec<_> = order.iter().flat_map(|v| [(None, *v, now), (Some("plant"), *v, now)]).collect();
        let (tree, bulletin) = bulletin_of(&versions, &BTreeSet::new());
        let keys = keys_of(&tree, 0, &bulletin, NOW);
        assert_eq!((keys.version("plant"), keys.version("other")), (Some(3), Some(3)));
    }
    let (tree, bulletin) = bulletin_of(&[(None, 1, 0), (None, 2, now + 60)], &BTreeSet::new());
    assert_eq!(keys_of(&tree, 0, &bulletin, NOW).version("x"), Some(1));
    assert_eq!(keys_of(&tree, 0, &bulletin, NOW + Duration::from_secs(60)).version("x"), Some(2));
}

/// Invariant 2 of identity::group_versions.
#[test]
fn frames_of_the_version_before_and_after_open_around_a_change() {
    let (members, mut rng) = members(1);
    let (from, skew) = (NOW + Duration::from_secs(3_600), EpochLength::HOUR.skew());
    let (tree, bulletin) = bulletin_of(&[(None, 1, 0), (None, 2, from.seconds())], &BTreeSet::new());
    let from = Unix::from_seconds(from.seconds());
    let instant = Duration::from_micros(1);
    let mut opens = |sealed_at: Unix, opened_at: Unix| {
        let own = members[0].credential(NOW).expect("a credential").clone();
        let sender = keys_of(&tree, 0, &bulletin, sealed_at).sender(&mut rng, ("plant", 0), EPOCH, own.clone());
        let bytes = sender.expect("a key").seal(&batch(), NOW, NOW);
        let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
        let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
        let keys = keys_of(&tree, 1, &bulletin, opened_at);
        let opened = keys.open(&frame, "plant", &own.pseudonym()).is_ok();
        // A member that cannot open a frame does not listen to its tag either.
        let tags = keys.tags("plant", EPOCH);
        assert_eq!(tags.contains(&frame.group), opened);
        opened
    };
    let (before, after) = (from - instant, from);
    assert!(opens(before, before) && opens(after, after));
    assert!(opens(before, from + skew) && !opens(before, from + skew + instant));
    assert!(opens(after, from - skew) && !opens(after, from - skew - instant));
    let keys = keys_of(&tree, 0, &bulletin, NOW);
    assert_eq!(keys.next_change(), Some(from - skew));
}

/// Invariant 3 of identity::group_versions.
#[test]
fn a_group_that_becomes_listed_opens_what_was_sealed_before_and_after_around_that_time() {
    let (members, mut rng) = members(1);
    let (from, skew) = (Unix::from_seconds(NOW.seconds() + 3_600), EpochLength::HOUR.skew());
    let (tree, listed) = bulletin_of(&[(None, 1, 0), (Some("plant"), 1, from.seconds())], &BTreeSet::from([1]));
    let (_, unlisted) = bulletin_of(&[(None, 1, 0)], &BTreeSet::new());
    let instant = Duration::from_micros(1);
    let mut opens = |bulletin: &VerifiedBulletin, sealed_at: Unix, leaf: u32, opened_at: Unix| {
        let own = members[0].credential(NOW).expect("a credential").clone();
        let sender = keys_of(&tree, 0, bulletin, sealed_at).sender(&mut rng, ("plant", 0), EPOCH, own.clone());
        let bytes = sender.expect("a key").seal(&batch(), NOW, NOW);
        let signed: Signed<'_> = decode(&bytes).expect("a signed frame");
        let frame: GroupFrame<'_> = decode(signed.body).expect("a frame");
        let keys = keys_of(&tree, leaf, &listed, opened_at);
        let opened = keys.open(&frame, "plant", &own.pseudonym()).is_ok();
        assert_eq!(keys.tags("plant", EPOCH).contains(&frame.group), opened);
        opened
    };
    let (before, after) = (from - instant, from);
    assert!(opens(&listed, before, 1, before), "until then everybody reads it");
    assert!(opens(&unlisted, after, 0, after), "its publisher has not heard of it yet");
    assert!(opens(&listed, before, 0, from + skew) && !opens(&listed, before, 0, from + skew + instant));
    assert!(opens(&listed, after, 0, from - skew) && !opens(&listed, after, 0, from - skew - instant));
    assert!(opens(&listed, after, 0, after) && !opens(&listed, after, 1, after), "only those that it covers");
}

#[test]
fn a_key_that_a_newer_bulletin_drops_opens_for_a_while_yet() {
    let now = NOW.seconds();
    let (tree, first) = bulletin_of(&[(None, 1, 0)], &BTreeSet::new());
    let (_, second) = bulletin_of(&[(None, 2, now)], &BTreeSet::new());
    let before = keys_of(&tree, 0, &first, NOW);
    let path = tree.path(0).expect("a leaf");
    let mut keys = GroupKeys::new(&path, &[], &second, Some(&before)).expect("keys");
    keys.set_time(NOW);
    assert_eq!((keys.version("x"), keys.tags("x", EPOCH).len()), (Some(2), 2));
    keys.set_time(NOW + EpochLength::HOUR.skew() * 2);
    assert_eq!(keys.tags("x", EPOCH).len(), 1);
    // A version whose document has yet to come does not cut anybody off.
    let mut body = second.body().clone();
    body.groups[0].version = 3;
    let realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut ChaCha20Rng::from_seed([1; 32])).expect("a realm");
    let third = realm.founding.operator.sign(&body).expect("the operator's");
    let waiting = GroupKeys::new(&path, &[], &third, Some(&keys)).expect("keys");
    assert_eq!((waiting.version("x"), third.missing().len()), (Some(2), 1));
}

#[test]
fn a_listed_group_has_its_own_key_for_those_it_covers() {
    let versions = [(None, 1, 0), (Some("plant"), 5, 0)];
    let (tree, bulletin) = bulletin_of(&versions, &BTreeSet::from([1]));
    let plant = Some(name_tag(bulletin.realm(), "plant"));
    let (covered, excluded, later) =
        (keys_of(&tree, 0, &bulletin, NOW), keys_of(&tree, 1, &bulletin, NOW), keys_of(&tree, 2, &bulletin, NOW));
    assert_eq!((covered.version("plant"), covered.version("other")), (Some(5), Some(1)));
    assert_eq!((excluded.version("plant"), excluded.version("other")), (None, Some(1)));
    assert_eq!(later.version("plant"), None, "assigned later: not covered");
    let grant = [GroupKeyGrant { group: plant, version: 5, key: [5; 32], publishing: None }];
    let granted = GroupKeys::new(&tree.path(2).expect("a leaf"), &grant, &bulletin, None).expect("keys");
    assert_eq!(granted.tag("plant", EPOCH), covered.tag("plant", EPOCH));
    assert_ne!(excluded.tag("plant", EPOCH), covered.tag("plant", EPOCH));
    let (_, empty) = bulletin_of(&[], &BTreeSet::new());
    let nothing = GroupKeys::new(&tree.path(0).expect("a leaf"), &[], &empty, None);
    assert_eq!(nothing.err(), Some(GroupError::NoKey));
}
