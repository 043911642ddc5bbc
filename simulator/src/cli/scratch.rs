//! Scratch: a directory for temporary files.

use super::failure::Failure;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A new directory in the system's directory for temporary files, removed with its contents when this is dropped.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes a directory; `verb` is part of its name.
    pub(super) fn new(verb: &str) -> Result<Self, Failure> {
        let within = std::env::temp_dir();
        for number in 0..ATTEMPTS {
            let path = within.join(format!("m2mesh-{verb}-{}-{number}", std::process::id()));
            // An existing directory belongs to another process, or was left behind by one that was killed.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::file("make", &path, &error)),
            }
        }
        let error = format!("there is no room for another directory m2mesh-{verb}-… in {}", within.display());
        Err(Failure::new(error, "remove old ones"))
    }

    /// Returns the path of the directory.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Files that cannot be removed remain in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The number of names that are tried.
const ATTEMPTS: u32 = 100;
