//! A realm made by hand, so that credentials can be wrong in every way.

use ed25519_dalek::SigningKey;
use m2mesh::id::{AgreementKey, Handle, IssuerId, Pseudonym, RealmId};
use m2mesh::identity::admission::{AdmissionView, AdmittedPeer};
use m2mesh::identity::bulletin::VerifiedBulletin;
use m2mesh::identity::credential::OwnCredential;
use m2mesh::identity::kdf::{Secret, sha256};
use m2mesh::identity::{seal, sign};
use m2mesh::net::Gatekeeper;
use m2mesh::time::{Epoch, EpochLength, Unix};
use m2mesh::wire::bulletin::{self, Bulletin, IssuerCertificate};
use m2mesh::wire::credential::{self, Credential, SEALED_ID};
use m2mesh::wire::encode;
use serde_cbor::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use x25519_dalek::StaticSecret;

/// The moment at which all tests take place: in the middle of an epoch.
pub const NOW: Unix = Unix(1_800_001_800 * 1_000_000);

/// Keys of a realm.
pub struct Realm {
    operator: SigningKey,
    issuer: SigningKey,
    /// The moment at which its credentials are good.
    pub now: Unix,
}

impl Realm {
    pub fn new(seed: u8) -> Self {
        let issuer = SigningKey::from_bytes(&[seed ^ 0x55; 32]);
        Self { operator: SigningKey::from_bytes(&[seed; 32]), issuer, now: NOW }
    }

    /// The realm whose keys lie in a realm directory, now.
    pub fn of_directory(directory: &std::path::Path) -> Self {
        let read = |file: &str| std::fs::read(directory.join("realm").join(file)).unwrap();
        let seed = |keys: BTreeMap<u8, Value>| match &keys[&0] {
            Value::Bytes(seed) => SigningKey::from_bytes(seed.as_slice().try_into().unwrap()),
            other => unreachable!("{other:?} is no seed"),
        };
        let operator = seed(serde_cbor::from_slice(&read("operator.key")).unwrap());
        // The realm's id, then the issuer's keys, that which signs first.
        let issuer: BTreeMap<u8, Value> = serde_cbor::from_slice(&read("issuer.key")).unwrap();
        let issuer = seed(serde_cbor::value::from_value(issuer[&1].clone()).unwrap());
        let now = Unix(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap());
        Self { operator, issuer, now }
    }

    pub fn id(&self) -> RealmId {
        RealmId(sha256(&[&sign::public(&self.operator).0]))
    }

    pub fn issuer_id(&self) -> IssuerId {
        IssuerId::from_slice(&sha256(&[&sign::public(&self.issuer).0])[..8]).unwrap()
    }

    pub fn bulletin(&self) -> Arc<VerifiedBulletin> {
        let issuer = IssuerCertificate {
            id: self.issuer_id(),
            key: sign::public(&self.issuer),
            seal: AgreementKey([1; 32]),
            not_before: 0,
            not_after: u64::MAX,
        };
        let body = Bulletin {
            format: 1,
            version: 1,
            realm: self.id(),
            operator: sign::public(&self.operator),
            founded: 0,
            issued: 0,
            next_update: u64::MAX,
            epoch_length: EpochLength::HOUR,
            auditor: AgreementKey([2; 32]),
            issuers: vec![issuer],
            revocations: Vec::new(),
            groups: Vec::new(),
            managers: Vec::new(),
            segments: Vec::new(),
        };
        let signed = sign::sign_document(&self.operator, bulletin::CONTEXT, &encode(&body));
        Arc::new(VerifiedBulletin::verify(self.id(), &signed).unwrap())
    }

    /// A signed credential for the key of `seed`, so many epochs from the realm's moment.
    pub fn credential(&self, seed: [u8; 32], epochs: i64) -> Vec<u8> {
        let body = Credential {
            version: 1,
            realm: self.id(),
            issuer: self.issuer_id(),
            epoch: Epoch(EpochLength::HOUR.epoch_at(self.now).0.checked_add_signed(epochs).unwrap()),
            epoch_length: 3_600u32.to_be_bytes(),
            segments: 1u64.to_be_bytes(),
            roles: [0; 2],
            key: pseudonym(seed),
            agreement: seal::agreement_public(&StaticSecret::from(seed)),
            handle: Handle([seed[0]; 16]),
            sealed_id: vec![0; SEALED_ID],
        };
        sign::sign_document(&self.issuer, credential::CONTEXT, &encode(&body))
    }

    /// What a member with the key of `seed` admits by.
    pub fn member(&self, seed: [u8; 32]) -> Arc<Member> {
        self.copy(seed, 0)
    }

    /// The same, in the process of that number.
    pub fn copy(&self, seed: [u8; 32], process: u64) -> Arc<Member> {
        let secret = Secret::new(seed);
        let own = OwnCredential::new(&self.credential(seed, 0), &secret, &secret).unwrap();
        Arc::new(Member(AdmissionView::new(self.bulletin(), vec![Arc::new(own)]), self.now, process))
    }
}

/// A member's gatekeeper, for whom it is always the realm's moment, in the process of that number.
pub struct Member(AdmissionView, Unix, u64);

impl Gatekeeper for Member {
    type Peer = AdmittedPeer;

    fn hello(&self) -> Vec<u8> {
        self.0.hello(self.1, self.2)
    }

    fn process(&self, peer: Option<&AdmittedPeer>) -> u64 {
        peer.map_or(self.2, |peer| peer.process)
    }

    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<AdmittedPeer, &'static str> {
        self.0.verify(hello, peer, self.1).map_err(|reason| reason.code())
    }
}

pub fn pseudonym(seed: [u8; 32]) -> Pseudonym {
    sign::public(&SigningKey::from_bytes(&seed))
}
