//! A device's directory: its membership on disk.
//!
//! ```text
//! DIR/identity/            0700
//!   device.key     0600    the keys that last, written once
//!   credentials    0600    the batch: credentials with the private keys of their epochs, path keys
//!   bulletin       0600    the signed bulletin
//!   cards          0600    contact cards
//!   groups/        0700    documents that the bulletin names, by their hash
//!   pending        0600    while an enrolment is under way: its keys, so that a retry has the same
//! ```
//!
//! All but the bulletin may be sealed under a passphrase, see [`keyring`]. Each file is replaced whole. They are written in the order above, and any newer file goes with older ones after
//! it: a crash between two leaves a device that starts.

use super::documents;
use super::keyring::{self, Keyring};
use super::private_file::{self, FileError};
use crate::identity::enrolment::{self, EnrolmentError, PendingEnrolment};
use crate::identity::membership::{Membership, MembershipError, Stored};
use crate::wire::ticket::Ticket;
use rand_chacha::ChaCha20Rng;
use std::path::{Path, PathBuf};

/// Where a device keeps its membership.
#[derive(Clone, Debug)]
pub struct DeviceDir {
    directory: PathBuf,
    identity: PathBuf,
    keys: Keyring,
}

/// Why a directory gives no membership, or takes none.
#[derive(Debug, thiserror::Error)]
pub enum DeviceDirError {
    /// No device has enrolled here.
    #[error("{0} holds no device; run `m2mesh join TICKET --dir {0}`", .directory.display())]
    NoDevice {
        /// Where.
        directory: PathBuf,
    },
    /// A join was begun and not finished.
    #[error("an enrolment in {0} has not been finished; run `m2mesh join TICKET --dir {0}` again with the same ticket",
        .directory.display())]
    Unfinished {
        /// Where.
        directory: PathBuf,
    },
    /// One has.
    #[error("{} holds a device already; choose another directory", .directory.display())]
    Occupied {
        /// Where.
        directory: PathBuf,
    },
    /// A file of it.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in a file.
    #[error("{} is damaged: {source}; bring it back from a copy, or enrol anew in another directory", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: MembershipError,
    },
    /// The issuer's answer.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
}

impl DeviceDir {
    /// The device directory `directory`; it need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::with_keys(directory, Keyring::default())
    }

    /// As [`Self::new`], with what opens and seals its secrets.
    pub fn with_keys(directory: impl Into<PathBuf>, keys: Keyring) -> Self {
        let directory = directory.into();
        Self { identity: directory.join("identity"), directory, keys }
    }

    /// Whether a device has enrolled here.
    pub fn is_enrolled(&self) -> bool {
        FILES.iter().all(|file| self.identity.join(file).exists())
    }

    /// Loads the membership. The caller holds the directory's lock. Slow where it is sealed: it derives a key.
    pub fn load(&self) -> Result<Membership, DeviceDirError> {
        keyring::clean_up(&self.directory)?;
        let there = FILES.iter().filter(|file| self.identity.join(file).exists()).count();
        if there < FILES.len() && self.pending_path().exists() {
            return Err(DeviceDirError::Unfinished { directory: self.directory.clone() });
        }
        if there == 0 {
            return Err(DeviceDirError::NoDevice { directory: self.directory.clone() });
        }
        private_file::remove_temporary(&self.identity)?;
        // Left when a join was interrupted after its last step.
        private_file::remove(&self.pending_path())?;
        let read = |name| self.keys.read(&self.identity.join(name));
        let stored = Stored {
            keys: read(KEYS)?,
            batch: read(CREDENTIALS)?,
            bulletin: private_file::read(&self.identity.join(BULLETIN))?,
            documents: documents::read(&self.identity.join(documents::DIRECTORY))?,
            cards: read(CARDS)?,
        };
        Membership::from_stored(&stored).map_err(|source| {
            let file = match &source {
                MembershipError::Keys(_) => KEYS,
                MembershipError::Batch(_) | MembershipError::Credentials | MembershipError::Groups(_) => CREDENTIALS,
                MembershipError::Bulletin(_) => BULLETIN,
                MembershipError::Cards(_) => CARDS,
            };
            DeviceDirError::Damaged { path: self.identity.join(file), source }
        })
    }

    /// Writes what has changed of a membership, durably.
    pub fn save(&self, stored: &Stored) -> Result<(), DeviceDirError> {
        private_file::create_directory(&self.identity)?;
        let write = |name, bytes: &[u8]| self.keys.write(&self.identity.join(name), bytes);
        write(KEYS, &stored.keys)?;
        write(CREDENTIALS, &stored.batch)?;
        private_file::write_changed(&self.identity.join(BULLETIN), &stored.bulletin)?;
        documents::write(&self.identity.join(documents::DIRECTORY), &stored.documents)?;
        write(CARDS, &stored.cards)?;
        Ok(())
    }

    /// Writes the memberships of many new devices of one file system, durably.
    pub fn save_new(devices: &[(Self, Stored)]) -> Result<(), DeviceDirError> {
        let mut files: Vec<(PathBuf, &[u8])> = Vec::with_capacity(FILES.len() * devices.len());
        for (device, stored) in devices {
            private_file::create_directory(&device.identity)?;
            let parts: [&[u8]; 4] = [&stored.keys, &stored.batch, &stored.bulletin, &stored.cards];
            files.extend(FILES.iter().map(|name| device.identity.join(name)).zip(parts));
            documents::write(&device.identity.join(documents::DIRECTORY), &stored.documents)?;
        }
        Ok(private_file::write_all(&files)?)
    }

    /// Begins an enrolment with a ticket, or goes on with one begun here before: the keys are on disk before
    /// anything is sent. One begun with another ticket is given up.
    pub fn begin_join(&self, ticket: &Ticket, rng: &mut ChaCha20Rng) -> Result<PendingEnrolment, DeviceDirError> {
        if self.is_enrolled() {
            return Err(DeviceDirError::Occupied { directory: self.directory.clone() });
        }
        private_file::create_directory(&self.identity)?;
        match self.keys.read(&self.pending_path()) {
            Ok(bytes) => {
                if let Ok(pending) = PendingEnrolment::from_stored(&bytes, ticket) {
                    return Ok(pending);
                }
            }
            Err(FileError::Missing { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let pending = enrolment::begin_join(ticket, rng);
        self.keys.write(&self.pending_path(), &pending.to_stored())?;
        Ok(pending)
    }

    /// Takes the issuer's answer (the `sealed` of its reply), and stores the device.
    pub fn finish_join(&self, pending: &PendingEnrolment, answer: &[u8]) -> Result<Membership, DeviceDirError> {
        let membership = enrolment::finish_join(pending, answer)?;
        self.save(&membership.to_stored())?;
        private_file::remove(&self.pending_path())?;
        Ok(membership)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn pending_path(&self) -> PathBuf {
        self.identity.join("pending")
    }
}

const KEYS: &str = "device.key";
const CREDENTIALS: &str = "credentials";
const BULLETIN: &str = "bulletin";
const CARDS: &str = "cards";
const FILES: [&str; 4] = [KEYS, CREDENTIALS, BULLETIN, CARDS];
