//! The ways of sending, and what their receivers have got.

use super::Sent;
use super::situation::Run;
use crate::engine::mesh::message;
use m2mesh::engine::api::{Anycast, AnycastKind, Broadcast, Call, Command, GroupRequest, Reply, Token};
use m2mesh::id::{InnerId, Name};
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use std::time::Duration;

/// The device that sends.
pub const SENDER: usize = 0;

/// A way of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A message to one device, confirmed once it is durable there.
    End,
    /// A message to one device, confirmed by the next hop.
    Hop,
    /// A message to one device that nobody confirms.
    Unconfirmed,
    /// A request to a service of one device.
    Request,
    /// A message to any device that offers a service.
    AnyMessage,
    /// A request to any device that offers a service.
    AnyRequest,
    /// A publication to those who listen to its topic.
    Publication,
    /// The same, confirmed by those who have handed it over.
    Confirmed,
    /// A request to those who listen to a topic, which one is to answer.
    GroupRequest,
    /// A message to the inbox of all devices, confirmed by as many as are within reach.
    Broadcast,
}

impl Way {
    pub const ALL: [Self; 10] = [
        Self::End,
        Self::Hop,
        Self::Unconfirmed,
        Self::Request,
        Self::AnyMessage,
        Self::AnyRequest,
        Self::Publication,
        Self::Confirmed,
        Self::GroupRequest,
        Self::Broadcast,
    ];

    /// The time from one message to the next: broadcasts have a rate.
    pub fn every(self) -> Duration {
        if self == Self::Broadcast { Duration::from_millis(10_040) } else { Duration::from_millis(40) }
    }

    /// How long each is of use, in a situation that takes this long.
    pub fn lifetime(self, usual: Duration) -> Duration {
        if self == Self::Broadcast { usual.max(Duration::from_secs(200)) } else { usual }
    }

    /// Who is to receive, among so many of whom the first sends; the one that the situation is about comes first.
    pub fn receivers(self, devices: usize) -> Vec<usize> {
        let last = devices - 1;
        if self == Self::Broadcast { core::iter::once(last).chain(1..last).collect() } else { vec![last] }
    }

    /// As the document names it.
    pub fn title(self) -> &'static str {
        match self {
            Self::End => "`send NAME`",
            Self::Hop => "`send NAME --ack hop`",
            Self::Unconfirmed => "`send NAME --ack none`",
            Self::Request => "`request NAME`",
            Self::AnyMessage => "`send any:SERVICE`",
            Self::AnyRequest => "`request any:SERVICE`",
            Self::Publication => "`publish`",
            Self::Confirmed => "`publish --ack group`",
            Self::GroupRequest => "`request group:TOPIC --answers 1`",
            Self::Broadcast => "`send all`",
        }
    }

    /// Makes the receivers listen, where that is needed.
    pub fn listen(self, run: &mut Run, receiver: usize) {
        let command = match self {
            Self::Request | Self::AnyMessage | Self::AnyRequest => {
                Command::Offer { service: "count".to_owned(), capacity: None }
            }
            Self::Publication | Self::Confirmed | Self::GroupRequest => Command::subscribe("plant/#"),
            Self::End | Self::Hop | Self::Unconfirmed | Self::Broadcast => return,
        };
        let token = run.mesh.command(receiver, command);
        run.listening.push((receiver, token));
    }

    /// Sends one.
    pub fn send(self, run: &mut Run, number: usize, lifetime: Duration) -> Sent {
        let payload = format!("message {number}").into_bytes();
        let to = |ack| message(run.name(), &payload, ack, lifetime.as_secs());
        let publish = |confirm| {
            let (topic, payload) = ("plant/news".to_owned(), payload.clone());
            Command::Publish { topic, payload, policy: None, lifetime, confirm, latest: false }
        };
        let any = |kind| {
            let (service, payload, class) = ("count".to_owned(), payload.clone(), Class::Telemetry);
            Command::Anycast(Anycast { service, payload, class, policy: None, lifetime, kind })
        };
        let command = match self {
            Self::AnyMessage => any(AnycastKind::Message { ack: Ack::End, id: None }),
            Self::AnyRequest => any(AnycastKind::Request { repeat: false, id: None }),
            Self::End => Command::Send(to(Ack::End)),
            Self::Hop => Command::Send(to(Ack::Hop)),
            Self::Unconfirmed => Command::Send(to(Ack::None)),
            Self::Request => Command::Request { send: to(Ack::End), service: Some("count".to_owned()) },
            Self::Publication => publish(None),
            Self::Confirmed => publish(Some(1)),
            Self::GroupRequest => {
                let (topic, payload) = ("plant/news".to_owned(), payload.clone());
                Command::GroupRequest(GroupRequest { topic, payload, policy: None, lifetime, most: 1, id: None })
            }
            Self::Broadcast => {
                Command::Broadcast(Broadcast { payload: payload.clone(), ack: Ack::End, policy: None, lifetime })
            }
        };
        Sent { way: self, token: run.mesh.command(SENDER, command), payload }
    }

    /// Answers calls that wait.
    pub fn answer(self, run: &mut Run) {
        for (receiver, token) in run.listening.clone() {
            for (to, request, answer) in requests(run, receiver, token) {
                if run.told.insert((receiver, request)) {
                    run.mesh.command(receiver, Command::Answer { to, request, answer });
                }
            }
            if !matches!(self, Self::Request | Self::AnyRequest) {
                continue;
            }
            for call in calls(run, receiver, token) {
                if run.answered.insert(call.call) {
                    let answer = Ok(call.payload);
                    run.mesh.command(receiver, Command::Respond { call: call.call, answer });
                }
            }
        }
    }

    /// How often each receiver has got a payload.
    pub fn got(self, run: &Run, payload: &[u8]) -> Vec<usize> {
        let of = |receiver: &usize| match self {
            Self::End | Self::Hop | Self::Unconfirmed | Self::AnyMessage | Self::Broadcast => {
                let kept = run.mesh.inbox(*receiver);
                kept.iter().filter(|message| message.payload == payload).count()
            }
            Self::Request | Self::AnyRequest => {
                let calls = run.calls.iter().filter(|(at, called)| at == receiver && called == payload);
                calls.count()
            }
            Self::Publication | Self::Confirmed | Self::GroupRequest => {
                run.heard.iter().filter(|(at, heard)| at == receiver && heard == payload).count()
            }
        };
        run.receivers.iter().map(of).collect()
    }
}

/// The requests that a subscription has got: who asks, which request, and the payload.
fn requests(run: &Run, receiver: usize, subscription: Token) -> Vec<(Name, InnerId, Vec<u8>)> {
    let request = |(token, reply): &(Token, Reply)| match reply {
        Reply::Published(one) if *token == subscription => Some((one.from.clone()?, one.request?, one.payload.clone())),
        _ => None,
    };
    run.mesh.nodes[receiver].replies.iter().filter_map(request).collect()
}

/// The calls that an offer has got.
pub fn calls(run: &Run, receiver: usize, offer: Token) -> Vec<Call> {
    let call = |(token, reply): &(Token, Reply)| match reply {
        Reply::Call(call) if *token == offer => Some(call.clone()),
        _ => None,
    };
    run.mesh.nodes[receiver].replies.iter().filter_map(call).collect()
}
