//! Who uses a node, and what they may.
//!
//! A principal is made where somebody comes in: by the gateway for whom its socket lets in, by the library for the program
//! around it. Those two have all rights, since whoever they are can read the node's directory anyway. Anybody else, a client of
//! another protocol, a rule, a manager, is made with the rights that the way in gives them ([`Principal::client`]).
//!
//! Invariant: [`Principal::demand`] is the only place where it is decided whether somebody may do something.

use std::fmt;
use std::sync::Arc;

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// Send messages and requests to devices.
    Send,
    /// Read and consume messages that came for this device, and answer calls of services.
    Receive,
    /// Publish to topics.
    Publish,
    /// Hear what is published.
    Subscribe,
    /// See what the node is, whom it knows and what it has done.
    Inspect,
    /// Change what the node keeps for others: consumers of its inbox, and the bulletin.
    Administer,
    /// Change how a lab's node links.
    Lab,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Send, Self::Receive, Self::Publish, Self::Subscribe, Self::Inspect, Self::Administer, Self::Lab];

    /// Its name.
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

/// Rights that somebody has. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights(u8);

impl Rights {
    /// These.
    pub fn of(rights: &[Right]) -> Self {
        Self(rights.iter().fold(0, |all, right| all | right.bit()))
    }

    /// Every one.
    pub fn all() -> Self {
        Self::of(&Right::ALL)
    }

    /// Whether that is one of them.
    pub fn has(self, right: Right) -> bool {
        self.0 & right.bit() != 0
    }
}

/// Somebody who uses a node.
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

/// Somebody asked for what it has no right to; nothing of it was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} has no right to {}", .right.name())]
pub struct Denied {
    /// Who asked.
    pub who: String,
    /// What was missing.
    pub right: Right,
}

impl Principal {
    /// The user that the node runs as, who came by its unix socket.
    pub fn local_user() -> Self {
        Self { who: Who::User, rights: Rights::all() }
    }

    /// The program that the node runs in.
    pub fn program() -> Self {
        Self { who: Who::Program, rights: Rights::all() }
    }

    /// Somebody else, by the name under which it was let in, with these rights.
    pub fn client(name: &str, rights: Rights) -> Self {
        Self { who: Who::Client(name.into()), rights }
    }

    /// Fails unless it has the right.
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
