//! The replies of one conversation: a bounded queue from the node to the application that never blocks the node.
//!
//! A [`Call`] carries a [`Replies`], whose other end is a [`Listener`]. The node pushes replies and goes on; the
//! application takes them when it can. The queue between them holds at most [`MAX_REPLIES`] replies and
//! [`MAX_REPLY_BYTES`] bytes of payload. What happens at the bound depends on the reply:
//!
//! | reply | policy | why |
//! |-|-|-|
//! | `Inbox`, `Log` | *newest only*: replaces the one that waits | they say how far inbox or log reach |
//! | `Published`, `Missed`, `Live` | *drop oldest*; the next reply taken says how many | new readings matter more |
//! | `Published` of a subscription to the latest | *newest only* of each topic and publisher: it takes the place of the one that waits, which counts as dropped; requests stay | the application wants values, not their history |
//! | `Call` | *refuse*: handed back to the node, which answers the caller | nobody waits in vain |
//! | all others | kept | a conversation has one or two of them |
//!
//! Invariants
//! 1. The node never waits for an application.
//! 2. When the listener is dropped, the node is woken and told so ([`Replies::poll_gone`]); this is what cancels a
//!    stream.
//! 3. When the node drops the replies, the listener yields what was pushed before, then the end.

use super::{Command, Reply};
use crate::engine::api;
use futures::Stream;
use futures::task::AtomicWaker;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

/// A command on its way to the node, with the queue for its replies.
#[derive(Debug)]
pub struct Call {
    /// The command.
    pub command: Command,
    /// Takes the replies. Dropping it ends the conversation.
    pub replies: Replies,
}

impl Call {
    /// A call, and the listener that yields its replies.
    pub(super) fn new(command: Command) -> (Self, Listener) {
        let latest = matches!(command, Command::Subscribe { latest: true, .. });
        let state = Mutex::new(State { latest, ..State::default() });
        let shared = Arc::new(Shared { state, ..Shared::default() });
        (Self { command, replies: Replies { shared: shared.clone() } }, Listener { shared })
    }
}

/// The node's end of the queue.
#[derive(Debug)]
pub struct Replies {
    shared: Arc<Shared>,
}

/// Why a reply was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The application no longer listens: the conversation is over.
    #[error("the application no longer listens")]
    Gone,
    /// As many calls wait as the bound allows; this one is returned, to be answered with a failure.
    #[error("the service has too many calls waiting")]
    Busy(Box<api::Call>),
}

impl Replies {
    /// Pushes a reply, by the policies of the module's documentation.
    ///
    /// # Errors
    /// Returns a call that exceeds the bound, or [`Rejected::Gone`] if the listener was dropped.
    pub fn push(&self, reply: Reply) -> Result<(), Rejected> {
        let mut state = self.shared.lock();
        if state.listener_gone {
            return Err(Rejected::Gone);
        }
        state.push(reply)?;
        drop(state);
        self.shared.listener.wake();
        Ok(())
    }

    /// Whether the application no longer listens.
    pub fn is_gone(&self) -> bool {
        self.shared.lock().listener_gone
    }

    /// Ready once the application no longer listens. Keeps one waker only, the last.
    pub fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.node.register(cx.waker());
        if self.is_gone() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        self.shared.lock().node_gone = true;
        self.shared.listener.wake();
    }
}

/// The application's end of the queue: a stream of replies. Dropping it ends the conversation.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
}

/// A reply, as the application takes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// The reply.
    pub reply: Reply,
    /// Messages dropped from this queue since the previous reply, because they were not taken in time.
    pub skipped: u64,
}

impl Stream for Listener {
    type Item = Heard;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Heard>> {
        self.shared.listener.register(cx.waker());
        let mut state = self.shared.lock();
        match state.queue.pop_front() {
            Some(reply) => {
                state.bytes -= weight(&reply);
                Poll::Ready(Some(Heard { reply, skipped: std::mem::take(&mut state.skipped) }))
            }
            None if state.node_gone => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.listener_gone = true;
        state.queue = VecDeque::new();
        state.bytes = 0;
        drop(state);
        self.shared.node.wake();
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Woken when a reply is pushed or the node's end is dropped.
    listener: AtomicWaker,
    /// Woken when the listener is dropped.
    node: AtomicWaker,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, and every field is valid at every moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Reply>,
    bytes: usize,
    skipped: u64,
    /// Whether only the newest publication of each topic and publisher waits.
    latest: bool,
    listener_gone: bool,
    node_gone: bool,
}

impl State {
    fn push(&mut self, reply: Reply) -> Result<(), Rejected> {
        let Some(reply) = self.supersede(reply) else { return Ok(()) };
        match reply {
            Reply::Inbox { .. } | Reply::Log { .. } | Reply::Blob(_) => {
                let kind = std::mem::discriminant(&reply);
                self.queue.retain(|waiting| std::mem::discriminant(waiting) != kind);
            }
            Reply::Call(call) if !self.has_room(call.payload.len()) => return Err(Rejected::Busy(Box::new(call))),
            Reply::Published(_) | Reply::Missed(_) | Reply::Live(_) => {
                while !self.has_room(weight(&reply)) {
                    let fresh =
                        |waiting: &Reply| matches!(waiting, Reply::Published(_) | Reply::Missed(_) | Reply::Live(_));
                    let Some(oldest) = self.queue.iter().position(fresh) else { break };
                    if let Some(dropped) = self.queue.remove(oldest) {
                        self.bytes -= weight(&dropped);
                        self.skipped += match &dropped {
                            Reply::Live(record) => record.payloads().count() as u64,
                            Reply::Missed(missed) => missed.lost,
                            Reply::Published(published) => 1 + published.lost,
                            _ => 1,
                        };
                    }
                }
            }
            _ => {}
        }
        self.bytes += weight(&reply);
        self.queue.push_back(reply);
        Ok(())
    }

    /// Puts a publication in the place of the one of its topic and publisher that waits, where only the newest is to. Returns
    /// the reply if it has taken nobody's place.
    fn supersede(&mut self, reply: Reply) -> Option<Reply> {
        let Reply::Published(mut published) = reply else { return Some(reply) };
        let same = |waiting: &&mut Reply| {
            matches!(waiting, Reply::Published(before) if before.request.is_none()
                && (&before.topic, &before.from) == (&published.topic, &published.from))
        };
        let before = match self.latest && published.request.is_none() {
            true => self.queue.iter_mut().find(same),
            false => None,
        };
        let Some(before) = before else { return Some(Reply::Published(published)) };
        if let Reply::Published(before) = &*before {
            published.lost += before.lost;
        }
        self.bytes -= weight(before);
        *before = Reply::Published(published);
        self.bytes += weight(before);
        self.skipped += 1;
        None
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.queue.len() < MAX_REPLIES && (self.bytes + bytes <= MAX_REPLY_BYTES || self.queue.is_empty())
    }
}

fn weight(reply: &Reply) -> usize {
    match reply {
        Reply::Published(published) => published.payload.len() + published.topic.len() + OVERHEAD,
        Reply::Missed(missed) => missed.topic.len() + OVERHEAD,
        Reply::Live(record) => record.records.len(),
        Reply::Call(call) => call.payload.len(),
        Reply::Response { payload, .. } => payload.len(),
        _ => 0,
    }
}

/// Most replies that wait in one conversation.
pub const MAX_REPLIES: usize = 32_768;
/// What a reply takes in addition to its content, in bytes.
const OVERHEAD: usize = 224;
/// Most bytes of payload that wait in one conversation.
pub const MAX_REPLY_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::api::Published;
    use crate::id::{InnerId, Name, StreamId};
    use crate::time::Unix;
    use futures::{FutureExt, StreamExt, poll};

    fn published(text: &str, size: usize) -> Reply {
        let mut payload = text.as_bytes().to_vec();
        payload.resize(size.max(text.len()), b' ');
        Reply::Published(Published {
            topic: "a/b".into(),
            payload,
            from: None,
            sent: Unix(0),
            sent_error: None,
            lost: 0,
            request: None,
        })
    }

    fn call(number: u64) -> Reply {
        Reply::Call(api::Call {
            call: number,
            service: "adder".into(),
            from: Name::new("a").expect("a name"),
            id: InnerId { stream: StreamId([0; 16]), sequence: number },
            payload: vec![],
            blob: None,
        })
    }

    #[test]
    fn a_subscription_to_the_latest_holds_one_of_each_topic_and_publisher_in_its_place() {
        let filter = "a/#".to_owned();
        let (call, mut listener) = Call::new(Command::Subscribe { filter, past: api::Past::default(), latest: true });
        let value = |topic: &str, from: &str, text: &str, lost| Published {
            topic: topic.into(),
            payload: text.into(),
            from: Name::new(from).ok(),
            sent: Unix(0),
            sent_error: None,
            lost,
            request: None,
        };
        let asked = Some(InnerId { stream: StreamId([0; 16]), sequence: 1 });
        let all = [
            value("a/x", "p", "1", 2),
            value("a/y", "p", "2", 0),
            value("a/x", "q", "3", 0),
            value("a/x", "p", "4", 1),
            Published { request: asked, ..value("a/y", "p", "5", 0) },
            value("a/y", "p", "6", 0),
            value("a/x", "p", "7", 0),
        ];
        all.into_iter().for_each(|one| call.replies.push(Reply::Published(one)).expect("heard"));
        let mut taken = Vec::new();
        while let Some(Some(Heard { reply: Reply::Published(one), skipped })) = listener.next().now_or_never() {
            taken.push((String::from_utf8(one.payload).expect("text"), one.lost, skipped));
        }
        let at = |text: &str, lost, skipped| (text.to_owned(), lost, skipped);
        assert_eq!(taken, [at("7", 3, 3), at("6", 0, 0), at("3", 0, 0), at("5", 0, 0)]);
    }

    /// Invariant 1.
    #[test]
    fn a_slow_subscriber_loses_the_oldest_and_is_told_how_many() {
        let (call, mut listener) = Call::new(Command::subscribe("a/#"));
        call.replies.push(Reply::Ready).expect("heard");
        for number in 0..MAX_REPLIES + 4 {
            call.replies.push(published(&number.to_string(), 0)).expect("heard");
        }
        let first = listener.next().now_or_never().flatten().expect("a reply");
        assert_eq!(first, Heard { reply: Reply::Ready, skipped: 5 });
        let second = listener.next().now_or_never().flatten().expect("a reply");
        assert_eq!(second, Heard { reply: published("5", 0), skipped: 0 });
    }

    #[test]
    fn what_twenty_five_publish_at_once_waits_for_a_reader() {
        let (call, mut listener) = Call::new(Command::subscribe("a/#"));
        for number in 0..25 * 1_000 {
            call.replies.push(published(&number.to_string(), 10)).expect("heard");
        }
        assert_eq!(listener.next().now_or_never().flatten(), Some(Heard { reply: published("0", 10), skipped: 0 }));
    }

    /// Invariant 2 of client.
    #[test]
    fn waiting_bytes_are_bounded() {
        let (call, mut listener) = Call::new(Command::subscribe("a/#"));
        for _ in 0..3 {
            call.replies.push(published("large", MAX_REPLY_BYTES / 2 - 256)).expect("heard");
        }
        assert_eq!(listener.next().now_or_never().flatten().map(|heard| heard.skipped), Some(1));
        assert!(listener.next().now_or_never().is_some());
        assert!(listener.next().now_or_never().is_none());
    }

    #[test]
    fn of_how_far_something_reaches_only_the_newest_waits() {
        let (call, mut listener) = Call::new(Command::Receive { consumer: String::new(), live: false });
        for last in 0..10_000 {
            call.replies.push(Reply::Inbox { first: 1, last }).expect("heard");
        }
        let heard = listener.next().now_or_never().flatten().map(|heard| heard.reply);
        assert_eq!(heard, Some(Reply::Inbox { first: 1, last: 9_999 }));
        assert!(listener.next().now_or_never().is_none());
    }

    /// Invariant 2 of client.
    #[test]
    fn a_call_over_the_bound_comes_back() {
        let (offer, _listener) = Call::new(Command::Offer { service: "adder".into(), capacity: None });
        for number in 0..MAX_REPLIES as u64 {
            offer.replies.push(call(number)).expect("heard");
        }
        assert!(matches!(offer.replies.push(call(7_000)), Err(Rejected::Busy(back)) if back.call == 7_000));
    }

    /// Invariants 2 and 3.
    #[test]
    fn each_end_learns_that_the_other_has_gone() {
        futures::executor::block_on(async {
            let (call, listener) = Call::new(Command::Receive { consumer: String::new(), live: false });
            let mut gone = std::future::poll_fn(|cx| call.replies.poll_gone(cx));
            assert!(poll!(&mut gone).is_pending());
            drop(listener);
            gone.await;
            assert_eq!(call.replies.push(Reply::Ready), Err(Rejected::Gone));

            let (call, listener) = Call::new(Command::Status);
            call.replies.push(Reply::Ready).expect("heard");
            drop(call);
            assert_eq!(listener.collect::<Vec<_>>().await.len(), 1);
        });
    }
}
