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
            let mut keys = entry.before.iter().map(|former| &former.key).chain([&entry.key]);
            if keys.any(|key| known.names(key)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AgreementKey, DeviceId, Pseudonym};
    use crate::time::{EpochLength, Unix};
    use crate::wire::contact::ContactCard;
    use zeroize::Zeroizing;

    fn chain(device: u8, day: u32) -> DayKey {
        DayKey::first(&Zeroizing::new([1; 32]), DeviceId([device; 16]), 0).at(Day(day)).expect("a later day")
    }

    fn card(name: &str, device: u8, day: u32) -> ContactCard {
        ContactCard {
            name: Name::new(name).expect("a name"),
            device: DeviceId([device; 16]),
            generation: 0,
            day: Day(day),
            resolution_key: **chain(device, day).key(),
            contact_key: AgreementKey([device; 32]),
            epoch_length: EpochLength::HOUR,
            signer: Pseudonym([device; 32]),
            prekey: None,
        }
    }

    fn revocation(device: u8, day: u32) -> Revocation {
        let resolution_key = **chain(device, day).key();
        Revocation { day: Day(day), resolution_key, epoch_length: EpochLength::HOUR, until: u64::MAX }
    }

    /// Invariant 7 of `identity::contact`: whatever the day of the card, and of the revocation.
    #[test]
    fn a_revoked_contact_stays_so_until_another_device_has_its_name() {
        let name = Name::new("a").expect("a name");
        for (of_card, of_revocation, seen) in [(2, 5, 3), (5, 2, 5), (2, 2, 9), (0, 5, 9)] {
            let mut book = ContactBook::new(0);
            book.insert(card("a", 1, of_card));
            book.insert(card("b", 2, of_card));
            // The key at hand is that of the day that was looked at last.
            book.handle_of(&name, Unix::from_seconds(seen * 86_400 + 10));
            book.heed(&[revocation(3, of_revocation), revocation(1, of_revocation)]);
            assert_eq!(book.take_changes(), [(name.clone(), Change::Revoked)]);
            book.heed(&[revocation(1, of_revocation)]);
            assert!(book.take_changes().is_empty(), "it is told once");
            assert_eq!(book.revoked().collect::<Vec<_>>(), [&name]);
            // Neither its card in another day nor a restart brings it back.
            book.insert(card("a", 1, 0));
            let mut again = ContactBook::new(0);
            book.to_stored().into_iter().for_each(|stored| again.load(stored));
            assert!(again.is_revoked(&name));
            again.insert(card("a", 4, of_card));
            assert!(!again.is_revoked(&name));
        }
    }
}
