//! Events to the byte: the stored form of each kind, and the line and the fields that it is shown as.
//!
//! `tests/vectors/events.json` holds one event of every kind, then further forms of some. The same bytes are in the
//! logs of devices, and a later version has to read them: a kind that changes takes a new number, not a new vector.
//! `M2MESH_BLESS=1 cargo test --lib` rewrites the file, for a kind that is new.

use super::samples::{others, samples};
use crate::event_log::Event;
use crate::wire::codec;
use data_encoding::HEXLOWER;
use serde_json::json;
use std::path::Path;

fn rendered() -> String {
    let one = |event: &Event| {
        let hex = HEXLOWER.encode(&codec::encode(event));
        let vector = json!({ "kind": event.kind(), "hex": hex, "text": event.to_string(), "details": event.fields() });
        serde_json::to_string_pretty(&vector).expect("JSON takes it")
    };
    format!("[\n{}\n]\n", samples().iter().chain(&others()).map(one).collect::<Vec<_>>().join(",\n"))
}

/// Invariant 1 of event_log::event.
#[test]
fn what_is_on_disk_of_each_kind_and_how_it_is_shown_does_not_change() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/events.json");
    if std::env::var_os("M2MESH_BLESS").is_some() {
        std::fs::write(&file, rendered()).expect("the vectors are writable");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    for (line, (kept, made)) in kept.lines().zip(rendered().lines()).enumerate() {
        assert_eq!(kept, made, "tests/vectors/events.json:{}: a kind of event has changed", line + 1);
    }
    assert_eq!(kept.len(), rendered().len(), "tests/vectors/events.json ends early or late");
}
