//! Losing power, and being killed, in the middle of work: what the store promises about both, and how it is checked.

#![allow(clippy::panic)] // a test that meets something else than it expects has failed

pub mod disk;
pub mod random;
pub mod workload;
