//! What tests of several modules use.

pub mod alone;
pub mod console;
pub mod fake_node;
pub mod insider;
pub mod limit;
pub mod processes;
