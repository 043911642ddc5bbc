//! The realm of the vectors: fixed keys, names and times.

use ed25519_dalek::{Signer, SigningKey};
use m2mesh::id::*;
use m2mesh::time::{Day, Epoch, EpochLength};
use m2mesh::wire::credential::{self, Credential, SEALED_ID};
use m2mesh::wire::{Signed, encode};
use sha2::{Digest, Sha256};
use x25519_dalek::{PublicKey, StaticSecret};

/// 2026-11-22T12:00:00Z.
pub const NOW: u64 = 1_795_348_800;
/// The realm was founded 30 days before.
pub const FOUNDED: u64 = NOW - 30 * 86_400;
/// Today.
pub const DAY: Day = Day(30);
/// The present hour.
pub const EPOCH: Epoch = Epoch(NOW / 3_600);
pub const HOUR: EpochLength = EpochLength::HOUR;

pub const OPERATOR: u8 = 0x01;
pub const ISSUER: u8 = 0x02;
pub const PSEUDONYM: u8 = 0x03;
pub const RENEWAL: u8 = 0x04;
pub const TICKET: u8 = 0x05;
pub const SUCCESSOR: u8 = 0x06;
pub const AUDITOR: u8 = 0x11;
pub const SEAL: u8 = 0x12;
pub const CONTACT: u8 = 0x13;
pub const AGREEMENT: u8 = 0x14;
pub const EPHEMERAL: u8 = 0x15;
pub const ANSWER: u8 = 0x16;
pub const PREKEY: u8 = 0x17;

/// The Ed25519 public key of a seed of 32 equal bytes.
pub fn signing_key(seed: u8) -> Pseudonym {
    Pseudonym(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

/// The X25519 public key of a secret of 32 equal bytes.
pub fn agreement_key(secret: u8) -> AgreementKey {
    AgreementKey(PublicKey::from(&StaticSecret::from([secret; 32])).to_bytes())
}

/// Over `context ‖ 0x00 ‖ body`.
pub fn sign(seed: u8, context: &str, body: &[u8]) -> Signature {
    let input = [context.as_bytes(), &[0], body].concat();
    Signature(SigningKey::from_bytes(&[seed; 32]).sign(&input).to_bytes())
}

/// An encoded signed document.
pub fn signed<T: serde::Serialize>(seed: u8, context: &str, value: &T) -> Vec<u8> {
    let body = encode(value);
    encode(&Signed { signature: sign(seed, context, &body), body: &body })
}

/// Bytes that stand for something sealed or random.
pub fn opaque(label: &str, length: usize) -> Vec<u8> {
    let blocks =
        (0..=u8::MAX).flat_map(|counter| Sha256::digest([label.as_bytes(), b":", &[counter]].concat()).to_vec());
    blocks.take(length).collect()
}

/// As [`opaque`], of fixed length.
pub fn opaque_array<const N: usize>(label: &str) -> [u8; N] {
    opaque(label, N).try_into().expect("taken to that length")
}

pub fn realm() -> RealmId {
    RealmId(Sha256::digest(signing_key(OPERATOR).0).into())
}

pub fn issuer() -> IssuerId {
    IssuerId::from_slice(&Sha256::digest(signing_key(ISSUER).0)[..8]).expect("8 bytes")
}

/// The credential of a pseudonym.
pub fn credential(pseudonym: u8) -> Credential {
    Credential {
        version: 1,
        realm: realm(),
        issuer: issuer(),
        epoch: EPOCH,
        epoch_length: 3_600u32.to_be_bytes(),
        segments: 1u64.to_be_bytes(),
        roles: 2u16.to_be_bytes(),
        key: signing_key(pseudonym),
        agreement: agreement_key(AGREEMENT),
        handle: Handle(opaque_array("handle")),
        sealed_id: opaque("sealed id", SEALED_ID),
    }
}

/// That credential, signed by the issuer.
pub fn signed_credential(pseudonym: u8) -> Vec<u8> {
    signed(ISSUER, credential::CONTEXT, &credential(pseudonym))
}

/// The first 16 bytes of the SHA-256 of the signed credential.
pub fn credential_hash(pseudonym: u8) -> CredentialHash {
    CredentialHash::from_slice(&Sha256::digest(signed_credential(pseudonym))[..16]).expect("16 bytes")
}
