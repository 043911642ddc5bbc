//! Connections: how they join a link, prove that their peer lives, fall silent, and leave.

use super::super::admission::Gatekeeper;
use super::super::counters::Item;
use super::super::discovery::Failure;
use super::super::handler::{Command, Event, LINGER_TIME};
use super::super::links::{Arrived, Joined};
use super::super::streams::StreamsEvent;
use super::{Closed, Multiaddr, NetEvent, Network};
use crate::counter::Counter;
use crate::id::LinkId;
use libp2p::swarm::ConnectionId;
use std::sync::atomic::Ordering::Relaxed;

impl<G: Gatekeeper> Network<G> {
    pub(super) fn handle_streams(&mut self, event: StreamsEvent<G::Peer>) {
        match event {
            StreamsEvent::Up { connection, peer, found, pipe, address, outbound, bearer, begun } => {
                let process = self.gatekeeper.process(Some(&found));
                let place = address.clone();
                let arrived = Arrived { peer, bearer, id: connection, outbound, address: place, process };
                let joined = self.links.join(arrived, pipe);
                let link = match joined {
                    Joined::New(link) | Joined::Another(link, _) => Some(link),
                    Joined::Refused => None,
                };
                if let Joined::New(link) = joined {
                    self.discovery.handle_link_up(link, peer, bearer);
                }
                match (self.dials.remove(&connection), link) {
                    (Some(dialled), Some(link)) if self.discovery.handle_linked(&dialled.of, link) => {
                        self.events.push_back(NetEvent::Met);
                    }
                    (Some(dialled), None) => self.discovery.handle_failed(&dialled.of, Failure::Full),
                    _ => {}
                }
                // Connections to a process that is gone do not answer and are closed.
                for other in self.links.of_others(connection) {
                    self.swarm.behaviour_mut().streams.command(peer, other, Command::Prove);
                }
                let streams = &mut self.swarm.behaviour_mut().streams;
                match joined {
                    Joined::New(link) => {
                        let peer = crate::net::pseudonym(&peer).expect("admission lets in Ed25519 keys only");
                        self.events.push_back(NetEvent::LinkUp {
                            link,
                            peer,
                            admitted: found,
                            address,
                            outbound,
                            bearer,
                            age: begun.elapsed(),
                        });
                    }
                    Joined::Another(link, prove) => {
                        if let Some(prove) = prove {
                            streams.command(peer, prove, Command::Prove);
                        }
                        // From now on frames go out on the new connection, which has space.
                        self.events.push_back(NetEvent::Writable { link });
                        self.tell_silence(link);
                    }
                    Joined::Refused => {
                        self.counters.count(Item::Dropped(Counter::LinksOverLimit), 1);
                        streams.close(peer, connection, "too many links".to_owned());
                    }
                }
            }
            StreamsEvent::Handler { connection, event } => self.handle_connection(connection, event),
            StreamsEvent::Down { connection, reason } => {
                let Some(known) = self.links.connection_mut(connection) else { return };
                let owed = known.pipe.handed_over.load(Relaxed) - known.fetched;
                self.closed = Some(Closed { connection, owed, reason });
                if owed == 0 {
                    self.settle();
                }
            }
        }
    }

    fn handle_connection(&mut self, connection: ConnectionId, event: Event) {
        let Some(link) = self.links.of_connection(connection) else { return };
        match event {
            Event::Writable => self.events.push_back(NetEvent::Writable { link }),
            Event::Proved => {
                let Some(peer) = self.links.get(link).map(|link| link.peer) else { return };
                if let Some(addresses) = self.links.handle_alive(connection) {
                    self.events.push_back(NetEvent::Twins { link: Some(link), addresses: addresses.into() });
                }
                for other in self.links.proved(connection) {
                    self.links.ending(other);
                    self.swarm.behaviour_mut().streams.command(peer, other, Command::Finish);
                }
                self.events.push_back(NetEvent::Writable { link });
            }
            Event::Finishing => {
                self.links.ending(connection);
                self.events.push_back(NetEvent::Writable { link });
            }
            // The behaviour closes the connection and reports when it is closed.
            Event::Over(_) => self.links.ending(connection),
            Event::Measured(round_trip) => self.events.push_back(NetEvent::Measured { link, round_trip }),
            Event::Stuck => {
                let to = self.links.connection_mut(connection).map(|known| known.address.clone());
                if let Some(address) = to {
                    self.discovery.handle_stuck(link, &address);
                }
            }
            Event::Silent | Event::Heard => {
                if let Some(known) = self.links.connection_mut(connection) {
                    known.silent = event == Event::Silent;
                }
            }
        }
        self.tell_silence(link);
    }

    /// Reports that another process has this node's identity.
    pub(super) fn meet_itself(&mut self, address: Multiaddr) {
        self.events.push_back(NetEvent::Twins { link: None, addresses: vec![address] });
    }

    fn tell_silence(&mut self, link: LinkId) {
        let Some(silent) = self.links.silence_changed(link) else { return };
        self.discovery.handle_silence(link, silent);
        self.events.push_back(if silent { NetEvent::Silent { link } } else { NetEvent::Heard { link } });
    }

    /// Removes a closed connection from its link, once all its frames have been fetched.
    pub(super) fn settle(&mut self) {
        let Some(Closed { connection, reason, .. }) = self.closed.take() else { return };
        // A connection that finishes in good order stays open for the other end to read everything. One that is gone
        // sooner broke.
        let broke = self
            .links
            .connection_mut(connection)
            .is_some_and(|known| known.pipe.finished.get().is_none_or(|finished| finished.elapsed() < LINGER_TIME / 2));
        match self.links.leave(connection) {
            Some((link, true)) => {
                self.discovery.handle_link_down(link);
                self.events.push_back(NetEvent::LinkDown { link, reason });
            }
            Some((link, false)) => {
                self.events.push_back(NetEvent::Writable { link });
                if broke {
                    tracing::debug!(link = link.0, %reason, "one of its connections broke");
                    self.events.push_back(NetEvent::Broken { link });
                }
                self.tell_silence(link);
            }
            None => {}
        }
    }
}
