//! Why a command is not accepted, each in words for who asked.

use crate::id::Name;
use crate::time::Unix;

/// Why a command is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No card with that name.
    #[error("no contact is called {name}{}", .nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownContact {
        /// As asked.
        name: String,
        /// The nearest that is known.
        nearest: Option<String>,
    },
    /// The operator has cut the contact off.
    #[error("{0} has been revoked: the operator has cut it off from the realm")]
    Revoked(Name),
    /// The contact only pushes, as it has said itself.
    #[error("{0} only pushes: it takes nothing from others")]
    Pusher(Name),
    /// This device only pushes.
    #[error("this device only pushes (`push_only` in config.toml): {0}")]
    PushOnly(&'static str),
    /// Not a bulletin that this device takes.
    #[error("{0}")]
    Bulletin(String),
    /// It is for the device itself.
    #[error("{0} is this device itself")]
    Oneself(Name),
    /// No policy has that name.
    #[error("no policy is called {name}{}", .nearest.as_ref().map(|n| format!("; did you mean {n}?")).unwrap_or_default())]
    UnknownPolicy {
        /// The name given.
        name: String,
        /// A known one that is like it.
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
    /// No path keeps the limits of the message's policy, and it is not to wait for one.
    #[error("no way to {to} keeps the limits of policy {policy}: {why}")]
    NoPath {
        /// For whom it was.
        to: Name,
        /// The policy's name.
        policy: String,
        /// What came nearest.
        why: String,
    },
    /// It may leave only when it is of no use any more.
    #[error("it may leave from {from} on and is of no use after {until}: set a later deadline")]
    NeverInTime {
        /// From when on it may leave.
        from: Unix,
        /// Its deadline.
        until: Unix,
    },
    /// It asks to take the place of others, without what that needs.
    #[error(
        "only messages that are confirmed (`--ack end` or `hop`) take the place of older ones, under a key of at most 128 bytes"
    )]
    Latest,
    /// Payload over its bound.
    #[error("a message has at most {limit} bytes, this one has {found}; send large data in pieces")]
    TooLarge {
        /// Bytes there.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The group is restricted, and the device has no permit.
    #[error(
        "this device has no right to publish to {0}; ask the operator: m2mesh realm group DIR publishers {0} --add DEVICE"
    )]
    NoRight(String),
    /// What goes to more devices than one, or to any, is not held.
    #[error("a message to {0} leaves at once: a time to leave, or to wait, is for messages to one device")]
    AtOnce(String),
    /// The device has not the role.
    #[error(
        "this device may not broadcast: its credential has not the role `broadcast`, which `realm invite --role broadcast` gives"
    )]
    NoBroadcast,
    /// Something about a blob.
    #[error("{0}")]
    Blob(String),
    /// Not a topic.
    #[error("{0}")]
    Topic(String),
    /// Not a filter.
    #[error("{0}")]
    Filter(String),
    /// Not a service name, or taken by another offer.
    #[error("{0}")]
    Service(String),
    /// As many consumers have a name as may.
    #[error("{limit} consumers have a name, and no more can")]
    Consumers {
        /// How many there may be.
        limit: usize,
    },
    /// No consumer of that name.
    #[error("no consumer is called {0:?}")]
    NoSuchConsumer(String),
    /// No such call is waiting.
    #[error("no call {0} is waiting for a response; it may have timed out")]
    NoSuchCall(u64),
    /// A bound is reached.
    #[error("{0}")]
    Full(String),
}
