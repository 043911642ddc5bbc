//! Private file: a file that only its owner may read, written whole or not at all.
//!
//! A write goes to a temporary file beside the target (`.NAME.PROCESS-NUMBER.tmp`, mode 0600, a name that no other
//! write uses). This file is synced and renamed over the target, and the directory is synced: after a crash the target
//! has its old bytes or its new ones. A file that others could have read or written is refused: its secrets may no
//! longer be secret.

use crate::identity::passphrase::PassphraseError;
use rustix::fs::{FlockOperation, flock, syncfs};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// An error, and the file that it is about.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file does not exist.
    #[error("{} is missing; bring it back from a copy, or enrol anew in another directory", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others may read or write the file.
    #[error("{} can be read by others (mode {mode:04o}); make it private with `chmod go= {0}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file is sealed, and there is no passphrase to try.
    #[error("{} is sealed under a passphrase; {HOW_TO_GIVE}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// The file is sealed under another passphrase.
    #[error("the passphrase is wrong: {} does not open with it; {HOW_TO_GIVE}", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// The file is sealed, and its seal is damaged or not supported.
    #[error("{}: {source}; bring it back from a copy, or enrol anew in another directory", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PassphraseError,
    },
    /// The file is longer than a private file can be.
    #[error("{} has {length} bytes, more than the {limit} that it can have", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The length of the file in bytes.
        length: u64,
        /// The number of bytes allowed.
        limit: u64,
    },
    /// The file system refuses.
    #[error("{} cannot be {action}: {source}; {}", path.display(), crate::advice::of(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a participle: "read", "written".
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
}

/// Reads a private file of at most [`MAX_BYTES`].
///
/// # Errors
/// Fails if the file is missing, open to others or too long, or if the file system refuses.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Io { path: path.into(), action: "read", source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FileError::Missing { path: path.into() }),
        opened => opened.map_err(failed)?,
    };
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Open { path: path.into(), mode });
    }
    if metadata.len() > MAX_BYTES {
        return Err(FileError::TooLong { path: path.into(), length: metadata.len(), limit: MAX_BYTES });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Writes a private file. It is durable when this returns.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let (file, temporary) = write_beside(path, bytes)?;
    file.sync_all().map_err(|source| FileError::Io { path: path.into(), action: "synced", source })?;
    put_in_place(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Writes many private files of one file system: after a crash each is whole or as it was, and when this returns all
/// are durable. The file system is synced twice for all of them, since syncing each file would take a disk's time twice
/// for each.
pub fn write_all(files: &[(PathBuf, impl AsRef<[u8]>)]) -> Result<(), FileError> {
    if files.len() <= FEW {
        return files.iter().try_for_each(|(path, bytes)| write(path, bytes.as_ref()));
    }
    let mut temporaries = Vec::with_capacity(files.len());
    let mut last = None;
    for (path, bytes) in files {
        let (file, temporary) = write_beside(path, bytes.as_ref())?;
        temporaries.push(temporary);
        last = Some((file, path));
    }
    let Some((file, path)) = last else { return Ok(()) };
    sync_file_system(&file, path)?;
    for (temporary, (path, _)) in temporaries.iter().zip(files) {
        put_in_place(temporary, path)?;
    }
    sync_file_system(&file, path)
}

/// As [`write()`], unless the file has these bytes already.
pub fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    match read(path) {
        Ok(present) if present == bytes => Ok(()),
        _ => write(path, bytes),
    }
}

/// Removes the temporary files that interrupted writes have left in a directory. No other process may write there
/// meanwhile.
pub fn remove_temporary(directory: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: directory.into(), action: "read", source };
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(TEMPORARY) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, if it exists.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FileError::Io { path: path.into(), action: "removed", source: error })
        }
        _ => Ok(()),
    }
}

/// Creates a directory, and those above it, that only its owner may enter.
pub fn create_directory(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { path: path.into(), action: "created", source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)
}

/// Renames a directory into place. The new name is durable when this returns.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    std::fs::rename(from, to).map_err(|source| FileError::Io { path: to.into(), action: "created", source })?;
    to.parent().map_or(Ok(()), sync_directory)
}

/// Returns the names of the files in a directory, sorted, without temporary ones.
pub fn names(directory: &Path) -> Result<Vec<String>, FileError> {
    let failed = |source| FileError::Io { path: directory.into(), action: "read", source };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Opens a file, which is created if missing, and locks it against every other process that locks it. Waits for the
/// lock, which is released when the file is closed.
pub fn lock(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::Io { path: path.into(), action: "locked", source };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
    Ok(file)
}

/// The maximum length of a private file, in bytes: the cards of 4,096 contacts at 260 bytes each, twice over.
pub const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// Advice on how to give a passphrase.
const HOW_TO_GIVE: &str = "give it with --passphrase-file FILE, in M2MESH_PASSPHRASE_FILE, or on a terminal";

/// The suffix of a temporary file's name.
const TEMPORARY: &str = ".tmp";
/// The number of writes of this process so far.
static WRITES: AtomicU64 = AtomicU64::new(0);

/// Up to this number of files, [`write_all`] syncs each file; beyond it, the file system.
const FEW: usize = 8;

fn write_beside(path: &Path, bytes: &[u8]) -> Result<(File, PathBuf), FileError> {
    let failed = |source| FileError::Io { path: path.into(), action: "written", source };
    let (directory, name) = match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) => (directory, name.to_string_lossy()),
        _ => return Err(failed(io::ErrorKind::InvalidInput.into())),
    };
    let number = WRITES.fetch_add(1, Ordering::Relaxed);
    let temporary = directory.join(format!(".{name}.{}-{number}{TEMPORARY}", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    Ok((file, temporary))
}

fn put_in_place(temporary: &Path, path: &Path) -> Result<(), FileError> {
    std::fs::rename(temporary, path).map_err(|source| FileError::Io { path: path.into(), action: "replaced", source })
}

fn sync_file_system(file: &File, path: &Path) -> Result<(), FileError> {
    syncfs(file).map_err(|error| FileError::Io { path: path.into(), action: "synced", source: error.into() })
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> Result<(), FileError> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| FileError::Io { path: directory.into(), action: "synced", source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn many_files_are_written_like_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let files: Vec<_> = (0..FEW + 4).map(|n| (directory.path().join(n.to_string()), n.to_string())).collect();
        write_all(&files).expect("written");
        for (path, bytes) in &files {
            assert_eq!(read(path).expect("private and there"), bytes.as_bytes());
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("read").count(), files.len(), "nothing temporary");
    }

    /// Invariant 1.
    #[test]
    fn files_are_private_and_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub").join("key");
        create_directory(path.parent().expect("a parent")).expect("created");
        assert!(matches!(read(&path), Err(FileError::Missing { .. })));
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("written over");
        assert_eq!(read(&path).expect("read"), b"two");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().expect("a parent"))), (0o600, 0o700));
        assert_eq!(names(path.parent().expect("a parent")).expect("read"), ["key"]);
        for wide in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wide)).expect("changed");
            let error = read(&path).expect_err("others may read it").to_string();
            assert!(error.contains("key") && error.contains("chmod"), "{error}");
        }
    }
}
