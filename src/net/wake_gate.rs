//! Wake gate: a stream that is polled only after it was woken or changed.
//!
//! A Swarm takes several microseconds to find that it has nothing to do, and a node is polled for every message that
//! comes or goes, although messages do not pass through the Swarm.
//!
//! Invariants
//! 1. The stream is polled after it was woken, and after every access that could have changed it.

use futures::task::{ArcWake, AtomicWaker, waker};
use futures::{Stream, StreamExt};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::task::{Context, Poll, Waker};

/// A stream that is polled only when needed.
pub(crate) struct Attended<T> {
    inner: T,
    notice: Arc<Notice>,
    waker: Waker,
}

struct Notice {
    wanted: AtomicBool,
    outer: AtomicWaker,
}

impl<T> Attended<T> {
    pub(crate) fn new(inner: T) -> Self {
        let notice = Arc::new(Notice { wanted: AtomicBool::new(true), outer: AtomicWaker::new() });
        Self { inner, waker: waker(notice.clone()), notice }
    }

    /// Lets the stream be polled the next time although it has not been woken.
    pub(crate) fn attend(&mut self) {
        self.notice.wanted.store(true, Release);
    }
}

impl<T> Attended<T> {
    /// Whether the stream is due to be polled.
    pub(crate) fn is_wanted(&self) -> bool {
        self.notice.wanted.load(Acquire)
    }
}

impl<T: Stream + Unpin> Attended<T> {
    /// Polls the stream if it is due; otherwise returns `Pending`.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        self.notice.outer.register(cx.waker());
        if !self.notice.wanted.swap(false, AcqRel) {
            return Poll::Pending;
        }
        let polled = self.inner.poll_next_unpin(&mut Context::from_waker(&self.waker));
        if polled.is_ready() {
            self.attend();
        }
        polled
    }
}

impl<T> Deref for Attended<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Attended<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.attend();
        &mut self.inner
    }
}

impl ArcWake for Notice {
    fn wake_by_ref(notice: &Arc<Self>) {
        notice.wanted.store(true, Release);
        notice.outer.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::channel::mpsc;
    use futures::task::noop_waker;

    /// Counts how often it is polled.
    struct Counting(mpsc::Receiver<u8>, u32);

    impl Stream for Counting {
        type Item = u8;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u8>> {
            self.1 += 1;
            self.0.poll_next_unpin(cx)
        }
    }

    /// Invariant 1.
    #[test]
    fn it_is_polled_when_it_was_woken_or_changed_and_else_not() {
        let (mut send, receive) = mpsc::channel(4);
        let mut stream = Attended::new(Counting(receive, 0));
        let (waker, mut polled) = (noop_waker(), Vec::new());
        let mut cx = Context::from_waker(&waker);
        for step in 0..6 {
            match step {
                2 => send.try_send(7).expect("room"),
                5 => drop(std::mem::replace(&mut stream.0, mpsc::channel(1).1)),
                _ => {}
            }
            while matches!(stream.poll_next(&mut cx), Poll::Ready(Some(_))) {}
            polled.push(stream.1);
        }
        assert_eq!(polled, [1, 1, 3, 3, 3, 4]);
    }
}
