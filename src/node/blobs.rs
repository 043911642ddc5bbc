//! Blobs of a node that runs in this program: handed in from a reader, read as a stream of chunks, fetched and sent.

use super::handle::{CallError, hear};
use super::system::blocking;
use crate::client::{Caller, Command, Filing, Reply};
use crate::engine::api::{BlobCommand, BlobSend, BlobView, Outcome, Refused};
use crate::id::{BlobHash, Name};
use crate::store::blobs::Download;
use crate::store::{BlobDisk, SledReader};
use std::io::{self, Read};
use std::time::Duration;

/// The blobs of a node. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Blobs {
    caller: Caller<SledReader>,
}

impl Blobs {
    pub(super) fn new(caller: Caller<SledReader>) -> Self {
        Self { caller }
    }

    /// Hands a blob in, and keeps it: for all contacts if it is `shared`, otherwise for those that it is sent to.
    ///
    /// # Errors
    /// Fails if it cannot be read, is too long, finds no room, or the node has stopped.
    pub async fn put(&self, read: impl Read + Send + 'static, shared: bool) -> Result<BlobHash, CallError> {
        self.hand_in(read, true, shared).await
    }

    /// Hands a blob in: to `keep`, or for as long as it is sent and its room is not needed.
    pub(super) async fn hand_in(
        &self,
        read: impl Read + Send + 'static,
        keep: bool,
        shared: bool,
    ) -> Result<BlobHash, CallError> {
        let disk = self.disk(Filing::In)?;
        let (hash, length) = work(move || copy(&disk, read)).await?;
        self.ask(BlobCommand::Put { hash, length, keep, shared }).await?;
        Ok(hash)
    }

    /// Reads the whole blob that a response consists of.
    pub(super) async fn response(&self, hash: BlobHash) -> Result<Vec<u8>, CallError> {
        let disk = self.disk(Filing::Out)?;
        work(move || disk.download(hash)?.rest()).await
    }

    /// Sends a blob of this node to a device's inbox, and waits for its outcome.
    ///
    /// # Errors
    /// Fails if the node refuses it, or has stopped.
    pub async fn send(&self, hash: BlobHash, to: Name, name: &str, deadline: Duration) -> Result<Outcome, CallError> {
        let send = BlobSend { hash, to, name: name.to_owned(), lifetime: deadline, id: None };
        match self.transfer(BlobCommand::Send(send)).await? {
            Some(outcome) => Ok(outcome),
            None => Err(CallError::Stopped),
        }
    }

    /// Fetches a blob from contacts, from all if none are named, and keeps it. `None` once it is here, otherwise why it is not.
    ///
    /// # Errors
    /// Fails if the node refuses it, or has stopped.
    pub async fn get(&self, hash: BlobHash, from: Vec<Name>, deadline: Duration) -> Result<Option<Outcome>, CallError> {
        self.transfer(BlobCommand::Get { hash, from, shared: false, lifetime: deadline }).await
    }

    /// Reads a blob of this node; each chunk is verified. Reading waits for the disk.
    ///
    /// # Errors
    /// Fails if it is not here, or not whole.
    pub async fn read(&self, hash: BlobHash) -> Result<Download, CallError> {
        let disk = self.disk(Filing::Out)?;
        work(move || disk.download(hash)).await
    }

    /// The blobs of this node.
    ///
    /// # Errors
    /// Fails if the node has stopped.
    pub async fn list(&self) -> Result<Vec<BlobView>, CallError> {
        match self.ask(BlobCommand::List).await? {
            Reply::Blobs(blobs) => Ok(blobs),
            _ => Err(CallError::Stopped),
        }
    }

    /// Removes a blob of this node.
    ///
    /// # Errors
    /// Fails if it is not here or in use, or the node has stopped.
    pub async fn remove(&self, hash: BlobHash) -> Result<(), CallError> {
        self.ask(BlobCommand::Remove { hash }).await.map(drop)
    }

    fn disk(&self, filing: Filing) -> Result<BlobDisk, CallError> {
        let none = || CallError::Refused(Refused::Blob("this node keeps no blobs".into()));
        self.caller.blobs(filing)?.ok_or_else(none)
    }

    async fn ask(&self, command: BlobCommand) -> Result<Reply, CallError> {
        Ok(self.caller.ask(Command::Blob(command)).await?)
    }

    /// Waits for the end of a transfer; `None` if that is that the blob is whole.
    async fn transfer(&self, command: BlobCommand) -> Result<Option<Outcome>, CallError> {
        let mut listener = self.caller.clone().start(Command::Blob(command)).await?;
        loop {
            match hear(&mut listener).await? {
                Reply::Outcome(outcome) => return Ok(Some(outcome)),
                Reply::Blob(progress) if progress.whole => return Ok(None),
                Reply::Blob(_) => {}
                _ => return Err(CallError::Stopped),
            }
        }
    }
}

fn copy(disk: &BlobDisk, mut read: impl Read) -> io::Result<(BlobHash, u64)> {
    let (mut upload, mut part) = (disk.upload()?, vec![0; 64 * 1024]);
    loop {
        match read.read(&mut part)? {
            0 => return upload.finish(),
            length if upload.write(&part[..length])? => {}
            _ => return Err(io::Error::other("a blob has at most 1 GiB; hand it in as several")),
        }
    }
}

async fn work<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, CallError> {
    let worked = blocking(work).await.map_err(CallError::Store)?;
    worked.map_err(|error| CallError::Store(format!("the folder `blobs` of the node: {error}")))
}
