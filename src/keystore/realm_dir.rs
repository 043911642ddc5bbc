//! Realm directory: the operator's keys, the issuer's ledger, and the first device.
//!
//! ```text
//! DIR/realm/               0700
//!   operator.key   0600    signs bulletins; may be taken away to a safe place between changes
//!   auditor.key    0600    opens sealed ids; belongs to a safe place of its own
//!   issuer.key     0600    signs credentials; a node that has it answers enrolment
//!   bulletin       0600    the bulletin in force
//!   groups/        0700    documents that the bulletin names
//!   ledger/        0700    tickets and devices, see [`LedgerDir`]
//! DIR/identity/            the operator's own first device, see [`DeviceDir`]
//! ```
//!
//! The three keys may be sealed under a passphrase, see [`keyring`]. A key that was taken away sealed keeps the
//! passphrase that it had then.
//!
//! A new realm is built beside its final directory and renamed when it is complete.

pub mod amending;
pub mod groups;
pub mod publishers;
pub mod segments;

use super::device_dir::{DeviceDir, DeviceDirError};
use super::documents;
use super::keyring::{self, Keyring};
use super::ledger_dir::LedgerDir;
use super::private_file::{self, FileError};
use crate::id::{Name, RealmId};
use crate::identity::anonymity::Anonymity;
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::invitation::{self, DEFAULT_SEGMENT, Invitation, InviteError};
use crate::identity::issuer::{Answered, Issuer, MAX_EPOCHS, RevokeError};
use crate::identity::ledger::{Contacts, DeviceRecord, Ledger, LedgerError, TicketRecord};
use crate::identity::membership::Membership;
use crate::identity::realm::{self, Founding, IssuerSecrets};
use crate::identity::ticket;
use crate::time::{EpochLength, Unix};
use crate::wire::credential::Role;
use crate::wire::hello::EnrolHello;
use crate::wire::{DecodeError, decode, encode};
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A realm on disk, as its issuer uses it.
#[derive(Debug)]
pub struct RealmDir {
    /// `DIR/realm`.
    place: PathBuf,
    issuer: Issuer,
    bulletin: VerifiedBulletin,
    ledger: LedgerDir,
}

/// The invitation of a device, as the command line gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The name of the device.
    pub name: Name,
    /// The names of its segments; empty for the default segment.
    pub segments: Vec<String>,
    /// The device's roles.
    pub roles: Vec<Role>,
    /// The devices whose contact it becomes.
    pub contacts: InviteContacts,
    /// How long the ticket is valid.
    pub lifetime: Duration,
    /// Multiaddresses of members that relay the enrolment.
    pub addresses: Vec<String>,
}

/// The devices whose contact a new device becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteContacts {
    /// The operator's first device, which has leaf 0.
    Operator,
    /// All devices.
    All,
    /// The devices with these names.
    Names(Vec<Name>),
}

/// The devices and tickets of a realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The devices, in the order of their enrolment.
    pub devices: Vec<DeviceRecord>,
    /// The tickets that can still be used.
    pub tickets: Vec<TicketRecord>,
}

/// The reason why an operation on a realm's directory failed.
#[derive(Debug, thiserror::Error)]
pub enum RealmDirError {
    /// The directory holds no realm.
    #[error("{0} holds no realm; run `m2mesh realm init {0} --name NAME`", .directory.display())]
    NoRealm {
        /// The directory.
        directory: PathBuf,
    },
    /// The directory already holds a realm.
    #[error("{} holds a realm already; choose another directory", .directory.display())]
    Occupied {
        /// The directory.
        directory: PathBuf,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content of a file is invalid.
    #[error("{} is damaged: {source}; bring it back from a copy", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// The bulletin is not valid.
    #[error("{}: {source}", .path.display())]
    Bulletin {
        /// The bulletin's file.
        path: PathBuf,
        /// What is wrong.
        source: BulletinError,
    },
    /// The ledger refused or failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A device could not be invited or created.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// A device's directory cannot be used.
    #[error(transparent)]
    Device(#[from] DeviceDirError),
    /// No device has this name.
    #[error("no device of this realm is called {0}; `m2mesh realm list DIR` shows them")]
    NoDevice(Name),
    /// No such segment.
    #[error("this realm has no segment {0}; `m2mesh realm segment DIR list` shows them")]
    NoSegment(String),
    /// Neither a device nor an open ticket.
    #[error("this realm has no device, and no open ticket, of the name or id {0}; `m2mesh realm list DIR` shows them")]
    Unknown(String),
    /// The device that answers enrolment cannot be cut off by its own issuer.
    #[error("{0} answers enrolment for this realm; found a new realm if its keys have been taken")]
    IsIssuer(Name),
    /// The operator's key was carried away.
    #[error("{} is not there; bring the operator's key back to it for this, then take it away again", .path.display())]
    NoOperator {
        /// Where it belongs.
        path: PathBuf,
    },
    /// No next bulletin.
    #[error(transparent)]
    Revoke(#[from] RevokeError),
}

/// The content of the issuer's key file.
#[derive(Serialize, Deserialize)]
struct IssuerFile {
    realm: RealmId,
    secrets: IssuerSecrets,
}

impl RealmDir {
    /// Founds a realm in `directory` and enrols its first device, which is to run there.
    pub fn init(
        directory: &Path,
        first: &Name,
        epoch_length: EpochLength,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Self, Membership), RealmDirError> {
        Self::init_with(directory, &Keyring::default(), first, epoch_length, now, rng)
    }

    /// As [`Self::init`], with the keyring that seals the realm's and the device's keys.
    pub fn init_with(
        directory: &Path,
        keys: &Keyring,
        first: &Name,
        epoch_length: EpochLength,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(Self, Membership), RealmDirError> {
        let place = directory.join("realm");
        if place.exists() {
            return Err(RealmDirError::Occupied { directory: directory.into() });
        }
        let device = DeviceDir::with_keys(directory, keys.clone());
        if device.is_enrolled() {
            return Err(DeviceDirError::Occupied { directory: directory.into() }.into());
        }
        let bulletin_error = |source| RealmDirError::Bulletin { path: place.join(BULLETIN), source };
        let founding = realm::found(rng, epoch_length, now).map_err(bulletin_error)?;
        let building = directory.join("realm.unfinished");
        if building.exists() {
            // An earlier run was interrupted and left it; nothing of it has been handed out.
            std::fs::remove_dir_all(&building).map_err(|source| FileError::Io {
                path: building.clone(),
                action: "removed",
                source,
            })?;
        }
        write_keys(&building, keys, founding)?;
        let mut realm = Self::open_at(&building, keys)?;
        let mut invitation = Invitation::new(first.clone(), Contacts::Some(Vec::new()));
        invitation.roles = Role::Issuer as u16;
        let mut members = realm.enrol(vec![invitation], MAX_EPOCHS, now, rng)?;
        let member = members.pop().ok_or_else(|| RealmDirError::NoDevice(first.clone()))?;
        device.save(&member.to_stored())?;
        drop(realm);
        private_file::rename(&building, &place)?;
        Ok((Self::open_at(&place, keys)?, member))
    }

    /// Opens the realm in `directory`.
    pub fn open(directory: &Path) -> Result<Self, RealmDirError> {
        Self::open_with(directory, &Keyring::default())
    }

    /// As [`Self::open`], with the keyring that opens its keys. Slow if they are sealed, since it derives a key.
    ///
    /// # Errors
    /// Fails if the directory holds no realm, if a file cannot be read or is damaged, or if the bulletin or the ledger
    /// is invalid.
    pub fn open_with(directory: &Path, keys: &Keyring) -> Result<Self, RealmDirError> {
        keyring::recover(directory)?;
        let realm = directory.join("realm");
        if !realm.join(ISSUER).exists() {
            return Err(RealmDirError::NoRealm { directory: directory.into() });
        }
        Self::open_at(&realm, keys)
    }

    /// Whether `directory` has an issuer's key, so that the node there answers enrolment.
    pub fn is_there(directory: &Path) -> bool {
        directory.join("realm").join(ISSUER).exists()
    }

    fn open_at(realm: &Path, keys: &Keyring) -> Result<Self, RealmDirError> {
        let path = realm.join(ISSUER);
        let bytes = keys.read(&path)?;
        let issuer: IssuerFile = decode(&bytes).map_err(|source| RealmDirError::Damaged { path, source })?;
        let bulletin = amending::read_bulletin(realm, issuer.realm)?;
        Ok(Self {
            place: realm.to_path_buf(),
            issuer: Issuer::new(issuer.realm, &issuer.secrets),
            bulletin,
            ledger: LedgerDir::open(realm.join("ledger"))?,
        })
    }

    /// Makes a ticket and returns its text.
    ///
    /// # Errors
    /// Fails if a named device or segment does not exist, or if the ledger refuses the ticket, for example because the
    /// name is taken.
    pub fn invite(&mut self, invite: Invite, now: Unix, rng: &mut ChaCha20Rng) -> Result<String, RealmDirError> {
        let Invite { name, segments, roles, contacts, lifetime, addresses } = invite;
        self.refresh()?;
        let contacts = self.contacts(contacts)?;
        let invitation = Invitation {
            name,
            segments: self.segments(&segments)?,
            roles: roles.into_iter().fold(0, |all, role| all | role as u16),
            contacts,
            epoch_length: None,
            lifetime,
            addresses,
            anonymity: Anonymity::Stable,
        };
        let made = invitation::invite(&self.issuer, &mut self.ledger, &self.bulletin, invitation, now, rng)?;
        Ok(ticket::to_text(&made))
    }

    /// Answers an enrolment or a renewal, out of the newest bulletin that lies here.
    pub fn answer(&mut self, hello: &EnrolHello, now: Unix, rng: &mut ChaCha20Rng) -> Answered {
        if let Err(error) = self.refresh() {
            tracing::error!(%error, "the bulletin in realm/ cannot be read anew; the one before it is granted");
        }
        self.issuer.answer(hello, &mut self.ledger, &self.bulletin, now, rng)
    }

    /// Returns the devices, and the tickets that can still be used.
    pub fn list(&mut self, now: Unix) -> Result<Listing, RealmDirError> {
        let book = self.ledger.book()?;
        Ok(Listing {
            devices: book.devices().into_iter().cloned().collect(),
            tickets: book.open_tickets(now.seconds()).cloned().collect(),
        })
    }

    /// Enrols devices at once, each as a contact of all others and with credentials for `epochs` epochs, and stores
    /// each in its directory.
    pub fn create_devices(
        &mut self,
        devices: &[(Name, PathBuf)],
        epochs: usize,
        anonymity: Anonymity,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, RealmDirError> {
        for (_, directory) in devices {
            if DeviceDir::new(directory).is_enrolled() {
                return Err(DeviceDirError::Occupied { directory: directory.clone() }.into());
            }
        }
        let invitation =
            |(name, _): &(Name, PathBuf)| Invitation { anonymity, ..Invitation::new(name.clone(), Contacts::All) };
        let members = self.enrol(devices.iter().map(invitation).collect(), epochs, now, rng)?;
        let place =
            |((_, directory), member): (&(Name, PathBuf), &Membership)| (DeviceDir::new(directory), member.to_stored());
        DeviceDir::save_new(&devices.iter().zip(&members).map(place).collect::<Vec<_>>())?;
        Ok(members)
    }

    /// Returns the bulletin in force.
    pub fn bulletin(&self) -> &VerifiedBulletin {
        &self.bulletin
    }

    /// Returns the issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Makes two devices contacts of each other, which each learns when it next asks. Returns whether this is new.
    pub fn allow(&mut self, one: &Name, other: &Name) -> Result<bool, RealmDirError> {
        Ok(self.ledger.allow(one, other)?)
    }

    fn enrol(
        &mut self,
        invitations: Vec<Invitation>,
        epochs: usize,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, InviteError> {
        let Self { issuer, bulletin, ledger, .. } = self;
        ledger.batch(|ledger| invitation::enrol_all(issuer, ledger, bulletin, invitations, epochs, now, rng))
    }

    fn contacts(&mut self, contacts: InviteContacts) -> Result<Contacts, RealmDirError> {
        let book = self.ledger.book()?;
        match contacts {
            InviteContacts::All => Ok(Contacts::All),
            InviteContacts::Operator => {
                let first = book.devices().into_iter().take(1).map(|device| device.device).collect();
                Ok(Contacts::Some(first))
            }
            InviteContacts::Names(names) => {
                let device = |name: Name| match book.named(&name) {
                    Some(device) => Ok(device.device),
                    None => Err(RealmDirError::NoDevice(name)),
                };
                names.into_iter().map(device).collect::<Result<_, _>>().map(Contacts::Some)
            }
        }
    }

    fn segments(&self, names: &[String]) -> Result<u64, RealmDirError> {
        if names.is_empty() {
            return Ok(DEFAULT_SEGMENT);
        }
        names.iter().try_fold(0, |segments, name| Ok(segments | segments::mask(self.segment_bit(name)?)))
    }
}

const OPERATOR: &str = "operator.key";
const AUDITOR: &str = "auditor.key";
const ISSUER: &str = "issuer.key";
const BULLETIN: &str = "bulletin";

fn write_keys(realm: &Path, keys: &Keyring, founding: Founding) -> Result<(), FileError> {
    private_file::create_directory(realm)?;
    let Founding { operator, issuer, auditor, bulletin } = founding;
    let issuer = IssuerFile { realm: operator.realm(), secrets: issuer };
    keys.write(&realm.join(OPERATOR), &Zeroizing::new(encode(&operator)))?;
    keys.write(&realm.join(AUDITOR), &Zeroizing::new(encode(&auditor)))?;
    private_file::write(&realm.join(BULLETIN), bulletin.signed())?;
    let named: Vec<_> = bulletin.documents().cloned().collect();
    documents::write(&realm.join(documents::DIRECTORY), &named)?;
    keys.write(&realm.join(ISSUER), &Zeroizing::new(encode(&issuer)))
}

mod revoking;

pub use revoking::{Revoke, Revoked};

#[cfg(test)]
mod tests;
