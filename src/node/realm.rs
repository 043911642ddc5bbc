//! A realm and its first devices in one go, on one machine: what a lab, a test or an example begins with.
//!
//! On real devices a realm is founded once (`m2mesh realm init`) and each device joins by a ticket of its own.

use super::system::{NodeError, system_rng, unix_now};
use crate::id::Name;
use crate::keystore::device_dir::DeviceDir;
use crate::keystore::realm_dir::{RealmDir, RealmDirError};
use crate::time::{EpochLength, Unix};
use std::path::PathBuf;

/// Why a realm was not founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// Its directories or documents.
    #[error(transparent)]
    Realm(#[from] RealmDirError),
    /// A device's directory.
    #[error(transparent)]
    Device(#[from] crate::keystore::device_dir::DeviceDirError),
    /// The first device could not be told of the others.
    #[error("the first device cannot be told of the others: {0}")]
    Introduce(String),
    /// The operating system has no randomness.
    #[error(transparent)]
    Randomness(#[from] NodeError),
}

/// Founds a realm in the first device's directory, which holds the issuer's key from then on, and makes every device a
/// contact of every other. The directories exist and are empty.
pub fn found(devices: &[(Name, PathBuf)], epoch: EpochLength) -> Result<(), FoundError> {
    let (now, mut rng) = (unix_now(), system_rng()?);
    let Some(((name, place), others)) = devices.split_first() else { return Ok(()) };
    let (mut realm, mut member) = RealmDir::init(place, name, epoch, now, &mut rng)?;
    let epochs = usize::try_from(epoch.batch()).unwrap_or(usize::MAX);
    realm.create_devices(others, epochs, now, &mut rng)?;
    // The first was there before the others: it asks for their cards as it would over the mesh.
    let introduce = |error: &dyn std::fmt::Display| FoundError::Introduce(error.to_string());
    let (hello, pending) = member.begin_pull(&mut rng).map_err(|error| introduce(&error))?;
    let answer = realm.answer(&hello, now, &mut rng).reply.sealed.unwrap_or_default();
    // Nobody has shown the time yet: nothing is erased.
    member.finish_renewal(&pending, &answer, now, Unix(0)).map_err(|error| introduce(&error))?;
    Ok(DeviceDir::new(place).save(&member.to_stored())?)
}
