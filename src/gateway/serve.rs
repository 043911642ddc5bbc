//! Serving: connections to the local API are accepted, timed, and ended in good order.
//!
//! Each connection is a task with a seat ([`seats`](super::seats)). It ends when its client leaves, when the head of a
//! request has not arrived within [`HEAD_TIME`] of the end of the previous one, when its seat is given up, or when
//! serving stops. A body that is read as a whole has to arrive within [`BODY_TIME`]. If there is no seat, the
//! connection is answered at once with an error that says so, or closed if many others are being answered so.
//!
//! A route is served in one of three ways: it is answered from what the node knows; it waits for others once its body
//! has arrived; or it is a stream, with a body or an answer that goes on.
//!
//! Invariants
//! 1. Accepting waits for the operating system only: a client that sends nothing keeps nobody else out.
//! 2. A request counts as under way from its complete arrival until its answer is made; a stream counts until it ends.

use super::api;
use super::error::ApiError;
use super::listen::{BindError, Listener};
use super::seats::{Duty, Manner, Place, Seat, Seats};
use crate::client::{Door, Principal};
use crate::engine::store::Read;
use axum::Router;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A bound socket that is not served yet.
#[derive(Debug)]
pub struct Gateway {
    listener: Listener,
}

impl Gateway {
    /// Binds `directory/api.sock` with mode 0600. Needs a tokio runtime.
    ///
    /// # Errors
    /// Fails if a node answers there, if the path is too long, or if the file system refuses.
    pub fn bind(directory: &Path) -> Result<Self, BindError> {
        Listener::open(directory).map(|listener| Self { listener })
    }

    /// Path of the socket.
    pub fn path(&self) -> &Path {
        self.listener.path()
    }

    /// Answers requests until `shutdown` is ready. Then it ends streams, gives requests under way a short time to
    /// finish, and removes the socket.
    pub async fn serve<R>(self, door: Door<R>, shutdown: impl Future<Output = ()> + Send + 'static)
    where
        R: Read + Clone + Send + Sync + 'static,
    {
        let (stopping, stopped) = watch::channel(false);
        // Only that user can have opened the socket.
        let caller = door.admit(Principal::local_user());
        let router = api::router(super::Context { caller, stopping: stopped.clone() });
        until(shutdown, self.listener, router, stopping, stopped).await;
    }
}

/// Serves until `shutdown` is ready, then announces that by `stopping`, and lets requests under way finish within
/// [`GRACE`].
async fn until(
    shutdown: impl Future<Output = ()>,
    listener: Listener,
    router: Router,
    stopping: watch::Sender<bool>,
    stopped: watch::Receiver<bool>,
) {
    let mut shutdown = pin!(shutdown);
    let seats = Seats::default();
    let mut serving = JoinSet::new();
    let mut turning_away = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_) = serving.join_next() => continue,
            Some(_) = turning_away.join_next() => continue,
            stream = accept(&listener) => stream,
        };
        match seats.take(process_of(&stream)) {
            Some(seat) => drop(serving.spawn(attend(stream, seat, router.clone(), stopped.clone()))),
            None if turning_away.len() < MAX_TURNED_AWAY => drop(turning_away.spawn(turn_away(stream))),
            None => drop(stream),
        }
    }
    let file = listener.close();
    stopping.send_replace(true);
    let ended = async { while serving.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        tracing::debug!("requests were still under way when the local API stopped");
    }
    drop(file);
}

/// Waits for the next connection.
async fn accept(listener: &Listener) -> UnixStream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) => {
                // The process has reached its limit of open files, or the client has left: neither ends serving.
                tracing::warn!(%error, "a connection to the local API could not be accepted");
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// The id of the process at the other end; 0 if the operating system does not tell it.
fn process_of(stream: &UnixStream) -> i32 {
    stream.peer_cred().ok().and_then(|credentials| credentials.pid()).unwrap_or(0)
}

/// Serves one connection to its end.
async fn attend(stream: UnixStream, mut seat: Seat, router: Router, mut stopped: watch::Receiver<bool>) {
    let (place, router) = (seat.place(), TowerToHyperService::new(router));
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(place.clone());
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection to the local API ended early");
                }
                return;
            }
            () = seat.given_up() => return,
            () = async { drop(stopped.wait_for(|stopped| *stopped).await) }, if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Answers that there is no room, and keeps the connection open for a moment, so that the client reads the answer
/// before the connection ends.
async fn turn_away(mut stream: UnixStream) {
    let error = ApiError::Crowded { limit: super::seats::MAX_SEATS };
    let response = error.into_response();
    let status = response.status();
    let Ok(body) = to_bytes(response.into_body(), MAX_BUFFER).await else { return };
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n{CONTENT_TYPE}: application/json\r\n{CONTENT_LENGTH}: {}\r\n{RETRY_AFTER}: 1\r\n{CONNECTION}: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    let told = async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        while stream.read(&mut [0; 1_024]).await? > 0 {}
        std::io::Result::Ok(())
    };
    if let Ok(Err(error)) = timeout(FAREWELL, told).await {
        tracing::debug!(%error, "a client of the local API left before it was told that there is no room");
    }
}

/// A handler that marks its connection's seat as busy while a request is under way.
pub(super) fn seated<S>(path: &str, handler: MethodRouter<S>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    if STREAMS.contains(&path) {
        handler.layer(from_fn(goes_on))
    } else if WAITS.contains(&path) {
        handler.layer(from_fn(|request, next| answers_once(Manner::Long, request, next)))
    } else {
        handler.layer(from_fn(|request, next| answers_once(Manner::Quick, request, next)))
    }
}

async fn answers_once(manner: Manner, request: Request, next: Next) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let body = match timeout(BODY_TIME, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(bytes)) => Body::from(bytes),
        Ok(Err(error)) => return Err(ApiError::Request(format!("the body cannot be read: {error}"))),
        Err(_) => return Err(ApiError::Slow { seconds: BODY_TIME.as_secs() }),
    };
    let duty = head.extensions.get::<Place>().map(|place| place.begin(manner)).transpose()?;
    let response = next.run(Request::from_parts(head, body)).await;
    drop(duty);
    Ok(response)
}

async fn goes_on(request: Request, next: Next) -> Result<Response, ApiError> {
    let duty = request.extensions().get::<Place>().map(|place| place.begin(Manner::Long)).transpose()?;
    let response = next.run(request).await;
    Ok(response.map(|body| Body::new(Held { body, _duty: duty })))
}

/// A body that keeps its seat busy until it ends.
struct Held {
    body: Body,
    _duty: Option<Duty>,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Routes that wait for others once their body has arrived.
const WAITS: [&str; 5] = ["/v1/send", "/v1/request", "/v1/publish", "/v1/group-requests", "/v1/services/{service}"];
/// Routes that stream.
const STREAMS: [&str; 10] = [
    "/v1/blobs",
    "/v1/blobs/{hash}",
    "/v1/blobs/{hash}/fetch",
    "/v1/blobs/{hash}/send",
    "/v1/send-lines",
    "/v1/publish-lines",
    "/v1/subscribe",
    "/v1/offers/{service}",
    "/v1/inbox/follow",
    "/v1/log/follow",
];
/// How long the head of a request may take, counted from the answer to the previous one.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long the body of a request that is answered once may take.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Longest body of a request that is answered once, in bytes. It fits the largest payload with each byte escaped.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// Bytes that a connection buffers for reading and for writing.
const MAX_BUFFER: usize = 128 * 1024;
/// Connections that are told at a time that there is no room; further ones are closed without an answer.
const MAX_TURNED_AWAY: usize = 16;
/// How long a client without a seat has to read its answer.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long requests under way may take once the node stops.
const GRACE: Duration = Duration::from_secs(2);
/// The pause after a failure to accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
