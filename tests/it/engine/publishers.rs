//! Restricted groups: who has the key without the right is heard by nobody and carried by nobody, and who has the right is heard,
//! whatever happens to keys, pseudonyms and rights of others.

use super::mesh::{Mesh, name};
use super::{outcome, seconds};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use m2mesh::counter::Counter;
use m2mesh::engine::api::{Command, Outcome, Refused, Reply, Token};
use m2mesh::engine::{Input, Settings};
use m2mesh::id::{Permit, StreamId, Tag};
use m2mesh::identity::anonymity::Anonymity;
use m2mesh::identity::kdf::{self, Secret, label};
use m2mesh::identity::permit::is_restricted;
use m2mesh::time::Epoch;
use m2mesh::wire::frame::{self, Frames, Kind};
use m2mesh::wire::group::{CONTEXT, GroupBatch, GroupFrame, GroupMessage};
use m2mesh::wire::{self, Signed};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::time::Duration;

const RELAY: usize = 1;
const PUMP: usize = 2;
const VALVE: usize = 3;
const HUB: usize = 4;
const MALLORY: usize = 5;

/// Everybody is next to the relay. The pump and the valve publish to `plant`, the hub listens, and Mallory could but for the permit.
struct Plant {
    mesh: Mesh,
    key: Secret,
    heard: Token,
    rng: ChaCha20Rng,
}

fn plant(settings: fn(usize) -> Settings) -> Plant {
    let mut mesh = Mesh::with(&["issuer", "relay", "pump", "valve", "hub", "mallory"], settings);
    for other in [0, PUMP, VALVE, HUB, MALLORY] {
        mesh.connect(RELAY, other);
    }
    mesh.run(seconds(1));
    let mut rng = ChaCha20Rng::seed_from_u64(5);
    mesh.realm.add_group("plant", None, mesh.now.unix, &mut rng).expect("a group");
    let may = [name("pump"), name("valve")];
    let key = mesh.realm.set_publishers("plant", Some(&may), mesh.now.unix, &mut rng).expect("restricted");
    let heard = subscribe(&mut mesh, HUB);
    let mut plant = Plant { mesh, key: key.expect("another key"), heard, rng };
    plant.tell(RELAY);
    plant.mesh.run(seconds(1));
    plant
}

fn subscribe(mesh: &mut Mesh, at: usize) -> Token {
    mesh.command(at, Command::subscribe("plant/#"))
}

impl Plant {
    /// The operator hands the newest bulletin to a node.
    fn tell(&mut self, at: usize) {
        let bulletin = &self.mesh.realm.bulletin;
        let documents = bulletin.documents().map(|document| document.to_vec()).collect();
        let signed = bulletin.signed().to_vec();
        self.mesh.command(at, Command::Bulletin { signed, documents });
    }

    fn let_publish(&mut self, names: &[&str]) {
        let names: Vec<_> = names.iter().map(|text| name(text)).collect();
        let now = self.mesh.now.unix;
        self.mesh.realm.set_publishers("plant", Some(&names), now, &mut self.rng).expect("another right");
    }

    fn publish(&mut self, at: usize, number: u8, lifetime: Duration) -> Token {
        let (topic, payload) = (format!("plant/{at}"), vec![number]);
        self.mesh.command(at, Command::Publish { topic, payload, policy: None, lifetime, confirm: None, latest: false })
    }

    /// What the hub has heard of a device, in order, and how many it was told to have missed.
    fn heard(&self, of: usize) -> (Vec<u8>, u64) {
        let topic = format!("plant/{of}");
        let (mut heard, mut lost) = (Vec::new(), 0);
        for (_, reply) in self.mesh.nodes[HUB].replies.iter().filter(|(token, _)| *token == self.heard) {
            match reply {
                Reply::Published(one) if one.topic == topic => {
                    lost += one.lost;
                    heard.push(one.payload[0]);
                }
                Reply::Missed(_) => lost += 1_000,
                _ => {}
            }
        }
        (heard, lost)
    }

    fn epoch(&self) -> Epoch {
        self.mesh.realm.bulletin.epoch_length().epoch_at(self.mesh.now.unix)
    }

    /// The tag of the group, as any reader computes it.
    fn tag(&mut self, at: usize) -> Tag {
        let epoch = self.epoch();
        self.mesh.nodes[at].engine.membership().groups().tag("plant", epoch)
    }

    /// A frame that a changed node of this device makes: it has the group's key, and signs with its own.
    fn craft(&mut self, at: usize, tag: Tag, permit: Option<Permit>, number: u8) -> Vec<u8> {
        let (unix, epoch, key) = (self.mesh.now.unix, self.epoch(), self.key.clone());
        let membership = self.mesh.nodes[at].engine.membership();
        let own = membership.credential(unix).expect("a credential").clone();
        let version = membership.groups().version("plant").expect("a key");
        let topic = format!("plant/{at}");
        let mut stream = [number; 16];
        stream[..4].copy_from_slice(&[0; 4]);
        let payload = [number];
        let messages = vec![GroupMessage { topic: &topic, number: 1, payload: &payload, request: false }];
        let batch = GroupBatch {
            stream: StreamId(stream),
            first: 1,
            began: unix.0,
            ends: false,
            messages,
            pause: 0,
            asks: false,
            rests: false,
            error: None,
        };
        let frame = GroupFrame {
            epoch,
            sender: own.hash,
            group: tag,
            segment: 0,
            version,
            sent: unix.0,
            expiry: unix.0 + 30_000_000,
            salt: [number; 16],
            counter: 0,
            sealed: &[],
            permit,
        };
        let aad = [
            &frame.sender.0[..],
            &frame.epoch.0.to_be_bytes(),
            &frame.group.0,
            &[frame.segment],
            &frame.version.to_be_bytes(),
            &frame.sent.to_be_bytes(),
            &frame.expiry.to_be_bytes(),
        ]
        .concat();
        let sender = kdf::derive(key.as_slice(), label::GROUP_SENDER, &[&own.pseudonym().0, &frame.salt]);
        let cipher = ChaCha20Poly1305::new((&*sender).into());
        let plain = wire::encode(&batch);
        let sealed = cipher.encrypt(&Nonce::default(), Payload { msg: &plain, aad: &aad }).expect("it seals");
        let frame = GroupFrame { sealed: &sealed, ..frame };
        frame::raw(Kind::Group, &own.sign_document(CONTEXT, &wire::encode(&frame)))
    }

    /// Hands a frame to a node as if a neighbour had sent it.
    fn bring(&mut self, to: usize, from: usize, frame: &[u8]) {
        let link = self.mesh.link(to, from).expect("a link");
        self.mesh.handle(to, Input::Frames { link, buffer: frame.to_vec().into() });
        self.mesh.run(seconds(1));
    }

    /// The permits in the frames that a node has sent.
    fn permits_of(&self, at: usize) -> Vec<(Tag, Permit)> {
        let mut permits = Vec::new();
        for sent in &self.mesh.nodes[at].sent {
            for frame in Frames(sent).flatten().filter(|frame| frame.kind == Kind::Group as u8) {
                let signed: Signed<'_> = wire::decode(frame.body).expect("signed");
                let frame: GroupFrame<'_> = wire::decode(signed.body).expect("a frame");
                permits.extend(frame.permit.map(|permit| (frame.group, permit)));
            }
        }
        permits
    }

    fn forbidden(&self, at: usize) -> u64 {
        self.mesh.counted(at, Counter::GroupFramesForbidden)
    }
}

fn groups_sent(mesh: &Mesh, at: usize) -> usize {
    let kinds = [Kind::Group as u8, Kind::GroupAgain as u8];
    mesh.nodes[at].sent.iter().filter(|sent| kinds.contains(&sent[4])).count()
}

/// Invariant 4 of engine::groups::group_frames.
/// At a relay, and at a receiver.
#[test]
fn who_has_the_key_and_no_permit_is_carried_and_heard_by_nobody() {
    let mut plant = plant(|_| Settings::default());
    let token = plant.publish(PUMP, 1, seconds(20));
    plant.mesh.run(seconds(5));
    assert!(outcome(&plant.mesh, PUMP, token).is_success());
    assert_eq!(plant.heard(PUMP), (vec![1], 0));
    let (tag, permit) = plant.permits_of(PUMP)[0];
    assert!(is_restricted(&tag) && tag == plant.tag(MALLORY), "Mallory reads it");
    // The frame itself is sound: with the pump's key and permit it is heard.
    let sound = plant.craft(PUMP, tag, Some(permit), 2);
    plant.bring(RELAY, PUMP, &sound);
    assert_eq!(plant.heard(PUMP).0, [1, 2]);
    let mut open = tag;
    open.0[0] &= 0x7f;
    let mut broken = permit;
    broken.0[40] ^= 1;
    let wrong = [(tag, None), (tag, Some(permit)), (tag, Some(broken)), (open, Some(permit))];
    for (number, (tag, permit)) in (10..).zip(wrong) {
        let (at_relay, carried) = (plant.forbidden(RELAY), groups_sent(&plant.mesh, RELAY));
        let frame = plant.craft(MALLORY, tag, permit, number);
        plant.bring(RELAY, MALLORY, &frame);
        assert_eq!(plant.forbidden(RELAY), at_relay + 1, "{number}");
        assert_eq!(groups_sent(&plant.mesh, RELAY), carried, "{number} is not carried");
        let at_hub = plant.forbidden(HUB);
        plant.bring(HUB, RELAY, &frame);
        // The hub knows Mallory's credential only if it asks for it, as for any frame.
        assert_eq!(plant.forbidden(HUB), at_hub + 1, "{number}");
    }
    // Nobody listens to the tag that the group would have without a restriction, and to none of another epoch.
    let frame = plant.craft(MALLORY, open, None, 20);
    plant.bring(RELAY, MALLORY, &frame);
    assert_eq!((plant.heard(MALLORY), plant.heard(PUMP).0), ((vec![], 0), vec![1, 2]));
}

#[test]
fn a_node_without_the_right_says_so_at_once() {
    let mut plant = plant(|_| Settings::default());
    // It has not asked the issuer since the bulletin came: it does so first.
    let first = plant.publish(MALLORY, 1, seconds(20));
    plant.mesh.run(seconds(8));
    let Outcome::Refused { reason } = outcome(&plant.mesh, MALLORY, first) else { unreachable!("it is refused") };
    assert!(reason.contains("no right to publish to plant") && reason.contains("publishers plant --add"), "{reason}");
    let second = plant.publish(MALLORY, 2, seconds(20));
    assert_eq!(plant.mesh.reply(MALLORY, second), Some(&Reply::Refused(Refused::NoRight("plant".into()))));
    // The operator gives it the right: no other key is needed for that.
    let before = plant.mesh.nodes[HUB].engine.membership().groups().version("plant");
    plant.let_publish(&["pump", "valve", "mallory"]);
    plant.tell(HUB);
    plant.mesh.run(Duration::from_millis(100));
    let third = plant.publish(MALLORY, 3, seconds(20));
    plant.mesh.run(seconds(8));
    assert!(outcome(&plant.mesh, MALLORY, third).is_success());
    assert_eq!(plant.heard(MALLORY), (vec![3], 0));
    assert_eq!(plant.mesh.nodes[HUB].engine.membership().groups().version("plant"), before);
    // The other groups are everybody's.
    let other = Command::Publish {
        topic: "yard/x".into(),
        payload: vec![1],
        policy: None,
        lifetime: seconds(5),
        confirm: None,
        latest: false,
    };
    let token = plant.mesh.command(MALLORY, other);
    plant.mesh.run(seconds(5));
    assert!(outcome(&plant.mesh, MALLORY, token).is_success());
}

/// A publication waits for the issuer until its deadline, and says that it has.
#[test]
fn without_an_answer_of_the_issuer_a_publication_ends_with_its_deadline() {
    let mut plant = plant(|_| Settings::default());
    plant.mesh.cut_off.insert(PUMP);
    let token = plant.publish(PUMP, 1, seconds(10));
    plant.mesh.run(seconds(11));
    let Outcome::Expired { reason } = outcome(&plant.mesh, PUMP, token) else { unreachable!("it has expired") };
    assert!(reason.contains("the issuer did not say"), "{reason}");
    plant.mesh.cut_off.clear();
    let token = plant.publish(PUMP, 2, seconds(100));
    plant.mesh.run(seconds(60));
    assert!(outcome(&plant.mesh, PUMP, token).is_success());
    assert_eq!(plant.heard(PUMP).0, [2]);
}

/// Invariant 1 of engine::groups::rights.
#[test]
fn a_right_that_is_taken_ends_with_the_bulletin_and_the_others_lose_nothing() {
    let mut plant = plant(|_| Settings::default());
    for at in [PUMP, VALVE] {
        plant.publish(at, 0, seconds(20));
    }
    plant.mesh.run(seconds(5));
    let (old, permit) = *plant.permits_of(PUMP).last().expect("it has published");
    plant.let_publish(&["valve"]);
    let mut number = 1;
    // The hub hears of it first, and at that moment a frame of the valve is on its way.
    for step in 0..40 {
        if step == 5 {
            plant.tell(HUB);
        }
        plant.publish(VALVE, number, seconds(30));
        number += 1;
        plant.mesh.run(Duration::from_millis(if step == 5 { 1 } else { 50 }));
    }
    plant.mesh.run(seconds(5));
    assert_ne!(plant.tag(HUB), old);
    assert_eq!(plant.heard(VALVE), ((0..number).collect(), 0), "in order, each once, and none is missing");
    // The pump's own node has asked, and refuses at once; to one that was changed nobody listens.
    let token = plant.publish(PUMP, 1, seconds(10));
    assert_eq!(plant.mesh.reply(PUMP, token), Some(&Reply::Refused(Refused::NoRight("plant".into()))));
    let frame = plant.craft(PUMP, old, Some(permit), 7);
    plant.bring(RELAY, PUMP, &frame);
    plant.bring(HUB, RELAY, &frame);
    let tag = plant.tag(HUB);
    let frame = plant.craft(PUMP, tag, Some(permit), 8);
    plant.bring(RELAY, PUMP, &frame);
    assert_eq!((plant.heard(PUMP).0, plant.forbidden(RELAY)), (vec![0], 1));
    // Everybody may again.
    let (now, mut rng) = (plant.mesh.now.unix, plant.rng.clone());
    plant.mesh.realm.set_publishers("plant", None, now, &mut rng).expect("open again");
    plant.tell(VALVE);
    plant.mesh.run(seconds(1));
    for at in [PUMP, VALVE, MALLORY] {
        plant.publish(at, 200, seconds(10));
    }
    plant.mesh.run(seconds(3));
    assert!([PUMP, VALVE, MALLORY].iter().all(|at| plant.heard(*at).0.last() == Some(&200)));
    assert!(!is_restricted(&plant.tag(HUB)));
}

/// What was published while the publisher did not know of the change comes later, to those who do, also when it has to wait for the issuer.
#[test]
fn what_was_published_on_the_other_side_of_a_cut_is_heard_when_it_heals() {
    let mut plant = plant(|_| Settings::default());
    plant.publish(VALVE, 0, seconds(20));
    plant.mesh.run(seconds(5));
    plant.mesh.disconnect(RELAY, VALVE);
    plant.let_publish(&["valve"]);
    plant.tell(HUB);
    for number in 1..10 {
        plant.publish(VALVE, number, seconds(300));
        plant.mesh.run(seconds(1));
    }
    plant.mesh.cut_off.insert(VALVE);
    plant.mesh.connect(RELAY, VALVE);
    plant.mesh.run(seconds(10));
    let waits = plant.publish(VALVE, 10, seconds(300));
    plant.mesh.run(seconds(1));
    assert_eq!(plant.heard(VALVE).0, [0], "it has no permit yet");
    plant.mesh.cut_off.clear();
    plant.mesh.run(seconds(120));
    assert!(outcome(&plant.mesh, VALVE, waits).is_success());
    assert_eq!(plant.heard(VALVE), ((0..11).collect(), 0));
}

/// Permits last over restarts, another key of the group and the turns of epochs, with the pseudonyms of these.
#[test]
fn a_publisher_is_heard_through_restarts_other_keys_and_other_pseudonyms() {
    let settings = |_| Settings { anonymity: Anonymity::Rotating, ..Settings::default() };
    let mut plant = plant(settings);
    plant.publish(PUMP, 0, seconds(20));
    plant.mesh.run(seconds(200));
    plant.mesh.cut_off.insert(PUMP);
    plant.mesh.restart(PUMP);
    plant.mesh.connect(RELAY, PUMP);
    plant.mesh.run(seconds(5));
    plant.publish(PUMP, 1, seconds(20));
    plant.mesh.run(seconds(5));
    assert_eq!(plant.heard(PUMP).0, [0, 1], "without the issuer");
    let (now, mut rng) = (plant.mesh.now.unix, plant.rng.clone());
    plant.mesh.realm.rekey_group("plant", now, &mut rng).expect("another key");
    plant.tell(RELAY);
    plant.mesh.run(seconds(1));
    plant.publish(PUMP, 2, seconds(20));
    plant.mesh.run(seconds(5));
    assert_eq!(plant.heard(PUMP).0, [0, 1, 2], "with the permits that it has");
    let before = plant.mesh.nodes[PUMP].engine.pseudonym();
    for number in 3..6 {
        plant.mesh.run(seconds(3_600));
        plant.publish(PUMP, number, seconds(20));
        plant.mesh.run(seconds(10));
        plant.mesh.cut_off.clear();
    }
    assert_ne!(plant.mesh.nodes[PUMP].engine.pseudonym(), before);
    assert_eq!(plant.heard(PUMP).0, [0, 1, 2, 3, 4, 5]);
}

/// A subscriber that was restarted does not hear again what is sealed again.
#[test]
fn what_is_sealed_again_is_heard_once_also_after_a_restart_of_the_subscriber() {
    let mut plant = plant(|_| Settings::default());
    for number in 0..5 {
        plant.publish(VALVE, number, seconds(600));
        plant.mesh.run(seconds(2));
    }
    assert_eq!(plant.heard(VALVE).0, [0, 1, 2, 3, 4]);
    plant.mesh.restart(HUB);
    plant.mesh.connect(RELAY, HUB);
    plant.heard = subscribe(&mut plant.mesh, HUB);
    plant.mesh.run(seconds(2));
    plant.let_publish(&["valve"]);
    plant.tell(RELAY);
    plant.mesh.run(seconds(5));
    plant.publish(VALVE, 5, seconds(600));
    plant.mesh.run(seconds(10));
    assert_eq!(plant.heard(VALVE).0, [5]);
}
