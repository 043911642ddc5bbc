//! Contacts: the cards that this device holds, and which contact a handle belongs to.
//!
//! From a card follow the handles of its device, from the card's day on. The book keeps a table of the handles of every
//! contact in the epochs before, at and after the present one, so that a clock that is off by less than an epoch does
//! no harm; the table is made anew when the first of the contacts' epochs ends. The resolution keys that this takes are
//! stepped forward from those of the last table.
//!
//! Invariants
//! 1. A handle resolves to the contact from whose card it follows, and to no other.
//! 2. Of two cards of one device the one of the newer generation is kept; within a generation the earlier day is kept,
//!    as it resolves every handle that the later one does.
//! 3. Within a generation the contact key and the key that signs prekeys are those of the first card: a card with
//!    others is not taken. Whatever changes these keys, or would change them, is a [`Change`], which is reported once
//!    and stays with the contact.
//! 4. A prekey that the card's signer has not signed is left out.
//! 5. At most [`MAX_CONTACTS`] cards; a further one is refused and counted.
//! 6. Once a newer generation of a card has come, the device is found by the handles of those before, too: it goes on under
//!    credentials that it has until it has others.
//! 7. A contact that was revoked stays so until another device has its name.

mod boxes;
mod former;
mod revoked;

use crate::id::{AgreementKey, DeviceId, Handle, Name, Pseudonym};
use crate::identity::handle::{DayKey, day_of};
use crate::identity::mail::prekey_is_signed;
use crate::time::{Epoch, Unix};
use crate::wire::contact::ContactCard;
use boxes::Boxes;
use core::cmp::Ordering;
use core::fmt;
use former::Former;
pub use former::MAX_FORMER;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The contacts of this device, with their cards.
#[derive(Clone)]
pub struct ContactBook {
    /// Unix seconds of the realm's founding.
    founded: u64,
    entries: BTreeMap<Name, Entry>,
    names: BTreeMap<DeviceId, Name>,
    table: Table,
    boxes: Boxes,
    refused: u64,
    changes: Vec<(Name, Change)>,
}

/// What an issuer has changed about a contact, or has tried to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Another device has the contact's name now.
    Device,
    /// The contact has other keys, under a new generation of its card.
    Keys,
    /// A card had other keys without a new generation, and was refused.
    Refused,
    /// The operator has cut it off.
    Revoked,
}

impl Change {
    /// The change in words, for an operator.
    pub fn text(self) -> &'static str {
        match self {
            Self::Device => "another device has this name now, with keys of its own",
            Self::Keys => "its keys have been replaced, with a new generation of its card",
            Self::Refused => "the issuer gave it other keys without a new generation; they are not taken",
            Self::Revoked => "the operator has revoked it; nothing is sent to it or taken from it",
        }
    }
}

/// A contact as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredContact {
    /// The contact's card.
    pub card: ContactCard,
    /// The last change of the contact, if there has been one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<Change>,
    /// Its cards of the generations before, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<ContactCard>,
}

#[derive(Clone)]
struct Entry {
    card: ContactCard,
    /// Those of the generations before, the latest last.
    before: Vec<Former>,
    /// The card's resolution key, stepped forward to the day of the last table.
    key: DayKey,
    /// The contact's handle in the present epoch of the last table.
    present: Option<Handle>,
    changed: Option<Change>,
}

/// The handles of all contacts, valid from `from` until `until`.
#[derive(Clone, Default)]
struct Table {
    from: Unix,
    until: Unix,
    handles: BTreeMap<Handle, Name>,
}

impl ContactBook {
    /// Makes an empty book for a realm that was founded at `founded` (unix seconds).
    pub fn new(founded: u64) -> Self {
        Self {
            founded,
            entries: BTreeMap::new(),
            names: BTreeMap::new(),
            table: Table::default(),
            boxes: Boxes::default(),
            refused: 0,
            changes: Vec::new(),
        }
    }

    /// Puts in a contact that was stored, without reporting changes.
    pub fn load(&mut self, stored: StoredContact) {
        let StoredContact { card, changed, before } = stored;
        let name = card.name.clone();
        self.insert(card);
        if let Some(entry) = self.entries.get_mut(&name) {
            (entry.changed, entry.before) = (changed, before.into_iter().map(Former::of).collect());
        }
        self.changes.clear();
    }

    /// Returns all contacts, to be stored.
    pub fn to_stored(&self) -> Vec<StoredContact> {
        let stored = |entry: &Entry| {
            let before = entry.before.iter().map(|former| former.card.clone()).collect();
            StoredContact { card: entry.card.clone(), changed: entry.changed, before }
        };
        self.entries.values().map(stored).collect()
    }

    /// Returns the changes of contacts since the last call.
    pub fn take_changes(&mut self) -> Vec<(Name, Change)> {
        core::mem::take(&mut self.changes)
    }

    /// The last change of a contact since it became one; `None` if it has not changed or is unknown.
    pub fn changed(&self, name: &Name) -> Option<Change> {
        self.entries.get(name)?.changed
    }

    /// Takes a card. Returns whether the book has changed.
    pub fn insert(&mut self, mut card: ContactCard) -> bool {
        let signer = card.signer;
        card.prekey = card.prekey.filter(|prekey| prekey_is_signed(prekey, &signer));
        let before = self.names.get(&card.device).and_then(|name| self.entries.get(name));
        let mut changed = before.and_then(|held| held.changed);
        let former = before.map_or_else(Vec::new, |held| held.before_next(&card));
        let others = before.filter(|held| keys(&held.card) != keys(&card));
        let others = others.map(|held| (held.card.name.clone(), card.generation.cmp(&held.card.generation)));
        match others {
            None => {}
            Some((_, Ordering::Less)) => return false,
            Some((name, Ordering::Equal)) => return self.note(name, Change::Refused),
            Some((_, Ordering::Greater)) => {
                changed = changed.filter(|known| *known == Change::Revoked).or(Some(Change::Keys));
                self.changes.push((card.name.clone(), Change::Keys));
            }
        }
        let card = match self.names.get(&card.device).and_then(|name| self.entries.get(name)) {
            Some(held) => match merge(&held.card, card) {
                Some(card) => card,
                None => return false,
            },
            None if self.entries.len() >= MAX_CONTACTS => {
                self.refused += 1;
                return false;
            }
            None => card,
        };
        if let Some(old_name) = self.names.insert(card.device, card.name.clone()) {
            self.entries.remove(&old_name);
        }
        let key = DayKey::of(card.day, card.resolution_key);
        // The last device to take a name has it: an operator gives a lost device's name to its replacement.
        let name = card.name.clone();
        if let Some(replaced) =
            self.entries.insert(name.clone(), Entry { card, before: former, key, present: None, changed })
        {
            self.names.remove(&replaced.card.device);
            self.note(name, Change::Device);
        }
        self.table = Table::default();
        self.boxes = Boxes::default();
        true
    }

    /// Notes a change of a contact, unless it is the contact's last one already. Returns whether it was noted.
    fn note(&mut self, name: Name, change: Change) -> bool {
        let is_news = |entry: &&mut Entry| ![Some(change), Some(Change::Revoked)].contains(&entry.changed);
        let Some(entry) = self.entries.get_mut(&name).filter(is_news) else { return false };
        entry.changed = Some(change);
        self.changes.push((name, change));
        true
    }

    /// The handle of a contact at the time `at`; `None` if the contact is unknown or its card begins later.
    pub fn handle_of(&mut self, name: &Name, at: Unix) -> Option<Handle> {
        self.refresh(at);
        self.entries.get(name)?.present
    }

    /// The handles of a contact in the epochs before, at and after the time `at`.
    pub fn handles_of(&mut self, name: &Name, at: Unix) -> impl Iterator<Item = Handle> {
        self.refresh(at);
        self.table.handles.iter().filter(move |(_, whose)| *whose == name).map(|(handle, _)| *handle)
    }

    /// The card of the contact whose handle this is in the epoch of `at`, the one before or the one after.
    pub fn resolve(&mut self, handle: &Handle, at: Unix) -> Option<&ContactCard> {
        self.refresh(at);
        self.table.handles.get(handle).and_then(|name| self.entries.get(name)).map(|entry| &entry.card)
    }

    /// The card of the contact with this name.
    pub fn get(&self, name: &Name) -> Option<&ContactCard> {
        self.entries.get(name).map(|entry| &entry.card)
    }

    /// All cards, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &ContactCard> {
        self.entries.values().map(|entry| &entry.card)
    }

    /// How many contacts there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no contacts.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many cards were refused because the book was full.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Makes the table anew if the time is outside of the one at hand.
    fn refresh(&mut self, at: Unix) {
        if (self.table.from..self.table.until).contains(&at) {
            return;
        }
        let mut table = Table { from: Unix(0), until: Unix(u64::MAX), handles: BTreeMap::new() };
        for (name, entry) in &mut self.entries {
            let length = entry.card.epoch_length;
            let epoch = length.epoch_at(at);
            table.from = table.from.max(length.start(epoch));
            table.until = table.until.min(length.end(epoch));
            let before = Epoch(epoch.0.saturating_sub(1));
            entry.step_to(before, self.founded);
            for near in [before, epoch, Epoch(epoch.0 + 1)] {
                let former = entry.former_keys(near, self.founded);
                let former = former.filter_map(|key| key.handle(near, length, self.founded));
                table.handles.extend(former.map(|handle| (handle, name.clone())));
                let handle = entry.key.handle(near, length, self.founded);
                if let Some(handle) = handle {
                    table.handles.insert(handle, name.clone());
                }
                if near == epoch {
                    entry.present = handle;
                }
            }
        }
        self.table = table;
    }
}

impl Entry {
    /// Steps `key` to the day that an epoch begins in, starting over from the card if the clock went back.
    fn step_to(&mut self, epoch: Epoch, founded: u64) {
        let day = day_of(epoch, self.card.epoch_length, founded);
        if day < self.key.day() {
            self.key = DayKey::of(self.card.day, self.card.resolution_key);
        }
        if let Some(key) = self.key.at(day) {
            self.key = key;
        }
        self.step_former(day);
    }
}

impl fmt::Debug for ContactBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContactBook").field("cards", &self.entries.len()).finish_non_exhaustive()
    }
}

/// Most cards in a book; drop policy: a further one is refused.
pub const MAX_CONTACTS: usize = 4_096;

/// The keys that identify a contact: its contact key and the key that signs its prekeys.
fn keys(card: &ContactCard) -> (AgreementKey, Pseudonym) {
    (card.contact_key, card.signer)
}

/// Merges a new card of a device with the one that is held; `None` if `new` changes nothing.
fn merge(held: &ContactCard, mut new: ContactCard) -> Option<ContactCard> {
    if new.generation < held.generation {
        return None;
    }
    if new.generation == held.generation && new.day >= held.day {
        new.day = held.day;
        new.resolution_key = held.resolution_key;
        // An issuer that has an older one than this device has fallen behind.
        let day = |card: &ContactCard| card.prekey.as_ref().map(|prekey| prekey.day);
        if day(&new) < day(held) {
            new.prekey.clone_from(&held.prekey);
        }
    }
    (new != *held).then_some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::sign;
    use crate::time::{DAY_SECONDS, Day, EpochLength};
    use crate::wire::contact::{MailPrekey, PREKEY_CONTEXT};
    use zeroize::Zeroizing;

    const HOUR: u64 = 3_600;

    fn chain(device: u8, generation: u32) -> DayKey {
        DayKey::first(&Zeroizing::new([1; 32]), DeviceId([device; 16]), generation)
    }

    fn card(name: &str, device: u8, generation: u32, day: u32) -> ContactCard {
        ContactCard {
            name: Name::new(name).expect("a name"),
            device: DeviceId([device; 16]),
            generation,
            day: Day(day),
            resolution_key: **chain(device, generation).at(Day(day)).expect("a later day").key(),
            contact_key: AgreementKey([device; 32]),
            epoch_length: EpochLength::HOUR,
            signer: Pseudonym([device; 32]),
            prekey: None,
        }
    }

    fn handle(device: u8, generation: u32, epoch: u64) -> Handle {
        chain(device, generation).handle(Epoch(epoch), EpochLength::HOUR, 0).expect("from day 0 on")
    }

    fn at(epoch: u64) -> Unix {
        Unix::from_seconds(epoch * HOUR + 10)
    }

    /// Invariant 1.
    #[test]
    fn a_contact_is_found_in_its_epoch_and_the_two_beside_it() {
        let mut book = ContactBook::new(0);
        assert!(book.insert(card("a", 1, 0, 0)));
        assert!(book.insert(card("b", 2, 0, 0)));
        let name = Name::new("a").expect("a name");
        // Across midnight, forward, and back again.
        for epoch in [30, 47, 48, 49, 200, 31] {
            assert_eq!(book.handle_of(&name, at(epoch)), Some(handle(1, 0, epoch)));
            let mut near = [epoch - 1, epoch, epoch + 1].map(|epoch| handle(1, 0, epoch));
            near.sort();
            assert_eq!(book.handles_of(&name, at(epoch)).collect::<Vec<_>>(), near);
            for near in [epoch - 1, epoch, epoch + 1] {
                assert_eq!(book.resolve(&handle(1, 0, near), at(epoch)).map(|card| card.device.0[0]), Some(1));
                assert_eq!(book.resolve(&handle(2, 0, near), at(epoch)).map(|card| card.device.0[0]), Some(2));
                assert!(book.resolve(&handle(3, 0, near), at(epoch)).is_none(), "a stranger resolves to nobody");
            }
            for far in [epoch - 2, epoch + 2] {
                assert!(book.resolve(&handle(1, 0, far), at(epoch)).is_none());
            }
        }
    }

    #[test]
    fn a_card_resolves_from_its_day_on() {
        let mut book = ContactBook::new(0);
        book.insert(card("a", 1, 0, 2));
        let name = Name::new("a").expect("a name");
        assert!(book.handle_of(&name, at(47)).is_none());
        assert!(book.resolve(&handle(1, 0, 48), at(47)).is_some(), "the next epoch is of its day");
        assert_eq!(book.handle_of(&name, at(48)), Some(handle(1, 0, 48)));
        assert!(book.resolve(&handle(1, 0, 47), at(48)).is_none());
    }

    /// Invariant 2.
    #[test]
    fn the_newest_generation_wins_and_the_earliest_day_stays() {
        let mut book = ContactBook::new(0);
        assert!(book.insert(card("a", 1, 1, 1)));
        assert!(!book.insert(card("a", 1, 0, 0)), "an older generation");
        assert!(!book.insert(card("a", 1, 1, 3)), "a later day of the same");
        assert!(book.resolve(&handle(1, 1, 24), at(24)).is_some());
        assert!(book.insert(card("a", 1, 2, 3)));
        assert!(book.resolve(&handle(1, 2, 80), at(80)).is_some());
        // It may have credentials of those before for as long as a batch lasts.
        assert!(book.insert(card("a", 1, 3, 3)));
        for generation in 1..4 {
            assert!(book.resolve(&handle(1, generation, 80), at(80)).is_some());
        }
        assert!(book.resolve(&handle(1, 0, 80), at(80)).is_none(), "that card was never here");
        let over = 24 * u64::from(3 + former::FORMER_DAYS + 1);
        assert!(book.resolve(&handle(1, 1, over), at(over)).is_none());
        assert_eq!(book.len(), 1);
    }

    /// Invariant 3.
    #[test]
    fn an_issuer_does_not_replace_keys_unseen() {
        let mut book = ContactBook::new(0);
        book.insert(card("a", 1, 0, 0));
        book.insert(card("b", 2, 0, 0));
        assert!(book.take_changes().is_empty());
        let (a, own) = (Name::new("a").expect("a name"), AgreementKey([1; 32]));
        let forged = [
            ContactCard { contact_key: AgreementKey([9; 32]), ..card("a", 1, 0, 0) },
            ContactCard { signer: Pseudonym([9; 32]), ..card("a", 1, 0, 0) },
        ];
        for forged in &forged {
            book.insert(forged.clone());
            assert_eq!(book.get(&a).map(|card| (card.contact_key, card.signer)), Some((own, Pseudonym([1; 32]))));
        }
        assert_eq!(book.take_changes(), [(a.clone(), Change::Refused)], "told once, however often it comes");
        // The change is stored with the contact.
        let mut again = ContactBook::new(0);
        book.to_stored().into_iter().for_each(|stored| again.load(stored));
        assert_eq!((again.changed(&a), again.take_changes().len()), (Some(Change::Refused), 0));
        // A card of a new generation, and one of another device with that name, are taken and reported.
        assert!(again.insert(ContactCard { generation: 1, ..forged[0].clone() }));
        assert_eq!(again.get(&a).map(|card| card.contact_key), Some(AgreementKey([9; 32])));
        assert!(again.insert(card("b", 3, 0, 0)));
        let b = Name::new("b").expect("a name");
        assert_eq!(again.take_changes(), [(a.clone(), Change::Keys), (b.clone(), Change::Device)]);
        assert_eq!((again.changed(&a), again.changed(&b)), (Some(Change::Keys), Some(Change::Device)));
    }

    /// Invariant 4.
    #[test]
    fn a_prekey_counts_if_the_cards_signer_has_signed_it() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
        let (day, prekey) = (Day(3), AgreementKey([8; 32]));
        let body = [&day.0.to_be_bytes()[..], &prekey.0].concat();
        let prekey = MailPrekey { day, key: prekey, signature: sign::sign(&key, PREKEY_CONTEXT, &body) };
        for (signer, counts) in [(sign::public(&key), true), (Pseudonym([1; 32]), false)] {
            let mut book = ContactBook::new(0);
            book.insert(ContactCard { signer, prekey: Some(prekey.clone()), ..card("a", 1, 0, 0) });
            assert_eq!(book.iter().any(|card| card.prekey.is_some()), counts);
        }
    }

    #[test]
    fn names_follow_devices() {
        let mut book = ContactBook::new(0);
        book.insert(card("a", 1, 0, 0));
        assert!(book.insert(card("b", 1, 0, 0)), "renamed");
        assert!(book.get(&Name::new("a").expect("a name")).is_none());
        assert!(book.insert(card("b", 2, 0, 0)), "replaced by another device");
        assert_eq!(book.len(), 1);
        assert!(book.resolve(&handle(1, 0, 30), at(30)).is_none());
        assert!(book.resolve(&handle(2, 0, 30), at(30)).is_some());
        assert!(book.insert(card("c", 1, 0, 0)), "and comes back under a name of its own");
        assert_eq!(book.len(), 2);
    }

    /// Invariant 5.
    #[test]
    fn the_book_is_bounded() {
        let mut book = ContactBook::new(0);
        let mut fresh = card("a", 1, 0, 0);
        for number in 0..MAX_CONTACTS + 1 {
            fresh.name = Name::new(format!("d{number}")).expect("a name");
            fresh.device.0[..8].copy_from_slice(&(number as u64).to_be_bytes());
            book.insert(fresh.clone());
        }
        assert_eq!((book.len(), book.refused()), (MAX_CONTACTS, 1));
    }

    #[test]
    fn years_of_days_are_stepped_once() {
        let mut book = ContactBook::new(0);
        book.insert(card("a", 1, 0, 0));
        let days = 4_000 * DAY_SECONDS / HOUR;
        assert!(book.handle_of(&Name::new("a").expect("a name"), at(days)).is_some());
    }
}
