//! Anycast: what goes to any device that offers a service.

use crate::id::SendId;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use core::time::Duration;

/// A message or request to any device that offers a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anycast {
    /// The service.
    pub service: String,
    /// At most [`MAX_PAYLOAD`](crate::wire::batch::MAX_PAYLOAD) bytes.
    pub payload: Vec<u8>,
    /// The traffic class.
    pub class: Class,
    /// The name of the policy by which offers are ranked and paths are chosen; `None` for the one that the settings
    /// choose.
    pub policy: Option<String>,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
    /// What it is.
    pub kind: AnycastKind,
}

/// What goes to any device that offers a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnycastKind {
    /// A message to the device's inbox. The latency of its outcome counts from when the device was chosen.
    Message {
        /// The confirmation that is wanted.
        ack: Ack,
        /// The application's name for it; see [`Send::id`](super::Send::id).
        id: Option<SendId>,
    },
    /// A request to the service.
    Request {
        /// Whether another device may be given it although one before may have executed it.
        repeat: bool,
    },
}
