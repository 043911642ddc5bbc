//! Opening: removing what is unfinished, checking what is there, setting aside what cannot be read.

use super::files;
use super::packs::{ESCAPE, Reference, Shelf, Stored, Values, escaped};
use super::{Shared, SledReader, SledStore, Store, evict_behind, full_key, writer};
use crate::engine::store::Table;
use crate::time::Unix;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::thread;
use std::time::Duration;

/// An open store, and what happened on the way.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: SledStore,
    /// If what was there could not be read. To be recorded in the event log.
    pub quarantined: Option<Quarantine>,
}

/// A damaged store that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Name of the directory it was renamed to, beside the new one.
    pub place: String,
    /// What was wrong.
    pub reason: String,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk says no, whatever the content.
    #[error("the store in {} cannot be opened: {error}; check permissions, free space and the disk itself", .path.display())]
    Io {
        /// Its directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Another process has it open.
    #[error("the store in {} is in use by another process; stop that one, or use another --dir", .path.display())]
    InUse {
        /// Its directory.
        path: PathBuf,
    },
    /// What is in it cannot be read.
    #[error("the store in {} is damaged: {reason}; start the node: it sets the store aside and begins a new one", .path.display())]
    Damaged {
        /// Its directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A later version of m2mesh has written it.
    #[error("the store in {} has format {found}, this m2mesh knows formats up to {FORMAT}; use a later m2mesh, or another --dir", .path.display())]
    Format {
        /// Its directory.
        path: PathBuf,
        /// The format found.
        found: u8,
    },
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// To be reported.
    Error(OpenError),
    /// The content is damaged.
    Damaged(String),
}

impl SledStore {
    /// Opens, or makes, the store in `directory`. `at` names what may have to be set aside.
    pub fn open(directory: &Path, at: Unix) -> Result<Opened, OpenError> {
        let path = directory.join(NAME);
        let io = |error| OpenError::Io { path: path.clone(), error };
        files::make_directory(&path).map_err(io)?;
        files::probe(&path).map_err(io)?;
        let mut quarantined = None;
        let shelf = Shelf::of(&path);
        let found = match open(&path, &shelf) {
            Ok(found) => found,
            Err(Failure::Error(error)) => return Err(error),
            Err(Failure::Damaged(reason)) => {
                let place = set_aside(directory, at).map_err(io)?;
                quarantined = Some(Quarantine { place, reason });
                files::make_directory(&path).map_err(io)?;
                shelf.clear();
                match open(&path, &shelf) {
                    Ok(found) => found,
                    Err(Failure::Error(error)) => return Err(error),
                    Err(Failure::Damaged(reason)) => return Err(io(io::Error::other(reason))),
                }
            }
        };
        Ok(Opened { store: Self::start(path, shelf, found)?, quarantined })
    }

    /// Opens the store in `directory`, which is there, to look at it: what is damaged is an error and stays in place.
    pub fn inspect(directory: &Path) -> Result<Self, OpenError> {
        let path = directory.join(NAME);
        let shelf = Shelf::of(&path);
        match open(&path, &shelf) {
            Ok(found) => Self::start(path, shelf, found),
            Err(Failure::Error(error)) => Err(error),
            Err(Failure::Damaged(reason)) => Err(OpenError::Damaged { path, reason }),
        }
    }

    /// Reads what a damaged store has from before the damage, from a copy of it, which is removed afterwards. Nothing if
    /// not even that can be read.
    pub fn salvage<T>(directory: &Path, read: impl FnOnce(SledReader) -> T) -> Result<Option<T>, OpenError> {
        let copy = directory.join("store.examined");
        let io = |error| OpenError::Io { path: copy.clone(), error };
        files::copy_without_index(&directory.join(NAME), &copy).map_err(io)?;
        // The log is in the tree: that a large value cannot be read is no reason not to read it.
        let found = match open_with(&copy, |_| Ok(())) {
            Ok(found) => {
                let store = Self::start(copy.clone(), Shelf::of(&copy), found)?;
                Ok(Some(read(store.reader())))
            }
            Err(Failure::Damaged(_)) => Ok(None),
            Err(Failure::Error(error)) => Err(error),
        };
        fs::remove_dir_all(&copy).map_err(io)?;
        found
    }

    fn start(path: PathBuf, shelf: Arc<Shelf>, (database, values): (sled::Db, Values)) -> Result<Self, OpenError> {
        let io = |error| OpenError::Io { path: path.clone(), error };
        let shared = Arc::new(Shared {
            path: path.clone(),
            state: Mutex::default(),
            wanted: Condvar::new(),
            shelf,
            database: RwLock::new(Some(database)),
        });
        let mut fsyncs = 0;
        let open = writer::Open::new(&shared, values, &mut fsyncs).map_err(io)?;
        shared.state().counters.fsyncs += fsyncs;
        let threads = writer::start(&shared, open).map_err(io)?;
        Ok(Self { shared, threads })
    }
}

/// Opens the database in `path`, which exists, and reads all of it. Answers besides where its large values lie.
pub(super) fn open(path: &Path, shelf: &Shelf) -> Result<(sled::Db, Values), Failure> {
    let judged = |error: io::Error| judge(path, error.into());
    open_with(path, |reference| match shelf.read(reference).map_err(judged)? {
        Some(_) => Ok(()),
        None => Err(Failure::Damaged("a file of large values is missing".into())),
    })
}

/// The same, with a look of the caller's at each large value.
fn open_with(path: &Path, look: impl Fn(&Reference) -> Result<(), Failure>) -> Result<(sled::Db, Values), Failure> {
    let io = |error| Failure::Error(OpenError::Io { path: path.to_owned(), error });
    files::remove_unfinished(path).map_err(io)?;
    let mut patience = LOCK_ATTEMPTS;
    let database = loop {
        // A panic in sled is a finding about the content; its message is on standard error.
        match catch_unwind(AssertUnwindSafe(|| config(path).open())) {
            Ok(Ok(database)) => break database,
            Ok(Err(sled::Error::Io(error))) if error.to_string().starts_with("could not acquire lock") => {
                // sled's threads may hold a database for a moment after it was dropped, and the kernel tells nobody
                // when a lock is let go.
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
    let values = match catch_unwind(AssertUnwindSafe(|| check(path, &database, &look))) {
        Ok(checked) => checked?,
        Err(panic) => return Err(Failure::Damaged(message(panic))),
    };
    Ok((database, values))
}

fn config(path: &Path) -> sled::Config {
    sled::Config::new().path(path).cache_capacity(CACHE).flush_every_ms(None).use_compression(false)
}

/// Reads every entry, and the format marker, which it writes into an empty database and brings up to date in another.
fn check(
    path: &Path,
    database: &sled::Db,
    look: &impl Fn(&Reference) -> Result<(), Failure>,
) -> Result<Values, Failure> {
    let key = full_key(Table::Meta, FORMAT_KEY);
    let failed = |error| judge(path, error);
    let found = match database.get(&key).map_err(failed)?.as_deref() {
        Some([found]) if *found <= FORMAT => *found,
        Some([found]) => return Err(Failure::Error(OpenError::Format { path: path.to_owned(), found: *found })),
        Some(_) => return Err(Failure::Damaged("the format marker is no format".into())),
        None if database.is_empty() => 0,
        None => return Err(Failure::Damaged("the format marker is missing".into())),
    };
    let (mut values, mut update) = (Values::new(), sled::Batch::default());
    for entry in database.iter() {
        let (key, raw) = entry.map_err(failed)?;
        evict_behind(database, &key).map_err(failed)?;
        if found < PACKS {
            if raw.first() == Some(&ESCAPE) {
                update.insert(key, &*escaped(&raw));
            }
            continue;
        }
        match Stored::read(&raw) {
            Some(Stored::Here(_)) => {}
            Some(Stored::At(reference)) => {
                look(&reference)?;
                values.insert(key.to_vec(), reference);
            }
            None => return Err(Failure::Damaged("it holds a value that nobody has written".into())),
        }
    }
    if found < FORMAT {
        update.insert(key, &[FORMAT]);
        database.apply_batch(update).map_err(failed)?;
        database.flush().map_err(failed)?;
    }
    Ok(values)
}

/// Whether an error is about the content or about the disk.
fn judge(path: &Path, error: sled::Error) -> Failure {
    use io::ErrorKind::{InvalidData, UnexpectedEof};
    match error {
        sled::Error::Io(error) if !matches!(error.kind(), UnexpectedEof | InvalidData) => {
            Failure::Error(OpenError::Io { path: path.to_owned(), error })
        }
        error => Failure::Damaged(error.to_string().replace(" backtrace ()", "")),
    }
}

fn message(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    format!("sled gave up: {}", text.unwrap_or("no reason given"))
}

/// Renames the store's directory; answers the new name.
fn set_aside(directory: &Path, at: Unix) -> io::Result<String> {
    let mut place = format!("{NAME}.quarantine-{}", at.seconds());
    let mut copy = 1;
    while directory.join(&place).exists() {
        copy += 1;
        place = format!("{NAME}.quarantine-{}-{copy}", at.seconds());
    }
    fs::rename(directory.join(NAME), directory.join(&place))?;
    File::open(directory)?.sync_all()?;
    Ok(place)
}

/// The store's directory within the node's.
const NAME: &str = "store";

/// Where the format is kept, in the table of small facts.
const FORMAT_KEY: &[u8] = b"format";

/// Format of keys and values in the store. Formats up to this can be read.
const FORMAT: u8 = PACKS;

/// The first format with large values beside the tree.
const PACKS: u8 = 2;

/// sled's page cache, in bytes. Measured with 60,000 log records: 10 MB of the process's memory after opening with this,
/// 14 MB with four times as much; a node at rest has at most 20 MB in all.
const CACHE: u64 = 1024 * 1024;

/// Attempts to lock a database that was just closed.
const LOCK_ATTEMPTS: u32 = 100;

/// Between two of them: two seconds in all.
const LOCK_WAIT: Duration = Duration::from_millis(20);
