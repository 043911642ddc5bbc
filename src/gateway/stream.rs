//! Routes that stream: server-sent events from the node, and lines in both directions.
//!
//! **Events.** Each has a name and JSON data. A stream starts with the event `ready` once it has begun, so that a
//! client can wait for it. An event `error`, with the data of a failed request, ends it early. A comment every 15 s
//! keeps the connection alive.
//!
//! **Subscriptions and offers** are the replies of a call, with their policies at the bound
//! ([`replies`](crate::client::replies)). **Inbox and log** are not pushed: the node says how far they reach, and the
//! stream reads them from the store as fast as its client accepts them, so nothing is dropped, however slow the client
//! is.
//!
//! **Lines.** Each line of the body is one message, handed to the node in order. While [`MAX_IN_FLIGHT`] of them are
//! under way, the body is not read further, which slows the sender down. Outcomes are lines of JSON in the order in
//! which they come. A node that stops has no outcome for the messages under way: the answer is broken off, as it would
//! be if the process were killed, and a client that has named its lines asks again.

use super::api::{MAX_PAGE, name, outcome, send_id};
use super::dto::{
    Done, InboxFollowQuery, LineOutcome, LinesBody, LogQuery, Missed, OfferQuery, Outcome, PublishLinesQuery,
    Published, SendLinesQuery, ServiceCall, SubscribeQuery,
};
use super::error::{ApiError, ErrorBody, broken_off};
use super::lines::{Line, Lines};
use super::{Context, asked, pages};
use crate::client::{Caller, Command, Heard, Listener, Reading, Reply, Right, hear};
use crate::engine::api::{Past, Refused, Send};
use crate::engine::store::Read;
use crate::wire::batch::MAX_PAYLOAD;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;

/// Sends each line of the body to a device as one message.
///
/// The answer has one line of JSON per message, in the order in which the messages end.
#[utoipa::path(post, path = "/v1/send-lines", params(SendLinesQuery),
    request_body(content = inline(LinesBody), content_type = "application/octet-stream",
        description = "One message a line"),
    responses(
        (status = 200, description = "Outcomes, each a line of JSON (`LineOutcome`); as text for who asks for that by `Accept`",
            content((LineOutcome = "application/x-ndjson"), (String = "text/plain"))),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn send_lines<R: core::marker::Send + 'static>(
    State(context): State<Context<R>>,
    headers: HeaderMap,
    query: Result<Query<SendLinesQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let Query(SendLinesQuery { to, ack, class, policy, deadline, id, latest, first }) = query?;
    let to = name(&to)?;
    if let Some(id) = &id {
        send_id(&format!("{id}/{}", u64::MAX))?;
    }
    let command = move |line, payload| {
        let id = id.as_ref().and_then(|id| send_id(&format!("{id}/{line}")).ok());
        let (to, ack, class, lifetime) = (to.clone(), ack.into(), class.into(), deadline.0);
        Command::Send(Send { to, payload, ack, class, policy: policy.clone(), lifetime, id, latest: latest.clone() })
    };
    // A denial must not wait for a line.
    context.caller.principal().demand(Right::Send)?;
    Ok(outcomes(context.caller, &headers, Lines::new(body, first), command))
}

/// Publishes each line of the body to a topic as one message.
///
/// The answer has one line of JSON per message, in the order in which the messages end.
#[utoipa::path(post, path = "/v1/publish-lines", params(PublishLinesQuery),
    request_body(content = inline(LinesBody), content_type = "application/octet-stream",
        description = "One message a line"),
    responses(
        (status = 200, description = "Outcomes, each a line of JSON (`LineOutcome`); as text for who asks for that by `Accept`",
            content((LineOutcome = "application/x-ndjson"), (String = "text/plain"))),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn publish_lines<R: core::marker::Send + 'static>(
    State(context): State<Context<R>>,
    headers: HeaderMap,
    query: Result<Query<PublishLinesQuery>, QueryRejection>,
    body: Body,
) -> Result<Response, ApiError> {
    let Query(PublishLinesQuery { topic, policy, deadline, confirm, latest }) = query?;
    let command = move |_, payload| Command::Publish {
        topic: topic.clone(),
        payload,
        policy: policy.clone(),
        lifetime: deadline.0,
        confirm,
        latest,
    };
    context.caller.principal().demand(Right::Publish)?;
    Ok(outcomes(context.caller, &headers, Lines::new(body, 1), command))
}

/// Subscribes to the topics that a filter matches.
///
/// Events `message` carry the publications, and events `missed` those that were missed at the end of a publisher's
/// stream.
#[utoipa::path(get, path = "/v1/subscribe", params(SubscribeQuery), responses(
    (status = 200, description = "Event `ready`, then events `message`, their data JSON (`Published`), and `missed` (`Missed`)", content_type = "text/event-stream",
        body = String),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn subscribe<R>(
    State(mut context): State<Context<R>>,
    query: Result<Query<SubscribeQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(SubscribeQuery { filter, since, last, latest }) = query?;
    let past = Past { since: since.map(|since| since.0), last };
    let listener = stand(context.caller.start(Command::Subscribe { filter, past, latest }).await?).await?;
    Ok(events(
        context,
        listener.map(|Heard { reply, skipped }| match reply {
            Reply::Published(published) => event("message", &Published::new(published, skipped)),
            Reply::Missed(missed) => event("missed", &Missed::new(missed, skipped)),
            Reply::Refused(refused) => failed(refused.into()),
            _ => failed(ApiError::Unexpected),
        }),
    ))
}

/// Offers a service and streams its calls.
///
/// Each event `call` is to be answered at `/v1/calls/{id}`.
#[utoipa::path(get, path = "/v1/offers/{service}",
    params(("service" = String, Path, description = "Name of the service"), OfferQuery),
    responses(
        (status = 200, description = "Event `ready`, then events `call`, their data JSON (`ServiceCall`)", content_type = "text/event-stream",
            body = String),
        (status = "default", description = "It was not accepted", body = ErrorBody),
    ))]
pub(super) async fn offer<R>(
    State(mut context): State<Context<R>>,
    Path(service): Path<String>,
    query: Result<Query<OfferQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(OfferQuery { capacity }) = query?;
    let listener = stand(context.caller.start(Command::Offer { service, capacity }).await?).await?;
    Ok(events(
        context,
        listener.map(|Heard { reply, .. }| match reply {
            Reply::Call(call) => event("call", &ServiceCall::from(call)),
            Reply::Refused(refused) => failed(refused.into()),
            _ => failed(ApiError::Unexpected),
        }),
    ))
}

/// Follows the inbox: its messages and those that come later are events `message`.
///
/// This consumes no message.
#[utoipa::path(get, path = "/v1/inbox/follow", params(InboxFollowQuery), responses(
    (status = 200, description = "Event `ready`, then events `message`, their data JSON (`InboxMessage`)", content_type = "text/event-stream",
        body = String),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn follow_inbox<R>(
    State(mut context): State<Context<R>>,
    query: Result<Query<InboxFollowQuery>, QueryRejection>,
) -> Result<Response, ApiError>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let Query(InboxFollowQuery { from_number, from, consumer }) = query?;
    let from = asked::sender(&context.caller, from.as_deref()).await?;
    let reader = context.caller.reader(Reading::Inbox)?;
    let listener = context.caller.start(Command::Receive { consumer, live: false }).await?;
    let page = move |reader: &R, start, last| {
        let page = pages::inbox(reader, start..=last, from.as_ref(), MAX_PAGE)?;
        Ok(Part { items: page.messages, next: page.next, more: page.more })
    };
    let stream = follow("message", listener, reader, from_number, page);
    Ok(events(context, stream))
}

/// Follows the event log: its records and those that come later are events `record`.
#[utoipa::path(get, path = "/v1/log/follow", params(LogQuery), responses(
    (status = 200, description = "Event `ready`, then events `record`, their data JSON (`LogRecord`)", content_type = "text/event-stream",
        body = String),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn follow_log<R>(
    State(mut context): State<Context<R>>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Response, ApiError>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let Query(query) = query?;
    asked::kind(&query)?;
    let reader = context.caller.reader(Reading::Log)?;
    let listener = context.caller.start(Command::FollowLog).await?;
    let start = query.after.map_or(1, |after| after.saturating_add(1));
    let page = move |reader: &R, start: u64, last| {
        let page = pages::log(reader, &query, start..=last, MAX_PAGE)?;
        Ok(Part { items: page.records, next: page.after + 1, more: page.more })
    };
    let stream = follow("record", listener, reader, Some(start), page);
    Ok(events(context, stream))
}

/// Waits until a stream has begun. A refusal becomes an error answer instead of a stream.
async fn stand(mut listener: Listener) -> Result<Listener, ApiError> {
    match hear(&mut listener).await? {
        Reply::Ready => Ok(listener),
        _ => Err(ApiError::Unexpected),
    }
}

/// An answer of server-sent events that starts with `ready` and ends when the node stops.
fn events<R>(context: Context<R>, stream: impl Stream<Item = Event> + core::marker::Send + 'static) -> Response {
    let mut stopping = context.stopping;
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let stream = stream::iter([event("ready", &Done {})]).chain(stream).map(Ok::<_, Infallible>);
    // Boxed, since it must not move once it has been polled.
    let stream = stream.take_until(Box::pin(stopped));
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn event(name: &str, data: &impl Serialize) -> Event {
    let json = serde_json::to_string(data).expect("our own types have string keys and no failing serializer");
    Event::default().event(name).data(json)
}

fn failed(error: ApiError) -> Event {
    event("error", &error.body())
}

/// The result of one read from the store.
struct Part<T> {
    items: Vec<T>,
    next: u64,
    more: bool,
}

/// The state of [`follow`].
struct Following<R, T, P> {
    listener: Listener,
    reader: R,
    page: P,
    /// Entries that were read and not yet sent.
    items: VecDeque<T>,
    /// Number of the next entry to read; `None` until the node has said where the inbox starts.
    next: Option<u64>,
    /// Number of the last durable entry.
    last: u64,
    broken: bool,
}

/// Streams the entries of a store table, reading on whenever the node says that more are durable.
fn follow<R, T, P>(
    name: &'static str,
    listener: Listener,
    reader: R,
    next: Option<u64>,
    page: P,
) -> impl Stream<Item = Event>
where
    R: Read + Clone + core::marker::Send + 'static,
    T: Serialize + core::marker::Send + 'static,
    P: Fn(&R, u64, u64) -> Result<Part<T>, pages::PageError> + Clone + core::marker::Send + 'static,
{
    let state = Following { listener, reader, page, items: VecDeque::new(), next, last: 0, broken: false };
    stream::unfold(state, move |mut state| async move {
        if state.broken {
            return None;
        }
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some((event(name, &item), state));
            }
            if let Some(next) = state.next.filter(|next| *next <= state.last) {
                let (page, last) = (state.page.clone(), state.last);
                match pages::off_thread(state.reader.clone(), move |reader| page(reader, next, last)).await {
                    Ok(part) => {
                        state.items = part.items.into();
                        state.next = Some(if part.more { part.next } else { last + 1 });
                    }
                    Err(error) => {
                        state.broken = true;
                        return Some((failed(error), state));
                    }
                }
                continue;
            }
            match state.listener.next().await?.reply {
                Reply::Inbox { first, last } => {
                    state.next = Some(state.next.map_or(first, |next| next.max(first)));
                    state.last = last;
                }
                Reply::Log { last } => state.last = last,
                Reply::Refused(refused) => {
                    state.broken = true;
                    return Some((failed(refused.into()), state));
                }
                _ => {
                    state.broken = true;
                    return Some((failed(ApiError::Unexpected), state));
                }
            }
        }
    })
}

/// Hands lines to the node in order, and answers with their outcomes as they come.
fn outcomes<R: core::marker::Send + 'static>(
    caller: Caller<R>,
    headers: &HeaderMap,
    lines: Lines,
    command: impl Fn(u64, Vec<u8>) -> Command + core::marker::Send + 'static,
) -> Response {
    let submitted = stream::unfold((caller, lines, command), |(mut caller, mut lines, command)| async move {
        let (line, payload) = lines.next().await?;
        let listener = match payload {
            Line::Whole(payload) => caller.start(command(line, payload)).await,
            Line::TooLong(found) => Err(Refused::TooLarge { found, limit: MAX_PAYLOAD }.into()),
        };
        Some(((line, listener), (caller, lines, command)))
    });
    let ended = submitted.map(|(line, listener)| async move {
        let reply = match listener {
            Ok(mut listener) => hear(&mut listener).await.map_err(ApiError::from),
            Err(error) => Err(error.into()),
        };
        match reply.and_then(outcome) {
            Ok(outcome) => Ok(LineOutcome { line, outcome }),
            Err(ApiError::Stopping) => Err(broken_off()),
            Err(error) => Ok(LineOutcome { line, outcome: Outcome::Refused { reason: error.to_string() } }),
        }
    });
    // Outcomes that came before the node stopped are sent, and then the answer is broken off.
    let chunks = ended.buffer_unordered(MAX_IN_FLIGHT).ready_chunks(MAX_CHUNK).flat_map(|outcomes| {
        let mut chunk = Vec::with_capacity(outcomes.len() * 80);
        let mut stopped = None;
        for outcome in outcomes {
            match outcome {
                Ok(outcome) => {
                    serde_json::to_writer(&mut chunk, &outcome)
                        .expect("our own types have string keys, and a Vec takes all");
                    chunk.push(b'\n');
                }
                Err(error) => stopped = Some(error),
            }
        }
        let told = (!chunk.is_empty()).then(|| Ok(Bytes::from(chunk)));
        stream::iter(told.into_iter().chain(stopped.map(Err)))
    });
    let text = headers.get(ACCEPT).is_some_and(|accept| accept.as_bytes().starts_with(b"text/"));
    let kind = if text { "text/plain; charset=utf-8" } else { "application/x-ndjson" };
    ([(CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response()
}

/// Lines of one request that may be under way, from hand-over to outcome. Drop policy: none, the body is not read
/// further.
const MAX_IN_FLIGHT: usize = 4_096;
/// Most outcomes that are written at a time.
const MAX_CHUNK: usize = 256;
