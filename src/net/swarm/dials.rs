//! Dials: one address at a time, and of a name each of the addresses that it leads to, until one answers.

use super::super::admission::Gatekeeper;
use super::super::discovery::Failure;
use super::super::handshake::Reason;
use super::super::names;
use super::Network;
use super::failures::refusal;
use crate::net::Multiaddr;
use futures::FutureExt;
use futures::future::BoxFuture;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::DialOpts;
use libp2p::swarm::{ConnectionId, DialError};
use std::collections::VecDeque;

/// A dial that is under way.
#[derive(Debug)]
pub(super) struct Trial {
    /// What discovery knows: an address, or a name.
    pub(super) of: Multiaddr,
    /// Where else it leads, in the order in which to try.
    others: VecDeque<Multiaddr>,
}

/// What becomes of a name.
pub(super) type Lookup = BoxFuture<'static, (Multiaddr, Result<Vec<Multiaddr>, String>)>;

impl<G: Gatekeeper> Network<G> {
    pub(super) fn dial(&mut self, address: Multiaddr) {
        if !names::is_name(&address) {
            return self.try_next(Trial { of: address.clone(), others: VecDeque::from([address]) });
        }
        match &self.resolver {
            Some(resolver) => {
                let found = resolver(address.clone());
                self.lookups.push(found.map(move |found| (address, found)).boxed());
            }
            None => self.discovery.handle_failed(&address, Failure::Usual),
        }
    }

    /// A name was looked up.
    pub(super) fn handle_found(&mut self, name: Multiaddr, found: Result<Vec<Multiaddr>, String>) {
        match found {
            Ok(found) => {
                // The node itself may be behind the name, among others.
                let others =
                    found.into_iter().filter(|address| !self.listening.addresses().contains(address)).collect();
                self.try_next(Trial { of: name, others });
            }
            Err(error) => {
                tracing::debug!(%name, %error, "not found");
                self.discovery.handle_failed(&name, Failure::Usual);
            }
        }
    }

    pub(super) fn handle_dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(trial) = self.dials.remove(&connection) else { return };
        tracing::debug!(address = %trial.of, %error, "dial failed");
        match refusal(error) {
            Some(Reason::Own) if !names::is_name(&trial.of) => self.discovery.handle_own(&trial.of),
            Some(Reason::Full) => self.discovery.handle_failed(&trial.of, Failure::Full),
            Some(Reason::Twin) => {
                self.discovery.handle_failed(&trial.of, Failure::Full);
                self.meet_itself(trial.of);
            }
            _ => self.try_next(trial),
        }
    }

    fn try_next(&mut self, mut trial: Trial) {
        while let Some(address) = trial.others.pop_front() {
            let options = DialOpts::unknown_peer_id().address(address.clone());
            // Over TCP two nodes that dial each other from their listening ports at once would meet in one broken
            // connection; over UDP the listening socket serves both, and is what a NAT has a hole for.
            let over_udp = address.iter().any(|part| matches!(part, Protocol::Udp(_)));
            let options = if over_udp { options.build() } else { options.allocate_new_port().build() };
            let connection = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => {
                    self.dials.insert(connection, trial);
                    return;
                }
                Err(error) => tracing::debug!(%address, %error, "not dialled"),
            }
        }
        self.discovery.handle_failed(&trial.of, Failure::Usual);
    }
}
