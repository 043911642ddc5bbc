//! Flow: the messages of a kind, with their senders, receivers and times.

use super::Daily;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::time::Duration;

/// A flow of messages of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// The flow's name, such as `readings`; names are unique.
    pub name: String,
    /// The indices of the senders.
    pub from: Vec<usize>,
    /// The kind of messages, with their receivers.
    pub kind: FlowKind,
    /// The times at which messages are sent.
    pub pattern: Pattern,
    /// The factors by which the rate of a Poisson process differs over the day; `None` if it does not.
    pub daily: Option<Daily>,
    /// The size of the payload in bytes.
    pub size: usize,
    /// The confirmation that senders ask for; ignored for publications and requests.
    pub ack: Ack,
    /// The class of the messages.
    pub class: Class,
    /// The name of the messages' policy.
    pub policy: Option<String>,
    /// The time after which a message is of no use.
    pub deadline: Duration,
    /// The start of the flow, after the warm-up.
    pub begin: Duration,
    /// The end of the flow, after the warm-up.
    pub end: Duration,
}

/// The kind of a flow's messages, with their receivers.
#[derive(Clone, Debug, PartialEq)]
pub enum FlowKind {
    /// A message to one receiver, drawn for each message from the list of its sender (by the sender's index in `from`).
    Send(Vec<Vec<usize>>),
    /// A request to one receiver, drawn as for `Send`, which an echo answers.
    Request(Vec<Vec<usize>>),
    /// A message or request to any one of the devices that offer a service.
    Any {
        /// The service.
        service: String,
        /// The indices of the devices that offer it.
        servers: Vec<usize>,
        /// Whether it is a request, which an echo answers.
        request: bool,
        /// Whether a request may be executed again, by another device.
        repeat: bool,
    },
    /// A message to the inbox of every device of the sender's area.
    Broadcast,
    /// Publications, each sender using the topics in turn; all subscribers subscribe to all topics.
    Publish {
        /// The topics, such as `plant/temperature`; at least one.
        topics: Vec<String>,
        /// The indices of the subscribers.
        subscribers: Vec<usize>,
    },
}

/// The times at which each sender sends its messages.
#[derive(Clone, Debug, PartialEq)]
pub enum Pattern {
    /// At equal intervals, the first at a random time.
    Periodic(Duration),
    /// As a Poisson process with this rate a second.
    Poisson(f64),
    /// Several messages at once, at equal intervals, all senders at the same times.
    Burst {
        /// The number of messages in a burst.
        count: u32,
        /// The time from one burst to the next.
        every: Duration,
    },
    /// At the times of these entries.
    Trace(Vec<Traced>),
}

/// A message of a trace file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The time after the warm-up.
    pub at: Duration,
    /// The index of the sender.
    pub from: usize,
    /// The index of the receiver; `None` for the flow's own choice.
    pub to: Option<usize>,
    /// The size of the payload in bytes.
    pub size: usize,
}
