//! Index: which routers have a leaf, a group or a service.

use super::Entry;
use crate::id::{Handle, Pseudonym, Tag};
use crate::wire::lsa::Lsa;
use std::collections::BTreeSet;

/// Sets of pairs, so that all routers of a name are adjacent.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    leaves: BTreeSet<(Handle, Pseudonym)>,
    groups: BTreeSet<(Tag, Pseudonym)>,
    services: BTreeSet<(Tag, Pseudonym)>,
}

impl Index {
    pub(super) fn add(&mut self, entry: &Entry) {
        let (router, lsa) = (entry.router, &entry.lsa);
        if lsa.leaving {
            return;
        }
        self.leaves.extend(lsa.leaves.iter().map(|leaf| (*leaf, router)));
        self.groups.extend(lsa.groups.iter().map(|group| (*group, router)));
        self.services.extend(lsa.services.iter().map(|service| (*service, router)));
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        let router = entry.router;
        for leaf in &entry.lsa.leaves {
            self.leaves.remove(&(*leaf, router));
        }
        for group in &entry.lsa.groups {
            self.groups.remove(&(*group, router));
        }
        for service in &entry.lsa.services {
            self.services.remove(&(*service, router));
        }
    }

    /// Replaces one entry of a router by another. Most often only metrics have changed.
    pub(super) fn replace(&mut self, before: &Entry, entry: &Entry) {
        let names = |lsa: &Lsa| (lsa.leaving, lsa.leaves.len(), lsa.groups.len(), lsa.services.len());
        let (old, new) = (&before.lsa, &entry.lsa);
        let same = names(old) == names(new)
            && old.leaves == new.leaves
            && old.groups == new.groups
            && old.services == new.services;
        if !same {
            self.remove(before);
            self.add(entry);
        }
    }

    pub(super) fn routers_of_leaf(&self, leaf: &Handle) -> Vec<Pseudonym> {
        of(&self.leaves, *leaf)
    }

    pub(super) fn members_of(&self, group: &Tag) -> Vec<Pseudonym> {
        of(&self.groups, *group)
    }

    pub(super) fn offering(&self, service: &Tag) -> Vec<Pseudonym> {
        of(&self.services, *service)
    }

    pub(super) fn groups(&self) -> Vec<Tag> {
        let mut groups: Vec<Tag> = self.groups.iter().map(|(group, _)| *group).collect();
        groups.dedup();
        groups
    }
}

fn of<T: Ord + Copy>(pairs: &BTreeSet<(T, Pseudonym)>, name: T) -> Vec<Pseudonym> {
    let all = (name, Pseudonym([0; 32]))..=(name, Pseudonym([0xff; 32]));
    pairs.range(all).map(|(_, router)| *router).collect()
}
