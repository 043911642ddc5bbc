//! Members, as an enrolment reaches them from this machine: through its resolver and its sockets.

use crate::net::{self, Multiaddr, Reach, Unhelpful, names};
use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::identity::Keypair;

/// Reaches members through the machine's resolver and sockets.
pub(super) struct Internet<N> {
    /// The key of the connections.
    pub(super) key: Keypair,
    /// Is told of each member that did not help, and whether another is asked.
    pub(super) note: N,
}

impl<N: FnMut(&Unhelpful, bool) + Send> Reach for Internet<N> {
    fn resolve(&mut self, member: Multiaddr) -> BoxFuture<'static, Result<Vec<Multiaddr>, String>> {
        names::resolve(member).boxed()
    }

    fn transport(&mut self) -> Result<net::Transport, String> {
        net::transport::system(&self.key).map_err(|error| error.to_string())
    }

    fn note(&mut self, failed: &Unhelpful, more: bool) {
        (self.note)(failed, more);
    }
}
