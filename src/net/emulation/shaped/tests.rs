//! Tests of shaped connections, over a connection that takes everything.

use super::super::shaping::Shaping;
use super::*;
use crate::net::PeerId;
use futures::executor::block_on;
use futures::future::poll_fn;
use futures::{AsyncWriteExt, poll};

/// The bytes that came out below, and whether the substream was closed.
type Out = Arc<Mutex<(Vec<u8>, bool)>>;

/// A substream that takes everything, and a connection that opens such substreams.
struct Below(Out);

impl AsyncRead for Below {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Below {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.0).0.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.0).1 = true;
        Poll::Ready(Ok(()))
    }
}

impl StreamMuxer for Below {
    type Substream = Below;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Below>> {
        Poll::Pending
    }
    fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<Below>> {
        Poll::Ready(Ok(Below(self.0.clone())))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        Poll::Pending
    }
}

/// Returns a connection under a shape, one substream of it, and what comes out below.
async fn connection(shape: Option<Shape>) -> (Shaping, PeerId, StreamMuxerBox, SubstreamBox, Out) {
    let (shaping, peer, out) = (Shaping::new([1; 32]), PeerId::random(), Out::default());
    let mut muxer = shaping.wrap(peer, StreamMuxerBox::new(Below(out.clone())));
    shaping.set(&peer, shape);
    let stream = poll_fn(|cx| muxer.poll_outbound_unpin(cx)).await.expect("a substream");
    (shaping, peer, muxer, stream, out)
}

/// Runs the connection until `done` returns true.
async fn drive(muxer: &mut StreamMuxerBox, done: impl Fn() -> bool) {
    poll_fn(|cx| {
        assert!(muxer.poll_unpin(cx).is_pending());
        if done() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn slow(delay: u64, rate: Option<u64>) -> Option<Shape> {
    Some(Shape { delay: Duration::from_millis(delay), rate, ..Shape::default() })
}

#[test]
fn without_a_shape_bytes_pass_straight_through() {
    block_on(async {
        let (_shaping, _, _muxer, mut stream, out) = connection(None).await;
        stream.write_all(b"hello").await.expect("taken");
        assert_eq!(lock(&out).0, b"hello");
    });
}

/// Invariant 1.
#[test]
fn bytes_arrive_late_and_in_order_whatever_becomes_of_the_shape_and_the_writer() {
    block_on(async {
        let (shaping, peer, mut muxer, mut stream, out) = connection(slow(40, None)).await;
        let began = Instant::now();
        stream.write_all(b"one ").await.expect("taken");
        stream.flush().await.expect("taken is flushed");
        shaping.set(&peer, None);
        stream.write_all(b"two").await.expect("taken");
        drop(stream);
        assert!(poll!(poll_fn(|cx| muxer.poll_unpin(cx))).is_pending());
        assert_eq!(lock(&out).0, b"");
        drive(&mut muxer, || lock(&out).0 == b"one two").await;
        assert!(began.elapsed() >= Duration::from_millis(40));
    });
}

/// Invariant 2.
#[test]
fn a_full_window_holds_the_writer_back_and_the_end_comes_last() {
    block_on(async {
        // The window is 10,000 bytes, a tenth of a second's worth.
        let (_shaping, _, mut muxer, mut stream, out) = connection(slow(10, Some(800_000))).await;
        let mut taken = 0;
        for _ in 0..9 {
            let polled = poll!(poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[7; 4_000])));
            taken += if let Poll::Ready(count) = polled { count.expect("taken") } else { 0 };
        }
        assert!((8_000..=10_000).contains(&taken), "{taken} bytes were taken");
        let closed = std::cell::Cell::new(false);
        let writing = async {
            stream.write_all(&[8; 4_000]).await.expect("taken");
            stream.close().await.expect("closed");
            assert_eq!(lock(&out).0.len(), taken + 4_000);
            closed.set(true);
        };
        futures::join!(writing, drive(&mut muxer, || closed.get() || lock(&out).1));
        let (bytes, ended) = lock(&out).clone();
        assert!(ended && bytes.is_sorted());
    });
}

#[test]
fn what_a_mute_connection_is_given_comes_out_when_it_no_longer_is() {
    block_on(async {
        let (shaping, peer, mut muxer, mut stream, out) = connection(None).await;
        stream.write_all(b"one ").await.expect("taken");
        shaping.set_mute(&peer, true);
        stream.write_all(b"two ").await.expect("taken");
        let mut closing = std::pin::pin!(stream.close());
        assert!(poll!(&mut closing).is_pending());
        assert!(poll!(poll_fn(|cx| muxer.poll_unpin(cx))).is_pending());
        assert_eq!(*lock(&out), (b"one ".to_vec(), false));
        shaping.set_mute(&peer, false);
        let (closed, ()) = futures::join!(closing, drive(&mut muxer, || lock(&out).1));
        closed.expect("closed");
        assert_eq!(*lock(&out), (b"one two ".to_vec(), true));
    });
}
