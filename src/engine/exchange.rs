//! Exchange: the inputs that the engine takes, and the outputs that it gives.

use super::api::{Command, Reply, Token};
use super::store::Commit;
use crate::blob::disk;
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{LinkId, Lsn, OuterId, Pseudonym};
use crate::identity::admission::AdmittedPeer;
use crate::identity::enrolment::AnswerJudge;
use crate::identity::kdf::Secret;
use crate::link::windows::Windows;
use crate::time::{Time, Unix};
use crate::wire::OutFrame;
use crate::wire::data::Class;
use crate::wire::hello::{EnrolHello, EnrolReply};
use bytes::Bytes;
use core::time::Duration;

/// An input: something that has happened outside the engine.
#[derive(Debug)]
pub enum Input {
    /// The application gives a command.
    Command {
        /// The token of all replies to it.
        token: Token,
        /// The command.
        command: Command,
    },
    /// A neighbour was admitted, and the streams of its link are open.
    LinkUp {
        /// Under which pseudonym of this device.
        own: Pseudonym,
        /// The number of the link.
        link: LinkId,
        /// The neighbour.
        peer: AdmittedPeer,
        /// The transport that carries it: `tcp` or `quic`.
        transport: &'static str,
        /// The number of its bearer.
        bearer: u8,
        /// How long ago its set-up began: the neighbour's hello is no older.
        age: Duration,
    },
    /// Another has told the time at an admission that failed: this device has no credential for it under the pseudonym of that network.
    Told(Unix),
    /// A link is gone.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The reason.
        reason: String,
    },
    /// Whole frames came over a link.
    Frames {
        /// The link.
        link: LinkId,
        /// The frames, one after the other, as [`Frames`](crate::wire::frame::Frames) reads them.
        buffer: Bytes,
    },
    /// The answer to a probe of a link came back.
    Measured {
        /// The link.
        link: LinkId,
        /// How long it took from the probe to its answer.
        round_trip: Duration,
    },
    /// A link's neighbour was probed for liveness and does not answer.
    Silent(LinkId),
    /// The neighbour of a silent link is heard again.
    Heard(LinkId),
    /// Frames on their way over a link, in either direction, may be lost; the link itself stays up.
    Broken(LinkId),
    /// Two processes have the identity of a link's neighbour, or, where there is no link, this node's own.
    Twins {
        /// The link to the neighbour; `None` for this node's own identity.
        link: Option<LinkId>,
        /// The addresses of the two processes.
        addresses: Vec<String>,
    },
    /// When a bearer may be used in the days ahead, where that depends on more than the time of the day.
    Windows {
        /// The bearer's number.
        bearer: u8,
        /// Its access windows.
        windows: Windows,
    },
    /// When the device is awake in the days ahead, where that depends on more than the time of the day.
    Awake(Windows),
    /// A lab sets the price of a link.
    Priced {
        /// The link.
        link: LinkId,
        /// Micro-units of money a MB (10⁶ bytes); `None` for the price of its bearer.
        price: Option<u64>,
    },
    /// A link takes no more data of this class and less urgent ones for now.
    Blocked(LinkId, Class),
    /// A blocked link takes data again.
    Writable(LinkId),
    /// The node listens on these addresses, in binary form, without a PeerId.
    Listening {
        /// The pseudonym of this device whose network listens there.
        own: Pseudonym,
        /// The addresses.
        addresses: Vec<Vec<u8>>,
    },
    /// An [`Output::Network`] has been carried out, or could not be.
    Networked {
        /// Its pseudonym.
        own: Pseudonym,
        /// Where it listens, in binary form, or why there is no such network.
        result: Result<Vec<Vec<u8>>, String>,
    },
    /// A device at admission wants to enrol; answered by [`Output::Enrolled`].
    Enrol {
        /// The number of the request, for the answer.
        id: u64,
        /// The hello of the device.
        hello: EnrolHello,
    },
    /// This node's issuer has answered an [`Output::Issue`].
    Issued {
        /// The origin given with the [`Output::Issue`].
        origin: Origin,
        /// The issuer's answer.
        reply: EnrolReply,
        /// The answer in signed pieces, if the request came over other members.
        pieces: Vec<Vec<u8>>,
        /// The event for the log: the device was enrolled, or why it was not; `None` for a renewal.
        event: Option<Event>,
    },
    /// The answer to an [`Output::Renew`], or why there is none.
    Renewed(Result<EnrolReply, String>),
    /// An event from outside the engine that belongs in the event log.
    Event(Event),
    /// Connections of other devices were refused at admission.
    Refused {
        /// The reason code.
        reason: &'static str,
        /// How many there were.
        count: u64,
    },
    /// Something was dropped at a bound outside the engine.
    Dropped {
        /// The counter of such drops.
        counter: Counter,
        /// How many there were.
        count: u64,
    },
    /// The disk that keeps blobs has carried out an order.
    Blob(disk::Done),
    /// Time has passed, with no other input.
    Timeout,
}

/// An output: something that the node has to do.
#[derive(Debug)]
pub enum Output {
    /// Writes a commit to the store.
    Commit(Commit),
    /// Orders something of the disk that keeps blobs, in the order in which these come; answered by [`Input::Blob`].
    Blob(disk::Order),
    /// Sends a frame over a link.
    Send {
        /// The link.
        link: LinkId,
        /// The class, and thereby its queue on the link.
        class: Class,
        /// The whole frame.
        frame: OutFrame,
        /// The commit that must be durable before the frame is sent.
        after: Lsn,
        /// The time after which it is dropped if it still waits for its link; `None` if it is never dropped.
        until: Option<Time>,
    },
    /// Gives the application a reply.
    Reply {
        /// The token of the command.
        token: Token,
        /// The reply.
        reply: Reply,
        /// The commit that must be durable before the reply is given.
        after: Lsn,
        /// Whether this is the last reply under the token.
        last: bool,
    },
    /// Answers a device that enrols here.
    Enrolled {
        /// The number of the device's request.
        id: u64,
        /// The answer.
        reply: EnrolReply,
    },
    /// Has this node's issuer answer a request; answered by [`Input::Issued`].
    Issue {
        /// The origin of the request, to be handed back.
        origin: Origin,
        /// The request.
        hello: EnrolHello,
    },
    /// Carries a request of this node to some member; answered by [`Input::Renewed`].
    Renew {
        /// The request.
        hello: EnrolHello,
        /// The seed of the connection's Ed25519 key.
        seed: Secret,
        /// The judge that tells the issuer's answer from hints of others.
        judge: AnswerJudge,
    },
    /// Open a second network, with the key of that seed, beside the one that there is; answered by [`Input::Networked`].
    Network {
        /// The pseudonym that it is to have.
        own: Pseudonym,
        /// The seed of its key.
        seed: Secret,
    },
    /// Close the network of a pseudonym that this device has left.
    Leave {
        /// Which.
        own: Pseudonym,
    },
    /// The membership has changed: the node saves it and publishes a new admission view.
    MembershipChanged {
        /// Whether there is anything new to save.
        save: bool,
    },
    /// A neighbour announces the addresses on which it and others listen.
    Addresses {
        /// The link to the neighbour.
        link: LinkId,
        /// The addresses of the neighbour.
        own: Vec<Vec<u8>>,
        /// The addresses of others.
        others: Vec<Vec<u8>>,
    },
    /// Closes a link.
    Close {
        /// The link.
        link: LinkId,
        /// The reason.
        reason: String,
    },
    /// Have a neighbour dialled for so long by nobody; for no time, if it may be dialled again.
    Shun {
        /// The neighbour.
        peer: Pseudonym,
        /// For how long.
        rest: Duration,
    },
    /// The device falls asleep, or wakes: while it sleeps nobody is dialled.
    Asleep {
        /// Whether it sleeps from now on.
        asleep: bool,
    },
    /// No more outputs: the next call is to be with an input, or with [`Input::Timeout`] at this time; `None` if no
    /// time-out is due.
    Wait(Option<Time>),
}

/// The origin of an enrolment request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A device at this node's admission.
    Admission(u64),
    /// Another member, which relayed the request of that id.
    Relay(OuterId),
    /// This node itself.
    Own,
}

impl Origin {
    /// Returns the id of a request that came over other members, whose answer goes back in signed pieces; `None` for
    /// other origins.
    pub fn relayed(self) -> Option<OuterId> {
        match self {
            Self::Relay(id) => Some(id),
            Self::Admission(_) | Self::Own => None,
        }
    }
}
