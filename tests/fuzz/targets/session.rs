//! What a stranger or a relay can send to a device: hellos, openers, answers, records. Nothing that was changed opens.
#![no_main]

use ed25519_dalek::SigningKey;
use libfuzzer_sys::fuzz_target;
use m2mesh::id::{AgreementKey, Handle, IssuerId, RealmId, SessionId};
use m2mesh::identity::admission::AdmissionView;
use m2mesh::identity::bulletin::VerifiedBulletin;
use m2mesh::identity::credential::OwnCredential;
use m2mesh::identity::kdf::{Secret, sha256};
use m2mesh::identity::session::{ContactSecret, End, Session};
use m2mesh::identity::sign;
use m2mesh::time::{Epoch, EpochLength, Unix};
use m2mesh::wire::bulletin::{self, Bulletin, IssuerCertificate};
use m2mesh::wire::credential::{self, Credential, SEALED_ID};
use m2mesh::wire::data::{Form, put_prefixed, split_record};
use m2mesh::wire::opener::Opener;
use m2mesh::wire::{decode, encode};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::{Arc, OnceLock};

const NOW: Unix = Unix(1_800_000_000_000_000);

/// Two members of a realm, and what the first has sent to the second.
struct World {
    bulletin: Arc<VerifiedBulletin>,
    first: Arc<OwnCredential>,
    second: Arc<OwnCredential>,
    first_contact: ContactSecret,
    second_contact: ContactSecret,
    opener: Vec<u8>,
    record: Vec<u8>,
    /// The second's, to the first's opener.
    answer: Vec<u8>,
    hello: Vec<u8>,
}

fuzz_target!(|bytes: &[u8]| {
    static WORLD: OnceLock<World> = OnceLock::new();
    let world = WORLD.get_or_init(World::new);
    let Some((choice, bytes)) = bytes.split_first() else { return };
    match choice % 8 {
        0 => world.accept(bytes),
        1 => world.accept(&change(&world.opener, bytes)),
        2 => world.open(bytes),
        3 => world.open(&change(&world.record, bytes)),
        4 => world.admit(bytes),
        5 => world.answer(bytes),
        6 => world.answer(&change(&world.answer, bytes)),
        _ => world.admit(&change(&world.hello, bytes)),
    }
});

/// Writes `byte` at `place` for every three bytes of the input.
fn change(original: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut changed = original.to_vec();
    for change in changes.chunks_exact(3) {
        let place = usize::from(u16::from_be_bytes([change[0], change[1]])) % changed.len();
        changed[place] = change[2];
    }
    changed
}

impl World {
    fn new() -> Self {
        let (operator, issuer) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let realm = RealmId(sha256(&[&sign::public(&operator).0]));
        let issuer_id = IssuerId::from_slice(&sha256(&[&sign::public(&issuer).0])[..8]).expect("8 bytes");
        let body = Bulletin {
            format: 1,
            version: 1,
            realm,
            operator: sign::public(&operator),
            founded: 0,
            issued: 0,
            next_update: u64::MAX,
            epoch_length: EpochLength::HOUR,
            auditor: AgreementKey([9; 32]),
            issuers: vec![IssuerCertificate {
                id: issuer_id,
                key: sign::public(&issuer),
                seal: AgreementKey([9; 32]),
                not_before: 0,
                not_after: u64::MAX,
            }],
            revocations: Vec::new(),
            groups: Vec::new(),
            managers: Vec::new(),
            segments: Vec::new(),
        };
        let signed = sign::sign_document(&operator, bulletin::CONTEXT, &encode(&body));
        let bulletin = Arc::new(VerifiedBulletin::verify(realm, &signed).expect("a sound bulletin"));
        let own = |seed: u8| {
            let body = Credential {
                version: 1,
                realm,
                issuer: issuer_id,
                epoch: Epoch(NOW.seconds() / 3_600),
                epoch_length: 3_600u32.to_be_bytes(),
                segments: 1u64.to_be_bytes(),
                roles: [0; 2],
                key: sign::public(&SigningKey::from_bytes(&[seed; 32])),
                agreement: ContactSecret::new([seed; 32]).public(),
                handle: Handle([seed; 16]),
                sealed_id: vec![0; SEALED_ID],
            };
            let signed = sign::sign_document(&issuer, credential::CONTEXT, &encode(&body));
            let secret = Secret::new([seed; 32]);
            Arc::new(OwnCredential::new(&signed, &secret, &secret).expect("its own keys"))
        };
        let (first, second) = (own(3), own(4));
        let (first_contact, second_contact) = (ContactSecret::new([5; 32]), ContactSecret::new([6; 32]));
        let mut session = opened(&bulletin, &first, &first_contact, &second, &second_contact);
        let mut sealed = Vec::new();
        session.seal_into(b"header", b"plain", &mut sealed);
        let (opener, record) = split_record(Form::Opener, &sealed).expect("an opener");
        let (opener, record) = (opener.to_vec(), record.to_vec());
        let hello = AdmissionView::new(bulletin.clone(), vec![first.clone()]).hello(NOW, 7);
        let mut world =
            Self { bulletin, first, second, first_contact, second_contact, opener, record, answer: Vec::new(), hello };
        let opener = decode(&world.opener).expect("the opener decodes");
        world.session(&opener).expect("and opens").seal_into(b"header", b"back", &mut world.answer);
        world
    }

    fn session(&self, opener: &Opener) -> Option<Session> {
        let contact = self.first_contact.public();
        let of = &mut |handle: &Handle| (*handle == self.first.body.handle).then_some(contact);
        let mut rng = ChaCha20Rng::from_seed([8; 32]);
        let end = End { id: SessionId([2; 8]), suites: 1, own: &self.second, contact: &self.second_contact };
        Session::accept(&mut rng, end, opener, &self.bulletin, NOW, of).ok().map(|(session, _)| session)
    }

    fn accept(&self, bytes: &[u8]) {
        let Ok(opener) = decode::<Opener>(bytes) else { return };
        assert_eq!(self.session(&opener).is_some(), bytes == self.opener, "only the opener that was made opens");
    }

    fn open(&self, record: &[u8]) {
        let opener = decode(&self.opener).expect("the opener decodes");
        let mut session = self.session(&opener).expect("and opens");
        let behind = |record: &[u8]| {
            let mut sealed = Vec::new();
            put_prefixed(&mut sealed, &self.opener);
            sealed.extend_from_slice(record);
            sealed
        };
        let mut out = b"before".to_vec();
        match session.open_record(b"header", Form::Opener, &behind(record), &mut out) {
            Ok(()) => assert!(record == self.record && out == b"beforeplain"),
            Err(_) => assert!(record != self.record && out == b"before"),
        }
        let own = behind(&self.record);
        assert!(session.open_record(b"other", Form::Opener, &own, &mut out).is_err(), "under another header");
    }

    fn answer(&self, sealed: &[u8]) {
        let [first, second] = [&self.first, &self.second];
        let mut session = opened(&self.bulletin, first, &self.first_contact, second, &self.second_contact);
        let mut out = b"before".to_vec();
        match session.open_record(b"header", Form::Answer, sealed, &mut out) {
            Ok(()) => assert!(sealed == self.answer && out == b"beforeback"),
            Err(_) => assert!(sealed != self.answer && out == b"before" && session.form() == Form::Opener),
        }
    }

    fn admit(&self, hello: &[u8]) {
        let view = AdmissionView::new(self.bulletin.clone(), vec![self.second.clone()]);
        let admitted = view.verify(hello, &self.first.pseudonym(), NOW);
        assert!(admitted.is_err() || admitted.is_ok_and(|peer| peer.credential.hash == self.first.hash));
        assert!(view.verify(hello, &self.second.pseudonym(), NOW).is_err(), "on another's connection");
    }
}

/// A session that the first opens to the second, the same each time.
fn opened(
    bulletin: &VerifiedBulletin,
    own: &OwnCredential,
    contact: &ContactSecret,
    peer: &OwnCredential,
    peer_contact: &ContactSecret,
) -> Session {
    let peer = bulletin.verify_credential(&peer.signed, NOW).expect("a sound credential");
    let end = End { id: SessionId([1; 8]), suites: 1, own, contact };
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    Session::open(&mut rng, end, &peer, &peer_contact.public()).expect("sound keys")
}
