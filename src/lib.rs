//! m2mesh: a peer-to-peer mesh node for machines.

pub mod delivery;
pub mod engine;
pub mod event_log;
pub mod id;
pub mod identity;
pub mod time;
pub mod wire;

#[cfg(feature = "node")]
pub mod cli;
#[cfg(feature = "node")]
pub mod config;
#[cfg(feature = "node")]
pub mod gateway;
#[cfg(feature = "node")]
pub mod net;
#[cfg(feature = "node")]
pub mod node;
#[cfg(feature = "node")]
pub mod store;
