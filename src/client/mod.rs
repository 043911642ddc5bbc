//! The clients' door: the one way by which anybody has the node do something, and the one place where rights are checked.
//!
//! **Mechanism.** Whoever uses a node is a [`Principal`]: the local user behind the unix socket, the program that embeds the
//! node, and whoever comes later by other ways. The [`Door`] admits one, which makes a [`Caller`]; a caller starts
//! conversations ([`Caller::start`]) and reads the store ([`Caller::reader`]). Each of the two asks first what the
//! [`Command`] or the [`Reading`] needs ([`Right`]) and whether this principal has it. A conversation goes to the node as a
//! [`Call`] and comes back through its [`Replies`].
//!
//! What a client may ask and what it hears stands here, apart from what the engine takes and makes: the engine knows
//! nothing of neighbours' addresses, of labs or of processes, and may change its commands without a client noticing.
//!
//! | file | is |
//! |-|-|
//! | [`call`] | what clients ask and hear, and which right each question needs |
//! | [`principal`] | who asks, and what they may |
//! | [`channels`] | the bounded channels to the node |
//! | [`replies`] | the way back, with what happens at its bound |
//!
//! Invariants
//! 1. Nothing reaches the node, and no reader is handed out, for a principal without the right to it: what is denied is denied
//!    before it waits for anything.
//! 2. There is no other way: the channels to the node are private to this module.
//! 3. Everything that waits is bounded; see [`channels`] and [`replies`].

pub mod call;
pub mod channels;
pub mod principal;
pub mod replies;
#[cfg(test)]
mod tests;

pub use call::{Command, LabRefused, Peer, Reading, Reply, Status};
pub use channels::{Arriving, MAX_CALLS};
pub use principal::{Denied, Principal, Right, Rights};
pub use replies::{Call, Heard, Listener, Rejected, Replies};

use crate::engine::api::Refused;
use channels::Calls;
use futures::StreamExt;

/// Where clients come to a node. `R` reads its store.
#[derive(Clone, Debug)]
pub struct Door<R> {
    calls: Calls,
    reader: R,
}

impl<R: Clone> Door<R> {
    /// A door, and the node's end of it.
    pub fn new(reader: R) -> (Self, Arriving) {
        let (calls, arriving) = Calls::channels();
        (Self { calls, reader }, arriving)
    }

    /// Lets somebody in, as far as its rights go.
    pub fn admit(&self, principal: Principal) -> Caller<R> {
        Caller { principal, calls: self.calls.clone(), reader: self.reader.clone() }
    }
}

/// A principal at the door. A clone is a way of its own to the node.
#[derive(Clone, Debug)]
pub struct Caller<R> {
    principal: Principal,
    calls: Calls,
    reader: R,
}

/// Why there is no reply, or none that was hoped for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Who asks has no right to it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node did not accept it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node does not take orders for a lab.
    #[error(transparent)]
    Lab(#[from] LabRefused),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl<R> Caller<R> {
    /// Who this is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Starts a conversation. Waits while the node has as many calls waiting as the channel takes.
    pub async fn start(&mut self, command: Command) -> Result<Listener, AskError> {
        self.principal.demand(command.right())?;
        begin(&mut self.calls, command).await
    }

    /// Asks, and hears the first reply.
    pub async fn ask(&self, command: Command) -> Result<Reply, AskError> {
        self.principal.demand(command.right())?;
        hear(&mut begin(&mut self.calls.clone(), command).await?).await
    }
}

impl<R: Clone> Caller<R> {
    /// Reads what the node keeps, for what is to be read there.
    pub fn reader(&self, reading: Reading) -> Result<R, Denied> {
        self.principal.demand(reading.right())?;
        Ok(self.reader.clone())
    }
}

async fn begin(calls: &mut Calls, command: Command) -> Result<Listener, AskError> {
    let (call, listener) = Call::new(command);
    calls.send(call).await.map_err(|_| AskError::Stopped)?;
    Ok(listener)
}

/// The next reply.
pub async fn hear(listener: &mut Listener) -> Result<Reply, AskError> {
    match listener.next().await.map(|heard| heard.reply) {
        Some(Reply::Refused(refused)) => Err(refused.into()),
        Some(Reply::LabRefused(refused)) => Err(refused.into()),
        Some(reply) => Ok(reply),
        None => Err(AskError::Stopped),
    }
}
