//! The clients' door: the only interface through which anybody uses a node, and the only place where rights are
//! checked.
//!
//! **Mechanism.** Whoever uses a node is a [`Principal`]: the local user behind the unix socket, the program that
//! embeds the node, or a client of another interface. The [`Door`] admits a principal, which yields a [`Caller`]. A
//! caller starts conversations ([`Caller::start`]) and reads the store ([`Caller::reader`]). Both first check whether
//! the principal has the [`Right`] that the [`Command`] or the [`Reading`] needs. A conversation goes to the node as a
//! [`Call`], and its replies come back through [`Replies`].
//!
//! The commands and replies of clients are defined here, apart from those of the engine: the engine knows nothing of
//! neighbours' addresses, labs or processes, and its commands may change without a change for clients.
//!
//! | file | is |
//! |-|-|
//! | [`call`] | commands and replies, and the right that each command needs |
//! | [`principal`] | who uses the node, and with which rights |
//! | [`channels`] | the bounded channels to the node |
//! | [`state`] | what a node tells of itself and of its neighbours |
//! | [`replies`] | the replies of a conversation, and what happens at their bound |
//!
//! Invariants
//! 1. No command reaches the node, and no reader is handed out, for a principal without the right to it. A denial does
//!    not wait for anything.
//! 2. Everything that waits is bounded; see [`channels`] and [`replies`].
//! - There is no other way to the node: the channels to it are private to this module.

pub mod call;
pub mod channels;
pub mod principal;
pub mod replies;
pub mod state;
#[cfg(test)]
mod tests;

pub use call::{Command, Filing, LabRefused, Reading, Reply};
pub use channels::{Arriving, MAX_CALLS};
pub use principal::{Denied, Principal, Right, Rights};
pub use replies::{Call, Heard, Listener, Rejected, Replies};
pub use state::{MOST_HELD, Peer, Quarantined, Status};

use crate::engine::api::Refused;
use crate::store::BlobDisk;
use channels::Calls;
use futures::StreamExt;

/// The entrance for clients of a node. `R` reads the node's store.
#[derive(Clone, Debug)]
pub struct Door<R> {
    calls: Calls,
    reader: R,
    blobs: Option<BlobDisk>,
}

impl<R: Clone> Door<R> {
    /// Creates a door, and the node's end of its channels.
    pub fn new(reader: R) -> (Self, Arriving) {
        let (calls, arriving) = Calls::channels();
        (Self { calls, reader, blobs: None }, arriving)
    }

    /// The same door, through which blobs are handed in and out, too.
    pub fn with_blobs(self, blobs: BlobDisk) -> Self {
        Self { blobs: Some(blobs), ..self }
    }

    /// Admits a principal, with the rights it has.
    pub fn admit(&self, principal: Principal) -> Caller<R> {
        Caller { principal, calls: self.calls.clone(), reader: self.reader.clone(), blobs: self.blobs.clone() }
    }
}

/// A principal at the door. Each clone has its own place in the channels to the node.
#[derive(Clone, Debug)]
pub struct Caller<R> {
    principal: Principal,
    calls: Calls,
    reader: R,
    blobs: Option<BlobDisk>,
}

/// Why a command has no reply, or only a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The principal lacks the right.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The node did not accept the command.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The node did not accept the orders for a lab.
    #[error(transparent)]
    Lab(#[from] LabRefused),
    /// The node has stopped.
    #[error("the node has stopped")]
    Stopped,
}

impl<R> Caller<R> {
    /// The principal that calls.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Starts a conversation. Waits while the channel to the node is full.
    ///
    /// # Errors
    /// Fails if the principal lacks the right, or the node has stopped. A refusal by the node comes as a reply.
    pub async fn start(&mut self, command: Command) -> Result<Listener, AskError> {
        self.principal.demand(command.right())?;
        begin(&mut self.calls, command).await
    }

    /// Starts a conversation, and returns its first reply.
    ///
    /// # Errors
    /// Fails if the principal lacks the right, the node refuses the command, or the node has stopped.
    pub async fn ask(&self, command: Command) -> Result<Reply, AskError> {
        self.principal.demand(command.right())?;
        hear(&mut begin(&mut self.calls.clone(), command).await?).await
    }
}

impl<R> Caller<R> {
    /// The disk that keeps blobs, to hand one in or to read one; what was handed in is then put ([`Command::Blob`]). `None` if
    /// this node keeps none.
    ///
    /// # Errors
    /// Fails if the principal lacks the right.
    pub fn blobs(&self, filing: Filing) -> Result<Option<BlobDisk>, Denied> {
        self.principal.demand(filing.right())?;
        Ok(self.blobs.clone())
    }
}

impl<R: Clone> Caller<R> {
    /// A reader of the node's store, for the part named.
    ///
    /// # Errors
    /// Fails if the principal lacks the right.
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

/// Waits for the next reply.
///
/// # Errors
/// A refusal is an error, as is the end of the conversation.
pub async fn hear(listener: &mut Listener) -> Result<Reply, AskError> {
    match listener.next().await.map(|heard| heard.reply) {
        Some(Reply::Refused(refused)) => Err(refused.into()),
        Some(Reply::LabRefused(refused)) => Err(refused.into()),
        Some(reply) => Ok(reply),
        None => Err(AskError::Stopped),
    }
}
