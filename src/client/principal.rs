//! Principals: who uses a node, and with which rights.
//!
//! A principal is created where a client comes in: by the gateway for the users that its socket admits, by the library
//! for the program around the node. These two have all rights, since they can read the node's directory anyway. Any
//! other client, of another protocol, a rule or a manager, gets the rights that its interface gives it
//! ([`Principal::client`]).
//!
//! Invariants
//! - [`Principal::demand`] is the only place that decides whether a principal has a right.

use std::fmt;
use std::sync::Arc;

/// A right: what a principal may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Send messages and requests to devices.
    Send,
    /// Read and consume messages sent to this device, and answer calls of services.
    Receive,
    /// Publish to topics.
    Publish,
    /// Receive publications.
    Subscribe,
    /// See the state of the node, the devices it knows and what it has done.
    Inspect,
    /// Change what the node keeps for others: consumers of its inbox, and the bulletin.
    Administer,
    /// Change how a lab's node links.
    Lab,
}

impl Right {
    /// All rights.
    pub const ALL: [Self; 7] =
        [Self::Send, Self::Receive, Self::Publish, Self::Subscribe, Self::Inspect, Self::Administer, Self::Lab];

    /// The name of the right.
    pub fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Inspect => "inspect",
            Self::Administer => "administer",
            Self::Lab => "lab",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// A set of rights. The default is the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// The set of these rights.
    pub fn of(rights: &[Right]) -> Self {
        Self(rights.iter().fold(0, |all, right| all | right.bit()))
    }

    /// The set of all rights.
    pub fn all() -> Self {
        Self::of(&Right::ALL)
    }

    /// Whether the set contains a right.
    pub fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }
}

/// A user of a node, with its rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    who: Who,
    rights: Rights,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    User,
    Program,
    Client(Arc<str>),
}

/// A principal asked for something it has no right to; nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} has no right to {}", .right.name())]
pub struct Denied {
    /// The principal, for people.
    pub who: String,
    /// The right that it lacks.
    pub right: Right,
}

impl Principal {
    /// The user that the node runs as, who came through the unix socket.
    pub fn local_user() -> Self {
        Self { who: Who::User, rights: Rights::all() }
    }

    /// The program that embeds the node.
    pub fn program() -> Self {
        Self { who: Who::Program, rights: Rights::all() }
    }

    /// Any other client, with the name under which it was admitted and the rights given to it.
    pub fn client(name: &str, rights: Rights) -> Self {
        Self { who: Who::Client(name.into()), rights }
    }

    /// Checks that the principal has a right.
    ///
    /// # Errors
    /// Fails if it does not.
    pub fn demand(&self, right: Right) -> Result<(), Denied> {
        if self.rights.has(right) { Ok(()) } else { Err(Denied { who: self.to_string(), right }) }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::User => f.write_str("the local user"),
            Who::Program => f.write_str("this program"),
            Who::Client(name) => write!(f, "client {name:?}"),
        }
    }
}
