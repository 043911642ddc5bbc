//! Refused: why a command is not accepted, each reason in words for the user.

use crate::id::Name;

/// Why a command is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No contact card has that name.
    #[error("no contact is called {name}{}", .nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownContact {
        /// The name given.
        name: String,
        /// The nearest known name; `None` if none is like it.
        nearest: Option<String>,
    },
    /// The receiver is the device itself.
    #[error("{0} is this device itself")]
    Oneself(Name),
    /// No policy has that name.
    #[error("no policy is called {name}{}", .nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownPolicy {
        /// The name given.
        name: String,
        /// The nearest known name; `None` if none is like it.
        nearest: Option<String>,
    },
    /// The policy has a limit that a publication cannot keep.
    #[error("policy {policy} has `{limit}`, which can be kept for messages to one device only")]
    PathPolicy {
        /// The policy's name.
        policy: String,
        /// The limit, as the settings call it.
        limit: &'static str,
    },
    /// No path keeps the limits of the message's policy, and the message is not to wait for one.
    #[error("no way to {to} keeps the limits of policy {policy}: {why}")]
    NoPath {
        /// The receiver.
        to: Name,
        /// The policy's name.
        policy: String,
        /// What came nearest to keeping them.
        why: String,
    },
    /// The payload is over its bound.
    #[error("a message has at most {limit} bytes, this one has {found}; send large data in pieces")]
    TooLarge {
        /// The size of the payload in bytes.
        found: usize,
        /// The bound in bytes.
        limit: usize,
    },
    /// The topic is not valid; the text says why.
    #[error("{0}")]
    Topic(String),
    /// The filter is not valid; the text says why.
    #[error("{0}")]
    Filter(String),
    /// The service name is not valid, or is taken by another offer; the text says which.
    #[error("{0}")]
    Service(String),
    /// As many consumers have a name as are allowed.
    #[error("{limit} consumers have a name, and no more can")]
    Consumers {
        /// The number of named consumers that are allowed.
        limit: usize,
    },
    /// No consumer has that name.
    #[error("no consumer is called {0:?}")]
    NoSuchConsumer(String),
    /// No call with that number is waiting.
    #[error("no call {0} is waiting for a response; it may have timed out")]
    NoSuchCall(u64),
    /// A bound is reached; the text says which.
    #[error("{0}")]
    Full(String),
}
