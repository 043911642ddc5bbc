//! Credential, card, bulletin, enrolment, ticket.

use super::Vector;
use super::world::*;
use m2mesh::id::*;
use m2mesh::time::Day;
use m2mesh::wire::bulletin::{
    self, Bulletin, Cover, GroupReference, GroupVersion, IssuerCertificate, Manager, Restriction, Revocation, Segment,
};
use m2mesh::wire::contact::{self, ContactCard, MailPrekey};
use m2mesh::wire::enrolment::{
    self, Answer, DeviceKeys, Grant, GroupKeyGrant, PathKeys, Permits, Publishing, Refusal, Request, SignedRequest,
};
use m2mesh::wire::hello::{EnrolHello, EnrolReply};
use m2mesh::wire::ticket::{PREFIX, Ticket};
use m2mesh::wire::{Signed, encode};
use sha2::{Digest, Sha256};

pub fn vectors() -> Vec<Vector> {
    let mut vectors = credentials();
    vectors.extend(bulletins());
    vectors.extend(cards());
    vectors.extend(enrolments());
    vectors.extend(tickets());
    vectors
}

fn credentials() -> Vec<Vector> {
    let body = encode(&credential(PSEUDONYM));
    let document = signed_credential(PSEUDONYM);
    let hash = Sha256::digest(&document);
    vec![
        Vector::of("credential-body", "Credential", "role broadcast, default segment", &credential(PSEUDONYM)),
        Vector::raw(
            "credential-signing-input",
            "signing-input",
            "what the issuer signs: context, a zero byte, body",
            [b"m2mesh/1 credential\0", &body[..]].concat(),
        ),
        Vector::raw("credential", "Signed", "the document: body and signature", document),
        Vector::raw(
            "credential-hash",
            "CredentialHash",
            "first 16 bytes of the document's SHA-256",
            hash[..16].to_vec(),
        ),
    ]
}

fn bulletin(covers: bool) -> Bulletin {
    let full = Bulletin {
        format: 1,
        version: 17,
        realm: realm(),
        operator: signing_key(OPERATOR),
        founded: FOUNDED,
        issued: NOW,
        next_update: NOW + 30 * 86_400,
        epoch_length: HOUR,
        auditor: agreement_key(AUDITOR),
        issuers: vec![IssuerCertificate {
            id: issuer(),
            key: signing_key(ISSUER),
            seal: agreement_key(SEAL),
            not_before: FOUNDED,
            not_after: FOUNDED + 3_650 * 86_400,
        }],
        revocations: vec![Revocation {
            day: DAY,
            resolution_key: opaque_array("revoked resolution key"),
            epoch_length: HOUR,
            until: NOW + 7 * 86_400,
        }],
        groups: group_versions()
            .iter()
            .zip([NOW - 86_400, NOW])
            .map(|(version, from)| reference(version, from))
            .collect(),
        managers: vec![Manager { key: signing_key(0x07), rights: 3u16.to_be_bytes(), segments: 1u64.to_be_bytes() }],
        segments: vec![Segment { bit: 3, name: "yard".to_owned(), reaches: 1u64.to_be_bytes() }],
    };
    if covers {
        return full;
    }
    let (revocations, groups, managers, segments) = (vec![], vec![], vec![], vec![]);
    Bulletin { version: 1, revocations, groups, managers, segments, ..full }
}

/// The documents that it names.
fn group_versions() -> [GroupVersion; 2] {
    let cover = |node, label| Cover { node, sealed: opaque_array(label) };
    let version = |group, version, label, cover| GroupVersion {
        format: 1,
        group,
        version,
        leaves: 6,
        salt: opaque_array(label),
        cover,
        restriction: None,
    };
    [
        version(None, 2, "salt 1", vec![cover(2, "cover 2"), cover(12, "cover 12")]),
        version(Some(Tag(opaque_array("group tag"))), 1, "salt 2", vec![cover(1, "cover 1")]),
    ]
}

fn reference(version: &GroupVersion, from: u64) -> GroupReference {
    let hash = Sha256::digest(encode(version)).into();
    GroupReference { group: version.group, version: version.version, from, hash }
}

fn bulletins() -> Vec<Vector> {
    let restriction = Restriction { generation: 1, sealed: opaque_array("sealed publishing key") };
    vec![
        Vector::of("bulletin-first", "Bulletin", "version 1 of a realm: one issuer, nothing else", &bulletin(false)),
        Vector::of(
            "bulletin-full",
            "Bulletin",
            "a revocation, a re-keyed root with two covers, a group of its own, a manager, a segment",
            &bulletin(true),
        ),
        Vector::of("group-version", "GroupVersion", "the root's in bulletin-full: two covers", &group_versions()[0]),
        Vector::of(
            "group-version-restricted",
            "GroupVersion",
            "of a group to which only some publish",
            &GroupVersion { restriction: Some(restriction), ..group_versions()[1].clone() },
        ),
        Vector::raw(
            "bulletin",
            "Signed",
            "bulletin-full, signed by the operator",
            signed(OPERATOR, bulletin::CONTEXT, &bulletin(true)),
        ),
    ]
}

fn prekey() -> MailPrekey {
    let key = agreement_key(PREKEY);
    let body = [&DAY.0.to_be_bytes()[..], &key.0].concat();
    MailPrekey { day: DAY, key, signature: sign(RENEWAL, contact::PREKEY_CONTEXT, &body) }
}

fn card(prekey: Option<MailPrekey>) -> ContactCard {
    ContactCard {
        name: Name::new("meter-17").expect("a name"),
        device: DeviceId(opaque_array("device id")),
        generation: 0,
        day: DAY,
        resolution_key: opaque_array("resolution key"),
        contact_key: agreement_key(CONTACT),
        epoch_length: HOUR,
        signer: signing_key(RENEWAL),
        prekey,
    }
}

fn cards() -> Vec<Vector> {
    vec![
        Vector::of("card", "ContactCard", "no mail prekey", &card(None)),
        Vector::of("card-with-prekey", "ContactCard", "the prekey signed by the renewal key", &card(Some(prekey()))),
    ]
}

fn request(keys: Option<DeviceKeys>, epochs: usize) -> Request {
    let key = |_| [&signing_key(PSEUDONYM).0[..], &agreement_key(AGREEMENT).0].concat();
    Request {
        version: 1,
        realm: realm(),
        issuer: issuer(),
        signer: signing_key(if keys.is_some() { TICKET } else { RENEWAL }),
        prekey: keys.is_none().then(prekey),
        keys,
        answer_key: agreement_key(ANSWER),
        first_epoch: EPOCH,
        epochs: (0..epochs).flat_map(key).collect(),
    }
}

fn grant() -> Grant {
    Grant {
        name: Name::new("meter-17").expect("a name"),
        device: DeviceId(opaque_array("device id")),
        generation: 0,
        day: DAY,
        resolution_key: opaque_array("resolution key"),
        epoch_length: HOUR,
        first_epoch: EPOCH,
        segments: 1u64.to_be_bytes(),
        roles: 2u16.to_be_bytes(),
        epochs: [
            &credential(PSEUDONYM).sealed_id[..],
            &sign(ISSUER, "m2mesh/1 credential", &encode(&credential(PSEUDONYM))).0,
        ]
        .concat(),
        bulletin: signed(OPERATOR, bulletin::CONTEXT, &bulletin(false)),
        path: PathKeys { leaf: 5, keys: opaque("path keys", 4 * 32) },
        group_keys: vec![GroupKeyGrant { group: None, version: 1, key: opaque_array("group key"), publishing: None }],
        documents: vec![encode(&group_versions()[1]).into()],
        cards: vec![ContactCard { name: Name::new("gateway").expect("a name"), day: Day(29), ..card(None) }],
        time: NOW,
        permits: vec![],
    }
}

fn publisher() -> Grant {
    let (group, generation) = (Tag(opaque_array("group tag")), 1);
    let publishing = Some(Publishing { generation, key: opaque_array("publishing key") });
    let key = GroupKeyGrant { group: Some(group), version: 2, key: opaque_array("key of the group"), publishing };
    let permit = [&EPOCH.0.to_be_bytes()[..], &opaque("permit", 64)].concat();
    let permits = vec![Permits { group, generation, permits: permit }];
    Grant { group_keys: vec![key], permits, documents: vec![], cards: vec![], ..grant() }
}

fn enrolments() -> Vec<Vector> {
    let keys = DeviceKeys { contact: agreement_key(CONTACT), renewal: signing_key(RENEWAL) };
    let first = request(Some(keys), 1);
    let body = encode(&first);
    let proofs = sign(PSEUDONYM, enrolment::KEY_CONTEXT, &body).0.to_vec();
    let signed = SignedRequest { signature: sign(TICKET, enrolment::CONTEXT, &body), body, proofs };
    let sealed = opaque("sealed request", 64);
    vec![
        Vector::of("request-first", "Request", "first enrolment, one epoch, signed by the ticket's key", &first),
        Vector::of("request-renewal", "Request", "renewal with a new mail prekey", &request(None, 2)),
        Vector::of("request-cards-only", "Request", "a renewal without epochs: cards and bulletin", &request(None, 0)),
        Vector::of(
            "request-signed",
            "SignedRequest",
            "request-first: the plaintext that is sealed to the issuer",
            &signed,
        ),
        Vector::of(
            "grant",
            "Grant",
            "one epoch, one card, leaf 5 (path keys cut to four levels for brevity), one group key, one document",
            &grant(),
        ),
        Vector::of(
            "grant-publisher",
            "Grant",
            "the same with the right to publish to a restricted group",
            &publisher(),
        ),
        Vector::of("answer-granted", "Answer", "", &Answer { granted: Some(grant()), refused: None }),
        Vector::of(
            "answer-refused",
            "Answer",
            "ticket-used",
            &Answer { granted: None, refused: Some(Refusal::TicketUsed) },
        ),
        Vector::of(
            "enrol-hello",
            "EnrolHello",
            "sealed bytes stand for a sealed SignedRequest",
            &EnrolHello { realm: realm(), issuer: issuer(), sealed: sealed.clone() },
        ),
        Vector::of("enrol-reply-sealed", "EnrolReply", "", &EnrolReply { sealed: Some(sealed), refused: None }),
        Vector::of(
            "enrol-reply-refused",
            "EnrolReply",
            "the relay itself refuses: no-issuer",
            &EnrolReply { sealed: None, refused: Some(Refusal::NoIssuer) },
        ),
    ]
}

fn tickets() -> Vec<Vector> {
    let ticket = Ticket {
        version: 1,
        realm: realm(),
        issuer: issuer(),
        seal: agreement_key(SEAL),
        secret: [TICKET; 32],
        expires: NOW + 86_400,
        addresses: vec!["/ip4/192.0.2.7/tcp/4400".to_owned(), "/ip4/192.0.2.7/udp/4400/quic-v1".to_owned()],
    };
    let encoded = encode(&ticket);
    let checked = [&encoded[..], &Sha256::digest(&encoded)[..4]].concat();
    let text = format!("{PREFIX}{}", data_encoding::BASE32_NOPAD.encode(&checked).to_ascii_lowercase());
    vec![
        Vector::of("ticket", "Ticket", "two addresses", &ticket),
        Vector::raw("ticket-text", "ticket-text", &text, text.clone().into_bytes()),
        Vector::of(
            "signed-empty",
            "Signed",
            "the shortest Signed",
            &Signed { body: &[], signature: Signature([0; 64]) },
        ),
    ]
}
