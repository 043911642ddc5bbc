//! Identity.

pub mod admission;
pub mod batch;
pub mod bulletin;
pub mod contact;
pub mod credential;
pub mod enrolment;
pub mod group;
pub mod group_tree;
pub mod handle;
pub mod invitation;
pub mod issuer;
pub mod kdf;
pub mod ledger;
pub mod membership;
pub mod realm;
pub mod seal;
pub mod session;
pub mod sign;
pub mod ticket;
