//! Blobs: large payloads, and how far their transfers are.

use super::{Outcome, Span};
use crate::engine::api;
use crate::id::BlobHash;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Query of `PUT /v1/blobs`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BlobPutQuery {
    /// Whether it stays until it is removed. Otherwise it goes when its room is needed, unless it is being sent.
    #[serde(default)]
    pub keep: bool,
    /// Whether all contacts may fetch it. Otherwise those alone may that it is sent to.
    #[serde(default)]
    pub shared: bool,
}

/// Answer of `PUT /v1/blobs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BlobTaken {
    /// The blob's hash, in hexadecimal.
    pub hash: String,
    /// Its length in bytes.
    pub length: u64,
}

/// Query of `POST /v1/blobs/{hash}/fetch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BlobFetchQuery {
    /// Names of the contacts that are asked, separated by commas; all, if absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Whether all contacts may fetch it from here then.
    #[serde(default)]
    pub shared: bool,
    /// After this long it is given up.
    #[serde(default = "an_hour")]
    #[param(value_type = String, example = "1h")]
    pub deadline: Span,
}

/// Query of `POST /v1/blobs/{hash}/send`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BlobSendQuery {
    /// Name of the receiver.
    pub to: String,
    /// The name that the receiver is told for it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// After this long it is of no use.
    #[serde(default = "an_hour")]
    #[param(value_type = String, example = "1h")]
    pub deadline: Span,
    /// The application's name for this message: under a name that is known nothing is sent again, and the outcome of the first
    /// is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

fn an_hour() -> Span {
    Span(Duration::from_secs(3_600))
}

/// How far a transfer is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlobProgress {
    /// The blob's hash, in hexadecimal.
    pub hash: String,
    /// Its length in bytes, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Bytes that have arrived and are durable.
    pub bytes: u64,
    /// Whether all of it is there.
    pub whole: bool,
}

impl From<api::BlobProgress> for BlobProgress {
    fn from(progress: api::BlobProgress) -> Self {
        let api::BlobProgress { hash, length, bytes, whole } = progress;
        Self { hash: hash.to_string(), length, bytes, whole }
    }
}

/// A line of a transfer: how far it is, or how it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BlobLine {
    /// How it ended.
    Outcome(Outcome),
    /// How far it is. Fetching ends with one that is whole.
    Progress(BlobProgress),
}

/// A blob of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Blob {
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes of it that are here.
    pub bytes: u64,
    /// Whether it stays until it is removed.
    pub kept: bool,
    /// Whether all contacts may fetch it.
    pub shared: bool,
    /// The contacts that may fetch it in any case: it was sent to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<String>,
    /// The messages of the inbox that consist of it, by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbox: Vec<u64>,
    /// The contact that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

impl From<api::BlobView> for Blob {
    fn from(view: api::BlobView) -> Self {
        let api::BlobView { hash, length, bytes, kept, shared, readers, inbox, from } = view;
        Self {
            hash: hash.to_string(),
            length,
            bytes,
            kept,
            shared,
            readers: readers.iter().map(ToString::to_string).collect(),
            inbox,
            from: from.map(|from| from.to_string()),
        }
    }
}

/// The blob that a message consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachedBlob {
    /// Its hash, in hexadecimal.
    pub hash: String,
    /// Its length in bytes.
    pub length: u64,
    /// The name that its sender gave it; may be empty.
    pub name: String,
}

impl From<api::Attached> for AttachedBlob {
    fn from(attached: api::Attached) -> Self {
        let api::Attached { hash, length, name } = attached;
        Self { hash: hash.to_string(), length, name }
    }
}

/// Parses a blob's hash.
pub(in crate::gateway) fn blob_hash(text: &str) -> Result<BlobHash, String> {
    let bytes = data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    let hash = bytes.and_then(|bytes| BlobHash::from_slice(&bytes));
    hash.ok_or_else(|| {
        format!("{text:?} is no hash of a blob: it has 64 hexadecimal digits, as `m2mesh blob put` prints it")
    })
}
