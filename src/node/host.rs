//! What a node is given: the machine under it, the gate it publishes, and the parts it is made of.

use super::lab::Barred;
use super::places::Places;
use crate::client::Arriving;
use crate::engine::Engine;
use crate::event_log::Event;
use crate::gateway::dto;
use crate::id::{OuterId, Pseudonym};
use crate::identity::admission::{AdmissionView, AdmittedPeer};
use crate::identity::enrolment::AnswerJudge;
use crate::identity::issuer::{Answered, Issuer};
use crate::identity::kdf::Secret;
use crate::identity::membership::Stored;
use crate::net::emulation::Lab;
use crate::net::{Gatekeeper, Multiaddr, Network, Skew};
use crate::time::{Now, Unix};
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, EnrolReply};
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use std::sync::Arc;

/// The machine's part: time, and what is slow or touches the world.
pub trait Host: Send + 'static {
    /// Both clocks of the machine; the engine makes the node's of them.
    fn now(&self) -> Now;
    /// Resident memory of the node, in bytes; 0 where the machine does not say.
    fn memory(&self) -> u64 {
        0
    }
    /// Keeps the membership's files.
    fn save(&mut self, membership: Stored) -> BoxFuture<'static, Result<(), String>>;
    /// Has the issuer on this machine answer, at that time by the node's clock; in signed pieces where the request came over
    /// members, under that id.
    fn issue(&mut self, hello: EnrolHello, relayed: Option<OuterId>, at: Unix) -> BoxFuture<'static, Issued>;
    /// Carries a request, over a connection under the key of that seed, to the members there, one after the other until
    /// one brings what `judge` takes for the issuer's answer.
    fn renew(
        &mut self,
        hello: EnrolHello,
        seed: Secret,
        judge: AnswerJudge,
        members: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<EnrolReply, String>>;
    /// Keeps where the node is and where it met others; the last said counts. A host that is not asked to start again
    /// needs not to.
    fn keep_places(&mut self, _places: Places) {}
    /// Writes down what a lab's node was told. A host that is not asked to start again needs not to.
    fn keep_lab(&mut self, _lab: dto::Lab) -> BoxFuture<'static, Result<(), String>> {
        futures::future::ready(Ok(())).boxed()
    }
}

/// What an issuer says to a request.
#[derive(Debug)]
pub struct Issued {
    /// For the device.
    pub reply: EnrolReply,
    /// The same in signed pieces.
    pub pieces: Vec<Vec<u8>>,
    /// For the log: that it enrolled a device, or refused one.
    pub event: Option<Event>,
}

impl Issued {
    /// What an issuer has answered.
    pub fn of(issuer: &Issuer, hello: &EnrolHello, relayed: Option<OuterId>, answered: Answered) -> Self {
        let Answered { reply, outcome } = answered;
        let event = match outcome {
            Ok(served) if served.new => Some(Event::Enrolled { name: served.name }),
            Ok(_) => None,
            Err(refusal) => Some(Event::EnrolmentRefused { reason: refusal.to_string() }),
        };
        let pieces = relayed.map(|id| issuer.pieces(id, hello, &reply)).unwrap_or_default();
        Self { reply, pieces, event }
    }

    /// There is no issuer that answers.
    pub fn unavailable() -> Self {
        let reply = EnrolReply { sealed: None, refused: Some(Refusal::Unavailable) };
        Self { reply, pieces: Vec::new(), event: None }
    }
}

/// Admits by the view that the node publishes.
pub struct Gate {
    pub(super) view: ArcSwap<AdmissionView>,
    /// Nobody, but in a lab.
    pub(super) barred: ArcSwap<Barred>,
    now: Box<dyn Fn() -> Now + Send + Sync>,
    /// Number of this process.
    process: u64,
}

impl Gate {
    /// With the first view, the number of this process, and the machine's clocks; the view says what the node's say.
    pub fn new(view: AdmissionView, process: u64, now: impl Fn() -> Now + Send + Sync + 'static) -> Arc<Self> {
        let view = ArcSwap::from_pointee(view);
        Arc::new(Self { view, barred: ArcSwap::default(), now: Box::new(now), process })
    }
}

impl Gatekeeper for Gate {
    type Peer = AdmittedPeer;

    fn hello(&self) -> Vec<u8> {
        let view = self.view.load();
        view.hello(view.read((self.now)()).unix, self.process)
    }

    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<AdmittedPeer, &'static str> {
        let view = self.view.load();
        let at = view.judging_time(hello, (self.now)());
        view.verify(hello, peer, at).map_err(|reason| reason.code())
    }

    fn answer(&self, theirs: &[u8]) -> Vec<u8> {
        self.view.load().answer(theirs, (self.now)(), self.process)
    }

    fn hello_at(&self, seconds: u64) -> Option<Vec<u8>> {
        self.view.load().hello_at(Unix::from_seconds(seconds), (self.now)(), self.process)
    }

    fn skew(&self, hello: &[u8], peer: &Pseudonym) -> Option<Skew> {
        let view = self.view.load();
        let now = view.read((self.now)()).unix;
        let theirs = view.skewed(hello, peer, now)?;
        Some(Skew { theirs, ours: now.seconds() })
    }

    fn clock(&self) -> Option<u64> {
        Some(self.view.load().read((self.now)()).unix.seconds())
    }

    fn enrols(&self, hello: &EnrolHello) -> Result<(), Refusal> {
        let view = self.view.load();
        view.enrols(hello, view.read((self.now)()).unix)
    }

    fn process(&self, peer: Option<&AdmittedPeer>) -> u64 {
        peer.map_or(self.process, |peer| peer.process)
    }

    fn bars(&self, peer: &AdmittedPeer) -> bool {
        self.barred.load().bars(&peer.credential.body.handle)
    }
}

/// What a node is made of.
pub struct Parts<S, H> {
    /// Loaded from the store.
    pub engine: Engine,
    /// With `gate` as its gatekeeper.
    pub network: Network<Gate>,
    /// Where the engine's commits go.
    pub store: S,
    /// The machine.
    pub host: H,
    /// The gatekeeper.
    pub gate: Arc<Gate>,
    /// The application's commands.
    pub calls: Arriving,
    /// Ready, or gone, when the node is to stop.
    pub stop: oneshot::Receiver<()>,
    /// Members to renew through when no neighbour has said where it listens.
    pub bootstrap: Vec<Multiaddr>,
    /// Where the network listens already.
    pub listening: Vec<Multiaddr>,
    /// What it is told, if it is in a lab.
    pub lab: Option<Lab>,
}
