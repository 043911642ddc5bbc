//! Cutting devices off in a realm's directory.
//!
//! One process at a time takes the steps of a revocation, by the lock of `realm/revoking`; which these are, and that they can be
//! taken up again wherever they were interrupted, is said in [`ledger::revoking`](crate::identity::ledger) and
//! [`Revoking`](crate::identity::issuer::Revoking). The new documents are written before the bulletin that names them, and
//! those that no bulletin names any more are removed after it.

use super::amending::{LOCK, read_locked};
use super::{BULLETIN, OPERATOR, RealmDir, RealmDirError, documents};
use crate::id::{DeviceId, Name, Pseudonym};
use crate::identity::bulletin::VerifiedBulletin;
use crate::identity::issuer::Revoking;
use crate::identity::ledger::{Book, DeviceRecord, Ledger, RevocationRecord};
use crate::identity::realm::Operator;
use crate::keystore::keyring::Keyring;
use crate::keystore::private_file::{self, FileError};
use crate::time::Unix;
use crate::wire::credential::Role;
use crate::wire::decode;
use data_encoding::HEXLOWER_PERMISSIVE;
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::sync::Arc;

/// Whom to cut off, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoke {
    /// Names of devices or open tickets, or ids of devices.
    pub devices: Vec<String>,
    /// Why, if that was said.
    pub reason: String,
    /// Who does it: as the machine knows the user.
    pub by: String,
}

/// What has become of a revocation.
#[derive(Clone, Debug)]
pub struct Revoked {
    /// The devices, as the ledger has them now.
    pub devices: Vec<DeviceRecord>,
    /// Names of tickets that are void now.
    pub tickets: Vec<Name>,
    /// The bulletin in force.
    pub bulletin: VerifiedBulletin,
    /// Whether that is a new one.
    pub new: bool,
    /// Until when devices hold two leaves of the group key tree, if a document was so long that they were numbered anew.
    pub numbered_anew_until: Option<Unix>,
}

/// What a name or an id stands for.
enum Target {
    Device(DeviceId),
    Ticket(Pseudonym, Name),
}

impl RealmDir {
    /// Cuts devices off in the realm of `directory`, and withdraws tickets: makes and keeps the next bulletin. Slow where keys are
    /// sealed: it derives a key.
    pub fn revoke(
        directory: &Path,
        keys: &Keyring,
        revoke: &Revoke,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Revoked, RealmDirError> {
        let mut realm = Self::open_with(directory, keys)?;
        let _lock = private_file::lock(&realm.place.join(LOCK))?;
        realm.bulletin = read_locked(&realm.place, realm.bulletin.realm())?;
        let book = realm.ledger.book()?;
        let targets = revoke.devices.iter().map(|text| find(book, text, now)).collect::<Result<Vec<_>, _>>()?;
        let mut devices: Vec<DeviceId> = Vec::new();
        let mut tickets: Vec<(Pseudonym, Name)> = Vec::new();
        for target in targets {
            match target {
                Target::Device(device) if !devices.contains(&device) => devices.push(device),
                Target::Ticket(key, name) if !tickets.contains(&(key, name.clone())) => tickets.push((key, name)),
                Target::Device(_) | Target::Ticket(..) => {}
            }
        }
        let mut withdrawn = Vec::new();
        for (ticket, name) in tickets {
            if realm.ledger.withdraw(&ticket)? {
                withdrawn.push(name);
            }
        }
        let (before, mut numbered_anew_until) = (realm.bulletin.version(), None);
        if !devices.is_empty() {
            let operator = realm.own_operator(keys)?;
            let record = RevocationRecord {
                at: now.seconds(),
                by: revoke.by.clone(),
                reason: revoke.reason.clone(),
                bulletin: None,
            };
            let Self { issuer, bulletin, ledger, place } = &mut realm;
            let revoking =
                Revoking { operator: &operator, issuer, before: bulletin, devices: &devices, record: &record };
            let taken = revoking.take(ledger, now, rng, |bulletin| keep(place, bulletin))?;
            (realm.bulletin, numbered_anew_until) = (taken.bulletin, taken.numbered_anew_until);
        }
        let book = realm.ledger.book()?;
        let devices = devices.iter().filter_map(|device| book.get(device).cloned()).collect();
        let bulletin = realm.bulletin;
        let new = bulletin.version() > before;
        Ok(Revoked { devices, tickets: withdrawn, bulletin, new, numbered_anew_until })
    }

    fn own_operator(&self, keys: &Keyring) -> Result<Operator, RealmDirError> {
        let path = self.place.join(OPERATOR);
        let bytes = match keys.read(&path) {
            Err(FileError::Missing { path }) => return Err(RealmDirError::NoOperator { path }),
            read => read?,
        };
        decode(&bytes).map_err(|source| RealmDirError::Damaged { path, source })
    }
}

/// Writes a bulletin durably: its documents, itself, and then what is over goes.
fn keep(place: &Path, bulletin: &VerifiedBulletin) -> Result<(), RealmDirError> {
    let directory = place.join(documents::DIRECTORY);
    let named: Vec<Arc<[u8]>> = bulletin.documents().cloned().collect();
    documents::add(&directory, &named)?;
    private_file::write(&place.join(BULLETIN), bulletin.signed())?;
    documents::write(&directory, &named)?;
    Ok(())
}

/// What is called so: a device in force, one by its id, an open ticket, or the last device that was and is cut off already.
fn find(book: &Book, text: &str, now: Unix) -> Result<Target, RealmDirError> {
    let name = Name::new(text).ok();
    let id = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok().and_then(|id| DeviceId::from_slice(&id));
    let in_force = name.as_ref().and_then(|name| book.named(name));
    let device = in_force.or_else(|| id.and_then(|id| book.get(&id)));
    if let Some(device) = device {
        return match device.roles & Role::Issuer as u16 {
            0 => Ok(Target::Device(device.device)),
            _ => Err(RealmDirError::IsIssuer(device.name.clone())),
        };
    }
    let unknown = || RealmDirError::Unknown(text.to_owned());
    let name = name.ok_or_else(unknown)?;
    if let Some(ticket) = book.open_tickets(now.seconds()).find(|ticket| ticket.name == name) {
        return Ok(Target::Ticket(ticket.key, name));
    }
    book.last_revoked(&name).map(|device| Target::Device(device.device)).ok_or_else(unknown)
}

#[cfg(test)]
mod tests;
