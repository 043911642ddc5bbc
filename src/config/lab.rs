//! `lab.toml`: marks a node as one of a lab, and holds its orders about links.
//!
//! Only `m2mesh lab` creates it, in the directories of its nodes; a node without it accepts no orders about links. A
//! node that is given new orders rewrites the file, so that they are in force again when it restarts.

use super::{ConfigError, explain};
use crate::gateway::dto::Lab;
use std::fs;
use std::io;
use std::path::Path;

/// Name of the file in a node's directory.
pub const FILE: &str = "lab.toml";

/// Reads the orders of a node; `None` if it is in no lab.
///
/// # Errors
/// Fails if the file cannot be read, or if its orders are wrong.
pub fn load(directory: &Path) -> Result<Option<Lab>, ConfigError> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => match toml::from_str(&text) {
            Ok(lab) => Ok(Some(lab)),
            Err(error) => Err(ConfigError::Parse { path, message: explain(&text, &error) }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ConfigError::Read { path, error }),
    }
}

/// Writes the orders atomically.
pub fn save(directory: &Path, lab: &Lab) -> io::Result<()> {
    let text = toml::to_string(lab).map_err(io::Error::other)?;
    let new = directory.join("lab.toml.new");
    fs::write(&new, text)?;
    fs::rename(&new, directory.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_was_told_is_kept() {
        let place = tempfile::tempdir().expect("a directory");
        assert_eq!(load(place.path()).expect("readable"), None);
        let text = "only = [\"node-1\", \"node-3\"]\ncut = [\"node-4\"]\n[shape.node-2]\ndelay = \"20ms\"\n";
        fs::write(place.path().join(FILE), text).expect("written");
        let lab = load(place.path()).expect("readable").expect("there");
        assert_eq!(lab.only.as_ref().map(|only| only.len()), Some(2));
        save(place.path(), &lab).expect("kept");
        assert_eq!(load(place.path()).expect("readable"), Some(lab));
        fs::write(place.path().join(FILE), "cuts = []").expect("written");
        let error = load(place.path()).expect_err("a mistyped key").to_string();
        assert!(error.contains("lab.toml: line 1:") && error.ends_with("did you mean `cut`?"), "{error}");
    }
}
