//! Serial: links over a line of octets between two nodes, without IP. This is the sans-IO part: octets in, octets out,
//! with the time passed in. `net::serial` opens devices and runs it.
//!
//! | part | does |
//! |-|-|
//! | [`framing`] | line frames among octets and noise, with a check sequence (RFC 1662) |
//! | [`packet`] | the layouts of line frames |
//! | [`handshake`] | admission: Noise XX, with the hello and a signature of each end |
//! | [`window`] | reliable delivery: selective repeat, retransmission time-outs (RFC 6298) |
//! | [`lanes`] | what waits, by urgency, in segments of a line frame each |
//! | [`session`] | one end of an admitted exchange: the above under the keys of a handshake, silence, flow control |
//! | [`line`](mod@line) | all of it on one line: sessions side by side, who begins, the pace of the line |
//!
//! `docs/protocol.md` specifies the formats.
//!
//! **Sessions.** A session is what elsewhere is a connection: it has one neighbour, under one pseudonym at each end, and
//! the node sees a link. Both ends draw a random number for each session, and its keys are fresh, so that nothing of one
//! session is ever taken in another: not after a restart, nor when a line is plugged in elsewhere. A line carries several
//! sessions at once. So when a pseudonym is replaced, the session under the next one is made beside the session under
//! the one before, which goes on until it is left: nothing that is under way has to be sent again.
//!
//! Invariants
//! 1. Nothing that comes over a line makes this module keep more than its bounds, or panic.
//! 2. Frames are handed over only of a session whose other end was admitted.

pub mod framing;
pub mod handshake;
pub mod lanes;
pub mod line;
pub mod packet;
pub mod session;
pub mod window;

use crate::id::{Pseudonym, Signature};
use core::fmt;

/// The shortest limit of a line frame, in bytes on the line before stuffing.
pub const MIN_MTU: usize = 128;
/// The longest limit of a line frame.
pub const MAX_MTU: usize = 4_096;
/// The most lines of a node.
pub const MAX_LINES: usize = 8;

/// Says who this end is and judges the other end, under one pseudonym of this device.
pub trait Guard {
    /// What is known of an admitted neighbour.
    type Peer;

    /// The pseudonym.
    fn own(&self) -> Pseudonym;
    /// Signs with the pseudonym's key.
    fn sign(&self, context: &str, body: &[u8]) -> Signature;
    /// This device's clock, in unix seconds.
    fn seconds(&self) -> u64;
    /// The own hello for a neighbour whose clock says that many unix seconds.
    fn hello(&self, seconds: u64) -> Vec<u8>;
    /// The own hello in answer to a neighbour's that was let in.
    fn answer(&self, theirs: &[u8]) -> Vec<u8>;
    /// Judges a hello, whose sender has proved that it has this key. The error is a reason code in kebab case.
    ///
    /// # Errors
    /// Fails if the neighbour is not to be let in.
    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<Self::Peer, &'static str>;
}

/// Why a session has ended. The number is that in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ending {
    /// One end has closed it.
    Closed = 0,
    /// Nothing was heard for too long.
    Silent = 1,
    /// What came was not of the protocol.
    Malformed = 2,
    /// This end was not let in.
    Refused = 3,
    /// One end has left its pseudonym.
    Left = 4,
    /// Another session with the same neighbour has taken its place.
    Replaced = 5,
    /// Its keys are used up.
    Worn = 6,
}

impl Ending {
    /// The ending of that number; one that is not known is [`Ending::Closed`].
    pub fn of(number: u8) -> Self {
        let all = [Self::Silent, Self::Malformed, Self::Refused, Self::Left, Self::Replaced, Self::Worn];
        all.into_iter().find(|ending| *ending as u8 == number).unwrap_or(Self::Closed)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the other end has closed it",
            Self::Silent => "silent for too long",
            Self::Malformed => "what came is not of the protocol",
            Self::Refused => "the other end refuses this device",
            Self::Left => "a pseudonym has been left",
            Self::Replaced => "the other end began anew",
            Self::Worn => "its keys are used up",
        })
    }
}

#[cfg(test)]
mod tests;
