//! Open: removes unfinished files, checks the content, and sets aside what cannot be read.

use super::apply::Open;
use super::losses::{self, Lost};
use super::packs::{ESCAPE, Shelf, Stored, Values, escaped};
use super::sum::{self, Batch, Sum};
use super::tail::Tail;
use super::witness::Witness;
use super::{Shared, SledStore, evict_behind, files, full_key, rescue, writer};
use crate::advice;
use crate::engine::store::{SET_ASIDE, Table};
use crate::store::Quarantine;
use crate::time::Unix;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

/// An open store, and what was lost when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SledStore,
    /// What could not be read and was set aside, if anything. To be recorded in the event log.
    pub quarantined: Option<Quarantine>,
}

/// The reason why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An input or output error that says nothing about the content.
    #[error("the store in {} cannot be opened: {error}; {}", .path.display(), advice::of(.error))]
    Io {
        /// The store's directory.
        path: PathBuf,
        /// The cause.
        error: io::Error,
    },
    /// Another process has the store open.
    #[error("the store in {} is in use by another process; stop that one, or use another --dir", .path.display())]
    InUse {
        /// The store's directory.
        path: PathBuf,
    },
    /// The content cannot be read.
    #[error("the store in {} is damaged: {reason}; start the node: it sets the store aside and begins a new one", .path.display())]
    Damaged {
        /// The store's directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version of m2mesh has written the store.
    #[error("the store in {} has format {found}, this m2mesh knows formats up to {FORMAT}; use a later m2mesh, or another --dir", .path.display())]
    Format {
        /// The store's directory.
        path: PathBuf,
        /// The format found.
        found: u8,
    },
}

/// The reason why an attempt to open failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// An error to be reported.
    Error(OpenError),
    /// The content is damaged, for this reason.
    Damaged(String),
}

impl SledStore {
    /// Opens the store in `directory`, or creates it. The time `at` names the quarantine if anything must be set aside.
    ///
    /// # Errors
    /// Fails if the disk refuses, another process has the store open, or a later version of m2mesh has written it.
    pub fn open(directory: &Path, at: Unix) -> Result<Opened, OpenError> {
        let path = directory.join(NAME);
        let io = |error| OpenError::Io { path: path.clone(), error };
        losses::finish_renewal(&path).map_err(io)?;
        files::make_directory(&path).map_err(io)?;
        files::probe(&path).map_err(io)?;
        let (witness, known) = Witness::open(directory).map_err(io)?;
        let tail = Tail::read(&path).map_err(io)?;
        let shelf = Shelf::of(&path);
        let again = |path: &Path| match open(path, &shelf) {
            Ok(found) => Ok(found),
            Err(Failure::Error(error)) => Err(error),
            Err(Failure::Damaged(reason)) => Err(io(io::Error::other(reason))),
        };
        let mut quarantined = None;
        let mut found = match open(&path, &shelf) {
            Ok(found) => match losses::lacks(&found.1, known.as_ref()) {
                None => found,
                Some(reason) => {
                    let told = Quarantine { place: losses::free_place(&path, at), reason };
                    losses::renew(&path, found, known.as_ref(), &tail, &told).map_err(io)?;
                    quarantined = Some(told);
                    shelf.clear();
                    again(&path)?
                }
            },
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Damaged(reason)) => {
                quarantined = Some(rescue::rescue(&path, known.as_ref(), &tail, &reason, at).map_err(io)?);
                shelf.clear();
                again(&path)?
            }
        };
        let lost = settle(&path, &mut found, at).map_err(io)?;
        // A quarantine of the whole store already covers the loss of values in it.
        let quarantined = quarantined.or(lost);
        Ok(Opened { store: Self::start(path, shelf, found, Some(witness))?, quarantined })
    }

    /// Starts the threads of a store. Without a witness the store must not be written to.
    pub(super) fn start(
        path: PathBuf,
        shelf: Arc<Shelf>,
        found: Found,
        witness: Option<Witness>,
    ) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.clone(), error };
        let (database, checked) = found;
        let mut fsyncs = 0;
        let open = Open::new(&path, &shelf, &database, checked, witness, &mut fsyncs).map_err(io)?;
        let shared = Arc::new(Shared {
            path: path.clone(),
            state: Mutex::default(),
            wanted: Condvar::new(),
            shelf,
            database: RwLock::new(Some(database)),
        });
        shared.state().counters.fsyncs += fsyncs;
        let threads = writer::start(&shared, open).map_err(io)?;
        Ok(Self { shared, threads, copy: None })
    }
}

/// A database, and what reading all of it has shown.
pub(super) type Found = (sled::Db, Checked);

/// The result of reading a whole database.
#[derive(Debug, Default)]
pub(super) struct Checked {
    /// The references to large values, by key.
    pub values: Values,
    /// The sum of the entries that were found.
    pub sum: Sum,
    /// The sum that the tree itself carries; `None` in a new database, or one of a format without a sum.
    pub noted: Option<Sum>,
    /// Large values that cannot be read.
    pub lost: Vec<Lost>,
    /// Whether there are entries but not the format marker or the sum.
    pub unmarked: bool,
    format: u8,
}

/// Opens the database in `path`, which exists, and reads all of it.
pub(super) fn open(path: &Path, shelf: &Shelf) -> Result<Found, Failure> {
    let io = |error| Failure::Error(OpenError::Io { path: path.to_owned(), error });
    files::remove_unfinished(path).map_err(io)?;
    let mut patience = LOCK_ATTEMPTS;
    let database = loop {
        // A panic in sled says that the content is damaged; its message is on standard error.
        match catch_unwind(AssertUnwindSafe(|| config(path).open())) {
            Ok(Ok(database)) => break database,
            Ok(Err(sled::Error::Io(error))) if error.to_string().starts_with("could not acquire lock") => {
                // sled's threads may hold a database for a moment after it was dropped, and the kernel does not report
                // when a lock is released.
                patience -= 1;
                if patience == 0 {
                    return Err(Failure::Error(OpenError::InUse { path: path.to_owned() }));
                }
                thread::park_timeout(LOCK_WAIT);
            }
            Ok(Err(error)) => return Err(judge(path, error)),
            Err(panic) => return Err(Failure::Damaged(message(panic))),
        }
    };
    let checked = match catch_unwind(AssertUnwindSafe(|| check(path, &database, shelf))) {
        Ok(checked) => checked?,
        Err(panic) => return Err(Failure::Damaged(message(panic))),
    };
    Ok((database, checked))
}

pub(super) fn config(path: &Path) -> sled::Config {
    sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None).use_compression(false)
}

/// Reads every entry. Writes only to bring an earlier format up to date.
fn check(path: &Path, database: &sled::Db, shelf: &Shelf) -> Result<Checked, Failure> {
    let failed = |error| judge(path, error);
    let mut checked = Checked::default();
    checked.format = match database.get(full_key(Table::Meta, FORMAT_KEY)).map_err(failed)?.as_deref() {
        Some([found]) if *found <= FORMAT => *found,
        Some([found]) => return Err(Failure::Error(OpenError::Format { path: path.to_owned(), found: *found })),
        Some(_) => return Err(Failure::Damaged("the format marker is no format".into())),
        None => {
            checked.unmarked = !database.is_empty();
            0
        }
    };
    if (1..PACKS).contains(&checked.format) {
        escape(database).map_err(failed)?;
    }
    let of_sum = sum::key();
    for entry in database.iter() {
        let (key, raw) = entry.map_err(failed)?;
        evict_behind(database, &key).map_err(failed)?;
        if *key == *of_sum {
            let noted = Sum::decode(&raw).ok_or_else(|| Failure::Damaged("the sum is no sum".into()))?;
            checked.noted = Some(noted);
            continue;
        }
        checked.sum.add(sum::checksum(&key, &raw));
        match Stored::read(&raw) {
            Some(Stored::Here(_)) => {}
            Some(Stored::At(reference)) => {
                match Lost::look(shelf, &key, &reference).map_err(|error| judge(path, error.into()))? {
                    None => drop(checked.values.insert(key.to_vec(), reference)),
                    Some(lost) => checked.lost.push(lost),
                }
            }
            None => return Err(Failure::Damaged("it holds a value that nobody has written".into())),
        }
    }
    checked.sum.batch = checked.noted.map_or(0, |noted| noted.batch);
    checked.unmarked |= checked.format >= SUMMED && checked.noted.is_none();
    Ok(checked)
}

/// Marks values of the first format that could be taken for references.
fn escape(database: &sled::Db) -> sled::Result<()> {
    let mut update = sled::Batch::default();
    for entry in database.iter() {
        let (key, raw) = entry?;
        if raw.first() == Some(&ESCAPE) {
            update.insert(key, &*escaped(&raw));
        }
    }
    update.insert(full_key(Table::Meta, FORMAT_KEY), &[PACKS]);
    database.apply_batch(update)?;
    database.flush().map(drop)
}

/// Prepares a sound database for work: updates its format and its sum, and removes the entries of lost values. Returns
/// the quarantine of these, if there are any.
fn settle(path: &Path, (database, checked): &mut Found, at: Unix) -> io::Result<Option<Quarantine>> {
    let lost = std::mem::take(&mut checked.lost);
    let place = if lost.is_empty() { None } else { Some(losses::set_values_aside(path, &lost, at)?) };
    let mut batch = Batch::new(database, &mut checked.sum);
    if checked.format < FORMAT {
        batch.insert(full_key(Table::Meta, FORMAT_KEY), &[FORMAT])?;
    }
    for Lost { key, .. } in lost {
        batch.remove(key)?;
    }
    if let Some(told) = &place {
        let key = full_key(Table::Meta, SET_ASIDE);
        if database.get(&key)?.is_none() {
            batch.insert(key, &losses::word_of(told))?;
        }
    }
    batch.apply()?;
    database.flush()?;
    Ok(place)
}

/// Decides whether an error is about the content or about the disk.
fn judge(path: &Path, error: sled::Error) -> Failure {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        sled::Error::Io(error) if !matches!(error.kind(), UnexpectedEof | InvalidData) => {
            Failure::Error(OpenError::Io { path: path.to_owned(), error })
        }
        error => Failure::Damaged(error.to_string().replace(" backtrace ()", "")),
    }
}

pub(super) fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("sled gave up: {}", text.unwrap_or("no reason given"))
}

/// The name of the store's directory within the node's directory.
pub(super) const NAME: &str = "store";

/// The key of the format, in [`Table::Meta`].
pub(super) const FORMAT_KEY: &[u8] = b"format";

/// The format of keys and values in the store. All formats up to this one can be read.
pub(super) const FORMAT: u8 = SUMMED;

/// The first format with large values beside the tree.
const PACKS: u8 = 2;

/// The first format with a sum of the entries.
const SUMMED: u8 = 3;

/// The capacity of sled's page cache, in bytes. Measured with 60,000 log records: the process takes 10 MB after opening
/// with this, and 14 MB with four times as much; a node at rest may take 20 MB in all.
const CACHE: u64 = 1024 * 1024;

/// Attempts to lock a database that was just closed.
const LOCK_ATTEMPTS: u32 = 100;

/// The time between two of these attempts: two seconds in all.
const LOCK_WAIT: Duration = Duration::from_millis(20);
