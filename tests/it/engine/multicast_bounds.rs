//! Members that mean harm to publications, and bounds: what one of them costs, and that nobody else pays for it.

use super::mesh::Mesh;
use super::multicast::{all, heard, millis, publish, row, seconds, subscribe};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Reply};
use m2mesh::id::{CredentialHash, LinkId, StreamId, Tag};
use m2mesh::identity::group::GroupSender;
use m2mesh::wire::frame::{self, Kind};
use m2mesh::wire::group::{GroupBatch, GroupMessage};
use m2mesh::wire::group_repair::{Flow, GroupHave, GroupWant};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// Invariant 1 of engine::groups::wanted.
#[test]
fn a_neighbour_that_tells_of_frames_which_nobody_has_costs_little() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(1));
    let epoch = mesh.nodes[2].engine.membership().bulletin().epoch_length().epoch_at(mesh.now.unix);
    let group: Tag = mesh.nodes[2].engine.membership().groups().tag("plant", epoch);
    let lie = |salt: u8| Flow { group, sender: CredentialHash([7; 16]), salt: [salt; 16], ranges: vec![(0, u64::MAX)] };
    let before = mesh.nodes[2].sent.len();
    for salt in 0..20 {
        let have = GroupHave { flows: vec![lie(salt)], tell: vec![group] };
        mesh.hand(2, 1, &frame::of(Kind::GroupHave, &have));
    }
    mesh.run(seconds(1));
    let asked = mesh.nodes[2].sent[before..].iter().filter(|frame| frame[4] == Kind::GroupWant as u8).count();
    assert!(asked <= 256, "{asked} requests");
    assert!(mesh.counted(2, Counter::GroupRepairsDropped) > 0, "what is wanted has a bound");
    publish(&mut mesh, 0, "plant/x", 1, seconds(60));
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, listens), all(0..2));
    mesh.run(seconds(30));
    let wanted = mesh.nodes[2].engine.tables().into_iter().find(|table| table.name == "group frames wanted");
    assert_eq!(wanted.map(|table| table.entries), Some(0), "and an end");
    assert!(mesh.counted(2, Counter::GroupRepairsFailed) > 0);
}

/// Invariant 1 of engine::groups::repair.
#[test]
fn who_asks_for_the_same_frame_again_and_again_is_answered_at_its_share() {
    let (mut mesh, _) = row();
    for number in 0..2 {
        // The first one finds no tree yet, and is fetched.
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(seconds(1));
    }
    let before = mesh.counted(1, Counter::GroupFramesRepaired);
    let sent = mesh.nodes[1].sent.iter().rev().find(|frame| frame[4] == Kind::Group as u8).expect("one was pushed");
    let signed: m2mesh::wire::Signed<'_> = m2mesh::wire::decode(&sent[6..]).expect("signed");
    let one: m2mesh::wire::group::GroupFrame<'_> = m2mesh::wire::decode(signed.body).expect("a frame");
    let flow = Flow { group: one.group, sender: one.sender, salt: one.salt, ranges: vec![(1, 1)] };
    let want = frame::of(Kind::GroupWant, &GroupWant { flows: vec![flow] });
    for _ in 0..1_000 {
        mesh.hand(1, 2, &want);
    }
    let answered = mesh.counted(1, Counter::GroupFramesRepaired) - before;
    assert_eq!((answered, mesh.counted(1, Counter::GroupRequestsTooOften)), (64, 1_000 - 64));
    assert_eq!(mesh.counted(2, Counter::GroupFramesDuplicate), 0, "they are on their way");
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(2, Counter::GroupFramesDuplicate), 64);
    assert!(mesh.link(1, 2).is_some_and(|link| link != LinkId(0)), "the link stands");
}

/// Seals as a does to a group, under a salt of its own.
fn sender(mesh: &mut Mesh, rng: &mut ChaCha20Rng) -> GroupSender {
    let unix = mesh.now.unix;
    let member = mesh.nodes[0].engine.membership();
    let epoch = member.bulletin().epoch_length().epoch_at(unix);
    let own = member.credential(unix).expect("a credential").clone();
    member.groups().sender(rng, ("plant", 0), epoch, own).expect("a key")
}

/// A frame of a's with a message to each of these topics, the first in its stream but for `before`.
fn sealed(mesh: &Mesh, by: &mut GroupSender, stream: u16, before: u64, topics: &[String]) -> Vec<u8> {
    let unix = mesh.now.unix;
    let message = |topic| GroupMessage { topic, number: before + 1, payload: &[0, 0, 0, 1], request: false };
    let messages = topics.iter().map(|topic| message(topic.as_str())).collect();
    let mut id = [0; StreamId::LEN];
    // All of one process, one after the other.
    id[2..4].copy_from_slice(&stream.to_be_bytes());
    let began = unix.0 - 1_000_000 + u64::from(stream);
    let batch = GroupBatch {
        stream: StreamId(id),
        first: before + 1,
        began,
        ends: false,
        messages,
        pause: 0,
        asks: false,
        rests: false,
        error: None,
    };
    frame::raw(Kind::Group, &by.seal(&batch, unix, unix + seconds(60)))
}

/// Invariant 3 of engine.
/// Invariant 3 of engine::groups::shelf.
/// Invariant 2 of engine::groups::streams.
#[test]
fn a_publisher_that_begins_streams_without_end_is_forgotten_bit_by_bit_and_nobody_else_is() {
    let (mut mesh, listens) = row();
    let honest = publish(&mut mesh, 1, "plant/b", 0, seconds(600));
    mesh.run(seconds(1));
    assert!(mesh.ended.contains_key(&honest));
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let topics: Vec<String> = (0..9).map(|topic| format!("plant/{topic}")).collect();
    let mut first = sender(&mut mesh, &mut rng);
    let frame = sealed(&mesh, &mut first, 0, 0, &topics);
    mesh.hand(2, 1, &frame);
    for stream in 1..8_300 {
        let mut by = sender(&mut mesh, &mut rng);
        let frame = sealed(&mesh, &mut by, stream, 0, &topics);
        mesh.hand(2, 1, &frame);
        if stream % 500 == 0 {
            mesh.run(millis(1));
            mesh.forget_past();
        }
    }
    mesh.forget_past();
    for counter in [Counter::GroupFlowsForgotten, Counter::GroupStreamsForgotten, Counter::GroupTopicsForgotten] {
        assert!(mesh.counted(2, counter) > 10, "{counter:?}: {}", mesh.counted(2, counter));
    }
    for table in mesh.nodes[2].engine.tables() {
        assert!(table.entries <= table.bound, "{table:?}");
    }
    // The first one goes on, and nothing is known of it any more.
    assert_eq!(mesh.counted(2, Counter::GroupStreamsNotResumed), 0);
    mesh.run(millis(1));
    let frame = sealed(&mesh, &mut first, 0, 1, &topics[..1]);
    mesh.hand(2, 1, &frame);
    assert_eq!(mesh.counted(2, Counter::GroupStreamsNotResumed), 1);
    // b's stream is still known: the next message follows, and nothing is told as missed.
    publish(&mut mesh, 1, "plant/b", 1, seconds(60));
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, listens), [(1, 0)]);
}

/// A stream of which the beginning is missing is new, too: where there is room for all streams, none of them was forgotten.
#[test]
fn a_stream_that_was_not_heard_from_its_beginning_is_not_taken_for_a_forgotten_one() {
    let (mut mesh, listens) = row();
    mesh.run(seconds(2));
    let mut unheard = sender(&mut mesh, &mut ChaCha20Rng::seed_from_u64(9));
    let frame = sealed(&mesh, &mut unheard, 1, 1, &["plant/x".to_owned()]);
    mesh.hand(2, 1, &frame);
    mesh.run(seconds(60));
    assert_eq!(heard(&mesh, 2, listens).len(), 1);
    assert_eq!(mesh.counted(2, Counter::GroupStreamsNotResumed), 0);
}

/// Invariant 1 of engine::groups::streams.
/// Invariant 1 of engine::groups::succession.
#[test]
fn a_stream_that_another_has_followed_is_heard_no_more() {
    let (mut mesh, listens) = row();
    mesh.run(seconds(2));
    let mut rng = ChaCha20Rng::seed_from_u64(9);
    let (mut old, mut new) = (sender(&mut mesh, &mut rng), sender(&mut mesh, &mut rng));
    let topic = ["plant/x".to_owned()];
    for (by, stream, before, told, out_of_turn) in [(0, 1, 0, 1, 0), (1, 2, 0, 2, 0), (0, 1, 1, 2, 1), (1, 2, 1, 3, 1)]
    {
        let by = if by == 0 { &mut old } else { &mut new };
        let frame = sealed(&mesh, by, stream, before, &topic);
        mesh.hand(2, 1, &frame);
        mesh.run(seconds(1));
        assert_eq!(heard(&mesh, 2, listens).len(), told, "stream {stream} after {before}");
        assert_eq!(mesh.counted(2, Counter::GroupFramesOutOfTurn), out_of_turn);
    }
}

/// Invariants 1 and 3 of engine::groups::group_frames.
#[test]
fn a_forged_frame_leaves_the_true_one_wanted() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(1));
    mesh.disconnect(1, 2);
    publish(&mut mesh, 0, "plant/x", 1, seconds(60));
    mesh.run(seconds(1));
    let sent = mesh.nodes[1].sent.iter().rev().find(|frame| frame[4] == Kind::GroupAgain as u8);
    assert!(sent.is_some(), "the first one was fetched");
    let mut forged = mesh.nodes[0].sent.iter().rev().find(|frame| frame[4] == Kind::Group as u8).expect("sent").clone();
    // The signature is the last that there is.
    *forged.last_mut().expect("it is not empty") ^= 1;
    mesh.connect(1, 2);
    for _ in 0..20 {
        mesh.run(millis(1));
        mesh.hand(2, 1, &forged);
    }
    mesh.run(seconds(3));
    assert!(mesh.counted(2, Counter::GroupFramesForged) > 10);
    assert_eq!(heard(&mesh, 2, listens), all(0..2));
}

/// Invariant 1 of engine::neighbours::forgeries.
#[test]
fn a_neighbour_that_hands_on_what_is_forged_is_left_and_publications_go_round_it() {
    let mut mesh = Mesh::new(&["a", "b", "c", "liar"]);
    for (one, other) in [(0, 1), (1, 2), (0, 3), (3, 2)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(3));
    let listens = subscribe(&mut mesh, 2, "plant/#");
    mesh.run(seconds(3));
    // What b alone listens to has not been seen at c.
    subscribe(&mut mesh, 1, "other/#");
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "other/x", 0, seconds(60));
    mesh.run(seconds(1));
    let is_group = |frame: &&Vec<u8>| frame[4] == Kind::Group as u8;
    let mut forged = mesh.nodes[0].sent.iter().rev().find(is_group).expect("sent").clone();
    // The signature is the last that there is.
    *forged.last_mut().expect("it is not empty") ^= 1;
    mesh.hand(2, 3, &forged.repeat(200));
    let (forgeries, unseen) = (mesh.counted(2, Counter::GroupFramesForged), mesh.counted(2, Counter::FramesDistrusted));
    assert_eq!(forgeries, 32, "{unseen}");
    assert_eq!(unseen, 200 - 32);
    assert_eq!(mesh.link(2, 3), None, "it is closed");
    mesh.run(seconds(1));
    for number in 0..20 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(100));
    }
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, listens), all(0..20));
    // It may come back, and is taken at its word again once it has earned it.
    mesh.run(seconds(5));
    mesh.connect(3, 2);
    mesh.run(seconds(3));
    publish(&mut mesh, 0, "plant/x", 20, seconds(60));
    mesh.run(seconds(1));
    assert_eq!(mesh.counted(2, Counter::FramesDistrusted), unseen);
    assert_eq!(heard(&mesh, 2, listens), all(0..21));
}

/// Invariant 1 of engine::groups::repair.
#[test]
fn who_asks_to_be_told_again_and_again_is_told_now_and_then() {
    let (mut mesh, _) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(1));
    let epoch = mesh.nodes[1].engine.membership().bulletin().epoch_length().epoch_at(mesh.now.unix);
    let group = mesh.nodes[1].engine.membership().groups().tag("plant", epoch);
    let ask = frame::of(Kind::GroupHave, &GroupHave { flows: Vec::new(), tell: vec![group] });
    let before = mesh.nodes[1].sent.len();
    for _ in 0..1_000 {
        mesh.hand(1, 2, &ask);
        mesh.run(millis(1));
    }
    let told = mesh.nodes[1].sent[before..].iter().filter(|frame| frame[4] == Kind::GroupHave as u8).count();
    assert!((2..12).contains(&told), "{told} times in a second");
    assert!(mesh.counted(1, Counter::GroupRequestsTooOften) > 700);
}

/// Invariant 3 of engine::groups::tree.
#[test]
fn a_router_that_names_groups_of_its_own_making_leaves_room_for_those_of_others() {
    let (mut mesh, listens) = row();
    // As many as a node may have, and more than a relay has trees for, of two that nobody else listens with.
    for group in 0..1_024 {
        subscribe(&mut mesh, 1, &format!("made-up-{group}/#"));
    }
    mesh.run(seconds(8));
    let trees = mesh.nodes[1].engine.tables().into_iter().find(|table| table.name == "group trees");
    assert!(trees.is_some_and(|table| table.entries <= 2), "groups of one router take no place: {trees:?}");
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(3));
    assert_eq!(heard(&mesh, 2, listens), all(0..1));
}

/// Invariant 2 of engine::groups::shelf.
#[test]
fn what_is_kept_has_room_for_so_many_bytes_and_no_more() {
    let (mut mesh, listens) = row();
    for _ in 0..340 {
        let (topic, payload) = ("plant/x".to_owned(), vec![7; 56 * 1024]);
        mesh.command(
            0,
            Command::Publish { topic, payload, policy: None, lifetime: seconds(600), confirm: None, latest: false },
        );
        mesh.run(millis(10));
    }
    mesh.run(seconds(2));
    assert_eq!(
        mesh.nodes[2]
            .replies
            .iter()
            .filter(|(of, reply)| *of == listens && matches!(reply, Reply::Published(_)))
            .count(),
        340
    );
    for at in 0..3 {
        assert!(mesh.counted(at, Counter::GroupFramesUnkept) > 10, "at {at}");
        let kept = mesh.nodes[at].engine.tables().into_iter().find(|table| table.name == "group frames kept, bytes");
        assert!(kept.is_some_and(|table| table.entries <= table.bound), "{kept:?} at {at}");
    }
}

/// Invariant 3 of engine::groups::streams.
#[test]
fn early_frames_of_a_stream_are_held_back_while_no_others_need_the_room() {
    let (mut mesh, listens) = row();
    publish(&mut mesh, 0, "plant/x", 0, seconds(60));
    mesh.run(seconds(1));
    let before = mesh.nodes[0].sent.len();
    mesh.vanish.insert((0, 1));
    for number in 1..601 {
        publish(&mut mesh, 0, "plant/x", number, seconds(60));
        mesh.run(millis(2));
    }
    let frames: Vec<_> =
        mesh.nodes[0].sent[before..].iter().filter(|frame| frame[4] == Kind::Group as u8).cloned().collect();
    assert!(frames.len() > 500, "{}", frames.len());
    // All but the first, and that one at last.
    frames[1..].iter().for_each(|frame| mesh.hand(2, 1, frame));
    mesh.run(millis(100));
    assert_eq!(heard(&mesh, 2, listens), all(0..1));
    mesh.hand(2, 1, &frames[0]);
    mesh.run(millis(100));
    assert_eq!(heard(&mesh, 2, listens), all(0..601));
}
