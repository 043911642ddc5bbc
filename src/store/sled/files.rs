//! Files: sled's files, and how they are made durable.
//!
//! The directory of sled 0.34 holds: `db`, the log of everything, written in place; `conf`, written once; `snap.N`, an
//! index of `db`, written at opening under another name and then renamed; `blobs/N`, a file for each page above sled's
//! segment size, written once, before the entry in `db` that names it. Beside them is `packs`
//! ([`packs`](super::packs)).

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
    /// Blobs that are known to be durable; at most those that exist.
    durable_blobs: BTreeSet<OsString>,
}

impl Files {
    /// Makes everything durable that sled has written so far, names included. Adds the number of syncs to `fsyncs`.
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

    /// Checks that the next start would find this database in the directory.
    pub(super) fn are_in(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(DATABASE);
        let ours = self.database.metadata()?;
        match fs::metadata(&path) {
            Ok(there) if (there.dev(), there.ino()) == (ours.dev(), ours.ino()) => Ok(()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("{DATABASE} was removed while the node runs"))),
        }
    }

    /// Returns the database's file if it no longer has a name.
    pub(super) fn into_orphan(self) -> Option<File> {
        self.database.metadata().is_ok_and(|metadata| metadata.nlink() == 0).then_some(self.database)
    }

    fn sync_blobs(&mut self, fsyncs: &mut u64) -> io::Result<()> {
        let mut present = BTreeSet::new();
        let mut grown = false;
        let entries = match fs::read_dir(&self.blobs) {
            Ok(entries) => entries,
            // The directory was removed with everything else: `are_in` reports this for the database.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let name = entry?.file_name();
            if !self.durable_blobs.contains(&name) {
                match File::open(self.blobs.join(&name)) {
                    Ok(blob) => blob.sync_all()?,
                    // sled removes blobs when their pages are rewritten.
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

/// Writes the content of a file without a name to a new file of its old name. A file that has taken this name meanwhile
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

/// Creates the directory, accessible to its owner only, since it holds messages.
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

/// Checks that there is room for the most that opening writes: a segment and a snapshot. An error here comes from the
/// disk and says nothing about the content.
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

/// Checks that there is room for commits of this many bytes and for what sled writes besides: rewritten pages, and
/// segments allocated ahead.
pub(super) fn room(directory: &Path, bytes: u64) -> io::Result<()> {
    let disk = rustix::fs::statvfs(directory)?;
    let (free, wanted) = (disk.f_bavail.saturating_mul(disk.f_frsize), RESERVE + AMPLIFICATION * bytes);
    if free >= wanted {
        return Ok(());
    }
    let text = format!("no space left: {} KiB are free, {} KiB are needed", free / 1024, wanted / 1024);
    Err(io::Error::new(io::ErrorKind::StorageFull, text))
}

/// Writes every byte again after a failed fsync, so that the next fsync is meaningful: the kernel may consider bytes
/// written that are not. The database must be closed.
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

/// The name of sled's log.
pub(super) const DATABASE: &str = "db";

/// Bytes that must stay free: some segments, and the pages of a few blobs.
const RESERVE: u64 = 4 * 1024 * 1024;

/// Bytes reserved for each committed byte: sled rewrites pages of small values several times.
const AMPLIFICATION: u64 = 4;

/// Bytes written to check that there is room.
const PROBE: usize = 1024 * 1024;

/// Bytes written at a time. Freeing a larger buffer would teach the allocator to keep sled's buffers for good.
const CHUNK: usize = 64 * 1024;
