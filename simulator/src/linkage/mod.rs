//! Linkage: how often an observer can follow a device from one pseudonym to the next.
//!
//! **Mechanism.** A simulation in which all devices rotate leaves what there was to see of each pseudonym
//! ([`observed`], recorded by [`onlooker`](crate::world::onlooker)). For each observer that is reduced to what it sees
//! ([`views`]). At each turn of the epoch a classifier compares all old pseudonyms with all new ones ([`features`]),
//! weighs the differences by what it has learnt at the other turns ([`learning`]), and assigns each old pseudonym a new
//! one ([`classify`], [`assignment`]). What it finds is compared with the truth, also without the features that a
//! counter-measure hides ([`measures`]).

mod assignment;
mod classify;
mod features;
mod learning;
mod measures;
pub mod observed;
#[cfg(test)]
mod tests;
mod views;

pub use measures::{Assessment, Finding, OTHER_ADDRESS, SHIPPED, STEPS, assess};
pub use views::Observer;
