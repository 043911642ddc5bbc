//! Packs: files in which large values lie, beside sled's own.
//!
//! sled keeps sixteen values to a page, whatever their size, and writes a page anew for every few that come to it: 60 KiB in
//! it are written about three times. So a value of at least [`LARGE`] bytes is written once, to a file `packs/N`, one behind the
//! other, and the tree holds a *reference*: in which pack it lies, where, how long it is, and its checksum (CRC-32). A value
//! in the tree that begins with [`ESCAPE`] is one, or began so itself and was given a mark in front.
//!
//! A pack that has [`FULL`] bytes takes no more, and none takes any after a restart. It is removed when nothing refers to it.
//! What little is still referred to in a pack is moved to the present one when packs take more than twice what is in
//! them, and [`SLACK`].
//!
//! Invariants
//! 1. The tree holds a reference only after what it refers to is durable, and the name of its pack.
//! 2. A pack is removed only after what made it superfluous is durable.
//! 3. While the store is open, no two packs have the same number.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Values of so many bytes lie in packs.
pub(super) const LARGE: usize = 16 * 1024;
/// A pack with so many bytes takes no more.
const FULL: u64 = 4 * 1024 * 1024;
/// Bytes that packs may take beyond twice what is in them.
const SLACK: u64 = 8 * FULL;
/// Most packs that are kept open to be read. Drop policy: the oldest is closed.
const MAX_OPEN: usize = 16;
/// First byte of what is not the value itself. No CBOR begins with it.
pub(super) const ESCAPE: u8 = 0xff;
/// Second byte: the value follows.
const ITSELF: u8 = 0;
/// Second byte: a reference follows.
const REFERENCE: u8 = 1;
/// Bytes of an encoded reference.
const ENCODED: usize = 2 + 8 + 4 + 4 + 4;

/// Name of their directory in the store.
pub(super) const PACKS: &str = "packs";

/// Where a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) pack: u64,
    at: u32,
    length: u32,
    checksum: u32,
}

/// Where large values lie, by their keys in the tree.
pub(super) type Values = BTreeMap<Vec<u8>, Reference>;

/// What the tree holds for a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The value.
    Here(&'a [u8]),
    /// Where the value lies.
    At(Reference),
}

impl<'a> Stored<'a> {
    /// Reads what is in the tree; `None` for what nobody has written.
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
    /// As the tree holds it.
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

/// A small value as the tree holds it.
pub(super) fn escaped(value: &[u8]) -> std::borrow::Cow<'_, [u8]> {
    match value.first() {
        Some(&ESCAPE) => [&[ESCAPE, ITSELF], value].concat().into(),
        _ => value.into(),
    }
}

/// What reads packs, from any thread.
#[derive(Debug)]
pub(super) struct Shelf {
    directory: PathBuf,
    open: Mutex<BTreeMap<u64, Arc<File>>>,
    /// Number of the next pack.
    next: AtomicU64,
}

impl Shelf {
    /// That of the store in this directory.
    pub(super) fn of(store: &Path) -> Arc<Self> {
        Arc::new(Self { directory: store.join(PACKS), open: Mutex::default(), next: AtomicU64::new(0) })
    }

    /// The value that lies there, or `None` if its pack is gone, as it is once the value has been removed or moved. Damage is an
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

    /// The directory has been taken away.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    fn file(&self, pack: u64) -> io::Result<Option<Arc<File>>> {
        let mut open = self.lock();
        if let Some(file) = open.get(&pack) {
            if file.metadata()?.nlink() > 0 {
                return Ok(Some(Arc::clone(file)));
            }
            // It is open here still: the next start is to find it, too.
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

    /// Where a pack is.
    pub(super) fn path(&self, pack: u64) -> PathBuf {
        self.directory.join(pack.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the writer knows of packs. See the module's documentation.
#[derive(Debug)]
pub(super) struct Packs {
    shelf: Arc<Shelf>,
    /// As many as the tree has.
    values: Values,
    /// All packs that there are.
    packs: BTreeMap<u64, Usage>,
    /// The one that takes values.
    present: Option<Present>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Bytes of the file.
    bytes: u64,
    /// Those of them that are referred to.
    live: u64,
}

#[derive(Debug)]
struct Present {
    number: u64,
    file: File,
    /// Whether its name is not durable yet,
    new: bool,
    /// and whether something in it is not.
    written: bool,
}

impl Packs {
    /// The packs of a store, to which these values of its tree refer. They are made durable, whoever wrote them.
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
                // Whoever reads it is told that it is missing.
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

    /// Writes a value; it is to be put into the tree after [`Self::sync`].
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

    /// The tree has a reference now.
    pub(super) fn put(&mut self, key: Vec<u8>, reference: Reference) {
        self.packs.entry(reference.pack).or_default().live += u64::from(reference.length);
        if let Some(before) = self.values.insert(key, reference) {
            self.release(before);
        }
    }

    /// The tree has none any more.
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

    /// The value that lies there, as [`Shelf::read`] has it.
    pub(super) fn read(&self, reference: &Reference) -> io::Result<Option<Vec<u8>>> {
        self.shelf.read(reference)
    }

    /// What has to be moved so that packs take no more than they may: keys, and where their values lie.
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

    /// Removes packs to which nothing refers in the tree, as it is on the disk. One that cannot be removed is tried again.
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
