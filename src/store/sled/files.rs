//! sled's files, and making them durable.
//!
//! sled 0.34 has in its directory: `db`, the log of everything, written in place; `conf`, written once; `snap.N`,
//! an index of `db` written at opening under another name, then renamed; `blobs/N`, a file for each page above its
//! segment size, written once, before the entry in `db` that names it. Beside them is `packs` ([`packs`](super::packs)).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The files of an open database.
#[derive(Debug)]
pub(super) struct Files {
    database: File,
    blobs: PathBuf,
    /// Blobs known to be durable; at most those there are.
    durable_blobs: BTreeSet<OsString>,
}

impl Files {
    /// Makes everything that sled has written so far durable, names included. Adds to `fsyncs` what it took.
    pub(super) fn open(directory: &Path, fsyncs: &mut u64) -> io::Result<Self> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                File::open(entry.path())?.sync_all()?;
                *fsyncs += 1;
            }
        }
        let database = OpenOptions::new().read(true).write(true).open(directory.join(DATABASE))?;
        let mut files = Self { database, blobs: directory.join("blobs"), durable_blobs: BTreeSet::new() };
        files.sync_blobs(fsyncs)?;
        File::open(directory)?.sync_all()?;
        if let Some(parent) = directory.parent() {
            File::open(parent)?.sync_all()?;
        }
        *fsyncs += 2;
        Ok(files)
    }

    /// Makes durable what sled has flushed.
    pub(super) fn sync(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        self.sync_blobs(fsyncs)?;
        *fsyncs += 1;
        self.database.sync_data()
    }

    /// Whether the next start would find the database there.
    pub(super) fn are_in(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(DATABASE);
        let ours = self.database.metadata()?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("{DATABASE} was removed while the node runs"))),
        }
    }

    /// The database's file, if it has no name any more.
    pub(super) fn into_orphan(self) -> Option<File> {
        self.database.metadata().is_ok_and(|metadata| metadata.nlink() == 0).then_some(self.database)
    }

    fn sync_blobs(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        let mut present = BTreeSet::new();
        let mut grown = false;
        let entries = match fs::read_dir(&self.blobs) {
            Ok(entries) => entries,
            // Removed with all the rest: that is said of the database.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            if !self.durable_blobs.contains(&name) {
                match File::open(self.blobs.join(&name)) {
                    Ok(blob) => blob.sync_all()?,
                    // sled removes blobs as their pages are rewritten.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
                *fsyncs += 1;
                grown = true;
            }
            present.insert(name);
        }
        if grown {
            File::open(&self.blobs)?.sync_all()?;
            *fsyncs += 1;
        }
        self.durable_blobs = present;
        Ok(())
    }
}

/// Writes the content of a file that has no name any more to a new file of its old name. What has taken that name meanwhile
/// is kept beside it.
pub(super) fn name_again(orphan: &File, directory: &Path, name: &str) -> io::Result<()> {
    make_directory(directory)?;
    let (path, new) = (directory.join(name), directory.join(format!("{name}.restored")));
    let file = File::create(&new)?;
    let (mut buffer, mut at) = (vec![0; CHUNK], 0);
    loop {
        let count = orphan.read_at(&mut buffer, at)?;
        if count == 0 {
            break;
        }
        file.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
    file.sync_all()?;
    if path.exists() {
        fs::rename(&path, directory.join(format!("{name}.replaced")))?;
    }
    fs::rename(&new, &path)?;
    File::open(directory)?.sync_all()
}

/// Makes the directory, closed to others: it holds messages.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Removes unfinished snapshots, which sled would take for damaged ones.
pub(super) fn remove_unfinished(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether there is room for what opening writes at most: a segment and a snapshot. An error here is the disk's
/// and says nothing about the content.
pub(super) fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join("probe");
    let written = File::create(&path).and_then(|file| {
        for at in (0..PROBE).step_by(CHUNK) {
            file.write_all_at(&[0xa5; CHUNK], at as u64)?;
        }
        file.sync_all()
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Whether there is room for commits of that many bytes and for what sled writes besides: pages anew, and segments ahead.
pub(super) fn room(directory: &Path, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(directory)?;
    let (free, wanted) = (disk.f_bavail.saturating_mul(disk.f_frsize), RESERVE + AMPLIFICATION * bytes);
    if free >= wanted {
        return Ok(());
    }
    let text = format!("no space left: {} KiB are free, {} KiB are needed", free / 1024, wanted / 1024);
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// After a failed fsync: the kernel may hold bytes for written that are not. Each is written again, so that the next
/// fsync means something. The database must be closed.
pub(super) fn rewrite(directory: &Path) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => rewrite_file(&entry.path(), &mut buffer)?,
                _ => {}
            }
        }
        File::open(&directory)?.sync_all()?;
    }
    Ok(())
}

fn rewrite_file(path: &Path, buffer: &mut [u8]) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut at = 0;
    loop {
        let count = file.read_at(buffer, at)?;
        if count == 0 {
            return file.sync_all();
        }
        file.write_all_at(&buffer[..count], at)?;
        at += count as u64;
    }
}

/// sled's file.
pub(super) const DATABASE: &str = "db";

/// Bytes that are left free: some segments, and the pages of a few blobs.
const RESERVE: u64 = 4 * 1024 * 1024;

/// Bytes allowed for a byte committed: sled writes pages anew several times, of values that are not large.
const AMPLIFICATION: u64 = 4;

/// Bytes written to see whether there is room.
const PROBE: usize = 1024 * 1024;

/// Bytes written at a time. A larger buffer, once freed, teaches the allocator to keep sled's buffers for good.
const CHUNK: usize = 64 * 1024;
