//! The issuer's ledger on disk: one file a ticket, one file a device.
//!
//! The node that enrols and the command line that invites use it at the same time. Every use locks the ledger
//! first. A count in the lock file grows before every change; who finds it grown reads the ledger anew, everybody
//! else goes on with what is in memory.
//!
//! Invariants
//! 1. What a call reports has been synced to disk, file and directory.
//! 2. A file that is not an entry stops the ledger with the file's name; nothing is skipped.

use super::private_file::{self, FileError};
use crate::id::{DeviceId, Pseudonym};
use crate::identity::ledger::{Book, DeviceRecord, Enrolled, Enrolment, Ledger, LedgerError, TicketRecord};
use crate::wire::contact::MailPrekey;
use crate::wire::{decode, encode};
use data_encoding::HEXLOWER;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A ledger in a directory.
#[derive(Debug)]
pub struct LedgerDir {
    directory: PathBuf,
    book: Book,
    /// Count of changes that `book` has; `None` before it was read.
    seen: Option<u64>,
}

impl LedgerDir {
    /// The ledger in `directory`; makes its parts where they are missing.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let directory = directory.into();
        for part in [TICKETS, DEVICES] {
            private_file::create_directory(&directory.join(part)).map_err(storage)?;
        }
        let mut ledger = Self { directory, book: Book::default(), seen: None };
        ledger.locked(|_, _| Ok(()))?;
        Ok(ledger)
    }

    /// The entries as they are now.
    pub fn book(&mut self) -> Result<&Book, LedgerError> {
        self.locked(|_, _| Ok(()))?;
        Ok(&self.book)
    }

    /// Runs `act` under the lock, on a book that is up to date.
    fn locked<T>(
        &mut self,
        act: impl FnOnce(&mut Self, &mut Change) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let mut change = Change::begin(&self.directory.join("lock"))?;
        if self.seen != Some(change.count) {
            self.book = self.read()?;
            self.seen = Some(change.count);
        }
        let done = act(self, &mut change);
        // After a failure nobody knows what reached the disk: the next use reads it anew.
        self.seen = done.is_ok().then_some(change.count);
        done
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

    fn write_device(&self, device: &DeviceRecord) -> Result<(), LedgerError> {
        let path = self.directory.join(DEVICES).join(HEXLOWER.encode(&device.device.0));
        private_file::write(&path, &encode(device)).map_err(storage)
    }
}

impl Ledger for LedgerDir {
    fn invite(&mut self, ticket: TicketRecord) -> Result<(), LedgerError> {
        self.locked(|ledger, change| {
            let path = ledger.directory.join(TICKETS).join(HEXLOWER.encode(&ticket.key.0));
            let bytes = encode(&ticket);
            ledger.book.invite(ticket)?;
            change.announce()?;
            private_file::write(&path, &bytes).map_err(storage)
        })
    }

    fn ticket(&mut self, key: &Pseudonym) -> Result<Option<TicketRecord>, LedgerError> {
        self.locked(|ledger, _| ledger.book.ticket(key))
    }

    fn enrol(&mut self, enrolment: &Enrolment<'_>) -> Result<Enrolled, LedgerError> {
        self.locked(|ledger, change| {
            let enrolled = ledger.book.enrol(enrolment)?;
            if let Enrolled::New(device) = &enrolled {
                change.announce()?;
                ledger.write_device(device)?;
            }
            Ok(enrolled)
        })
    }

    fn device(&mut self, renewal: &Pseudonym) -> Result<Option<DeviceRecord>, LedgerError> {
        self.locked(|ledger, _| ledger.book.device(renewal))
    }

    fn note(&mut self, device: &DeviceId, until: u64, prekey: Option<MailPrekey>) -> Result<(), LedgerError> {
        self.locked(|ledger, change| {
            let before = ledger.book.get(device).cloned();
            ledger.book.note(device, until, prekey)?;
            match ledger.book.get(device) {
                after if after == before.as_ref() => Ok(()),
                Some(after) => {
                    change.announce()?;
                    ledger.write_device(after)
                }
                None => Err(LedgerError::NoDevice(*device)),
            }
        })
    }

    fn contacts(&mut self, device: &DeviceId, limit: usize) -> Result<Vec<DeviceRecord>, LedgerError> {
        self.locked(|ledger, _| ledger.book.contacts(device, limit))
    }
}

/// The lock held, and the count in it.
struct Change {
    file: File,
    path: PathBuf,
    count: u64,
}

impl Change {
    fn begin(path: &Path) -> Result<Self, LedgerError> {
        let mut file = private_file::lock(path).map_err(storage)?;
        let mut bytes = Vec::new();
        let read = file.read_to_end(&mut bytes);
        read.map_err(|source| storage(FileError::Io { path: path.into(), action: "read", source }))?;
        let count = bytes.first_chunk::<8>().map_or(0, |count| u64::from_be_bytes(*count));
        Ok(Self { file, path: path.into(), count })
    }

    /// Tells the other processes that what they have in memory is out of date. It comes before the change, so that
    /// a crash in between costs a reading and nothing else; a power cut ends all processes, so it is not synced.
    fn announce(&mut self) -> Result<(), LedgerError> {
        self.count += 1;
        let written = self.file.rewind().and_then(|()| self.file.write_all(&self.count.to_be_bytes()));
        written.map_err(|source| storage(FileError::Io { path: self.path.clone(), action: "written", source }))
    }
}

const TICKETS: &str = "tickets";
const DEVICES: &str = "devices";

fn storage(error: FileError) -> LedgerError {
    LedgerError::Storage(error.to_string())
}
