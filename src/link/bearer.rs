//! Bearers.
use crate::time::Unix;
use crate::wire::lsa::Bearer;
use core::time::Duration;

/// A quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes a period.
    pub bytes: u64,
    /// Length of a period.
    pub every: Duration,
}

impl Quota {
    /// The number of the period of a time.
    pub fn period(&self, at: Unix) -> u64 {
        at.0 / self.micros()
    }

    /// When a period ends.
    pub fn end(&self, period: u64) -> Unix {
        Unix((period + 1).saturating_mul(self.micros()))
    }

    fn micros(&self) -> u64 {
        u64::try_from(self.every.as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

/// A profile.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Name.
    pub name: String,
    /// Class.
    pub class: Bearer,
    /// Price.
    pub price: u64,
    /// Energy.
    pub energy: u32,
    /// MTU.
    pub mtu: u32,
    /// Rate.
    pub rate: u32,
    /// Quota.
    pub quota: Option<Quota>,
    /// Metered.
    pub metered: bool,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "ethernet".into(),
            class: Bearer::Ethernet,
            price: 0,
            energy: 0,
            mtu: 65_536,
            rate: u32::MAX,
            quota: None,
            metered: false,
        }
    }
}

impl Profile {
    /// Open.
    pub fn is_open(&self, _now: Unix) -> bool {
        true
    }

    /// Next change.
    pub fn next_change(&self, _now: Unix) -> Option<Unix> {
        None
    }
}
