//! Tables: the tables that others fill, with their sizes and bounds, for tests and for finding what has grown.

use super::Engine;
use crate::blob::{serve, shelf as blob_shelf};
use crate::delivery::mailbox;
use crate::engine::groups::{answers, group_frames, multicast, shelf, streams, tree, wanted};
use crate::engine::messages::blobs::taking;
use crate::engine::messages::mail::awaited;
use crate::engine::messages::{anycast, inbox, named_requests, services};
use crate::engine::neighbours::{fragments, peer_credentials, quarantine, sleepers};
use crate::engine::routing::{flights, forward, routes};
use crate::routing::lsdb;

/// A table that others fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it holds.
    pub name: &'static str,
    /// How many entries, or bytes, it holds.
    pub entries: usize,
    /// How many it may hold.
    pub bound: usize,
}

impl Engine {
    /// Returns every table that grows with what others send.
    pub fn tables(&self) -> Vec<Table> {
        let table = |name, entries, bound| Table { name, entries, bound };
        let partial = fragments::MAX_PARTIAL * self.neighbours.links.iter().count();
        let waiting = self.groups.multicast.waiting.iter().map(group_frames::Waiting::size).sum();
        vec![
            table("answers kept, bytes", self.groups.answers.bytes(), answers::MAX_BYTES),
            table("anycasts", self.messages.anycasts.open(), anycast::MAX_OPEN),
            table("blobs", self.messages.blobs.shelf.len(), blob_shelf::MAX_BLOBS),
            table("blob offers", self.messages.blobs.takes.len(), taking::MAX_TAKES),
            table("chunks that wait for one asker", self.messages.blobs.serving.longest(), serve::MAX_QUEUED),
            table("calls", self.messages.services.calls(), services::MAX_CALLS),
            table("credentials", self.neighbours.peers.len(), peer_credentials::MAX_CREDENTIALS),
            table("fragments", self.neighbours.fragments.len(), partial),
            table("flights", self.routing.flights.len(), flights::MAX_FLIGHTS),
            table("flows", self.routing.flows.len(), forward::MAX_FLOWS),
            table("group flows", self.groups.shelf.flows(), shelf::MAX_FLOWS),
            table("group frames kept, bytes", self.groups.shelf.bytes(), shelf::MAX_BYTES),
            table("group frames wanted", self.groups.repair.wants.len(), wanted::MAX_WANTED),
            table("group frames waiting", self.groups.multicast.waiting.len(), multicast::MAX_WAITING),
            table("group frames waiting, bytes", waiting, multicast::MAX_WAITING_BYTES),
            table("group streams", self.groups.multicast.streams.len().0, streams::MAX_STREAMS),
            table("group topics", self.groups.multicast.streams.len().1, streams::MAX_TOPICS),
            table("group trees", self.groups.tree.carried().count(), tree::MAX_TREES),
            table("mail kept, bytes", self.messages.mail.mailbox.bytes(), mailbox::MAX_BYTES),
            table("mail under way", self.messages.mail.awaited.len(), awaited::MAX_AWAITED),
            table("offenders", self.neighbours.quarantine.len(), quarantine::MAX_OFFENDERS),
            table("offers of others", self.messages.anycasts.known(), anycast::MAX_KNOWN),
            table("places kept for callers", self.messages.anycasts.places(), anycast::MAX_PLACES),
            table("responses kept, bytes", self.messages.named_requests.bytes(), named_requests::MAX_BYTES),
            table("routers", self.routing.link_state.lsdb.len(), lsdb::MAX_ROUTERS),
            table("routes", self.routing.routes.chosen.len(), routes::MAX_ROUTES),
            table("sleepers", self.neighbours.sleepers.len(), sleepers::MAX_SLEEPERS),
            table("sender streams", self.messages.inbox.streams.len(), inbox::MAX_STREAMS),
        ]
    }
}
