//! The control socket of a running lab, `lab.sock`: through it, another command has the lab kill or start a node.
//!
//! A node lives no longer than the thread that started it, so only the lab can start one. A connection carries one
//! request and one answer, a line of JSON each. The lab carries out requests one by one, and answers each when it is
//! done: a killed node is gone by then, a started one is ready.
//!
//! Invariants
//! - Only the user who runs the lab can reach the socket.
//! - At most [`MAX_ORDERS`] connections are served at a time; others wait to be accepted.

use crate::cli::failure::Failure;
use crate::gateway::error::ErrorBody;
use crate::gateway::listen;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

/// What the lab is to do with a node, by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Request {
    /// Kill it at once, as a crash would.
    Kill(String),
    /// Start it again, after it was killed or has ended.
    Start(String),
}

/// The node's state after the request, or why it was not carried out.
pub(super) type Answer = Result<Value, ErrorBody>;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) request: Request,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// The lab's end of the control socket.
pub(super) struct Control {
    orders: mpsc::Receiver<Order>,
    server: JoinHandle<()>,
    path: PathBuf,
}

impl Control {
    /// Listens in a lab's directory.
    pub(super) fn bind(directory: &Path) -> Result<Self, Failure> {
        let path = directory.join(SOCKET);
        let listener =
            listen::bind_privately(directory, &path).map_err(|error| Failure::file("listen at", &path, &error))?;
        let (sender, orders) = mpsc::channel(MAX_ORDERS);
        Ok(Self { orders, server: tokio::spawn(serve(listener, sender)), path })
    }

    /// Waits for the next order.
    pub(super) async fn next(&mut self) -> Order {
        match self.orders.recv().await {
            Some(order) => order,
            // The server has failed; the lab runs on without it.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.server.abort();
        // The file is gone already if somebody has cleared the directory.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Has the lab in a directory carry out a request, and returns its answer.
pub(super) async fn ask(directory: &Path, request: &Request) -> Result<Value, Failure> {
    let path = directory.join(SOCKET);
    let failed = |error: io::Error| Failure::file("reach the lab at", &path, &error);
    let asked = async {
        let mut stream = UnixStream::connect(&path).await?;
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = Vec::new();
        stream.take(MAX_LINE).read_to_end(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(failed)?,
        Err(_) => {
            return Err(Failure::new(
                format!("the lab did not do it within {} s", ANSWER.as_secs()),
                "look at the node's log.txt in its directory",
            ));
        }
    };
    match serde_json::from_slice(&answer) {
        Ok(Ok(node)) => Ok(node),
        Ok(Err(ErrorBody { error, hint })) => Err(Failure::new(error, hint)),
        Err(_) => Err(Failure::new("the lab ended before it was done", "start it again with `m2mesh lab`")),
    }
}

async fn serve(listener: UnixListener, orders: mpsc::Sender<Order>) {
    let permits = Arc::new(Semaphore::new(MAX_ORDERS));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a command could not reach the lab");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let orders = orders.clone();
        tokio::spawn(async move {
            if let Err(error) = attend(stream, orders).await {
                tracing::debug!(%error, "a command went away");
            }
            drop(permit);
        });
    }
}

async fn attend(stream: UnixStream, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(MAX_LINE));
    tokio::time::timeout(REQUEST, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            orders.send(Order { request, answer }).await.map_err(io::Error::other)?;
            answered.await.map_err(io::Error::other)?
        }
        Err(error) => Err(ErrorBody {
            error: format!("the lab does not understand this: {error}"),
            hint: "use the version of m2mesh that runs the lab".to_owned(),
        }),
    };
    let mut line: Vec<u8> = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

/// Name of the socket in the lab's directory.
const SOCKET: &str = "lab.sock";
/// Most requests served at a time. Drop policy: none, others wait to be accepted.
const MAX_ORDERS: usize = 16;
/// Longest request or answer, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How long a request may take to arrive.
const REQUEST: Duration = Duration::from_secs(5);
/// How long a node may take to be killed or to start.
const ANSWER: Duration = Duration::from_secs(30);
/// Pause after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);
