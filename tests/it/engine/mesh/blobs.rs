//! The disks that keep blobs: the real files, in virtual time. An order takes as long as a commit's flush; what waits when
//! a process ends is lost.

use super::{FLUSH, Mesh, name};
use m2mesh::blob::disk::{Done, Order};
use m2mesh::blob::tree::hash_of;
use m2mesh::engine::Input;
use m2mesh::engine::api::{BlobCommand, BlobSend, Command, Reply, Token};
use m2mesh::id::BlobHash;
use m2mesh::store::BlobDisk;
use m2mesh::store::blobs::Partial;
use m2mesh::time::Time;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tempfile::TempDir;

/// The disks of all nodes.
#[derive(Default)]
pub struct Disks {
    disks: BTreeMap<usize, (TempDir, BlobDisk, Partial)>,
    pub(super) orders: VecDeque<(Time, usize, Order)>,
    /// Nodes that send other bytes than those that they have.
    pub liars: BTreeSet<usize>,
    /// Chunks that were stored, by node.
    pub stored: BTreeMap<usize, Vec<u32>>,
    /// Chunks that were loaded to be sent, by node.
    pub loaded: BTreeMap<usize, Vec<u32>>,
}

impl Disks {
    pub fn of(&mut self, at: usize) -> &mut (TempDir, BlobDisk, Partial) {
        self.disks.entry(at).or_insert_with(|| {
            let directory = tempfile::tempdir().expect("a directory");
            let disk = BlobDisk::open(directory.path()).expect("a folder");
            (directory, disk, Partial::default())
        })
    }

    pub(super) fn order(&mut self, now: Time, at: usize, order: Order) {
        // Most engines have no blobs, and need no directory.
        if !matches!(&order, Order::Keep(_)) || self.disks.contains_key(&at) {
            self.orders.push_back((now + FLUSH, at, order));
        }
    }

    /// A process has ended.
    pub(super) fn crash(&mut self, at: usize) {
        self.orders.retain(|(_, of, _)| *of != at);
        if let Some((_, _, partial)) = self.disks.get_mut(&at) {
            *partial = Partial::default();
        }
    }
}

impl Mesh {
    /// Carries out the orders that are due.
    pub(super) fn step_blobs(&mut self) {
        let now = self.now.time;
        while let Some((_, at, order)) = self.blobs.orders.pop_front_if(|(due, ..)| *due <= now) {
            let (_, disk, partial) = self.blobs.of(at);
            let done = disk.carry_out(partial, vec![order]);
            for mut done in done {
                match &mut done {
                    Done::Stored { chunk, .. } => self.blobs.stored.entry(at).or_default().push(*chunk),
                    Done::Loaded { chunk, found, .. } => {
                        self.blobs.loaded.entry(at).or_default().push(*chunk);
                        if let Some((bytes, _)) = found.as_mut().filter(|_| self.blobs.liars.contains(&at)) {
                            bytes[7] ^= 1;
                        }
                    }
                    _ => {}
                }
                self.handle(at, Input::Blob(done));
            }
        }
    }

    /// The application hands a blob in.
    pub fn put_blob(&mut self, at: usize, bytes: &[u8], keep: bool, shared: bool) -> BlobHash {
        let mut upload = self.blobs.of(at).1.upload().expect("a file");
        assert!(upload.write(bytes).expect("it is written"));
        let (hash, length) = upload.finish().expect("it is kept");
        assert_eq!(hash, hash_of(bytes));
        let token = self.command(at, Command::Blob(BlobCommand::Put { hash, length, keep, shared }));
        self.run(Duration::from_millis(20));
        assert_eq!(self.reply(at, token), Some(&Reply::Ready));
        hash
    }

    pub fn send_blob(&mut self, at: usize, hash: BlobHash, to: &str, lifetime: Duration) -> Token {
        let send = BlobSend { hash, to: name(to), name: "a.bin".into(), lifetime, id: None };
        self.command(at, Command::Blob(BlobCommand::Send(send)))
    }

    pub fn get_blob(&mut self, at: usize, hash: BlobHash, from: &[&str], lifetime: Duration) -> Token {
        let from = from.iter().map(|text| name(text)).collect();
        self.command(at, Command::Blob(BlobCommand::Get { hash, from, shared: false, lifetime }))
    }

    /// What the disk of a node has of a blob, if it is whole.
    pub fn blob(&mut self, at: usize, hash: BlobHash) -> Option<Vec<u8>> {
        self.blobs.of(at).1.download(hash).ok()?.rest().ok()
    }
}
