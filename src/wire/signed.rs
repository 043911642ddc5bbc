//! Signed: a signed document, the raw body beside the signature over it.
//!
//! The signature (Ed25519, RFC 8032) covers `context ‖ 0x00 ‖ body`, where `context` is the document's label
//! (`m2mesh/1 credential`, …; the list is in docs/protocol.md), so that no document passes for another kind.

use crate::id::Signature;
use serde::{Deserialize, Serialize};

/// Body and signature. The body is itself CBOR, decoded from the very bytes that the signature covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signed<'a> {
    /// The encoded document.
    #[serde(borrow, with = "serde_bytes")]
    pub body: &'a [u8],
    /// The signature over context and body.
    pub signature: Signature,
}
