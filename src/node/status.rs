//! Status and peers: what the node reports about itself.

use super::{EventLoop, Host, preflight};
use crate::client::{MOST_HELD, Peer, Quarantined, Status};
use crate::counter::Counter;
use crate::identity::clock::Standing;
use crate::metrics::Gauges;
use crate::net::{self, Multiaddr};
use crate::store::Store;
use crate::time::Unix;

impl<S: Store, H: Host> EventLoop<S, H> {
    pub(super) fn status(&mut self) -> Status {
        let now = self.now();
        let counted = self.engine.counters().iter().map(|(counter, count)| (*counter, *count));
        let cut = (self.cut > 0).then_some((Counter::ConnectionsCut, self.cut));
        let counters = counted.chain(cut).map(|(counter, count)| (counter.name().to_owned(), count)).collect();
        let (outgoing, inbox, log_records) =
            (self.engine.outgoing_open(), self.engine.inbox_waiting(), self.engine.log_records());
        let (routers, twins, quarantined) = (self.engine.routers(), self.twins(), self.quarantined());
        let clock_difference = self.clock_difference();
        let (held, mut first_held) = (self.engine.held_open(), self.engine.held());
        first_held.truncate(MOST_HELD);
        let identity = self.engine.identity();
        let clock = match self.engine.clock() {
            Standing::Machine => "machine",
            Standing::Unset => "unset",
            Standing::Learnt { .. } => "learnt",
        };
        let membership = self.engine.membership();
        let credentials_failure = preflight::lapsed(membership, now.unix);
        let next_bulletin = Unix::from_seconds(membership.bulletin().body().next_update);
        let length = membership.epoch_length();
        let epoch = length.epoch_at(now.unix);
        let gauges = Gauges {
            epoch: epoch.0,
            bulletin: membership.bulletin().version(),
            links: self.neighbours.len() as u64,
            routers: routers as u64,
            contacts: membership.contact_book().len() as u64,
            inbox,
            outgoing: outgoing as u64,
            log_records,
            uptime_s: now.time.since(self.started).as_secs(),
            credentials_left_s: membership.valid_until().since(now.unix).as_secs(),
            bulletin_late_s: now.unix.since(next_bulletin).as_secs(),
            credentials_failing: credentials_failure.is_some().into(),
            clock_differs: clock_difference.is_some().into(),
            store_failing: self.store_failure.is_some().into(),
            twin_identities: twins.len() as u64,
            quarantined_neighbours: quarantined.len() as u64,
            held: held as u64,
            memory: self.host.memory(),
        };
        Status {
            name: membership.name().to_string(),
            realm: membership.realm().to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            peer_id: net::peer_id(&identity.pseudonym).map_or_else(String::new, |peer| peer.to_string()),
            anonymity: identity.anonymity.name().to_owned(),
            next_change: identity.next_change.map(|next| next.to_string()),
            epoch_ends: length.end(epoch).to_string(),
            credentials_until: membership.valid_until().to_string(),
            credentials_failure,
            clock: clock.to_owned(),
            clock_difference,
            bulletin_overdue: Some(next_bulletin).filter(|next| *next <= now.unix).map(|next| next.to_string()),
            listen: self.networks.listening().iter().map(Multiaddr::to_string).collect(),
            gauges,
            store_failure: self.store_failure.clone(),
            serial: self.networks.lines(),
            twins,
            quarantined,
            waiting: self.engine.waiting(),
            held: first_held,
            counters,
        }
    }

    fn quarantined(&self) -> Vec<Quarantined> {
        let held = self.engine.quarantined().into_iter().map(|held| Quarantined {
            name: held.name.map(|name| name.to_string()),
            peer_id: net::peer_id(&held.peer).map_or_else(String::new, |peer| peer.to_string()),
            left_s: held.left.as_secs(),
            offences: held.offences,
            reason: held.reason.to_owned(),
        });
        held.collect()
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        let now = self.host.now().time;
        let links = self.engine.links();
        let links = links.filter_map(|(link, name, silent)| Some((link, name, silent, self.neighbours.get(&link)?)));
        let mut peers: Vec<Peer> = links
            .map(|(link, name, silent, neighbour)| {
                let counters = self.networks.counters(link).unwrap_or_default();
                Peer {
                    name: name.map(ToString::to_string),
                    peer_id: net::peer_id(&neighbour.peer).map_or_else(String::new, |peer| peer.to_string()),
                    address: net::serial::device_of(&neighbour.address)
                        .unwrap_or_else(|| neighbour.address.to_string()),
                    transport: net::transport_of(&neighbour.address).to_owned(),
                    direction: if neighbour.outbound { "out" } else { "in" }.to_owned(),
                    silent,
                    rtt_us: counters.round_trip.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                    up_s: now.since(neighbour.since).as_secs(),
                    sent: counters.bytes_out,
                    received: counters.bytes_in,
                    shape: neighbour.shape,
                    credential: self.engine.credential_of(link).unwrap_or_default().to_vec(),
                }
            })
            .collect();
        peers.sort_by(|a, b| (&a.name, &a.peer_id).cmp(&(&b.name, &b.peer_id)));
        peers
    }
}
