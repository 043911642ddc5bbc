//! Handshake: messages on the admission substream, and the connection while it is being set up.
//!
//! Before admission there is only a multiplexed connection. [`Setup`] holds it: it drives the muxer while one substream
//! is read or written, and keeps the few substreams that a hasty peer opens in the meantime. A message on the substream
//! is `kind:u8 | length:u16 | body`, the reply to an enrolment `kind:u8 | length:u32 | body` ([`crate::wire::hello`]).
//!
//! Invariants
//! 1. At most [`MAX_EARLY`] substreams are held for a peer that is not admitted.
//! 2. A message whose body is longer than its kind allows is refused.
//! - A body is allocated only after its length has been checked.

use super::permits::GivenUp;
use crate::wire::enrolment::{MAX_ANSWER, MAX_REQUEST};
use crate::wire::hello::{CLOCK, Kind, MAX_HELLO, WAIT};
use futures::future::{Either, select};
use futures::{AsyncReadExt, AsyncWriteExt};
use futures_timer::Delay;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent, StreamMuxerExt, SubstreamBox};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

/// The reason why a connection was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.code())]
pub(crate) enum Reason {
    /// All permits are taken.
    Busy,
    /// All permits of this source are taken.
    SourceBusy,
    /// The set-up took too long.
    Timeout,
    /// A message is longer than its kind allows.
    Oversize,
    /// A message is malformed, or not of an expected kind.
    Malformed,
    /// The peer opened more than [`MAX_EARLY`] substreams before admission.
    EarlyStreams,
    /// The other end refused, or closed instead of answering.
    PeerRefused,
    /// The other end reports that the two clocks differ.
    PeerClock,
    /// The connection broke.
    Io,
    /// Encryption or multiplexing failed.
    Upgrade,
    /// The peer's key is not an Ed25519 key.
    KeyType,
    /// The permit was given to another connection.
    Displaced,
    /// The other end is a member without room for another link, or this node has no room.
    Full,
    /// The other end is a member that takes this node later, after this time, or this node has told a member so.
    Later(Duration),
    /// The other end is this node itself.
    Own,
    /// The other end is another process with this node's identity.
    Twin,
    /// The other end is a member that this node must keep apart from.
    Cut,
    /// The gatekeeper refused the hello with this code.
    Verdict(&'static str),
}

impl Reason {
    /// Returns the code of the reason in kebab case, for counters and the log.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::SourceBusy => "source-busy",
            Self::Timeout => "timeout",
            Self::Oversize => "oversize",
            Self::Malformed => "malformed",
            Self::EarlyStreams => "early-streams",
            Self::PeerRefused => "peer-refused",
            Self::PeerClock => "peer-clock",
            Self::Io => "io",
            Self::Upgrade => "upgrade",
            Self::KeyType => "key-type",
            Self::Displaced => "displaced",
            Self::Full => "full",
            Self::Later(_) => "later",
            Self::Own => "own",
            Self::Twin => "twin",
            Self::Cut => "cut",
            Self::Verdict(code) => code,
        }
    }
}

/// A multiplexed connection before it is admitted.
#[derive(Debug)]
pub(crate) struct Setup {
    muxer: StreamMuxerBox,
    early: VecDeque<SubstreamBox>,
}

impl Setup {
    pub(crate) fn new(muxer: StreamMuxerBox) -> Self {
        Self { muxer, early: VecDeque::new() }
    }

    /// Returns the admission substream: the first that the dialer opens.
    pub(crate) async fn open(&mut self, role: Endpoint) -> Result<SubstreamBox, Reason> {
        poll_fn(|cx| {
            let opened = match role {
                Endpoint::Dialer => self.muxer.poll_outbound_unpin(cx),
                Endpoint::Listener => self.muxer.poll_inbound_unpin(cx),
            };
            if let Poll::Ready(opened) = opened {
                return Poll::Ready(opened.map_err(|_| Reason::Io));
            }
            match self.muxer.poll_unpin(cx) {
                Poll::Ready(Err(_)) => Poll::Ready(Err(Reason::Io)),
                Poll::Ready(Ok(StreamMuxerEvent::AddressChange(_))) => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Runs `work` on a substream while the connection is driven.
    pub(crate) async fn drive<T>(&mut self, work: impl Future<Output = Result<T, Reason>>) -> Result<T, Reason> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                // What was written last may still be in the muxer's buffer.
                let _ = self.muxer.poll_unpin(cx);
                return Poll::Ready(done);
            }
            match self.poll_muxer(cx) {
                Poll::Pending => Poll::Pending,
                // The last bytes may have arrived together with the end of the connection: poll once more.
                Poll::Ready(reason) => match work.as_mut().poll(cx) {
                    Poll::Ready(done) => Poll::Ready(done),
                    Poll::Pending => Poll::Ready(Err(reason)),
                },
            }
        })
        .await
    }

    /// Drives the muxer. Ready only when the connection must be given up.
    fn poll_muxer(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        loop {
            match self.muxer.poll_inbound_unpin(cx) {
                Poll::Ready(Ok(_)) if self.early.len() == MAX_EARLY => return Poll::Ready(Reason::EarlyStreams),
                Poll::Ready(Ok(stream)) => self.early.push_back(stream),
                Poll::Ready(Err(_)) => return Poll::Ready(Reason::Io),
                Poll::Pending => break,
            }
        }
        loop {
            match self.muxer.poll_unpin(cx) {
                Poll::Ready(Ok(StreamMuxerEvent::AddressChange(_))) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Reason::Io),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Closes the connection, for at most [`CLOSE_TIME`].
    pub(crate) async fn close(mut self) {
        self.early.clear();
        let _ = select(Delay::new(CLOSE_TIME), poll_fn(|cx| self.muxer.poll_close_unpin(cx))).await;
    }

    /// Waits until the peer has hung up, but at most for `limit`.
    pub(crate) async fn wait_for_end(&mut self, stream: &mut SubstreamBox, limit: Duration) {
        let mut rest = [0; 16];
        let end = self.drive(async { stream.read(&mut rest).await.map_err(|_| Reason::Io) });
        let _ = select(Delay::new(limit), pin!(end)).await;
    }

    /// Returns the admitted connection, which yields the early substreams first.
    pub(crate) fn into_muxer(self) -> StreamMuxerBox {
        if self.early.is_empty() { self.muxer } else { StreamMuxerBox::new(self) }
    }
}

impl StreamMuxer for Setup {
    type Substream = SubstreamBox;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        match self.early.pop_front() {
            Some(stream) => Poll::Ready(Ok(stream)),
            None => self.muxer.poll_inbound_unpin(cx),
        }
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<SubstreamBox>> {
        self.muxer.poll_outbound_unpin(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.muxer.poll_close_unpin(cx)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.muxer.poll_unpin(cx)
    }
}

/// Runs `work` for at most `limit`.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Reason>>) -> Result<T, Reason> {
    match select(pin!(work), Delay::new(limit)).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(Reason::Timeout),
    }
}

/// Runs `work` until it ends or its permit is given to another connection.
pub(crate) async fn unless_given_up<T>(
    given_up: GivenUp,
    work: impl Future<Output = Result<T, Reason>>,
) -> Result<T, Reason> {
    let Some(given_up) = given_up else { return work.await };
    match select(pin!(work), given_up).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => Err(Reason::Displaced),
    }
}

/// Reads one message: its kind, which must be one of `expected`, and its body.
pub(crate) async fn read(stream: &mut SubstreamBox, expected: &[Kind]) -> Result<(Kind, Vec<u8>), Reason> {
    let mut kind = [0];
    read_exact(stream, &mut kind).await?;
    let kind = *expected.iter().find(|expected| **expected as u8 == kind[0]).ok_or(Reason::Malformed)?;
    let (length, limit) = match kind {
        Kind::Member => (read_u16(stream).await?, MAX_HELLO),
        Kind::Enrol => (read_u16(stream).await?, MAX_REQUEST + ENVELOPE),
        Kind::Ok | Kind::Full => (read_u16(stream).await?, 0),
        Kind::Clock => (read_u16(stream).await?, CLOCK),
        Kind::Later => (read_u16(stream).await?, WAIT),
        Kind::EnrolReply => {
            let mut length = [0; 4];
            read_exact(stream, &mut length).await?;
            (u32::from_be_bytes(length) as usize, MAX_ANSWER + ENVELOPE)
        }
    };
    if length > limit {
        return Err(Reason::Oversize);
    }
    let mut body = vec![0; length];
    read_exact(stream, &mut body).await?;
    Ok((kind, body))
}

/// Writes one message and flushes the stream.
pub(crate) async fn write(stream: &mut SubstreamBox, kind: Kind, body: &[u8]) -> Result<(), Reason> {
    let mut message = Vec::with_capacity(5 + body.len());
    message.push(kind as u8);
    match kind {
        Kind::Member | Kind::Enrol | Kind::Ok | Kind::Clock | Kind::Full | Kind::Later => {
            message.extend_from_slice(&u16::try_from(body.len()).map_err(|_| Reason::Oversize)?.to_be_bytes());
        }
        Kind::EnrolReply => {
            message.extend_from_slice(&u32::try_from(body.len()).map_err(|_| Reason::Oversize)?.to_be_bytes());
        }
    }
    message.extend_from_slice(body);
    stream.write_all(&message).await.map_err(|_| Reason::Io)?;
    stream.flush().await.map_err(|_| Reason::Io)
}

async fn read_u16(stream: &mut SubstreamBox) -> Result<usize, Reason> {
    let mut length = [0; 2];
    read_exact(stream, &mut length).await?;
    Ok(usize::from(u16::from_be_bytes(length)))
}

async fn read_exact(stream: &mut SubstreamBox, bytes: &mut [u8]) -> Result<(), Reason> {
    stream.read_exact(bytes).await.map_err(|_| Reason::Io)
}

/// The maximum number of substreams kept for a peer before it is admitted; one more refuses the peer.
pub(crate) const MAX_EARLY: usize = 4;
/// How long closing a refused connection may take.
const CLOSE_TIME: Duration = Duration::from_millis(200);
/// The maximum number of bytes of an enrolment message besides its sealed part.
const ENVELOPE: usize = 128;
