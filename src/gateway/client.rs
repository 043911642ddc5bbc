//! A client of the local API: what the command line, and any Rust program on this machine, uses to talk to a node.
//!
//! Each request has its own connection. Dropping an answer closes its connection, and the node notices.

use super::SOCKET;
use super::dto::Done;
use super::error::ErrorBody;
use axum::body::{Body, Bytes};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// The local API of the node in a directory. Every request may fail with any [`ClientError`].
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
}

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No node listens in the directory.
    #[error("no node runs in {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket cannot be connected to.
    #[error("cannot reach the node at {}: {error}", .path.display())]
    Connect {
        /// Path of the socket.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The node answered with an error.
    #[error("{}", .0.error)]
    Api(ErrorBody),
    /// The node runs, but does not answer.
    #[error("the node in {} has not answered for {seconds} s", .directory.display())]
    Silent {
        /// The node's directory.
        directory: PathBuf,
        /// How long its answer was waited for, in seconds.
        seconds: u64,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection to the node broke: {0}")]
    Broken(String),
    /// The answer cannot be parsed.
    #[error("the node's answer cannot be read: {0}")]
    Answer(String),
}

impl Client {
    /// A client of the node in `directory`, whether or not it runs.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// The node's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Sends a `GET` request whose query is made of the fields of `query`. For questions that the node can answer at
    /// once: it fails after [`PATIENCE`] without an answer.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        self.ask(&target(path, query)?).await?.whole().await
    }

    /// Sends a `GET` request whose answer is text instead of JSON. It fails after [`PATIENCE`] as [`Self::get`] does.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        self.ask(path).await?.text().await
    }

    async fn ask(&self, target: &str) -> Result<Answer, ClientError> {
        match tokio::time::timeout(PATIENCE, self.call(Method::GET, target, None, Body::empty())).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Silent { directory: self.directory.clone(), seconds: PATIENCE.as_secs() }),
        }
    }

    /// Sends a `GET` request as [`Self::get`] does, but without a time-out: the node may have much to read before it
    /// answers.
    pub async fn get_patiently<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.call(Method::GET, &target(path, query)?, None, Body::empty()).await?.whole().await
    }

    /// Sends a `POST` request with a body of JSON.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.hand_in(Method::POST, path, body).await
    }

    /// Sends a `PUT` request with a body of JSON.
    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, ClientError> {
        self.hand_in(Method::PUT, path, body).await
    }

    /// Sends a `DELETE` request.
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(Method::DELETE, path, None, Body::empty()).await?.whole().await
    }

    /// Sends a `PUT` request whose body is bytes, which are read as they are sent.
    pub async fn upload<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &impl Serialize,
        bytes: Body,
    ) -> Result<T, ClientError> {
        let content = Some("application/octet-stream");
        self.call(Method::PUT, &target(path, query)?, content, bytes).await?.whole().await
    }

    /// Sends a `GET` request whose answer is bytes, which are read as they come.
    pub async fn download(&self, path: &str) -> Result<Download, ClientError> {
        let answer = self.call(Method::GET, path, None, Body::empty()).await?;
        Ok(Download { answer })
    }

    async fn hand_in<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let json = serde_json::to_vec(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        self.call(method, path, Some("application/json"), Body::from(json)).await?.whole().await
    }

    /// Sends a `GET` request that is answered with server-sent events. Returns once the stream has begun.
    pub async fn events(&self, path: &str, query: &impl Serialize) -> Result<Events, ClientError> {
        let answer = self.call(Method::GET, &target(path, query)?, None, Body::empty()).await?;
        let mut events = Events { answer, failed: false };
        match events.next::<Done>().await? {
            Some(_) => Ok(events),
            None => Err(ClientError::Broken("the node is stopping".into())),
        }
    }

    /// Sends lines in a `POST` request that is answered with lines of JSON. Both directions run at the same time.
    pub async fn lines(&self, path: &str, query: &impl Serialize, lines: Body) -> Result<Answers, ClientError> {
        let answer = self.call(Method::POST, &target(path, query)?, Some("application/octet-stream"), lines).await?;
        Ok(Answers { answer })
    }

    async fn call(
        &self,
        method: Method,
        target: &str,
        content: Option<&str>,
        body: Body,
    ) -> Result<Answer, ClientError> {
        let path = self.directory.join(SOCKET);
        let stream = match UnixStream::connect(&path).await {
            Ok(stream) => stream,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Err(ClientError::NotRunning(self.directory.clone()));
            }
            Err(error) => return Err(ClientError::Connect { path, error }),
        };
        let broken = |error: hyper::Error| ClientError::Broken(error.to_string());
        let (mut requests, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the local API ended early");
            }
        }));
        let mut request = Request::builder().method(method).uri(target).header(HOST, "m2mesh");
        if let Some(content) = content {
            request = request.header(CONTENT_TYPE, content);
        }
        let request = request.body(body).map_err(|error| ClientError::Answer(error.to_string()))?;
        let response = requests.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let answer = Answer { body: response.into_body(), read: Vec::new(), _connection: connection };
        if status.is_success() { Ok(answer) } else { Err(answer.error(status).await) }
    }
}

/// A stream of server-sent events whose data is JSON.
#[derive(Debug)]
pub struct Events {
    answer: Answer,
    /// Whether the name of the event being read is `error`.
    failed: bool,
}

impl Events {
    /// Waits for the next event and returns its data; `None` at the end of the stream. Cancel-safe: no data is lost if
    /// the future is dropped while it waits.
    ///
    /// # Errors
    /// Fails on an event named `error`, on data that cannot be parsed, and if the connection breaks.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        while let Some(line) = self.answer.line().await? {
            if let Some(name) = line.strip_prefix(b"event:") {
                self.failed = name.trim_ascii() == b"error";
            } else if let Some(data) = line.strip_prefix(b"data:") {
                return if self.failed { Err(ClientError::Api(parse(data)?)) } else { parse(data).map(Some) };
            }
        }
        Ok(None)
    }
}

/// A stream of bytes.
#[derive(Debug)]
pub struct Download {
    answer: Answer,
}

impl Download {
    /// Waits for the next bytes; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.answer.body.frame().await {
            Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            Some(Err(error)) => Err(ClientError::Broken(error.to_string())),
            None => Ok(None),
        }
    }
}

/// A stream of lines of JSON.
#[derive(Debug)]
pub struct Answers {
    answer: Answer,
}

impl Answers {
    /// Waits for the next line; `None` at the end.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        match self.answer.line().await? {
            Some(line) => parse(&line).map(Some),
            None => Ok(None),
        }
    }
}

/// An answer that is being read, with its connection.
#[derive(Debug)]
struct Answer {
    body: Incoming,
    /// Bytes that were read and not yet consumed.
    read: Vec<u8>,
    _connection: Connection,
}

impl Answer {
    async fn whole<T: DeserializeOwned>(self) -> Result<T, ClientError> {
        let Self { body, _connection, .. } = self;
        parse(&collect(body).await?)
    }

    async fn text(self) -> Result<String, ClientError> {
        let Self { body, _connection, .. } = self;
        String::from_utf8(collect(body).await?.to_vec()).map_err(|error| ClientError::Answer(error.to_string()))
    }

    async fn error(self, status: StatusCode) -> ClientError {
        let Self { body, _connection, .. } = self;
        match collect(body).await.and_then(|bytes| parse(&bytes)) {
            Ok(body) => ClientError::Api(body),
            Err(_) => ClientError::Answer(format!("it answered {status}")),
        }
    }

    /// Returns the next line without its line feed; `None` at the end. A last line without a line feed is incomplete
    /// and is discarded.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.read[searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(searched + at + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.truncate(searched + at);
                return Ok(Some(line));
            }
            searched = self.read.len();
            if searched > MAX_LINE {
                return Err(ClientError::Answer(format!("a line of more than {MAX_LINE} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.read.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(ClientError::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}

/// The task that drives a connection; aborted when its answer is dropped.
#[derive(Debug)]
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn collect(body: Incoming) -> Result<Bytes, ClientError> {
    match Limited::new(body, MAX_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(ClientError::Broken(error.to_string())),
    }
}

fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(json).map_err(|error| ClientError::Answer(error.to_string()))
}

/// A path with the fields of `query` as its query string; fields left out by serde are not in it.
fn target(path: &str, query: &impl Serialize) -> Result<String, ClientError> {
    let fields = serde_json::to_value(query).map_err(|error| ClientError::Answer(error.to_string()))?;
    let mut target = path.to_owned();
    for (at, (name, value)) in fields.as_object().into_iter().flatten().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        match value {
            serde_json::Value::String(text) => target.push_str(&escape(text)),
            other => target.push_str(&escape(&other.to_string())),
        }
    }
    Ok(target)
}

/// Percent-encodes all bytes except the unreserved characters of RFC 3986.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// How long to wait for an answer that needs no reading. A busy node answers within a second.
const PATIENCE: Duration = Duration::from_secs(15);
/// Longest line of an answer, in bytes. It fits the largest payload with each byte escaped as `\u0000`.
const MAX_LINE: usize = 1024 * 1024;
/// Longest answer that is read as a whole, in bytes. It fits a page of the inbox with each byte escaped.
const MAX_ANSWER: usize = 16 * 1024 * 1024;
