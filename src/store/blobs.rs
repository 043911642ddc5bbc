//! Blobs on disk: files in the folder `blobs` of a node's directory, each readable by the node's user alone.
//!
//! ```text
//! HASH           a whole blob              HASH.tree     the hashes of its tree, level by level
//! HASH.part      one that is fetched       HASH.leaves   of each chunk that is there its leaf, else zeros
//! upload-N       one that the application hands in
//! ```
//!
//! **Mechanism.** A chunk is written at its offset; when the data is synced, its leaf is written and synced, and only
//! then the chunk is reported as stored. Chunks that come together share these two syncs ([`BlobDisk::carry_out`]). A leaf that a crash
//! has torn, or whose chunk a crash has torn, does not agree with the chunk, and every marked chunk is read and compared
//! when a blob is opened again. A whole blob gets its name when its tree is synced, by a rename.
//!
//! Invariants
//! 1. After a crash, what was reported as stored is there, and what is said to be there is what was verified.
//! 2. A chunk that is not what it was is not given out.

use crate::blob::bits::Bits;
use crate::blob::disk::{Done, Order};
use crate::blob::tree::{Levels, Shape, leaf, places_of_proof};
use crate::id::BlobHash;
use crate::wire::blob::{CHUNK, MAX_LENGTH, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// Name of the folder in the node's directory.
pub const FOLDER: &str = "blobs";
/// Bytes of a hash.
const NODE: u64 = size_of::<Node>() as u64;

/// The blobs of a node's directory. Clones share it.
#[derive(Clone, Debug)]
pub struct BlobDisk {
    folder: Arc<PathBuf>,
    uploads: Arc<AtomicU64>,
    since: SystemTime,
}

/// The files of the blobs that are being fetched.
#[derive(Debug, Default)]
pub struct Partial {
    open: BTreeMap<BlobHash, Files>,
}

#[derive(Debug)]
struct Files {
    shape: Shape,
    data: File,
    leaves: File,
    /// Chunks that are written and not synced, with their leaves.
    unsynced: Vec<(u32, Node)>,
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

impl BlobDisk {
    /// Opens the folder, which is made if it is not there; uploads that an earlier process has left are removed.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let folder = directory.join(FOLDER);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        for entry in folder.read_dir()? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"upload-")) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(Self { folder: Arc::new(folder), uploads: Arc::default(), since: SystemTime::now() })
    }

    fn path(&self, hash: &BlobHash, end: &str) -> PathBuf {
        self.folder.join(format!("{hash}{end}"))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&*self.folder)?.sync_all()
    }

    /// Carries out orders, and answers them in their order, but that chunks are reported as stored when they are synced: at the
    /// latest with the last order.
    pub fn carry_out(&self, partial: &mut Partial, orders: Vec<Order>) -> Vec<Done> {
        let mut answers = Vec::new();
        for order in orders {
            let (hash, done) = match order {
                Order::Keep(known) => {
                    self.keep(&known.into_iter().collect());
                    continue;
                }
                Order::Remove { hash } => {
                    partial.open.remove(&hash);
                    self.remove(&hash);
                    continue;
                }
                Order::Open { hash, length } => (hash, self.begin(partial, hash, length).map(Some)),
                Order::Store { hash, chunk, bytes } => (hash, write(partial, &hash, chunk, &bytes).map(|()| None)),
                Order::Finish { hash } => {
                    sync(partial, &mut answers);
                    (hash, self.finish(partial, hash).map(Some))
                }
                Order::Load { hash, chunk } => {
                    let found = self.load(&hash, chunk).ok();
                    (hash, Ok(Some(Done::Loaded { hash, chunk, found })))
                }
            };
            match done {
                Ok(done) => answers.extend(done),
                Err(error) => {
                    partial.open.remove(&hash);
                    answers.push(failed(hash, &error));
                }
            }
        }
        sync(partial, &mut answers);
        answers
    }

    /// Removes all that is not known, except what was handed in since this process began.
    fn keep(&self, known: &BTreeSet<BlobHash>) {
        let Ok(entries) = self.folder.read_dir() else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let stem = name.to_str().and_then(|name| name.split('.').next()).unwrap_or_default();
            let hash = data_encoding::HEXLOWER.decode(stem.as_bytes()).ok();
            let hash = hash.and_then(|bytes| BlobHash::from_slice(&bytes));
            let newer = entry.metadata().and_then(|data| data.modified()).is_ok_and(|at| at >= self.since);
            if hash.is_some_and(|hash| !known.contains(&hash)) && !newer {
                // What cannot be removed now is removed at the next start.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    fn remove(&self, hash: &BlobHash) {
        for end in ["", ".tree", ".part", ".leaves"] {
            let _ = std::fs::remove_file(self.path(hash, end));
        }
    }

    /// Opens the files of a blob, and finds which of its chunks are there.
    fn begin(&self, partial: &mut Partial, hash: BlobHash, length: u64) -> io::Result<Done> {
        let shape = Shape::new(length).ok_or_else(|| io::Error::other("no blob is so long"))?;
        let (data, leaves) = (create(&self.path(&hash, ".part"))?, create(&self.path(&hash, ".leaves"))?);
        data.set_len(length)?;
        leaves.set_len(u64::from(shape.chunks()) * NODE)?;
        let (mut have, mut buffer) = (Bits::default(), vec![0; CHUNK]);
        for chunk in 0..shape.chunks() {
            let marked = read_node(&leaves, chunk.into())?;
            if marked == [0; 32] {
                continue;
            }
            let bytes = &mut buffer[..shape.size_of(chunk)];
            data.read_exact_at(bytes, u64::from(chunk) * CHUNK as u64)?;
            if leaf(bytes) == marked {
                have.insert(chunk);
            } else {
                leaves.write_all_at(&[0; 32], u64::from(chunk) * NODE)?;
            }
        }
        self.sync_folder()?;
        partial.open.insert(hash, Files { shape, data, leaves, unsynced: Vec::new() });
        Ok(Done::Opened { hash, have })
    }

    /// Gives a blob whose chunks are all there its name.
    fn finish(&self, partial: &mut Partial, hash: BlobHash) -> io::Result<Done> {
        let files = partial.open.remove(&hash).ok_or_else(|| io::Error::other("it is not being written"))?;
        let leaves: io::Result<Vec<Node>> =
            (0..files.shape.chunks()).map(|chunk| read_node(&files.leaves, chunk.into())).collect();
        let levels = Levels::over(leaves?);
        if levels.hash(files.shape.length()) != hash {
            self.remove(&hash);
            return Err(io::Error::other("the chunks on the disk are not those that were verified"));
        }
        self.write_tree(&hash, &levels)?;
        std::fs::rename(self.path(&hash, ".part"), self.path(&hash, ""))?;
        std::fs::remove_file(self.path(&hash, ".leaves"))?;
        self.sync_folder()?;
        Ok(Done::Finished { hash })
    }

    fn write_tree(&self, hash: &BlobHash, levels: &Levels) -> io::Result<()> {
        let tree = create(&self.path(hash, ".tree"))?;
        tree.set_len(0)?;
        tree.write_all_at(&levels.to_bytes(), 0)?;
        tree.sync_data()
    }

    fn load(&self, hash: &BlobHash, chunk: u32) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let data = File::open(self.path(hash, ""))?;
        let shape = Shape::new(data.metadata()?.len()).ok_or_else(|| io::Error::other("no blob is so long"))?;
        let tree = File::open(self.path(hash, ".tree"))?;
        let mut bytes = vec![0; shape.size_of(chunk)];
        data.read_exact_at(&mut bytes, u64::from(chunk) * CHUNK as u64)?;
        let mut proof = Vec::new();
        for place in places_of_proof(shape.chunks(), chunk) {
            proof.extend_from_slice(&read_node(&tree, place)?);
        }
        match shape.verify(hash, chunk, &bytes, &proof) {
            Some(_) => Ok((bytes, proof)),
            None => Err(io::Error::other("it is not what it was")),
        }
    }

    /// Begins to take a blob from the application.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn upload(&self) -> io::Result<Upload> {
        let path = self.folder.join(format!("upload-{}", self.uploads.fetch_add(1, Ordering::Relaxed)));
        let file = create(&path)?;
        file.set_len(0)?;
        Ok(Upload { disk: self.clone(), path, file, leaves: Vec::new(), rest: Vec::new(), length: 0 })
    }

    /// Reads a whole blob from its beginning.
    ///
    /// # Errors
    /// It is not there, or the operating system refuses.
    pub fn download(&self, hash: BlobHash) -> io::Result<Download> {
        let length = std::fs::metadata(self.path(&hash, ""))?.len();
        let shape = Shape::new(length).ok_or_else(|| io::Error::other("no blob is so long"))?;
        Ok(Download { disk: self.clone(), hash, shape, next: 0 })
    }
}

fn failed(hash: BlobHash, error: &io::Error) -> Done {
    Done::Failed {
        hash,
        reason: format!("{hash} in the folder `{FOLDER}`: {error}; look at the disk's room and state"),
    }
}

fn read_node(file: &File, place: u64) -> io::Result<Node> {
    let mut node = [0; 32];
    file.read_exact_at(&mut node, place * NODE)?;
    Ok(node)
}

fn write(partial: &mut Partial, hash: &BlobHash, chunk: u32, bytes: &[u8]) -> io::Result<()> {
    let files = partial.open.get_mut(hash).ok_or_else(|| io::Error::other("it is not being written"))?;
    files.data.write_all_at(bytes, u64::from(chunk) * CHUNK as u64)?;
    files.unsynced.push((chunk, leaf(bytes)));
    Ok(())
}

/// Syncs what was written, marks it, and reports it.
fn sync(partial: &mut Partial, answers: &mut Vec<Done>) {
    let mut broken = Vec::new();
    for (hash, files) in partial.open.iter_mut().filter(|(_, files)| !files.unsynced.is_empty()) {
        let chunks = std::mem::take(&mut files.unsynced);
        match mark(files, &chunks) {
            Ok(()) => answers.extend(chunks.iter().map(|(chunk, _)| Done::Stored { hash: *hash, chunk: *chunk })),
            Err(error) => {
                broken.push(*hash);
                answers.push(failed(*hash, &error));
            }
        }
    }
    broken.iter().for_each(|hash| drop(partial.open.remove(hash)));
}

fn mark(files: &Files, chunks: &[(u32, Node)]) -> io::Result<()> {
    files.data.sync_data()?;
    for (chunk, leaf) in chunks {
        files.leaves.write_all_at(leaf, u64::from(*chunk) * NODE)?;
    }
    files.leaves.sync_data()
}

/// A blob that the application hands in. It is removed if it is dropped before [`Upload::finish`].
#[derive(Debug)]
pub struct Upload {
    disk: BlobDisk,
    path: PathBuf,
    file: File,
    leaves: Vec<Node>,
    rest: Vec<u8>,
    length: u64,
}

impl Upload {
    /// Takes the next bytes. Returns `false` if the blob is longer than any may be.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.length += bytes.len() as u64;
        if self.length > MAX_LENGTH {
            return Ok(false);
        }
        self.file.write_all(bytes)?;
        self.rest.extend_from_slice(bytes);
        let whole = self.rest.len() - self.rest.len() % CHUNK;
        self.leaves.extend(self.rest[..whole].chunks(CHUNK).map(leaf));
        self.rest.drain(..whole);
        Ok(true)
    }

    /// Keeps the blob. Returns its name and its length.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn finish(mut self) -> io::Result<(BlobHash, u64)> {
        if !self.rest.is_empty() || self.leaves.is_empty() {
            self.leaves.push(leaf(&self.rest));
        }
        let levels = Levels::over(std::mem::take(&mut self.leaves));
        let hash = levels.hash(self.length);
        self.file.sync_all()?;
        self.disk.write_tree(&hash, &levels)?;
        std::fs::rename(&self.path, self.disk.path(&hash, ""))?;
        // What has been fetched of it is not needed any more.
        for end in [".part", ".leaves"] {
            let _ = std::fs::remove_file(self.disk.path(&hash, end));
        }
        self.disk.sync_folder()?;
        Ok((hash, self.length))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A blob that is read, chunk by chunk, each verified.
#[derive(Debug)]
pub struct Download {
    disk: BlobDisk,
    hash: BlobHash,
    shape: Shape,
    next: u32,
}

impl Download {
    /// The blob's length.
    pub fn length(&self) -> u64 {
        self.shape.length()
    }

    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    /// The chunk cannot be read, or is not what it was.
    pub fn next_chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.next >= self.shape.chunks() {
            return Ok(None);
        }
        let (bytes, _) = self.disk.load(&self.hash, self.next)?;
        self.next += 1;
        Ok(Some(bytes))
    }

    /// All that is left of it, for tests and small blobs.
    ///
    /// # Errors
    /// As for [`Self::next_chunk`].
    pub fn rest(mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = self.next_chunk()? {
            bytes.as_slice().read_to_end(&mut all)?;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::tree::hash_of;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
    }

    fn store(hash: BlobHash, blob: &[u8], chunk: u32) -> Order {
        let bytes = blob[chunk as usize * CHUNK..].iter().take(CHUNK).copied().collect();
        Order::Store { hash, chunk, bytes }
    }

    fn put(disk: &BlobDisk, blob: &[u8]) -> BlobHash {
        let mut upload = disk.upload().expect("a file");
        blob.chunks(10_000).for_each(|part| assert!(upload.write(part).expect("it is written")));
        let (hash, length) = upload.finish().expect("it is kept");
        assert_eq!((hash, length), (hash_of(blob), blob.len() as u64));
        hash
    }

    #[test]
    fn what_is_handed_in_is_given_out_and_is_the_users_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = BlobDisk::open(directory.path()).expect("a folder");
        for length in [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK + 77] {
            let hash = put(&disk, &bytes(length));
            let download = disk.download(hash).expect("it is there");
            assert_eq!(download.length(), length as u64);
            assert_eq!(download.rest().expect("it is whole"), bytes(length));
        }
        drop(disk.upload().expect("a file"));
        for entry in directory.path().join(FOLDER).read_dir().expect("a folder").flatten() {
            assert!(!entry.file_name().to_string_lossy().starts_with("upload"));
            assert_eq!(entry.metadata().expect("a file").permissions().mode() & 0o777, 0o600);
        }
    }

    /// Invariant 2.
    #[test]
    fn a_chunk_that_was_changed_is_not_given_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = BlobDisk::open(directory.path()).expect("a folder");
        let hash = put(&disk, &bytes(3 * CHUNK));
        let file = OpenOptions::new().write(true).open(disk.path(&hash, "")).expect("a file");
        file.write_all_at(b"x", CHUNK as u64 + 5).expect("it is changed");
        let orders = (0..3).map(|chunk| Order::Load { hash, chunk }).collect();
        let found: Vec<bool> = disk
            .carry_out(&mut Partial::default(), orders)
            .into_iter()
            .map(|done| matches!(done, Done::Loaded { found: Some(_), .. }))
            .collect();
        assert_eq!(found, [true, false, true]);
        assert!(disk.download(hash).expect("a file").rest().is_err());
    }

    #[test]
    fn what_is_not_known_is_removed_at_the_start() {
        let directory = tempfile::tempdir().expect("a directory");
        let disk = BlobDisk::open(directory.path()).expect("a folder");
        let (kept, gone) = (put(&disk, b"kept"), put(&disk, b"gone"));
        let again = BlobDisk { since: SystemTime::now() + std::time::Duration::from_secs(5), ..disk };
        let newer = BlobDisk { since: SystemTime::UNIX_EPOCH, ..again.clone() };
        newer.carry_out(&mut Partial::default(), vec![Order::Keep(vec![kept])]);
        assert!(again.download(gone).is_ok(), "handed in since the start");
        again.carry_out(&mut Partial::default(), vec![Order::Keep(vec![kept])]);
        assert!(again.download(kept).is_ok() && again.download(gone).is_err());
        again.carry_out(&mut Partial::default(), vec![Order::Remove { hash: kept }]);
        assert_eq!(directory.path().join(FOLDER).read_dir().expect("a folder").count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Invariant 1.
        #[test]
        fn a_crash_costs_what_was_not_reported(
            order in Just((0u32..9).collect::<Vec<_>>()).prop_shuffle(),
            crash in 0usize..9, torn in 0u32..9, tear_mark: bool,
        ) {
            let directory = tempfile::tempdir().expect("a directory");
            let disk = BlobDisk::open(directory.path()).expect("a folder");
            let blob = bytes(8 * CHUNK + 100);
            let (hash, length) = (hash_of(&blob), blob.len() as u64);
            let mut partial = Partial::default();
            let opened = disk.carry_out(&mut partial, vec![Order::Open { hash, length }]);
            prop_assert_eq!(opened, vec![Done::Opened { hash, have: Bits::default() }]);
            let mut stored = Bits::default();
            for chunk in &order[..crash] {
                let done = disk.carry_out(&mut partial, vec![store(hash, &blob, *chunk)]);
                prop_assert_eq!(done, vec![Done::Stored { hash, chunk: *chunk }]);
                stored.insert(*chunk);
            }
            // The process ends; a chunk or its mark was being written, in part.
            drop(partial);
            if !stored.contains(torn) {
                if tear_mark {
                    let leaves = OpenOptions::new().write(true).open(disk.path(&hash, ".leaves")).expect("a file");
                    leaves.write_all_at(&[7; 9], u64::from(torn) * NODE).expect("it is torn");
                } else {
                    let data = OpenOptions::new().write(true).open(disk.path(&hash, ".part")).expect("a file");
                    data.write_all_at(&blob[torn as usize * CHUNK..][..50], u64::from(torn) * CHUNK as u64).expect("it is torn");
                }
            }
            let mut partial = Partial::default();
            let opened = disk.carry_out(&mut partial, vec![Order::Open { hash, length }]);
            prop_assert_eq!(opened, vec![Done::Opened { hash, have: stored.clone() }]);
            let mut orders: Vec<Order> = order[crash..].iter().map(|chunk| store(hash, &blob, *chunk)).collect();
            orders.push(Order::Finish { hash });
            let done = disk.carry_out(&mut partial, orders);
            prop_assert_eq!(done.last(), Some(&Done::Finished { hash }));
            prop_assert_eq!(disk.download(hash).expect("it is there").rest().expect("it is whole"), blob);
        }
    }
}
