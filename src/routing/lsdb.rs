//! Link-state database: the newest advertisement of every router of the area.
//!
//! **Mechanism.** There is one entry for each router, by its pseudonym. Of two advertisements of a router, the later
//! one is kept. These decide, in this order: the later epoch of the credential, the higher sequence number, the greater
//! credential hash, the greater bytes. The last two decide only if a router has sent two advertisements under one
//! number, as after a restart: all databases then keep the same one until the router, which receives it too, moves past
//! that number.
//!
//! An entry is kept until its credential expires; a router refreshes it by taking its next credential. When a link
//! comes up, both ends compare digests, which name credentials by hash. A hash that has been replaced here is
//! remembered until its credential expires, so that a neighbour which still has the old advertisement is sent the new
//! one and is not asked.
//!
//! The content of the advertisements can be queried in three forms: as a [`Graph`](super::graph::Graph), by the handle
//! of a leaf, and by the tag of a group or service. A leaf is no node of the graph; what its routers' links to it are worth is
//! told by [`Lsdb::access`]. A router that is leaving has no links, leaves, groups or services.
//!
//! Invariants
//! 1. An entry never gives way to an earlier one; the same set of advertisements, in any order, gives the same
//!    database.
//! 2. There are at most [`MAX_ROUTERS`] routers that are not leaving, and as many in all again, all of the own area,
//!    and only well-formed advertisements. The own entry always has a place. Drop policy: a router that has no place
//!    yet is refused when there is none. A router that is leaving takes no place, so an area whose routers continue
//!    under new pseudonyms does not count twice.
//! 3. A handle, which identifies a device in one epoch, belongs to one router. If several routers have credentials with
//!    the same handle, which only a dishonest issuer makes, the router with the least pseudonym has it; in the own
//!    database, the own entry.
//! 4. The generation grows whenever an answer about content may have changed, and not when a router merely repeats
//!    itself under a higher number.

mod access;
mod credentials;
mod index;
mod joined;
mod lost;
#[cfg(test)]
mod tests;
mod well_formed;

pub use joined::OwnLink;
pub use well_formed::Flaw;

use crate::id::{CredentialHash, CredentialPrefix, Handle, Pseudonym, Tag};
use crate::identity::credential::{PeerCredential, acceptance, epoch_length};
use crate::identity::kdf;
use crate::time::{Now, Time, Unix};
use crate::wire::credential::Credential;
use crate::wire::lsa::{Lsa, LsaKey, MAX_ENTRIES};
use core::cmp::Ordering;
use credentials::Credentials;
use index::Index;
use lost::says_the_same;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most routers of an area. Drop policy: a router that is not yet known is refused.
pub const MAX_ROUTERS: usize = 1_024;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Lsdb {
    own: Pseudonym,
    /// The pseudonym of this node before it took this one.
    former: Option<Pseudonym>,
    area: u32,
    entries: BTreeMap<Pseudonym, Entry>,
    credentials: Credentials,
    index: Index,
    /// When the first credential expires, at the earliest.
    first_end: Option<Unix>,
    generation: u64,
    refused: Refused,
}

/// The latest advertisement of a router.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The router.
    pub router: Pseudonym,
    /// The router's handle.
    pub handle: Handle,
    /// When the epoch of its credential begins.
    pub since: Unix,
    /// When its credential expires.
    pub until: Unix,
    /// When the advertisement arrived.
    pub arrived: Time,
    /// The body of the advertisement.
    pub lsa: Lsa,
    /// The advertisement in its wire form.
    pub signed: Arc<[u8]>,
}

/// What became of an advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is now the entry of its router, and is to be sent to all other neighbours.
    Newer,
    /// It was already known.
    Same,
    /// A later one is known, given here: it is to be sent back to the neighbour that sent the older one.
    Older(Arc<[u8]>),
    /// There is no place for another router.
    Full,
    /// Another router has its handle.
    SecondOfHandle,
    /// It belongs to another area.
    OtherArea,
    /// This node has sent it under this sequence number before a restart; the node has to move past that number. The
    /// database is unchanged.
    OwnAhead(u64),
    /// Its credential has expired, or has no valid epoch.
    Expired,
    /// It is not well-formed.
    Malformed(Flaw),
}

/// The number of refused advertisements, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// There was no place.
    pub full: u64,
    /// Another router has the handle.
    pub second_of_handle: u64,
    /// The advertisement belonged to another area.
    pub other_area: u64,
    /// The credential had expired.
    pub expired: u64,
    /// The advertisement was not well-formed.
    pub malformed: u64,
}

impl Lsdb {
    /// Creates an empty database of area 0, for the node with this pseudonym.
    pub fn new(own: Pseudonym) -> Self {
        Self::of_area(own, 0)
    }

    /// Creates an empty database of an area.
    pub fn of_area(own: Pseudonym, area: u32) -> Self {
        Self {
            own,
            former: None,
            area,
            entries: BTreeMap::new(),
            credentials: Credentials::default(),
            index: Index::default(),
            first_end: None,
            generation: 0,
            refused: Refused::default(),
        }
    }

    /// Continues as the database of the same node under another pseudonym. What the node advertised under the one before
    /// remains as the entry of a router that is in no graph here.
    pub fn take_pseudonym(&mut self, own: Pseudonym) {
        self.former = Some(core::mem::replace(&mut self.own, own));
        self.generation += 1;
    }

    /// Takes an advertisement from another node. The caller has verified the credential, and that the credential's key
    /// has signed `signed`, of which `lsa` is the body.
    pub fn insert(&mut self, origin: &PeerCredential, lsa: Lsa, signed: Arc<[u8]>, now: Now) -> Inserted {
        let entry = match self.screen(origin.hash, &origin.body, lsa, signed, now) {
            Ok(entry) => entry,
            Err(refused) => return refused,
        };
        if entry.router == self.own {
            match self.entries.get(&entry.router) {
                None => return Inserted::OwnAhead(entry.lsa.sequence),
                Some(known) if known.since == entry.since && entry.rank() > known.rank() => {
                    return Inserted::OwnAhead(entry.lsa.sequence);
                }
                Some(_) => {}
            }
        }
        self.put(entry)
    }

    /// Takes the advertisement that this node is about to send. [`Inserted::OwnAhead`] means that a later one is known,
    /// which this node sent before a restart.
    pub fn tell(
        &mut self,
        hash: CredentialHash,
        credential: &Credential,
        lsa: Lsa,
        signed: Arc<[u8]>,
        now: Now,
    ) -> Inserted {
        let entry = match self.screen(hash, credential, lsa, signed, now) {
            Ok(entry) => entry,
            Err(refused) => return refused,
        };
        match self.entries.get(&entry.router) {
            Some(known) if known.since == entry.since && known.rank() > entry.rank() => {
                Inserted::OwnAhead(known.lsa.sequence)
            }
            _ => self.put(entry),
        }
    }

    /// The keys of all entries by credential and sequence number, ascending; there are few enough for one frame.
    pub fn digest(&self) -> Vec<LsaKey> {
        let key = |entry: &Entry| LsaKey { origin: entry.lsa.origin, sequence: entry.lsa.sequence };
        let mut keys: Vec<LsaKey> = self.entries.values().map(key).collect();
        keys.sort_unstable();
        keys
    }

    /// The digest in 8 bytes: the first bytes of SHA-256 over its keys, each as credential and number, big endian.
    /// Equal databases have equal summaries.
    pub fn summary(&self) -> Tag {
        let mut bytes = Vec::with_capacity(self.entries.len() * 24);
        for key in self.digest() {
            bytes.extend_from_slice(&key.origin.0);
            bytes.extend_from_slice(&key.sequence.to_be_bytes());
        }
        let mut summary = [0; Tag::LEN];
        summary.copy_from_slice(&kdf::sha256(&[&bytes])[..Tag::LEN]);
        Tag(summary)
    }

    /// The keys of a neighbour's digest that are to be requested: those with a higher number than here, and those whose
    /// credential is not known here, since it may be a router's next one.
    pub fn newer(&self, digest: &[LsaKey]) -> Vec<LsaKey> {
        let newer = |key: &&LsaKey| match self.get(&key.origin) {
            Some(entry) => key.sequence > entry.lsa.sequence,
            None => !self.has_replaced(&key.origin),
        };
        digest.iter().take(MAX_ENTRIES).filter(newer).cloned().collect()
    }

    /// The requested advertisements that are in this database, in their wire form.
    pub fn answer(&self, origins: &[CredentialHash]) -> Vec<Arc<[u8]>> {
        let known = origins.iter().take(MAX_ENTRIES).filter_map(|origin| self.get(origin));
        known.map(|entry| entry.signed.clone()).collect()
    }

    /// The entry under a credential.
    pub fn get(&self, origin: &CredentialHash) -> Option<&Entry> {
        let entry = self.entries.get(&self.credentials.router_of(origin)?)?;
        (entry.lsa.origin == *origin).then_some(entry)
    }

    /// The advertisement that is kept in place of an older one that claims this origin, whoever made the older one;
    /// `None` if the given one is not older.
    pub fn later_than(&self, origin: &CredentialHash, sequence: u64, signed: &[u8]) -> Option<&Arc<[u8]>> {
        let (router, since) = self.credentials.router_since(origin)?;
        let entry = self.entries.get(&router)?;
        (entry.rank() > (since, sequence, *origin, signed)).then_some(&entry.signed)
    }

    /// The key of the latest advertisement of the router with this credential, whichever credential it is now under.
    pub fn latest_of(&self, credential: &CredentialHash) -> Option<LsaKey> {
        let lsa = &self.entries.get(&self.credentials.router_of(credential)?)?.lsa;
        Some(LsaKey { origin: lsa.origin, sequence: lsa.sequence })
    }

    /// A router's entry.
    pub fn entry(&self, router: &Pseudonym) -> Option<&Entry> {
        self.entries.get(router)
    }

    /// All entries, ascending by router.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Removes the entries whose credentials have expired; returns their routers.
    pub fn expire(&mut self, now: Unix) -> Vec<Pseudonym> {
        if self.first_end.is_none_or(|end| end >= now) {
            return Vec::new();
        }
        if self.credentials.expire(now) {
            self.generation += 1;
        }
        let over = self.entries.values().filter(|entry| entry.until < now);
        let gone: Vec<Pseudonym> = over.map(|entry| entry.router).collect();
        for router in &gone {
            if let Some(entry) = self.entries.remove(router) {
                self.index.remove(&entry);
                self.generation += 1;
            }
        }
        self.first_end = self.credentials.first_end().into_iter().chain(self.next_expiry()).min();
        gone
    }

    /// Forgets a router that is one no more, and its credentials.
    pub fn forget(&mut self, router: &Pseudonym) {
        if let Some(entry) = self.entries.remove(router) {
            self.index.remove(&entry);
            self.generation += 1;
        }
        if self.credentials.forget_router(router) {
            self.generation += 1;
        }
    }

    /// After which time [`expire`](Self::expire) may have something to do, or `None` if there is nothing to expire.
    pub fn first_end(&self) -> Option<Unix> {
        self.first_end
    }

    /// When the next entry ends.
    pub fn next_expiry(&self) -> Option<Unix> {
        self.entries.values().map(|entry| entry.until).min()
    }

    /// The number of routers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The node's own area.
    pub fn area(&self) -> u32 {
        self.area
    }

    /// A number that grows when the graph, or an answer about leaves, groups or services, may have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Notes that a credential that advertisements use to name a router has been resolved elsewhere: see
    /// [`Self::graph`].
    pub fn note_resolved(&mut self) {
        self.generation += 1;
    }

    /// The numbers of refused advertisements.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// The router with a credential, which may be that of its entry or one that it has replaced.
    pub fn router_of(&self, credential: &CredentialHash) -> Option<Pseudonym> {
        self.credentials.router_of(credential)
    }

    /// The routers with credentials that begin with this prefix, as in [`Self::router_of`]; a router may come twice.
    pub fn routers_under(&self, prefix: &CredentialPrefix) -> impl Iterator<Item = Pseudonym> {
        self.credentials.routers_under(prefix)
    }

    /// The router that itself has a handle, in an epoch whose credential has not expired.
    pub fn router_with(&self, handle: &Handle) -> Option<Pseudonym> {
        self.credentials.router_with(handle)
    }

    /// Whether a router has advertised links to this node, and to no other.
    pub fn hangs_on_this(&self, router: &Pseudonym) -> bool {
        let Some(links) = self.entry(router).map(|entry| &entry.lsa.links) else { return false };
        !links.is_empty() && links.iter().all(|link| self.router_of(&link.to) == Some(self.own))
    }

    /// The routers that a leaf is attached to, ascending.
    pub fn routers_of_leaf(&self, leaf: &Handle) -> Vec<Pseudonym> {
        self.index.routers_of_leaf(leaf)
    }

    /// The routers that are members of a group, or have leaves that are, ascending.
    pub fn members_of(&self, group: &Tag) -> Vec<Pseudonym> {
        self.index.members_of(group)
    }

    /// The groups that have members in the area, ascending.
    pub fn groups(&self) -> Vec<Tag> {
        self.index.groups()
    }

    /// The routers with links into other areas, ascending.
    pub fn borders(&self) -> Vec<Pseudonym> {
        let borders = self.entries.values().filter(|entry| !entry.lsa.borders.is_empty() && !entry.lsa.leaving);
        borders.map(|entry| entry.router).collect()
    }

    /// The routers that offer a service, or have leaves that do, ascending.
    pub fn offering(&self, service: &Tag) -> Vec<Pseudonym> {
        self.index.offering(service)
    }

    /// Makes the entry of an advertisement, if it is acceptable at all.
    fn screen(
        &mut self,
        hash: CredentialHash,
        credential: &Credential,
        lsa: Lsa,
        signed: Arc<[u8]>,
        now: Now,
    ) -> Result<Entry, Inserted> {
        if let Err(flaw) = well_formed::check(&lsa, hash, signed.len()) {
            self.refused.malformed += 1;
            return Err(Inserted::Malformed(flaw));
        }
        if lsa.area != self.area {
            self.refused.other_area += 1;
            return Err(Inserted::OtherArea);
        }
        let times = epoch_length(credential).zip(acceptance(credential));
        match times {
            Some((length, (_, until))) if until >= now.unix => Ok(Entry {
                router: credential.key,
                handle: credential.handle,
                since: length.start(credential.epoch),
                until,
                arrived: now.time,
                lsa,
                signed,
            }),
            _ => {
                self.refused.expired += 1;
                Err(Inserted::Expired)
            }
        }
    }

    fn put(&mut self, entry: Entry) -> Inserted {
        let known = self.entries.get(&entry.router);
        if entry.router != self.own && !self.has_place(known, entry.lsa.leaving) {
            self.refused.full += 1;
            return Inserted::Full;
        }
        let rivals = self.credentials.routers_with(&entry.handle).filter(|router| *router != entry.router);
        let rivals: Vec<Pseudonym> = rivals.collect();
        let has_it = |rival: &Pseudonym| *rival == self.own || (entry.router != self.own && *rival < entry.router);
        if rivals.iter().any(has_it) {
            self.refused.second_of_handle += 1;
            return Inserted::SecondOfHandle;
        }
        for rival in rivals {
            if self.entries.get(&rival).is_some_and(|second| second.handle == entry.handle)
                && let Some(second) = self.entries.remove(&rival)
            {
                self.index.remove(&second);
                self.refused.second_of_handle += 1;
                self.generation += 1;
            }
        }
        let known = self.entries.get(&entry.router);
        self.first_end = Some(self.first_end.map_or(entry.until, |end| end.min(entry.until)));
        // A link to a credential that was not known before may count now.
        if self.credentials.learn(&entry) {
            self.generation += 1;
        }
        match known.map(|known| (entry.rank().cmp(&known.rank()), known)) {
            Some((Ordering::Equal, _)) => return Inserted::Same,
            Some((Ordering::Less, known)) => return Inserted::Older(known.signed.clone()),
            Some((Ordering::Greater, known)) => {
                if !says_the_same(&known.lsa, &entry.lsa) {
                    self.generation += 1;
                }
                self.index.replace(known, &entry);
            }
            None => {
                self.generation += 1;
                self.index.add(&entry);
            }
        }
        self.entries.insert(entry.router, entry);
        Inserted::Newer
    }

    /// Whether a credential is known and its router has an entry, which is then under another credential.
    fn has_replaced(&self, credential: &CredentialHash) -> bool {
        self.credentials.router_of(credential).is_some_and(|router| self.entries.contains_key(&router))
    }

    /// Whether there is a place for a router's advertisement, given its known entry. The own entry always has a place.
    fn has_place(&self, known: Option<&Entry>, leaving: bool) -> bool {
        let others = self.entries.len() - usize::from(self.entries.contains_key(&self.own));
        if known.is_none() && others >= MAX_ENTRIES - 1 {
            return false;
        }
        let takes_one = !leaving && known.is_none_or(|known| known.lsa.leaving);
        let stay = |entry: &&Entry| !entry.lsa.leaving && entry.router != self.own;
        !takes_one || others < MAX_ROUTERS - 1 || self.entries.values().filter(stay).count() < MAX_ROUTERS - 1
    }
}

impl Entry {
    /// The order of a router's advertisements: the greatest is the latest.
    fn rank(&self) -> (Unix, u64, CredentialHash, &[u8]) {
        (self.since, self.lsa.sequence, self.lsa.origin, &self.signed)
    }
}
