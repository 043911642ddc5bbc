//! Shelf: which blobs a device keeps, for whom, and for how long.
//!
//! **Mechanism.** A blob is *pinned* while somebody here needs it: the application has put it here, a message of the inbox
//! consists of it, it is being sent, or it is being fetched. All others are *cached*: they stay until their room is
//! needed. A blob counts with its whole length from the moment in which its fetching begins.
//!
//! A device gives a blob to contacts that it was sent to, and to all contacts if it is shared. The hash alone gives nobody a right.
//!
//! Invariants
//! 1. The blobs together are never longer than the quota. Drop policy: cached blobs go, those first that were used least
//!    recently (`blobs_evicted`); if that does not suffice, the new one is refused.
//! 2. Of what one contact has sent here, no more is pinned than is left for others.
//! - At most [`MAX_BLOBS`] are kept, and at most [`MAX_READERS`] contacts may read one. Drop policy: as above; the newest reader is
//!   refused.

use crate::id::{BlobHash, Name};
use crate::time::Unix;
use crate::wire::blob::CHUNK;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most blobs.
pub const MAX_BLOBS: usize = 4_096;
/// Most contacts that may read a blob which is not shared.
pub const MAX_READERS: usize = 256;

/// A blob, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its length in bytes.
    pub length: u64,
    /// Whether all of it is there.
    pub whole: bool,
    /// Whether every contact may read it.
    pub shared: bool,
    /// Whether the application has put it here, or fetched it to keep it.
    pub kept: bool,
    /// When it was last used.
    pub used: Unix,
    /// The contacts that may read it.
    pub readers: Vec<Name>,
    /// The numbers of the messages of the inbox that consist of it.
    pub inbox: Vec<u64>,
    /// The contact that has sent it here, if one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Name>,
}

impl Entry {
    /// A blob of which nothing is there.
    pub fn new(length: u64, used: Unix) -> Self {
        let (readers, inbox) = (Vec::new(), Vec::new());
        Self { length, whole: false, shared: false, kept: false, used, readers, inbox, by: None }
    }

    /// What it takes of the quota.
    fn room(&self) -> u64 {
        self.length.max(CHUNK as u64)
    }
}

/// There is no room for a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{wanted} bytes do not fit into the {quota} bytes for blobs, of which {pinned} are in use: remove some with `m2mesh blob remove`, receive what waits in the inbox, or raise `quota` under [blobs]"
)]
pub struct NoRoom {
    /// How long it is.
    pub wanted: u64,
    /// The quota.
    pub quota: u64,
    /// Bytes of blobs that are pinned.
    pub pinned: u64,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Shelf {
    quota: u64,
    entries: BTreeMap<BlobHash, Entry>,
    /// How often each blob is being sent or fetched.
    busy: BTreeMap<BlobHash, u32>,
}

impl Shelf {
    /// An empty shelf for so many bytes.
    pub fn new(quota: u64) -> Self {
        Self { quota, entries: BTreeMap::new(), busy: BTreeMap::new() }
    }

    /// A blob.
    pub fn get(&self, hash: &BlobHash) -> Option<&Entry> {
        self.entries.get(hash)
    }

    /// A blob, to be changed.
    pub fn get_mut(&mut self, hash: &BlobHash) -> Option<&mut Entry> {
        self.entries.get_mut(hash)
    }

    /// All blobs.
    pub fn iter(&self) -> impl Iterator<Item = (&BlobHash, &Entry)> {
        self.entries.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        self.entries.values().map(Entry::room).sum()
    }

    /// Enters what the store holds.
    pub fn restore(&mut self, hash: BlobHash, entry: Entry) {
        self.entries.insert(hash, entry);
    }

    /// Whether somebody needs a blob.
    pub fn is_pinned(&self, hash: &BlobHash) -> bool {
        let needed = |entry: &Entry| entry.kept || !entry.inbox.is_empty();
        self.busy.contains_key(hash) || self.entries.get(hash).is_some_and(needed)
    }

    /// A blob is being sent or fetched.
    pub fn hold(&mut self, hash: BlobHash) {
        *self.busy.entry(hash).or_default() += 1;
    }

    /// A blob is not being sent or fetched any more, once.
    pub fn release(&mut self, hash: &BlobHash) {
        if let Some(times) = self.busy.get_mut(hash) {
            *times -= 1;
            if *times == 0 {
                self.busy.remove(hash);
            }
        }
    }

    /// Enters a blob, if there is room. Returns the blobs that had to go for it.
    ///
    /// # Errors
    /// There is no room for it, or none for its sender.
    pub fn enter(&mut self, hash: BlobHash, entry: Entry) -> Result<Vec<BlobHash>, NoRoom> {
        let (wanted, mut pinned, mut count) = (entry.room(), 0, 0);
        let (mut own, mut own_count) = (0, 0);
        for (_, one) in self.entries.iter().filter(|(of, _)| **of != hash && self.is_pinned(of)) {
            (pinned, count) = (pinned + one.room(), count + 1);
            if entry.by.is_some() && one.by == entry.by && !one.kept {
                (own, own_count) = (own + one.room(), own_count + 1);
            }
        }
        let free = self.quota.saturating_sub(pinned);
        let fair = own_count == 0 || (own + wanted <= free && own_count < MAX_BLOBS - count);
        if wanted > free || count >= MAX_BLOBS || !fair {
            return Err(NoRoom { wanted: entry.length, quota: self.quota, pinned });
        }
        let mut gone = Vec::new();
        while self.entries.len() >= MAX_BLOBS
            || self.bytes() - self.entries.get(&hash).map_or(0, Entry::room) + wanted > self.quota
        {
            let cached = self.entries.iter().filter(|(of, _)| **of != hash && !self.is_pinned(of));
            let Some(oldest) = cached.min_by_key(|(of, one)| (one.used, **of)).map(|(of, _)| *of) else { break };
            self.entries.remove(&oldest);
            gone.push(oldest);
        }
        self.entries.insert(hash, entry);
        Ok(gone)
    }

    /// Removes a blob.
    pub fn remove(&mut self, hash: &BlobHash) -> Option<Entry> {
        self.entries.remove(hash)
    }

    /// The length of a whole blob, if a contact may read it.
    pub fn readable(&self, hash: &BlobHash, by: &Name) -> Option<u64> {
        let entry = self.entries.get(hash).filter(|entry| entry.whole)?;
        (entry.shared || entry.readers.contains(by)).then_some(entry.length)
    }

    /// Lets a contact read a blob. Returns `false` if too many may.
    pub fn admit(&mut self, hash: &BlobHash, reader: &Name) -> bool {
        let Some(entry) = self.entries.get_mut(hash) else { return false };
        if entry.readers.contains(reader) {
            return true;
        }
        let room = entry.readers.len() < MAX_READERS;
        if room {
            entry.readers.push(reader.clone());
        }
        room
    }

    /// Messages of the inbox below a number are gone. Returns the blobs that consisted of any.
    pub fn consumed(&mut self, below: u64) -> Vec<BlobHash> {
        let mut changed = BTreeSet::new();
        for (hash, entry) in &mut self.entries {
            let before = entry.inbox.len();
            entry.inbox.retain(|number| *number >= below);
            if entry.inbox.len() < before {
                changed.insert(*hash);
            }
        }
        changed.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const HUNDRED: u64 = 100 * 32 * KIB;

    fn hash(n: u8) -> BlobHash {
        BlobHash([n; BlobHash::LEN])
    }

    fn entry(chunks: u64, used: u64) -> Entry {
        Entry { whole: true, ..Entry::new(chunks * 32 * KIB, Unix(used)) }
    }

    /// Invariant 1.
    #[test]
    fn cached_blobs_go_for_new_ones_and_pinned_ones_stay() {
        let mut shelf = Shelf::new(HUNDRED);
        assert_eq!(shelf.enter(hash(1), Entry { kept: true, ..entry(40, 1) }), Ok(vec![]));
        assert_eq!(shelf.enter(hash(2), entry(30, 3)), Ok(vec![]));
        assert_eq!(shelf.enter(hash(3), entry(30, 2)), Ok(vec![]));
        assert_eq!(shelf.enter(hash(4), entry(20, 4)), Ok(vec![hash(3)]), "used least recently");
        assert_eq!(shelf.enter(hash(5), entry(60, 5)), Ok(vec![hash(2), hash(4)]));
        let no_room = shelf.enter(hash(6), entry(61, 6)).expect_err("more than is not pinned");
        assert_eq!(no_room.pinned, 40 * 32 * KIB);
        shelf.hold(hash(5));
        assert!(shelf.enter(hash(6), entry(10, 6)).is_err(), "what is sent stays");
        shelf.release(&hash(5));
        assert_eq!(shelf.enter(hash(6), entry(10, 6)), Ok(vec![hash(5)]));
        assert!(shelf.bytes() <= HUNDRED);
    }

    /// Invariant 2.
    #[test]
    fn one_sender_leaves_as_much_to_others() {
        let (a, b) = (Name::new("a").ok(), Name::new("b").ok());
        let mut shelf = Shelf::new(HUNDRED);
        let sent = |by: &Option<Name>, n: u64| Entry { inbox: vec![n], by: by.clone(), ..entry(20, n) };
        assert!(shelf.enter(hash(1), sent(&a, 1)).is_ok() && shelf.enter(hash(2), sent(&a, 2)).is_ok());
        assert!(shelf.enter(hash(3), sent(&a, 3)).is_ok(), "60 of 60 that were free");
        assert!(shelf.enter(hash(4), sent(&a, 4)).is_err());
        assert!(shelf.enter(hash(5), sent(&b, 5)).is_ok());
        assert_eq!(shelf.consumed(2), [hash(1)]);
        assert!(!shelf.is_pinned(&hash(1)) && shelf.is_pinned(&hash(2)));
    }

    #[test]
    fn a_blob_is_given_to_those_alone_that_may_have_it() {
        let (a, b) = (Name::new("a").expect("a name"), Name::new("b").expect("a name"));
        let mut shelf = Shelf::new(HUNDRED);
        assert!(shelf.enter(hash(1), entry(1, 1)).is_ok());
        assert_eq!(shelf.readable(&hash(1), &a), None);
        assert!(shelf.admit(&hash(1), &a));
        assert_eq!((shelf.readable(&hash(1), &a), shelf.readable(&hash(1), &b)), (Some(32 * KIB), None));
        shelf.get_mut(&hash(1)).expect("there").shared = true;
        assert_eq!(shelf.readable(&hash(1), &b), Some(32 * KIB));
        shelf.get_mut(&hash(1)).expect("there").whole = false;
        assert_eq!(shelf.readable(&hash(1), &b), None, "what is not whole is given to nobody");
    }
}
