//! Holdings: how much of the inbox each contact holds, so that one that sends much leaves room for the others.
//!
//! **Mechanism.** A contact may hold as much as is free, and no more: a dynamic threshold (Choudhury and Hahne,
//! "Dynamic queue length thresholds for shared-memory packet switches", 1998). A contact that fills the inbox alone
//! reaches half of it, two contacts a third each. A contact that holds less than what is free is always admitted, and
//! the share of a greedy one shrinks as others arrive. What a contact already holds beyond its share stays.
//!
//! Invariants
//! 1. The sums over all contacts equal the records in the inbox.
//! 2. There is an entry only for a contact that has messages in the inbox.

use crate::id::Name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most messages in the inbox.
pub const MAX_INBOX: u64 = 1_000_000;
/// Most bytes of messages in the inbox.
pub const MAX_INBOX_BYTES: usize = 1 << 30;

/// A number of messages, and their bytes.
pub type Amount = (u64, usize);

/// What each contact holds.
#[derive(Debug, Default)]
pub struct Holdings(BTreeMap<Arc<Name>, Amount>);

impl Holdings {
    /// A contact holds that much more. Returns its name, which the record shares.
    pub fn add(&mut self, of: &Name, (messages, bytes): Amount) -> Arc<Name> {
        let name = self.0.get_key_value(of).map_or_else(|| Arc::new(of.clone()), |(name, _)| name.clone());
        let held = self.0.entry(name.clone()).or_default();
        (held.0, held.1) = (held.0 + messages, held.1 + bytes);
        name
    }

    /// A contact holds that much less.
    pub fn release(&mut self, of: &Name, (messages, bytes): Amount) {
        let Some(held) = self.0.get_mut(of) else { return };
        (held.0, held.1) = (held.0.saturating_sub(messages), held.1.saturating_sub(bytes));
        if held.0 == 0 {
            self.0.remove(of);
        }
    }

    /// Whether a contact may hold that much more of an inbox that holds `all` in all.
    pub fn may_take(&self, of: &Name, more: Amount, all: Amount) -> bool {
        let held = self.0.get(of).copied().unwrap_or_default();
        let messages = MAX_INBOX.saturating_sub(all.0).saturating_sub(more.0);
        let bytes = MAX_INBOX_BYTES.saturating_sub(all.1).saturating_sub(more.1);
        held.0 + more.0 <= messages && held.1 + more.1 <= bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).expect("a name")
    }

    /// Adds messages of one contact in thousands until no more is allowed.
    fn fill(holdings: &mut Holdings, of: &Name, all: &mut Amount) -> u64 {
        let more = (1_000, 100_000);
        while holdings.may_take(of, more, *all) {
            holdings.add(of, more);
            *all = (all.0 + more.0, all.1 + more.1);
        }
        holdings.0.get(of).map_or(0, |held| held.0)
    }

    /// Invariant 2.
    #[test]
    fn whoever_sends_much_leaves_half_of_what_is_left() {
        let (mut holdings, mut all) = (Holdings::default(), (0, 0));
        let held: Vec<u64> = ["a", "b", "c"].iter().map(|of| fill(&mut holdings, &name(of), &mut all)).collect();
        assert_eq!(held, [500_000, 250_000, 125_000]);
        assert!(!holdings.may_take(&name("a"), (1, 1), all));
        holdings.release(&name("a"), (500_000, 50_000_000));
        assert_eq!(holdings.0.len(), 2);
        assert!(!holdings.may_take(&name("d"), (1, MAX_INBOX_BYTES / 2), (0, 1)), "bytes count too");
    }
}
