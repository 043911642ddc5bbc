//! Dials: one address at a time. For a name, each address that it resolves to is tried until one answers.

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
    /// The address that discovery knows, which may be a name.
    pub(super) of: Multiaddr,
    /// The addresses that are still to be tried, in order.
    others: VecDeque<Multiaddr>,
}

/// The lookup of a name: the name, and the addresses that it resolves to.
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

    /// Handles the result of a lookup.
    pub(super) fn handle_found(&mut self, name: Multiaddr, found: Result<Vec<Multiaddr>, String>) {
        match found {
            Ok(found) => {
                // The node's own address may be among them.
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
            Some(Reason::Later(wait)) => self.discovery.handle_failed(&trial.of, Failure::Later(wait)),
            Some(Reason::Full) => self.discovery.handle_failed(&trial.of, Failure::Full),
            Some(Reason::Verdict(reason)) if self.gatekeeper.shuns(reason) => {
                self.discovery.handle_failed(&trial.of, Failure::Full);
            }
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
            // Over TCP, two nodes that dialled each other at once from their listening ports would meet in one broken
            // connection. Over UDP the listening socket serves both directions, and it is the one for which a NAT lets
            // packets in.
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
