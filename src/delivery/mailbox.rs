//! Mailbox: what is kept for receivers that are away, in which order it is handed on, and what gives way when a box is full.
//!
//! ```text
//! enter ─▶ waiting ──hand──▶ handed ──release──▶ gone: the next one has it
//!            ▲  │              │ │
//!            │  └─expire───────┼─┴─▶ gone: its time is over
//!            └────────back─────┘
//! ```
//!
//! There is a box for each contact that mail is kept for, and one that all other receivers share. Mail is handed on in the order of
//! its class, the most urgent first, and within a class in the order in which it came.
//!
//! Invariants
//! 1. A box holds at most its quota of bytes and [`MAX_IN_BOX`] mails, all boxes together at most [`MAX_BYTES`]; one that
//!    hands mail in has at most half of a box. Drop policy: the oldest of the lowest class gives way to what is more urgent,
//!    and is told to whom it came from; what is not more urgent than anything there is refused.
//! 2. What is handed on is kept until it is released, and is not handed on twice at once.
//! 3. The mail of one box never gives way to that of another.
//! - The same sealed bytes are kept once.

use crate::id::Name;
use crate::time::{Time, Unix};
use crate::wire::data::Class;
use std::collections::{BTreeMap, BTreeSet};

/// The most mails in one box.
pub const MAX_IN_BOX: usize = 4_096;
/// The most bytes in all boxes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// The quota of a box in bytes, unless the settings say otherwise.
pub const QUOTA: u64 = 4 * 1024 * 1024;
/// What a mail counts besides its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 256;

/// For whom a box is: a contact, or all receivers that are none.
pub type Owner = Option<Name>;

/// A mail that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<F> {
    /// Whose it is.
    pub owner: Owner,
    /// Who has handed it in, if that is a contact.
    pub from: Option<Name>,
    /// Its urgency.
    pub class: Class,
    /// When it is of no use any more, or has been kept for as long as mail is.
    pub until: Unix,
    /// Since when it is kept.
    pub since: Unix,
    /// The hash of its sealed part.
    pub seal: [u8; 32],
    /// Its length in bytes.
    pub bytes: usize,
    /// The frame itself.
    pub frame: F,
}

/// What lies in a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sum {
    /// How many mails.
    pub mails: usize,
    /// Their bytes.
    pub bytes: usize,
    /// How many are handed on and not released.
    pub under_way: usize,
    /// Since when the oldest is kept.
    pub oldest: Option<Unix>,
    /// When the first is of no use any more.
    pub expires: Option<Unix>,
}

/// The number of a mail that was taken, and what gave way to it, by number.
pub type Entered<F> = (u64, Vec<(u64, Item<F>)>);

/// Why a mail is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota of the box is used up")]
pub struct OverQuota;

#[derive(Debug, Default)]
struct Load {
    waiting: BTreeSet<(Class, u64)>,
    all: BTreeSet<(Class, u64)>,
    bytes: usize,
    /// Bytes by who has handed them in.
    by: BTreeMap<Option<Name>, usize>,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Mailbox<F> {
    quota: usize,
    items: BTreeMap<u64, Item<F>>,
    /// Until when each mail that is handed on is waited for.
    handed: BTreeMap<u64, Time>,
    boxes: BTreeMap<Owner, Load>,
    seals: BTreeMap<[u8; 32], u64>,
    ends: BTreeSet<(Unix, u64)>,
    bytes: usize,
    last: u64,
}

impl<F> Mailbox<F> {
    /// Creates boxes of that quota in bytes.
    pub fn new(quota: u64) -> Self {
        Self {
            quota: usize::try_from(quota).unwrap_or(usize::MAX).min(MAX_BYTES),
            items: BTreeMap::new(),
            handed: BTreeMap::new(),
            boxes: BTreeMap::new(),
            seals: BTreeMap::new(),
            ends: BTreeSet::new(),
            bytes: 0,
            last: 0,
        }
    }

    /// Takes up a mail under the number that it had before a restart.
    pub fn restore(&mut self, number: u64, item: Item<F>) {
        self.last = self.last.max(number);
        self.put(number, item);
    }

    /// Takes a mail. Returns its number, and what gives way to it.
    ///
    /// # Errors
    /// There is no room for it, and nothing less urgent in its box.
    pub fn enter(&mut self, item: Item<F>) -> Result<Entered<F>, OverQuota> {
        let gone = self.room_for(&item).ok_or(OverQuota)?;
        let gone = gone.into_iter().filter_map(|number| Some((number, self.release(number)?))).collect();
        self.last += 1;
        self.put(self.last, item);
        Ok((self.last, gone))
    }

    /// What has to go for a mail; `None` if that would not be enough.
    fn room_for(&self, item: &Item<F>) -> Option<Vec<u64>> {
        let bytes = item.bytes + OVERHEAD;
        let empty = Load::default();
        let load = self.boxes.get(&item.owner).unwrap_or(&empty);
        let (mut count, mut held, mut all) = (load.all.len(), load.bytes, self.bytes);
        let mut own = load.by.get(&item.from).copied().unwrap_or(0);
        let fits = |count: usize, held: usize, own: usize, all: usize| {
            count < MAX_IN_BOX
                && held + bytes <= self.quota
                && own + bytes <= self.quota / 2
                && all + bytes <= MAX_BYTES
        };
        let mut gone = Vec::new();
        // The lowest class first, and of that the oldest.
        let mut candidates: Vec<(Class, u64)> =
            load.waiting.iter().filter(|(class, _)| *class > item.class).copied().collect();
        candidates.sort_by_key(|(class, number)| (core::cmp::Reverse(*class), *number));
        let mut candidates = candidates.into_iter();
        while !fits(count, held, own, all) {
            let (_, number) = candidates.next()?;
            let given = self.items.get(&number)?;
            let less = given.bytes + OVERHEAD;
            (count, held, all) = (count - 1, held - less, all - less);
            own -= if given.from == item.from { less } else { 0 };
            gone.push(number);
        }
        Some(gone)
    }

    fn put(&mut self, number: u64, item: Item<F>) {
        let bytes = item.bytes + OVERHEAD;
        let load = self.boxes.entry(item.owner.clone()).or_default();
        load.waiting.insert((item.class, number));
        load.all.insert((item.class, number));
        load.bytes += bytes;
        *load.by.entry(item.from.clone()).or_default() += bytes;
        self.bytes += bytes;
        self.seals.insert(item.seal, number);
        self.ends.insert((item.until, number));
        self.items.insert(number, item);
    }

    /// Lets go of a mail: the next one has it, or nobody is to have it.
    pub fn release(&mut self, number: u64) -> Option<Item<F>> {
        let item = self.items.remove(&number)?;
        let bytes = item.bytes + OVERHEAD;
        self.handed.remove(&number);
        self.ends.remove(&(item.until, number));
        if self.seals.get(&item.seal) == Some(&number) {
            self.seals.remove(&item.seal);
        }
        self.bytes -= bytes;
        if let Some(load) = self.boxes.get_mut(&item.owner) {
            load.waiting.remove(&(item.class, number));
            load.all.remove(&(item.class, number));
            load.bytes -= bytes;
            if let Some(own) = load.by.get_mut(&item.from) {
                *own -= bytes;
                if *own == 0 {
                    load.by.remove(&item.from);
                }
            }
            if load.all.is_empty() {
                self.boxes.remove(&item.owner);
            }
        }
        Some(item)
    }

    /// Moves a mail from the box that all share to that of its receiver, which has become known, unless it is under way or there is no room
    /// for it. Returns the mail if it was moved.
    pub fn adopt(&mut self, number: u64, owner: Name) -> Option<&Item<F>> {
        self.items.get(&number).filter(|item| item.owner.is_none() && !self.handed.contains_key(&number))?;
        let mut item = self.release(number)?;
        item.owner = Some(owner);
        let fits = self.room_for(&item).is_some_and(|gone| gone.is_empty());
        if !fits {
            item.owner = None;
        }
        self.put(number, item);
        self.items.get(&number).filter(|_| fits)
    }

    /// The number under which the same sealed bytes are kept.
    pub fn known(&self, seal: &[u8; 32]) -> Option<u64> {
        self.seals.get(seal).copied()
    }

    /// A mail that is kept.
    pub fn get(&self, number: u64) -> Option<&Item<F>> {
        self.items.get(&number)
    }

    /// The boxes in which something waits.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.boxes.iter().filter(|(_, load)| !load.waiting.is_empty()).map(|(owner, _)| owner)
    }

    /// All boxes in which something lies, with what lies there.
    pub fn boxes(&self) -> impl Iterator<Item = (&Owner, Sum)> {
        self.boxes.iter().map(|(owner, load)| {
            let items = || load.all.iter().filter_map(|(_, number)| self.items.get(number));
            let sum = Sum {
                mails: load.all.len(),
                bytes: items().map(|item| item.bytes).sum(),
                under_way: load.all.len() - load.waiting.len(),
                oldest: items().map(|item| item.since).min(),
                expires: items().map(|item| item.until).min(),
            };
            (owner, sum)
        })
    }

    /// What waits in a box, in the order in which it is to be handed on.
    pub fn waiting(&self, owner: &Owner) -> impl Iterator<Item = (u64, &Item<F>)> {
        let waiting = self.boxes.get(owner).into_iter().flat_map(|load| &load.waiting);
        waiting.filter_map(|(_, number)| Some((*number, self.items.get(number)?)))
    }

    /// How many mails of a box are handed on and not released.
    pub fn under_way(&self, owner: &Owner) -> usize {
        self.boxes.get(owner).map_or(0, |load| load.all.len() - load.waiting.len())
    }

    /// A mail is handed on, and waited for until then.
    pub fn hand(&mut self, number: u64, until: Time) {
        let Some(item) = self.items.get(&number) else { return };
        if let Some(load) = self.boxes.get_mut(&item.owner) {
            load.waiting.remove(&(item.class, number));
        }
        self.handed.insert(number, until);
    }

    /// A mail that was handed on did not get there: it waits again.
    pub fn back(&mut self, number: u64) {
        let Some(item) = self.items.get(&number).filter(|_| self.handed.contains_key(&number)) else { return };
        self.handed.remove(&number);
        if let Some(load) = self.boxes.get_mut(&item.owner) {
            load.waiting.insert((item.class, number));
        }
    }

    /// Takes back what has been waited for long enough. Returns whether there was any.
    pub fn take_back(&mut self, now: Time) -> bool {
        let over: Vec<u64> =
            self.handed.iter().filter(|(_, until)| **until <= now).map(|(number, _)| *number).collect();
        over.iter().for_each(|number| self.back(*number));
        !over.is_empty()
    }

    /// Lets go of what is of no use any more, and returns it.
    pub fn expire(&mut self, now: Unix) -> Vec<(u64, Item<F>)> {
        let mut gone = Vec::new();
        while let Some((_, number)) = self.ends.first().copied().filter(|(until, _)| *until < now) {
            match self.release(number) {
                Some(item) => gone.push((number, item)),
                None => drop(self.ends.pop_first()),
            }
        }
        gone
    }

    /// Lets go of all that is in a box, and returns it.
    pub fn clear(&mut self, owner: &Owner) -> Vec<(u64, Item<F>)> {
        let all = self.boxes.get(owner).map(|load| load.all.clone()).unwrap_or_default();
        all.into_iter().filter_map(|(_, number)| Some((number, self.release(number)?))).collect()
    }

    /// When the first mail is of no use any more.
    pub fn next_end(&self) -> Option<Unix> {
        self.ends.first().map(|(until, _)| *until)
    }

    /// When something that is handed on has been waited for long enough.
    pub fn next_back(&self) -> Option<Time> {
        self.handed.values().min().copied()
    }

    /// All that is kept, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Item<F>)> {
        self.items.iter().map(|(number, item)| (*number, item))
    }

    /// How many mails are kept.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The bytes that count against [`MAX_BYTES`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Option<Name> {
        Name::new(text).ok()
    }

    fn mail(owner: &str, from: &str, class: Class, bytes: usize, tag: u8) -> Item<u8> {
        let (owner, from) = (name(owner), name(from));
        Item {
            owner,
            from,
            class,
            until: Unix(1_000 + u64::from(tag)),
            since: Unix(0),
            seal: [tag; 32],
            bytes,
            frame: tag,
        }
    }

    fn order(mailbox: &Mailbox<u8>, owner: &str) -> Vec<u8> {
        mailbox.waiting(&name(owner)).map(|(_, item)| item.frame).collect()
    }

    /// Invariant 1.
    #[test]
    fn what_is_more_urgent_displaces_the_oldest_of_the_lowest_class_and_nothing_else_does() {
        let quota = 2 * 4 * (1_000 + OVERHEAD);
        let mut mailbox = Mailbox::new(quota as u64);
        for (tag, class) in (1..).zip([Class::Telemetry, Class::Bulk, Class::Bulk, Class::Control]) {
            let (_, gone) = mailbox.enter(mail("m", "a", class, 1_000, tag)).expect("room");
            assert!(gone.is_empty());
        }
        // Half of the box is what one may have.
        assert_eq!(mailbox.enter(mail("m", "a", Class::Bulk, 1_000, 5)), Err(OverQuota));
        let (_, gone) = mailbox.enter(mail("m", "a", Class::Telemetry, 1_000, 6)).expect("it is more urgent");
        assert_eq!(gone.iter().map(|(_, item)| item.frame).collect::<Vec<_>>(), [2]);
        for tag in 7..11 {
            mailbox.enter(mail("m", "b", Class::Alarm, 1_000, tag)).expect("another has a half of its own");
        }
        assert_eq!(mailbox.enter(mail("m", "c", Class::Bulk, 1_000, 11)), Err(OverQuota));
        assert_eq!(order(&mailbox, "m"), [7, 8, 9, 10, 4, 1, 6, 3]);
        let (_, gone) = mailbox.enter(mail("m", "c", Class::Control, 1_000, 12)).expect("room by displacing");
        assert_eq!(gone[0].1.frame, 3);
        assert_eq!(mailbox.bytes(), quota);
    }

    /// Invariant 3.
    #[test]
    fn a_full_box_leaves_those_of_others_alone() {
        let mut mailbox = Mailbox::new(4 * (1_000 + OVERHEAD) as u64);
        mailbox.enter(mail("n", "a", Class::Bulk, 1_000, 1)).expect("room");
        for tag in 2..9 {
            let _ = mailbox.enter(mail("m", "b", Class::Alarm, 1_000, tag));
        }
        assert_eq!((order(&mailbox, "n"), order(&mailbox, "m").len()), (vec![1], 2));
        assert_eq!(mailbox.clear(&name("m")).len(), 2);
        assert_eq!((mailbox.len(), mailbox.bytes()), (1, 1_000 + OVERHEAD));
    }

    /// Invariant 2.
    #[test]
    fn what_is_handed_on_stays_until_it_is_released_and_waits_again_if_it_is_not() {
        let mut mailbox = Mailbox::new(QUOTA);
        let (one, _) = mailbox.enter(mail("m", "a", Class::Bulk, 10, 1)).expect("room");
        mailbox.enter(mail("m", "a", Class::Alarm, 10, 2)).expect("room");
        assert_eq!((order(&mailbox, "m"), mailbox.known(&[1; 32])), (vec![2, 1], Some(one)));
        mailbox.hand(one, Time(50));
        assert_eq!((order(&mailbox, "m"), mailbox.under_way(&name("m"))), (vec![2], 1));
        assert_eq!(mailbox.next_back(), Some(Time(50)));
        assert!(!mailbox.take_back(Time(49)) && mailbox.take_back(Time(50)));
        assert_eq!(order(&mailbox, "m"), [2, 1]);
        mailbox.hand(one, Time(90));
        assert!(mailbox.release(one).is_some() && mailbox.release(one).is_none());
        assert!(!mailbox.take_back(Time(100)) && mailbox.known(&[1; 32]).is_none());
        assert_eq!(mailbox.next_end(), Some(Unix(1_002)));
        assert_eq!(mailbox.expire(Unix(1_003)).len(), 1);
        assert!(mailbox.is_empty() && mailbox.bytes() == 0 && mailbox.owners().next().is_none());
    }
}
