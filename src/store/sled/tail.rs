//! Tail: the parts of a database that opening it may overwrite.
//!
//! sled takes the first message of its log that it cannot read, after its last snapshot, for the end of the log, and
//! fills what follows with zeros: the rest of that segment, and all later segments. All of these are at or behind the
//! greatest log position that a segment's header gives as stable, or have no readable header. sled also writes a new
//! snapshot, which leaves out what it has not read, and removes the previous one. All of these parts are read before
//! sled opens its file, so that a store that turns out to be damaged can be set aside, or left, as it was found.

use super::files::DATABASE;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The newest segments and the snapshots of a closed database.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// The length of the file; `None` if there was no file.
    length: Option<u64>,
    /// The segments that are not empty: offset and content.
    segments: Vec<(u64, Vec<u8>)>,
    /// The segments that contain only zeros: offset and length.
    empty: Vec<(u64, usize)>,
    /// The snapshots, usually one: name and content.
    snapshots: Vec<(OsString, Vec<u8>)>,
}

impl Tail {
    /// Reads the tail of a database; it is empty if there is no database yet.
    pub(super) fn read(store: &Path) -> io::Result<Self> {
        let file = match File::open(store.join(DATABASE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let length = file.metadata()?.len();
        let mut headers = Vec::new();
        for offset in (0..length).step_by(SEGMENT) {
            headers.push((Header::read(&file, offset)?, offset));
        }
        let stable = headers.iter().filter_map(|(header, _)| Some(header.as_ref()?.stable)).max().unwrap_or(0);
        let floor = stable.max(0) / SEGMENT as i64 * SEGMENT as i64;
        headers.retain(|(header, _)| header.as_ref().is_none_or(|header| header.number >= floor));
        // Segments without a readable header come first: one of them may be the damaged one.
        headers.sort_by_key(|(header, _)| header.as_ref().map(|header| std::cmp::Reverse(header.number)));
        let (mut segments, mut empty) = (Vec::new(), Vec::new());
        for (_, offset) in headers {
            let mut content = vec![0; (length - offset).min(SEGMENT as u64) as usize];
            file.read_exact_at(&mut content, offset)?;
            if content.iter().all(|byte| *byte == 0) {
                empty.push((offset, content.len()));
            } else {
                segments.push((offset, content));
            }
            if segments.len() == MOST {
                break;
            }
        }
        let mut snapshots = Vec::new();
        for path in snapshots_in(store)? {
            snapshots.push((path.file_name().unwrap_or_default().to_owned(), fs::read(path)?));
        }
        Ok(Self { length: Some(length), segments, empty, snapshots })
    }

    /// Restores the tail in the closed database, either here or in the place to which it was moved.
    pub(super) fn restore(&self, store: &Path) -> io::Result<()> {
        let Some(length) = self.length else { return Ok(()) };
        let file = OpenOptions::new().write(true).open(store.join(DATABASE))?;
        for (offset, content) in &self.segments {
            file.write_all_at(content, *offset)?;
        }
        for (offset, bytes) in &self.empty {
            file.write_all_at(&vec![0; *bytes], *offset)?;
        }
        file.set_len(length)?;
        file.sync_all()?;
        for path in snapshots_in(store)? {
            fs::remove_file(path)?;
        }
        for (name, content) in &self.snapshots {
            fs::write(store.join(name), content)?;
        }
        Ok(())
    }
}

fn snapshots_in(store: &Path) -> io::Result<Vec<PathBuf>> {
    let mut snapshots = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")) {
            snapshots.push(path);
        }
    }
    Ok(snapshots)
}

/// The header of a segment: a checksum, then both positions, all stored with their bits inverted.
struct Header {
    /// The log position of the segment's first byte.
    number: i64,
    /// The log position up to which the log was stable when the segment was begun.
    stable: i64,
}

impl Header {
    fn read(file: &File, offset: u64) -> io::Result<Option<Self>> {
        let mut raw = [0; 20];
        match file.read_exact_at(&mut raw, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let [check, number, stable] = [&raw[..4], &raw[4..12], &raw[12..]];
        let long = |bytes: &[u8]| bytes.try_into().map_or(0, i64::from_le_bytes) ^ i64::MAX;
        let right = check.try_into().map_or(0, u32::from_le_bytes) == !crc32fast::hash(&raw[4..]);
        Ok(right.then(|| Self { number: long(number), stable: long(stable) }))
    }
}

/// Bytes of a segment.
const SEGMENT: usize = 512 * 1024;
/// The maximum number of segments kept in memory while a store is opened, not counting empty ones: sled writes only
/// some at a time. Drop policy: older segments are not restored.
const MOST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a segment whose header has this log position.
    fn segment(number: i64, fill: u8) -> Vec<u8> {
        let mut header = [number ^ i64::MAX, i64::MAX].map(i64::to_le_bytes).concat();
        header.splice(0..0, (!crc32fast::hash(&header)).to_le_bytes());
        let mut segment = vec![fill; SEGMENT];
        segment[..header.len()].copy_from_slice(&header);
        segment
    }

    #[test]
    fn what_has_no_header_and_what_is_empty_is_put_back_among_many_that_are_new() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut found: Vec<u8> = (0..12).flat_map(|at| segment(at * SEGMENT as i64, 7)).collect();
        found.extend([vec![0; SEGMENT], vec![9; SEGMENT], vec![0; SEGMENT / 2]].concat());
        let path = directory.path().join(DATABASE);
        fs::write(&path, &found).expect("it is written");
        let tail = Tail::read(directory.path()).expect("it is read");
        fs::write(&path, vec![1; found.len() + SEGMENT]).expect("it is written over");
        tail.restore(directory.path()).expect("it is put back");
        assert!(fs::read(&path).expect("it is there") == found);
    }
}
