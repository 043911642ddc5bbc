//! Credentials: which router has a credential, and which a handle: those of the entries, and those that they have
//! replaced.

use super::{Entry, MAX_ROUTERS};
use crate::id::{CredentialHash, CredentialPrefix, Handle, Pseudonym};
use crate::time::Unix;
use std::collections::{BTreeMap, BTreeSet};

/// The most credentials known. Drop policy: the known credential that expires first is forgotten.
const MAX_CREDENTIALS: usize = 3 * MAX_ROUTERS;

/// The known credentials that have not expired.
#[derive(Clone, Debug, Default)]
pub(super) struct Credentials {
    known: BTreeMap<CredentialHash, Known>,
    by_handle: BTreeSet<(Handle, CredentialHash)>,
}

#[derive(Clone, Debug)]
struct Known {
    router: Pseudonym,
    handle: Handle,
    since: Unix,
    until: Unix,
}

impl Credentials {
    /// Takes an advertisement's credential; returns whether it is new.
    pub(super) fn learn(&mut self, entry: &Entry) -> bool {
        let hash = entry.lsa.origin;
        if self.known.contains_key(&hash) {
            return false;
        }
        if self.known.len() >= MAX_CREDENTIALS {
            let first = self.known.iter().min_by_key(|(_, known)| known.until).map(|(hash, _)| *hash);
            self.forget(first);
        }
        let Entry { router, handle, since, until, .. } = *entry;
        self.known.insert(hash, Known { router, handle, since, until });
        self.by_handle.insert((entry.handle, hash));
        true
    }

    /// Forgets the expired credentials; returns whether there were any.
    pub(super) fn expire(&mut self, now: Unix) -> bool {
        let over = self.known.iter().filter(|(_, known)| known.until < now);
        let over: Vec<CredentialHash> = over.map(|(hash, _)| *hash).collect();
        let any = !over.is_empty();
        for hash in over {
            self.forget(Some(hash));
        }
        any
    }

    /// Forgets those of a router; answers whether there were any.
    pub(super) fn forget_router(&mut self, router: &Pseudonym) -> bool {
        let of_it = self.known.iter().filter(|(_, known)| known.router == *router);
        let of_it: Vec<CredentialHash> = of_it.map(|(hash, _)| *hash).collect();
        let any = !of_it.is_empty();
        of_it.into_iter().for_each(|hash| self.forget(Some(hash)));
        any
    }

    pub(super) fn first_end(&self) -> Option<Unix> {
        self.known.values().map(|known| known.until).min()
    }

    pub(super) fn router_of(&self, hash: &CredentialHash) -> Option<Pseudonym> {
        self.known.get(hash).map(|known| known.router)
    }

    /// The routers with a credential that begins with this prefix.
    pub(super) fn routers_under(&self, prefix: &CredentialPrefix) -> impl Iterator<Item = Pseudonym> {
        self.known.range(prefix.hashes()).map(|(_, known)| known.router)
    }

    /// The router with a credential, and when the credential's epoch begins.
    pub(super) fn router_since(&self, hash: &CredentialHash) -> Option<(Pseudonym, Unix)> {
        self.known.get(hash).map(|known| (known.router, known.since))
    }

    pub(super) fn router_with(&self, handle: &Handle) -> Option<Pseudonym> {
        self.routers_with(handle).next()
    }

    /// The routers whose credentials have a handle: more than one only if an issuer is dishonest.
    pub(super) fn routers_with(&self, handle: &Handle) -> impl Iterator<Item = Pseudonym> {
        let all = (*handle, CredentialHash([0; 16]))..=(*handle, CredentialHash([0xff; 16]));
        self.by_handle.range(all).filter_map(|(_, hash)| self.router_of(hash))
    }

    fn forget(&mut self, hash: Option<CredentialHash>) {
        if let Some((hash, known)) = hash.and_then(|hash| self.known.remove_entry(&hash)) {
            self.by_handle.remove(&(known.handle, hash));
        }
    }
}
