//! Missed: the publications that subscribers missed, in the form of the record.

use super::ledger::Book;
use super::results::seconds;
use super::workload::topic;
use crate::plan::Plan;
use crate::record;

/// Returns the earliest publications that a subscriber missed.
pub fn missed(plan: &Plan, book: &Book) -> Vec<record::Missed> {
    let tell = |(&(id, to), heard): (&(u64, usize), &Option<u64>)| {
        let message = book.messages.get(usize::try_from(id).ok()?)?;
        Some(record::Missed {
            message: id,
            flow: plan.flows[message.flow].name.clone(),
            topic: message.topic.and_then(|number| topic(plan, number)).unwrap_or_default(),
            from: message.from,
            to,
            at_s: seconds(message.sent),
            late_s: heard.map(|at| seconds(at) - seconds(message.deadline)),
        })
    };
    book.findings.missing.iter().filter_map(tell).collect()
}
