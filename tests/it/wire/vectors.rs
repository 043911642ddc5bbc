//! The vectors of `tests/vectors`: examples of every type, made from fixed seeds, to the byte.
//!
//! A change here is a change of the protocol: it takes a new version, not a new vector. While version 1 is not
//! released, `M2MESH_BLESS=1 cargo test --test it wire::` writes the files anew.

mod control;
mod data;
mod documents;
mod refused;
pub mod world;

use super::diagnostic::notation;
use super::registry::{TYPES, of};
use data_encoding::HEXLOWER;
use m2mesh::wire::codec::encode;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// One example.
pub struct Vector {
    name: &'static str,
    /// A type of [`TYPES`], or for what is no CBOR the name of its layout in docs/protocol.md.
    kind: &'static str,
    note: String,
    bytes: Vec<u8>,
}

impl Vector {
    /// A value of a wire type.
    pub fn of<T: Serialize>(name: &'static str, kind: &'static str, note: &str, value: &T) -> Self {
        Self { name, kind, note: note.to_owned(), bytes: encode(value) }
    }

    /// Bytes of another layout.
    pub fn raw(name: &'static str, kind: &'static str, note: &str, bytes: Vec<u8>) -> Self {
        Self { name, kind, note: note.to_owned(), bytes }
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name)
}

/// One vector a block, so that a change reads well in a diff.
fn render(about: &str, vectors: &[Vector]) -> String {
    let mut out = format!("{{\n  \"about\": {about:?},\n  \"vectors\": [");
    for (index, vector) in vectors.iter().enumerate() {
        let separator = if index > 0 { "," } else { "" };
        let Vector { name, kind, note, bytes } = vector;
        write!(
            out,
            "{separator}\n    {{\n      \"name\": {name:?},\n      \"type\": {kind:?},\n      \"note\": {note:?},\n"
        )
        .expect("a String takes everything");
        if TYPES.iter().any(|known| known.name == *kind) {
            writeln!(out, "      \"diagnostic\": {:?},", notation(bytes)).expect("a String takes everything");
        }
        write!(out, "      \"hex\": \"{}\"\n    }}", HEXLOWER.encode(bytes)).expect("a String takes everything");
    }
    out.push_str("\n  ]\n}\n");
    out
}

/// Compares with the file, or writes it when blessed.
pub fn check(name: &str, text: &str) {
    if std::env::var_os("M2MESH_BLESS").is_some() {
        std::fs::write(file(name), text).expect("the vectors are writable");
    }
    let kept = std::fs::read_to_string(file(name)).unwrap_or_default();
    for (line, (kept, made)) in kept.lines().zip(text.lines()).enumerate() {
        assert_eq!(kept, made, "tests/vectors/{name}:{}: the protocol has changed", line + 1);
    }
    assert_eq!(kept.len(), text.len(), "tests/vectors/{name} ends early or late");
}

#[track_caller]
fn check_vectors(name: &str, about: &str, vectors: &[Vector]) {
    for vector in vectors {
        if TYPES.iter().any(|known| known.name == vector.kind) {
            assert_eq!((of(vector.kind).again)(&vector.bytes).as_ref(), Ok(&vector.bytes), "{} decodes", vector.name);
        }
    }
    check(name, &render(about, vectors));
}

const ABOUT_DOCUMENTS: &str = "What a realm is made of. Keys: Ed25519 seeds and X25519 secrets are 32 equal bytes: operator 01, \
    issuer 02, pseudonym 03, renewal key 04, ticket 05, successor 06; auditor 11, issuer's seal 12, contact 13, agreement 14, \
    ephemeral 15, answer key 16, prekey 17. Bytes that stand for a seal are SHA-256 of their label, a colon and a counter byte.";
const ABOUT_CONTROL: &str = "Frames of the control stream and the admission substream. Keys as in documents.json.";
const ABOUT_DATA: &str = "Frames of the data stream, and what is sealed inside them. Keys as in documents.json.";
const ABOUT_REFUSED: &str = "What no decoder may accept, with the reason.";

#[test]
fn documents_are_as_specified() {
    check_vectors("documents.json", ABOUT_DOCUMENTS, &documents::vectors());
}

#[test]
fn control_frames_are_as_specified() {
    check_vectors("control.json", ABOUT_CONTROL, &control::vectors());
}

#[test]
fn data_frames_are_as_specified() {
    check_vectors("data.json", ABOUT_DATA, &data::vectors());
}

#[test]
fn malformed_bytes_are_refused() {
    let vectors = refused::vectors();
    for vector in &vectors {
        let found = TYPES.iter().find(|known| known.name == vector.kind).expect("refused by a type");
        assert!((found.again)(&vector.bytes).is_err(), "{} is accepted", vector.name);
    }
    // Rendered without diagnostic notation: most of these have none.
    let vectors: Vec<_> = vectors
        .into_iter()
        .map(|vector| Vector { note: format!("as {}: {}", vector.kind, vector.note), kind: "refused", ..vector })
        .collect();
    check("refused.json", &render(ABOUT_REFUSED, &vectors));
}

#[test]
fn every_type_has_a_vector() {
    let all: Vec<_> = [documents::vectors(), control::vectors(), data::vectors()].into_iter().flatten().collect();
    for known in TYPES {
        // Types that only stand inside others are shown there.
        let inside = [
            "IssuerCertificate",
            "Revocation",
            "GroupReference",
            "Manager",
            "Segment",
            "MailPrekey",
            "DeviceKeys",
            "PathKeys",
            "GroupKeyGrant",
            "Restriction",
            "Publishing",
            "Permits",
            "LsaLink",
            "LsaKey",
            "MailBox",
            "Policy",
            "Receipt",
            "GroupMessage",
            "Flow",
            "Message",
        ];
        let shown = all.iter().any(|vector| vector.kind == known.name) || inside.contains(&known.name);
        assert!(shown, "{} has no vector", known.name);
    }
}
