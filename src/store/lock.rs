//! Lock: one process at a time uses a directory.
//!
//! The lock is the kernel's (`flock` on `DIR/lock`), so it ends with the process, however the process ends. The file
//! holds the number of the process, to be reported by another that finds it locked. It is never removed: otherwise two
//! processes could lock two files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The lock on a directory, held until this is dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// The reason why a directory cannot be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds the lock.
    #[error("another m2mesh{} runs in {}; stop it, or use another --dir", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .directory.display())]
    Held {
        /// The number of that process, if it has written it yet.
        pid: Option<u32>,
        /// The directory.
        directory: PathBuf,
    },
    /// The lock file cannot be created or locked.
    #[error("{} cannot be locked: {error}; {}", .path.display(), crate::advice::or(.error, "check that the directory is on a local disk"))]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
}

impl DirectoryLock {
    /// Locks an existing directory.
    ///
    /// # Errors
    /// Fails if another process holds the lock, or if the lock file cannot be created or locked.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        Self::open(directory, false)
    }

    /// Locks an existing directory, which may be on a read-only disk, to read what is in it. Fails as
    /// [`DirectoryLock::take`] does.
    pub fn take_to_look(directory: &Path) -> Result<Self, LockError> {
        Self::open(directory, true)
    }

    fn open(directory: &Path, for_looking: bool) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let io = |error| LockError::Io { path: path.clone(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = match options.open(&path) {
            // On a read-only disk, or in a directory that may only be read, reading is still allowed.
            Err(error) if for_looking && is_for_reading(&error) => File::open(&path).map_err(io)?,
            opened => opened.map_err(io)?,
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { pid, directory: directory.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        match file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())) {
            // The file may have been opened for reading only.
            Err(error) if !for_looking => return Err(io(error)),
            _ => {}
        }
        Ok(Self { _file: file })
    }
}

/// Whether the error means that a file can be read but not written.
pub(super) fn is_for_reading(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// The name of the lock file.
const FILE: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_of_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DirectoryLock::take(directory.path()).expect("nobody has it");
        // The lock belongs to the open file, so it keeps out this process as it would another.
        let refused = DirectoryLock::take(directory.path()).expect_err("it is held").to_string();
        let expected = format!(
            "another m2mesh (pid {}) runs in {}; stop it, or use another --dir",
            std::process::id(),
            directory.path().display()
        );
        assert_eq!(refused, expected);
        drop(first);
        DirectoryLock::take(directory.path()).expect("it is free again");
    }

    #[test]
    fn a_missing_directory_is_named() {
        let refused = DirectoryLock::take(Path::new("/nowhere/at/all")).expect_err("there is none").to_string();
        assert!(refused.starts_with("/nowhere/at/all/lock cannot be locked"), "{refused}");
    }
}
