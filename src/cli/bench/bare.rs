//! A bare libp2p stream: TCP, Noise and Yamux as m2mesh uses them, with one substream and nothing above it. Records are
//! packed by hand into writes of 64 KiB.

use super::pack::{self, Splitter};
use super::part::{Counted, RoundTrips, Task};
use crate::net::{self, StreamMuxerBox, Transport};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt};
use libp2p::Transport as _;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, ListenerId, PortUse, TransportEvent};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

fn transport(seed: u8) -> io::Result<Transport> {
    net::transport::system(&net::keypair(&[seed; 32])).map_err(io::Error::other)
}

/// Receives as [`raw::receive`](super::raw::receive) does.
pub(super) async fn receive(echo: bool, ready: impl FnOnce(String)) -> io::Result<Counted> {
    let mut transport = transport(1)?;
    let address = "/ip4/127.0.0.1/tcp/0".parse().map_err(io::Error::other)?;
    transport.listen_on(ListenerId::next(), address).map_err(io::Error::other)?;
    let mut ready = Some(ready);
    let upgrade = loop {
        match transport.next().await {
            Some(TransportEvent::NewAddress { listen_addr, .. }) => {
                if let Some(ready) = ready.take() {
                    ready(listen_addr.to_string());
                }
            }
            Some(TransportEvent::Incoming { upgrade, .. }) => break upgrade,
            Some(_) => {}
            None => return Err(io::ErrorKind::NotConnected.into()),
        }
    };
    let (_, mut muxer) = upgrade.await?;
    let mut stream = poll_fn(|cx| muxer.poll_inbound_unpin(cx)).await?;
    let io = async {
        let (mut counted, mut splitter, mut buffer) = (Counted::new(), Splitter::default(), vec![0; pack::CHUNK]);
        loop {
            let read = stream.read(&mut buffer).await?;
            if read == 0 {
                stream.close().await?;
                return Ok(counted);
            }
            if echo {
                stream.write_all(&buffer[..read]).await?;
                stream.flush().await?;
            }
            counted.add(splitter.count(&buffer[..read]));
        }
    };
    drive(&mut muxer, io).await
}

/// Sends as [`raw::send`](super::raw::send) does.
pub(super) async fn send(to: &str, task: Task) -> io::Result<()> {
    let (mut muxer, mut stream) = connect(to).await?;
    let io = async {
        let (payload, mut chunk) = (vec![7; task.size], Vec::with_capacity(pack::CHUNK));
        let until = Instant::now() + task.period;
        while Instant::now() < until {
            pack::fill(&mut chunk, &payload);
            stream.write_all(&chunk).await?;
        }
        stream.close().await?;
        // The other end closes once it has read everything.
        stream.read(&mut [0]).await.map(drop)
    };
    drive(&mut muxer, io).await
}

/// Measures round trips as [`raw::ping`](super::raw::ping) does.
pub(super) async fn ping(to: &str, task: Task) -> io::Result<RoundTrips> {
    let (mut muxer, mut stream) = connect(to).await?;
    let io = async {
        let (mut record, mut trips, until) = (Vec::new(), RoundTrips::new(), Instant::now() + task.period);
        pack::put(&mut record, &vec![7; task.size]);
        let mut back = vec![0; record.len()];
        while Instant::now() < until {
            let began = Instant::now();
            stream.write_all(&record).await?;
            stream.flush().await?;
            stream.read_exact(&mut back).await?;
            trips.add(began.elapsed());
        }
        stream.close().await?;
        Ok(trips)
    };
    drive(&mut muxer, io).await
}

async fn connect(to: &str) -> io::Result<(StreamMuxerBox, SubstreamBox)> {
    let mut transport = transport(2)?;
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = transport.dial(to.parse().map_err(io::Error::other)?, options).map_err(io::Error::other)?;
    let (_, mut muxer) = dial.await?;
    let stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await?;
    Ok((muxer, stream))
}

/// Runs input and output on a substream while driving its connection in the same task.
async fn drive<T>(muxer: &mut StreamMuxerBox, io: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let mut io = pin!(io);
    poll_fn(|cx| {
        if let Poll::Ready(done) = io.poll_unpin(cx) {
            return Poll::Ready(done);
        }
        while let Poll::Ready(event) = muxer.poll_unpin(cx) {
            if event.is_err() {
                // What was received before the error is still read from the substream.
                return io.poll_unpin(cx);
            }
        }
        Poll::Pending
    })
    .await
}
