//! Wire: the frames and documents that go over a link, into a file, or under a signature.
//!
//! **Mechanism.** Every structure is CBOR (RFC 8949) in packed form: a struct is a map whose keys are the field numbers
//! 0, 1, 2 … in order, an absent optional field is left out, identifiers are byte strings. [`codec`] is the only way in
//! and out: before anything is allocated, a gate walks the bytes and refuses what is not deterministic CBOR of the
//! subset in use or exceeds its bounds; then serde does the rest. Signed documents travel as [`Signed`]: the raw body
//! beside its signature, so that exactly the bytes received are verified. `docs/protocol.md` is the specification
//! (CDDL); `tests/vectors` holds examples to the byte.
//!
//! A stream between neighbours is a sequence of *frames*: `length:u32 | kind:u8 | flags:u8 | body`, see [`frame`].
//!
//! Invariants
//! 1. A document that decodes encodes again to the same bytes (property-tested for every type).
//! 2. A frame of unknown kind is skipped and counted; a frame with an unknown required flag is refused.
//! - Bytes that fail the gate never reach serde; nothing past a bound is allocated.

pub mod codec;
pub mod frame;
pub mod out_frame;
pub mod signed;

// Documents: what a realm is made of.
pub mod bulletin;
pub mod contact;
pub mod credential;
pub mod enrolment;
pub mod ticket;

// Admission.
pub mod hello;

// Control stream.
pub mod announce;
pub mod credential_exchange;
pub mod enrol_relay;
pub mod locate;
pub mod lsa;
pub mod ping;
pub mod successor;
pub mod time_beacon;
pub mod witness;

// Data stream, and what is sealed inside it.
pub mod batch;
pub mod blob;
pub mod custody;
pub mod data;
pub mod document;
pub mod fragment;
pub mod group;
pub mod group_repair;
pub mod mail;
pub mod offer;
pub mod opener;
pub mod parcel;
pub mod receipt;
pub mod rest;
pub mod topic;

pub use codec::{DecodeError, decode, encode};
pub use out_frame::OutFrame;
pub use signed::Signed;
