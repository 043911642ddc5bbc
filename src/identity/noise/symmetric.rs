//! Symmetric state: the part of a Noise handshake that all patterns share (revision 34, section 5.2), for X25519,
//! ChaChaPoly and SHA-256.
//!
//! Invariants
//! - A key seals with each nonce once: the nonce counts up, and begins at zero with each new key.
//! - What does not open leaves the state as it was.

use crate::id::AgreementKey;
use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal::{self, SealError, TAG};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

/// The keys of what follows the handshake.
pub struct Split {
    /// The key of what the initiator seals.
    pub forth: Secret,
    /// The key of what the responder seals.
    pub back: Secret,
}

/// The chaining key, the hash of the messages so far, and the key of the next payload with its nonce: Noise's
/// `SymmetricState`.
#[derive(Clone)]
pub(super) struct Symmetric {
    chain: Secret,
    pub(super) hash: [u8; 32],
    key: Secret,
    nonce: u64,
}

impl Symmetric {
    /// Starts with the name of the protocol and what both ends know: the prologue, and static keys if the pattern has
    /// these before its first message.
    pub(super) fn new(protocol: &[u8], known: &[&[u8]]) -> Self {
        // A name of up to 32 bytes is padded with zeros, a longer one is hashed.
        let mut name = [0; 32];
        match name.get_mut(..protocol.len()) {
            Some(start) => start.copy_from_slice(protocol),
            None => name = kdf::sha256(&[protocol]),
        }
        let mut symmetric = Self { chain: Secret::new(name), hash: name, key: Secret::default(), nonce: 0 };
        for part in known {
            symmetric.mix_hash(part);
        }
        symmetric
    }

    pub(super) fn mix_hash(&mut self, data: &[u8]) {
        self.hash = kdf::sha256(&[&self.hash, data]);
    }

    pub(super) fn mix_key(&mut self, input: &[u8]) {
        let [chain, key] = hkdf(&self.chain, input);
        (self.chain, self.key, self.nonce) = (chain, key, 0);
    }

    pub(super) fn mix_key_and_hash(&mut self, input: &[u8]) {
        let [chain, hash, key] = hkdf(&self.chain, input);
        self.mix_hash(hash.as_slice());
        (self.chain, self.key, self.nonce) = (chain, key, 0);
    }

    /// Mixes in an ephemeral key: with a pre-shared key in the pattern it counts as key material too.
    pub(super) fn mix_ephemeral_with_psk(&mut self, key: &AgreementKey) {
        self.mix_hash(&key.0);
        self.mix_key(&key.0);
    }

    pub(super) fn encrypt(&mut self, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(payload);
        let tag = seal::encrypt_noise(&seal::cipher(&self.key), self.nonce, &self.hash, &mut out[start..]);
        out.extend_from_slice(&tag);
        self.nonce += 1;
        self.mix_hash(&out[start..]);
    }

    pub(super) fn decrypt(&mut self, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(SealError::Short)?;
        let mut payload = ciphertext.to_vec();
        if !seal::decrypt_noise(&seal::cipher(&self.key), self.nonce, &self.hash, &mut payload, tag) {
            return Err(SealError::Opening);
        }
        self.nonce += 1;
        self.mix_hash(sealed);
        Ok(payload)
    }

    pub(super) fn early(&self) -> Secret {
        kdf::derive_salted(&self.hash, self.chain.as_slice(), label::SESSION_EARLY, &[])
    }

    pub(super) fn split(&self) -> Split {
        let [forth, back] = hkdf(&self.chain, &[]);
        Split { forth, back }
    }
}

/// Noise's HKDF, with `N` outputs of 32 bytes each.
fn hkdf<const N: usize>(chain: &Secret, input: &[u8]) -> [Secret; N] {
    let mut all = Zeroizing::new([0; 96]);
    let all = &mut all[..32 * N];
    Hkdf::<Sha256>::new(Some(chain.as_slice()), input).expand(&[], all).expect("three hashes are few");
    core::array::from_fn(|index| {
        let mut out = Secret::default();
        out.copy_from_slice(&all[32 * index..][..32]);
        out
    })
}
