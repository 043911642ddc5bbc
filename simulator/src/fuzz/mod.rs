//! Fuzzing: scenarios drawn from a seed, beyond those that were written by hand.
//!
//! A [`Case`] is a small network with some traffic and some faults: topology, bearers, messages and faults are drawn
//! ([`draw`]). Each draw uses only some of the features, and a different selection each time, since one feature can
//! hide what another may reveal (A. Groce and others, "Swarm Testing", 2012). First faults strike while all checks
//! watch (safety); then everything heals, and messages that are sent from then on have to arrive (progress).
//!
//! A case consists of [`Part`]s, pieces of a scenario's file. A case that fails is reduced by leaving parts out, as
//! long as it fails in the same manner ([`shrink`]); the result is an ordinary scenario for `run`.
//!
//! Invariants
//! 1. The same seed gives the same case.
//! 2. A case is a file that `run` reads.
//! - Every reduction of a case is one, too.

mod draw;
pub mod shrink;

pub use draw::case;

use crate::record::Summary;
use std::collections::BTreeSet;
use std::fmt::Write;

/// A scenario in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The seed of the drawing and of its runs.
    pub seed: u64,
    /// The number of devices that forward.
    pub routers: u32,
    /// The seconds of traffic and faults.
    pub trouble: u32,
    /// Whether bytes cost money on a bearer, so that nodes pause longer between dials.
    pub dear: bool,
    parts: Vec<Part>,
}

/// A piece of a scenario's file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// The table to which it belongs, or which it is.
    table: Table,
    text: String,
    /// Whether the scenario is invalid without it.
    needed: bool,
}

/// The tables of a scenario, in the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Table {
    /// Keys before any table, which are the expectations.
    Expect,
    /// Lines of the table of the realm.
    Realm,
    /// Lines of the bearer that all devices have.
    Bearer,
    /// Lines of the group of routers.
    Routers,
    /// Whole tables.
    Whole,
}

impl Case {
    /// Returns the text of the scenario's file.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let of = |table: Table| self.parts.iter().filter(move |part| part.table == table);
        let lines = |table: Table| of(table).map(|part| format!("{}\n", part.text)).collect::<String>();
        let question = "Does what is promised hold while this goes wrong, and does all arrive when it is over?";
        let expect: String = of(Table::Expect).map(|part| format!("    \"{}\",\n", part.text)).collect();
        let (trouble, calm) = (self.trouble, self.trouble + HEALING + CALM);
        let deadline = if self.dear { DEAR_DEADLINE } else { DEADLINE };
        let settle = deadline + CLOSING;
        // Writing to a string does not fail.
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

/// Returns the failures of a run: checks that were violated, and expectations that were missed. A fault that has struck
/// nothing is not a failure, since a drawn fault may be without effect.
pub fn failures(summary: &Summary) -> BTreeSet<String> {
    let violated = summary.checks.iter().filter(|check| check.violated > 0 && check.name != "faults-strike");
    let missed = summary.expectations.iter().filter(|verdict| !verdict.held);
    violated.map(|check| check.name.clone()).chain(missed.map(|verdict| verdict.text.clone())).collect()
}

/// The seconds in which links come up.
const WARMUP: u32 = 30;
/// The seconds after all faults are over, before the messages that have to arrive are sent.
const HEALING: u32 = 30;
/// The seconds in which these messages are sent.
const CALM: u32 = 40;
/// The seconds in which they arrive.
const DEADLINE: u32 = 60;
/// The same if bytes cost money: an address may be left alone for two minutes before it is dialled again.
const DEAR_DEADLINE: u32 = 120;
/// The seconds in which receipts come and streams end.
const CLOSING: u32 = 15;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Source;
    use crate::scenario;

    /// Invariants 1 and 2.
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
