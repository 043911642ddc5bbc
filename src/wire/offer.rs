//! Offer: how busy a service is at one of the devices that offer it. It is the payload of a message of purpose
//! [`Offer`](super::batch::Purpose::Offer).

use serde::{Deserialize, Serialize};

/// What a device says of a service that it offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// How many requests it answers at a time.
    pub capacity: u32,
    /// How many wait for their answers, or have a place kept free.
    pub load: u32,
    /// From when to when the device is awake next, in unix microseconds; absent if it does not sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub awake: Option<[u64; 2]>,
}

impl Offer {
    /// Whether no place is free.
    pub fn is_full(&self) -> bool {
        self.load >= self.capacity
    }

    /// The part of its places that is taken, in thousandths.
    pub fn busy(&self) -> u64 {
        u64::from(self.load) * 1_000 / u64::from(self.capacity.max(1))
    }
}
