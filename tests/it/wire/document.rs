//! docs/protocol.md says what the code does: every frame kind, signature context, label and bound stands there with
//! its value.

use m2mesh::identity::kdf::label;
use m2mesh::wire::frame::Kind;
use m2mesh::wire::*;

fn specification() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    std::fs::read_to_string(path).expect("the specification is there")
}

#[test]
fn every_frame_kind_stands_in_it() {
    let text = specification();
    for kind in Kind::ALL {
        let row = format!("{:#04x} {kind:?}", kind as u8);
        assert!(text.contains(&row), "docs/protocol.md lacks the frame {row}");
    }
}

/// Invariant 1 of identity::kdf.
#[test]
fn every_context_and_label_stands_in_it() {
    let text = specification();
    let contexts = [
        bulletin::CONTEXT,
        credential::CONTEXT,
        enrolment::CONTEXT,
        enrolment::KEY_CONTEXT,
        enrol_relay::CONTEXT,
        contact::PREKEY_CONTEXT,
        custody::CONTEXT,
        time_beacon::CONTEXT,
        lsa::CONTEXT,
        receipt::NACK_CONTEXT,
        group::CONTEXT,
    ];
    let labels = [
        label::RESOLUTION,
        label::DAY,
        label::HANDLE,
        label::SEALED_ID,
        label::ENROL_REQUEST,
        label::ENROL_ANSWER,
        label::SESSION_CREDENTIAL,
        label::SESSION_PROLOGUE,
        label::SESSION_PSK,
        label::SESSION_EARLY,
        label::TREE_NODE,
        label::COVER,
        label::GROUP_NAME,
        label::GROUP_KEY,
        label::GROUP_TAG,
        label::GROUP_SENDER,
        label::SERVICE,
        label::EPOCH_CHAIN,
        label::EPOCH_BLOCK,
        label::EPOCH_SECRET,
    ];
    for word in contexts.into_iter().chain(labels) {
        assert!(text.contains(&format!("`{word}`")), "docs/protocol.md lacks {word:?}");
    }
    let all: std::collections::BTreeSet<_> = contexts.into_iter().chain(labels).collect();
    assert_eq!(all.len(), contexts.len() + labels.len(), "no label serves two purposes");
}

#[test]
fn every_bound_stands_in_it_with_its_value() {
    let text = specification();
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let plain = |number: usize| {
        let digits = number.to_string();
        if digits.len() > 3 {
            format!("{},{}", &digits[..digits.len() - 3], &digits[digits.len() - 3..])
        } else {
            digits
        }
    };
    let bounds = [
        ("wire::codec::MAX_DEPTH", plain(codec::MAX_DEPTH)),
        ("wire::codec::MAX_ITEMS", plain(codec::MAX_ITEMS)),
        ("wire::codec::MAX_DOCUMENT", kib(codec::MAX_DOCUMENT)),
        ("wire::frame::MAX_FRAME", kib(frame::MAX_FRAME)),
        ("wire::hello::MAX_HELLO", plain(hello::MAX_HELLO)),
        ("wire::credential::MAX_CREDENTIAL", plain(credential::MAX_CREDENTIAL)),
        ("wire::bulletin::MAX_BULLETIN", kib(bulletin::MAX_BULLETIN)),
        ("wire::bulletin::MAX_GROUPS", plain(bulletin::MAX_GROUPS)),
        ("wire::document::{PIECE, MAX_PIECES}", format!("{}; {}", kib(document::PIECE), document::MAX_PIECES)),
        ("wire::enrolment::MAX_REQUEST", kib(enrolment::MAX_REQUEST)),
        ("wire::enrolment::MAX_ANSWER", kib(enrolment::MAX_ANSWER)),
        ("wire::enrolment::MAX_DOCUMENTS", kib(enrolment::MAX_DOCUMENTS)),
        ("wire::enrolment::MAX_CARDS", plain(enrolment::MAX_CARDS)),
        ("identity::issuer::MAX_EPOCHS", plain(m2mesh::identity::issuer::MAX_EPOCHS)),
        ("wire::enrol_relay::MAX_HOPS", plain(enrol_relay::MAX_HOPS.into())),
        ("wire::enrol_relay::{PIECE, MAX_PIECES}", format!("{}; {}", kib(enrol_relay::PIECE), enrol_relay::MAX_PIECES)),
        ("wire::opener::MAX_OPENER", plain(opener::MAX_OPENER)),
        ("wire::batch::MAX_PLAIN", kib(batch::MAX_PLAIN)),
        ("wire::parcel::MAX_HEAD", plain(parcel::MAX_HEAD)),
        ("wire::batch::MAX_PAYLOAD", kib(batch::MAX_PAYLOAD)),
        ("wire::batch::MAX_MESSAGES", plain(batch::MAX_MESSAGES)),
        ("wire::batch::MAX_REPLY_HANDLES", plain(batch::MAX_REPLY_HANDLES)),
        ("wire::receipt::MAX_RANGES", plain(receipt::MAX_RANGES)),
        ("wire::group::MAX_GROUP_FRAME", kib(group::MAX_GROUP_FRAME)),
        ("identity::replay_window::WINDOW", plain(m2mesh::identity::replay_window::WINDOW as usize)),
        ("identity::contact::MAX_CONTACTS", plain(m2mesh::identity::contact::MAX_CONTACTS)),
        ("identity::handle::MAX_DAYS", plain(m2mesh::identity::handle::MAX_DAYS as usize)),
        (
            "wire::ticket::{MAX_TICKET, MAX_ADDRESSES}",
            format!("{} B; {}", plain(ticket::MAX_TICKET), ticket::MAX_ADDRESSES),
        ),
        ("wire::announce::{MAX_ADDRESSES, MAX_OTHERS, MAX_SERVICES, MAX_GROUPS}", {
            use announce::{MAX_ADDRESSES, MAX_GROUPS, MAX_OTHERS, MAX_SERVICES};
            format!("{MAX_ADDRESSES}; {MAX_OTHERS}; {MAX_SERVICES}; {}", plain(MAX_GROUPS))
        }),
        (
            "wire::data::{MAX_HEADER, MAX_PATH, MAX_HOPS}",
            format!("{} B; {} B; {}", data::MAX_HEADER, plain(data::MAX_PATH), data::MAX_HOPS),
        ),
        (
            "wire::group::{MAX_PAYLOAD, MAX_TOPIC, MAX_MESSAGES}",
            format!("{}; {} B; {}", kib(group::MAX_PAYLOAD), group::MAX_TOPIC, plain(group::MAX_MESSAGES)),
        ),
        (
            "wire::lsa::{MAX_LSA, MAX_LINKS, MAX_LEAVES, MAX_ACCESSES}",
            format!("{}; {}; {}; {}", kib(lsa::MAX_LSA), lsa::MAX_LINKS, plain(lsa::MAX_LEAVES), lsa::MAX_ACCESSES),
        ),
    ];
    for (source, value) in bounds {
        let row = text.lines().find(|line| line.contains(&format!("`{source}`")));
        let row = row.unwrap_or_else(|| panic!("docs/protocol.md lacks the bound {source}"));
        let told = row.split('|').nth(2).unwrap_or_default().trim().trim_end_matches(" B");
        assert_eq!(told, value, "docs/protocol.md tells another value of {source}");
    }
}
