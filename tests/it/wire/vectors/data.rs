//! Frames of the data stream, and the plaintexts that are sealed inside them.

use super::Vector;
use super::world::*;
use m2mesh::id::*;
use m2mesh::wire::batch::{Ack, Batch, Message, PLAIN_BATCH, PLAIN_RECEIPTS, Purpose};
use m2mesh::wire::blob::Reference;
use m2mesh::wire::custody::{self, Custody, CustodyVerdict};
use m2mesh::wire::data::{Class, Form, Header, MailBox, Path, Policy, put_prefixed};
use m2mesh::wire::encode;
use m2mesh::wire::fragment::Fragment;
use m2mesh::wire::frame::{Kind, raw};
use m2mesh::wire::group::{self, GroupBatch, GroupFrame, GroupMessage};
use m2mesh::wire::group_repair::{Flow, GroupHave, GroupWant};
use m2mesh::wire::mail::Mail;
use m2mesh::wire::offer::Offer;
use m2mesh::wire::opener::{ANSWER, Opener};
use m2mesh::wire::parcel::{Head, Parcel, put_record};
use m2mesh::wire::receipt::{HopAck, NACK_CONTEXT, Receipt, Receipts, SessionNack, Verdict};

pub fn vectors() -> Vec<Vector> {
    let mut vectors = headers();
    vectors.extend(plaintexts());
    vectors.extend(sessions());
    vectors.extend(groups());
    vectors.extend(answers());
    vectors
}

fn header(form: Form, policy: Policy) -> Header {
    Header {
        to: Handle(opaque_array("handle")),
        class: Class::Telemetry,
        form,
        expiry: (NOW + 30) * 1_000_000,
        policy,
        segment: 0,
        mail: None,
    }
}

fn policy() -> Policy {
    Policy {
        weights: [0, 255, 64, 0],
        budget: Some(20_000),
        success: Some(60_000),
        avoid: Some(0b1_1000),
        copies: Some(2),
    }
}

fn path() -> Path {
    Path {
        outer: OuterId(opaque_array("outer")),
        hops: vec![CredentialPrefix(opaque_array("neighbour one")), CredentialPrefix(opaque_array("neighbour two"))],
        next: 1,
        visited: vec![credential_hash(PSEUDONYM).prefix()],
        spent: 150,
        age: 2_300,
    }
}

/// `length:u16 | header | length:u16 | path | sealed` as a frame.
fn frame(header: &Header, path: &Path, sealed: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    put_prefixed(&mut body, &encode(header));
    put_prefixed(&mut body, &encode(path));
    body.extend_from_slice(sealed);
    raw(Kind::Data, &body)
}

fn headers() -> Vec<Vector> {
    let plain = header(Form::Session, Policy::default());
    let record = opaque("session record", 8 + 8 + 40 + 16);
    vec![
        Vector::of("header", "Header", "no limits", &plain),
        Vector::of("header-limits", "Header", "every limit of a policy, form opener", &header(Form::Opener, policy())),
        Vector::of("header-mail", "Header", "form mail", &header(Form::Mail, Policy::default())),
        Vector::of("path-direct", "Path", "to a neighbour", &Path::default()),
        Vector::of("path", "Path", "the second of two hops is next", &path()),
        Vector::raw(
            "frame-data",
            "frame",
            "header, path-direct, and bytes that stand for a session record",
            frame(&plain, &Path::default(), &record),
        ),
        Vector::raw(
            "frame-data-routed",
            "frame",
            "the same with path: header and record are the same bytes",
            frame(&plain, &path(), &record),
        ),
    ]
}

fn stream() -> StreamId {
    StreamId(opaque_array("stream"))
}

fn batch(messages: Vec<Message<'_>>) -> Batch<'_> {
    Batch {
        stream: stream(),
        floor: 40,
        base: 41,
        sent: NOW * 1_000_000,
        ack: Ack::End,
        reply: vec![Handle(opaque_array("reply one")), Handle(opaque_array("reply two"))],
        messages,
    }
}

fn message(offset: u32, purpose: Purpose, payload: &[u8]) -> Message<'_> {
    Message { offset, purpose, payload, service: None, replies_to: None, lifetime: None }
}

fn receipts() -> Receipts {
    let receipt = |verdict, ranges| Receipt {
        stream: stream(),
        verdict,
        ranges,
        visited: vec![credential_hash(PSEUDONYM).prefix()],
        at: (NOW + 1) * 1_000_000,
    };
    Receipts {
        receipts: vec![receipt(Verdict::Delivered, vec![41, 43, 45, 45]), receipt(Verdict::NoService, vec![44, 44])],
    }
}

fn plaintexts() -> Vec<Vector> {
    let one = batch(vec![message(0, Purpose::Request, b"?")]);
    let several = batch(vec![
        Message { service: Some("relay"), lifetime: Some(5_000_000), ..message(0, Purpose::Request, b"on") },
        Message { replies_to: Some(InnerId { stream: stream(), sequence: 7 }), ..message(2, Purpose::Reply, b"done") },
        Message {
            replies_to: Some(InnerId { stream: stream(), sequence: 8 }),
            ..message(3, Purpose::Failure, b"stuck")
        },
    ]);
    let offer = Offer { capacity: 4, load: 1, awake: None };
    let asleep = Offer { awake: Some([NOW * 1_000_000, (NOW + 60) * 1_000_000]), ..offer };
    let told = encode(&offer);
    let place = Some(InnerId { stream: stream(), sequence: 10 });
    let anycast = batch(vec![
        Message { service: Some("relay"), ..message(0, Purpose::Enquiry, b"") },
        Message { service: Some("relay"), ..message(1, Purpose::Reservation, b"") },
        Message { service: Some("relay"), replies_to: place, ..message(2, Purpose::Offer, &told) },
        Message { service: Some("relay"), replies_to: place, ..message(3, Purpose::Request, b"on") },
        Message { replies_to: place, ..message(4, Purpose::Interrupted, b"restarted") },
    ]);
    let question = Reference { hash: BlobHash(opaque_array("question")), length: 1_000_000 }.to_bytes();
    let response = Reference { hash: BlobHash(opaque_array("response")), length: 70_000 }.to_bytes();
    let blobs = batch(vec![
        Message { service: Some("resize"), ..message(0, Purpose::BlobRequest, &question) },
        Message { replies_to: place, ..message(1, Purpose::BlobReply, &response) },
    ]);
    let Batch { stream, floor, base, sent, ack, reply, .. } = one.clone();
    let head =
        Head { stream, floor, base, sent, ack, reply, lifetime: 30_000_000, error: Some(250_000), push_only: true };
    let (mut records, mut parcel) = (Vec::new(), Vec::new());
    put_record(&mut records, 0, b"21.5");
    put_record(&mut records, 1_000, b"21.75");
    Parcel::put(&head, &records, &mut parcel);
    vec![
        Vector::of("parcel-head", "Head", "messages to the inbox, receipts wanted", &head),
        Vector::raw("plaintext-parcel", "plaintext", "type byte 2, parcel-head, and two records", parcel),
        Vector::of("batch", "Batch", "one request to the only service there, receipts wanted", &one),
        Vector::of("batch-several", "Batch", "request, reply and failure, and every optional field", &several),
        Vector::of(
            "batch-anycast",
            "Batch",
            "enquiry, reservation, offer, the request, and that it was interrupted",
            &anycast,
        ),
        Vector::of("batch-blobs", "Batch", "a request and a reply that are blobs of their senders", &blobs),
        Vector::of("offer", "Offer", "of a device that does not sleep", &offer),
        Vector::of("offer-asleep", "Offer", "of a device that sleeps", &asleep),
        Vector::raw(
            "plaintext-batch",
            "plaintext",
            "type byte 0 and batch",
            [&[PLAIN_BATCH][..], &encode(&one)].concat(),
        ),
        Vector::of("receipts", "Receipts", "41 to 43 and 45 delivered, 44 without a service", &receipts()),
        Vector::raw(
            "plaintext-receipts",
            "plaintext",
            "type byte 1 and receipts",
            [&[PLAIN_RECEIPTS][..], &encode(&receipts())].concat(),
        ),
    ]
}

fn sessions() -> Vec<Vector> {
    let opener = Opener {
        session: SessionId(opaque_array("session")),
        suites: 3,
        credential: opaque("sealed credential", signed_credential(PSEUDONYM).len() + 48),
        message: opaque_array("message"),
    };
    let mut sealed = Vec::new();
    put_prefixed(&mut sealed, &encode(&opener));
    sealed.extend(opaque("session record", 8 + 8 + 40 + 16));
    let mut answered = Vec::new();
    put_prefixed(&mut answered, &opaque("answer", ANSWER));
    answered.extend(opaque("session record", 8 + 8 + 40 + 16));
    let credential = opaque("sealed credential", signed_credential(PSEUDONYM).len() + 16);
    let mail =
        Mail { ephemeral: agreement_key(EPHEMERAL), credential: &credential, sealed: &opaque("sealed batch", 96) };
    vec![
        Vector::of("opener", "Opener", "credential and message stand for real ones; keys.json has these", &opener),
        Vector::raw(
            "frame-data-opener",
            "frame",
            "form opener: length, opener, record after header and path",
            frame(&header(Form::Opener, policy()), &Path::default(), &sealed),
        ),
        Vector::raw(
            "frame-data-answer",
            "frame",
            "form answer: length, answer, record after header and path",
            frame(&header(Form::Answer, policy()), &Path::default(), &answered),
        ),
        Vector::of("mail", "Mail", "the sealed part of form mail", &mail),
        Vector::of(
            "header-mail",
            "Header",
            "the header of a frame of form mail names day and box",
            &Header { mail: Some(MailBox { day: DAY, tag: Tag(opaque_array("box")) }), ..header(Form::Mail, policy()) },
        ),
    ]
}

fn groups() -> Vec<Vector> {
    let inner = GroupBatch {
        stream: stream(),
        first: 1,
        began: NOW * 1_000_000,
        ends: false,
        messages: vec![
            GroupMessage { topic: "plant/vmstat", number: 1, payload: b"r b swpd", request: false },
            GroupMessage { topic: "plant/vmstat", number: 2, payload: b"", request: true },
        ],
        pause: 250,
        asks: true,
        rests: false,
        error: Some(250_000),
    };
    let end = GroupBatch {
        first: 3,
        ends: true,
        messages: vec![GroupMessage { topic: "plant/vmstat", number: 2, payload: b"", request: false }],
        pause: 3_600_000,
        asks: false,
        rests: false,
        error: None,
        ..inner.clone()
    };
    let flow = Flow {
        group: Tag(opaque_array("group tag")),
        sender: credential_hash(PSEUDONYM),
        salt: opaque_array("salt"),
        ranges: vec![(0, 5), (7, 7)],
    };
    let have = GroupHave { flows: vec![flow.clone()], tell: vec![Tag(opaque_array("group tag"))] };
    let sealed = opaque("sealed group batch", encode(&inner).len() + 16);
    let frame = GroupFrame {
        epoch: EPOCH,
        sender: credential_hash(PSEUDONYM),
        group: Tag(opaque_array("group tag")),
        segment: 3,
        version: 2,
        sent: NOW * 1_000_000,
        expiry: (NOW + 30) * 1_000_000,
        salt: opaque_array("salt"),
        counter: 5,
        sealed: &sealed,
        permit: None,
    };
    let restricted = GroupFrame { permit: Some(Permit(opaque_array("permit"))), ..frame.clone() };
    vec![
        Vector::of("group-batch", "GroupBatch", "two messages to one topic", &inner),
        Vector::of("group-batch-end", "GroupBatch", "the end of a stream: its topics with their last numbers", &end),
        Vector::of("group-frame", "GroupFrame", "", &frame),
        Vector::of("group-frame-restricted", "GroupFrame", "with a permit", &restricted),
        Vector::of("group-have", "GroupHave", "what is kept of a group, and a question for the same", &have),
        Vector::of("group-want", "GroupWant", "", &GroupWant { flows: vec![flow] }),
        Vector::raw(
            "group-frame-signed",
            "Signed",
            "signed by the pseudonym",
            signed(PSEUDONYM, group::CONTEXT, &frame),
        ),
    ]
}

fn answers() -> Vec<Vector> {
    let nack = SessionNack {
        session: SessionId(opaque_array("session")),
        by: credential_hash(PSEUDONYM),
        at: NOW * 1_000_000,
    };
    let outer = OuterId(opaque_array("outer"));
    let kept = Custody {
        frame: outer,
        sealed: opaque_array("hash of the sealed part"),
        by: credential_hash(PSEUDONYM),
        verdict: CustodyVerdict::Kept,
        mailbox: Some(Tag(opaque_array("box"))),
    };
    vec![
        Vector::of("session-nack", "SessionNack", "", &nack),
        Vector::raw("session-nack-signed", "Signed", "signed by the pseudonym", signed(PSEUDONYM, NACK_CONTEXT, &nack)),
        Vector::of("hop-ack", "HopAck", "", &HopAck { frames: vec![outer, OuterId([0; 8])] }),
        Vector::of(
            "fragment",
            "Fragment",
            "the second of three",
            &Fragment { frame: 7, piece: 1, pieces: 3, bytes: &opaque("part", 64) },
        ),
        Vector::of("custody-kept", "Custody", "", &kept),
        Vector::of(
            "custody-refused",
            "Custody",
            "",
            &Custody { verdict: CustodyVerdict::OverQuota, mailbox: None, ..kept.clone() },
        ),
        Vector::raw(
            "custody-kept-signed",
            "Signed",
            "signed by the custodian's pseudonym",
            signed(PSEUDONYM, custody::CONTEXT, &kept),
        ),
    ]
}
