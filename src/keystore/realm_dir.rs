//! A realm's directory: the operator's keys, the issuer's ledger, and the first device.
//!
//! ```text
//! DIR/realm/               0700
//!   operator.key   0600    signs bulletins; may be taken away to a safe place between changes
//!   auditor.key    0600    opens sealed ids; belongs to a safe place of its own
//!   issuer.key     0600    signs credentials; a node that has it answers enrolment
//!   bulletin       0600    the bulletin in force
//!   groups/        0700    documents that it names
//!   group-readers  0600    groups with a key of their own: names, and who reads them, see [`groups`]
//!   ledger/        0700    tickets and devices, see [`LedgerDir`]
//! DIR/identity/            the operator's own first device, see [`DeviceDir`]
//! ```
//!
//! The three keys may be sealed under a passphrase, see [`keyring`]; one that was taken away sealed keeps the passphrase it
//! had then.
//!
//! A new realm is built beside its place and renamed into it when it is whole.

pub mod amending;
pub mod groups;
pub mod segments;

use super::device_dir::{DeviceDir, DeviceDirError};
use super::documents;
use super::keyring::{self, Keyring};
use super::ledger_dir::LedgerDir;
use super::private_file::{self, FileError};
use crate::id::{Name, RealmId};
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::invitation::{self, DEFAULT_SEGMENT, Invitation, InviteError};
use crate::identity::issuer::{Answered, Issuer, MAX_EPOCHS};
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

/// What to invite a device to be, as the command line says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Name of the device.
    pub name: Name,
    /// Names of segments; none for the default one.
    pub segments: Vec<String>,
    /// Its roles.
    pub roles: Vec<Role>,
    /// Whose contact it is to be.
    pub contacts: InviteContacts,
    /// How long the ticket is good.
    pub lifetime: Duration,
    /// Multiaddresses of members that relay the enrolment.
    pub addresses: Vec<String>,
}

/// Whose contact a device is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteContacts {
    /// The operator's first device's, which has leaf 0.
    Operator,
    /// Everybody's.
    All,
    /// These devices'.
    Names(Vec<Name>),
}

/// What a realm has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Devices in the order they came.
    pub devices: Vec<DeviceRecord>,
    /// Tickets that can still be used.
    pub tickets: Vec<TicketRecord>,
}

/// Why a realm's directory does not serve.
#[derive(Debug, thiserror::Error)]
pub enum RealmDirError {
    /// No realm there.
    #[error("{0} holds no realm; run `m2mesh realm init {0} --name NAME`", .directory.display())]
    NoRealm {
        /// Where.
        directory: PathBuf,
    },
    /// One is there already.
    #[error("{} holds a realm already; choose another directory", .directory.display())]
    Occupied {
        /// Where.
        directory: PathBuf,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is in a file.
    #[error("{} is damaged: {source}; bring it back from a copy", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// The bulletin.
    #[error("{}: {source}", .path.display())]
    Bulletin {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: BulletinError,
    },
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A device could not be made.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// A device's directory.
    #[error(transparent)]
    Device(#[from] DeviceDirError),
    /// No such device.
    #[error("no device of this realm is called {0}; `m2mesh realm list DIR` shows them")]
    NoDevice(Name),
    /// No such segment.
    #[error("this realm has no segment {0}; `m2mesh realm segment DIR list` shows them")]
    NoSegment(String),
}

/// The issuer's key file.
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

    /// As [`Self::init`], with what seals the realm's and the device's keys.
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
            // What a run before this one left when it was interrupted; nobody has seen anything of it.
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

    /// As [`Self::open`], with what opens its keys. Slow where they are sealed: it derives a key.
    pub fn open_with(directory: &Path, keys: &Keyring) -> Result<Self, RealmDirError> {
        keyring::recover(directory)?;
        let realm = directory.join("realm");
        if !realm.join(ISSUER).exists() {
            return Err(RealmDirError::NoRealm { directory: directory.into() });
        }
        Self::open_at(&realm, keys)
    }

    /// Whether `directory` has an issuer's key: then the node there answers enrolment.
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

    /// Makes a ticket; returns its text.
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

    /// Devices, and tickets that can still be used.
    pub fn list(&mut self, now: Unix) -> Result<Listing, RealmDirError> {
        let book = self.ledger.book()?;
        Ok(Listing {
            devices: book.devices().into_iter().cloned().collect(),
            tickets: book.open_tickets(now.seconds()).cloned().collect(),
        })
    }

    /// Enrols devices on the spot, each a contact of everybody and with credentials for `epochs` epochs, and writes
    /// each into its directory.
    pub fn create_devices(
        &mut self,
        devices: &[(Name, PathBuf)],
        epochs: usize,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, RealmDirError> {
        for (_, directory) in devices {
            if DeviceDir::new(directory).is_enrolled() {
                return Err(DeviceDirError::Occupied { directory: directory.clone() }.into());
            }
        }
        let invitation = |(name, _): &(Name, PathBuf)| Invitation::new(name.clone(), Contacts::All);
        let members = self.enrol(devices.iter().map(invitation).collect(), epochs, now, rng)?;
        let place =
            |((_, directory), member): (&(Name, PathBuf), &Membership)| (DeviceDir::new(directory), member.to_stored());
        DeviceDir::save_new(&devices.iter().zip(&members).map(place).collect::<Vec<_>>())?;
        Ok(members)
    }

    /// The bulletin in force.
    pub fn bulletin(&self) -> &VerifiedBulletin {
        &self.bulletin
    }

    /// The issuer.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// Makes two devices contacts, which each learns when it asks next; says whether they were not.
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

#[cfg(test)]
mod tests;
