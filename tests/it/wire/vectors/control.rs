//! Admission, and the frames of the control stream.

use super::Vector;
use super::world::*;
use m2mesh::id::*;
use m2mesh::wire::announce::Announce;
use m2mesh::wire::bulletin::BulletinRequest;
use m2mesh::wire::credential_exchange::CredentialRequest;
use m2mesh::wire::document::{DocumentPiece, DocumentRequest};
use m2mesh::wire::encode;
use m2mesh::wire::enrol_relay::{self, EnrolAnswer, EnrolRelay};
use m2mesh::wire::frame::{Kind, of, raw};
use m2mesh::wire::hello::{self, Hello};
use m2mesh::wire::locate::{Locate, Located};
use m2mesh::wire::lsa::{self, Lsa, LsaAccess, LsaDigest, LsaKey, LsaLink, LsaRequest};
use m2mesh::wire::ping::Ping;
use m2mesh::wire::rest::Rest;
use m2mesh::wire::successor::Successor;
use m2mesh::wire::time_beacon::{self, TimeBeacon, TimeRequest};
use m2mesh::wire::witness::Witness;
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

pub fn vectors() -> Vec<Vector> {
    let mut vectors = admission();
    vectors.extend(neighbours());
    vectors.extend(link_state());
    vectors.extend(frames());
    vectors
}

fn admission() -> Vec<Vector> {
    let hello = Hello {
        lowest: 1,
        highest: 1,
        credential: signed_credential(PSEUDONYM),
        bulletin: 17,
        seconds: NOW,
        process: 0x0102_0304_0506_0708,
    };
    let body = encode(&hello);
    let length = u16::try_from(body.len()).expect("a hello is short").to_be_bytes();
    vec![
        Vector::of("hello", "Hello", "", &hello),
        Vector::raw(
            "hello-envelope",
            "admission-message",
            "kind 1, length, body: as it stands on the admission substream",
            [&[hello::Kind::Member as u8][..], &length, &body].concat(),
        ),
        Vector::raw("ok-envelope", "admission-message", "kind 3, no body", vec![hello::Kind::Ok as u8, 0, 0]),
        Vector::raw(
            "clock-envelope",
            "admission-message",
            "kind 5, length, unix seconds: big endian",
            [&[hello::Kind::Clock as u8, 0, hello::CLOCK as u8][..], &NOW.to_be_bytes()].concat(),
        ),
        Vector::raw(
            "later-envelope",
            "admission-message",
            "kind 7, length, milliseconds until the turn: big endian",
            [&[hello::Kind::Later as u8, 0, hello::WAIT as u8][..], &1_250_u32.to_be_bytes()].concat(),
        ),
    ]
}

fn neighbours() -> Vec<Vector> {
    let address = |last| ByteBuf::from(vec![0x04, 192, 0, 2, last, 0x06, 0x11, 0x30]);
    let announce = Announce {
        forwarding: true,
        addresses: vec![address(7)],
        others: vec![address(8), address(9)],
        services: vec![Tag(opaque_array("service"))],
        groups: Vec::new(),
        area: 0,
        process: 0,
        set_forward: 0,
        push_only: false,
    };
    let successor = Successor { new: signed_credential(SUCCESSOR), proof: opaque_array("proof") };
    let nonce = opaque_array("nonce");
    let beacon = TimeBeacon { origin: credential_hash(PSEUDONYM), time: NOW * 1_000_000, error: 250_000, nonce };
    let relay = OuterId(opaque_array("relay"));
    let sealed = opaque("sealed request", 64);
    let (request, piece) = (Sha256::digest(&sealed).into(), opaque("piece", 48));
    let hash = opaque_array("document");
    let answer = EnrolAnswer { id: relay, request, piece: 1, pieces: 2, bytes: &piece };
    vec![
        Vector::of("announce", "Announce", "a router at 192.0.2.7 port 4400 with one service", &announce),
        Vector::of("announce-leaf", "Announce", "a leaf that says nothing", &Announce::default()),
        Vector::of(
            "announce-leaf-of-group",
            "Announce",
            "a leaf in area 3 that listens to a group",
            &Announce { groups: vec![Tag(opaque_array("group"))], area: 3, process: 77, ..Announce::default() },
        ),
        Vector::of(
            "announce-clock-set",
            "Announce",
            "a leaf whose clock was set back by a minute",
            &Announce { set_forward: -60_000, push_only: true, ..Announce::default() },
        ),
        Vector::of("ping", "Ping", "Pong has the same body", &Ping { stamp: 1_234_567 }),
        Vector::of("document-request", "DocumentRequest", "the second piece", &DocumentRequest { hash, piece: 1 }),
        Vector::of(
            "document-piece",
            "DocumentPiece",
            "the second of two pieces",
            &DocumentPiece { hash, piece: 1, pieces: 2, bytes: &piece },
        ),
        Vector::of("bulletin-request", "BulletinRequest", "", &BulletinRequest { have: 16 }),
        Vector::of(
            "credential-request",
            "CredentialRequest",
            "",
            &CredentialRequest { hash: credential_hash(PSEUDONYM) },
        ),
        Vector::of(
            "enrol-relay",
            "EnrolRelay",
            "after two hops",
            &EnrolRelay { id: relay, hops: 2, issuer: issuer(), sealed: &sealed },
        ),
        Vector::of("enrol-answer", "EnrolAnswer", "the second of two pieces", &answer),
        Vector::raw(
            "enrol-answer-signed",
            "Signed",
            "enrol-answer, signed by the issuer",
            signed(ISSUER, enrol_relay::CONTEXT, &answer),
        ),
        Vector::of(
            "successor",
            "Successor",
            "consent is by the new pseudonym, over the old credential's hash",
            &successor,
        ),
        Vector::of("time-request", "TimeRequest", "", &TimeRequest { nonce }),
        Vector::of("time-beacon", "TimeBeacon", "a quarter of a second's error", &beacon),
        Vector::raw("time-beacon-signed", "Signed", "", signed(PSEUDONYM, time_beacon::CONTEXT, &beacon)),
        Vector::of("rest", "Rest", "to a parent, for ten minutes", &Rest { parent: true, away: 600_000_000 }),
        Vector::of("witness", "Witness", "", &Witness { commitment: opaque_array("commitment") }),
    ]
}

fn link_state() -> Vec<Vector> {
    let link = |to: &str, bearer, price| LsaLink {
        to: CredentialHash(opaque_array(to)),
        bearer,
        price,
        delay: 1_200,
        deviation: 300,
        success: 65_000,
        energy: 40,
        rate: 100_000,
        mtu: 1_500,
    };
    let lsa = Lsa {
        origin: credential_hash(PSEUDONYM),
        sequence: 3,
        area: 0,
        leaving: false,
        links: vec![link("neighbour one", 0, 0), link("neighbour two", 2, 5_000_000)],
        leaves: vec![Handle(opaque_array("leaf"))],
        groups: vec![Tag(opaque_array("group tag"))],
        services: vec![],
        borders: vec![],
        accesses: vec![],
    };
    let access = LsaAccess {
        bearer: 1,
        price: 0,
        delay: 8_000,
        deviation: 900,
        success: 64_000,
        energy: 80,
        rate: 20_000,
        mtu: 1_500,
        leaves: vec![1],
    };
    let with_access = Lsa { sequence: 4, accesses: vec![access], ..lsa.clone() };
    let summary = Tag(opaque_array("summary"));
    let key = LsaKey { origin: lsa.origin, sequence: 3 };
    let sought = OuterId(opaque_array("locate"));
    vec![
        Vector::of("lsa", "Lsa", "an ethernet and a cellular link, one leaf, one group", &lsa),
        Vector::of("lsa-access", "Lsa", "tells what the link to the leaf is worth, too", &with_access),
        Vector::raw("lsa-signed", "Signed", "signed by the pseudonym", signed(PSEUDONYM, lsa::CONTEXT, &lsa)),
        Vector::of("lsa-digest", "LsaDigest", "", &LsaDigest { summary, entries: Some(vec![key]) }),
        Vector::of("lsa-digest-summary", "LsaDigest", "the summary alone", &LsaDigest { summary, entries: None }),
        Vector::of("lsa-request", "LsaRequest", "", &LsaRequest { origins: vec![lsa.origin] }),
        Vector::of(
            "locate",
            "Locate",
            "",
            &Locate { id: sought, handle: Handle(opaque_array("leaf")), ttl: 4, segments: 5u64.to_be_bytes() },
        ),
        Vector::of(
            "located",
            "Located",
            "in area 2, by two border nodes",
            &Located {
                id: sought,
                area: 2,
                via: vec![CredentialHash(opaque_array("border one")), CredentialHash(opaque_array("border two"))],
                cost: 2_000,
                delay: 40_000,
                credential: ByteBuf::from(signed_credential(PSEUDONYM)),
            },
        ),
    ]
}

fn frames() -> Vec<Vector> {
    let ping = Ping { stamp: 1_234_567 };
    vec![
        Vector::raw("frame-ping", "frame", "length, kind, flags, body", of(Kind::Ping, &ping)),
        Vector::raw(
            "frames-two",
            "frame",
            "two frames in one write: a ping, and the request for a newer bulletin",
            [of(Kind::Ping, &ping), of(Kind::BulletinRequest, &BulletinRequest { have: 16 })].concat(),
        ),
        Vector::raw(
            "frame-refresh",
            "frame",
            "a signed credential as a frame",
            raw(Kind::Refresh, &signed_credential(PSEUDONYM)),
        ),
    ]
}
