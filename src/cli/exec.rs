//! Exec: runs a program for one request, which it finds on its standard input.
//!
//! Requests are never put into arguments or the environment, where other users of the machine could read them. What is longer
//! than a message goes from the node to the program and back as it is read, and is never in memory as a whole.

use crate::gateway::client::{Client, Download};
use crate::gateway::dto::{BlobPutQuery, BlobTaken};
use crate::wire::batch::MAX_PAYLOAD;
use axum::body::{Body, Bytes};
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// What a program is given.
pub(super) enum Question {
    /// What fits a message.
    Bytes(Vec<u8>),
    /// A blob of the node, as it is read.
    Blob(Download),
}

/// What a program has written.
pub(super) enum Response {
    /// What fits a message.
    Bytes(Vec<u8>),
    /// A blob of the node, by its hash.
    Blob(String),
}

/// Runs a program for a request. Returns its standard output, or why there is no response. A longer one is handed in to the
/// node, if there is one to do so.
pub(super) async fn execute(
    exec: &[OsString],
    variables: &[(&str, &str)],
    question: Question,
    node: Option<&Client>,
) -> Result<Response, String> {
    let (program, arguments) = exec.split_first().ok_or("there is no program")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("the service's program cannot be started: {error}"))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (written, response, complaint) =
        tokio::join!(ask(stdin, question), hear(stdout, node), bounded(stderr, MAX_COMPLAINT));
    written?;
    let (response, complaint) = (response?, complaint.map_err(|error| broken(&error))?);
    let status = child.wait().await.map_err(|error| broken(&error))?;
    if !status.success() {
        let complaint = String::from_utf8_lossy(&complaint).into_owned();
        let reason = complaint.lines().next().unwrap_or_default().trim();
        return Err(if reason.is_empty() {
            format!("the service's program ended with {status}")
        } else {
            reason.into()
        });
    }
    response.ok_or_else(|| format!("the response is larger than {MAX_PAYLOAD} bytes"))
}

fn broken(error: &io::Error) -> String {
    format!("the service's program broke off: {error}")
}

/// Writes the question. A program that does not read its input may still answer.
async fn ask(stdin: Option<ChildStdin>, question: Question) -> Result<(), String> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match question {
        Question::Bytes(bytes) => drop(stdin.write_all(&bytes).await),
        Question::Blob(mut blob) => {
            while let Some(bytes) =
                blob.next().await.map_err(|error| format!("the question cannot be read: {error}"))?
            {
                if stdin.write_all(&bytes).await.is_err() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Reads the response; `None` if it is too long.
async fn hear(stdout: Option<ChildStdout>, node: Option<&Client>) -> Result<Option<Response>, String> {
    let Some(mut stdout) = stdout else { return Ok(Some(Response::Bytes(Vec::new()))) };
    let mut begun = Vec::new();
    let read = (&mut stdout).take(MAX_PAYLOAD as u64 + 1).read_to_end(&mut begun).await;
    read.map_err(|error| broken(&error))?;
    if begun.len() <= MAX_PAYLOAD {
        return Ok(Some(Response::Bytes(begun)));
    }
    let Some(node) = node else {
        // A program that writes more is not blocked.
        tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.map_err(|error| broken(&error))?;
        return Ok(None);
    };
    let parts = futures::stream::unfold((Some(begun), stdout), |(begun, mut stdout)| async move {
        if let Some(begun) = begun {
            return Some((Ok(Bytes::from(begun)), (None, stdout)));
        }
        let mut part = vec![0; PART];
        match stdout.read(&mut part).await {
            Ok(0) => None,
            Ok(length) => {
                part.truncate(length);
                Some((Ok(Bytes::from(part)), (None, stdout)))
            }
            Err(error) => Some((Err(error), (None, stdout))),
        }
    });
    let taken = node.upload("/v1/blobs", &BlobPutQuery::default(), Body::from_stream(parts)).await;
    let BlobTaken { hash, .. } = taken.map_err(|error| format!("the node does not take the response: {error}"))?;
    Ok(Some(Response::Blob(hash)))
}

/// Reads to the end but keeps at most `limit` bytes, so that a program that writes more is not blocked.
async fn bounded(pipe: Option<impl AsyncRead + Unpin>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let Some(pipe) = pipe else { return Ok(bytes) };
    let mut kept = pipe.take(limit as u64);
    kept.read_to_end(&mut bytes).await?;
    tokio::io::copy(&mut kept.into_inner(), &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// Most bytes kept of a program's standard error.
const MAX_COMPLAINT: usize = 4 * 1024;
/// Bytes that are read of a long response at a time.
const PART: usize = 64 * 1024;
