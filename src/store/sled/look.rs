//! Look: reads a store that no node uses, without changing it.
//!
//! sled writes to a database when it opens it. If the store turns out to be damaged, what sled has overwritten is
//! restored. If the disk or the files are read-only, a copy is opened, in the system's directory for temporary files;
//! large values stay in their place and are read there.

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
    /// Opens the existing store in `directory` to read it. A damaged store is an error, and stays as it was.
    ///
    /// # Errors
    /// Fails if the disk refuses, another process has the store open, it is damaged, or a later version has written it.
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

    /// Reads what a damaged store holds from before the damage, from a copy that is removed afterwards. `None` if the
    /// copy cannot be read either.
    pub fn salvage<T>(directory: &Path, read: impl FnOnce(SledReader) -> T) -> Result<Option<T>, OpenError> {
        let io = |error| OpenError::Io { path: directory.join(NAME), error };
        let copy = match Copy::of(directory, directory, false) {
            Err(error) if is_for_reading(&error) => Copy::of(directory, &std::env::temp_dir(), false),
            copy => copy,
        };
        let copy = copy.map_err(io)?;
        let path = copy.directory.join(NAME);
        // The event log is in the tree, so it can be read even if large values cannot.
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
    /// Copies the store into a new directory `below`. Without its index, sled reads the log up to the first damage.
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
    /// Returns the path of the store in the copy.
    pub(super) fn store(&self) -> PathBuf {
        self.directory.join(NAME)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What is left over is removed by the system at some time.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl OpenError {
    /// Returns the same error for the store that was copied.
    fn of(self, path: PathBuf) -> Self {
        match self {
            Self::Io { error, .. } => Self::Io { path, error },
            Self::InUse { .. } => Self::InUse { path },
            Self::Damaged { reason, .. } => Self::Damaged { path, reason },
            Self::Format { found, .. } => Self::Format { path, found },
        }
    }
}
