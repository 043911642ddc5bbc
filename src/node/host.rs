//! What a node is given: the machine under it, the gate it publishes, and the parts it is made of.

use super::lab::Barred;
use super::places::Places;
use crate::engine::Engine;
use crate::engine::lab::Lab;
use crate::event_log::Event;
use crate::gateway::{Arriving, dto};
use crate::id::Pseudonym;
use crate::identity::admission::{AdmissionView, AdmittedPeer};
use crate::identity::kdf::Secret;
use crate::identity::membership::Stored;
use crate::net::{Gatekeeper, Multiaddr, Network, Skew};
use crate::time::Now;
use crate::wire::hello::{EnrolHello, EnrolReply};
use arc_swap::ArcSwap;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use std::sync::Arc;

/// The machine's part: time, and what is slow or touches the world.
pub trait Host: Send + 'static {
    /// Both clocks.
    fn now(&self) -> Now;
    /// Keeps the membership's files.
    fn save(&mut self, membership: Stored) -> BoxFuture<'static, Result<(), String>>;
    /// Has the issuer on this machine answer; with an event for the log where it enrolled or refused a device.
    fn issue(&mut self, hello: EnrolHello) -> BoxFuture<'static, (EnrolReply, Option<Event>)>;
    /// Carries a request, over a connection under the key of that seed, to one of the members there.
    fn renew(
        &mut self,
        hello: EnrolHello,
        seed: Secret,
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

/// Admits by the view that the node publishes.
pub struct Gate {
    pub(super) view: ArcSwap<AdmissionView>,
    /// Nobody, but in a lab.
    pub(super) barred: ArcSwap<Barred>,
    now: Box<dyn Fn() -> Now + Send + Sync>,
}

impl Gate {
    /// With the first view, and the wall clock.
    pub fn new(view: AdmissionView, now: impl Fn() -> Now + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { view: ArcSwap::from_pointee(view), barred: ArcSwap::default(), now: Box::new(now) })
    }
}

impl Gatekeeper for Gate {
    type Peer = AdmittedPeer;

    fn hello(&self) -> Vec<u8> {
        self.view.load().hello((self.now)().unix)
    }

    fn verify(&self, hello: &[u8], peer: &Pseudonym) -> Result<AdmittedPeer, &'static str> {
        self.view.load().verify(hello, peer, (self.now)().unix).map_err(|reason| reason.code())
    }

    fn skew(&self, hello: &[u8], peer: &Pseudonym) -> Option<Skew> {
        let now = (self.now)().unix;
        let theirs = self.view.load().skewed(hello, peer, now)?;
        Some(Skew { theirs, ours: now.seconds() })
    }

    fn clock(&self) -> Option<u64> {
        Some((self.now)().unix.seconds())
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
