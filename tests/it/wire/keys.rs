//! The key schedule, computed a second time: from the primitives, as docs/protocol.md says, with fixed secrets. What
//! comes out is compared with what the library computes, and kept in `tests/vectors/keys.json`.

mod publishing;
mod session;

use super::vectors::check;
use super::vectors::world::*;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use data_encoding::HEXLOWER;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use m2mesh::id::*;
use m2mesh::identity::bulletin::VerifiedBulletin;
use m2mesh::identity::credential::{OwnCredential, PeerCredential};
use m2mesh::identity::group::{GroupKeys, name_tag};
use m2mesh::identity::group_tree::{GroupTree, open_version};
use m2mesh::identity::handle::DayKey;
use m2mesh::identity::kdf::Secret;
use m2mesh::identity::seal;
use m2mesh::identity::successor::prove;
use m2mesh::time::Day;
use m2mesh::wire::bulletin::{self, Bulletin, Cover, GroupReference, GroupVersion, IssuerCertificate};
use m2mesh::wire::credential::Credential;
use m2mesh::wire::encode;
use m2mesh::wire::group::GroupFrame;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write;
use x25519_dalek::{PublicKey, StaticSecret};

const RESOLVE: u8 = 0x21;
const TREE: u8 = 0x22;
const ROOT: u8 = 0x23;
/// The initiator's agreement and contact secrets; the responder's are those of the world.
const INITIATOR_AGREEMENT: u8 = AGREEMENT;
const INITIATOR_CONTACT: u8 = 0x18;
const SALT: [u8; 16] = [0x31; 16];
const GENERATION: u32 = 2;

fn derive(salt: Option<&[u8]>, key: &[u8], label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let info = [&[label.as_bytes(), &[0]], parts].concat().concat();
    let mut out = [0; 32];
    Hkdf::<Sha256>::new(salt, key).expand(&info, &mut out).expect("32 bytes are few");
    out
}

fn tag(key: &[u8], label: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(&[&[label.as_bytes(), &[0]], parts].concat().concat());
    mac.finalize().into_bytes().into()
}

fn aead(key: &[u8; 32], counter: u64, aad: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce: [u8; 12] = [&[0; 4][..], &counter.to_be_bytes()].concat().try_into().expect("12 bytes");
    let cipher = ChaCha20Poly1305::new(key.into());
    cipher.encrypt(&Nonce::from(nonce), Payload { msg: plain, aad }).expect("it encrypts")
}

fn dh(secret: u8, public: &AgreementKey) -> [u8; 32] {
    StaticSecret::from([secret; 32]).diffie_hellman(&PublicKey::from(public.0)).to_bytes()
}

fn head<const N: usize>(bytes: [u8; 32]) -> [u8; N] {
    bytes[..N].try_into().expect("a prefix")
}

/// Values of one derivation, by name, in the order in which they come up.
#[derive(Default)]
struct Entry {
    name: &'static str,
    inputs: Vec<(&'static str, String)>,
    outputs: Vec<(&'static str, String)>,
}

impl Entry {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    fn with(mut self, name: &'static str, value: &[u8]) -> Self {
        self.inputs.push((name, format!("\"{}\"", HEXLOWER.encode(value))));
        self
    }

    fn with_number(mut self, name: &'static str, value: u64) -> Self {
        self.inputs.push((name, value.to_string()));
        self
    }

    fn with_text(mut self, name: &'static str, value: &str) -> Self {
        self.inputs.push((name, format!("{value:?}")));
        self
    }

    fn gives(mut self, name: &'static str, value: &[u8]) -> Self {
        self.outputs.push((name, format!("\"{}\"", HEXLOWER.encode(value))));
        self
    }
}

fn render(entries: &[Entry]) -> String {
    let mut out = String::from(
        "{\n  \"about\": \"The key schedule of docs/protocol.md, section 4. Secrets and keys as in documents.json.\",\n  \"vectors\": [",
    );
    for (index, entry) in entries.iter().enumerate() {
        let separator = if index > 0 { "," } else { "" };
        write!(out, "{separator}\n    {{\n      \"name\": {:?}", entry.name).expect("a String takes everything");
        for (title, values) in [("inputs", &entry.inputs), ("outputs", &entry.outputs)] {
            let lines: Vec<_> = values.iter().map(|(name, value)| format!("        {name:?}: {value}")).collect();
            write!(out, ",\n      {title:?}: {{\n{}\n      }}", lines.join(",\n")).expect("a String takes everything");
        }
        out.push_str("\n    }");
    }
    out.push_str("\n  ]\n}\n");
    out
}

#[test]
fn the_key_schedule_is_as_specified() {
    let mut entries = vec![resolution(), later_formats()];
    entries.extend(seals());
    entries.push(session::session());
    entries.extend(tree());
    entries.push(group());
    entries.push(publishing::restricted_group());
    entries.push(mail());
    entries.push(successor());
    check("keys.json", &render(&entries));
}

fn resolution() -> Entry {
    let device = DeviceId(opaque_array("device id"));
    let first = derive(None, &[RESOLVE; 32], "m2mesh/1 resolution", &[&device.0, &GENERATION.to_be_bytes()]);
    let chain: Vec<_> =
        std::iter::successors(Some(first), |key| Some(derive(None, key, "m2mesh/1 day", &[]))).take(31).collect();
    let handle: [u8; 16] = head(tag(&chain[30], "m2mesh/1 handle", &[&EPOCH.0.to_be_bytes()]));

    let library = DayKey::first(&Secret::new([RESOLVE; 32]), device, GENERATION);
    for day in [0, 1, 30] {
        assert_eq!(**library.at(Day(day)).expect("a later day").key(), chain[day as usize]);
    }
    assert_eq!(library.handle(EPOCH, HOUR, FOUNDED), Some(Handle(handle)));

    Entry::new("resolution-chain")
        .with("K_resolve", &[RESOLVE; 32])
        .with("device", &device.0)
        .with_number("generation", GENERATION.into())
        .with_number("founded", FOUNDED)
        .with_number("epoch", EPOCH.0)
        .with_number("epoch_length", 3_600)
        .gives("RK(0)", &chain[0])
        .gives("RK(1)", &chain[1])
        .gives("RK(30)", &chain[30])
        .gives("handle", &handle)
}

/// Tags that no frame of this release uses: specified only.
fn later_formats() -> Entry {
    let key: [u8; 32] = opaque_array("resolution key");
    let service = tag(&[ROOT; 32], "m2mesh/1 service", &[&EPOCH.0.to_be_bytes(), b"relay"]);
    let commitment = Sha256::digest([[0x41; 32], [0x42; 32]].concat());
    Entry::new("later-formats")
        .with("RK(day)", &key)
        .with("root_group_key", &[ROOT; 32])
        .with_number("epoch", EPOCH.0)
        .with_text("service", "relay")
        .with("log_head", &[0x41; 32])
        .with("nonce", &[0x42; 32])
        .gives("box_tag", &tag(&key, "m2mesh/1 box", &[])[..8])
        .gives("service_tag", &service[..8])
        .gives("witness_commitment", &commitment)
}

fn seals() -> Vec<Entry> {
    let id = [&opaque("device id", 16)[..], &EPOCH.0.to_be_bytes()].concat();
    [
        ("sealed-id", "m2mesh/1 sealed id", AUDITOR, id),
        ("sealed-request", "m2mesh/1 enrolment request", SEAL, b"a signed request".to_vec()),
        ("sealed-answer", "m2mesh/1 enrolment answer", ANSWER, b"an answer".to_vec()),
    ]
    .into_iter()
    .map(|(name, context, receiver, plain)| {
        let (e, to) = (agreement_key(EPHEMERAL), agreement_key(receiver));
        let key = derive(None, &dh(EPHEMERAL, &to), context, &[&e.0, &to.0]);
        let sealed = [&e.0[..], &aead(&key, 0, &[], &plain)].concat();
        let opened = seal::open(&StaticSecret::from([receiver; 32]), context, &sealed);
        assert_eq!(opened.as_ref(), Ok(&plain), "{name} opens");
        Entry::new(name)
            .with_text("context", context)
            .with("ephemeral_secret", &[EPHEMERAL; 32])
            .with("receiver_secret", &[receiver; 32])
            .with("plain", &plain)
            .gives("ephemeral", &e.0)
            .gives("receiver", &to.0)
            .gives("key", &key)
            .gives("sealed", &sealed)
    })
    .collect()
}

/// A realm's bulletin with the issuer of the world and these groups.
fn realm_bulletin(groups: Vec<GroupReference>) -> Bulletin {
    Bulletin {
        format: 1,
        version: 1,
        realm: realm(),
        operator: signing_key(OPERATOR),
        founded: FOUNDED,
        issued: NOW,
        next_update: NOW + 86_400,
        epoch_length: HOUR,
        auditor: agreement_key(AUDITOR),
        issuers: vec![IssuerCertificate {
            id: issuer(),
            key: signing_key(ISSUER),
            seal: agreement_key(SEAL),
            not_before: FOUNDED,
            not_after: NOW + 86_400,
        }],
        revocations: vec![],
        groups,
        managers: vec![],
        segments: vec![],
    }
}

fn node_key(node: u32) -> [u8; 32] {
    derive(None, &[TREE; 32], "m2mesh/1 tree node", &[&node.to_be_bytes()])
}

fn sealed_version(
    (group, version): (Option<Tag>, u32),
    salt: [u8; 16],
    leaves: u32,
    nodes: &[u32],
    key: &[u8; 32],
) -> GroupVersion {
    let name = group.map_or([0; 8], |tag| tag.0);
    let cover = nodes.iter().map(|node| {
        let parts: [&[u8]; 4] = [&name, &version.to_be_bytes(), &node.to_be_bytes(), &salt];
        let sealed = aead(&derive(None, &node_key(*node), "m2mesh/1 group cover", &parts), 0, &[], key);
        Cover { node: *node, sealed: sealed.try_into().expect("a key and a tag") }
    });
    GroupVersion { format: 1, group, version, leaves, salt, cover: cover.collect(), restriction: None }
}

fn tree() -> Vec<Entry> {
    let tree = GroupTree::new(Secret::new([TREE; 32]));
    let path: Vec<u8> = (0..=20).flat_map(|level| node_key(((1 << 20) + 5) >> (20 - level))).collect();
    assert_eq!(tree.path(5).expect("a leaf").keys, path);

    // Leaves 0 to 5 are assigned, 3 is excluded: what is left are the subtrees of 0 and 1, of 2, and of 4 to 7.
    let bottom = 1u32 << 20;
    let nodes = [bottom >> 1, bottom + 2, (bottom + 4) >> 2];
    let mut rng = ChaCha20Rng::from_seed([0x33; 32]);
    let mut salt = [0; 16];
    rng.clone().fill_bytes(&mut salt);
    let version = sealed_version((None, 2), salt, 6, &nodes, &[ROOT; 32]);
    let key = Secret::new([ROOT; 32]);
    assert_eq!(tree.seal_version(&mut rng.clone(), (None, 2), &key, 6, &BTreeSet::from([3])), version);
    for leaf in 0..6 {
        let opened = open_version(&tree.path(leaf).expect("a leaf"), &version).map(|key| *key);
        assert_eq!(opened, (leaf != 3).then_some([ROOT; 32]), "leaf {leaf}");
    }
    let sealed: Vec<u8> = version.cover.iter().flat_map(|cover| cover.sealed).collect();
    let all = sealed_version((None, 1), salt, 1, &[1], &[ROOT; 32]);
    assert_eq!(tree.seal_version(&mut rng, (None, 1), &key, 1, &BTreeSet::new()), all);
    vec![
        Entry::new("path-keys").with("tree_secret", &[TREE; 32]).with_number("leaf", 5).gives("keys", &path),
        Entry::new("cover-of-all")
            .with("tree_secret", &[TREE; 32])
            .with_number("version", 1)
            .with_number("leaves", 1)
            .with("salt", &salt)
            .with("group_key", &[ROOT; 32])
            .gives("group_version", &encode(&all)),
        Entry::new("cover-without-leaf-3")
            .with("tree_secret", &[TREE; 32])
            .with_number("version", 2)
            .with_number("leaves", 6)
            .with_number("excluded", 3)
            .with("salt", &salt)
            .with("group_key", &[ROOT; 32])
            .gives("nodes", &nodes.map(u32::to_be_bytes).concat())
            .gives("sealed", &sealed)
            .gives("group_version", &encode(&version)),
    ]
}

fn group() -> Entry {
    let name: [u8; 8] = head(tag(&realm().0, "m2mesh/1 group name", &[b"plant"]));
    let key = derive(None, &[ROOT; 32], "m2mesh/1 group key", &[b"plant"]);
    let mut epoch_tag: [u8; 8] = head(tag(&key, "m2mesh/1 group tag", &[&EPOCH.0.to_be_bytes()]));
    epoch_tag[0] &= 0x7f;
    let sender = signing_key(PSEUDONYM);
    let sender_key = derive(None, &key, "m2mesh/1 group sender", &[&sender.0, &SALT]);
    let frame = GroupFrame {
        epoch: EPOCH,
        sender: credential_hash(PSEUDONYM),
        group: Tag(epoch_tag),
        segment: 0,
        version: 1,
        sent: NOW * 1_000_000,
        expiry: (NOW + 30) * 1_000_000,
        salt: SALT,
        counter: 5,
        sealed: &[],
        permit: None,
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
    let sealed = aead(&sender_key, frame.counter, &aad, b"a group batch");
    let frame = GroupFrame { sealed: &sealed, ..frame };

    let path = GroupTree::new(Secret::new([TREE; 32])).path(5).expect("a leaf");
    let document = encode(&sealed_version((None, 1), SALT, 1, &[1], &[ROOT; 32]));
    let named = GroupReference { group: None, version: 1, from: NOW, hash: Sha256::digest(&document).into() };
    let signed = signed(OPERATOR, bulletin::CONTEXT, &realm_bulletin(vec![named]));
    let mut bulletin = VerifiedBulletin::verify(realm(), &signed).expect("a sound bulletin");
    assert_eq!(bulletin.attach(&document), Ok(true));
    let library = GroupKeys::new(&path, &[], &bulletin, None).expect("the root reaches all");
    assert_eq!(name_tag(realm(), "plant").0, name);
    assert_eq!(library.tag("plant", EPOCH).0, epoch_tag);
    assert_eq!(library.open(&frame, "plant", &sender).as_deref(), Ok(&b"a group batch"[..]));
    let service = tag(&[ROOT; 32], "m2mesh/1 service", &[&EPOCH.0.to_be_bytes(), b"relay"]);
    assert_eq!(library.service_tag("relay", EPOCH).0, service[..8]);

    Entry::new("group")
        .with("realm", &realm().0)
        .with("root_group_key", &[ROOT; 32])
        .with_text("group", "plant")
        .with_number("epoch", EPOCH.0)
        .with_number("segment", 0)
        .with("sender", &sender.0)
        .with("salt", &SALT)
        .with_text("plain", "a group batch")
        .gives("name_tag", &name)
        .gives("K_group", &key)
        .gives("tag", &epoch_tag)
        .gives("sender_key", &sender_key)
        .gives("aad", &aad)
        .gives("group_frame", &encode(&frame))
}

/// Specified only: no frame of this release is mail.
fn mail() -> Entry {
    let credential = signed_credential(PSEUDONYM);
    let (h_i, handle): (_, [u8; 16]) = (credential_hash(PSEUDONYM), opaque_array("handle"));
    let (e, p) = (agreement_key(EPHEMERAL), agreement_key(PREKEY));
    let (c_i, c_r) = (agreement_key(INITIATOR_CONTACT), agreement_key(CONTACT));
    let (es, ss, cc) = (dh(EPHEMERAL, &p), dh(INITIATOR_AGREEMENT, &p), dh(INITIATOR_CONTACT, &c_r));
    let day = DAY.0.to_be_bytes();
    let credential_key = derive(None, &es, "m2mesh/1 mail credential", &[&day, &e.0, &p.0]);
    let sealed = aead(&credential_key, 0, &[], &credential);
    let transcript = Sha256::digest([b"m2mesh/1 mail transcript\0", &e.0[..], &p.0, &c_i.0, &c_r.0, &sealed].concat());
    let key = derive(Some(&transcript), &[es, ss, cc].concat(), "m2mesh/1 mail", &[&day, &h_i.0, &handle]);
    Entry::new("mail")
        .with_number("day", DAY.0.into())
        .with("ephemeral_secret", &[EPHEMERAL; 32])
        .with("sender_agreement_secret", &[INITIATOR_AGREEMENT; 32])
        .with("sender_contact_secret", &[INITIATOR_CONTACT; 32])
        .with("prekey_secret", &[PREKEY; 32])
        .with("receiver_contact_secret", &[CONTACT; 32])
        .with("receiver_handle", &handle)
        .with("sender_credential", &credential)
        .with_text("header", "header")
        .with_text("batch", "a batch")
        .gives("credential_key", &credential_key)
        .gives("sealed_credential", &sealed)
        .gives("transcript", &transcript)
        .gives("key", &key)
        .gives("sealed", &aead(&key, 0, b"header", b"a batch"))
}

/// Specified only: a pseudonym's next one, proven to one neighbour and to nobody else.
/// The library makes the proof of two credentials, both with the key of the world, as computed here.
fn successor_is_the_library(neighbour: &AgreementKey) {
    let own = |of: u8| {
        let seeds = [Secret::new([of; 32]), Secret::new([AGREEMENT; 32])];
        OwnCredential::new(&signed_credential(of), &seeds[0], &seeds[1]).expect("its keys")
    };
    let (old, new, hash) = (own(PSEUDONYM), own(SUCCESSOR), CredentialHash(opaque_array("the neighbour's credential")));
    let body = Credential { agreement: *neighbour, ..old.body.clone() };
    let to = PeerCredential { hash, body, signed: old.signed.clone() };
    let agreed = [dh(AGREEMENT, neighbour), dh(AGREEMENT, neighbour)].concat();
    let key = derive(None, &agreed, "m2mesh/1 successor", &[&old.hash.0, &new.hash.0, &hash.0]);
    let proof: [u8; 16] = head(tag(&key, "m2mesh/1 successor proof", &[&new.signed]));
    assert_eq!(prove(&old, &new, &to).expect("a sound key"), proof);
}

fn successor() -> Entry {
    const NEXT_AGREEMENT: u8 = 0x19;
    const NEIGHBOUR_AGREEMENT: u8 = 0x1a;
    let neighbour = agreement_key(NEIGHBOUR_AGREEMENT);
    let (old, new) = (dh(AGREEMENT, &neighbour), dh(NEXT_AGREEMENT, &neighbour));
    let (h_old, h_new, h_n) =
        (credential_hash(PSEUDONYM), credential_hash(SUCCESSOR), opaque_array::<16>("the neighbour's credential"));
    let key = derive(None, &[old, new].concat(), "m2mesh/1 successor", &[&h_old.0, &h_new.0, &h_n]);
    let proof: [u8; 16] = head(tag(&key, "m2mesh/1 successor proof", &[&signed_credential(SUCCESSOR)]));
    // The neighbour comes to the same by its own secret.
    for (secret, public) in [(AGREEMENT, old), (NEXT_AGREEMENT, new)] {
        assert_eq!(dh(NEIGHBOUR_AGREEMENT, &agreement_key(secret)), public);
    }
    successor_is_the_library(&neighbour);
    Entry::new("successor")
        .with("old_agreement_secret", &[AGREEMENT; 32])
        .with("new_agreement_secret", &[NEXT_AGREEMENT; 32])
        .with("neighbour_agreement_secret", &[NEIGHBOUR_AGREEMENT; 32])
        .with("h_old", &h_old.0)
        .with("h_new", &h_new.0)
        .with("h_neighbour", &h_n)
        .with("new_credential", &signed_credential(SUCCESSOR))
        .gives("key", &key)
        .gives("proof", &proof)
}
