//! Links as they are worth: what carries them, how long they take, how often they fail, what they cost.
//!
//! A [`bearer`] is what the settings say of it; [`estimate`] is what a link's probes say; [`history`] is what end-to-end
//! receipts say of hops anywhere in the network; [`spend`] is how much of a quota is left.

pub mod bearer;
pub mod estimate;
mod fade;
pub mod history;
pub mod spend;
pub mod windows;
