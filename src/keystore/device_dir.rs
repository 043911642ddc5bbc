//! Device directory: a device's membership on disk.
//!
//! ```text
//! DIR/identity/            0700
//!   device.key     0600    the long-lived keys, written once
//!   credentials    0600    the batch: credentials with the private keys of their epochs, path keys
//!   bulletin       0600    the signed bulletin
//!   cards          0600    contact cards
//!   groups/        0700    documents that the bulletin names, by their hash
//!   pending        0600    while an enrolment is under way: its keys, so that a retry has the same
//! ```
//!
//! All files but the bulletin and the documents may be sealed under a passphrase, see [`keyring`]. Each file is
//! replaced whole. They are written in the order above, and a newer file is compatible with older ones after it: a
//! crash in between leaves a device that starts.

use super::documents;
use super::keyring::{self, Keyring};
use super::private_file::{self, FileError};
use crate::identity::anonymity::Anonymity;
use crate::identity::enrolment::{self, EnrolmentError, PendingEnrolment};
use crate::identity::membership::{Membership, MembershipError, Stored};
use crate::wire::ticket::Ticket;
use rand_chacha::ChaCha20Rng;
use std::path::{Path, PathBuf};

/// The directory in which a device keeps its membership.
#[derive(Clone, Debug)]
pub struct DeviceDir {
    directory: PathBuf,
    identity: PathBuf,
    keys: Keyring,
}

/// The reason why a membership cannot be loaded from a directory or stored in it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceDirError {
    /// No device has enrolled here.
    #[error("{0} holds no device; run `m2mesh join TICKET --dir {0}`", .directory.display())]
    NoDevice {
        /// The directory.
        directory: PathBuf,
    },
    /// An enrolment was begun here and not finished.
    #[error("an enrolment in {0} has not been finished; run `m2mesh join TICKET --dir {0}` again with the same ticket",
        .directory.display())]
    Unfinished {
        /// The directory.
        directory: PathBuf,
    },
    /// A device has already enrolled here.
    #[error("{} holds a device already; choose another directory", .directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a file is invalid.
    #[error("{} is damaged: {source}; bring it back from a copy, or enrol anew in another directory", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: MembershipError,
    },
    /// The issuer's answer is not accepted.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
}

impl DeviceDir {
    /// Names the device directory `directory`, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::with_keys(directory, Keyring::default())
    }

    /// As [`Self::new`], with the keyring that opens and seals its secrets.
    pub fn with_keys(directory: impl Into<PathBuf>, keys: Keyring) -> Self {
        let directory = directory.into();
        Self { identity: directory.join("identity"), directory, keys }
    }

    /// Whether a device has enrolled here: all files of a membership exist.
    pub fn is_enrolled(&self) -> bool {
        FILES.iter().all(|file| self.identity.join(file).exists())
    }

    /// Loads the membership. The caller must hold the directory's lock. Slow if the files are sealed, since it derives
    /// a key.
    ///
    /// # Errors
    /// Fails if no device has enrolled here or an enrolment is unfinished, if a file cannot be read, or if its content
    /// is damaged.
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
        // An enrolment that was interrupted after its last step leaves it.
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

    /// Writes the parts of a membership that have changed. They are durable when this returns.
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

    /// Writes the memberships of many new devices, whose directories are on one file system. They are durable when this
    /// returns.
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

    /// Begins an enrolment with a ticket, or continues one that was begun here with the same ticket: the keys are on
    /// disk before anything is sent. An enrolment that was begun with another ticket is abandoned.
    ///
    /// # Errors
    /// Fails if a device has already enrolled here, or if a file cannot be read or written.
    pub fn begin_join(
        &self,
        ticket: &Ticket,
        anonymity: Anonymity,
        rng: &mut ChaCha20Rng,
    ) -> Result<PendingEnrolment, DeviceDirError> {
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
        let pending = enrolment::begin_join(ticket, rng).with_anonymity(anonymity);
        self.keys.write(&self.pending_path(), &pending.to_stored())?;
        Ok(pending)
    }

    /// Verifies the issuer's answer (the `sealed` field of its reply), and stores the device.
    ///
    /// # Errors
    /// Fails if the answer is not accepted, or if a file cannot be written.
    pub fn finish_join(&self, pending: &PendingEnrolment, answer: &[u8]) -> Result<Membership, DeviceDirError> {
        let membership = enrolment::finish_join(pending, answer)?;
        self.save(&membership.to_stored())?;
        private_file::remove(&self.pending_path())?;
        Ok(membership)
    }

    /// Returns the path of the directory.
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
