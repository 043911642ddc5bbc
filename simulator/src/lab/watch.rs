//! Watch: the state of a lab, which is the links that the nodes at their ends report, and the number of messages that
//! wait at them.

use super::layout::device;
use crate::world::clock::now;
use futures::future::join_all;
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::{Peer, Status};
use std::collections::BTreeSet;
use std::time::Duration;

/// The state of a lab at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The time of the look, in nanoseconds of the run's time.
    pub at: u64,
    /// The pairs of devices with a link that at least one of them reports, the lower first; a node that does not answer
    /// reports none.
    pub links: BTreeSet<(usize, usize)>,
    /// The number of outgoing messages at the node with most.
    pub queued: u64,
}

/// Looks at these nodes. A node that does not answer in time reports nothing.
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

/// The time since which no link is missing, and the largest queue.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// The number of links that could be up and are not, at the last look.
    pub missing: usize,
    /// The time at which the last of them came up.
    pub whole_at: Option<u64>,
    /// The largest number of outgoing messages seen at one node.
    pub queued: u64,
}

impl Watch {
    /// Notes the number of links that were missing at a look.
    pub fn handle(&mut self, seen: &Seen, missing: usize) {
        if self.missing > 0 && missing == 0 {
            self.whole_at = Some(seen.at);
        }
        self.missing = missing;
        self.queued = self.queued.max(seen.queued);
    }
}

/// The time that a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
