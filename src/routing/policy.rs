//! Policies: what a message wants of its path.
//!
//! A policy weighs four things that add up along a path, and sets limits that no path may break. Each of the four is
//! counted in small units of about the same worth, so that weights can be compared: a micro-unit of money per MB, a
//! microsecond, a millionth of a failure (−ln of the chance of arrival, in millionths), a millijoule per MB. The sum of
//! weight times metric is what a search makes small.
//!
//! Policies have names: four that every node has, `cheap`, `fast`, `sure` and `frugal`, the default `balanced`, and those of
//! `config.toml`. What travels with a message is the policy itself ([`data::Policy`](crate::wire::data::Policy)), not its
//! name: a relay that has to find another way keeps to the same limits.

use crate::wire::data::Policy;
use serde::{Deserialize, Serialize};

/// What a search is to find: a message's policy with what is known of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wants {
    /// Weights and limits. Weights of zero alone are those of `balanced`.
    pub policy: Policy,
    /// Microseconds that are left until the message is of no use; `None` for any time.
    pub time: Option<u64>,
    /// Bytes of the frame, for its price and for links with a small MTU.
    pub bytes: u32,
}

/// One of the four things that add up along a path; its number is its place in [`Policy::weights`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Criterion {
    /// Money.
    Cost = 0,
    /// Time.
    Delay = 1,
    /// The chance that it does not arrive.
    Failures = 2,
    /// Energy.
    Energy = 3,
}

/// The weights of `balanced`, the default: a millisecond is worth as much as a unit of money for 1,000 MB, or a
/// thousandth of a failure.
pub const BALANCED: [u8; 4] = [64, 64, 64, 1];
