//! What a loss of power leaves of a directory, by the journal of what was done to it.
//!
//! The rule is the weakest that POSIX allows, weaker than what any journalling file system does: a file's content is
//! certain as of its last fsync or fdatasync that had ended, a directory's entries as of the last fsync of the directory.
//! (ext4 makes a new file's name durable with the file; a store that stands this rule stands that one.) What came later
//! may have reached the disk: of a file, for each 4 KiB page any later state of it, and any later length; of a directory,
//! any number of its later operations, in their order. How much does is drawn anew for each loss.

use super::random::Random;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A directory and what has been done to it since it was read.
pub struct Disk {
    root: PathBuf,
    objects: Vec<Object>,
    /// Which object an inode number stands for at present.
    inodes: BTreeMap<u64, usize>,
    /// Syncs that have begun: the object, and how many of its operations they cover.
    syncs: BTreeMap<u64, (usize, usize)>,
}

enum Object {
    File(Content),
    Directory(Entries),
}

/// A file: what is certain, and what came later.
#[derive(Default)]
struct Content {
    certain: Vec<u8>,
    later: Vec<Change>,
}

enum Change {
    Write(Piece),
    Length(usize),
}

/// Bytes written at a place; certain at once if the file was opened so.
struct Piece {
    at: usize,
    data: Vec<u8>,
    synchronous: bool,
}

#[derive(Default)]
struct Entries {
    certain: BTreeMap<String, usize>,
    later: Vec<Naming>,
}

#[derive(Clone)]
enum Naming {
    Put(String, usize),
    Remove(String),
    /// Takes what stands under the first name to the second.
    Rename(String, String),
}

/// How much of what was not certain is kept.
#[derive(Clone, Copy, Debug)]
pub struct Luck {
    /// Chance in 100 that a page, a length or a directory is as it was last.
    newest: u64,
    /// Chance in 100 that it is as it was when it was last certain, if it is not as it was last.
    certain: u64,
}

impl Luck {
    /// Nothing, everything, or something between.
    pub fn draw(random: &mut Random) -> Self {
        let (newest, certain) =
            [(0, 100), (0, 100), (100, 0), (90, 90), (50, 50), (50, 90), (10, 50)][random.below(7) as usize];
        Self { newest, certain }
    }

    /// How many of `count` later states to take.
    fn of(self, count: usize, random: &mut Random) -> usize {
        if random.below(100) < self.newest {
            count
        } else if random.below(100) < self.certain {
            0
        } else {
            random.below(count as u64 + 1) as usize
        }
    }
}

impl Disk {
    /// Reads a directory; all of it is certain.
    pub fn read(root: &Path) -> Self {
        let mut disk = Self { root: root.into(), objects: Vec::new(), inodes: BTreeMap::new(), syncs: BTreeMap::new() };
        disk.take(root);
        disk
    }

    fn take(&mut self, path: &Path) -> usize {
        let metadata = fs::metadata(path).expect("it is there");
        let object = if metadata.is_dir() {
            let mut certain = BTreeMap::new();
            for entry in fs::read_dir(path).expect("it lists") {
                let entry = entry.expect("an entry");
                certain.insert(entry.file_name().into_string().expect("UTF-8"), self.take(&entry.path()));
            }
            Object::Directory(Entries { certain, later: Vec::new() })
        } else {
            Object::File(Content { certain: fs::read(path).expect("it reads"), later: Vec::new() })
        };
        self.add(metadata.ino(), object)
    }

    fn add(&mut self, inode: u64, object: Object) -> usize {
        self.objects.push(object);
        self.inodes.insert(inode, self.objects.len() - 1);
        self.objects.len() - 1
    }

    /// Does again what the journal says; a record that its writer did not finish has not happened.
    pub fn replay(&mut self, mut journal: &[u8]) {
        while let Some((record, rest)) = Record::parse(journal) {
            self.apply(record);
            journal = rest;
        }
    }

    fn apply(&mut self, record: Record<'_>) {
        let Record { kind, synchronous, first, second, data, inode, offset } = record;
        let known = self.inodes.get(&inode).copied();
        let object = || known.unwrap_or_else(|| panic!("{} of inode {inode}, which nobody made", char::from(kind)));
        match kind {
            b'C' => {
                let file = self.add(inode, Object::File(Content::default()));
                self.put(first, file);
            }
            b'M' => {
                let directory = self.add(inode, Object::Directory(Entries::default()));
                self.put(first, directory);
            }
            b'W' => {
                let piece = Piece { at: offset as usize, data: data.to_vec(), synchronous };
                self.content(object()).later.push(Change::Write(piece));
            }
            b'T' => self.content(object()).later.push(Change::Length(offset as usize)),
            b'U' => {
                let (parent, name) = self.place(first);
                self.entries(parent).later.push(Naming::Remove(name));
            }
            b'R' => {
                let ((parent, from), (target, to)) = (self.place(first), self.place(second));
                assert_eq!(parent, target, "a rename within one directory");
                self.entries(parent).later.push(Naming::Rename(from, to));
            }
            b'f' => {
                let object = object();
                let covered = match &self.objects[object] {
                    Object::File(content) => content.later.len(),
                    Object::Directory(entries) => entries.later.len(),
                };
                self.syncs.insert(offset, (object, covered));
            }
            b'F' => {
                let (object, covered) = self.syncs.remove(&offset).expect("it has begun");
                self.settle(object, covered);
            }
            b'X' => panic!("the store used {first}, which the journal does not follow"),
            other => panic!("no kind of record: {other}"),
        }
    }

    /// The first `covered` later operations of an object are certain now.
    fn settle(&mut self, object: usize, covered: usize) {
        // Other syncs of it that have begun cover that many operations less of those that are left.
        for (other, count) in self.syncs.values_mut() {
            if *other == object {
                *count = count.saturating_sub(covered);
            }
        }
        match &mut self.objects[object] {
            Object::File(Content { certain, later }) => {
                later.drain(..covered.min(later.len())).for_each(|change| change.apply(certain));
            }
            Object::Directory(Entries { certain, later }) => {
                later.drain(..covered.min(later.len())).for_each(|naming| naming.apply(certain));
            }
        }
    }

    /// Writes what a loss of power leaves into an empty directory.
    pub fn lose_power(&self, luck: Luck, into: &Path, random: &mut Random) {
        self.write(self.root_object(), luck, into, random);
    }

    fn write(&self, object: usize, luck: Luck, path: &Path, random: &mut Random) {
        match &self.objects[object] {
            Object::File(content) => fs::write(path, content.after(luck, random)).expect("it is written"),
            Object::Directory(Entries { certain, later }) => {
                let mut names = certain.clone();
                let kept = luck.of(later.len(), random);
                later[..kept].iter().for_each(|naming| naming.clone().apply(&mut names));
                fs::create_dir_all(path).expect("it is made");
                for (name, object) in names {
                    self.write(object, luck, &path.join(name), random);
                }
            }
        }
    }

    /// It was added last when the directory was read.
    fn root_object(&self) -> usize {
        let inode = fs::metadata(&self.root).expect("it is there").ino();
        self.inodes[&inode]
    }

    fn put(&mut self, path: &str, object: usize) {
        let (parent, name) = self.place(path);
        self.entries(parent).later.push(Naming::Put(name, object));
    }

    /// The directory that a path is in, as things stand for the process, and the last name.
    fn place(&self, path: &str) -> (usize, String) {
        let within = Path::new(path).strip_prefix(&self.root).expect("below the directory");
        let mut names: Vec<&str> = within.iter().map(|name| name.to_str().expect("UTF-8")).collect();
        let last = names.pop().expect("a name");
        let step = |directory: usize, name: &str| {
            let Object::Directory(Entries { certain, later }) = &self.objects[directory] else { panic!("{path}") };
            let mut names = certain.clone();
            later.iter().for_each(|naming| naming.clone().apply(&mut names));
            *names.get(name).unwrap_or_else(|| panic!("{path}: no {name}"))
        };
        (names.into_iter().fold(self.root_object(), step), last.to_owned())
    }

    fn content(&mut self, object: usize) -> &mut Content {
        match &mut self.objects[object] {
            Object::File(content) => content,
            Object::Directory(_) => panic!("a directory is no file"),
        }
    }

    fn entries(&mut self, object: usize) -> &mut Entries {
        match &mut self.objects[object] {
            Object::Directory(entries) => entries,
            Object::File(_) => panic!("a file is no directory"),
        }
    }
}

impl Content {
    /// What the disk may have of it.
    fn after(&self, luck: Luck, random: &mut Random) -> Vec<u8> {
        let mut present = self.certain.clone();
        // Lengths are metadata, and keep their order: of the changes up to a cut, pages may be missing.
        let lengths = self.later.iter().filter(|change| matches!(change, Change::Length(_))).count();
        let cut_at = luck.of(lengths, random);
        let mut seen = 0;
        let mut pages: BTreeMap<usize, Vec<Piece>> = BTreeMap::new();
        for change in &self.later {
            match change {
                Change::Write(Piece { at, data, synchronous }) => {
                    // Cut where pages begin: each may have reached the disk or not.
                    let (mut at, mut rest) = (*at, data.as_slice());
                    while !rest.is_empty() {
                        let (data, left) = rest.split_at((PAGE - at % PAGE).min(rest.len()));
                        let piece = Piece { at, data: data.to_vec(), synchronous: *synchronous };
                        pages.entry(at / PAGE).or_default().push(piece);
                        at += data.len();
                        rest = left;
                    }
                }
                Change::Length(length) => {
                    keep_pages(&mut present, std::mem::take(&mut pages), luck, random);
                    assert!(
                        !self.later.iter().any(Change::is_synchronous),
                        "not followed: both, a new length and O_SYNC"
                    );
                    if seen >= cut_at {
                        return present;
                    }
                    seen += 1;
                    present.resize(*length, 0);
                }
            }
        }
        keep_pages(&mut present, pages, luck, random);
        present
    }
}

/// Of each page takes the first so many writes to it, at least up to the last synchronous one.
fn keep_pages(present: &mut Vec<u8>, pages: BTreeMap<usize, Vec<Piece>>, luck: Luck, random: &mut Random) {
    for pieces in pages.into_values() {
        let certain = pieces.iter().rposition(|piece| piece.synchronous).map_or(0, |last| last + 1);
        let kept = luck.of(pieces.len(), random).max(certain);
        pieces[..kept].iter().for_each(|piece| write(present, piece.at, &piece.data));
    }
}

impl Change {
    fn is_synchronous(&self) -> bool {
        matches!(self, Self::Write(Piece { synchronous: true, .. }))
    }

    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write(piece) => write(content, piece.at, &piece.data),
            Self::Length(length) => content.resize(length, 0),
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(data);
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Put(name, object) => drop(names.insert(name, object)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(from, to) => {
                let object = names.remove(&from).expect("it was there when it was renamed");
                names.insert(to, object);
            }
        }
    }
}

struct Record<'a> {
    kind: u8,
    synchronous: bool,
    first: &'a str,
    second: &'a str,
    data: &'a [u8],
    inode: u64,
    offset: u64,
}

impl<'a> Record<'a> {
    fn parse(journal: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = journal.split_at_checked(HEAD)?;
        let short = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
        let long = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().expect("eight bytes"));
        let (first, rest) = rest.split_at_checked(short(4))?;
        let (second, rest) = rest.split_at_checked(short(8))?;
        let (data, rest) = rest.split_at_checked(short(12))?;
        let text = |bytes| std::str::from_utf8(bytes).expect("a path in UTF-8");
        let (first, second) = (text(first), text(second));
        let record =
            Self { kind: head[0], synchronous: head[1] != 0, first, second, data, inode: long(16), offset: long(24) };
        Some((record, rest))
    }
}

/// Bytes of a record before its paths.
const HEAD: usize = 32;
/// What a disk writes whole.
const PAGE: usize = 4_096;
