//! What the application asks about blobs, and what it is told.

use crate::id::{BlobHash, Name, SendId};
use crate::wire::data::Class;
use core::time::Duration;
use serde::{Deserialize, Serialize};

/// A command about blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobCommand {
    /// A blob was written to this node's disk. Ends with [`Reply::Ready`](super::Reply::Ready) once that is kept for good.
    Put {
        /// The blob.
        hash: BlobHash,
        /// Its length in bytes.
        length: u64,
        /// Whether it stays until it is removed; otherwise it goes when its room is needed.
        keep: bool,
        /// Whether all contacts may have it; otherwise those alone that it is sent to.
        shared: bool,
    },
    /// Fetches a blob from contacts, to keep it. Stream of [`Reply::Blob`](super::Reply::Blob), of which the last is whole, or
    /// ends with [`Reply::Outcome`](super::Reply::Outcome).
    Get {
        /// The blob.
        hash: BlobHash,
        /// The contacts that are asked; if there are none, all.
        from: Vec<Name>,
        /// Whether all contacts may have it then.
        shared: bool,
        /// After this long it is given up; what has come stays for another time.
        lifetime: Duration,
    },
    /// Sends a blob of this node to a device's inbox. Stream of [`Reply::Blob`](super::Reply::Blob), and of how much of it the
    /// receiver has; ends with [`Reply::Outcome`](super::Reply::Outcome).
    Send(BlobSend),
    /// Sends a request whose question is a blob of this node to a service of a device. Ends as
    /// [`Command::Request`](super::Command::Request) does.
    Request(BlobRequest),
    /// Answers a call of an offered service with a blob of this node. Ends with [`Reply::Ready`](super::Reply::Ready).
    Respond {
        /// The call's number.
        call: u64,
        /// The blob, which is here and whole.
        hash: BlobHash,
    },
    /// Asks for the blobs that are here. Ends with [`Reply::Blobs`](super::Reply::Blobs).
    List,
    /// Removes a blob. Ends with [`Reply::Ready`](super::Reply::Ready).
    Remove {
        /// The blob.
        hash: BlobHash,
    },
}

/// The sending of a blob to one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobSend {
    /// The blob, which is here and whole.
    pub hash: BlobHash,
    /// The receiver.
    pub to: Name,
    /// The name that the receiver is told for it; may be empty.
    pub name: String,
    /// The lifetime, after which it is of no use.
    pub lifetime: Duration,
    /// The application's name for this message, as for a [`Send`](super::Send).
    pub id: Option<SendId>,
}

/// A request to a service whose question is a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobRequest {
    /// The blob, which is here and whole.
    pub hash: BlobHash,
    /// The device.
    pub to: Name,
    /// The service; `None` if the device offers exactly one.
    pub service: Option<String>,
    /// The traffic class of the messages; blobs are least urgent.
    pub class: Class,
    /// The name of the messages' policy; `None` for the one that the settings choose.
    pub policy: Option<String>,
    /// The lifetime, after which the response is of no use.
    pub lifetime: Duration,
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobProgress {
    /// The blob.
    pub hash: BlobHash,
    /// Its length; `None` until it is known.
    pub length: Option<u64>,
    /// Bytes that have arrived and are durable.
    pub bytes: u64,
    /// Whether all of it is there.
    pub whole: bool,
}

/// A blob that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobView {
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes of it that are here.
    pub bytes: u64,
    /// Whether it stays until it is removed.
    pub kept: bool,
    /// Whether all contacts may have it.
    pub shared: bool,
    /// The contacts that may have it in any case.
    pub readers: Vec<Name>,
    /// The messages of the inbox that consist of it.
    pub inbox: Vec<u64>,
    /// The contact that sent it.
    pub from: Option<Name>,
}

/// The blob that a message of the inbox, a question or a response consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The blob.
    pub hash: BlobHash,
    /// Its length in bytes.
    pub length: u64,
    /// The name that its sender gave it; may be empty.
    pub name: String,
}
