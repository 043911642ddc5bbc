//! Looking at a store in which no node works: nothing in it changes.
//!
//! sled writes when it opens a database. What it writes over is put back where the store turns out to be damaged. Where the
//! disk cannot be written, or only the reading is allowed, a copy is looked at, in the system's directory for temporary
//! files; large values stay where they are and are read there.

use super::losses;
use super::open::{Failure, NAME, OpenError, open};
use super::packs::{PACKS, Shelf};
use super::tail::Tail;
use super::witness::{self, Witness};
use super::{SledReader, SledStore, Store, files};
use crate::store::lock::is_for_reading;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

impl SledStore {
    /// Opens the store in `directory`, which is there, to look at it: what is damaged is an error, and as it was before.
    pub fn inspect(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        let io = |error| OpenError::Io { path: path.clone(), error };
        if let Err(error) = OpenOptions::new().write(true).open(path.join(files::DATABASE))
            && is_for_reading(&error)
        {
            let copy = Copy::of(directory, &std::env::temp_dir(), true).map_err(io)?;
            let mut looked = Self::inspect_in_place(&copy.directory).map_err(|error| error.of(path))?;
            looked.copy = Some(copy);
            return Ok(looked);
        }
        Self::inspect_in_place(directory)
    }

    fn inspect_in_place(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        let io = |error| OpenError::Io { path: path.clone(), error };
        let known = Witness::read(directory).map_err(io)?;
        let tail = Tail::read(&path).map_err(io)?;
        let shelf = Shelf::of(&path);
        let reason = match open(&path, &shelf) {
            Ok(found) => {
                let lost = || Some(found.1.lost.first()?.why.clone());
                match losses::lacks(&found.1, known.as_ref()).or_else(lost) {
                    None => return Self::start(path, shelf, found, None),
                    Some(reason) => reason,
                }
            }
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Damaged(reason)) => reason,
        };
        tail.restore(&path).map_err(io)?;
        Err(OpenError::Damaged { path, reason })
    }

    /// Reads what a damaged store has from before the damage, from a copy of it, which is removed afterwards. Nothing if
    /// not even that can be read.
    pub fn salvage<T>(directory: &Path, read: impl FnOnce(SledReader) -> T) -> Result<Option<T>, OpenError> {
        let io = |error| OpenError::Io { path: directory.join(NAME), error };
        let copy = match Copy::of(directory, directory, false) {
            Err(error) if is_for_reading(&error) => Copy::of(directory, &std::env::temp_dir(), false),
            copy => copy,
        };
        let copy = copy.map_err(io)?;
        let path = copy.directory.join(NAME);
        // The log is in the tree: that a large value cannot be read is no reason not to read it.
        match open(&path, &Shelf::of(&path)) {
            Ok(found) => Ok(Some(read(Self::start(path.clone(), Shelf::of(&path), found, None)?.reader()))),
            Err(Failure::Damaged(_)) => Ok(None),
            Err(Failure::Error(error)) => Err(error),
        }
    }
}

/// A copy of a store and its witness, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Copy {
    directory: PathBuf,
}

impl Copy {
    /// A copy below another directory. Without its index sled reads a log up to the first damage.
    pub(super) fn of(directory: &Path, below: &Path, index: bool) -> io::Result<Self> {
        static COPIES: AtomicU64 = AtomicU64::new(0);
        let name = format!(".m2mesh-examined-{}-{}", std::process::id(), COPIES.fetch_add(1, Relaxed));
        let copy = Self { directory: below.join(name) };
        fs::DirBuilder::new().mode(0o700).create(&copy.directory)?;
        let (from, to) = (directory.join(NAME).canonicalize()?, copy.directory.join(NAME));
        files::make_directory(&to)?;
        for entry in fs::read_dir(&from)? {
            let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            let to = to.join(&name);
            match name.to_str() {
                Some(PACKS) => symlink(&entry, &to)?,
                Some(name) if name.starts_with("snap.") && !index => {}
                _ if entry.is_dir() => {
                    files::make_directory(&to)?;
                    for blob in fs::read_dir(&entry)? {
                        let blob = blob?;
                        fs::copy(blob.path(), to.join(blob.file_name()))?;
                    }
                }
                _ => drop(fs::copy(&entry, &to)?),
            }
        }
        match fs::copy(directory.join(witness::FILE), copy.directory.join(witness::FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(copy),
        }
    }
}

impl Copy {
    /// Where its store is.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.join(NAME)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What stays of it the system removes at some time.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl OpenError {
    /// The same, of the store that was copied.
    fn of(self, path: PathBuf) -> Self {
        match self {
            Self::Io { error, .. } => Self::Io { path, error },
            Self::InUse { .. } => Self::InUse { path },
            Self::Damaged { reason, .. } => Self::Damaged { path, reason },
            Self::Format { found, .. } => Self::Format { path, found },
        }
    }
}
