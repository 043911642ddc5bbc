//! Signatures over documents: Ed25519 (RFC 8032) of `context ‖ 0x00 ‖ body`, see [`crate::wire::signed`].
//!
//! Verification is the strict one: keys and nonces of small order are refused, so that one signature is good for
//! one message under one key.

use crate::id::{Pseudonym, Signature};
use crate::wire::{Signed, encode};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

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

/// Whether `signature` is that of `key` over the body under this context.
pub fn verify(key: &Pseudonym, context: &str, body: &[u8], signature: &Signature) -> bool {
    let Ok(key) = VerifyingKey::from_bytes(&key.0) else { return false };
    key.verify_strict(&message(context, body), &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
}

/// As [`verify`], for a document as it travels.
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
}
