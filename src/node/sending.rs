//! Sending: a message and a publication with the options that they are sent with, as a program builds them.

use crate::engine::api::{Send, Start, Timing};
use crate::id::Name;
use crate::wire::batch::Ack;
use crate::wire::data::Class;
use std::time::Duration;

/// How long a message is of use by default.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// A message to a device, with the options it is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub(super) send: Send,
    pub(super) timing: Timing,
}

impl Message {
    /// A message to the inbox of a device. By default it is of class telemetry, expires after 30 s, and its receiver
    /// confirms it end to end.
    pub fn new(to: Name, payload: impl Into<Vec<u8>>) -> Self {
        let (payload, lifetime) = (payload.into(), DEADLINE);
        let send = Send {
            to,
            payload,
            ack: Ack::End,
            class: Class::Telemetry,
            policy: None,
            lifetime,
            id: None,
            latest: None,
        };
        Self { send, timing: Timing::default() }
    }

    /// Sets which confirmation is wanted.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.send.ack = ack;
        self
    }

    /// Sets how urgent the message is.
    pub fn class(mut self, class: Class) -> Self {
        self.send.class = class;
        self
    }

    /// Sets the policy by its name.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.send.policy = Some(policy.into());
        self
    }

    /// Sets how long the message is of use; after this long it expires.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.send.lifetime = deadline;
        self
    }

    /// Sets the application's own name for the message. A message that is sent again under the same name is not sent
    /// twice; the outcome of the first is returned. So a program that was restarted can find out what became of its
    /// messages.
    pub fn named(mut self, id: crate::id::SendId) -> Self {
        self.send.id = Some(id);
        self
    }

    /// Sets the key of which only the newest message is to wait: it takes the place of the one before it that has not
    /// left, which ends as [`Outcome::Superseded`](crate::engine::api::Outcome::Superseded).
    pub fn latest(mut self, key: impl Into<String>) -> Self {
        self.send.latest = Some(key.into());
        self
    }

    /// Sets from when on the message may leave. It is durable while it waits; its deadline counts from its submission.
    pub fn not_before(mut self, start: Start) -> Self {
        self.timing.start = Some(start);
        self
    }

    /// Sets the span within which the message leaves at a random moment, so that many devices do not send at once.
    pub fn spread(mut self, span: Duration) -> Self {
        self.timing.spread = Some(span);
        self
    }

    /// Sets for how long the message waits for a cheaper way, if one will be there in time.
    pub fn wait(mut self, span: Duration) -> Self {
        self.timing.wait = Some(span);
        self
    }
}

/// A message to publish to a topic, with the options it is published with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) policy: Option<String>,
    pub(super) lifetime: Duration,
    pub(super) confirm: Option<u32>,
    pub(super) latest: bool,
    pub(super) timing: Timing,
}

impl Publication {
    /// A message to everybody who subscribes to a topic. By default it expires after 30 s.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            policy: None,
            lifetime: DEADLINE,
            confirm: None,
            latest: false,
            timing: Timing::default(),
        }
    }

    /// Sets the policy by its name.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// Sets how long the message is of use; after this long it expires.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.lifetime = deadline;
        self
    }

    /// Sets from when on it may leave. It is durable while it waits; its deadline counts from its submission.
    pub fn not_before(mut self, start: Start) -> Self {
        self.timing.start = Some(start);
        self
    }

    /// Sets the span within which it leaves at a random moment, so that many devices do not publish at once.
    pub fn spread(mut self, span: Duration) -> Self {
        self.timing.spread = Some(span);
        self
    }

    /// Asks for confirmations: each device that hands the message to a subscriber confirms it. The publication ends
    /// when this many devices have confirmed it, or at its deadline, and its outcome is their number
    /// ([`Outcome::Heard`](crate::engine::api::Outcome::Heard)).
    pub fn confirmed_by(mut self, devices: u32) -> Self {
        self.confirm = Some(devices);
        self
    }

    /// Lets it take the place of those of the same topic that still wait: they end as [`Outcome::Superseded`](crate::engine::api::Outcome::Superseded).
    pub fn latest(mut self) -> Self {
        self.latest = true;
        self
    }
}
