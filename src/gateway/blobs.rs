//! Routes about blobs: handed in and read as streams, fetched and sent with lines that say how far that is.
//!
//! No blob is held in memory: what comes is written, and what is read is sent, a chunk at a time. A blob that is handed in is hashed
//! on its way to the disk, and then put by a command; one that is cut off is removed.

use super::api::{done, name, send_id};
use super::dto::{
    self, Blob, BlobFetchQuery, BlobLine, BlobProgress, BlobPutQuery, BlobSendQuery, BlobTaken, Done, LinesBody,
};
use super::error::{ApiError, ErrorBody, broken_off};
use super::{Context, dto::blob_hash};
use crate::client::{AskError, Command, Filing, Heard, Listener, Reply, hear};
use crate::engine::api::{BlobCommand, BlobSend, Refused};
use crate::store::BlobDisk;
use crate::store::blobs::{Download, Upload};
use crate::wire::blob::MAX_LENGTH;
use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use std::io;

/// Hands in a blob.
#[utoipa::path(put, path = "/v1/blobs", params(BlobPutQuery),
    request_body(content = inline(LinesBody), content_type = "application/octet-stream", description = "Its bytes, up to 1 GiB"),
    responses(
        (status = 200, description = "It is durable here", body = BlobTaken),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn put_blob<R: Send + Sync + 'static>(
    State(context): State<Context<R>>,
    query: Result<Query<BlobPutQuery>, QueryRejection>,
    body: Body,
) -> Result<Json<BlobTaken>, ApiError> {
    let Query(BlobPutQuery { keep, shared }) = query?;
    let disk = disk(context.caller.blobs(Filing::In)?)?;
    let mut upload = off_thread(move || disk.upload()).await?;
    let mut body = body.into_data_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|error| ApiError::Request(format!("the body cannot be read: {error}")))?;
        upload = off_thread(move || write(upload, &bytes)).await?;
    }
    let (hash, length) = off_thread(move || upload.finish()).await?;
    let Json(Done {}) =
        done(context.caller.ask(Command::Blob(BlobCommand::Put { hash, length, keep, shared })).await?)?;
    Ok(Json(BlobTaken { hash: hash.to_string(), length }))
}

fn write(mut upload: Upload, bytes: &[u8]) -> io::Result<Upload> {
    match upload.write(bytes)? {
        true => Ok(upload),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a blob has at most {MAX_LENGTH} bytes, this one has more; hand it in as several"),
        )),
    }
}

/// Lists the blobs of this node.
#[utoipa::path(get, path = "/v1/blobs", responses(
    (status = 200, description = "Each with its state", body = Vec<Blob>),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn list_blobs<R>(State(context): State<Context<R>>) -> Result<Json<Vec<Blob>>, ApiError> {
    match context.caller.ask(Command::Blob(BlobCommand::List)).await? {
        Reply::Blobs(blobs) => Ok(Json(blobs.into_iter().map(Blob::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Reads a blob of this node. Each chunk is verified before it is sent.
#[utoipa::path(get, path = "/v1/blobs/{hash}", params(("hash" = String, Path, description = "Its hash")), responses(
    (status = 200, description = "Its bytes", content_type = "application/octet-stream", body = String),
    (status = "default", description = "It cannot be read", body = ErrorBody),
))]
pub(super) async fn read_blob<R>(
    State(context): State<Context<R>>,
    Path(hash): Path<String>,
) -> Result<Response, ApiError> {
    let hash = blob_hash(&hash).map_err(ApiError::Request)?;
    let disk = disk(context.caller.blobs(Filing::Out)?)?;
    let download = off_thread(move || disk.download(hash)).await.map_err(|_| {
        ApiError::Refused(Refused::Blob(format!(
            "no blob {hash} is here, or not all of it; `m2mesh blob get` fetches it"
        )))
    })?;
    let length = download.length();
    let chunks = stream::unfold(Some(download), |download| async {
        let mut download: Download = download?;
        let read = off_thread(move || download.next_chunk().map(|chunk| (chunk, download))).await;
        match read {
            Ok((Some(bytes), download)) => Some((Ok(Bytes::from(bytes)), Some(download))),
            Ok((None, _)) => None,
            Err(error) => Some((Err(io::Error::other(error.to_string())), None)),
        }
    });
    let headers = [(CONTENT_TYPE, "application/octet-stream".to_owned()), (CONTENT_LENGTH, length.to_string())];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Removes a blob of this node.
#[utoipa::path(delete, path = "/v1/blobs/{hash}", params(("hash" = String, Path, description = "Its hash")), responses(
    (status = 200, description = "It is gone", body = Done),
    (status = "default", description = "It stays", body = ErrorBody),
))]
pub(super) async fn remove_blob<R>(
    State(context): State<Context<R>>,
    Path(hash): Path<String>,
) -> Result<Json<Done>, ApiError> {
    let hash = blob_hash(&hash).map_err(ApiError::Request)?;
    done(context.caller.ask(Command::Blob(BlobCommand::Remove { hash })).await?)
}

/// Fetches a blob from contacts.
///
/// The answer is lines of JSON that say how far it is; the last one is whole, or says why it is not.
#[utoipa::path(post, path = "/v1/blobs/{hash}/fetch", params(("hash" = String, Path, description = "Its hash"), BlobFetchQuery), responses(
    (status = 200, description = "Lines of JSON, `application/x-ndjson`: each a `BlobLine`"),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn fetch_blob<R>(
    State(mut context): State<Context<R>>,
    Path(hash): Path<String>,
    query: Result<Query<BlobFetchQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(BlobFetchQuery { from, shared, deadline }) = query?;
    let hash = blob_hash(&hash).map_err(ApiError::Request)?;
    let from = from.split(',').filter(|text| !text.is_empty()).map(name).collect::<Result<_, _>>()?;
    let command = BlobCommand::Get { hash, from, shared, lifetime: deadline.0 };
    let listener = context.caller.start(Command::Blob(command)).await?;
    lines(listener).await
}

/// Sends a blob of this node to a device's inbox.
///
/// The answer is lines of JSON that say how much of it the receiver has; the last one is the outcome. It is `delivered` once the
/// receiver has all of it, verified and durable, in its inbox.
#[utoipa::path(post, path = "/v1/blobs/{hash}/send", params(("hash" = String, Path, description = "Its hash"), BlobSendQuery), responses(
    (status = 200, description = "Lines of JSON, `application/x-ndjson`: each a `BlobLine`"),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn send_blob<R>(
    State(mut context): State<Context<R>>,
    Path(hash): Path<String>,
    query: Result<Query<BlobSendQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(BlobSendQuery { to, name: told, deadline, id }) = query?;
    let hash = blob_hash(&hash).map_err(ApiError::Request)?;
    let id = id.as_deref().map(send_id).transpose()?;
    let send = BlobSend { hash, to: name(&to)?, name: told, lifetime: deadline.0, id };
    let listener = context.caller.start(Command::Blob(BlobCommand::Send(send))).await?;
    lines(listener).await
}

/// Waits until a transfer has begun, and answers with its lines. A refusal becomes an error answer.
async fn lines(mut listener: Listener) -> Result<Response, ApiError> {
    let first = hear(&mut listener).await.map_err(|error: AskError| ApiError::from(error).break_off())?;
    let first = stream::iter([first]);
    let rest = listener.map(|Heard { reply, .. }| reply);
    let body = Body::from_stream(told(first.chain(rest)));
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// The lines of a transfer. One whose node stops has no end, and is broken off.
fn told(replies: impl Stream<Item = Reply> + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold((Box::pin(replies), false), |(mut replies, ended)| async move {
        if ended {
            return None;
        }
        let (line, ended) = match replies.next().await {
            Some(Reply::Blob(progress)) => {
                let ended = progress.whole;
                (BlobLine::Progress(BlobProgress::from(progress)), ended)
            }
            Some(Reply::Outcome(outcome)) => (BlobLine::Outcome(outcome.into()), true),
            Some(Reply::Refused(refused)) => {
                (BlobLine::Outcome(dto::Outcome::Refused { reason: refused.to_string() }), true)
            }
            Some(_) | None => return Some((Err(broken_off()), (replies, true))),
        };
        let mut bytes = serde_json::to_vec(&line).expect("our own types have string keys, and a Vec takes all");
        bytes.push(b'\n');
        Some((Ok(Bytes::from(bytes)), (replies, ended)))
    })
}

fn disk(disk: Option<BlobDisk>) -> Result<BlobDisk, ApiError> {
    disk.ok_or_else(|| ApiError::Refused(Refused::Blob("this node keeps no blobs".into())))
}

/// Works on a thread that may wait for the disk.
async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, ApiError> {
    let worked = tokio::task::spawn_blocking(work).await.map_err(|_| ApiError::Unexpected)?;
    worked.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidInput => ApiError::Request(error.to_string()),
        _ => ApiError::Refused(Refused::Blob(format!("the folder `blobs` of this node: {error}"))),
    })
}
