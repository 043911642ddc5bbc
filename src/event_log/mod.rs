//! Event log.

pub mod event;

pub use event::Event;
