//! One process per directory.
//!
//! The lock is the kernel's (`flock` on `DIR/lock`), so it goes with the process however that ends. The file holds
//! the number of the process for whoever finds it locked, and is never removed: removing it would let two
//! processes lock two files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Held as long as this lives.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Why the directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("another m2mesh{} runs in {}; stop it, or use another --dir", .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), .directory.display())]
    Held {
        /// Its number, if it has written it yet.
        pid: Option<u32>,
        /// The directory.
        directory: PathBuf,
    },
    /// The file cannot be made or locked.
    #[error("{} cannot be locked: {error}; {}", .path.display(), crate::advice::or(.error, "check that the directory is on a local disk"))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl DirectoryLock {
    /// Locks an existing directory.
    pub fn take(directory: &Path) -> Result<Self, LockError> {
        Self::open(directory, false)
    }

    /// Locks an existing directory that may be on a disk that cannot be written, to look at it.
    pub fn take_to_look(directory: &Path) -> Result<Self, LockError> {
        Self::open(directory, true)
    }

    fn open(directory: &Path, for_looking: bool) -> Result<Self, LockError> {
        let path = directory.join(FILE);
        let io = |error| LockError::Io { path: path.clone(), error };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = match options.open(&path) {
            // A disk that cannot be written, or a directory of which only the reading is allowed: looking is, too.
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
            // Opened for reading.
            Err(error) if !for_looking => return Err(io(error)),
            _ => {}
        }
        Ok(Self { _file: file })
    }
}

/// Whether it says that something can be read, and not written.
pub(super) fn is_for_reading(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// The file's name.
const FILE: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_of_the_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = DirectoryLock::take(directory.path()).expect("nobody has it");
        // The lock belongs to the open file, so this process refuses itself as it would refuse another.
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
