//! Tests of what the witness reports of devices that sleep, and of mail.

use super::tests::violated;
use super::*;
use crate::record::Source;
use crate::scenario;
use futures_timer::virtual_time;
use m2mesh::id::{OuterId, Signature};
use m2mesh::wire::custody::{Custody, CustodyVerdict};
use m2mesh::wire::data::{Class, Form, Header, Policy};
use m2mesh::wire::rest;
use m2mesh::wire::{Signed, encode};
use sha2::{Digest, Sha256};

const SCENARIO: &str = r#"
question = "?"
duration = "1h"
[bearers.wire]
[devices.meter]
sleep = { every = "10m", awake = "1m" }
parents = "mast"
[devices.mast]
count = 2
roles = ["mailbox"]
[[links]]
kind = "full"
"#;

const METER: usize = 0;
const MAST: usize = 1;
const OTHER: usize = 2;
const SEALED: &[u8] = b"sealed";

/// Runs a test with a witness, at a time of its own; returns the violated promises.
fn witnessed(test: impl FnOnce(&mut Witness) + Send + 'static) -> Vec<String> {
    let thread = std::thread::spawn(|| {
        virtual_time::install(NANOS);
        let source = Source { file: "witness.toml".to_owned(), text: SCENARIO.to_owned(), ..Source::default() };
        let plan = scenario::from_source(&source).and_then(|loaded| loaded.plan(None)).expect("a scenario");
        let mut witness = Witness::new(&plan);
        for device in [METER, MAST, OTHER] {
            witness.note_credentials(device, [hash(device)]);
            witness.note_handles(device, [handle(device)]);
        }
        test(&mut witness);
        virtual_time::uninstall();
        violated(&witness)
    });
    thread.join().expect("the witness does not panic")
}

fn hash(device: usize) -> CredentialHash {
    CredentialHash([device as u8 + 1; CredentialHash::LEN])
}

fn handle(device: usize) -> Handle {
    Handle([device as u8 + 1; Handle::LEN])
}

fn goes(witness: &mut Witness, (from, to): (usize, usize), kind: Kind, body: &[u8]) {
    witness.handle(&Going { from, to, under: [None; 2], bearer: 0, kind, length: body.len(), body });
}

fn tells(witness: &mut Witness, to: usize, away: u64) {
    goes(witness, (METER, to), Kind::Rest, &encode(&rest::Rest { parent: true, away }));
}

fn seal() -> [u8; 32] {
    Sha256::digest(SEALED).into()
}

fn states(witness: &mut Witness, by: usize, to: usize) {
    let (frame, sealed, verdict) = (OuterId([1; OuterId::LEN]), seal(), CustodyVerdict::Kept);
    let body = encode(&Custody { frame, sealed, by: hash(by), verdict, mailbox: None });
    let signed = encode(&Signed { body: &body, signature: Signature([0; 64]) });
    goes(witness, (by, to), Kind::Custody, &signed);
}

/// The header of mail for the meter, of use for an hour.
fn sent(witness: &mut Witness) {
    let expiry = witness.start + 3_600_000_000;
    let (class, form, policy) = (Class::Telemetry, Form::Mail, Policy::default());
    let header = Header { to: handle(METER), class, form, expiry, policy, segment: 0, mail: None };
    witness.note_mail_frame(&header, SEALED);
}

#[test]
fn who_was_told_does_not_disturb_a_sleeper_and_a_sleeper_is_silent() {
    let told = |does: fn(&mut Witness)| {
        witnessed(move |witness| {
            tells(witness, MAST, 60_000_000);
            goes(witness, (MAST, METER), Kind::Announce, &[]);
            witness.note_sleep(METER, true);
            does(witness);
        })
    };
    assert_eq!(told(|_| {}), [""; 0], "what is under way until the radio is off");
    assert_eq!(told(|witness| witness.note_call(MAST, METER)), ["rest-kept"]);
    assert_eq!(told(|witness| goes(witness, (MAST, METER), Kind::Announce, &[])), ["rest-kept"]);
    assert_eq!(told(|witness| witness.note_call(METER, MAST)), ["rest-kept"]);
    assert_eq!(told(|witness| witness.note_call(OTHER, METER)), [""; 0], "it was not told");
    let killed = |witness: &mut Witness| {
        witness.note_down(MAST);
        witness.note_call(MAST, METER);
    };
    assert_eq!(told(killed), [""; 0], "it has forgotten it");
    let later = |witness: &mut Witness| {
        virtual_time::advance(62 * NANOS);
        witness.note_call(MAST, METER);
    };
    assert_eq!(told(later), [""; 0], "it may be back");
    let back = |witness: &mut Witness| {
        witness.note_sleep(METER, false);
        witness.note_call(METER, MAST);
        tells(witness, MAST, 0);
        goes(witness, (MAST, METER), Kind::Announce, &[]);
    };
    assert_eq!(told(back), [""; 0]);
}

#[test]
fn mail_in_custody_is_on_a_disk_until_the_next_one_has_it() {
    let kept = |does: fn(&mut Witness)| {
        witnessed(move |witness| {
            sent(witness);
            witness.note_kept(MAST, seal(), witness.start + 3_600_000_000);
            states(witness, MAST, OTHER);
            does(witness);
        })
    };
    assert_eq!(kept(|_| {}), [""; 0]);
    assert_eq!(witnessed(|witness| states(witness, MAST, OTHER)), ["custody-kept"], "it is on no disk");
    assert_eq!(kept(|witness| witness.note_let_go(MAST, seal())), ["custody-kept"]);
    assert_eq!(kept(|witness| witness.note_mail_of_disk(MAST, &Default::default())), ["custody-kept"]);
    assert_eq!(kept(|witness| witness.note_mail_of_disk(MAST, &[seal()].into())), [""; 0]);
    let arrives = |witness: &mut Witness| {
        states(witness, METER, MAST);
        witness.note_let_go(MAST, seal());
    };
    assert_eq!(kept(arrives), [""; 0], "its receiver has it");
    let moves = |witness: &mut Witness| {
        witness.note_kept(OTHER, seal(), witness.start + 3_600_000_000);
        states(witness, OTHER, MAST);
        witness.note_let_go(MAST, seal());
        witness.note_let_go(OTHER, seal());
    };
    assert_eq!(kept(moves), ["custody-kept"], "the second one has lost it");
    let expires = |witness: &mut Witness| {
        virtual_time::advance(3_601 * NANOS);
        witness.note_let_go(MAST, seal());
    };
    assert_eq!(kept(expires), [""; 0], "its time is over");
}
