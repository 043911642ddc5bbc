//! Apply: writes a group of commits, with large values to packs, the rest to the tree, and what is durable to the
//! witness.

use super::files::Files;
use super::full_key;
use super::losses::{self, Lost};
use super::open::Checked;
use super::packs::{LARGE, Packs, Reference, Shelf, Stored, escaped};
use super::sum::{Batch, Sum};
use super::witness::{Known, Witness};
use crate::engine::api::InboxRecord;
use crate::engine::store::{Commit, Table, WITNESSED, Write};
use crate::store::Quarantine;
use crate::time::Unix;
use crate::wire;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The files of an open store.
pub(super) struct Open {
    path: PathBuf,
    files: Files,
    shelf: Arc<Shelf>,
    packs: Packs,
    sum: Sum,
    known: Known,
    /// `None` if the store is only read.
    witness: Option<Witness>,
    /// Since when the witness lags.
    lags: Option<Instant>,
}

impl Open {
    /// Opens the files of a store whose content was checked.
    pub(super) fn new(
        path: &Path,
        shelf: &Arc<Shelf>,
        tree: &sled::Db,
        checked: Checked,
        witness: Option<Witness>,
        fsyncs: &mut u64,
    ) -> io::Result<Self> {
        // Packs first: what the tree refers to is durable before the tree is.
        let packs = Packs::open(Arc::clone(shelf), checked.values, fsyncs)?;
        let files = Files::open(path, fsyncs)?;
        let mut known = Known { sum: checked.sum, ..Known::default() };
        for (fact, name) in known.facts.iter_mut().zip(WITNESSED) {
            *fact = tree.get(full_key(Table::Meta, name))?.and_then(|raw| match Stored::read(&raw) {
                Some(Stored::Here(value)) => Some(value.to_vec()),
                _ => None,
            });
        }
        let floor = tree.get(full_key(Table::Meta, crate::engine::store::INBOX_FLOOR))?;
        known.inbox = floor.and_then(|floor| floor.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
        let newest = tree.range(super::whole(Table::Inbox)).next_back().transpose()?;
        known.inbox = known.inbox.max(newest.map_or(0, |(key, raw)| match Stored::read(&raw) {
            Some(Stored::Here(value)) => last_number(&key[1..], value),
            Some(Stored::At(reference)) => {
                let read = shelf.read(&reference).ok().flatten();
                last_number(&key[1..], read.as_deref().unwrap_or_default())
            }
            None => 0,
        }));
        let mut open = Self {
            path: path.to_owned(),
            files,
            shelf: Arc::clone(shelf),
            packs,
            sum: checked.sum,
            known,
            witness,
            lags: None,
        };
        open.note(&VecDeque::new())?;
        open.sync_witness(fsyncs)?;
        Ok(open)
    }

    /// Hands a group to the kernel, after its large values have been made durable.
    pub(super) fn commit(&mut self, tree: &sled::Db, group: &VecDeque<Commit>, fsyncs: &mut u64) -> sled::Result<()> {
        let mut references = Vec::new();
        for write in group.iter().flat_map(|commit| &commit.writes) {
            if let Write::Put { value, .. } = write
                && value.len() >= LARGE
            {
                references.push(self.packs.write(value)?);
            }
        }
        self.packs.sync(fsyncs)?;
        // Several commits go into one batch of sled, since each batch costs it two waits for the kernel, and a key that
        // several of them set is written once.
        let mut batch = Batch::new(tree, &mut self.sum);
        let mut references = references.into_iter();
        for commit in group {
            for write in &commit.writes {
                add(&mut self.packs, &mut batch, write, &mut references)?;
            }
            if batch.bytes() >= BATCH {
                batch.apply()?;
            }
        }
        batch.apply()?;
        tree.flush().map(drop)
    }

    /// Makes durable what was handed to the kernel. Fails if the next start would not find the files.
    pub(super) fn sync(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        self.files.sync(fsyncs)?;
        self.packs.tidy();
        self.files.are_in(&self.path)
    }

    /// Writes to the witness what is durable now, including all of this group.
    pub(super) fn note(&mut self, group: &VecDeque<Commit>) -> io::Result<()> {
        let Some(witness) = &mut self.witness else { return Ok(()) };
        self.known.sum = self.sum;
        let writes = || group.iter().flat_map(|commit| &commit.writes);
        for write in writes() {
            let (Write::Put { table: Table::Meta, key, .. } | Write::Delete { table: Table::Meta, key }) = write else {
                continue;
            };
            if let Some(at) = WITNESSED.iter().position(|name| name == key) {
                self.known.facts[at] = match write {
                    Write::Put { value, .. } => Some(value.clone()),
                    Write::Delete { .. } => None,
                };
            }
        }
        let newest = writes().filter_map(|write| match write {
            Write::Put { table: Table::Inbox, key, value } => Some((key, value)),
            _ => None,
        });
        if let Some((key, value)) = newest.max_by_key(|(key, _)| *key) {
            self.known.inbox = self.known.inbox.max(last_number(key, value));
        }
        witness.note(&self.known)?;
        self.lags.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Returns how long the witness has lagged; `None` if it does not lag.
    pub(super) fn witness_lag(&self) -> Option<Duration> {
        self.lags.map(|since| since.elapsed())
    }

    /// Makes durable what the witness holds.
    pub(super) fn sync_witness(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        self.lags = None;
        self.witness.as_mut().map_or(Ok(()), |witness| witness.sync(fsyncs))
    }

    /// Removes the entries of those suspects that are really lost, after their remains have been set aside.
    pub(super) fn drop_lost(
        &mut self,
        tree: &sled::Db,
        suspects: impl IntoIterator<Item = Vec<u8>>,
    ) -> sled::Result<Option<Quarantine>> {
        let mut lost = Vec::new();
        for key in suspects {
            if let Some(raw) = tree.get(&key)?
                && let Some(Stored::At(reference)) = Stored::read(&raw)
            {
                lost.extend(Lost::look(&self.shelf, &key, &reference)?);
            }
        }
        if lost.is_empty() {
            return Ok(None);
        }
        let place = losses::set_values_aside(&self.path, &lost, now())?;
        let mut batch = Batch::new(tree, &mut self.sum);
        for Lost { key, .. } in lost {
            self.packs.remove(&key);
            batch.remove(key)?;
        }
        batch.apply()?;
        tree.flush()?;
        Ok(Some(place))
    }

    /// Moves the values left in a sparse pack, if packs take more than they may. Values that cannot be read stay.
    pub(super) fn move_sparse(&mut self, tree: &sled::Db, fsyncs: &mut u64) -> sled::Result<()> {
        let mut moved = Vec::new();
        for (key, reference) in self.packs.sparse() {
            match self.packs.read(&reference) {
                Ok(Some(value)) => moved.push((key, self.packs.write(&value)?)),
                Err(error) if error.kind() != io::ErrorKind::InvalidData => return Err(error.into()),
                _ => {}
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.packs.sync(fsyncs)?;
        let mut batch = Batch::new(tree, &mut self.sum);
        for (key, reference) in moved {
            batch.insert(key.clone(), &reference.encode())?;
            self.packs.put(key, reference);
        }
        batch.apply()?;
        tree.flush()?;
        Ok(self.sync(fsyncs)?)
    }

    /// Returns the database's file if somebody has removed its name.
    pub(super) fn into_orphan(self) -> Option<File> {
        self.files.into_orphan()
    }
}

/// Adds a write to a batch. A later write to a key replaces an earlier one.
fn add(
    packs: &mut Packs,
    batch: &mut Batch<'_>,
    write: &Write,
    references: &mut impl Iterator<Item = Reference>,
) -> sled::Result<()> {
    let (table, key, value) = match write {
        Write::Put { table, key, value } => (table, key, Some(value)),
        Write::Delete { table, key } => (table, key, None),
    };
    let key = full_key(*table, key);
    let reference = value.filter(|value| value.len() >= LARGE).and_then(|_| references.next());
    match (value, reference) {
        (_, Some(reference)) => {
            packs.put(key.clone(), reference);
            batch.insert(key, &reference.encode())
        }
        (Some(value), None) => {
            packs.remove(&key);
            batch.insert(key, &escaped(value))
        }
        (None, None) => {
            packs.remove(&key);
            batch.remove(key)
        }
    }
}

/// Returns the last number of a record of the inbox, whose key is its first number.
fn last_number(key: &[u8], value: &[u8]) -> u64 {
    let first = key.try_into().map_or(0, u64::from_be_bytes);
    wire::decode::<InboxRecord<'_>>(value).map_or(first, |record| record.last().max(first))
}

fn now() -> Unix {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Unix(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// A batch of sled takes no more commits once it has this many bytes: half a segment. sled holds all of it in memory
/// until the batch ends.
const BATCH: usize = 256 * 1024;
