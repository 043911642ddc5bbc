//! Who is let in over a line: nobody by what was recorded, changed, echoed or made up, and members by the checks of
//! admission.

use super::*;
use crate::identity::admission::AdmissionView;
use crate::identity::invitation::MemoryRealm;
use crate::identity::membership::Membership;
use crate::time::{EpochLength, Unix};
use crate::wire::bulletin::Revocation;

#[test]
fn a_member_of_another_realm_is_refused_at_both_ends_and_seldom_tried() {
    let of = settings(115_200, 256);
    let mut sim = Sim::of([line(1, of, [member(1, 9)], Time(0)), line(2, of, [member(2, 8)], Time(0))], of);
    sim.run(60);
    let before: usize = sim.recorded.iter().map(Vec::len).sum();
    assert!(sim.said.iter().flatten().any(|said| said == "refused realm"), "{:?}", sim.said);
    assert!(sim.said.iter().flatten().all(|said| said.starts_with("refused")), "{:?}", sim.said);
    sim.run(600);
    let octets = sim.recorded.iter().map(Vec::len).sum::<usize>() - before;
    assert!(octets < 30_000, "{octets}");
    assert_eq!(sim.lines.each_ref().map(Line::sessions), [0, 0]);
}

#[test]
fn one_that_is_refused_by_the_responder_hears_it() {
    // The one that begins lets in anybody of its realm 9; the other is of realm 9 by its hello, but lets in none.
    struct Nobody(Member);
    impl Guard for Nobody {
        type Peer = u8;
        fn own(&self) -> Pseudonym {
            self.0.own()
        }
        fn sign(&self, context: &str, body: &[u8]) -> Signature {
            self.0.sign(context, body)
        }
        fn seconds(&self) -> u64 {
            7
        }
        fn hello(&self, seconds: u64) -> Vec<u8> {
            self.0.hello(seconds)
        }
        fn answer(&self, theirs: &[u8]) -> Vec<u8> {
            self.0.answer(theirs)
        }
        fn verify(&self, _: &[u8], _: &Pseudonym) -> Result<u8, &'static str> {
            Err("revoked")
        }
    }
    let of = settings(115_200, 256);
    let mut initiator = line(1, of, [member(1, 9)], Time(0));
    let mut responder = Line::new(of, ChaCha20Rng::from_seed([2; 32]));
    // It never begins, since its timers are not asked.
    responder.enter(Nobody(member(2, 9)), Time(0));
    let (mut said, mut now) = (Vec::new(), Time(0));
    for _ in 0..2_000 {
        now = now + Duration::from_millis(5);
        let (mut forth, mut back) = (Vec::new(), Vec::new());
        initiator.handle_timeout(now);
        while initiator.transmit(&mut forth, now) {}
        responder.handle(&forth, now);
        while responder.transmit(&mut back, now) {}
        initiator.handle(&back, now);
        said.extend(core::iter::from_fn(|| initiator.event()).map(|event| format!("initiator {event:?}")));
        said.extend(core::iter::from_fn(|| responder.event()).map(|event| format!("responder {event:?}")));
    }
    let says = |end: &str, reason: &str| said.iter().any(|said| said.starts_with(end) && said.contains(reason));
    assert!(says("responder Refused", "revoked") && says("initiator Refused", "peer-refused"), "{said:?}");
    assert!(!said.iter().any(|said| said.contains("Up")), "{said:?}");
}

/// Invariant 2 of link::serial.
#[test]
fn a_recorded_session_is_taken_by_nobody_whenever_it_is_played_again() {
    let mut sim = Sim::up(settings(115_200, 256));
    for _ in 0..5 {
        sim.send(0, 3, b"to be done once");
        sim.send(1, 3, b"to be done once");
        sim.run(1);
    }
    assert_eq!(sim.got.each_ref().map(Vec::len), [5, 5]);
    let recorded = sim.recorded.clone();
    // To the same ends, while the session goes on; then to both after a restart, as either end.
    for at in 0..2 {
        for octets in &recorded {
            sim.lines[at].handle(octets, sim.now);
        }
    }
    sim.run(30);
    assert!(sim.lines[0].tally().stray > 5);
    for (at, octets) in [(0, &recorded[1]), (1, &recorded[0]), (0, &recorded[0])] {
        sim.faults.cut = true;
        sim.lines[at] = line(90 + at as u8, sim.settings, [member(1 + at as u8, 9)], sim.now);
        sim.lines[at].handle_timeout(sim.now);
        sim.lines[at].handle(octets, sim.now);
        sim.run(30);
        assert_eq!(sim.lines[at].sessions(), 0);
    }
    assert_eq!(sim.got.each_ref().map(Vec::len), [5, 5]);
}

#[test]
fn an_echo_of_what_an_end_has_sent_has_no_effect() {
    let of = settings(115_200, 256);
    // A line with a plug that leads back, and one that echoes besides.
    let mut plug = Sim::of([line(1, of, [member(1, 9)], Time(0)), line(2, of, [], Time(0))], of);
    (plug.faults.cut, plug.faults.echoes) = (true, true);
    plug.run(60);
    assert!(plug.said[0].is_empty());
    let mut sim = Sim::new(of, 1);
    sim.faults.echoes = true;
    sim.run(5);
    sim.send(0, 3, b"one");
    sim.send(1, 3, b"two");
    sim.run(20);
    assert_eq!(sim.got, [vec![b"two".to_vec()], vec![b"one".to_vec()]]);
    assert_eq!(sim.said.each_ref().map(Vec::len), [1, 1]);
}

/// Invariant 1 of link::serial::handshake.
#[test]
fn a_changed_octet_anywhere_in_a_handshake_never_lets_anybody_in() {
    let sim = Sim::up(settings(115_200, 512));
    let id = sim.ids(0)[0];
    let recorded = sim.recorded.clone();
    assert!(sim.lines[0].carried(id).is_some());
    // The first message of the initiator, with each octet changed and the check made to fit.
    let mut frames = Vec::new();
    let mut deframer = framing::Deframer::default();
    for octets in &recorded {
        frames.extend(octets.iter().filter_map(|octet| deframer.push(*octet)));
    }
    let first = frames.iter().find(|body| matches!(Packet::decode(body), Some(Packet::Piece(of)) if of.message == 1));
    let first = first.expect("a first message").clone();
    for at in 0..first.len() {
        let mut changed = first.clone();
        changed[at] ^= 1;
        let mut octets = Vec::new();
        framing::write(&changed, &mut octets);
        let mut other = line(50, sim.settings, [member(2, 9)], sim.now);
        other.handle(&octets, sim.now);
        assert!(other.event().is_none(), "octet {at}");
    }
}

/// Invariant 1 of link::serial.
#[test]
fn garbage_makes_nothing_grow() {
    let mut sim = Sim::up(settings(115_200, 128));
    let mut rng = ChaCha20Rng::from_seed([5; 32]);
    for round in 0..3_000 {
        let mut body = vec![0; (rng.next_u32() % 200) as usize];
        rng.fill_bytes(&mut body);
        body.insert(0, 1 + (round % 3) as u8);
        if let Some(message) = body.get_mut(9) {
            *message = 1 + (round % 4) as u8;
        }
        let mut octets = Vec::new();
        framing::write(&body, &mut octets);
        let now = sim.now;
        sim.lines[0].handle(&octets, now);
    }
    sim.send(1, 3, b"still here");
    sim.run_until(20, |sim| sim.got[0].len() == 1);
    assert_eq!(sim.lines[0].sessions(), 1);
}

/// A member by its admission view, at a time that it takes for the present.
struct Real {
    view: AdmissionView,
    key: SigningKey,
    at: Unix,
}

impl Guard for Real {
    type Peer = ();

    fn own(&self) -> Pseudonym {
        sign::public(&self.key)
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        sign::sign(&self.key, context, body)
    }

    fn seconds(&self) -> u64 {
        self.at.seconds()
    }

    fn hello(&self, _: u64) -> Vec<u8> {
        self.view.hello(self.at, 7)
    }

    fn answer(&self, _: &[u8]) -> Vec<u8> {
        self.view.hello(self.at, 7)
    }

    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<(), &'static str> {
        self.view.verify(hello, peer, self.at).map(drop).map_err(|reason| reason.code())
    }
}

fn real(member: &Membership, at: Unix) -> Real {
    Real { view: member.admission_view(), key: SigningKey::from_bytes(&member.libp2p_seed(at)), at }
}

/// What becomes of two members on a line: whether both have a session, and for which reasons they were refused.
fn meet(one: Real, two: Real) -> (bool, Vec<&'static str>) {
    let of = settings(115_200, 256);
    let mut lines = [1, 2].map(|seed| Line::new(of, ChaCha20Rng::from_seed([seed; 32])));
    let (mut refused, mut now) = (Vec::new(), Time(0));
    lines[0].enter(one, now);
    lines[1].enter(two, now);
    for _ in 0..3_000 {
        now = now + Duration::from_millis(2);
        for at in 0..2 {
            let mut out = Vec::new();
            lines[at].handle_timeout(now);
            while lines[at].transmit(&mut out, now) {}
            lines[1 - at].handle(&out, now);
            while let Some(event) = lines[at].event() {
                if let Event::Refused { reason, .. } = event
                    && !refused.contains(&reason)
                {
                    refused.push(reason);
                }
            }
        }
    }
    refused.sort_unstable();
    (lines.iter().all(|line| line.sessions() == 1), refused)
}

#[test]
fn members_meet_and_the_foreign_the_late_the_revoked_and_impostors_are_refused_with_their_reason() {
    let length = EpochLength::HOUR;
    let now = length.start(length.epoch_at(Unix(1_800_000_000_000_000))) + Duration::from_secs(10);
    let realm = |seed: u8| {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let mut realm = MemoryRealm::found(length, now, &mut rng).expect("a realm");
        let names = ["one", "two"].map(|name| crate::id::Name::new(name).expect("a name"));
        let mut members = realm.enrol(names, 2, now, &mut rng).expect("two members");
        let two = members.pop().expect("two members");
        (realm, members.pop().expect("two members"), two)
    };
    let ((founded, one, mut two), (_, foreign, _)) = (realm(1), realm(2));
    assert_eq!(meet(real(&one, now), real(&two, now)), (true, vec![]));
    assert_eq!(meet(real(&foreign, now), real(&two, now)), (false, vec!["realm"]));
    let late = now + Duration::from_secs(40 * 3_600);
    let (up, reasons) = meet(Real { at: now, ..real(&one, now) }, Real { at: late, ..real(&two, now) });
    assert!(!up && reasons.iter().any(|reason| ["expired", "not-yet-valid"].contains(reason)), "{reasons:?}");
    // Another's credential, under a key of its own.
    let impostor = Real { key: SigningKey::from_bytes(&[9; 32]), ..real(&one, now) };
    let (up, reasons) = meet(impostor, real(&two, now));
    assert!(!up && reasons.contains(&"wrong-peer"), "{reasons:?}");
    // Once two hears that one is revoked, one is refused, and still lets two in.
    let card = two.contacts().get(one.name()).expect("a card").clone();
    let mut body = founded.bulletin.body().clone();
    body.version = two.bulletin().version() + 1;
    let until = now.seconds() + 7 * 86_400;
    let (day, resolution_key, epoch_length) = (card.day, card.resolution_key, length);
    body.revocations.push(Revocation { day, resolution_key, epoch_length, until });
    let bulletin = founded.founding.operator.sign(&body).expect("the operator's");
    assert_eq!(two.accept_bulletin(bulletin.signed()), Ok(true));
    let (up, reasons) = meet(real(&one, now), real(&two, now));
    assert!(!up && reasons.contains(&"revoked"), "{reasons:?}");
}
