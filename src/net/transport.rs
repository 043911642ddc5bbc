//! The transport of a real device: TCP with Noise and Yamux, and QUIC. Works on a tokio runtime only.

use super::{StreamMuxerBox, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::{Transport as _, noise, quic, tcp, yamux};
use std::time::Duration;

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The key pair does not make a Noise key.
    #[error("no Noise key: {0}")]
    Noise(#[from] noise::Error),
}

/// Dials and listens on `/ip4/…/tcp/PORT`, `/ip4/…/udp/PORT/quic-v1` and the same with `/ip6`, under one key.
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
    // How long a set-up may take, and a connection rest, follows its bearer, of which QUIC knows nothing: admission and the
    // connection's own watch see to both.
    config.handshake_timeout = LONGEST_SETUP;
    config.max_idle_timeout = LONGEST_REST_MS;
    config.keep_alive_interval = NEVER;
    let quic = quic::tokio::Transport::new(config).map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    Ok(tcp.or_transport(quic).map(|either, _| either.into_inner()).boxed())
}

/// Longer than any bearer's.
const LONGEST_SETUP: Duration = Duration::from_secs(600);
/// A connection of which nothing is heard for so long, in milliseconds, is given up even if the watch has not done so: an hour.
const LONGEST_REST_MS: u32 = 3_600_000;
/// Longer than that.
const NEVER: Duration = Duration::from_secs(2 * 3_600);
/// Bytes under way on one QUIC stream. A stranger can make a node hold as much before it is admitted, so this
/// is far below libp2p's 10 MB; it is still twice the outbox.
const MAX_STREAM_DATA: u32 = 512 * 1024;
/// Bytes under way on one QUIC connection.
const MAX_CONNECTION_DATA: u32 = 1024 * 1024;
/// Streams that a peer may have open on one QUIC connection: admission, ours, and some that end.
const MAX_STREAMS: u32 = 32;
