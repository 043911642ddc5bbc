//! The auditor's log: every identity that was opened, when and why, in a chain of hashes.
//!
//! **Mechanism.** One file, one record a line, appended and never rewritten:
//!
//! ```text
//! HASH {"record":1,"at":"2026-01-31T12:00:00.000Z","previous":"…","opened":{"reason":"…","credential":"…",…}}
//! ```
//!
//! `HASH` is the SHA-256 of the JSON text behind it, in hexadecimal; `previous` is that of the line before, in the first line
//! SHA-256(`m2mesh/1 auditor log` ‖ 0x00 ‖ realm id), so that no realm's log passes for another's. `credential` is the SHA-256 of the
//! signed credential. Whoever holds the newest hash, which is told with each opening, holds the whole past: [`AuditorLog::verify`]
//! finds a record that was changed, removed or put in between, and, told a hash that was noted elsewhere, whether that record is still there.
//! Without one it cannot see that the newest records were cut off whole, nor that the chain was made anew by whoever may write
//! the file.
//!
//! A crash while a record is written leaves a line without its end. What was to be told after that record was never told, since
//! it is synced first. The next opening cuts the torn line off and says so in a record of its own (`mended`), with its length and hash;
//! a line that lacks its end alone is whole, and kept.
//!
//! The file names devices that nobody else can: it is private to its owner, as a key is.
//!
//! Invariants
//! 1. No byte of a record can change without [`AuditorLog::verify`] naming that record or one before it.
//! 2. Nothing is appended behind a record that does not hold.
//! - A record is on disk, synced with the directory's entry, before [`AuditorLog::append`] returns.

use super::private_file::{self, FileError};
use crate::id::{DeviceId, RealmId};
use crate::time::Unix;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A hash as the log has it: of a line's text, or of a signed credential.
pub type Hash = [u8; 32];

/// The log in a file, which need not be there yet.
#[derive(Debug)]
pub struct AuditorLog {
    path: PathBuf,
    realm: RealmId,
}

/// What was opened, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opened {
    /// Why, in the auditor's words.
    pub reason: String,
    /// SHA-256 of the signed credential, in hexadecimal.
    pub credential: String,
    /// The device's id, in hexadecimal.
    pub device: String,
    /// The epoch of the credential.
    pub epoch: u64,
    /// That epoch's length in seconds.
    pub epoch_length: u64,
}

/// A torn record that was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mended {
    /// Bytes that were there of it.
    pub bytes: u64,
    /// Their SHA-256, in hexadecimal.
    pub hash: String,
}

/// A record as it is read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Its number, from 1.
    pub record: u64,
    /// When, by the auditor's clock, as RFC 3339 writes it.
    pub at: String,
    /// Hash of the record before, in hexadecimal.
    pub previous: String,
    /// An identity was opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opened>,
    /// The end of the log was mended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<Mended>,
}

/// What a check of the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Records that hold, counted from the first.
    pub records: u64,
    /// Hash of the last of them.
    pub head: Hash,
    /// Whether one of them has the hash that was asked for.
    pub found: bool,
    /// What comes after them.
    pub end: End,
    /// Bytes that they take.
    length: u64,
}

/// What comes after the records that hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Clean,
    /// A line without its end, as a crash leaves it.
    Torn {
        /// Its bytes.
        bytes: Vec<u8>,
        /// It is a whole record but for the end of its line.
        whole: bool,
    },
    /// A record that does not hold, and whatever comes behind it.
    Bad {
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// What was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record's number.
    pub record: u64,
    /// Its hash: who keeps it elsewhere can tell later whether the log still holds this record and all before it.
    pub head: Hash,
    /// The number of a record that says what was mended before it.
    pub mended: Option<u64>,
}

/// Why the log takes no record.
#[derive(Debug, thiserror::Error)]
pub enum AuditorLogError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A record does not hold.
    #[error(
        "record {record} of the auditor's log {} {reason}, so nothing is opened; keep that file under another name as evidence, and the next opening begins a new log",
        .path.display()
    )]
    Bad {
        /// The log.
        path: PathBuf,
        /// The first that does not hold.
        record: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl AuditorLog {
    /// The log of a realm in this file.
    pub fn new(path: PathBuf, realm: RealmId) -> Self {
        Self { path, realm }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Walks the log from its first record on, hands over each that holds, and says where it ends. `sought` is a hash that was noted
    /// elsewhere.
    ///
    /// # Errors
    /// The file cannot be read, or others may read it.
    pub fn verify(&self, sought: Option<&Hash>, each: impl FnMut(Record, &Hash)) -> Result<Checked, FileError> {
        if !self.path.exists() {
            return self.walk(std::io::empty(), sought, each);
        }
        let file = File::open(&self.path).map_err(|source| self.failed("read", source))?;
        self.check_mode(&file)?;
        self.walk(file, sought, each)
    }

    /// Appends a record of what was opened, durably, behind whatever has to be mended first.
    ///
    /// # Errors
    /// The file cannot be written, or a record in it does not hold: then nothing is appended.
    pub fn append(&self, opened: Opened, now: Unix) -> Result<Appended, AuditorLogError> {
        let is_new = !self.path.exists();
        let mut file = private_file::lock(&self.path)?;
        self.check_mode(&file)?;
        let Checked { mut records, mut head, end, length, .. } = self.walk(&file, None, |_, _| {})?;
        let mut text = Vec::new();
        let mut next = |opened, mended| {
            records += 1;
            let record =
                Record { record: records, at: now.to_string(), previous: HEXLOWER.encode(&head), opened, mended };
            let json = serde_json::to_vec(&record).expect("texts and numbers have a JSON form");
            head = Sha256::digest(&json).into();
            text.extend_from_slice(HEXLOWER.encode(&head).as_bytes());
            text.push(b' ');
            text.extend_from_slice(&json);
            text.push(b'\n');
            (records, head)
        };
        let mut mended = None;
        let from = match end {
            End::Clean => length,
            End::Torn { whole: true, bytes } => {
                // Its end, before the next one.
                file.seek(std::io::SeekFrom::End(0)).map_err(|source| self.failed("read", source))?;
                file.write_all(b"\n").map_err(|source| self.failed("written", source))?;
                length + bytes.len() as u64 + 1
            }
            End::Torn { whole: false, bytes } => {
                let hash = HEXLOWER.encode(&Sha256::digest(&bytes));
                mended = Some(next(None, Some(Mended { bytes: bytes.len() as u64, hash })).0);
                length
            }
            End::Bad { reason } => {
                return Err(AuditorLogError::Bad { path: self.path.clone(), record: records + 1, reason });
            }
        };
        let (record, head) = next(Some(opened), None);
        let written = file
            .set_len(from)
            .and_then(|()| file.seek(std::io::SeekFrom::Start(from)))
            .and_then(|_| file.write_all(&text))
            .map_err(|source| self.failed("written", source));
        written?;
        file.sync_all().map_err(|source| self.failed("synced", source))?;
        if is_new && let Some(directory) = self.path.parent() {
            private_file::sync_directory(directory)?;
        }
        Ok(Appended { record, head, mended })
    }

    fn walk(
        &self,
        from: impl Read,
        sought: Option<&Hash>,
        mut each: impl FnMut(Record, &Hash),
    ) -> Result<Checked, FileError> {
        let mut from = BufReader::new(from);
        let head = Sha256::new().chain_update(ANCHOR).chain_update([0]).chain_update(self.realm.0).finalize().into();
        let mut checked = Checked { records: 0, head, found: false, end: End::Clean, length: 0 };
        loop {
            let mut line = Vec::new();
            let read = from.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
            read.map_err(|source| self.failed("read", source))?;
            let ended = line.last() == Some(&b'\n');
            match read_line(&line, checked.records + 1, &checked.head) {
                _ if line.is_empty() => return Ok(checked),
                Ok((record, hash)) => {
                    checked.records += 1;
                    checked.head = hash;
                    checked.found |= sought == Some(&hash);
                    each(record, &hash);
                    if !ended {
                        checked.end = End::Torn { bytes: line, whole: true };
                        return Ok(checked);
                    }
                    checked.length += line.len() as u64;
                }
                Err(_) if !ended && (line.len() as u64) < MAX_LINE => {
                    checked.end = End::Torn { bytes: line, whole: false };
                    return Ok(checked);
                }
                Err(reason) => {
                    checked.end = End::Bad { reason };
                    return Ok(checked);
                }
            }
        }
    }

    fn check_mode(&self, file: &File) -> Result<(), FileError> {
        let mode = file.metadata().map_err(|source| self.failed("read", source))?.mode() & 0o7777;
        if mode & 0o077 == 0 { Ok(()) } else { Err(FileError::Open { path: self.path.clone(), mode }) }
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> FileError {
        FileError::Io { path: self.path.clone(), action, source }
    }
}

impl Opened {
    /// What is noted of a credential, as it travels, that belonged to a device.
    pub fn new(reason: &str, signed: &[u8], device: DeviceId, epoch: u64, epoch_length: u64) -> Self {
        let credential = HEXLOWER.encode(&Sha256::digest(signed));
        Self { reason: reason.to_owned(), credential, device: device.to_string(), epoch, epoch_length }
    }
}

/// Reads a line, with its end or without; why it is no record `number` behind the one with the hash `before`.
fn read_line(line: &[u8], number: u64, before: &Hash) -> Result<(Record, Hash), &'static str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let (stated, json) = line.split_at_checked(65).ok_or("is no record")?;
    let hash: Hash = Sha256::digest(json).into();
    if stated.strip_suffix(b" ") != Some(HEXLOWER.encode(&hash).as_bytes()) {
        return Err("was changed: its text has another hash");
    }
    let record: Record = serde_json::from_slice(json).map_err(|_| "is no record")?;
    if record.opened.is_some() == record.mended.is_some() {
        return Err("is no record");
    }
    if record.record != number || record.previous != HEXLOWER.encode(before) {
        return Err(
            "does not follow the one before it: records are missing, were put in between, or come from another log",
        );
    }
    Ok((record, hash))
}

/// What the hash before the first record is made of, with the realm's id.
const ANCHOR: &str = "m2mesh/1 auditor log";
/// Longest line, in bytes: a reason of [`MAX_REASON`] characters, each escaped, fits well.
const MAX_LINE: u64 = 16 * 1024;
/// Longest reason, in bytes.
pub const MAX_REASON: usize = 1_000;

#[cfg(test)]
mod tests;
