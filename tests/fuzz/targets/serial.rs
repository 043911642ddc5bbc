//! Octets from a serial line: whatever comes, the line keeps within its bounds, lets nobody in and goes on.
#![no_main]

use core::time::Duration;
use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use m2mesh::id::{Pseudonym, Signature};
use m2mesh::identity::sign;
use m2mesh::link::serial::Guard;
use m2mesh::link::serial::framing::{self, Deframer};
use m2mesh::link::serial::line::{Event, Line, Settings};
use m2mesh::link::serial::packet::{Packet, Payload};
use m2mesh::time::Time;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

struct Anybody(SigningKey);

impl Guard for Anybody {
    type Peer = ();

    fn own(&self) -> Pseudonym {
        sign::public(&self.0)
    }

    fn sign(&self, context: &str, body: &[u8]) -> Signature {
        sign::sign(&self.0, context, body)
    }

    fn seconds(&self) -> u64 {
        0
    }

    fn hello(&self, _: u64) -> Vec<u8> {
        vec![0; 300]
    }

    fn answer(&self, _: &[u8]) -> Vec<u8> {
        vec![0; 300]
    }

    fn verify(&self, _: &[u8], _: &Pseudonym) -> Result<(), &'static str> {
        Ok(())
    }
}

fuzz_target!(|octets: &[u8]| {
    // As they come.
    let mut deframer = Deframer::default();
    for body in octets.iter().filter_map(|octet| deframer.push(*octet)) {
        assert!(body.len() <= framing::MAX_BODY);
    }
    // As the body of a sound line frame, and as what is sealed in one.
    if let Some(payload) = Payload::decode(octets) {
        let mut same = Vec::new();
        payload.encode(&mut same);
        assert_eq!(same, octets);
    }
    let _ = Packet::decode(octets);
    let mut framed = Vec::new();
    framing::write(octets, &mut framed);
    let settings = Settings { rate: 100_000, mtu: 128, keep: Duration::from_secs(15) };
    let mut line = Line::new(settings, ChaCha20Rng::from_seed([1; 32]));
    line.enter(Anybody(SigningKey::from_bytes(&[1; 32])), Time(0));
    let mut out = Vec::new();
    line.handle_timeout(Time(0));
    line.transmit(&mut out, Time(0));
    line.handle(octets, Time(1));
    line.handle(&framed, Time(2));
    while line.transmit(&mut out, Time(10_000_000)) && out.len() < 100_000 {}
    // Nobody can make a signature over a handshake with fresh keys from octets alone.
    while let Some(event) = line.event() {
        assert!(matches!(event, Event::Refused { .. }));
    }
});
