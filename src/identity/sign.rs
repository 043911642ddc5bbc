//! Sign: signatures over documents, Ed25519 (RFC 8032) of `context ‖ 0x00 ‖ body`, see [`crate::wire::signed`].
//!
//! Verification is strict: keys and nonces of small order are refused, so that one signature is valid for one message
//! under one key.
//!
//! In a simulation a thousand nodes verify the same credential on one thread. There each signature is verified once and
//! the result remembered, by key, message and signature together ([`memoise`]): the result is the same, and computed
//! once. A device never asks for that.

use crate::id::{Pseudonym, Signature};
use crate::wire::{Signed, encode};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static MEMO: RefCell<Option<Memo>> = const { RefCell::new(None) };
}

/// Results by SHA-256 of key, signature and message; drop policy: when the table is full it is emptied.
struct Memo {
    answers: BTreeMap<[u8; 32], bool>,
    most: usize,
}

/// Makes this thread remember up to `most` results of [`verify`] from now on.
pub fn memoise(most: usize) {
    MEMO.set(Some(Memo { answers: BTreeMap::new(), most }));
}

/// The public key of a signing key.
pub fn public(key: &SigningKey) -> Pseudonym {
    Pseudonym(key.verifying_key().to_bytes())
}

/// Signs a body under a context.
pub fn sign(key: &SigningKey, context: &str, body: &[u8]) -> Signature {
    Signature(key.sign(&message(context, body)).to_bytes())
}

/// Signs an encoded body and encodes both as [`Signed`].
pub fn sign_document(key: &SigningKey, context: &str, body: &[u8]) -> Vec<u8> {
    encode(&Signed { body, signature: sign(key, context, body) })
}

/// Whether `signature` is a signature of `key` over the body under this context.
pub fn verify(key: &Pseudonym, context: &str, body: &[u8], signature: &Signature) -> bool {
    let message = message(context, body);
    MEMO.with_borrow_mut(|memo| match memo {
        None => verify_message(key, &message, signature),
        Some(Memo { answers, most }) => {
            let digest = Sha256::new().chain_update(key.0).chain_update(signature.0).chain_update(&message).finalize();
            if answers.len() >= *most {
                answers.clear();
            }
            *answers.entry(digest.into()).or_insert_with(|| verify_message(key, &message, signature))
        }
    })
}

fn verify_message(key: &Pseudonym, message: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    key.verify_strict(message, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
}

/// As [`verify`], for a signed document.
pub fn verify_signed(context: &str, key: &Pseudonym, signed: &Signed<'_>) -> bool {
    verify(key, context, signed.body, &signed.signature)
}

fn message(context: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(context.len() + 1 + body.len());
    message.extend_from_slice(context.as_bytes());
    message.push(0);
    message.extend_from_slice(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode;

    #[test]
    fn a_signature_is_good_for_its_key_context_and_body_only() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let bytes = sign_document(&key, "m2mesh/1 test", b"body");
        let signed: Signed<'_> = decode(&bytes).expect("a signed document decodes");
        assert!(verify_signed("m2mesh/1 test", &public(&key), &signed));
        assert!(!verify_signed("m2mesh/1 tes", &public(&key), &signed));
        assert!(!verify_signed("m2mesh/1 test", &public(&other), &signed));
        assert!(!verify_signed("m2mesh/1 test", &public(&key), &Signed { body: b"bodY", ..signed }));
        // A key of small order signs anything under the lax verification.
        let mut small = [0; 32];
        small[0] = 1;
        assert!(!verify(&Pseudonym(small), "", b"", &Signature([0; 64])));
    }

    #[test]
    fn what_is_remembered_is_good_for_the_same_key_context_body_and_signature_only() {
        std::thread::spawn(|| {
            memoise(3);
            let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
            let (good, bad) = (sign(&key, "c", b"body"), sign(&other, "c", b"body"));
            for _ in 0..3 {
                assert!(verify(&public(&key), "c", b"body", &good));
                assert!(!verify(&public(&other), "c", b"body", &good));
                assert!(!verify(&public(&key), "c", b"body", &bad));
                assert!(!verify(&public(&key), "cb", b"ody", &good));
                assert!(!verify(&public(&key), "c", b"bodY", &good));
            }
        })
        .join()
        .expect("the test passes");
    }
}
