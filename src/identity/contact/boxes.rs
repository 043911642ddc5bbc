//! The boxes of contacts: under which tag mail for a contact is kept on a day, and whose mail a tag names.
//!
//! A tag follows from a contact's resolution key of a day. The tags of all contacts on a day are computed when one of
//! that day is looked up, and kept for at most [`MAX_DAYS`] days; drop policy: the earliest day goes, and is computed anew.

use super::ContactBook;
use crate::id::{Name, Tag};
use crate::identity::handle::DayKey;
use crate::identity::mail::{PREKEY_DAYS, box_tag};
use crate::time::{Day, Unix};
use crate::wire::contact::ContactCard;
use std::collections::BTreeMap;

/// Days whose tags are kept at once.
pub const MAX_DAYS: usize = 16;

/// The tags of the contacts' boxes by day.
pub(super) type Boxes = BTreeMap<Day, BTreeMap<Tag, Name>>;

impl ContactBook {
    /// The tag of a contact's box on a day; `None` if the contact is unknown or its card begins later.
    pub fn box_of(&self, name: &Name, day: Day) -> Option<Tag> {
        let card = &self.entries.get(name)?.card;
        let key = DayKey::of(card.day, card.resolution_key).at(day)?;
        Some(box_tag(key.key()))
    }

    /// The contact whose box on a day has that tag.
    pub fn owner_of_box(&mut self, day: Day, tag: &Tag) -> Option<&Name> {
        if !self.boxes.contains_key(&day) {
            let names = self.entries.keys().filter_map(|name| Some((self.box_of(name, day)?, name.clone())));
            let tags = names.collect();
            if self.boxes.len() >= MAX_DAYS {
                self.boxes.pop_first();
            }
            self.boxes.insert(day, tags);
        }
        self.boxes.get(&day)?.get(tag)
    }

    /// The card of a contact that takes mail now: it has a prekey that is not too old.
    pub fn taking_mail(&self, name: &Name, now: Unix) -> Option<&ContactCard> {
        let today = now.day_since(self.founded);
        let entry = self.entries.get(name)?;
        let prekey = entry.card.prekey.as_ref()?;
        let fresh = prekey.day.0 <= today.0.saturating_add(1) && today.0 <= prekey.day.0.saturating_add(PREKEY_DAYS);
        (fresh && !self.is_revoked(name)).then_some(&entry.card)
    }
}
