//! Contacts that the operator has cut off.
//!
//! A revocation holds a device's resolution key of a day. Whoever holds the device's card has the key of some other day of the same
//! chain, and knows the device by stepping the earlier of the two to the day of the later.

use super::{Change, ContactBook};
use crate::id::Name;
use crate::identity::handle::DayKey;
use crate::time::Day;
use crate::wire::bulletin::Revocation;
use std::collections::{BTreeMap, BTreeSet};

impl ContactBook {
    /// Takes note of revocations: contacts that they name are told among the changes, once.
    pub fn heed(&mut self, revocations: &[Revocation]) {
        if revocations.is_empty() {
            return;
        }
        let mut known = Known { revocations, stepped: BTreeMap::new() };
        let mut gone = Vec::new();
        for (name, entry) in self.entries.iter().filter(|(_, entry)| entry.changed != Some(Change::Revoked)) {
            let before = entry.before.as_ref().map(|(_, key)| key);
            if known.names(&entry.key) || before.is_some_and(|key| known.names(key)) {
                gone.push(name.clone());
            }
        }
        for name in gone {
            self.note(name, Change::Revoked);
        }
    }

    /// Whether the operator has cut a contact off.
    pub fn is_revoked(&self, name: &Name) -> bool {
        self.changed(name) == Some(Change::Revoked)
    }

    /// Contacts that the operator has cut off.
    pub fn revoked(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().filter(|(_, entry)| entry.changed == Some(Change::Revoked)).map(|(name, _)| name)
    }
}

/// The revocations, which are no secret, stepped to the days of the keys that are asked about: there are few of those.
struct Known<'a> {
    revocations: &'a [Revocation],
    stepped: BTreeMap<Day, BTreeSet<[u8; 32]>>,
}

impl Known<'_> {
    /// Whether a key is of a chain that is cut off.
    fn names(&mut self, key: &DayKey) -> bool {
        let day = key.day();
        let stepped = self.stepped.entry(day).or_insert_with(|| {
            let until_then = self.revocations.iter().filter(|revocation| revocation.day <= day);
            let at = |found: &Revocation| DayKey::of(found.day, found.resolution_key).at(day).map(|key| **key.key());
            until_then.filter_map(at).collect()
        });
        let later = |found: &Revocation| {
            found.day > day && key.at(found.day).is_some_and(|key| **key.key() == found.resolution_key)
        };
        stepped.contains(&**key.key()) || self.revocations.iter().any(later)
    }
}
