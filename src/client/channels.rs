//! The channels to the node: two bounded ones, one for commands that may have to wait for room, one for questions.
//!
//! A node that is full of messages accepts no more until some have ended, and whoever hands them over waits. Questions
//! about the node, its neighbours, the inbox and the log are still answered: this is when an operator will ask them.

use super::Call;
use futures::SinkExt;
use futures::channel::mpsc;

/// The sending ends. Each clone has room for one call in addition to the [`MAX_CALLS`] of the channel.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    orders: mpsc::Sender<Call>,
    questions: mpsc::Sender<Call>,
}

/// The node's ends of the channels.
#[derive(Debug)]
pub struct Arriving {
    /// Commands, to be taken while there is room.
    pub orders: mpsc::Receiver<Call>,
    /// Questions, to be taken at any time.
    pub questions: mpsc::Receiver<Call>,
}

/// The node accepts no more calls: it has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stopped;

impl Calls {
    /// Creates the channels, and returns both ends.
    pub(super) fn channels() -> (Self, Arriving) {
        let (orders, arriving_orders) = mpsc::channel(MAX_CALLS);
        let (questions, arriving_questions) = mpsc::channel(MAX_CALLS);
        (Self { orders, questions }, Arriving { orders: arriving_orders, questions: arriving_questions })
    }

    /// Hands a call to the node. Waits while the channel is full.
    pub(super) async fn send(&mut self, call: Call) -> Result<(), Stopped> {
        let channel = if call.command.is_question() { &mut self.questions } else { &mut self.orders };
        channel.send(call).await.map_err(|_| Stopped)
    }
}

/// Calls of each kind that may wait for the node. Drop policy: none, the caller waits.
pub const MAX_CALLS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::Command;
    use super::*;
    use futures::{FutureExt, StreamExt};

    #[test]
    fn questions_pass_when_nothing_else_does() {
        let (mut calls, mut arriving) = Calls::channels();
        let order = || Call::new(Command::Consume { consumer: String::new(), up_to: 1, durable: false }).0;
        while calls.send(order()).now_or_never().is_some() {}
        let mut another = calls.clone();
        let to = crate::id::Name::new("node-2").expect("a name");
        for question in [Command::Status, Command::Links, Command::Routes, Command::Route { to, policy: None }] {
            assert_eq!(another.send(Call::new(question.clone()).0).now_or_never(), Some(Ok(())));
            let arrived = arriving.questions.next().now_or_never().flatten().map(|call| call.command);
            assert_eq!(arrived, Some(question));
        }
    }
}
