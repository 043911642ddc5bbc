//! Seal: sealing a document to a public key. Whoever opens it learns nothing of who sealed it, and nobody else learns
//! more than its length.
//!
//! It works in the manner of HPKE's base mode (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305, in one step: a
//! fresh ephemeral key, `key = derive(DH(ephemeral, receiver); context; ephemeral ‖ receiver)`, nonce zero since the
//! key is used once. The sealed form is `ephemeral:32 | ciphertext | tag:16`.
//!
//! Invariants
//! 1. A seal opens under the key and the context that it was made for, or not at all.
//! 2. An agreement that yields zeros (a public key of small order) is refused at both ends.

use crate::id::AgreementKey;
use crate::identity::audit::{self, Mark};
use crate::identity::kdf::{self, Secret};
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use x25519_dalek::{PublicKey, StaticSecret};

/// Bytes of a seal besides the plaintext.
pub const OVERHEAD: usize = 32 + TAG;
/// Bytes of an authentication tag.
pub const TAG: usize = 16;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The bytes are shorter than the seal of an empty plaintext.
    #[error("it is too short to be sealed")]
    Short,
    /// The seal was made for another key or another context, or was changed on its way.
    #[error("it was sealed for another key or purpose, or changed on the way")]
    Opening,
    /// The other end's public key is of small order.
    #[error("the other end's key agrees with nobody")]
    WeakKey,
}

/// Seals `plain` to a public key; it fails if the key is of small order.
pub fn seal(
    rng: &mut ChaCha20Rng,
    to: &AgreementKey,
    context: &'static str,
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let ephemeral = new_secret(rng);
    let from = agreement_public(&ephemeral);
    let key = kdf::derive(agree(&ephemeral, to)?.as_slice(), context, &[&from.0, &to.0]);
    let mut out = Vec::with_capacity(OVERHEAD + plain.len());
    out.extend_from_slice(&from.0);
    out.extend_from_slice(plain);
    let tag = encrypt(&cipher(&key), 0, &[], &mut out[32..]);
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens what was sealed to the public key of `secret` under this context.
pub fn open(secret: &StaticSecret, context: &'static str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (from, rest) = sealed.split_first_chunk::<32>().ok_or(SealError::Short)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>().ok_or(SealError::Short)?;
    let from = AgreementKey(*from);
    let to = agreement_public(secret);
    let key = kdf::derive(agree(secret, &from)?.as_slice(), context, &[&from.0, &to.0]);
    let mut plain = ciphertext.to_vec();
    decrypt(&cipher(&key), 0, &[], &mut plain, tag).then_some(plain).ok_or(SealError::Opening)
}

/// Generates an X25519 secret.
pub fn new_secret(rng: &mut ChaCha20Rng) -> StaticSecret {
    StaticSecret::from(*random(rng))
}

/// Draws 32 random bytes.
pub fn random(rng: &mut ChaCha20Rng) -> Secret {
    let mut bytes = Secret::default();
    rng.fill_bytes(bytes.as_mut_slice());
    bytes
}

/// The public key of an X25519 secret.
pub fn agreement_public(secret: &StaticSecret) -> AgreementKey {
    AgreementKey(PublicKey::from(secret).to_bytes())
}

/// Agrees on a secret by X25519 (RFC 7748); it fails if the result is zeros.
pub fn agree(secret: &StaticSecret, with: &AgreementKey) -> Result<Secret, SealError> {
    let shared = secret.diffie_hellman(&PublicKey::from(with.0));
    if shared.was_contributory() { Ok(Secret::new(shared.to_bytes())) } else { Err(SealError::WeakKey) }
}

/// ChaCha20-Poly1305 under a key, with the key's mark in the audit.
pub(super) struct Cipher {
    cipher: ChaCha20Poly1305,
    mark: Mark,
}

/// Makes the cipher of a key.
pub(super) fn cipher(key: &Secret) -> Cipher {
    Cipher { cipher: ChaCha20Poly1305::new((&**key).into()), mark: audit::mark(key) }
}

/// Encrypts in place under a nonce of 32 zero bits and a counter; returns the tag.
pub(super) fn encrypt(cipher: &Cipher, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
    audit::note(cipher.mark, counter);
    let tag = cipher
        .cipher
        .encrypt_inout_detached(&nonce(counter), aad, buffer.into())
        .expect("what is sealed is far below the 256 GiB that the cipher takes");
    tag.into()
}

/// Decrypts in place; returns `false`, leaving the buffer without meaning, if the tag does not fit.
pub(super) fn decrypt(cipher: &Cipher, counter: u64, aad: &[u8], buffer: &mut [u8], tag: &[u8; TAG]) -> bool {
    cipher.cipher.decrypt_inout_detached(&nonce(counter), aad, buffer.into(), &Tag::from(*tag)).is_ok()
}

/// As [`encrypt`], under the nonce of the Noise framework, whose counter is little-endian.
pub(super) fn encrypt_noise(cipher: &Cipher, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
    audit::note(cipher.mark, counter);
    let tag = cipher
        .cipher
        .encrypt_inout_detached(&nonce(counter.swap_bytes()), aad, buffer.into())
        .expect("what is sealed is far below the 256 GiB that the cipher takes");
    tag.into()
}

/// As [`decrypt`], under the nonce of the Noise framework.
pub(super) fn decrypt_noise(cipher: &Cipher, counter: u64, aad: &[u8], buffer: &mut [u8], tag: &[u8; TAG]) -> bool {
    decrypt(cipher, counter.swap_bytes(), aad, buffer, tag)
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    Nonce::from(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    /// Invariant 1.
    #[test]
    fn what_is_sealed_opens_for_its_key_and_context_only() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (secret, other) = (new_secret(&mut rng), new_secret(&mut rng));
        let sealed = seal(&mut rng, &agreement_public(&secret), "m2mesh/1 test", b"plain").expect("a sound key");
        assert_eq!(sealed.len(), OVERHEAD + 5);
        assert_eq!(open(&secret, "m2mesh/1 test", &sealed).as_deref(), Ok(&b"plain"[..]));
        assert_eq!(open(&other, "m2mesh/1 test", &sealed), Err(SealError::Opening));
        assert_eq!(open(&secret, "m2mesh/1 other", &sealed), Err(SealError::Opening));
        assert_eq!(open(&secret, "m2mesh/1 test", &sealed[..OVERHEAD - 1]), Err(SealError::Short));
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x40;
            assert!(open(&secret, "m2mesh/1 test", &changed).is_err(), "byte {at}");
        }
    }

    /// Invariant 2.
    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        assert_eq!(seal(&mut rng, &AgreementKey([0; 32]), "m2mesh/1 test", b""), Err(SealError::WeakKey));
    }
}
