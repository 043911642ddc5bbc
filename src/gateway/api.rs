//! Routes that answer once, and the table of all routes.

use super::dto::{
    BulletinBody, BulletinTaken, ConsumeBody, ConsumerBody, Contact, Done, ForgetBody, InboxPage, InboxQuery, Lab,
    LinkView, LogPage, LogQuery, LogVerdict, Outcome, Payload, Peer, PublishBody, RouteQuery, RouteView, RoutesView,
    SendBody, Status, timing,
};
use super::error::{ApiError, ErrorBody};
use super::{Context, asked, blobs, calls, groups, identity, mailbox, offers, openapi, pages, serve, stream};
use crate::client::{AskError, Command, Reading, Reply};
use crate::engine::api::{Anycast, AnycastKind, Broadcast, Refused, Send};
use crate::engine::store::Read;
use crate::id::{Name, SendId};
use crate::identity::kdf::sha256;
use crate::metrics::{CONTENT_TYPE as EXPOSITION, expose};
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Uri};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Json, Router};

/// Returns all routes: method, path, handler. The OpenAPI description has exactly these.
pub(super) fn routes<R>() -> Vec<(Method, &'static str, MethodRouter<Context<R>>)>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    vec![
        (Method::POST, "/v1/send", post(send::<R>)),
        (Method::POST, "/v1/send-lines", post(stream::send_lines::<R>)),
        (Method::POST, "/v1/request", post(calls::request::<R>)),
        (Method::POST, "/v1/publish", post(publish::<R>)),
        (Method::POST, "/v1/publish-lines", post(stream::publish_lines::<R>)),
        (Method::GET, "/v1/subscribe", get(stream::subscribe::<R>)),
        (Method::POST, "/v1/group-requests", post(groups::ask_group::<R>)),
        (Method::POST, "/v1/answers", post(groups::answer_publication::<R>)),
        (Method::GET, "/v1/services/{service}", get(offers::offers::<R>)),
        (Method::GET, "/v1/offers/{service}", get(stream::offer::<R>)),
        (Method::POST, "/v1/calls/{id}", post(calls::answer::<R>)),
        (Method::GET, "/v1/inbox", get(inbox::<R>)),
        (Method::GET, "/v1/inbox/follow", get(stream::follow_inbox::<R>)),
        (Method::POST, "/v1/inbox/consumers", post(make_consumer::<R>)),
        (Method::POST, "/v1/inbox/consume", post(consume::<R>)),
        (Method::POST, "/v1/inbox/forget", post(forget::<R>)),
        (Method::PUT, "/v1/blobs", put(blobs::put_blob::<R>)),
        (Method::GET, "/v1/blobs", get(blobs::list_blobs::<R>)),
        (Method::GET, "/v1/blobs/{hash}", get(blobs::read_blob::<R>)),
        (Method::DELETE, "/v1/blobs/{hash}", delete(blobs::remove_blob::<R>)),
        (Method::POST, "/v1/blobs/{hash}/fetch", post(blobs::fetch_blob::<R>)),
        (Method::POST, "/v1/blobs/{hash}/send", post(blobs::send_blob::<R>)),
        (Method::POST, "/v1/quarantine/lift", post(lift_quarantine::<R>)),
        (Method::GET, "/v1/log", get(log::<R>)),
        (Method::GET, "/v1/log/follow", get(stream::follow_log::<R>)),
        (Method::GET, "/v1/log/verify", get(verify_log::<R>)),
        (Method::GET, "/v1/status", get(status::<R>)),
        (Method::GET, "/v1/metrics", get(metrics::<R>)),
        (Method::GET, "/v1/peers", get(peers::<R>)),
        (Method::GET, "/v1/identity", get(identity::identity::<R>)),
        (Method::POST, "/v1/identity/rotate", post(identity::rotate::<R>)),
        (Method::GET, "/v1/mailbox", get(mailbox::mailbox::<R>)),
        (Method::GET, "/v1/links", get(links::<R>)),
        (Method::GET, "/v1/routes", get(routes_view::<R>)),
        (Method::GET, "/v1/route", get(way::<R>)),
        (Method::GET, "/v1/contacts", get(contacts::<R>)),
        (Method::POST, "/v1/bulletin", post(bulletin::<R>)),
        (Method::GET, "/v1/lab", get(lab::<R>)),
        (Method::PUT, "/v1/lab", put(set_lab::<R>)),
        (Method::GET, "/openapi.json", get(openapi::describe)),
    ]
}

/// Builds the router from the table of routes.
pub(super) fn router<R>(context: Context<R>) -> Router
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let router = Router::new();
    routes()
        .into_iter()
        .fold(router, |router, (_, path, handler)| router.route(path, serve::seated(path, handler)))
        .fallback(no_route)
        .method_not_allowed_fallback(no_route)
        .with_state(context)
}

async fn no_route(method: Method, uri: Uri) -> ApiError {
    ApiError::NoRoute(format!("{method} {}", uri.path()))
}

/// Sends one message and waits for its outcome.
#[utoipa::path(post, path = "/v1/send", request_body = SendBody, responses(
    (status = 200, description = "How it ended", body = Outcome),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn send<R>(
    State(context): State<Context<R>>,
    body: Result<Json<SendBody>, JsonRejection>,
) -> Result<Json<Outcome>, ApiError> {
    let Json(body) = body?;
    let SendBody { to, payload, payload_base64, ack, class, policy, deadline, id, .. } = body;
    let SendBody { not_before, spread, wait, latest, .. } = body;
    let (payload, id) = (bytes(payload, payload_base64)?, id.as_deref().map(send_id).transpose()?);
    let (ack, class, lifetime) = (ack.into(), class.into(), deadline.0);
    let command = match to.strip_prefix(ANY) {
        Some(_) if latest.is_some() => return Err(ApiError::Request(format!("{to} takes no `latest`"))),
        Some(service) => {
            let (service, kind) = (service.to_owned(), AnycastKind::Message { ack, id });
            Command::Anycast(Anycast { service, payload, class, policy, lifetime, kind })
        }
        None if to == ALL && (latest.is_some() || id.is_some()) => {
            return Err(ApiError::Request("a broadcast takes neither `latest` nor `id`".into()));
        }
        None if to == ALL => Command::Broadcast(Broadcast { payload, ack, policy, lifetime }),
        None => Command::Send(Send { to: name(&to)?, payload, ack, class, policy, lifetime, id, latest }),
    };
    outcome(context.caller.ask(command.at(timing(not_before, spread, wait))).await.map_err(broken)?).map(Json)
}

/// Publishes one message to everybody who subscribes to a topic.
#[utoipa::path(post, path = "/v1/publish", request_body = PublishBody, responses(
    (status = 200, description = "To how many neighbours it went, or how many devices have confirmed it", body = Outcome),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn publish<R>(
    State(context): State<Context<R>>,
    body: Result<Json<PublishBody>, JsonRejection>,
) -> Result<Json<Outcome>, ApiError> {
    let Json(PublishBody { topic, payload, payload_base64, policy, deadline, confirm, not_before, spread, latest }) =
        body?;
    let (payload, lifetime) = (bytes(payload, payload_base64)?, deadline.0);
    let command = Command::Publish { topic, payload, policy, lifetime, confirm, latest };
    let command = command.at(timing(not_before, spread, None));
    outcome(context.caller.ask(command).await.map_err(broken)?).map(Json)
}

/// Returns a page of the inbox.
#[utoipa::path(get, path = "/v1/inbox", params(InboxQuery), responses(
    (status = 200, description = "Messages in order", body = InboxPage),
    (status = "default", description = "The inbox cannot be read", body = ErrorBody),
))]
pub(super) async fn inbox<R>(
    State(context): State<Context<R>>,
    query: Result<Query<InboxQuery>, QueryRejection>,
) -> Result<Json<InboxPage>, ApiError>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let Query(InboxQuery { from_number, limit, from, consumer }) = query?;
    let from = asked::sender(&context.caller, from.as_deref()).await?;
    let (first, last) = match context.caller.ask(Command::Receive { consumer, live: false }).await? {
        Reply::Inbox { first, last } => (first, last),
        _ => return Err(ApiError::Unexpected),
    };
    let numbers = from_number.unwrap_or(first).max(first)..=last;
    let limit = limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let reader = context.caller.reader(Reading::Inbox)?;
    let page = pages::off_thread(reader, move |reader| pages::inbox(reader, numbers, from.as_ref(), limit));
    Ok(Json(page.await?))
}

/// Creates a consumer with a read position of its own.
///
/// Messages in the inbox, and those that come later, stay there until it has consumed them.
#[utoipa::path(post, path = "/v1/inbox/consumers", request_body = ConsumerBody, responses(
    (status = 200, description = "It is there, now or since before", body = Done),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn make_consumer<R>(
    State(context): State<Context<R>>,
    body: Result<Json<ConsumerBody>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Json(ConsumerBody { consumer }) = body?;
    done(context.caller.ask(Command::MakeConsumer { consumer }).await?)
}

/// Consumes messages of the inbox.
///
/// They are removed once every consumer has consumed them.
#[utoipa::path(post, path = "/v1/inbox/consume", request_body = ConsumeBody, responses(
    (status = 200, description = "They will not come again, unless the node crashes before that is durable", body = Done),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn consume<R>(
    State(context): State<Context<R>>,
    body: Result<Json<ConsumeBody>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Json(ConsumeBody { up_to, consumer, durable }) = body?;
    done(context.caller.ask(Command::Consume { consumer, up_to, durable }).await?)
}

/// Removes a consumer: no message is kept for it any more.
#[utoipa::path(post, path = "/v1/inbox/forget", request_body = ForgetBody, responses(
    (status = 200, description = "It is forgotten", body = Done),
    (status = "default", description = "There is none of that name", body = ErrorBody),
))]
pub(super) async fn forget<R>(
    State(context): State<Context<R>>,
    body: Result<Json<ForgetBody>, JsonRejection>,
) -> Result<Json<Done>, ApiError> {
    let Json(ForgetBody { consumer }) = body?;
    done(context.caller.ask(Command::Forget { consumer }).await?)
}

/// Lets all neighbours in quarantine come back.
#[utoipa::path(post, path = "/v1/quarantine/lift", responses(
    (status = 200, description = "Nobody is in quarantine", body = Done),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn lift_quarantine<R>(State(context): State<Context<R>>) -> Result<Json<Done>, ApiError> {
    done(context.caller.ask(Command::LiftQuarantine).await?)
}

/// Returns a page of the event log.
#[utoipa::path(get, path = "/v1/log", params(LogQuery), responses(
    (status = 200, description = "Records in order", body = LogPage),
    (status = "default", description = "The event log cannot be read", body = ErrorBody),
))]
pub(super) async fn log<R>(
    State(context): State<Context<R>>,
    query: Result<Query<LogQuery>, QueryRejection>,
) -> Result<Json<LogPage>, ApiError>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let Query(query) = query?;
    asked::kind(&query)?;
    let reader = context.caller.reader(Reading::Log)?;
    Ok(Json(pages::off_thread(reader, move |reader| pages::log_page(reader, &query)).await?))
}

/// Verifies the hash chain of the event log.
#[utoipa::path(get, path = "/v1/log/verify", responses(
    (status = 200, description = "Whether it is intact, else the first bad record", body = LogVerdict),
    (status = "default", description = "The event log cannot be read", body = ErrorBody),
))]
pub(super) async fn verify_log<R>(State(context): State<Context<R>>) -> Result<Json<LogVerdict>, ApiError>
where
    R: Read + Clone + core::marker::Send + Sync + 'static,
{
    let reader = context.caller.reader(Reading::Log)?;
    Ok(Json(pages::off_thread(reader, |reader| pages::verify_log(reader)).await?))
}

/// Returns the state of the node.
#[utoipa::path(get, path = "/v1/status", responses(
    (status = 200, description = "What the node is", body = Status),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn status<R>(State(context): State<Context<R>>) -> Result<Json<Status>, ApiError> {
    match context.caller.ask(Command::Status).await? {
        Reply::Status(status) => Ok(Json((*status).into())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns everything that the node measures and counts, for a monitoring system.
#[utoipa::path(get, path = "/v1/metrics", responses(
    (status = 200, description = "Gauges and counters in Prometheus' text format, version 0.0.4",
        content_type = "text/plain", body = String),
    (status = "default", description = "It cannot be told", content_type = "application/json", body = ErrorBody),
))]
pub(super) async fn metrics<R>(State(context): State<Context<R>>) -> Result<impl IntoResponse, ApiError> {
    let Reply::Status(status) = context.caller.ask(Command::Status).await? else { return Err(ApiError::Unexpected) };
    let status = Status::from(*status);
    Ok(([(CONTENT_TYPE, EXPOSITION)], expose(&status.samples())))
}

/// Returns the neighbours of the node.
#[utoipa::path(get, path = "/v1/peers", responses(
    (status = 200, description = "One a link", body = Vec<Peer>),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn peers<R>(State(context): State<Context<R>>) -> Result<Json<Vec<Peer>>, ApiError> {
    match context.caller.ask(Command::Peers).await? {
        Reply::Peers(peers) => Ok(Json(peers.into_iter().map(Peer::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns the links as the router sees them.
#[utoipa::path(get, path = "/v1/links", responses(
    (status = 200, description = "One a link", body = Vec<LinkView>),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn links<R>(State(context): State<Context<R>>) -> Result<Json<Vec<LinkView>>, ApiError> {
    match context.caller.ask(Command::Links).await? {
        Reply::Links(links) => Ok(Json(links.into_iter().map(LinkView::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns what the router knows: routers of the area, routes in use, hops in doubt.
#[utoipa::path(get, path = "/v1/routes", responses(
    (status = 200, description = "What it holds", body = RoutesView),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn routes_view<R>(State(context): State<Context<R>>) -> Result<Json<RoutesView>, ApiError> {
    match context.caller.ask(Command::Routes).await? {
        Reply::Routes(routes) => Ok(Json((*routes).into())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns the route to a device, the other candidates, and the reasons for the choice.
#[utoipa::path(get, path = "/v1/route", params(RouteQuery), responses(
    (status = 200, description = "The way", body = RouteView),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn way<R>(
    State(context): State<Context<R>>,
    query: Result<Query<RouteQuery>, QueryRejection>,
) -> Result<Json<RouteView>, ApiError> {
    let Query(RouteQuery { to, policy }) = query?;
    match context.caller.ask(Command::Route { to: name(&to)?, policy }).await? {
        Reply::Route(way) => Ok(Json((*way).into())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns the devices that this device can address.
#[utoipa::path(get, path = "/v1/contacts", responses(
    (status = 200, description = "One a contact card", body = Vec<Contact>),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn contacts<R>(State(context): State<Context<R>>) -> Result<Json<Vec<Contact>>, ApiError> {
    match context.caller.ask(Command::Contacts).await? {
        Reply::Contacts(contacts) => Ok(Json(contacts.into_iter().map(Contact::from).collect())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Hands over a bulletin that the operator has signed, with documents that it names; it is told to the whole mesh.
#[utoipa::path(post, path = "/v1/bulletin", request_body = BulletinBody, responses(
    (status = 200, description = "Which version holds now", body = BulletinTaken),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn bulletin<R>(
    State(context): State<Context<R>>,
    body: Result<Json<BulletinBody>, JsonRejection>,
) -> Result<Json<BulletinTaken>, ApiError> {
    let Json(body) = body?;
    let (signed, documents) = body.into_parts().map_err(ApiError::Request)?;
    match context.caller.ask(Command::Bulletin { signed, documents }).await? {
        Reply::Bulletin { version, newer } => Ok(Json(BulletinTaken { version, newer })),
        _ => Err(ApiError::Unexpected),
    }
}

/// How this node of a lab links.
#[utoipa::path(get, path = "/v1/lab", responses(
    (status = 200, description = "What the node is told", body = Lab),
    (status = 404, description = "The node is not in a lab", body = ErrorBody),
    (status = "default", description = "It cannot be told", body = ErrorBody),
))]
pub(super) async fn lab<R>(State(context): State<Context<R>>) -> Result<Json<Lab>, ApiError> {
    lab_reply(context.caller.ask(Command::Lab).await?)
}

/// Replaces the orders of this node in a lab.
///
/// They are in force at once, and again when the node restarts.
#[utoipa::path(put, path = "/v1/lab", request_body = Lab, responses(
    (status = 200, description = "What the node is told now", body = Lab),
    (status = 404, description = "The node is not in a lab", body = ErrorBody),
    (status = "default", description = "It was not accepted", body = ErrorBody),
))]
pub(super) async fn set_lab<R>(
    State(context): State<Context<R>>,
    body: Result<Json<Lab>, JsonRejection>,
) -> Result<Json<Lab>, ApiError> {
    let Json(orders) = body?;
    let orders = orders.try_into().map_err(ApiError::Request)?;
    lab_reply(context.caller.ask(Command::SetLab(Box::new(orders))).await?)
}

/// Converts an error of a request that ends in an outcome.
pub(super) fn broken(error: AskError) -> ApiError {
    ApiError::from(error).break_off()
}

fn lab_reply(reply: Reply) -> Result<Json<Lab>, ApiError> {
    match reply {
        Reply::Lab(lab) => Ok(Json((*lab).into())),
        _ => Err(ApiError::Unexpected),
    }
}

/// Returns the outcome in a final reply.
pub(super) fn outcome(reply: Reply) -> Result<Outcome, ApiError> {
    match reply {
        Reply::Outcome(outcome) => Ok(outcome.into()),
        Reply::Response { from, payload, latency } => Ok(Outcome::Replied {
            from: from.to_string(),
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            payload: Payload::new(payload),
            blob: None,
        }),
        Reply::BlobResponse { from, blob, latency } => Ok(Outcome::Replied {
            from: from.to_string(),
            latency_us: u64::try_from(latency.as_micros()).unwrap_or(u64::MAX),
            payload: Payload::default(),
            blob: Some(blob.into()),
        }),
        _ => Err(ApiError::Unexpected),
    }
}

pub(super) fn done(reply: Reply) -> Result<Json<Done>, ApiError> {
    match reply {
        Reply::Ready => Ok(Json(Done {})),
        _ => Err(ApiError::Unexpected),
    }
}

/// Derives the id of a message from the application's name for it, which has at most [`MAX_ID`] bytes.
pub(super) fn send_id(text: &str) -> Result<SendId, ApiError> {
    match text.len() {
        1..=MAX_ID => {
            let hash = sha256(&[text.as_bytes()]);
            Ok(SendId::from_slice(&hash[..SendId::LEN]).expect("a hash is longer than an id"))
        }
        length => Err(ApiError::Request(format!("an id has 1 to {MAX_ID} bytes, this one has {length}"))),
    }
}

/// Parses a device's name. Text that is not a valid name is reported as an unknown contact.
pub(super) fn name(text: &str) -> Result<Name, ApiError> {
    Name::new(text).map_err(|error| match text {
        "" => ApiError::Request(error.to_string()),
        _ => ApiError::Refused(Refused::UnknownContact { name: format!("{text:?} ({error})"), nearest: None }),
    })
}

pub(super) fn bytes(payload: Option<String>, payload_base64: Option<String>) -> Result<Vec<u8>, ApiError> {
    Payload { payload, payload_base64 }.into_bytes().map_err(ApiError::Request)
}

/// What a destination begins with that is any device that offers a service.
pub(super) const ANY: &str = "any:";
/// The destination that is all devices.
const ALL: &str = "all";

/// Longest name that an application may give a message, in bytes.
const MAX_ID: usize = 128;
/// Entries of a page unless the query says otherwise.
pub(super) const DEFAULT_PAGE: usize = 100;
/// Most entries of a page.
pub(super) const MAX_PAGE: usize = 1_000;
