//! Documents: those that a bulletin names, one file for each, under the hash by which it is named.
//!
//! They are not secret to members. A damaged file counts as missing: its document is fetched again.

use super::private_file::{self, FileError};
use crate::identity::kdf;
use data_encoding::HEXLOWER;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Returns the documents whose hash is the name of their file.
pub(super) fn read(directory: &Path) -> Result<Vec<Arc<[u8]>>, FileError> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut documents = Vec::new();
    for name in private_file::names(directory)? {
        let bytes = private_file::read(&directory.join(&name))?;
        if name_of(&bytes) == name {
            documents.push(bytes.into());
        } else {
            tracing::warn!("the document {name} is damaged; it is fetched again");
        }
    }
    Ok(documents)
}

/// Writes what is missing, durably.
pub(super) fn add(directory: &Path, documents: &[Arc<[u8]>]) -> Result<(), FileError> {
    private_file::create_directory(directory)?;
    // One process at a time writes here; others may read meanwhile.
    private_file::remove_temporary(directory)?;
    for (document, name) in documents.iter().map(|document| (document, name_of(document))) {
        private_file::write_changed(&directory.join(name), document)?;
    }
    Ok(())
}

/// Writes what is missing, durably, and removes what is not among them.
pub(super) fn write(directory: &Path, documents: &[Arc<[u8]>]) -> Result<(), FileError> {
    add(directory, documents)?;
    let names: BTreeSet<String> = documents.iter().map(|document| name_of(document)).collect();
    for name in private_file::names(directory)? {
        if !names.contains(&name) {
            private_file::remove(&directory.join(name))?;
        }
    }
    Ok(())
}

fn name_of(document: &[u8]) -> String {
    HEXLOWER.encode(&kdf::sha256(&[document]))
}

/// The name of the directory.
pub(super) const DIRECTORY: &str = "groups";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_stays_and_what_is_damaged_is_missing() {
        let place = tempfile::tempdir().expect("a directory");
        let directory = place.path().join(DIRECTORY);
        assert_eq!(read(&directory).expect("none yet").len(), 0);
        let documents: Vec<Arc<[u8]>> = [&b"one"[..], b"two"].map(Arc::from).to_vec();
        write(&directory, &documents).expect("written");
        assert_eq!(read(&directory).expect("read").len(), 2);
        write(&directory, &documents[..1]).expect("written");
        assert_eq!(read(&directory).expect("read"), &documents[..1]);
        std::fs::write(directory.join(name_of(b"one")), b"onf").expect("damaged");
        assert_eq!(read(&directory).expect("read").len(), 0);
        write(&directory, &documents).expect("mended");
        assert_eq!(read(&directory).expect("read").len(), 2);
    }
}
