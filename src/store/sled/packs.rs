//! Packs: files that hold large values, beside sled's own files.
//!
//! sled keeps sixteen values in a page, whatever their size, and rewrites a page after every few additions, so that 60
//! KiB in the tree are written about three times. A value of at least [`LARGE`] bytes is therefore appended once to a
//! file `packs/N`, and the tree holds a *reference*: the number of the pack, the offset, the length, and a checksum
//! (CRC-32). A value in the tree that begins with [`ESCAPE`] is a reference, or a small value that itself began so and
//! got a mark in front.
//!
//! A pack takes no more values once it has [`FULL`] bytes, or after a restart. It is removed when nothing refers to it.
//! When packs take more than twice what is referred to in them plus [`SLACK`], the values that are left in the sparsest
//! pack are moved to the present one.
//!
//! Invariants
//! 1. The tree holds a reference only after the value and the name of its pack are durable.
//! 2. A pack is removed only after the change that made it superfluous is durable.
//! - While the store is open, no two packs have the same number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Values of at least this many bytes are kept in packs.
pub(super) const LARGE: usize = 16 * 1024;
/// A pack with this many bytes takes no more values.
const FULL: u64 = 4 * 1024 * 1024;
/// Bytes that packs may take beyond twice what is referred to in them.
const SLACK: u64 = 8 * FULL;
/// The maximum number of packs kept open for reading. Drop policy: the one with the lowest number is closed.
const MAX_OPEN: usize = 16;
/// The first byte of an entry that is not a plain value. No CBOR begins with it.
pub(super) const ESCAPE: u8 = 0xff;
/// The second byte of an escaped value, which follows.
const ITSELF: u8 = 0;
/// The second byte of a reference, which follows.
const REFERENCE: u8 = 1;
/// Bytes of an encoded reference.
const ENCODED: usize = 2 + 8 + 4 + 4 + 4;

/// The name of the packs' directory within the store's.
pub(super) const PACKS: &str = "packs";

/// The place of a value in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) pack: u64,
    at: u32,
    length: u32,
    checksum: u32,
}

/// The places of large values, by their keys in the tree.
pub(super) type Values = BTreeMap<Vec<u8>, Reference>;

/// The form of a value in the tree.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The value itself.
    Here(&'a [u8]),
    /// A reference to the value in a pack.
    At(Reference),
}

impl<'a> Stored<'a> {
    /// Decodes an entry of the tree; `None` if it is malformed.
    pub(super) fn read(raw: &'a [u8]) -> Option<Self> {
        match raw {
            [ESCAPE, ITSELF, value @ ..] => Some(Self::Here(value)),
            [ESCAPE, REFERENCE, reference @ ..] => {
                let (pack, rest) = reference.split_first_chunk()?;
                let (at, rest) = rest.split_first_chunk()?;
                let (length, checksum) = rest.split_first_chunk()?;
                Some(Self::At(Reference {
                    pack: u64::from_be_bytes(*pack),
                    at: u32::from_be_bytes(*at),
                    length: u32::from_be_bytes(*length),
                    checksum: u32::from_be_bytes(checksum.try_into().ok()?),
                }))
            }
            [ESCAPE, ..] => None,
            value => Some(Self::Here(value)),
        }
    }
}

impl Reference {
    /// Encodes the reference for the tree.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoded = Vec::with_capacity(ENCODED);
        encoded.extend([ESCAPE, REFERENCE]);
        encoded.extend(self.pack.to_be_bytes());
        for part in [self.at, self.length, self.checksum] {
            encoded.extend(part.to_be_bytes());
        }
        encoded
    }
}

/// Encodes a small value for the tree.
pub(super) fn escaped(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match value.first() {
        Some(&ESCAPE) => [&[ESCAPE, ITSELF], value].concat().into(),
        _ => value.into(),
    }
}

/// Reads packs, from any thread.
#[derive(Debug)]
pub(super) struct Shelf {
    directory: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<File>>>,
    /// The number of the next pack.
    next: AtomicU64,
}

impl Shelf {
    /// Returns the shelf of the store in this directory.
    pub(super) fn of(store: &Path) -> Arc<Self> {
        Arc::new(Self { directory: store.join(PACKS), open: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// Returns the value, or `None` if its pack is gone, as it is once the value was removed or moved. Damage is an
    /// error of kind [`ErrorKind::InvalidData`].
    pub(super) fn read(&self, reference: &Reference) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(reference.pack)? else { return Ok(None) };
        let damaged = |what| {
            let text = format!("{} is {what} at {}", self.path(reference.pack).display(), reference.at);
            io::Error::new(ErrorKind::InvalidData, text)
        };
        let mut value = vec![0; reference.length as usize];
        match file.read_exact_at(&mut value, reference.at.into()) {
            Ok(()) if crc32fast::hash(&value) == reference.checksum => Ok(Some(value)),
            Ok(()) => Err(damaged("damaged")),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(damaged("cut off")),
            Err(error) => Err(error),
        }
    }

    /// Closes all packs, because the directory has been moved away.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn file(&self, pack: u64) -> io::Result<Option<Arc<File>>> {
        let mut open = self.lock();
        if let Some(file) = open.get(&pack) {
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(Arc::clone(file)));
            }
            // It is still open here, so it can be written again for the next start.
            tracing::warn!(pack = %self.path(pack).display(), "it was removed while the node runs, and is written again");
            super::files::name_again(file, &self.directory, &pack.to_string())?;
            open.remove(&pack);
        }
        let file = match File::open(self.path(pack)) {
            Ok(file) => Arc::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if open.len() >= MAX_OPEN {
            open.pop_first();
        }
        open.insert(pack, Arc::clone(&file));
        Ok(Some(file))
    }

    /// Returns the path of a pack.
    pub(super) fn path(&self, pack: u64) -> PathBuf {
        self.directory.join(pack.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's knowledge of packs, by which it writes, moves and removes.
#[derive(Debug)]
pub(super) struct Packs {
    shelf: Arc<Shelf>,
    /// The places of all large values of the tree.
    values: Values,
    /// All packs that exist, by number.
    packs: BTreeMap<u64, Usage>,
    /// The pack that takes values.
    present: Option<Present>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Bytes of the file.
    bytes: u64,
    /// Bytes of values that are referred to.
    live: u64,
}

#[derive(Debug)]
struct Present {
    number: u64,
    file: File,
    /// Whether the pack's name is not durable yet.
    new: bool,
    /// Whether something in the pack is not durable yet.
    written: bool,
}

impl Packs {
    /// Opens the packs of a store whose tree has these references. Makes them durable, whichever process wrote them.
    pub(super) fn open(shelf: Arc<Shelf>, values: Values, fsyncs: &mut u64) -> io::Result<Self> {
        let mut packs = BTreeMap::new();
        super::files::make_directory(&shelf.directory)?;
        for entry in fs::read_dir(&shelf.directory)? {
            let entry = entry?;
            if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
                packs.insert(number, Usage { bytes: entry.metadata()?.len(), live: 0 });
            }
        }
        for reference in values.values() {
            packs.entry(reference.pack).or_default().live += u64::from(reference.length);
        }
        for (number, _) in packs.iter().filter(|(_, usage)| usage.live > 0) {
            match File::open(shelf.path(*number)) {
                Ok(file) => file.sync_all()?,
                // A reader of the value reports that it is missing.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            }
            *fsyncs += 1;
        }
        File::open(&shelf.directory)?.sync_all()?;
        *fsyncs += 1;
        shelf.next.fetch_max(packs.last_key_value().map_or(0, |(number, _)| number + 1), Relaxed);
        Ok(Self { shelf, values, packs, present: None })
    }

    /// Appends a value to a pack. The reference may be put into the tree after [`Self::sync`].
    pub(super) fn write(&mut self, value: &[u8]) -> io::Result<Reference> {
        let oversized = || io::Error::new(ErrorKind::InvalidInput, "a value of 4 GiB");
        let length = u32::try_from(value.len()).map_err(|_| oversized())?;
        let fits = |present: &Present| self.packs.get(&present.number).is_some_and(|usage| usage.bytes < FULL);
        if self.present.as_ref().is_some_and(|present| !fits(present) && !present.written) {
            self.present = None;
        }
        let present = match &mut self.present {
            Some(present) => present,
            none => {
                let number = self.shelf.next.fetch_add(1, Relaxed);
                let file = File::create_new(self.shelf.path(number))?;
                self.packs.insert(number, Usage::default());
                none.insert(Present { number, file, new: true, written: false })
            }
        };
        let usage = self.packs.entry(present.number).or_default();
        let at = u32::try_from(usage.bytes).map_err(|_| oversized())?;
        present.file.write_all_at(value, usage.bytes)?;
        present.written = true;
        usage.bytes += u64::from(length);
        Ok(Reference { pack: present.number, at, length, checksum: crc32fast::hash(value) })
    }

    /// Makes durable what was written.
    pub(super) fn sync(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        let Some(present) = self.present.as_mut().filter(|present| present.written) else { return Ok(()) };
        present.file.sync_data()?;
        *fsyncs += 1;
        if present.file.metadata()?.nlink() == 0 {
            let path = self.shelf.path(present.number);
            return Err(io::Error::new(ErrorKind::NotFound, format!("{} was removed", path.display())));
        }
        if present.new {
            File::open(&self.shelf.directory)?.sync_all()?;
            *fsyncs += 1;
        }
        (present.new, present.written) = (false, false);
        Ok(())
    }

    /// Notes that the tree now has this reference.
    pub(super) fn put(&mut self, key: Vec<u8>, reference: Reference) {
        self.packs.entry(reference.pack).or_default().live += u64::from(reference.length);
        if let Some(before) = self.values.insert(key, reference) {
            self.release(before);
        }
    }

    /// Notes that the tree no longer has a reference for this key.
    pub(super) fn remove(&mut self, key: &[u8]) {
        if let Some(before) = self.values.remove(key) {
            self.release(before);
        }
    }

    fn release(&mut self, reference: Reference) {
        if let Some(usage) = self.packs.get_mut(&reference.pack) {
            usage.live = usage.live.saturating_sub(reference.length.into());
        }
    }

    /// Returns the value of a reference, as [`Shelf::read`] does.
    pub(super) fn read(&self, reference: &Reference) -> io::Result<Option<Vec<u8>>> {
        self.shelf.read(reference)
    }

    /// Returns the values that must be moved because packs take too much: all that are left in the sparsest pack.
    pub(super) fn sparse(&self) -> Vec<(Vec<u8>, Reference)> {
        let (bytes, live) =
            self.packs.values().fold((0, 0), |(bytes, live), usage| (bytes + usage.bytes, live + usage.live));
        if bytes <= 2 * live + SLACK {
            return Vec::new();
        }
        let present = self.present.as_ref().map(|present| present.number);
        let others = self.packs.iter().filter(|(number, _)| Some(**number) != present);
        let Some((sparsest, _)) = others.min_by_key(|(_, usage)| usage.live) else { return Vec::new() };
        let there = self.values.iter().filter(|(_, reference)| reference.pack == *sparsest);
        there.map(|(key, reference)| (key.clone(), *reference)).collect()
    }

    /// Removes packs to which nothing in the durable tree refers. A pack that cannot be removed is tried again the next
    /// time.
    pub(super) fn tidy(&mut self) {
        let (shelf, present) = (&self.shelf, self.present.as_ref().map(|present| present.number));
        self.packs.retain(|number, usage| {
            if usage.live > 0 || Some(*number) == present {
                return true;
            }
            shelf.lock().remove(number);
            fs::remove_file(shelf.path(*number)).is_err_and(|error| error.kind() != ErrorKind::NotFound)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tree_holds_is_told_apart() {
        let reference = Reference { pack: 7, at: 1 << 20, length: 60_000, checksum: 0xdead_beef };
        assert_eq!(Stored::read(&reference.encode()), Some(Stored::At(reference)));
        for value in [&b""[..], b"value", &[ESCAPE], &[ESCAPE, REFERENCE, 1], &[0xfe, ESCAPE]] {
            assert_eq!(Stored::read(&escaped(value)), Some(Stored::Here(value)));
        }
        for broken in [&[ESCAPE][..], &[ESCAPE, 2], &[ESCAPE, REFERENCE], &reference.encode()[..ENCODED - 1]] {
            assert_eq!(Stored::read(broken), None);
        }
        assert_eq!(Stored::read(&[&reference.encode()[..], &[0]].concat()), None);
    }
}
