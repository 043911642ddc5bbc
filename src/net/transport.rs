//! Transport: that of a real device, TCP with Noise and Yamux, and QUIC. It needs a tokio runtime.

use super::{StreamMuxerBox, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, noise, quic, tcp, yamux};
use std::time::Duration;

/// The reason why the transport cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No Noise key can be derived from the key pair.
    #[error("no Noise key: {0}")]
    Noise(#[from] noise::Error),
}

/// Returns a transport that dials and listens on `/ip4/…/tcp/PORT`, `/ip4/…/udp/PORT/quic-v1` and the same with `/ip6`,
/// under one key.
pub fn system(key: &Keypair) -> Result<Transport, TransportError> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(key)?)
        .multiplex(yamux::Config::default())
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    let mut config = quic::Config::new(key);
    config.max_stream_data = MAX_STREAM_DATA;
    config.max_connection_data = MAX_CONNECTION_DATA;
    config.max_concurrent_stream_limit = MAX_STREAMS;
    // How long a set-up may take, and how long a connection may be idle, depends on its bearer, which QUIC does not
    // know: admission and the connection's own watch enforce both.
    config.handshake_timeout = LONGEST_SETUP;
    config.max_idle_timeout = LONGEST_REST_MS;
    config.keep_alive_interval = NEVER;
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Longer than the set-up on any bearer.
const LONGEST_SETUP: Duration = Duration::from_secs(600);
/// In milliseconds: QUIC closes a connection after an hour without packets, should the connection's own watch not have
/// done so.
const LONGEST_REST_MS: u32 = 3_600_000;
/// Longer than [`LONGEST_REST_MS`]: QUIC never sends a keep-alive of its own.
const NEVER: Duration = Duration::from_secs(2 * 3_600);
/// The maximum number of bytes under way on one QUIC stream. A stranger can make a node hold this much before it is
/// admitted, so it is far below libp2p's 10 MB; it is still twice the outbox.
const MAX_STREAM_DATA: u32 = 512 * 1024;
/// The maximum number of bytes under way on one QUIC connection.
const MAX_CONNECTION_DATA: u32 = 1024 * 1024;
/// The maximum number of streams that a peer may have open on one QUIC connection: that of admission, the two lanes,
/// and some that are ending.
const MAX_STREAMS: u32 = 32;
