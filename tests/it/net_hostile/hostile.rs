//! A client that connects and then does not behave: over any transport, with any key, saying anything.

use super::realm::Realm;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, select_biased};
use libp2p::Transport as _;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use m2mesh::net::{self, Multiaddr, StreamMuxerBox, Transport};
use m2mesh::wire::encode;
use m2mesh::wire::hello::{EnrolHello, Hello, Kind, MAX_HELLO};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

/// Ways not to behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attack {
    /// A good credential with one bit changed in its signature.
    Mutated,
    /// A credential of an epoch that is over.
    Expired,
    /// A credential of an epoch to come.
    NotYetValid,
    /// A credential of another realm.
    ForeignRealm,
    /// Somebody else's credential.
    WrongPeer,
    /// A length beyond the bound, and then as many bytes.
    Oversize,
    /// No CBOR.
    Garbage,
    /// A kind of message that does not exist.
    UnknownKind,
    /// One substream after the other before having said anything.
    EarlyStreams,
    /// A connection, and then nothing.
    Silent,
}

impl Attack {
    /// Those that are over when they are refused.
    pub const QUICK: [Self; 9] = [
        Self::Mutated,
        Self::Expired,
        Self::NotYetValid,
        Self::ForeignRealm,
        Self::WrongPeer,
        Self::Oversize,
        Self::Garbage,
        Self::UnknownKind,
        Self::EarlyStreams,
    ];

    /// The reason under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Mutated => "signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not-yet-valid",
            Self::ForeignRealm => "realm",
            Self::WrongPeer => "wrong-peer",
            Self::Oversize => "oversize",
            Self::Garbage | Self::UnknownKind => "malformed",
            Self::EarlyStreams => "early-streams",
            Self::Silent => "timeout",
        }
    }

    /// What is said on the admission substream.
    fn message(self, realm: &Realm, seed: [u8; 32]) -> Vec<u8> {
        let hello = |credential: Vec<u8>| {
            let hello =
                Hello { lowest: 1, highest: 1, credential, bulletin: 1, seconds: realm.now.seconds(), process: 1 };
            framed(Kind::Member as u8, &encode(&hello))
        };
        match self {
            Self::Mutated => {
                let mut credential = realm.credential(seed, 0);
                *credential.last_mut().unwrap() ^= 1;
                hello(credential)
            }
            Self::Expired => hello(realm.credential(seed, -2)),
            Self::NotYetValid => hello(realm.credential(seed, 2)),
            Self::ForeignRealm => hello(Realm::new(99).credential(seed, 0)),
            Self::WrongPeer => hello(realm.credential([200; 32], 0)),
            Self::Oversize => framed(Kind::Member as u8, &vec![0; MAX_HELLO + 1]),
            Self::Garbage => framed(Kind::Member as u8, &[0xff; 100]),
            Self::UnknownKind => framed(77, &[0; 10]),
            Self::EarlyStreams | Self::Silent => vec![Kind::Member as u8],
        }
    }
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut message = vec![kind];
    message.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    message.extend_from_slice(body);
    message
}

/// Makes one attempt and stays until the other end hangs up, or for `patience`. Says whether anything was answered.
pub async fn attack(
    transport: Transport,
    address: Multiaddr,
    realm: &Realm,
    seed: [u8; 32],
    attack: Attack,
    patience: Duration,
) -> bool {
    let streams = if attack == Attack::EarlyStreams { 12 } else { 1 };
    say(transport, address, &attack.message(realm, seed), streams, patience).await
}

/// Shows a hello on the admission substream, and stays until the other end hangs up, or for `patience`. Says whether
/// anything was answered.
pub async fn show(transport: Transport, address: Multiaddr, hello: &[u8], patience: Duration) -> bool {
    say(transport, address, &framed(Kind::Member as u8, hello), 1, patience).await
}

/// Says something on so many substreams at once.
async fn say(transport: Transport, address: Multiaddr, message: &[u8], streams: usize, patience: Duration) -> bool {
    with_connection(transport, address, patience, async |muxer| {
        let mut open = Vec::new();
        for _ in 0..streams {
            let Some(mut stream) = open_stream(muxer).await else { return false };
            // A stream is seen by the other end only when something is sent on it.
            if drive(muxer, async {
                stream.write_all(message).await?;
                stream.flush().await
            })
            .await
            .is_err()
            {
                return false;
            }
            open.push(stream);
        }
        let mut answer = [0; 1];
        let first = &mut open[0];
        matches!(drive(muxer, first.read(&mut answer)).await, Ok(1))
    })
    .await
    .unwrap_or(false)
}

/// A member in good order until it is admitted, who then opens one substream after the other and says nothing useful on
/// any, until the other end hangs up, or for `patience`. Answers how many it opened.
pub async fn open_streams(
    transport: Transport,
    address: Multiaddr,
    realm: &Realm,
    seed: [u8; 32],
    patience: Duration,
) -> usize {
    let hello = Hello {
        lowest: 1,
        highest: 1,
        credential: realm.credential(seed, 0),
        bulletin: 1,
        seconds: realm.now.seconds(),
        process: 1,
    };
    let (hello, confirmed) = (framed(Kind::Member as u8, &encode(&hello)), framed(Kind::Ok as u8, &[]));
    let mut opened = 0;
    let mut open = Vec::new();
    let work = async |muxer: &mut StreamMuxerBox| {
        let Some(mut first) = open_stream(muxer).await else { return };
        let admitted = drive(muxer, async {
            first.write_all(&hello).await?;
            first.flush().await?;
            let mut head = [0; 3];
            first.read_exact(&mut head).await?;
            let mut body = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            first.read_exact(&mut body).await?;
            first.write_all(&confirmed).await?;
            first.close().await
        });
        if admitted.await.is_err() {
            return;
        }
        while let Some(mut stream) = open_stream(muxer).await {
            let noise = [7; 40];
            if drive(muxer, async { stream.write_all(&noise).await }).await.is_err() {
                return;
            }
            opened += 1;
            open.push(stream);
        }
    };
    with_connection(transport, address, patience, work).await;
    opened
}

/// Takes a seat at the enrolment desk with a request that nobody can read, and holds it as long as it is let.
pub async fn hold_seat(transport: Transport, address: Multiaddr, realm: &Realm, patience: Duration) {
    let hello = EnrolHello { realm: realm.id(), issuer: realm.issuer_id(), sealed: vec![7; 2_000] };
    let message = framed(Kind::Enrol as u8, &encode(&hello));
    with_connection(transport, address, patience, async |muxer| {
        let Some(mut stream) = open_stream(muxer).await else { return };
        let mut answer = [0; 1];
        let asked = drive(muxer, async {
            stream.write_all(&message).await?;
            stream.flush().await?;
            while stream.read(&mut answer).await? > 0 {}
            Ok(())
        });
        // However it ends, the seat is free again.
        let _ = asked.await;
    })
    .await;
}

/// Connects and does `work` on the raw connection; `None` when there is no connection, or it took too long.
async fn with_connection<T>(
    mut transport: Transport,
    address: Multiaddr,
    patience: Duration,
    work: impl AsyncFnOnce(&mut StreamMuxerBox) -> T,
) -> Option<T> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = transport.dial(address, options).ok()?;
    let work = async {
        let (_, mut muxer) = dial.await.ok()?;
        let done = work(&mut muxer).await;
        let close = poll_fn(|cx| muxer.poll_close_unpin(cx));
        let _ = futures::future::select(close, futures_timer::Delay::new(Duration::from_millis(100))).await;
        Some(done)
    };
    let endpoint = poll_fn(|cx| {
        while Pin::new(&mut transport).poll(cx).is_ready() {}
        Poll::<()>::Pending
    });
    let mut work = std::pin::pin!(work.fuse());
    select_biased! {
        done = work => done,
        () = endpoint.fuse() => None,
        () = futures_timer::Delay::new(patience).fuse() => None,
    }
}

async fn open_stream(muxer: &mut StreamMuxerBox) -> Option<SubstreamBox> {
    poll_fn(|cx| match muxer.poll_outbound_unpin(cx) {
        Poll::Ready(stream) => Poll::Ready(stream.ok()),
        Poll::Pending => match muxer.poll_unpin(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(None),
            _ => Poll::Pending,
        },
    })
    .await
}

async fn drive<T>(muxer: &mut StreamMuxerBox, work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => match muxer.poll_unpin(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        },
    })
    .await
}

/// A system transport under a key of its own.
pub fn transport(seed: [u8; 32]) -> Transport {
    net::transport::system(&net::keypair(&seed)).unwrap()
}
