//! The interface of a node to its surroundings: the machine below it, the gate that it publishes, and the parts it is
//! made of.

use super::lab::Barred;
use super::networks::OpenNetwork;
use super::places::Places;
use crate::blob::disk::{Done, Order};
use crate::client::Arriving;
use crate::engine::Engine;
use crate::event_log::Event;
use crate::gateway::dto;
use crate::id::{OuterId, Pseudonym};
use crate::identity::admission::{AdmissionView, AdmittedPeer, Reason};
use crate::identity::enrolment::AnswerJudge;
use crate::identity::issuer::{Answered, Issuer};
use crate::identity::kdf::Secret;
use crate::identity::membership::Stored;
use crate::link::windows::Windows;
use crate::net::emulation::Lab;
use crate::net::serial::Lines;
use crate::net::{Gatekeeper, Multiaddr, Skew};
use crate::time::{Now, Unix};
use crate::wire::enrolment::Refusal;
use crate::wire::hello::{EnrolHello, EnrolReply};
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Context;

/// What a node needs of a machine: its clocks, and everything that is slow or reaches outside the process.
pub trait Host: Send + 'static {
    /// Returns both clocks: time since the start, and wall-clock time.
    fn now(&self) -> Now;
    /// Returns the node's resident memory in bytes; 0 if the machine does not provide it.
    fn memory(&self) -> u64 {
        0
    }
    /// Returns the access windows of bearers that are to be told anew at this time by the node's clock. It is asked often.
    fn windows(&mut self, _now: Unix) -> Vec<(u8, Windows)> {
        Vec::new()
    }
    /// Saves the membership to its files.
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
    /// Opens a second network, with the key of that seed, that admits by `view` and dials the addresses `known` first.
    fn open_network(
        &mut self,
        _own: Pseudonym,
        _seed: &Secret,
        _view: AdmissionView,
        _known: Vec<Multiaddr>,
    ) -> BoxFuture<'static, Result<OpenNetwork, String>> {
        futures::future::ready(Err("this host opens no second network".to_owned())).boxed()
    }
    /// Has the disk that keeps blobs carry out an order, after those given before. The answers may be to earlier orders, too.
    fn blob(&mut self, order: Order) -> BoxFuture<'static, Vec<Done>> {
        let reason = "this host keeps no blobs".to_owned();
        let failed = order.is_answered().then(|| order.hash()).flatten().map(|hash| Done::Failed { hash, reason });
        futures::future::ready(failed.into_iter().collect()).boxed()
    }
    /// Saves where the node listens and where it met others; the last call counts. A host that is never restarted need
    /// not do anything.
    fn keep_places(&mut self, _places: Places) {}
    /// Saves the orders given to a node of a lab. A host that is never restarted need not do anything.
    fn keep_lab(&mut self, _lab: dto::Lab) -> BoxFuture<'static, Result<(), String>> {
        futures::future::ready(Ok(())).boxed()
    }
}

/// An issuer's answer to a request.
#[derive(Debug)]
pub struct Issued {
    /// The answer, for the device.
    pub reply: EnrolReply,
    /// The same answer in signed pieces, for members to relay; empty unless the request was relayed.
    pub pieces: Vec<Vec<u8>>,
    /// For the event log: that the issuer enrolled a device, or refused one.
    pub event: Option<Event>,
}

impl Issued {
    /// Builds it from an issuer's answer.
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

    /// The answer where no issuer can be asked.
    pub fn unavailable() -> Self {
        let reply = EnrolReply { sealed: None, refused: Some(Refusal::Unavailable) };
        Self { reply, pieces: Vec::new(), event: None }
    }
}

/// Admits peers by the view of the membership that the node publishes.
pub struct Gate {
    pub(super) view: ArcSwap<AdmissionView>,
    /// The devices that a lab keeps apart from this one; nobody outside a lab.
    pub(super) barred: ArcSwap<Barred>,
    now: Box<dyn Fn() -> Now + Send + Sync>,
    /// A random number that tells this process from others with the same identity.
    process: u64,
    /// The time that another has told last, in unix seconds, where this device has no credential for it under the network's key; 0 for none.
    told: AtomicU64,
    told_to: AtomicWaker,
}

impl Gate {
    /// A gate with a first view, the number of this process, and a clock.
    pub fn new(view: AdmissionView, process: u64, now: impl Fn() -> Now + Send + Sync + 'static) -> Arc<Self> {
        let view = ArcSwap::from_pointee(view);
        let (told, told_to) = (AtomicU64::new(0), AtomicWaker::new());
        Arc::new(Self { view, barred: ArcSwap::default(), now: Box::new(now), process, told, told_to })
    }

    /// The time that another has told since the last call, for which this device has no credential under the network's key.
    pub(super) fn poll_told(&self, cx: &mut Context<'_>) -> Option<Unix> {
        self.told_to.register(cx.waker());
        let told = self.told.swap(0, Ordering::AcqRel);
        (told > 0).then(|| Unix::from_seconds(told))
    }

    fn note_told(&self, view: &AdmissionView, told: Unix) {
        if view.is_elsewhere_at(told, (self.now)()) {
            self.told.store(told.seconds(), Ordering::Release);
            self.told_to.wake();
        }
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
        let (view, raw) = (self.view.load(), (self.now)());
        self.note_told(&view, view.judging_time(theirs, raw));
        view.answer(theirs, raw, self.process)
    }

    fn hello_at(&self, seconds: u64) -> Option<Vec<u8>> {
        let (view, told) = (self.view.load(), Unix::from_seconds(seconds));
        self.note_told(&view, told);
        view.hello_at(told, (self.now)(), self.process)
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

    fn shuns(&self, reason: &str) -> bool {
        reason == Reason::Quarantined.code()
    }

    fn bars(&self, peer: &AdmittedPeer) -> bool {
        // Neighbours tell of this device's network under its other pseudonym, as of anybody's.
        let handle = &peer.credential.body.handle;
        self.view.load().is_another_own(handle) || self.barred.load().bars(handle)
    }
}

/// The parts that a node is made of.
pub struct Parts<S, H> {
    /// The engine, loaded from the store.
    pub engine: Engine,
    /// The network under the pseudonym in force.
    pub network: OpenNetwork,
    /// The serial lines, which have been entered under that pseudonym.
    pub lines: Lines<Gate>,
    /// The store that the engine's commits go to.
    pub store: S,
    /// The machine.
    pub host: H,
    /// The receiving end of the application's commands.
    pub calls: Arriving,
    /// The node stops when this is ready or its sender is dropped.
    pub stop: oneshot::Receiver<()>,
    /// Members to renew through while no neighbour has said where it listens.
    pub bootstrap: Vec<Multiaddr>,
    /// The orders of the lab, if the node is in one.
    pub lab: Option<Lab>,
}
