//! What only a lab does to a network: shapes its links, and has it try again at once.

use super::super::admission::Gatekeeper;
use super::super::emulation::Shape;
use super::super::handler::Command;
use super::Network;
use crate::id::LinkId;

impl<G: Gatekeeper> Network<G> {
    /// Shapes what goes over a link, on all its connections, until it is down; round trips are measured anew. Does
    /// nothing in a network that is not made for it ([`NetConfig::shaping`](super::super::NetConfig::shaping)).
    pub fn set_shape(&mut self, link: LinkId, shape: Option<Shape>) {
        let (Some(shaping), Some(link)) = (&self.shaping, self.links.get(link)) else { return };
        shaping.set(&link.peer, shape);
        for connection in &link.connections {
            self.swarm.behaviour_mut().streams.command(link.peer, connection.id, Command::Measure);
        }
    }

    /// Has a link carry nothing in this direction while it stands, on all connections to its peer, or has it carry what has
    /// waited. What closes a connection passes nevertheless.
    pub fn set_mute(&mut self, link: LinkId, mute: bool) {
        let (Some(shaping), Some(link)) = (&self.shaping, self.links.get(link)) else { return };
        shaping.set_mute(&link.peer, mute);
    }

    /// Has all addresses dialled that are wanted, as if none had failed: what was in the way is gone.
    pub fn forget_backoff(&mut self) {
        self.discovery.forget_backoff();
        self.swarm.attend();
    }
}
