//! Onlooker: a record of what could be seen of each pseudonym, for `linkage`.
//!
//! It is told of networks, connections, pieces of streams and frames, as the capture and the witness are, and changes
//! nothing. A connection belongs to the pseudonyms of its two networks: a node dials from the port at which it listens,
//! so that whoever sees both ports, and asks the listening one for its PeerId, knows both. Traffic is counted only in the
//! part of an epoch in which no pseudonym changes. A run without an onlooker pays nothing for it.
//!
//! Bounds: an entry for each pair of pseudonyms that were linked and for each pseudonym and device that received its
//! frames; hashes of advertisements that are known are forgotten all at once when there are too many.

use super::device::Device;
use super::medium::{NANOS, now};
use super::witness::Going;
use crate::linkage::observed::{Advert, Alias, Carried, Id, LinkSeen, Observed, Seen, Span, Traffic};
use crate::plan::Plan;
use libp2p::PeerId;
use m2mesh::id::{CredentialHash, Handle};
use m2mesh::identity::membership::Membership;
use m2mesh::link::estimate::PRIOR_DELAY;
use m2mesh::net::{self, Multiaddr};
use m2mesh::time::Unix;
use m2mesh::wire::announce::Announce;
use m2mesh::wire::data::DataFrame;
use m2mesh::wire::frame::Kind;
use m2mesh::wire::group::GroupFrame;
use m2mesh::wire::lsa::Lsa;
use m2mesh::wire::{self, Signed};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The place in which a run leaves what its onlooker has recorded.
pub type Sink = Arc<Mutex<Option<Observed>>>;

/// An onlooker: see the module's documentation.
pub struct Onlooker {
    observed: Observed,
    start: Unix,
    /// The seconds after the beginning of an epoch in which pseudonyms change.
    unsettled_s: f64,
    by_peer: BTreeMap<PeerId, Id>,
    by_hash: BTreeMap<CredentialHash, Id>,
    by_handle: BTreeMap<Handle, Id>,
    /// By device, the alias under which it takes new connections.
    present: BTreeMap<usize, Id>,
    /// By connection, the index of its link.
    connections: BTreeMap<u64, (usize, bool)>,
    links: BTreeMap<(Id, Id, usize), usize>,
    carried: BTreeMap<(Id, usize, bool), usize>,
    known: BTreeSet<u64>,
}

impl Onlooker {
    /// Returns an onlooker that has seen nothing.
    pub fn new(plan: &Plan) -> Self {
        let epoch_s = plan.epoch.seconds() as f64;
        let whole = plan.warmup + plan.duration + plan.settle;
        let observed = Observed {
            scenario: plan.name.clone(),
            seed: plan.seed,
            epoch_s,
            epochs: (whole.as_secs_f64() / epoch_s).ceil() as usize,
            devices: plan.devices.iter().map(|device| Seen { router: device.forwarding, area: device.area }).collect(),
            ..Observed::default()
        };
        Self {
            observed,
            start: plan.start,
            unsettled_s: plan.epoch.skew().as_secs_f64() / 2.0 + SETTLED_AFTER,
            by_peer: BTreeMap::new(),
            by_hash: BTreeMap::new(),
            by_handle: BTreeMap::new(),
            present: BTreeMap::new(),
            connections: BTreeMap::new(),
            links: BTreeMap::new(),
            carried: BTreeMap::new(),
            known: BTreeSet::new(),
        }
    }

    /// Notes the pseudonyms, handles and credentials of a device.
    pub fn note_membership(&mut self, device: usize, membership: &Membership) {
        let (mut at, until, length) = (membership.valid_from(), membership.valid_until(), membership.epoch_length());
        let first = length.epoch_at(self.start).0;
        while at < until {
            if let Some(own) = membership.credential(at) {
                let id = self.observed.aliases.len() as Id;
                let key = own.body.key;
                let known = self.by_hash.get(&own.hash).copied();
                let id = known.unwrap_or(id);
                if known.is_none() {
                    let epoch = usize::try_from(length.epoch_at(at).0.saturating_sub(first)).unwrap_or(usize::MAX);
                    let mark = key.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
                    self.observed.aliases.push(Alias { device, epoch, mark });
                }
                self.by_hash.insert(own.hash, id);
                self.by_handle.insert(own.body.handle, id);
                self.by_peer.extend(net::peer_id(&key).map(|peer| (peer, id)));
            }
            at = at + Duration::from_secs(length.seconds());
        }
    }

    /// Notes for each device which contacts it can follow by their cards alone, through all epochs of the run.
    pub fn note_contacts(&mut self, devices: &[Device], plan: &Plan) -> Result<(), String> {
        let names: BTreeMap<_, _> =
            plan.devices.iter().enumerate().map(|(index, device)| (device.name.clone(), index)).collect();
        let at = |epoch: usize| self.start + Duration::from_secs(plan.epoch.seconds() * epoch as u64 + 1);
        let members: Vec<Membership> = devices.iter().map(Device::membership).collect::<Result<_, _>>()?;
        // By epoch and device.
        let handle = |member: &Membership, epoch| member.credential(at(epoch)).map(|own| own.body.handle);
        let handles: Vec<Vec<Option<Handle>>> = (0..self.observed.epochs)
            .map(|epoch| members.iter().map(|member| handle(member, epoch)).collect())
            .collect();
        let mut all = vec![Vec::new(); devices.len()];
        for (device, mut member) in members.into_iter().enumerate() {
            let cards: Vec<_> = member.contact_book().iter().map(|card| card.name.clone()).collect();
            let mut follows: BTreeMap<usize, bool> = BTreeMap::new();
            for (epoch, handles) in handles.iter().enumerate() {
                for name in &cards {
                    let Some(contact) = names.get(name) else { continue };
                    let found = member.contacts().handle_of(name, at(epoch));
                    *follows.entry(*contact).or_insert(true) &= found.is_some() && found == handles[*contact];
                }
            }
            all[device] = follows.into_iter().collect();
        }
        self.observed.contacts = all;
        Ok(())
    }

    /// Notes that a device listens under another key.
    pub fn note_network(&mut self, device: usize, peer: &PeerId) {
        if let Some(id) = self.by_peer.get(peer) {
            self.present.insert(device, *id);
        }
    }

    /// Notes a connection, by its number, dialler and listener, with the time of the first packet and the round-trip
    /// time of its set-up in nanoseconds.
    pub fn note_connection(&mut self, number: u64, peers: [&PeerId; 2], bearer: usize, began: u64, round_trip: u64) {
        let [Some(dialler), Some(listener)] = peers.map(|peer| self.by_peer.get(peer).copied()) else { return };
        let ends = [dialler.min(listener), dialler.max(listener)];
        let Self { links, observed, .. } = self;
        let round_trip = round_trip as f64 / NANOS as f64;
        let link = *links.entry((ends[0], ends[1], bearer)).or_insert_with(|| {
            let sent = [Traffic::default(), Traffic::default()];
            observed.links.push(LinkSeen { ends, bearer, span: Span::at(seconds(began)), round_trip, sent });
            observed.links.len() - 1
        });
        let seen = &mut observed.links[link];
        seen.span.reach(seconds(began));
        seen.round_trip = seen.round_trip.min(round_trip);
        self.connections.insert(number, (link, dialler != ends[0]));
    }

    /// Notes bytes that an end of a connection sends; end 0 dialled.
    pub fn note_piece(&mut self, number: u64, end: usize, length: usize) {
        let settled = self.is_settled();
        let Some((link, turned)) = self.connections.get(&number) else { return };
        let link = &mut self.observed.links[*link];
        link.span.reach(seconds(now()));
        if settled && length > 0 {
            link.sent[if *turned { 1 - end } else { end }].add(length);
        }
    }

    /// Notes a frame that a device writes to another.
    pub fn handle(&mut self, going: &Going<'_>) {
        match going.kind {
            Kind::Lsa => self.handle_lsa(going),
            Kind::Group => {
                let Ok(signed) = wire::decode::<Signed<'_>>(going.body) else { return };
                let Ok(frame) = wire::decode::<GroupFrame<'_>>(signed.body) else { return };
                let publisher = self.by_hash.get(&frame.sender).copied();
                self.note_carried(publisher, going, true);
            }
            Kind::Data => {
                let Ok(frame) = DataFrame::parse(going.body) else { return };
                let receiver = self.by_handle.get(&frame.header.to).copied();
                self.note_carried(receiver, going, false);
            }
            Kind::Announce => {
                let Ok(announce) = wire::decode::<Announce>(going.body) else { return };
                for address in announce.addresses.iter().chain(&announce.others) {
                    let address = Multiaddr::try_from(address.to_vec()).ok();
                    let Some((device, bearer)) = address.as_ref().and_then(super::medium::place) else { continue };
                    // Whoever dials the address is shown the PeerId.
                    let alias = self.present.get(&device);
                    self.observed.told.extend(alias.map(|alias| (*alias, bearer, going.to)));
                }
            }
            _ => {}
        }
    }

    fn note_carried(&mut self, alias: Option<Id>, going: &Going<'_>, published: bool) {
        let Some(alias) = alias else { return };
        if self.observed.aliases[alias as usize].device == going.to {
            return;
        }
        let (at, settled) = (seconds(now()), self.is_settled());
        let Self { carried, observed, .. } = self;
        let of = *carried.entry((alias, going.to, published)).or_insert_with(|| {
            let (by, span, traffic) = (going.to, Span::at(at), Traffic::default());
            observed.carried.push(Carried { alias, by, published, span, traffic });
            observed.carried.len() - 1
        });
        let of = &mut observed.carried[of];
        of.span.reach(at);
        if settled {
            of.traffic.add(going.length);
        }
    }

    fn handle_lsa(&mut self, going: &Going<'_>) {
        let mut hasher = DefaultHasher::new();
        going.body.hash(&mut hasher);
        if self.known.len() >= MOST_KNOWN {
            self.known.clear();
        }
        // LSAs are flooded: each is read once.
        if !self.known.insert(hasher.finish()) {
            return;
        }
        let Ok(signed) = wire::decode::<Signed<'_>>(going.body) else { return };
        let Ok(lsa) = wire::decode::<Lsa>(signed.body) else { return };
        let Some(origin) = self.by_hash.get(&lsa.origin) else { return };
        let at = seconds(now());
        let advert: &mut Advert = self.observed.adverts.entry(*origin).or_default();
        advert.span.get_or_insert(Span::at(at)).reach(at);
        for link in &lsa.links {
            let Some(to) = self.by_hash.get(&link.to) else { continue };
            let measured = (link.delay != PRIOR_DELAY).then(|| 2.0 * f64::from(link.delay) / 1e6);
            let known = advert.links.entry(*to).or_default();
            *known = measured.or(*known);
        }
        let listed = lsa.leaves.iter().filter_map(|handle| self.by_handle.get(handle).copied()).collect();
        let before = std::mem::replace(&mut advert.listed, listed);
        for leaf in before.union(&advert.listed) {
            advert.leaves.entry(*leaf).or_insert(Span::at(at)).reach(at);
        }
    }

    fn is_settled(&self) -> bool {
        seconds(now()) % self.observed.epoch_s > self.unsettled_s
    }

    /// Leaves what was recorded in a place.
    pub fn leave(self, sink: &Sink) {
        *sink.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.observed);
    }
}

fn seconds(at: u64) -> f64 {
    at.saturating_sub(NANOS) as f64 / NANOS as f64
}

/// The seconds after the last pseudonym may have begun to change, until traffic is as usual.
const SETTLED_AFTER: f64 = 15.0;
/// The number of advertisements that are known; if there are more, all are read again.
const MOST_KNOWN: usize = 65_536;
