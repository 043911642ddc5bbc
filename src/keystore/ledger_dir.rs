//! Ledger directory: the issuer's ledger on disk, with a file for each ticket and for each device.
//!
//! The node that enrols and the command line that invites use it at the same time. Every use locks the ledger first. A
//! count in the lock file grows before every change. A process that finds the count changed reads the ledger again;
//! otherwise it uses the copy in its memory.
//!
//! Invariants
//! 1. A file that is not an entry makes every use of the ledger fail with the file's name; no file is skipped.
//! - What a call reports has been synced to disk, file and directory; within a batch, this holds when the batch
//!   returns.

mod publishers;
mod segments;

use super::private_file::{self, FileError};
use crate::id::{DeviceId, Name, Pseudonym};
use crate::identity::ledger::{
    Book, DeviceRecord, Enrolled, Enrolment, Ledger, LedgerError, Note, Noted, RevocationRecord, TicketRecord,
};
use crate::time::Unix;
use crate::wire::{decode, encode};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A ledger in a directory.
#[derive(Debug)]
pub struct LedgerDir {
    directory: PathBuf,
    book: Book,
    /// The count of changes up to which `book` is current; `None` if it must be read.
    seen: Option<u64>,
    /// The lock and the changes of a batch that is under way.
    batch: Option<Change>,
}

impl LedgerDir {
    /// Opens the ledger in `directory` and creates its parts where they are missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let directory = directory.into();
        for part in [TICKETS, DEVICES] {
            private_file::create_directory(&directory.join(part)).map_err(storage)?;
        }
        let mut ledger = Self { directory, book: Book::default(), seen: None, batch: None };
        // Every process that writes there holds the lock.
        let parts = [TICKETS, DEVICES].map(|part| ledger.directory.join(part));
        ledger
            .locked(|_, _| parts.iter().try_for_each(|part| private_file::remove_temporary(part)).map_err(storage))?;
        Ok(ledger)
    }

    /// Returns the entries as they are now.
    pub fn book(&mut self) -> Result<&Book, LedgerError> {
        self.locked(|_, _| Ok(()))?;
        Ok(&self.book)
    }

    /// Makes all changes of `act` under one lock and writes them at its end, all or none. What `act` reports in between
    /// is not synced until this returns, so use it for devices that are created here and not handed out before.
    pub fn batch<T, E: From<LedgerError>>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let change = self.begin()?;
        self.batch = Some(change);
        let done = act(self);
        let change = self.batch.take();
        match (done, change) {
            (Ok(value), Some(change)) => {
                self.commit(change)?;
                Ok(value)
            }
            (done, _) => {
                self.seen = None;
                done
            }
        }
    }

    /// Runs `act` under the lock on an up-to-date book, and writes what it has changed.
    fn locked<T>(
        &mut self,
        act: impl FnOnce(&mut Book, &mut Entries<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        if let Some(batch) = &mut self.batch {
            return act(&mut self.book, &mut Entries { directory: &self.directory, change: batch });
        }
        let mut change = self.begin()?;
        match act(&mut self.book, &mut Entries { directory: &self.directory, change: &mut change }) {
            Ok(value) => {
                self.commit(change)?;
                Ok(value)
            }
            Err(error) => {
                self.seen = None;
                Err(error)
            }
        }
    }

    /// Runs `act` and writes the devices that it has changed.
    fn devices_changed<T>(&mut self, act: impl FnOnce(&mut Book) -> Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.locked(|book, entries| {
            let before = book.every_device()?;
            let done = act(book)?;
            for device in before.iter().filter_map(|before| book.get(&before.device).filter(|after| *after != before)) {
                entries.put_device(device);
            }
            Ok(done)
        })
    }

    /// Takes the lock and brings the book up to date.
    fn begin(&mut self) -> Result<Change, LedgerError> {
        let change = Change::begin(&self.directory.join("lock"))?;
        if self.seen != Some(change.count) {
            self.book = self.read()?;
            self.seen = Some(change.count);
        }
        Ok(change)
    }

    /// Writes what has changed. After a failure it is unknown what has reached the disk: the next use reads it again.
    fn commit(&mut self, change: Change) -> Result<(), LedgerError> {
        self.seen = None;
        self.seen = Some(change.commit()?);
        Ok(())
    }

    fn read(&self) -> Result<Book, LedgerError> {
        let mut book = Book::default();
        for ticket in self.entries::<TicketRecord>(TICKETS, |ticket| HEXLOWER.encode(&ticket.key.0))? {
            book.load_ticket(ticket);
        }
        for device in self.entries::<DeviceRecord>(DEVICES, |device| HEXLOWER.encode(&device.device.0))? {
            book.load_device(device);
        }
        Ok(book)
    }

    fn entries<T: DeserializeOwned + Serialize>(
        &self,
        part: &str,
        name_of: fn(&T) -> String,
    ) -> Result<Vec<T>, LedgerError> {
        let directory = self.directory.join(part);
        let names = private_file::names(&directory).map_err(storage)?;
        let read = |name: &String| {
            let path = directory.join(name);
            let damaged = |what: String| LedgerError::Storage(format!("{} is no ledger entry: {what}", path.display()));
            let entry: T =
                decode(&private_file::read(&path).map_err(storage)?).map_err(|error| damaged(error.to_string()))?;
            if name_of(&entry) == *name { Ok(entry) } else { Err(damaged("its name belongs to another".into())) }
        };
        names.iter().map(read).collect()
    }
}

impl Ledger for LedgerDir {
    fn invite(&mut self, ticket: TicketRecord) -> Result<(), LedgerError> {
        self.locked(|book, entries| {
            book.invite(ticket.clone())?;
            entries.put_ticket(&ticket);
            Ok(())
        })
    }

    fn ticket(&mut self, key: &Pseudonym) -> Result<Option<TicketRecord>, LedgerError> {
        self.locked(|book, _| book.ticket(key))
    }

    fn enrol(&mut self, enrolment: &Enrolment<'_>) -> Result<Enrolled, LedgerError> {
        self.locked(|book, entries| {
            let enrolled = book.enrol(enrolment)?;
            if let Enrolled::New(device) = &enrolled {
                entries.put_device(device);
            }
            Ok(enrolled)
        })
    }

    fn allow(&mut self, one: &Name, other: &Name) -> Result<bool, LedgerError> {
        self.locked(|book, entries| {
            let new = book.allow(one, other)?;
            if let Some(device) = book.named(one).filter(|_| new) {
                entries.put_device(device);
            }
            Ok(new)
        })
    }

    fn device(&mut self, renewal: &Pseudonym) -> Result<Option<DeviceRecord>, LedgerError> {
        self.locked(|book, _| book.device(renewal))
    }

    fn note(&mut self, note: &Note<'_>) -> Result<Noted, LedgerError> {
        self.locked(|book, entries| {
            let before = book.get(note.device).cloned();
            let noted = book.note(note)?;
            let after = book.get(note.device);
            if let Some(after) = after.filter(|after| before.as_ref() != Some(after)) {
                entries.put_device(after);
            }
            // This also cleans up after devices that do not come back.
            for device in book.passed(note.now, SWEPT) {
                book.forget_passed(device, note.now);
                if let Some(record) = book.get(&device) {
                    entries.put_device(record);
                }
            }
            Ok(noted)
        })
    }

    fn contacts(&mut self, device: &DeviceId, limit: usize) -> Result<Vec<DeviceRecord>, LedgerError> {
        self.locked(|book, _| book.contacts(device, limit))
    }

    fn revoke(&mut self, device: &DeviceId, revocation: &RevocationRecord) -> Result<bool, LedgerError> {
        self.devices_changed(|book| book.revoke(device, revocation))
    }

    fn withdraw(&mut self, ticket: &Pseudonym) -> Result<bool, LedgerError> {
        self.locked(|book, entries| {
            let withdrawn = book.withdraw(ticket)?;
            if let Some(ticket) = book.ticket(ticket)?.filter(|_| withdrawn) {
                entries.put_ticket(&ticket);
            }
            Ok(withdrawn)
        })
    }

    fn renew_cards(&mut self) -> Result<(), LedgerError> {
        self.devices_changed(Book::renew_cards)
    }

    fn publish(&mut self, bulletin: u64) -> Result<(), LedgerError> {
        self.devices_changed(|book| book.publish(bulletin))
    }

    fn every_device(&mut self) -> Result<Vec<DeviceRecord>, LedgerError> {
        self.locked(|book, _| book.every_device())
    }

    fn number_anew(&mut self, now: Unix) -> Result<Option<u64>, LedgerError> {
        self.devices_changed(|book| book.number_anew(now))
    }
}

/// Collects changed entries.
struct Entries<'a> {
    directory: &'a Path,
    change: &'a mut Change,
}

impl Entries<'_> {
    fn put_ticket(&mut self, ticket: &TicketRecord) {
        let path = self.directory.join(TICKETS).join(HEXLOWER.encode(&ticket.key.0));
        self.change.writes.insert(path, encode(ticket));
    }

    fn put_device(&mut self, device: &DeviceRecord) {
        let path = self.directory.join(DEVICES).join(HEXLOWER.encode(&device.device.0));
        self.change.writes.insert(path, encode(device));
    }
}

/// The lock that is held, the count in its file, and the files to write before it is released.
#[derive(Debug)]
struct Change {
    file: File,
    path: PathBuf,
    count: u64,
    writes: BTreeMap<PathBuf, Vec<u8>>,
}

impl Change {
    fn begin(path: &Path) -> Result<Self, LedgerError> {
        let mut file = private_file::lock(path).map_err(storage)?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|source| storage(FileError::Io { path: path.into(), action: "read", source }))?;
        let count = bytes.first_chunk::<8>().map_or(0, |count| u64::from_be_bytes(*count));
        Ok(Self { file, path: path.into(), count, writes: BTreeMap::new() })
    }

    /// Writes the entries and returns the new count. The count is written first, so that after a crash in between the
    /// other processes only read once more. It is not synced, since a power cut ends all processes.
    fn commit(mut self) -> Result<u64, LedgerError> {
        if self.writes.is_empty() {
            return Ok(self.count);
        }
        self.count += 1;
        let written = self.file.rewind().and_then(|()| self.file.write_all(&self.count.to_be_bytes()));
        written.map_err(|source| storage(FileError::Io { path: self.path, action: "written", source }))?;
        let writes: Vec<_> = self.writes.into_iter().collect();
        private_file::write_all(&writes).map_err(storage)?;
        Ok(self.count)
    }
}

/// The number of other devices from whose records a note removes what has passed.
const SWEPT: usize = 8;
const TICKETS: &str = "tickets";
const DEVICES: &str = "devices";

fn storage(error: FileError) -> LedgerError {
    LedgerError::Storage(error.to_string())
}
