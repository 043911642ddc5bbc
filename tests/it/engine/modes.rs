//! Modes: what each way of sending reports, and what its receivers get, in every situation. `docs/delivery.md` has the table.
//!
//! Each cell is an experiment in virtual time: messages leave before, while and after the situation comes about. In every cell each of
//! them has one outcome, no receiver gets one twice, and who is told *delivered* is told the truth. What the cell reads is what was
//! seen, and is compared with what the document says; `M2MESH_BLESS=1` writes it anew.

mod situation;
mod way;

use crate::tidy::tables;
use m2mesh::engine::api::{Outcome, Reply, Token};
use situation::Situation;
use std::collections::BTreeMap;
use std::path::Path;
use way::Way;

use super::mesh::Mesh;

/// What was sent in one cell.
pub struct Sent {
    way: Way,
    token: Token,
    payload: Vec<u8>,
}

/// How a send ended, in a word, and how many are certain to have got it.
fn outcome(mesh: &Mesh, sent: &Sent) -> (&'static str, usize) {
    let told = mesh.nodes[way::SENDER].replies.iter().filter(|(of, _)| *of == sent.token);
    let ends: Vec<(&'static str, usize)> = told
        .filter_map(|(_, reply)| match reply {
            Reply::Outcome(Outcome::Delivered { .. }) => Some(("delivered", 1)),
            Reply::Outcome(Outcome::Sent { .. }) => Some(("sent", 0)),
            Reply::Outcome(Outcome::Heard { subscribers, .. }) => Some(("heard", *subscribers as usize)),
            Reply::Outcome(Outcome::Expired { .. }) => Some(("expired", 0)),
            Reply::Outcome(Outcome::Unreachable { .. }) => Some(("unreachable", 0)),
            Reply::Outcome(Outcome::Refused { .. }) => Some(("refused", 0)),
            Reply::Refused(_) => Some(("not taken", 0)),
            // A request to a group ends after its answers.
            Reply::Response { .. } if sent.way != Way::GroupRequest => Some(("answered", 1)),
            _ => None,
        })
        .collect();
    assert_eq!(ends.len(), 1, "a send has one outcome: {ends:?}");
    ends[0]
}

/// Runs one cell, and says what was seen.
fn cell(way: Way, situation: Situation) -> String {
    let mut run = situation.prepare(way);
    let sent = situation.play(&mut run, way);
    let mut seen = BTreeMap::<(&'static str, &'static str), usize>::new();
    for one in &sent {
        let (told, certain) = outcome(&run.mesh, one);
        let got = way.got(&run, &one.payload);
        assert!(got.iter().all(|times| *times <= 1), "{way:?}, {situation:?}: received twice: {got:?}");
        let receivers = match (got.iter().sum::<usize>(), got.len()) {
            (0, _) => "not received",
            (all, of) if all == of => "received",
            _ => "received by some",
        };
        let all: usize = got.iter().sum();
        assert!(all >= certain, "{way:?}, {situation:?}: {told} by {certain}, and {all} have it");
        assert!(told != "not taken" || receivers == "not received", "{way:?}, {situation:?}: {told}, and {receivers}");
        *seen.entry((told, receivers)).or_default() += 1;
    }
    let text = |((told, receivers), times): ((&str, &str), usize)| match times == sent.len() {
        true => format!("{told}, {receivers}"),
        false => format!("{times}: {told}, {receivers}"),
    };
    seen.into_iter().map(text).collect::<Vec<_>>().join("; ")
}

/// The table of all cells.
fn table() -> String {
    let heads: Vec<&str> = Situation::ALL.iter().map(|situation| situation.title()).collect();
    let mut lines = format!("| | {} |\n|-|{}\n", heads.join(" | "), "-|".repeat(heads.len()));
    for way in Way::ALL {
        let cells: Vec<String> = Situation::ALL.iter().map(|situation| cell(way, *situation)).collect();
        lines += &format!("| {} | {} |\n", way.title(), cells.join(" | "));
    }
    lines
}

/// Every send in every situation has one outcome, and no receiver gets anything twice; what is reported is as documented.
#[test]
fn each_mode_reports_in_each_situation_what_the_document_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let wrong = tables::check(root, "docs/delivery.md", &table());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
