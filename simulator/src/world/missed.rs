//! Who missed which publication, as a record tells it.

use super::ledger::Book;
use super::publications::Missed;
use super::results::seconds;
use super::workload::topic;
use crate::plan::Plan;
use crate::record;

/// Publications that somebody missed, the first that were found.
pub fn missed(plan: &Plan, book: &Book) -> Vec<record::Missed> {
    let tell = |missed: &Missed| {
        let message = book.messages.get(usize::try_from(missed.message).ok()?)?;
        Some(record::Missed {
            message: missed.message,
            flow: plan.flows[message.flow].name.clone(),
            topic: message.topic.and_then(|number| topic(plan, number)).unwrap_or_default(),
            from: message.from,
            to: missed.node,
            at_s: seconds(message.sent),
            late_s: missed.heard.map(|at| seconds(at) - seconds(message.deadline)),
        })
    };
    book.findings.missing.iter().filter_map(tell).collect()
}
