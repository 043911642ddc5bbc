//! The cards that a contact had in the generations before: by which it is found as long as it may have credentials of these.
//!
//! A generation is over for good so many days after the day of the next one's card. At most [`MAX_FORMER`] are kept; drop policy: the
//! oldest goes, whose device is unknown until it has renewed.

use super::{ContactBook, Entry};
use crate::id::{Handle, Name};
use crate::identity::handle::{DayKey, day_of};
use crate::time::{Day, Epoch, Unix};
use crate::wire::contact::ContactCard;

/// A card with its resolution key, stepped forward like that of the present card.
#[derive(Clone)]
pub(super) struct Former {
    pub(super) card: ContactCard,
    pub(super) key: DayKey,
}

impl ContactBook {
    /// The handles under which a contact may be reached at a time by its cards of the generations before.
    pub fn former_handles_of(&self, name: &Name, at: Unix) -> Vec<Handle> {
        let Some(entry) = self.entries.get(name) else { return Vec::new() };
        let length = entry.card.epoch_length;
        let epoch = length.epoch_at(at);
        entry.former_keys(epoch, self.founded).filter_map(|key| key.handle(epoch, length, self.founded)).collect()
    }
}

impl Former {
    pub(super) fn of(card: ContactCard) -> Self {
        let key = DayKey::of(card.day, card.resolution_key);
        Self { card, key }
    }
}

impl Entry {
    /// The resolution keys of generations before, of which there may be credentials yet.
    pub(super) fn former_keys(&self, epoch: Epoch, founded: u64) -> impl Iterator<Item = &DayKey> {
        let day = day_of(epoch, self.card.epoch_length, founded);
        let next = self.before.iter().skip(1).map(|former| former.card.day).chain([self.card.day]);
        let lasts = move |next: Day| day.0 <= next.0.saturating_add(FORMER_DAYS);
        self.before.iter().zip(next).filter(move |(_, next)| lasts(*next)).map(|(former, _)| &former.key)
    }

    /// What is kept of former cards once that one has come: this card too, if that is of another generation.
    pub(super) fn before_next(&self, next: &ContactCard) -> Vec<Former> {
        let mut before = self.before.clone();
        if next.generation > self.card.generation {
            before.push(Former::of(ContactCard { prekey: None, ..self.card.clone() }));
            before.drain(..before.len().saturating_sub(MAX_FORMER));
        }
        before
    }

    /// Brings the keys to a day, starting over from the cards when the clock went back.
    pub(super) fn step_former(&mut self, day: Day) {
        for Former { card, key } in &mut self.before {
            let from = if day < key.day() { DayKey::of(card.day, card.resolution_key) } else { key.clone() };
            *key = from.at(day).unwrap_or(from);
        }
    }
}

/// How many days a device may have credentials of a generation that is over: those of a batch, and the two beside it.
pub(super) const FORMER_DAYS: u32 = 9;
/// Most cards of generations before that are kept of a contact.
pub const MAX_FORMER: usize = 16;
