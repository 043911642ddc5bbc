//! Lab: what only a lab does to a network. It shapes links and lets addresses be dialled at once.

use super::super::admission::Gatekeeper;
use super::super::emulation::Shape;
use super::super::handler::Command;
use super::Network;
use crate::id::LinkId;

impl<G: Gatekeeper> Network<G> {
    /// Shapes what is sent over a link, on all its connections, until it goes down; round trips are measured anew. Has
    /// no effect in a network that cannot be shaped ([`NetConfig::shaping`](super::super::NetConfig::shaping)).
    pub fn set_shape(&mut self, link: LinkId, shape: Option<Shape>) {
        let (Some(shaping), Some(link)) = (&self.shaping, self.links.get(link)) else { return };
        shaping.set(&link.peer, shape);
        for connection in &link.connections {
            self.swarm.behaviour_mut().streams.command(link.peer, connection.id, Command::Measure);
        }
    }

    /// Stops a link from carrying anything in this direction, on all connections to its peer, or lets it carry what has
    /// waited. The closing of a connection passes nevertheless.
    pub fn set_mute(&mut self, link: LinkId, mute: bool) {
        let (Some(shaping), Some(link)) = (&self.shaping, self.links.get(link)) else { return };
        shaping.set_mute(&link.peer, mute);
    }

    /// Lets all wanted addresses be dialled at once, as if none had failed.
    pub fn forget_backoff(&mut self) {
        self.discovery.forget_backoff();
        self.swarm.attend();
    }
}
