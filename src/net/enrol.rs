//! Enrolment: the desk at a member that serves enrolling devices, and the client that asks for enrolment.
//!
//! Every device that joins or renews, real or simulated, asks members by [`round`], which calls [`enrol()`] for each.
//!
//! An enrolling device has no credential, so it gets no further than the admission substream: it sends one request,
//! gets one answer, and the connection closes. The [`Desk`] takes a few requests at a time and at a limited rate, in
//! all and from one source, since an answer costs signatures and disk writes at the issuer. It hands each request to
//! the node together with a channel for the answer. A request for another realm or an unknown issuer is refused at once
//! and takes no seat.
//!
//! Invariants
//! - At most [`SEATS`] requests are served at a time, [`SOURCE_SEATS`] of one source. A request that is turned away
//!   holds its permit of set-up meanwhile.
//! - Every request that was read gets an answer, either the node's or a refusal of the desk's own, unless the device
//!   has gone.

pub mod round;

pub use round::{Reach, Unhelpful, Why, ask_around};

use super::counters::{Counters, Item};
use super::handshake::{Reason, Setup, read, within, write};
use super::permits::{Permit, Source};
use super::tokens::Tokens;
use super::{Multiaddr, NetEvent, Transport};
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, EnrolReply, Kind};
use futures::channel::{mpsc, oneshot};
use futures::{AsyncWriteExt, FutureExt, StreamExt, select_biased};
use futures_timer::Delay;
use libp2p::Transport as _;
use libp2p::core::Endpoint;
use libp2p::core::muxing::SubstreamBox;
use libp2p::core::transport::{DialOpts, PortUse, TransportError};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The place where a member serves enrolling devices.
#[derive(Debug)]
pub(crate) struct Desk {
    state: Arc<Mutex<State>>,
    counters: Arc<Counters>,
}

/// The node's end of the desk: requests that wait for an answer.
#[derive(Debug)]
pub(crate) struct Requests(mpsc::Receiver<Request>);

#[derive(Debug)]
struct Request {
    hello: EnrolHello,
    respond: oneshot::Sender<EnrolReply>,
}

#[derive(Debug)]
struct State {
    requests: mpsc::Sender<Request>,
    /// Seats that are taken, by source.
    seats: BTreeMap<Source, u32>,
    tokens: Tokens,
}

/// A request's place at the desk, given back when it is dropped.
struct Seat(Arc<Mutex<State>>, Source);

/// What bounds the number of connections that are being served.
enum Held {
    Permit(#[expect(dead_code, reason = "held for its drop")] Permit),
    Seat(#[expect(dead_code, reason = "held for its drop")] Seat),
}

impl Desk {
    pub(crate) fn new(counters: Arc<Counters>) -> (Self, Requests) {
        // The capacity of a futures channel is this number plus one for each sender.
        let (requests, receiver) = mpsc::channel(SEATS as usize - 1);
        let state = State { requests, seats: BTreeMap::new(), tokens: Tokens::new(Instant::now()) };
        (Self { state: Arc::new(Mutex::new(state)), counters }, Requests(receiver))
    }

    /// Serves one request and waits for a limited time until the device has taken the answer. The permit of set-up is
    /// exchanged for a seat; a request without a seat holds its permit to the end. A request that is already refused
    /// needs no seat.
    pub(crate) async fn serve(
        &self,
        permit: Permit,
        source: Source,
        hello: Result<EnrolHello, Refusal>,
        mut setup: Setup,
        mut stream: SubstreamBox,
    ) {
        let mut held = Held::Permit(permit);
        let answer = match hello.map(|hello| self.ask(source, hello)) {
            Err(refused) => {
                self.counters.count(Item::Refused("enrolment-foreign"), 1);
                refusal(refused)
            }
            Ok(Some((seat, answer))) => {
                held = Held::Seat(seat);
                let answer = setup.drive(async {
                    select_biased! {
                        answer = answer.fuse() => Ok(answer.ok()),
                        () = Delay::new(ANSWER_TIME).fuse() => Ok(None),
                    }
                });
                match answer.await {
                    Ok(answer) => answer.unwrap_or_else(|| refusal(Refusal::NoIssuer)),
                    // The device has hung up.
                    Err(_) => return,
                }
            }
            Ok(None) => {
                self.counters.count(Item::Refused("enrolment-busy"), 1);
                refusal(Refusal::Busy)
            }
        };
        let body = crate::wire::encode(&answer);
        let written = within(
            WRITE_TIME,
            setup.drive(async {
                write(&mut stream, Kind::EnrolReply, &body).await?;
                stream.close().await.map_err(|_| Reason::Io)
            }),
        );
        if written.await.is_ok() {
            // Closing a QUIC connection discards what is still under way.
            setup.wait_for_end(&mut stream, WRITE_TIME).await;
        }
        setup.close().await;
        drop(held);
    }

    fn ask(&self, source: Source, hello: EnrolHello) -> Option<(Seat, oneshot::Receiver<EnrolReply>)> {
        let mut state = lock(&self.state);
        let (all, own) = (state.seats.values().sum::<u32>(), state.seats.get(&source).copied().unwrap_or(0));
        if all == SEATS || own == SOURCE_SEATS || !state.tokens.take(&source, Instant::now()) {
            return None;
        }
        let (respond, answer) = oneshot::channel();
        state.requests.try_send(Request { hello, respond }).ok()?;
        *state.seats.entry(source.clone()).or_default() += 1;
        Some((Seat(self.state.clone(), source), answer))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let seats = &mut lock(&self.0).seats;
        if let Some(held) = seats.get_mut(&self.1) {
            *held -= 1;
            if *held == 0 {
                seats.remove(&self.1);
            }
        }
    }
}

impl Requests {
    pub(crate) fn poll<P>(&mut self, cx: &mut Context<'_>) -> Poll<NetEvent<P>> {
        match self.0.poll_next_unpin(cx) {
            Poll::Ready(Some(Request { hello, respond })) => Poll::Ready(NetEvent::Enrol { hello, respond }),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The transport cannot dial this address.
    #[error("{0} cannot be dialled")]
    Address(Multiaddr),
    /// The transport could not be created.
    #[error("{0}")]
    Transport(String),
    /// Nobody answered the dial, or no member did.
    #[error("no connection: {0}")]
    Connection(std::io::Error),
    /// The connection was established, but there was no answer.
    #[error("no answer: {0}")]
    Exchange(&'static str),
    /// The answer did not come within the time limit.
    #[error("no answer in time")]
    Timeout,
}

/// Asks the member at `address` for enrolment and returns its answer, within `limit`. The transport runs under the key
/// of the device's ticket or its renewal key and serves this one connection.
///
/// # Errors
/// Fails if the address cannot be dialled, the connection is not established, the exchange fails, or `limit` passes.
pub async fn enrol(
    mut transport: Transport,
    address: Multiaddr,
    hello: &EnrolHello,
    limit: Duration,
) -> Result<EnrolReply, EnrolError> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let address = super::discovery::without_peer(&address);
    let dial = transport.dial(address.clone(), options).map_err(|error| match error {
        TransportError::MultiaddrNotSupported(address) => EnrolError::Address(address),
        TransportError::Other(error) => EnrolError::Connection(error),
    })?;
    let body = crate::wire::encode(hello);
    let ask = async {
        let (_, muxer) = select_biased! {
            dialled = dial.fuse() => dialled.map_err(EnrolError::Connection)?,
            () = Delay::new(DIAL_TIME).fuse() => return Err(EnrolError::Timeout),
        };
        let mut setup = Setup::new(muxer);
        let answer = ask(&mut setup, &body).await;
        setup.close().await;
        answer.map_err(|reason| EnrolError::Exchange(reason.code()))
    };
    // A transport makes progress with its dials only while it is polled.
    let drive = poll_fn(|cx| {
        while Pin::new(&mut transport).poll(cx).is_ready() {}
        Poll::<()>::Pending
    });
    select_biased! {
        answer = Box::pin(ask).fuse() => answer,
        () = drive.fuse() => Err(EnrolError::Timeout),
        () = Delay::new(limit).fuse() => Err(EnrolError::Timeout),
    }
}

async fn ask(setup: &mut Setup, hello: &[u8]) -> Result<EnrolReply, Reason> {
    let mut stream = setup.open(Endpoint::Dialer).await?;
    let exchange = async {
        write(&mut stream, Kind::Enrol, hello).await?;
        let (_, reply) = read(&mut stream, &[Kind::EnrolReply]).await?;
        crate::wire::decode(&reply).map_err(|_| Reason::Malformed)
    };
    setup.drive(exchange).await
}

fn refusal(refused: Refusal) -> EnrolReply {
    EnrolReply { sealed: None, refused: Some(refused) }
}

/// Every statement leaves the state consistent, so a panic of another holder does no harm.
fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The maximum number of requests that are open at a time; further requests are refused as busy.
const SEATS: u32 = 8;
/// The maximum number of open requests of one source.
const SOURCE_SEATS: u32 = 4;
/// How long it may take to establish a connection.
const DIAL_TIME: Duration = Duration::from_secs(20);
/// How long the node may take to answer: longer than it searches for an issuer, even over slow links, and writes
/// durably.
const ANSWER_TIME: Duration = Duration::from_secs(190);
/// How long it may take to write the answer, and then for the device to read it.
const WRITE_TIME: Duration = Duration::from_secs(5);
