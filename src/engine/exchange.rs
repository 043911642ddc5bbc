//! What goes into the engine, and what comes out of it.

use super::api::{Command, Reply, Token};
use super::store::Commit;
use crate::counter::Counter;
use crate::event_log::Event;
use crate::id::{LinkId, Lsn, OuterId};
use crate::identity::admission::AdmittedPeer;
use crate::identity::enrolment::AnswerJudge;
use crate::identity::kdf::Secret;
use crate::time::Time;
use crate::wire::OutFrame;
use crate::wire::data::Class;
use crate::wire::hello::{EnrolHello, EnrolReply};
use bytes::Bytes;
use core::time::Duration;

/// What has happened.
#[derive(Debug)]
pub enum Input {
    /// The application asks for something.
    Command {
        /// To answer under.
        token: Token,
        /// What.
        command: Command,
    },
    /// A neighbour was admitted and its streams stand.
    LinkUp {
        /// Its number.
        link: LinkId,
        /// Who.
        peer: AdmittedPeer,
        /// What carries it: `tcp`, `quic`.
        transport: &'static str,
        /// Number of its bearer.
        bearer: u8,
        /// What has passed since its set-up began: its neighbour's hello is no older.
        age: Duration,
    },
    /// A link is gone.
    LinkDown {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// Whole frames came over a link.
    Frames {
        /// Which.
        link: LinkId,
        /// As in [`Frames`](crate::wire::frame::Frames).
        buffer: Bytes,
    },
    /// A probe of a link came back.
    Measured {
        /// Which.
        link: LinkId,
        /// How long it took.
        round_trip: Duration,
    },
    /// A link's neighbour was asked whether it lives, and does not answer.
    Silent(LinkId),
    /// It is heard again.
    Heard(LinkId),
    /// What was on its way over a link may be lost, either way; the link stands.
    Broken(LinkId),
    /// Two processes have the identity of this link's neighbour, or this node's own where there is no link.
    Twins {
        /// The neighbour.
        link: Option<LinkId>,
        /// Where they are.
        addresses: Vec<String>,
    },
    /// A lab says what a link costs.
    Priced {
        /// Which.
        link: LinkId,
        /// Micro-units per MB; `None` for what its bearer says.
        price: Option<u64>,
    },
    /// A link takes no more data for now.
    Blocked(LinkId),
    /// It does again.
    Writable(LinkId),
    /// The addresses this node listens on, in binary form, without a PeerId.
    Listening(Vec<Vec<u8>>),
    /// A device at admission wants to enrol; answered by [`Output::Enrolled`].
    Enrol {
        /// Number for the answer.
        id: u64,
        /// What it said.
        hello: EnrolHello,
    },
    /// This node's issuer has answered an [`Output::Issue`].
    Issued {
        /// As asked.
        origin: Origin,
        /// Its answer.
        reply: EnrolReply,
        /// The same in signed pieces, where the request came over members.
        pieces: Vec<Vec<u8>>,
        /// For the log: the device enrolled or why not; nothing for a renewal.
        event: Option<Event>,
    },
    /// An [`Output::Renew`] has been answered.
    Renewed(Result<EnrolReply, String>),
    /// Something that belongs into the event log happened below.
    Event(Event),
    /// Connections were refused at admission.
    Refused {
        /// Reason code.
        reason: &'static str,
        /// How many.
        count: u64,
    },
    /// Something was dropped at a bound below.
    Dropped {
        /// Counter's name.
        counter: Counter,
        /// How many.
        count: u64,
    },
    /// Time has passed.
    Timeout,
}

/// What the node is to do.
#[derive(Debug)]
pub enum Output {
    /// Write this.
    Commit(Commit),
    /// Send a frame over a link.
    Send {
        /// Which.
        link: LinkId,
        /// Its queue there.
        class: Class,
        /// A whole frame.
        frame: OutFrame,
        /// Not before this is durable.
        after: Lsn,
        /// Of no use after this, if it has to wait for its link until then.
        until: Option<Time>,
    },
    /// Tell the application.
    Reply {
        /// Whom.
        token: Token,
        /// What.
        reply: Reply,
        /// Not before this is durable.
        after: Lsn,
        /// Whether nothing more comes under this token.
        last: bool,
    },
    /// Answer a device that enrols here.
    Enrolled {
        /// Its number.
        id: u64,
        /// The answer.
        reply: EnrolReply,
    },
    /// Have this node's issuer answer a request; answered by [`Input::Issued`].
    Issue {
        /// To be handed back.
        origin: Origin,
        /// The request.
        hello: EnrolHello,
    },
    /// Carry this request to some member; answered by [`Input::Renewed`].
    Renew {
        /// The request.
        hello: EnrolHello,
        /// Seed of the Ed25519 key of the connection.
        seed: Secret,
        /// What tells the answer from what others say in its place.
        judge: AnswerJudge,
    },
    /// The membership has changed: save it, and publish a new admission view.
    MembershipChanged {
        /// Whether there is anything new to save.
        save: bool,
    },
    /// A neighbour says where it and others listen.
    Addresses {
        /// Which neighbour.
        link: LinkId,
        /// Its own.
        own: Vec<Vec<u8>>,
        /// Of others.
        others: Vec<Vec<u8>>,
    },
    /// Close a link.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        reason: String,
    },
    /// Nothing more: call again with an input, or with [`Input::Timeout`] at this time.
    Wait(Option<Time>),
}

/// Where an enrolment request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A device at this node's admission.
    Admission(u64),
    /// Another member, for the request of that id.
    Relay(OuterId),
    /// This node itself.
    Own,
}

impl Origin {
    /// The id of a request that came over other members, whose answer goes back in signed pieces.
    pub fn relayed(self) -> Option<OuterId> {
        match self {
            Self::Relay(id) => Some(id),
            Self::Admission(_) | Self::Own => None,
        }
    }
}
