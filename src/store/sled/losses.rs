//! Losses: large values that cannot be read, and stores that lack entries, are set aside, and nothing else is.
//!
//! A quarantine is a directory `store.quarantine-N` beside the store, where N is the time. It keeps the remains of what
//! is lost, for an analysis. For large values these are the packs that held them, if they exist, and a list of the keys
//! in the file `lost`; the entries are removed from the tree. A store that sled cannot open or read is set aside whole,
//! and what can be read in it goes to a new one ([`rescue`](super::rescue)). A store that lacks entries
//! ([`Sum`](super::sum::Sum)), or has fewer than its [`Witness`](super::witness) says, is set aside as it was found,
//! and what can be read in it goes to a new one, because sled itself may be wrong about what it has left out.
//!
//! A note of what was set aside stays in the tree until the event log has recorded it: a node that is killed in between
//! records it at its next start.

use super::files::{self, Files};
use super::full_key;
use super::open::{Checked, FORMAT, FORMAT_KEY, Found, config};
use super::packs::{PACKS, Reference, Shelf};
use super::sum::{self, Batch, Sum};
use super::tail::Tail;
use super::witness::Known;
use crate::engine::store::{INBOX_FLOOR, SET_ASIDE, Table, WITNESSED};
use crate::event_log::SetAside;
use crate::store::Quarantine;
use crate::time::Unix;
use crate::wire;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A large value that cannot be read.
#[derive(Clone, Debug)]
pub(super) struct Lost {
    /// Its key in the tree.
    pub key: Vec<u8>,
    pub reference: Reference,
    pub why: String,
}

impl Lost {
    /// Reads a value and returns what is wrong with it; `None` if it can be read.
    pub(super) fn look(shelf: &Shelf, key: &[u8], reference: &Reference) -> io::Result<Option<Self>> {
        let lost = |why| Ok(Some(Self { key: key.to_vec(), reference: *reference, why }));
        match shelf.read(reference) {
            Ok(Some(_)) => Ok(None),
            Ok(None) => lost(format!("{} is missing", shelf.path(reference.pack).display())),
            Err(error) if error.kind() == ErrorKind::InvalidData => lost(error.to_string()),
            Err(error) => Err(error),
        }
    }

    /// Returns its name for reports: its table, and its number if it has one.
    fn name(&self) -> String {
        let table = match self.key.first() {
            Some(1) => "inbox",
            Some(4) => "outbox",
            _ => "another",
        };
        let number = self.key.get(1..).and_then(|key| <[u8; 8]>::try_from(key).ok());
        number.map_or_else(|| table.to_owned(), |number| format!("{table} {}", u64::from_be_bytes(number)))
    }
}

/// Sets aside what is left of large values. Call it before their entries are removed from the tree.
pub(super) fn set_values_aside(store: &Path, lost: &[Lost], at: Unix) -> io::Result<Quarantine> {
    let directory = store.parent().unwrap_or(store);
    let place = free_place(store, at);
    let path = directory.join(&place);
    files::make_directory(&path.join(PACKS))?;
    let mut list = String::new();
    for Lost { key, reference, why } in lost {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "{} {reference:?} {why}", data_encoding::HEXLOWER.encode(key));
        keep(&reference.file(store), &reference.file(&path))?;
    }
    fs::write(path.join("lost"), list)?;
    for synced in [&path.join("lost"), &path.join(PACKS), &path, directory] {
        File::open(synced)?.sync_all()?;
    }
    let names: Vec<_> = lost.iter().take(NAMED).map(Lost::name).collect();
    let more = lost.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let why = lost.first().map_or("", |lost| &lost.why);
    let reason = match lost.len() {
        1 => format!("a large value is lost, {}: {why}", names.concat()),
        count => format!("{count} large values are lost, {}{more} (of the first, {why})", names.join(", ")),
    };
    Ok(Quarantine { place, reason })
}

/// Links or copies a file, if it exists. A pack is not written to once another has been begun.
pub(super) fn keep(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to).or_else(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::AlreadyExists => Err(error),
        _ => fs::copy(from, to).map(drop),
    }) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => Ok(()),
        done => done,
    }
}

/// Returns what a store lacks of its own entries or of what was durable; `None` if it lacks nothing.
pub(super) fn lacks(checked: &Checked, known: Option<&Known>) -> Option<String> {
    let reached = checked.noted.map_or(0, |noted| noted.batch);
    let due = known.map_or(0, |known| known.sum.batch);
    let (found, had) = (checked.sum.entries, known.map_or(0, |known| known.sum.entries));
    if reached < due {
        let missing = due - reached;
        return Some(format!(
            "its newest part cannot be read: {missing} of {due} changes that were durable are lost (it has {found} entries, and \
             had {had})"
        ));
    }
    if checked.unmarked {
        return Some(format!("a part of it cannot be read: of {found} entries none says what they are"));
    }
    let noted = checked.noted?;
    (noted.entries != found || noted.sum != checked.sum.sum).then(|| {
        format!(
            "a part of it cannot be read: it has {found} entries, and had {}, or some are older than they were",
            noted.entries
        )
    })
}

/// Replaces a store that lacks something by a new one with everything that can be read in it.
pub(super) fn renew(
    store: &Path,
    found: Found,
    known: Option<&Known>,
    tail: &Tail,
    told: &Quarantine,
) -> io::Result<()> {
    let directory = store.parent().unwrap_or(store);
    let new = directory.join(RENEWED);
    let copied = copy_readable(store, &found, known, told, &new);
    // It is closed in any case, since its files are restored to what they were, here or in the quarantine.
    drop(found);
    if let Err(error) = copied {
        tail.restore(store)?;
        return Err(error);
    }
    take_place(store, &new, tail, told)
}

/// Sets a store aside as it was found, and moves a new, durable store to its place.
pub(super) fn take_place(store: &Path, new: &Path, tail: &Tail, told: &Quarantine) -> io::Result<()> {
    let directory = store.parent().unwrap_or(store);
    let place = directory.join(&told.place);
    fs::rename(store, &place)?;
    tail.restore(&place)?;
    File::open(directory)?.sync_all()?;
    fs::rename(new, store)?;
    File::open(directory)?.sync_all()
}

/// Creates a store with everything that can be read in another. It is durable when this returns.
fn copy_readable(
    store: &Path,
    (old, checked): &Found,
    known: Option<&Known>,
    told: &Quarantine,
    new: &Path,
) -> io::Result<()> {
    let fresh = begin(new)?;
    let reached = checked.noted.map_or(0, |noted| noted.batch);
    let mut sum = Sum { batch: reached, ..Sum::default() };
    let mut batch = Batch::new(&fresh, &mut sum);
    for entry in old.iter() {
        let (key, raw) = entry?;
        if *key != *sum::key() {
            batch.insert(key.to_vec(), &raw)?;
        }
        if batch.bytes() >= BATCH {
            batch.apply()?;
        }
    }
    batch.apply()?;
    finish(&fresh, &mut sum, reached, known, told)?;
    for reference in checked.values.values() {
        keep(&reference.file(store), &reference.file(new))?;
    }
    sync(fresh, new)
}

/// Creates an empty store that is to replace another.
pub(super) fn begin(new: &Path) -> io::Result<sled::Db> {
    if new.exists() {
        fs::remove_dir_all(new)?;
    }
    files::make_directory(&new.join(PACKS))?;
    Ok(config(new).open()?)
}

/// Closes the store and makes it durable.
pub(super) fn sync(fresh: sled::Db, new: &Path) -> io::Result<()> {
    fresh.flush()?;
    Files::open(new, &mut 0)?;
    File::open(new.join(PACKS))?.sync_all()
}

/// Completes a replacement that was interrupted after the old store had been moved away.
pub(super) fn finish_renewal(store: &Path) -> io::Result<()> {
    let new = store.parent().unwrap_or(store).join(RENEWED);
    if store.exists() || !new.exists() {
        return Ok(());
    }
    fs::rename(new, store)
}

/// Completes a new store so that it continues another: with the format, the facts that must not go back to older
/// values, the numbers of batches, and a note of what was set aside.
pub(super) fn finish(
    tree: &sled::Db,
    sum: &mut Sum,
    reached: u64,
    known: Option<&Known>,
    told: &Quarantine,
) -> sled::Result<()> {
    let nothing = Known::default();
    let known = known.unwrap_or(&nothing);
    let newer = known.sum.batch > reached;
    sum.batch = sum.batch.max(known.sum.batch);
    let mut batch = Batch::new(tree, sum);
    batch.insert(full_key(Table::Meta, FORMAT_KEY), &[FORMAT])?;
    batch.insert(full_key(Table::Meta, SET_ASIDE), &word_of(told))?;
    for (name, value) in WITNESSED.iter().zip(&known.facts) {
        let key = full_key(Table::Meta, name);
        if let Some(value) = value
            && (newer || !tree.contains_key(&key)?)
        {
            batch.insert(key, value)?;
        }
    }
    if known.inbox > 0 {
        batch.insert(full_key(Table::Meta, INBOX_FLOOR), &known.inbox.to_be_bytes())?;
    }
    batch.apply()
}

/// Encodes the note for the event log, as it is kept in the tree.
pub(super) fn word_of(told: &Quarantine) -> Vec<u8> {
    let Quarantine { place, reason } = told.clone();
    wire::encode(&SetAside { place, reason })
}

/// Returns the name of a quarantine that does not exist yet.
pub(super) fn free_place(store: &Path, at: Unix) -> String {
    let directory = store.parent().unwrap_or(store);
    let mut place = format!("store.quarantine-{}", at.seconds());
    let mut copy = 1;
    while directory.join(&place).exists() {
        copy += 1;
        place = format!("store.quarantine-{}-{copy}", at.seconds());
    }
    place
}

impl Reference {
    /// Returns the path of its pack in a store.
    pub(super) fn file(&self, store: &Path) -> PathBuf {
        store.join(PACKS).join(self.pack.to_string())
    }
}

/// The name of a store that is to replace another, until it does.
pub(super) const RENEWED: &str = "store.renewed";
/// The maximum number of lost values that a report names; the list has all of them.
const NAMED: usize = 8;
/// A batch is applied once it has this many bytes.
pub(super) const BATCH: usize = 256 * 1024;
