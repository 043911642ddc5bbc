//! Record: the ciphers of session records, in the fastest implementation that this build has.
//!
//! There are two suites: ChaCha20-Poly1305 (RFC 8439), which every node has, and AES-256-GCM (NIST SP 800-38D), which
//! both ends use where both of their processors have instructions for it. The two ends agree on a suite in the
//! handshake ([`super::session`]).
//!
//! A busy node spends most of its time on records. On a device `ring` seals and opens them, which is two to seven times
//! as fast and is linked anyway, below libp2p. Without the feature `node` the crate `chacha20poly1305` does, as for
//! everything else that is sealed, and there is no AES. Both give the same bytes: a test has each open what the other
//! sealed.
//!
//! Invariants
//! 1. Both implementations seal to the same bytes.
//! 2. A record that does not open leaves no bytes in the output.

use crate::identity::audit::{self, Mark};
use crate::identity::kdf::Secret;
use crate::identity::seal::TAG;

/// An AEAD for records. Both suites have keys of 32 bytes, nonces of 12 and tags of 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Suite {
    /// ChaCha20-Poly1305, which every node has.
    ChaCha20Poly1305 = 0,
    /// AES-256-GCM, for processors with instructions for it.
    Aes256Gcm = 1,
}

impl Suite {
    /// All suites, the most preferred last.
    pub const ALL: [Self; 2] = [Self::ChaCha20Poly1305, Self::Aes256Gcm];

    /// The suite's bit in an offer.
    pub const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// The suites that this build has, as a bit map.
    pub const fn built() -> u8 {
        if cfg!(feature = "node") {
            Self::ChaCha20Poly1305.bit() | Self::Aes256Gcm.bit()
        } else {
            Self::ChaCha20Poly1305.bit()
        }
    }

    /// Returns the suite that a responder with the suites `own` chooses from an offer; `None` if the offer lacks the
    /// mandatory suite.
    pub(super) fn chosen(offered: u8, own: u8) -> Option<Self> {
        let mandatory = Self::ChaCha20Poly1305;
        let common = offered & (own & Self::built() | mandatory.bit());
        let best = Self::ALL.into_iter().rev().find(|suite| common & suite.bit() != 0);
        best.filter(|_| offered & mandatory.bit() != 0)
    }
}

/// Seals and opens records under one key.
pub(super) struct RecordCipher {
    implementation: Implementation,
    mark: Mark,
}

#[cfg(feature = "node")]
type Implementation = fast::Cipher;
#[cfg(not(feature = "node"))]
type Implementation = reference::Cipher;

impl RecordCipher {
    /// Makes the cipher of a suite under a key; `None` if this build does not have the suite.
    pub(super) fn new(suite: Suite, key: &Secret) -> Option<Self> {
        Some(Self { implementation: Implementation::new(suite, key)?, mark: audit::mark(key) })
    }

    /// Encrypts in place; returns the tag.
    pub(super) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
        audit::note(self.mark, counter);
        self.implementation.seal(counter, aad, buffer)
    }

    /// Appends the plaintext of a ciphertext with its tag to `out`; returns `false`, leaving `out` as it was, if it
    /// does not open.
    pub(super) fn open(&self, counter: u64, aad: &[u8], sealed: &[u8], out: &mut Vec<u8>) -> bool {
        let (start, length) = (out.len(), sealed.len().saturating_sub(TAG));
        out.extend_from_slice(sealed);
        let opened = self.implementation.open(counter, aad, &mut out[start..]);
        out.truncate(if opened { start + length } else { start });
        opened
    }
}

/// Returns the nonce of a counter: 32 zero bits and the counter, big endian.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

#[cfg(any(test, not(feature = "node")))]
mod reference {
    use super::{Suite, TAG, nonce};
    use crate::identity::kdf::Secret;
    use chacha20poly1305::aead::{AeadInOut, KeyInit};
    use chacha20poly1305::{ChaCha20Poly1305, Nonce, Tag};

    pub(super) struct Cipher(ChaCha20Poly1305);

    impl Cipher {
        pub(super) fn new(suite: Suite, key: &Secret) -> Option<Self> {
            (suite == Suite::ChaCha20Poly1305).then(|| Self(ChaCha20Poly1305::new((&**key).into())))
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
    use super::{Suite, TAG, nonce};
    use crate::identity::kdf::Secret;
    use ring::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

    pub(super) struct Cipher(LessSafeKey);

    impl Cipher {
        pub(super) fn new(suite: Suite, key: &Secret) -> Option<Self> {
            let algorithm = match suite {
                Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
                Suite::Aes256Gcm => &AES_256_GCM,
            };
            UnboundKey::new(algorithm, key.as_slice()).ok().map(|key| Self(LessSafeKey::new(key)))
        }

        pub(super) fn seal(&self, counter: u64, aad: &[u8], buffer: &mut [u8]) -> [u8; TAG] {
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
            let tag = tag.expect("a record is far below what the ciphers take");
            tag.as_ref().try_into().expect("a tag of 16 bytes")
        }

        pub(super) fn open(&self, counter: u64, aad: &[u8], sealed: &mut [u8]) -> bool {
            let nonce = Nonce::assume_unique_for_key(nonce(counter));
            self.0.open_in_place(nonce, Aad::from(aad), sealed).is_ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_suite_that_both_have_is_taken_and_the_mandatory_one_must_be_offered() {
        let (chacha, aes) = (Suite::ChaCha20Poly1305, Suite::Aes256Gcm);
        let both = chacha.bit() | aes.bit();
        assert_eq!(Suite::chosen(both, chacha.bit()), Some(chacha));
        assert_eq!(Suite::chosen(chacha.bit(), both), Some(chacha));
        assert_eq!(Suite::chosen(chacha.bit(), 0), Some(chacha), "everybody has it");
        assert_eq!(Suite::chosen(0xff, both), Some(if cfg!(feature = "node") { aes } else { chacha }));
        assert_eq!(Suite::chosen(aes.bit(), both), None);
        assert_eq!(RecordCipher::new(aes, &Secret::new([1; 32])).is_some(), cfg!(feature = "node"));
    }
}

#[cfg(all(test, feature = "node"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Invariant 1.
        #[test]
        fn each_opens_what_the_other_sealed(
            key: [u8; 32],
            counter: u64,
            aad in proptest::collection::vec(0u8.., 0..64),
            plain in proptest::collection::vec(0u8.., 0..600),
        ) {
            let (suite, key) = (Suite::ChaCha20Poly1305, Secret::new(key));
            let fast = fast::Cipher::new(suite, &key).expect("it has it");
            let reference = reference::Cipher::new(suite, &key).expect("it has it");
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

    /// Test case 13 of the GCM specification: AES-256 with an empty plaintext, and a key and a nonce of zeros.
    #[test]
    fn aes_is_gcm_with_256_bits() {
        let cipher = RecordCipher::new(Suite::Aes256Gcm, &Secret::new([0; 32])).expect("it has it");
        let tag = cipher.seal(0, &[], &mut []);
        assert_eq!(data_encoding::HEXLOWER.encode(&tag), "530f8afbc74536b9a963b4f1c4cb738b");
    }
}
