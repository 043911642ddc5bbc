//! Sessions: the handshake made by hand on either side, against the library on the other.

use super::*;
use m2mesh::identity::bulletin::VerifiedBulletin;
use m2mesh::identity::credential::{OwnCredential, hash};
use m2mesh::identity::session::{ContactSecret, End, Session, SessionError};
use m2mesh::time::Unix;
use m2mesh::wire::bulletin::CONTEXT as BULLETIN;
use m2mesh::wire::credential::{CONTEXT as CREDENTIAL, Credential};
use m2mesh::wire::data::{Form, put_prefixed, split_record};
use m2mesh::wire::decode;
use m2mesh::wire::opener::Opener;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

/// The initiator's agreement secret; its pseudonym is the world's, the responder is the successor.
const INITIATOR: u8 = 0x19;
const INITIATOR_ID: SessionId = SessionId([0x32; 8]);
const RESPONDER_ID: SessionId = SessionId([0x33; 8]);
const ANSWERING: u8 = 0x34;
const SEALING: u8 = 0x35;
/// ChaCha20-Poly1305 alone.
const SUITES: u8 = 1;

/// State of `Noise_KKpsk0_25519_ChaChaPoly_SHA256`.
struct Noise {
    chain: [u8; 32],
    hash: [u8; 32],
    key: [u8; 32],
}

impl Noise {
    /// After the first message's keys; the tag is its payload.
    fn first(prologue: &[u8], psk: &[u8; 32], e: &AgreementKey, es: [u8; 32], ss: [u8; 32]) -> (Self, Vec<u8>) {
        let name = Sha256::digest(b"Noise_KKpsk0_25519_ChaChaPoly_SHA256").into();
        let mut noise = Self { chain: name, hash: name, key: [0; 32] };
        for part in [prologue, &agreement_key(INITIATOR).0, &agreement_key(AGREEMENT).0] {
            noise.mix_hash(part);
        }
        let [chain, hash, key] = noise.expand(psk);
        (noise.chain, noise.key) = (chain, key);
        noise.mix_hash(&hash);
        noise.mix_hash(&e.0);
        noise.mix(&e.0);
        noise.mix(&es);
        noise.mix(&ss);
        let tag = noise.seal(b"");
        (noise, [&e.0[..], &tag].concat())
    }

    /// The answer, and the keys of both directions.
    fn second(mut self, e: &AgreementKey, ee: [u8; 32], se: [u8; 32], payload: &[u8]) -> (Vec<u8>, [[u8; 32]; 2]) {
        self.mix_hash(&e.0);
        self.mix(&e.0);
        self.mix(&ee);
        self.mix(&se);
        let sealed = self.seal(payload);
        ([&e.0[..], &sealed].concat(), self.expand(b""))
    }

    fn early(&self) -> [u8; 32] {
        derive(Some(&self.hash), &self.chain, "m2mesh/1 session early", &[])
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.hash = Sha256::digest([&self.hash[..], data].concat()).into();
    }

    fn mix(&mut self, input: &[u8]) {
        let [chain, key] = self.expand(input);
        (self.chain, self.key) = (chain, key);
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let sealed = aead(&self.key, 0, &self.hash, payload);
        self.mix_hash(&sealed);
        sealed
    }

    fn expand<const N: usize>(&self, input: &[u8]) -> [[u8; 32]; N] {
        let mut out = vec![0; 32 * N];
        Hkdf::<Sha256>::new(Some(&self.chain), input).expand(&[], &mut out).expect("three hashes are few");
        std::array::from_fn(|index| out[32 * index..][..32].try_into().expect("32 bytes"))
    }
}

fn prologue(h_i: &CredentialHash, h_r: &CredentialHash, sealed: &[u8]) -> Vec<u8> {
    [b"m2mesh/1 session\0", &INITIATOR_ID.0[..], &[SUITES], &h_i.0, &h_r.0, sealed].concat()
}

fn record(id: &SessionId, key: &[u8; 32], counter: u64, plain: &[u8]) -> Vec<u8> {
    [&id.0[..], &counter.to_be_bytes(), &aead(key, counter, b"header", plain)].concat()
}

fn behind(before: &[u8], record: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::new();
    put_prefixed(&mut sealed, before);
    sealed.extend_from_slice(record);
    sealed
}

pub(super) fn session() -> Entry {
    let initiator = Credential { agreement: agreement_key(INITIATOR), ..credential(PSEUDONYM) };
    let credential = signed(ISSUER, CREDENTIAL, &initiator);
    let (h_i, h_r) = (hash(&credential), credential_hash(SUCCESSOR));
    let (e, r, e_r) = (agreement_key(EPHEMERAL), agreement_key(AGREEMENT), agreement_key(ANSWERING));
    let (c_i, c_r) = (agreement_key(INITIATOR_CONTACT), agreement_key(CONTACT));
    let e_s = agreement_key(SEALING);
    let sealing = derive(None, &dh(SEALING, &r), "m2mesh/1 session credential", &[&e_s.0, &r.0]);
    let sealed = [&e_s.0[..], &aead(&sealing, 0, &[], &credential)].concat();
    let psk = derive(None, &dh(INITIATOR_CONTACT, &c_r), "m2mesh/1 session psk", &[&c_i.0, &c_r.0]);
    let (es, ss) = (dh(EPHEMERAL, &r), dh(INITIATOR, &r));
    let (noise, message) = Noise::first(&prologue(&h_i, &h_r, &sealed), &psk, &e, es, ss);
    let (hash, early) = (noise.hash, noise.early());
    let opener = Opener {
        session: INITIATOR_ID,
        suites: SUITES,
        credential: sealed,
        message: message.try_into().expect("a key and a tag"),
    };
    let early_id = SessionId(e.0[..8].try_into().expect("8 bytes"));
    let (first, third) = (record(&early_id, &early, 0, b"first"), record(&early_id, &early, 2, b"third"));
    let payload = [&[0][..], &RESPONDER_ID.0].concat();
    let (answer, [forth, back]) = noise.second(&e_r, dh(EPHEMERAL, &e_r), dh(INITIATOR, &e_r), &payload);

    responder_is_the_library(&opener, [&first, &third], &h_i, &psk);
    initiator_is_the_library(&credential, &psk);

    Entry::new("session")
        .with("initiator_id", &INITIATOR_ID.0)
        .with("responder_id", &RESPONDER_ID.0)
        .with_number("suites", SUITES.into())
        .with("credential_ephemeral_secret", &[SEALING; 32])
        .with("initiator_ephemeral_secret", &[EPHEMERAL; 32])
        .with("responder_ephemeral_secret", &[ANSWERING; 32])
        .with("initiator_agreement_secret", &[INITIATOR; 32])
        .with("initiator_contact_secret", &[INITIATOR_CONTACT; 32])
        .with("responder_agreement_secret", &[AGREEMENT; 32])
        .with("responder_contact_secret", &[CONTACT; 32])
        .with("initiator_credential", &credential)
        .with("responder_credential_hash", &h_r.0)
        .with_text("header", "header")
        .gives("psk", &psk)
        .gives("handshake_hash_1", &hash)
        .gives("opener", &encode(&opener))
        .gives("early_key", &early)
        .gives("early_record_0_of_first", &first)
        .gives("early_record_2_of_third", &third)
        .gives("answer", &answer)
        .gives("key_0", &forth)
        .gives("key_1", &back)
        .gives("record_0_of_forth", &record(&RESPONDER_ID, &forth, 0, b"forth"))
        .gives("record_0_of_back", &record(&INITIATOR_ID, &back, 0, b"back"))
}

fn bulletin() -> VerifiedBulletin {
    VerifiedBulletin::verify(realm(), &signed(OPERATOR, BULLETIN, &realm_bulletin(vec![]))).expect("a sound bulletin")
}

fn responder_is_the_library(opener: &Opener, early: [&Vec<u8>; 2], h_i: &CredentialHash, psk: &[u8; 32]) {
    let own = signed_credential(SUCCESSOR);
    let own = OwnCredential::new(&own, &Secret::new([SUCCESSOR; 32]), &Secret::new([AGREEMENT; 32])).expect("its keys");
    let (bulletin, contact) = (bulletin(), ContactSecret::new([CONTACT; 32]));
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut accept = |contact_key: AgreementKey| {
        let end = End { id: RESPONDER_ID, suites: SUITES, own: &own, contact: &contact };
        let at = Unix::from_seconds(NOW);
        Session::accept(&mut rng, end, opener, &bulletin, at, &mut |_| Some(contact_key))
    };
    // Whoever has the credential's keys and not the card's cannot open a session.
    assert!(matches!(accept(agreement_key(CONTACT)), Err(SessionError::Proof)));
    let (mut library, peer) = accept(agreement_key(INITIATOR_CONTACT)).expect("the opener is accepted");
    assert_eq!((library.id(), library.to(), library.peer(), peer.hash), (RESPONDER_ID, INITIATOR_ID, *h_i, *h_i));
    let (mut plain, encoded) = (Vec::new(), encode(opener));
    for record in early {
        library.open_record(b"header", Form::Opener, &behind(&encoded, record), &mut plain).expect("it opens");
    }
    assert_eq!(plain, b"firstthird");
    let first = behind(&encoded, early[0]);
    assert_eq!(library.open_record(b"header", Form::Opener, &first, &mut plain), Err(SessionError::Replay));

    let (mut out, r) = (Vec::new(), agreement_key(AGREEMENT));
    library.seal_into(b"header", b"back", &mut out);
    let (answer, back) = split_record(Form::Answer, &out).expect("an answer");
    let e_r = AgreementKey(answer[..32].try_into().expect("a key"));
    let prologue = prologue(h_i, &credential_hash(SUCCESSOR), &opener.credential);
    let (noise, _) = Noise::first(&prologue, psk, &agreement_key(EPHEMERAL), dh(EPHEMERAL, &r), dh(INITIATOR, &r));
    let payload = [&[0][..], &RESPONDER_ID.0].concat();
    let (expected, [forth, key]) = noise.second(&e_r, dh(EPHEMERAL, &e_r), dh(INITIATOR, &e_r), &payload);
    assert_eq!((answer, back), (&expected[..], &record(&INITIATOR_ID, &key, 0, b"back")[..]));
    plain.clear();
    let on = record(&RESPONDER_ID, &forth, 0, b"forth");
    library.open_record(b"header", Form::Session, &on, &mut plain).expect("it opens");
    assert!(plain == b"forth" && library.is_confirmed());
}

fn initiator_is_the_library(credential: &[u8], psk: &[u8; 32]) {
    let own = OwnCredential::new(credential, &Secret::new([PSEUDONYM; 32]), &Secret::new([INITIATOR; 32]));
    let (own, contact) = (own.expect("its keys"), ContactSecret::new([INITIATOR_CONTACT; 32]));
    let peer = bulletin().verify_credential(&signed_credential(SUCCESSOR), Unix::from_seconds(NOW)).expect("it holds");
    let end = End { id: INITIATOR_ID, suites: SUITES, own: &own, contact: &contact };
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    let mut library = Session::open(&mut rng, end, &peer, &agreement_key(CONTACT)).expect("sound keys");
    let mut out = Vec::new();
    library.seal_into(b"header", b"first", &mut out);
    let (encoded, first) = split_record(Form::Opener, &out).expect("an opener");
    let opener: Opener = decode(encoded).expect("it decodes");
    let secret = StaticSecret::from([AGREEMENT; 32]);
    let opened = seal::open(&secret, "m2mesh/1 session credential", &opener.credential);
    assert_eq!(opened.as_deref(), Ok(credential));
    let e = AgreementKey(opener.message[..32].try_into().expect("a key"));
    let (es, ss) = (dh(AGREEMENT, &e), dh(AGREEMENT, &agreement_key(INITIATOR)));
    let (noise, message) = Noise::first(&prologue(&own.hash, &peer.hash, &opener.credential), psk, &e, es, ss);
    let early_id = SessionId(e.0[..8].try_into().expect("8 bytes"));
    assert_eq!((&opener.message[..], first), (&message[..], &record(&early_id, &noise.early(), 0, b"first")[..]));
    let payload = [&[0][..], &RESPONDER_ID.0].concat();
    let (ee, se) = (dh(ANSWERING, &e), dh(ANSWERING, &agreement_key(INITIATOR)));
    let (answer, [forth, back]) = noise.second(&agreement_key(ANSWERING), ee, se, &payload);
    let (mut plain, sealed) = (Vec::new(), behind(&answer, &record(&INITIATOR_ID, &back, 0, b"back")));
    library.open_record(b"header", Form::Answer, &sealed, &mut plain).expect("the answer is taken");
    out.clear();
    library.seal_into(b"header", b"forth", &mut out);
    assert_eq!((plain, out), (b"back".to_vec(), record(&RESPONDER_ID, &forth, 0, b"forth")));
}
