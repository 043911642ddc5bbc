//! Links as they are worth: what carries them, how long they take, how often they fail, what they cost.
//!
//! [`estimate`] is what a link's probes say.

pub mod estimate;
mod fade;
