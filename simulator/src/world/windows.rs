//! Windows: messages that did not come in time, though access windows left them a way.
//!
//! A message had a way if, for [`LEAST`] without a break between its submission and its deadline, all bearers of some path
//! of edges between its two ends were open. Nothing else counts: not what its policy would pay, not whether a device was down or
//! a link was cut. A scenario that has such faults expects what it may.
//!
//! Invariants
//! - Bearers change only at the times of their windows, so that only the submission and these times have to be looked at.

use super::ledger::{Book, Message};
use super::medium::{NANOS, now};
use crate::plan::Plan;
use m2mesh::time::Unix;
use std::collections::BTreeMap;
use std::time::Duration;

/// Returns the number of messages that did not come in time though they had a way.
pub fn in_vain(plan: &Plan, book: &Book) -> usize {
    let mut ways = Ways { plan, parts: BTreeMap::new() };
    let missed = |message: &&Message| {
        let in_time = message.received.iter().any(|received| received.at <= message.deadline);
        message.expected > 0 && !in_time && !message.spared
    };
    let missed = book.messages.iter().filter(missed);
    missed.filter(|message| message.to.is_some_and(|to| ways.has(message.from, to, span(plan, message)))).count()
}

/// Returns the time in which a message was of use, as far as the run went.
fn span(plan: &Plan, message: &Message) -> (Unix, Unix) {
    // The run begins at `NANOS` of its own clock.
    let unix = |at: u64| plan.start + Duration::from_nanos(at.saturating_sub(NANOS));
    (unix(message.sent), unix(message.deadline.min(now())))
}

/// The parts of the mesh between which there is no way, by the bearers that are open.
struct Ways<'a> {
    plan: &'a Plan,
    parts: BTreeMap<Vec<bool>, Vec<usize>>,
}

impl Ways<'_> {
    /// Returns whether there is a way between two devices for long enough, at some time of a span.
    fn has(&mut self, from: usize, to: usize, (sent, deadline): (Unix, Unix)) -> bool {
        let mut at = sent;
        while at + LEAST <= deadline {
            let parts = self.parts_at(at);
            if parts[from] == parts[to] {
                return true;
            }
            let next = self.plan.bearers.iter().filter_map(|bearer| bearer.windows.next_change(at)).min();
            let Some(next) = next else { return false };
            at = next;
        }
        false
    }

    /// Returns the part of each device, by the bearers that are open from a time on for long enough.
    fn parts_at(&mut self, at: Unix) -> &[usize] {
        let stays = |bearer: &crate::plan::Bearer| bearer.windows.is_empty() || bearer.windows.fits(at, LEAST);
        let open: Vec<bool> = self.plan.bearers.iter().map(stays).collect();
        let plan = self.plan;
        self.parts.entry(open).or_insert_with_key(|open| parts(plan, open))
    }
}

/// Returns the part of each device, by the edges over bearers that are open: the least index of a device in it.
fn parts(plan: &Plan, open: &[bool]) -> Vec<usize> {
    let mut parts: Vec<usize> = (0..plan.devices.len()).collect();
    let edges = || plan.edges.iter().filter(|edge| open[edge.bearer]);
    loop {
        let mut changed = false;
        for edge in edges() {
            let least = parts[edge.a].min(parts[edge.b]);
            for end in [edge.a, edge.b] {
                changed |= std::mem::replace(&mut parts[end], least) != least;
            }
        }
        if !changed {
            return parts;
        }
    }
}

/// The time for which a way has to be open: links come up in it, routes are found, and a message and its receipt go.
const LEAST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Source;
    use crate::scenario::from_source;

    const TEXT: &str = r#"
question = "Does it work?"
duration = "2d"
[realm]
start = "2026-01-05T00:00:00Z"
[bearers.day]
windows = ["08:00-12:00"]
[bearers.noon]
windows = ["11:59-13:00", "Tue 07:00-09:00"]
[devices.meter]
[devices.mast]
[devices.base]
[[links]]
kind = "line"
between = ["meter", "mast"]
bearer = "day"
[[links]]
kind = "line"
between = ["mast", "base"]
bearer = "noon"
[[traffic]]
name = "readings"
kind = "send"
from = "meter"
to = "base"
every = "1h"
"#;

    #[test]
    fn a_way_is_open_while_all_bearers_of_a_path_are() {
        let source = Source { file: "x.toml".into(), text: TEXT.into(), ..Source::default() };
        let plan = from_source(&source).and_then(|loaded| loaded.plan(None)).expect("a plan");
        let mut ways = Ways { plan: &plan, parts: BTreeMap::new() };
        let at = |hour: u64, minute: u64| plan.start + Duration::from_secs(hour * 3_600 + minute * 60);
        // From meter to mast in the morning; from there only for the minute before noon, and on Tuesday.
        assert!(ways.has(0, 1, (at(0, 0), at(8, 1))) && !ways.has(0, 1, (at(0, 0), at(8, 0))));
        assert!(ways.has(0, 2, (at(9, 0), at(12, 0))) && !ways.has(0, 2, (at(9, 0), at(11, 59))));
        assert!(!ways.has(0, 2, (at(12, 0), at(31, 59))) && ways.has(2, 0, (at(12, 0), at(40, 0))));
    }
}
