//! Fuzzing: scenarios drawn from a seed, of which nobody has thought before.
//!
//! A [`Case`] is a small network with some traffic, in which some things go wrong: which topology, which bearers, which messages
//! and which faults is drawn ([`draw`]). Each draw takes part of the features only, another part each time, since what one feature
//! hides another may show (A. Groce and others, "Swarm Testing", 2012). First things go wrong, and all checks watch
//! (safety); then everything heals, and what is sent from then on has to arrive (progress).
//!
//! A case is made of [`Part`]s, pieces of a scenario's file. One that fails is made smaller by leaving parts out, as long as it fails in
//! the same way ([`shrink`]); what is left is an ordinary scenario, for `run`.
//!
//! Invariants
//! 1. The same seed gives the same case.
//! 2. A case and all that it shrinks to are files that `run` reads.

mod draw;
pub mod shrink;

pub use draw::case;

use crate::record::Summary;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A scenario in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What it was drawn from, and its runs are.
    pub seed: u64,
    /// Devices that forward.
    pub routers: u32,
    /// Seconds of traffic and faults.
    pub trouble: u32,
    /// Whether bytes cost money somewhere: nodes rest for longer between dials.
    pub dear: bool,
    parts: Vec<Part>,
}

/// A piece of a scenario's file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// The table that it belongs to, or is.
    table: Table,
    text: String,
    /// Whether there is no scenario without it.
    needed: bool,
}

/// Tables of a scenario, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    /// Keys before any table: expectations.
    Expect,
    /// Lines of it.
    Realm,
    /// Lines of the bearer that all have.
    Bearer,
    /// Lines of the group of routers.
    Routers,
    /// Whole tables.
    Whole,
}

impl Case {
    /// The scenario's file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let of = |table: Table| self.parts.iter().filter(move |part| part.table == table);
        let lines = |table: Table| of(table).map(|part| format!("{}\n", part.text)).collect::<String>();
        let question = "Does what is promised hold while this goes wrong, and does all arrive when it is over?";
        let expect: String = of(Table::Expect).map(|part| format!("    \"{}\",\n", part.text)).collect();
        let (trouble, calm) = (self.trouble, self.trouble + HEALING + CALM);
        let deadline = if self.dear { DEAR_DEADLINE } else { DEADLINE };
        let settle = deadline + CLOSING;
        // Nothing is written to a text that does not take it.
        let _ = write!(
            text,
            "question = \"{question}\"\nseed = {}\nwarmup = \"{WARMUP}s\"\nduration = \"{calm}s\"\nsettle = \"{settle}s\"\nexpect = [\n{expect}]\n\n\
             [realm]\n{}\n[bearers.main]\n{}\n[devices.node]\ncount = {}\n{}",
            self.seed,
            lines(Table::Realm),
            lines(Table::Bearer),
            self.routers,
            lines(Table::Routers),
        );
        for part in of(Table::Whole) {
            let after = format!("deadline = \"{deadline}s\"\nbegin = \"{}s\"", trouble + HEALING);
            let part = part.text.replace("@AFTER@", &after);
            let _ = write!(text, "\n{}\n", part.replace("@TROUBLE@", &format!("end = \"{trouble}s\"")));
        }
        text
    }
}

/// What of a run is a failure: checks that were violated, and expectations that were missed. That a fault has struck nothing is none: what was drawn
/// may come to nothing.
pub fn failures(summary: &Summary) -> BTreeSet<String> {
    let violated = summary.checks.iter().filter(|check| check.violated > 0 && check.name != "faults-strike");
    let missed = summary.expectations.iter().filter(|verdict| !verdict.held);
    violated.map(|check| check.name.clone()).chain(missed.map(|verdict| verdict.text.clone())).collect()
}

/// Seconds in which links come up.
const WARMUP: u32 = 30;
/// Seconds after all faults are over, before what has to arrive is sent.
const HEALING: u32 = 30;
/// Seconds in which that is sent.
const CALM: u32 = 40;
/// Seconds in which it arrives.
const DEADLINE: u32 = 60;
/// The same where bytes cost money: an address may rest for two minutes before it is dialled again.
const DEAR_DEADLINE: u32 = 120;
/// Seconds in which receipts come and streams end.
const CLOSING: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Source;
    use crate::scenario;

    #[test]
    fn what_is_drawn_is_a_scenario_and_the_same_each_time() {
        for seed in 0..300 {
            let drawn = case(seed);
            assert_eq!(drawn, case(seed));
            let text = drawn.text();
            let source = Source { file: "drawn.toml".to_owned(), text: text.clone(), ..Source::default() };
            let planned = scenario::from_source(&source).and_then(|loaded| loaded.plan(None));
            assert!(planned.is_ok(), "seed {seed}: {:?}\n{text}", planned.err());
        }
        assert_ne!(case(1).text(), case(2).text());
    }
}
