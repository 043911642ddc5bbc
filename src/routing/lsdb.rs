//! Link-state database: the newest advertisement of every router of the area.
//!
//! **Mechanism.** There is one entry for each router, by its pseudonym, and of two advertisements the later stands. Later
//! is, in this order: the later epoch of the credential, the higher sequence number, the greater credential hash, the
//! greater bytes. The last two decide only where a router has told two things under one number, as after a restart: all
//! databases then keep the same one until the router, to which it comes back, goes past it.
//!
//! An entry stands until its credential is accepted no more; a router refreshes by taking its next credential. When a link
//! comes up both ends compare digests, which name credentials by hash: a hash that has been replaced here is remembered
//! while its credential is accepted, so that a neighbour which still has the old one is told rather than asked.
//!
//! What an advertisement says can be asked for in three ways: as a [`Graph`](super::graph::Graph), by the handle of a
//! leaf, and by the tag of a group or service. A router that is leaving has no links, leaves, groups or services.
//!
//! Invariants
//! 1. An entry never gives way to an earlier one; the same set of advertisements, in any order, gives the same database.
//! 2. At most [`MAX_ROUTERS`] routers that are not leaving, and as many in all again, all of the own area, and only
//!    well-formed advertisements. The own entry always has a place. Drop policy: a router that has no place yet is refused
//!    when there is none. One that has left takes no place: so an area whose routers go on under new pseudonyms does not
//!    count twice.
//! 3. A handle, which is a device in one epoch, has one place. Of routers whose credentials have the same handle, which an
//!    issuer makes only if it lies, the one with the least pseudonym has it; in the own database the own entry.
//! 4. The generation grows whenever an answer to a question about content may have changed, and not when a router merely
//!    repeats itself under a higher number.

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
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most routers of an area. Drop policy: one that is not yet known is refused.
pub const MAX_ROUTERS: usize = 1_024;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Lsdb {
    own: Pseudonym,
    area: u32,
    entries: BTreeMap<Pseudonym, Entry>,
    credentials: Credentials,
    index: Index,
    /// When the first credential ends, at the earliest.
    first_end: Option<Unix>,
    generation: u64,
    refused: Refused,
}

/// What one router has told last.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The router.
    pub router: Pseudonym,
    /// Its handle.
    pub handle: Handle,
    /// When the epoch of its credential begins.
    pub since: Unix,
    /// Until when its credential is accepted.
    pub until: Unix,
    /// When it came.
    pub arrived: Time,
    /// What it says.
    pub lsa: Lsa,
    /// As it travels.
    pub signed: Arc<[u8]>,
}

/// What became of an advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It stands now: it goes to all other neighbours.
    Newer,
    /// It was known.
    Same,
    /// A later one is known, this: it goes back to the neighbour that sent the other.
    Older(Arc<[u8]>),
    /// No place for a router more.
    Full,
    /// Another router has its handle.
    SecondOfHandle,
    /// It is of another area.
    OtherArea,
    /// This node has told it, before it was started anew, under this sequence number: it has to go past it. The
    /// database keeps what it has.
    OwnAhead(u64),
    /// Its credential is accepted no more, or has no epoch.
    Expired,
    /// It is not well-formed.
    Malformed(Flaw),
}

/// How many advertisements were refused, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// No place.
    pub full: u64,
    /// Of a handle that another router has.
    pub second_of_handle: u64,
    /// Of another area.
    pub other_area: u64,
    /// Under a credential that is accepted no more.
    pub expired: u64,
    /// Not well-formed.
    pub malformed: u64,
}

impl Lsdb {
    /// An empty database of area 0, of the node with this pseudonym.
    pub fn new(own: Pseudonym) -> Self {
        Self::of_area(own, 0)
    }

    /// An empty database of an area.
    pub fn of_area(own: Pseudonym, area: u32) -> Self {
        Self {
            own,
            area,
            entries: BTreeMap::new(),
            credentials: Credentials::default(),
            index: Index::default(),
            first_end: None,
            generation: 0,
            refused: Refused::default(),
        }
    }

    /// Takes an advertisement that came from elsewhere. The caller has verified the credential, and that the credential's
    /// key has signed `signed`, of which `lsa` is the body.
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

    /// Takes the advertisement that this node is about to tell. [`Inserted::OwnAhead`] says that a later one is known,
    /// which this node told before it was started anew.
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

    /// All entries by credential and sequence number, ascending: at most [`MAX_ROUTERS`], so one frame.
    pub fn digest(&self) -> Vec<LsaKey> {
        let key = |entry: &Entry| LsaKey { origin: entry.lsa.origin, sequence: entry.lsa.sequence };
        let mut keys: Vec<LsaKey> = self.entries.values().map(key).collect();
        keys.sort_unstable();
        keys
    }

    /// The digest in 8 bytes: the first of SHA-256 over its keys, each as credential and number, big endian. Equal
    /// databases have equal summaries.
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

    /// What of a neighbour's digest is to be asked for: what has a higher number there, and what has a credential that is
    /// not known here, as it may be a router's next.
    pub fn newer(&self, digest: &[LsaKey]) -> Vec<LsaKey> {
        let newer = |key: &&LsaKey| match self.get(&key.origin) {
            Some(entry) => key.sequence > entry.lsa.sequence,
            None => !self.has_replaced(&key.origin),
        };
        digest.iter().take(MAX_ENTRIES).filter(newer).cloned().collect()
    }

    /// What a neighbour asks for, as far as it is here.
    pub fn answer(&self, origins: &[CredentialHash]) -> Vec<Arc<[u8]>> {
        let known = origins.iter().take(MAX_ENTRIES).filter_map(|origin| self.get(origin));
        known.map(|entry| entry.signed.clone()).collect()
    }

    /// The entry under a credential.
    pub fn get(&self, origin: &CredentialHash) -> Option<&Entry> {
        let entry = self.entries.get(&self.credentials.router_of(origin)?)?;
        (entry.lsa.origin == *origin).then_some(entry)
    }

    /// What stands in place of an advertisement that claims to be of this origin and is older, whoever made it.
    pub fn later_than(&self, origin: &CredentialHash, sequence: u64, signed: &[u8]) -> Option<&Arc<[u8]>> {
        let (router, since) = self.credentials.router_since(origin)?;
        let entry = self.entries.get(&router)?;
        (entry.rank() > (since, sequence, *origin, signed)).then_some(&entry.signed)
    }

    /// The number of what stands of the router with a credential, under whichever it stands now.
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

    /// Forgets what stands under credentials that are accepted no more; answers which routers are gone.
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

    /// How many routers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none has told anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The own area.
    pub fn area(&self) -> u32 {
        self.area
    }

    /// Grows when the graph, or an answer about leaves, groups or services, may have changed.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// A credential by which an advertisement names a router has come to be known elsewhere: see [`Self::graph`].
    pub fn note_resolved(&mut self) {
        self.generation += 1;
    }

    /// How many advertisements were refused.
    pub fn refused(&self) -> Refused {
        self.refused
    }

    /// The router with a credential, be it the one of its entry or one that it has replaced.
    pub fn router_of(&self, credential: &CredentialHash) -> Option<Pseudonym> {
        self.credentials.router_of(credential)
    }

    /// Routers with credentials that begin like that, as [`Self::router_of`] knows them; one may come twice.
    pub fn routers_under(&self, prefix: &CredentialPrefix) -> impl Iterator<Item = Pseudonym> {
        self.credentials.routers_under(prefix)
    }

    /// The router that has a handle itself, in an epoch whose credential is accepted.
    pub fn router_with(&self, handle: &Handle) -> Option<Pseudonym> {
        self.credentials.router_with(handle)
    }

    /// Whether a router has told of links to this node, and of none to another.
    pub fn hangs_on_this(&self, router: &Pseudonym) -> bool {
        let Some(links) = self.entry(router).map(|entry| &entry.lsa.links) else { return false };
        !links.is_empty() && links.iter().all(|link| self.router_of(&link.to) == Some(self.own))
    }

    /// Routers that a leaf is attached to, ascending.
    pub fn routers_of_leaf(&self, leaf: &Handle) -> Vec<Pseudonym> {
        self.index.routers_of_leaf(leaf)
    }

    /// Routers that are members of a group, or have leaves that are, ascending.
    pub fn members_of(&self, group: &Tag) -> Vec<Pseudonym> {
        self.index.members_of(group)
    }

    /// Groups that a router has members of, ascending.
    pub fn groups(&self) -> Vec<Tag> {
        self.index.groups()
    }

    /// Routers with links into other areas, ascending.
    pub fn borders(&self) -> Vec<Pseudonym> {
        let borders = self.entries.values().filter(|entry| !entry.lsa.borders.is_empty() && !entry.lsa.leaving);
        borders.map(|entry| entry.router).collect()
    }

    /// Routers that offer a service, or have leaves that do, ascending.
    pub fn offering(&self, service: &Tag) -> Vec<Pseudonym> {
        self.index.offering(service)
    }

    /// The entry that an advertisement would make, if it may be one at all.
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
        // A link to a credential that was not known may count now.
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

    /// Whether a credential is known and its router has told something later under another.
    fn has_replaced(&self, credential: &CredentialHash) -> bool {
        self.credentials.router_of(credential).is_some_and(|router| self.entries.contains_key(&router))
    }

    /// Whether there is a place for what a router tells, of which so much is known. The own entry has one of its own.
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
    /// Which of a router's advertisements is the later one.
    fn rank(&self) -> (Unix, u64, CredentialHash, &[u8]) {
        (self.since, self.lsa.sequence, self.lsa.origin, &self.signed)
    }
}

/// Whether two advertisements differ in their numbers at most.
fn says_the_same(one: &Lsa, other: &Lsa) -> bool {
    let Lsa { origin: _, sequence: _, area, leaving, links, leaves, groups, services, borders } = one;
    *area == other.area
        && *leaving == other.leaving
        && *links == other.links
        && *leaves == other.leaves
        && *groups == other.groups
        && *borders == other.borders
        && *services == other.services
}
