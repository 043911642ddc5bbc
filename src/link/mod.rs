//! Link: what is known of links: what carries them, how long they take, how often they fail, what they cost.
//!
//! A [`bearer`] holds what the settings state; [`estimate`] is computed from a link's probes; [`history`] is computed
//! from end-to-end receipts, for hops anywhere in the network; [`duty`] counts how long a bearer was on air; [`spend`] counts how much of a quota is left;
//! [`windows`] are the times at which a bearer may be used; [`forecast`] looks ahead at both. [`serial`] carries links over a
//! line without IP.

pub mod bearer;
pub mod duty;
pub mod estimate;
mod fade;
pub mod forecast;
pub mod history;
pub mod serial;
pub mod spend;
pub mod windows;
