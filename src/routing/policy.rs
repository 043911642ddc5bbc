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
