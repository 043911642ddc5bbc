//! Policy: what a message wants of its path.
//!
//! A policy weighs four criteria that add up along a path, and sets limits that no path may break. Each criterion is
//! counted in a small unit of about the same value, so that weights can be compared: a micro-unit of money per MB, a
//! microsecond, a millionth of a failure (−ln of the chance of arrival, in millionths), a millijoule per MB. A search
//! minimises the sum of weight times metric.
//!
//! Policies have names: four that every node has, `cheap`, `fast`, `sure` and `frugal`, the default `balanced`, and
//! those of `config.toml`. A message carries the policy itself ([`data::Policy`](crate::wire::data::Policy)), not its
//! name: a relay that has to find another path keeps the same limits.

use super::totals::{Limit, Totals, nats};
use crate::wire::data::Policy;
use serde::{Deserialize, Serialize};

/// The requirements of a search: a message's policy, and the properties of the message that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// The weights and limits. If all weights are zero, those of `balanced` are used.
    pub policy: Policy,
    /// The microseconds that are left until the message is of no use; `None` if there is no limit.
    pub time: Option<u64>,
    /// The bytes of the frame, which determine its price.
    pub bytes: u32,
}

impl Wants {
    /// What the limits leave for the way to a last link with these totals.
    ///
    /// # Errors
    ///
    /// The first limit that the link breaks by itself, and by how much, as [`Totals::broken`] returns it.
    pub fn before(&self, last: &Totals) -> Result<Self, (Limit, u64)> {
        if let Some(broken) = last.broken(self) {
            return Err(broken);
        }
        let mut before = self.clone();
        before.time = self.time.map(|time| time.saturating_sub(last.delay));
        let cost = last.cost_of(self.bytes.into());
        before.policy.budget = self.policy.budget.map(|budget| budget.saturating_sub(cost));
        let likely =
            |least: u16| Totals { failures: nats(least).saturating_sub(last.failures), ..Totals::default() }.success();
        before.policy.success = self.policy.success.map(likely);
        Ok(before)
    }
}

/// One of the four criteria that add up along a path. Its number is its place in [`Policy::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// Money.
    Cost = 0,
    /// Delay.
    Delay = 1,
    /// The chance that the message does not arrive.
    Failures = 2,
    /// Energy.
    Energy = 3,
}

/// The weights of the default policy `balanced`: a millisecond counts as much as 1,000 micro-units of money per MB, or
/// as a failure chance of a thousandth.
pub const BALANCED: [u8; 4] = [64, 64, 64, 1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_last_link_takes_is_not_left_for_the_way_to_it() {
        let policy = Policy { budget: Some(1_000), success: Some(52_428), ..Policy::default() };
        let wants = Wants { policy, time: Some(300), bytes: 500_000 };
        // Half of the bytes of a MB cost half of the price; a chance of 0.9 leaves 0.8 / 0.9.
        let last = Totals { price: 1_200, delay: 100, failures: nats(58_982), ..Totals::default() };
        let before = wants.before(&last).expect("it leaves something");
        assert_eq!((before.policy.budget, before.time, before.bytes), (Some(400), Some(200), 500_000));
        assert!(before.policy.success.is_some_and(|least| least.abs_diff(58_253) < 5), "{before:?}");
        for (last, limit) in [
            (Totals { delay: 301, ..last }, Limit::Time),
            (Totals { price: 2_002, ..last }, Limit::Budget),
            (Totals { failures: nats(50_000), ..last }, Limit::Success),
        ] {
            assert_eq!(wants.before(&last).map_err(|(limit, _)| limit), Err(limit));
        }
        assert_eq!(Wants::clone(&wants).before(&Totals::default()).map(|before| before.time), Ok(Some(300)));
    }
}
