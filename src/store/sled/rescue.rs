//! Rescue: saves what can be read of a store that sled cannot open, or cannot read to its end.
//!
//! 1. A copy of the store is opened. If nothing can be read in it, a copy without sled's index is opened, for which
//!    sled reads its log again up to the damage.
//! 2. In each table, the entries are read from the front up to the damage, and from the back down to it.
//! 3. They are written to a new store, together with the packs of large values that can be read.
//! 4. The damaged store becomes a quarantine as it was found, and the new one takes its place ([`losses`]).
//!
//! Entries between two damaged places of one table are lost with them. The content of a log that was read up to the
//! damage is older than it should be; facts that must not go back to older values are restored from the witness.

use super::look::Copy;
use super::losses::{self, BATCH, Lost, RENEWED, finish, keep};
use super::open::config;
use super::packs::{Shelf, Stored};
use super::sum::{self, Batch, Sum};
use super::tail::Tail;
use super::witness::Known;
use super::{evict_behind, whole_range};
use crate::store::Quarantine;
use crate::time::Unix;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Replaces a store that cannot be read by a new one with everything that can be read of it. Returns the quarantine to
/// report.
pub(super) fn rescue(
    store: &Path,
    known: Option<&Known>,
    tail: &Tail,
    reason: &str,
    at: Unix,
) -> io::Result<Quarantine> {
    tail.restore(store)?;
    let directory = store.parent().unwrap_or(store);
    let new = directory.join(RENEWED);
    let place = losses::free_place(store, at);
    let mut told = Quarantine { place, reason: reason.to_owned() };
    for index in [true, false] {
        let copy = Copy::of(directory, directory, index)?;
        let fresh = losses::begin(&new)?;
        let (mut sum, mut reached) = (Sum::default(), 0);
        let mut writer = Batch::new(&fresh, &mut sum);
        if let Some(old) = opened(&copy.store()) {
            reached =
                guarded(|| old.get(sum::key())).flatten().and_then(|raw| Sum::decode(&raw)).map_or(0, |sum| sum.batch);
            let shelf = Shelf::of(store);
            for table in 0..u8::MAX {
                each_readable(&old, table, &mut |key, raw| bring_over(store, &new, &shelf, &mut writer, key, raw))?;
            }
        }
        writer.apply()?;
        let kept = sum.entries;
        if kept == 0 && index {
            continue;
        }
        let lost = known.map(|known| known.sum.entries.saturating_sub(kept));
        told.reason = match (kept, lost) {
            (0, _) => format!("nothing of it can be read: {reason}"),
            (kept, Some(lost)) => format!("about {lost} of its entries are lost, {kept} are kept: {reason}"),
            (kept, None) => format!("a part of its entries is lost, {kept} are kept: {reason}"),
        };
        sum.batch = sum.batch.max(reached);
        finish(&fresh, &mut sum, reached, known, &told)?;
        losses::sync(fresh, &new)?;
        break;
    }
    losses::take_place(store, &new, tail, &told)?;
    Ok(told)
}

/// Copies an entry to the new store, unless it refers to a value that cannot be read.
fn bring_over(
    store: &Path,
    new: &Path,
    shelf: &Shelf,
    writer: &mut Batch<'_>,
    key: &[u8],
    raw: &[u8],
) -> io::Result<()> {
    match Stored::read(raw) {
        _ if *key == *sum::key() => return Ok(()),
        Some(Stored::Here(_)) => {}
        Some(Stored::At(reference)) => match Lost::look(shelf, key, &reference)? {
            None => keep(&reference.file(store), &reference.file(new))?,
            Some(_) => return Ok(()),
        },
        None => return Ok(()),
    }
    writer.insert(key.to_vec(), raw)?;
    if writer.bytes() >= BATCH {
        writer.apply()?;
    }
    Ok(())
}

/// Takes a key and its value.
type Each<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> io::Result<()>;

/// Reads a table from its front and, if that does not reach the end, from its back.
fn each_readable(database: &sled::Db, table: u8, each: Each<'_>) -> io::Result<()> {
    let mut range = database.range(whole_range(table));
    let mut reached: Option<sled::IVec> = None;
    loop {
        match guarded(|| range.next().transpose()) {
            Some(Some((key, raw))) => {
                each(&key, &raw)?;
                // What is not evicted now is freed with the copy.
                let _ = guarded(|| evict_behind(database, &key));
                reached = Some(key);
            }
            Some(None) => return Ok(()),
            None => break,
        }
    }
    let mut range = database.range(whole_range(table));
    while let Some(Some((key, raw))) = guarded(|| range.next_back().transpose()) {
        if reached.as_ref().is_some_and(|reached| key <= *reached) {
            break;
        }
        each(&key, &raw)?;
    }
    Ok(())
}

fn opened(store: &Path) -> Option<sled::Db> {
    guarded(|| config(store).open())
}

/// Runs a read of sled; `None` if it fails or panics.
fn guarded<T>(read: impl FnOnce() -> sled::Result<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok()?.ok()
}
