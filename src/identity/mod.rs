//! Identity.

pub mod bulletin;
pub mod credential;
pub mod group;
pub mod group_tree;
pub mod handle;
pub mod kdf;
pub mod seal;
pub mod sign;
