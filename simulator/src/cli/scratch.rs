//! A directory for what is of no use afterwards.

use super::failure::Failure;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A new directory in that for temporary files, removed with all that is in it when this is let go of.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; `verb` is part of its name.
    pub(super) fn new(verb: &str) -> Result<Self, Failure> {
        let within = std::env::temp_dir();
        for number in 0..ATTEMPTS {
            let path = within.join(format!("m2mesh-{verb}-{}-{number}", std::process::id()));
            // One that is there already is somebody else's, or was left behind by a process that was killed.
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(Failure::file("make", &path, &error)),
            }
        }
        let error = format!("there is no room for another directory m2mesh-{verb}-… in {}", within.display());
        Err(Failure::new(error, "remove old ones"))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Names tried.
const ATTEMPTS: u32 = 100;
