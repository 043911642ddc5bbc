//! The cipher of session records: ChaCha20-Poly1305 (RFC 8439), by whichever implementation is the faster here.
//!
//! Records are what a busy node spends its time on. On a device `ring` does them, which is twice to seven times as fast
//! and is there anyway, below libp2p; without the feature `node` the crate `chacha20poly1305` does, as for everything
//! else that is sealed. The bytes are the same, and a test has each open what the other sealed.
//!
//! Invariants
//! 1. Both seal to the same bytes.
//! 2. What does not open leaves nothing behind.

use crate::identity::kdf::Secret;
use crate::identity::seal::TAG;

/// Seals and opens records under one key.
pub(super) struct RecordCipher(Implementation);

#[cfg(feature = "node")]
type Implementation = fast::Cipher;
#[cfg(not(feature = "node"))]
type Implementation = reference::Cipher;

impl RecordCipher {
    pub(super) fn new(key: &Secret) -> Self {
        Self(Implementation::new(key))
    }

    /// Encrypts in place; returns the tag.
    pub(super) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
        self.0.seal(counter, aad, buffer)
    }

    /// Appends the plaintext of a ciphertext with its tag; `false` if it does not open.
    pub(super) fn open(&self, counter: u64, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> bool {
        let (start, length) = (out.len(), sealed.len().saturating_sub(TAG));
        out.extend_from_slice(sealed);
        let opened = self.0.open(counter, aad, &mut out[start..]);
        out.truncate(if opened { start + length } else { start });
        opened
    }
}

/// 32 zero bits and the counter.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

#[cfg(any(test, not(feature = "node")))]
mod reference {
    use super::{TAG, nonce};
    use crate::identity::kdf::Secret;
    use crate::identity::seal::cipher;
    use chacha20poly1305::aead::AeadInOut;
    use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

    pub(super) struct Cipher(ChaCha20Poly1305);

    impl Cipher {
        pub(super) fn new(key: &Secret) -> Self {
            Self(cipher(key))
        }

        pub(super) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
            let nonce = Nonce::from(nonce(counter));
            let tag = self.0.encrypt_inout_detached(&nonce, aad, buffer.into());
            tag.expect("a record is far below the 256 GiB that the cipher takes").into()
        }

        pub(super) fn open(&self, counter: u64, aad: &[u8], sealed: &mut [u8]) -> bool {
            let Some((buffer, tag)) = sealed.split_last_chunk_mut::<TAG>() else { return false };
            let nonce = Nonce::from(nonce(counter));
            self.0.decrypt_inout_detached(&nonce, aad, buffer.into(), &Tag::from(*tag)).is_ok()
        }
    }
}

#[cfg(feature = "node")]
mod fast {
    use super::{TAG, nonce};
    use crate::identity::kdf::Secret;
    use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    pub(super) struct Cipher(LessSafeKey);

    impl Cipher {
        pub(super) fn new(key: &Secret) -> Self {
            let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice()).expect("32 bytes are a key");
            Self(LessSafeKey::new(key))
        }

        pub(super) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
            let tag = tag.expect("a record is far below the 256 GiB that the cipher takes");
            tag.as_ref().try_into().expect("a tag of 16 bytes")
        }

        pub(super) fn open(&self, counter: u64, aad: &[u8], sealed: &mut [u8]) -> bool {
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            self.0.open_in_place(nonce, Aad::from(aad), sealed).is_ok()
        }
    }
}

#[cfg(all(test, feature = "node"))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_opens_what_the_other_sealed(
            key: [u8; 32],
            counter: u64,
            aad in proptest::collection::vec(0u8.., 0..64),
            plain in proptest::collection::vec(0u8.., 0..600),
        ) {
            let (fast, reference) = (fast::Cipher::new(&Secret::new(key)), reference::Cipher::new(&Secret::new(key)));
            let (mut one, mut other) = (plain.clone(), plain.clone());
            let tag = fast.seal(counter, &aad, &mut one);
            prop_assert_eq!(reference.seal(counter, &aad, &mut other), tag);
            prop_assert_eq!(&one, &other);
            one.extend_from_slice(&tag);
            other.extend_from_slice(&tag);
            prop_assert!(reference.open(counter, &aad, &mut one) && fast.open(counter, &aad, &mut other));
            prop_assert_eq!((&one[..plain.len()], &other[..plain.len()]), (&plain[..], &plain[..]));
        }
    }
}
