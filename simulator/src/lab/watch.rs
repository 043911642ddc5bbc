//! How a lab stands: which links there are, as the nodes at their ends say, and how much waits at them.

use super::layout::device;
use crate::world::clock::now;
use futures::future::join_all;
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::{Peer, Status};
use std::collections::BTreeSet;
use std::time::Duration;

/// What was seen at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// When, in nanoseconds of the run's time.
    pub at: u64,
    /// Pairs of devices with a link of which one at least tells, the lower first; those that do not answer have none.
    pub links: BTreeSet<(usize, usize)>,
    /// Messages on their way out, at the node with most.
    pub queued: u64,
}

/// Looks at these nodes. One that does not answer in time says nothing.
pub async fn look(nodes: Vec<(usize, Client)>) -> Seen {
    let answers = nodes.iter().map(|(at, client)| async move {
        let asked = async {
            let peers = client.get::<Vec<Peer>>("/v1/peers", &()).await?;
            let status = client.get::<Status>("/v1/status", &()).await?;
            Ok::<_, ClientError>((peers, status.gauges.outgoing))
        };
        Some((*at, tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()?))
    });
    let mut seen = Seen::default();
    for (at, (peers, outgoing)) in join_all(answers).await.into_iter().flatten() {
        let answering = peers.iter().filter(|peer| !peer.silent);
        let others = answering.filter_map(|peer| device(peer.name.as_deref()?));
        seen.links.extend(others.map(|other| (at.min(other), at.max(other))));
        seen.queued = seen.queued.max(outgoing);
    }
    seen.at = now();
    seen
}

/// Since when nothing is missing, and what waited most.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Links that could be and are not, at the last look.
    pub missing: usize,
    /// When the last of them came.
    pub whole_at: Option<u64>,
    /// Most messages seen on their way out at one node.
    pub queued: u64,
}

impl Watch {
    /// So many links were missing at a look.
    pub fn handle(&mut self, seen: &Seen, missing: usize) {
        if self.missing > 0 && missing == 0 {
            self.whole_at = Some(seen.at);
        }
        self.missing = missing;
        self.queued = self.queued.max(seen.queued);
    }
}

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
