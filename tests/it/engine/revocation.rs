//! A device that the operator revokes is cut off at once, everywhere, and whatever it was part of goes on without it.

use super::mesh::{Mesh, name};
use super::{outcome, seconds};
use m2mesh::counter::Counter;
use m2mesh::engine::Input;
use m2mesh::engine::api::{Command, Outcome, Refused, Reply, Token};
use m2mesh::event_log::{Event, Logged};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::frame::{self, Kind};
use std::time::Duration;

/// Everybody is linked to `gone`, and all but that are a line.
const GONE: usize = 3;

fn mesh() -> Mesh {
    let mut mesh = Mesh::new(&["issuer", "a", "b", "gone"]);
    for (one, other) in [(0, 1), (1, 2), (0, GONE), (1, GONE), (2, GONE)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(1));
    mesh
}

/// The next bulletin, with its documents, as the operator hands it over.
fn revoke(mesh: &mut Mesh, device: &str) -> Command {
    let now = mesh.now.unix;
    let mut rng = rand_chacha::rand_core::SeedableRng::seed_from_u64(now.0);
    let bulletin = mesh.realm.revoke(&[name(device)], now, &mut rng).expect("the next bulletin");
    let documents = bulletin.documents().map(|document| document.to_vec()).collect();
    Command::Bulletin { signed: bulletin.signed().to_vec(), documents }
}

fn version(mesh: &mut Mesh, at: usize) -> u64 {
    mesh.nodes[at].engine.membership().bulletin().version()
}

fn linked(mesh: &Mesh, at: usize) -> Vec<usize> {
    (0..mesh.nodes.len()).filter(|other| mesh.link(at, *other).is_some()).collect()
}

fn logged(mesh: &Mesh, at: usize, wanted: impl Fn(&Event) -> bool) -> usize {
    mesh.log(at).iter().filter(|logged| matches!(logged, Logged::Known(event) if wanted(event))).count()
}

fn publish(mesh: &mut Mesh, at: usize, number: u8) {
    let topic = "plant/x".to_owned();
    let payload = vec![number];
    mesh.command(
        at,
        Command::Publish { topic, payload, policy: None, lifetime: seconds(30), confirm: None, latest: false },
    );
}

fn heard(mesh: &Mesh, at: usize, token: Token) -> Vec<u8> {
    let replies = mesh.nodes[at].replies.iter().filter(|(of, _)| *of == token);
    let payload = |(_, reply): &(Token, Reply)| match reply {
        Reply::Published(published) => Some(published.payload[0]),
        _ => None,
    };
    replies.filter_map(payload).collect()
}

/// Invariant of `engine::dispatch::revocation`, at every node that the bulletin has come to.
#[test]
fn links_to_a_revoked_device_end_at_all_others_with_the_reason() {
    let mut mesh = mesh();
    let bulletin = revoke(&mut mesh, "gone");
    let told = mesh.command(1, bulletin.clone());
    assert_eq!(mesh.reply(1, told), Some(&Reply::Bulletin { version: 2, newer: true }));
    assert_eq!(linked(&mesh, 1), [0, 2], "at once");
    mesh.run(Duration::from_millis(10));
    assert_eq!(linked(&mesh, GONE), Vec::<usize>::new());
    for at in 0..GONE {
        assert_eq!(version(&mut mesh, at), 2);
        let down = |event: &Event| matches!(event, Event::LinkDown { reason, .. } if reason == "revoked");
        mesh.run(seconds(1));
        assert_eq!(logged(&mesh, at, down), 1, "node {at}");
        let revoked = |event: &Event| matches!(event, Event::ContactChanged { name: gone, what } if *gone == name("gone") && what.contains("revoked"));
        assert_eq!(logged(&mesh, at, revoked), 1, "node {at}");
    }
    // Neither is it known as a router any more, nor let in again, whatever was decided before.
    let again = mesh.command(1, bulletin);
    assert_eq!(mesh.reply(1, again), Some(&Reply::Bulletin { version: 2, newer: false }));
    let routes = mesh.command(1, Command::Routes);
    let Some(Reply::Routes(routes)) = mesh.reply(1, routes) else { unreachable!("routes are answered") };
    assert!(routes.routers.iter().all(|router| router.name != "gone"), "{:?}", routes.routers);
    let way = mesh.command(1, Command::Route { to: name("gone"), policy: None });
    assert_eq!(mesh.reply(1, way), Some(&Reply::Refused(Refused::Revoked(name("gone")))), "why there is none");
}

#[test]
fn who_was_admitted_before_the_bulletin_came_is_turned_away_when_its_link_comes_up() {
    let mut mesh = Mesh::new(&["a", "gone"]);
    let own = mesh.nodes[0].own;
    let now = mesh.now.unix;
    let key = mesh.nodes[1].engine.membership().pseudonym(now);
    let hello = mesh.nodes[1].engine.membership().admission_view().hello(now, 1);
    let peer = mesh.nodes[0].engine.membership().admission_view().verify(&hello, &key, now).expect("a member");
    let bulletin = revoke(&mut mesh, "gone");
    mesh.command(0, bulletin);
    let link = m2mesh::id::LinkId(77);
    mesh.handle(0, Input::LinkUp { own, link, peer, transport: "memory", bearer: 0, age: Duration::ZERO });
    assert_eq!(mesh.nodes[0].engine.links().count(), 0);
    let refused = mesh.nodes[0].engine.membership().admission_view().verify(&hello, &key, now).expect_err("revoked");
    assert_eq!(refused.code(), "revoked");
}

#[test]
fn what_is_on_its_way_to_a_revoked_device_ends_at_once_and_says_why() {
    let mut mesh = mesh();
    // Sessions stand both ways.
    for (from, to) in [(1, "gone"), (GONE, "a")] {
        let token = mesh.send(from, to, b"before", Ack::End, 30);
        mesh.run(seconds(1));
        assert!(outcome(&mesh, from, token).is_success());
    }
    assert_eq!(mesh.inbox(1).len(), 1);
    let offer = mesh.command(GONE, Command::Offer { service: "slow".into(), capacity: None });
    let asked = mesh.command(1, Command::Request { send: super::message("gone", b"?", Ack::End, 60), service: None });
    mesh.run(seconds(1));
    assert!(matches!(mesh.reply(GONE, offer), Some(Reply::Call(_))));
    // One has left, and its receipt does not come; of the others it is certain that they have not.
    mesh.stuck.insert(GONE);
    let left = mesh.send(1, "gone", b"left", Ack::End, 60);
    mesh.run(Duration::from_millis(3));
    let blocked = mesh.link(1, GONE).expect("a link");
    for link in [Some(blocked), mesh.link(1, 0), mesh.link(1, 2)].into_iter().flatten() {
        mesh.handle(1, Input::Blocked(link, Class::Alarm));
    }
    let queued = mesh.send(1, "gone", b"queued", Ack::End, 60);
    let unconfirmed = mesh.send(1, "gone", b"queued", Ack::None, 60);
    let bulletin = revoke(&mut mesh, "gone");
    mesh.command(1, bulletin);
    mesh.run(seconds(1));
    for token in [queued, unconfirmed] {
        let ended = outcome(&mesh, 1, token);
        assert!(matches!(ended, Outcome::Refused { reason } if reason == "gone has been revoked"), "{ended:?}");
    }
    let ended = outcome(&mesh, 1, left);
    assert!(matches!(ended, Outcome::Expired { reason } if reason.contains("revoked")), "{ended:?}");
    let ended = outcome(&mesh, 1, asked);
    assert!(matches!(ended, Outcome::Expired { reason } if reason.contains("revoked")), "{ended:?}");
    // Nothing more is taken for it; what it has sent stays.
    for command in [
        Command::Send(super::message("gone", b"after", Ack::End, 60)),
        Command::Request { send: super::message("gone", b"after", Ack::End, 60), service: None },
    ] {
        let token = mesh.command(1, command);
        assert_eq!(mesh.reply(1, token), Some(&Reply::Refused(Refused::Revoked(name("gone")))));
    }
    assert_eq!((mesh.nodes[1].engine.outgoing_open(), mesh.inbox(1).len()), (0, 1));
    // So it is after a restart.
    mesh.restart(1);
    let token = mesh.send(1, "gone", b"after", Ack::End, 60);
    assert_eq!(mesh.reply(1, token), Some(&Reply::Refused(Refused::Revoked(name("gone")))));
}

#[test]
fn messages_kept_for_a_device_that_was_revoked_while_the_node_was_off_are_not_sent() {
    let mut mesh = Mesh::new(&["a", "gone"]);
    let token = mesh.send(0, "gone", b"kept", Ack::End, 3_600);
    mesh.run(seconds(1));
    let Command::Bulletin { signed, .. } = revoke(&mut mesh, "gone") else { unreachable!("a bulletin") };
    // As at the start of a node whose realm lies in its directory.
    assert_eq!(mesh.nodes[0].engine.membership().accept_bulletin(&signed), Ok(true));
    mesh.restart(0);
    mesh.run(seconds(1));
    assert_eq!((mesh.reply(0, token), mesh.nodes[0].engine.outgoing_open()), (None, 0));
    let told = |event: &Event| matches!(event, Event::ContactChanged { .. });
    assert!(logged(&mesh, 0, told) <= 1);
}

/// The side that has not heard of it talks on, until the first exchange with the other.
#[test]
fn the_other_side_of_a_partition_learns_of_a_revocation_at_the_first_exchange() {
    let mut mesh = Mesh::new(&["issuer", "a", "b", "c", "gone"]);
    for (one, other) in [(0, 1), (2, 3), (2, 4), (3, 4)] {
        mesh.connect(one, other);
    }
    mesh.run(seconds(1));
    let bulletin = revoke(&mut mesh, "gone");
    mesh.command(0, bulletin);
    mesh.run(seconds(60));
    let token = mesh.send(3, "gone", b"still", Ack::End, 30);
    mesh.run(seconds(1));
    assert!(outcome(&mesh, 3, token).is_success());
    mesh.connect(1, 2);
    mesh.run(Duration::from_millis(5));
    assert_eq!(linked(&mesh, 4), Vec::<usize>::new());
    assert_eq!((version(&mut mesh, 2), version(&mut mesh, 3)), (2, 2));
    let token = mesh.send(3, "gone", b"no more", Ack::End, 30);
    assert_eq!(mesh.reply(3, token), Some(&Reply::Refused(Refused::Revoked(name("gone")))));
}

#[test]
fn a_node_that_was_off_learns_of_a_revocation_at_its_first_admission() {
    // For a minute, and for a month, after which it has to ask for credentials first.
    for off in [60, 30 * 86_400] {
        let mut mesh = Mesh::new(&["issuer", "a", "late", "gone"]);
        mesh.connect(0, 1);
        mesh.run(seconds(1));
        mesh.stop(2);
        let bulletin = revoke(&mut mesh, "gone");
        mesh.command(0, bulletin);
        mesh.run(seconds(off));
        mesh.go_on(2);
        mesh.run(seconds(1));
        mesh.connect(1, 2);
        mesh.run(Duration::from_millis(5));
        assert_eq!(version(&mut mesh, 2), 2);
        assert!(mesh.nodes[2].engine.membership().contacts().is_revoked(&name("gone")));
        let token = mesh.send(2, "gone", b"?", Ack::End, 30);
        assert_eq!(mesh.reply(2, token), Some(&Reply::Refused(Refused::Revoked(name("gone")))));
    }
}

/// Invariant 6 of identity::contact. Contacts of a revoked device go on under a new generation of cards; whoever has not got theirs yet is found all along.
#[test]
fn contacts_of_a_revoked_device_get_new_cards_and_credentials_and_talk_on() {
    let mut mesh = mesh();
    let epoch = |mesh: &mut Mesh, at: usize, ahead: u64| {
        let when = mesh.now.unix + seconds(ahead);
        mesh.nodes[at].engine.membership().credential(when).expect("a credential").body.handle
    };
    let before = [epoch(&mut mesh, 1, 0), epoch(&mut mesh, 1, 3_600)];
    let bulletin = revoke(&mut mesh, "gone");
    mesh.command(2, bulletin);
    mesh.run(seconds(180));
    assert_eq!(epoch(&mut mesh, 1, 0), before[0], "what is in use stays");
    assert_ne!(epoch(&mut mesh, 1, 3_600), before[1]);
    for sent in 0..150 {
        let token = mesh.send(2, "issuer", b"on", Ack::End, 30);
        let back = mesh.send(0, "b", b"on", Ack::End, 30);
        mesh.run(seconds(60));
        assert!(outcome(&mesh, 2, token).is_success() && outcome(&mesh, 0, back).is_success(), "after {sent} min");
    }
    // The revoked device knows its contacts by handles that nobody has any more.
    let handle = epoch(&mut mesh, 1, 0);
    let now = mesh.now.unix;
    assert!(mesh.nodes[GONE].engine.membership().contacts().resolve(&handle, now).is_none());
    assert!(mesh.nodes[2].engine.membership().contacts().resolve(&handle, now).is_some());
}

#[test]
fn what_is_published_after_the_change_of_keys_a_revoked_device_cannot_read() {
    let mut mesh = mesh();
    let token = mesh.command(2, Command::subscribe("plant/#"));
    mesh.run(seconds(1));
    publish(&mut mesh, 1, 1);
    mesh.run(seconds(1));
    // A frame that the device has published stays with those who have read it, and is not handed on.
    publish(&mut mesh, GONE, 2);
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, token), [1, 2]);
    let bulletin = revoke(&mut mesh, "gone");
    let Command::Bulletin { signed, documents } = bulletin.clone() else { unreachable!("a bulletin") };
    mesh.command(1, bulletin);
    mesh.run(seconds(40));
    publish(&mut mesh, 1, 3);
    mesh.run(seconds(1));
    assert_eq!(heard(&mesh, 2, token), [1, 2, 3], "all others hear on");
    let version = |mesh: &mut Mesh, at: usize| {
        let now = mesh.now.unix;
        let membership = mesh.nodes[at].engine.membership();
        membership.groups_mut().set_time(now);
        membership.groups().version("plant")
    };
    assert_eq!([0, 1, 2].map(|at| version(&mut mesh, at)), [Some(2); 3]);
    // Even with the bulletin and all its documents the key is not there, and no frame of it opens.
    let gone = mesh.nodes[GONE].engine.membership();
    gone.accept_bulletin(&signed).expect("it holds");
    documents.iter().for_each(|document| drop(gone.accept_document(document)));
    assert_eq!(version(&mut mesh, GONE), None);
    let sealed =
        mesh.nodes[1].sent.iter().rev().find(|frame| frame[4] == Kind::Group as u8).expect("published").clone();
    let signed: m2mesh::wire::Signed<'_> = m2mesh::wire::decode(&sealed[frame::HEADER..]).expect("a frame");
    let group: m2mesh::wire::group::GroupFrame<'_> = m2mesh::wire::decode(signed.body).expect("a frame");
    assert_eq!(group.version, 2);
    let (now, key) = (mesh.now.unix, mesh.nodes[1].own);
    assert_eq!(mesh.nodes[1].engine.membership().pseudonym(now), key);
    let opened = mesh.nodes[GONE].engine.membership().groups().open(&group, "plant", &key);
    assert!(opened.is_err());
    assert!(mesh.nodes[0].engine.membership().groups().open(&group, "plant", &key).is_ok());
}

#[test]
fn a_bulletin_that_is_not_the_operators_is_refused_to_whoever_hands_it_over() {
    let mut mesh = mesh();
    let Command::Bulletin { mut signed, documents } = revoke(&mut mesh, "gone") else { unreachable!("a bulletin") };
    let last = signed.len() - 1;
    signed[last] ^= 1;
    let token = mesh.command(1, Command::Bulletin { signed: signed.clone(), documents: documents.clone() });
    assert!(matches!(mesh.reply(1, token), Some(Reply::Refused(Refused::Bulletin(_)))));
    assert_eq!((mesh.counted(1, Counter::BulletinsRefused), version(&mut mesh, 1)), (1, 1));
    signed[last] ^= 1;
    let documents = vec![documents[0].clone(), b"none".to_vec()];
    mesh.command(1, Command::Bulletin { signed, documents });
    assert_eq!(mesh.counted(1, Counter::DocumentsRefused), 0, "what the bulletin does not name is left lying");
    mesh.run(Duration::from_millis(10));
    assert_eq!((version(&mut mesh, 1), linked(&mesh, GONE)), (2, Vec::<usize>::new()));
}

#[test]
fn a_device_that_hears_that_it_is_revoked_says_so() {
    let mut mesh = mesh();
    let Command::Bulletin { signed, .. } = revoke(&mut mesh, "gone") else { unreachable!("a bulletin") };
    mesh.hand(GONE, 1, &frame::raw(Kind::Bulletin, &signed));
    mesh.run(seconds(1));
    let said =
        |event: &Event| matches!(event, Event::RenewalFailed { reason } if reason.contains("revokes this device"));
    assert_eq!(logged(&mesh, GONE, said), 1);
}

/// Who was parted while the group got another key, and for so long that frames under the one before do not open any more, is told that it may
/// have missed publications of that time, also of a publisher that it has not heard before.
#[test]
fn who_was_parted_while_groups_got_other_keys_is_told_that_it_may_have_missed_publications() {
    let mut mesh = mesh();
    let listens = mesh.command(2, Command::subscribe("plant/#"));
    mesh.run(seconds(5));
    mesh.disconnect(1, 2);
    mesh.disconnect(2, GONE);
    publish(&mut mesh, 1, 1);
    mesh.run(seconds(1));
    let revoked = revoke(&mut mesh, "gone");
    mesh.command(1, revoked);
    mesh.run(seconds(700));
    mesh.connect(1, 2);
    mesh.run(seconds(10));
    publish(&mut mesh, 1, 3);
    mesh.run(seconds(30));
    assert_eq!(heard(&mesh, 2, listens), [3]);
    let told =
        |(of, reply): &&(Token, Reply)| *of == listens && matches!(reply, Reply::Missed(missed) if missed.uncertain);
    assert_eq!(mesh.nodes[2].replies.iter().filter(told).count(), 1);
}

#[test]
fn a_node_rests_while_its_request_to_the_issuer_is_under_way() {
    let mut mesh = mesh();
    mesh.unanswered.insert(2);
    // It asks for the card of somebody, and meanwhile learns that others may have got new ones.
    mesh.send(2, "stranger", b"who are you?", Ack::End, 600);
    mesh.run(seconds(1));
    let bulletin = revoke(&mut mesh, "gone");
    mesh.command(0, bulletin);
    let steps = mesh.steps;
    mesh.run(seconds(300));
    assert_eq!(version(&mut mesh, 2), version(&mut mesh, 0), "it has the bulletin");
    assert!(mesh.steps - steps < 10_000, "{} steps in five minutes", mesh.steps - steps);
    // Once it is answered it asks for what was due meanwhile.
    mesh.unanswered.clear();
    mesh.handle(2, Input::Renewed(Err("it took too long".into())));
    mesh.run(seconds(300));
    assert!(!mesh.nodes[2].engine.membership().cards_are_due());
}
