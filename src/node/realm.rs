//! Founds a realm with its first devices in one step on one machine, as a lab, a test or an example needs it.
//!
//! For real devices a realm is founded once (`m2mesh realm init`), and each device joins with a ticket of its own.

use super::system::{NodeError, system_rng, unix_now};
use crate::config::{self, ConfigError};
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::keystore::device_dir::DeviceDir;
use crate::keystore::realm_dir::{RealmDir, RealmDirError};
use crate::time::{EpochLength, Unix};
use std::path::PathBuf;

/// Why a realm could not be founded.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The realm's directory or documents could not be made.
    #[error(transparent)]
    Realm(#[from] RealmDirError),
    /// A device's directory could not be made.
    #[error(transparent)]
    Device(#[from] crate::keystore::device_dir::DeviceDirError),
    /// The first device could not fetch the contact cards of the others.
    #[error("the first device cannot be told of the others: {0}")]
    Introduce(String),
    /// The settings of a device could not be written.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] NodeError),
}

/// Founds a realm in the directory of the first device, which holds the issuer's key from then on, and makes every
/// device a contact of every other. The directories must exist and be empty.
///
/// # Errors
/// Fails if a directory cannot be written, if the first device cannot fetch the cards of the others, or if the
/// operating system gives no randomness.
pub fn found(devices: &[(Name, PathBuf)], epoch: EpochLength) -> Result<(), FoundError> {
    found_as(devices, epoch, Anonymity::Stable)
}

/// As [`found`]; all devices but the first are known by one pseudonym for as long as `anonymity` says. Their settings say so too, unless they
/// have settings already.
///
/// # Errors
/// Those of [`found`].
pub fn found_as(devices: &[(Name, PathBuf)], epoch: EpochLength, anonymity: Anonymity) -> Result<(), FoundError> {
    let (now, mut rng) = (unix_now(), system_rng()?);
    let Some(((name, place), others)) = devices.split_first() else { return Ok(()) };
    let (mut realm, mut member) = RealmDir::init(place, name, epoch, now, &mut rng)?;
    let epochs = usize::try_from(epoch.batch()).unwrap_or(usize::MAX);
    realm.create_devices(others, epochs, anonymity, now, &mut rng)?;
    // The first device existed before the others: it asks for their cards as it would over the mesh.
    let introduce = |error: &dyn std::fmt::Display| FoundError::Introduce(error.to_string());
    let (hello, pending) = member.begin_pull(&mut rng).map_err(|error| introduce(&error))?;
    let answer = realm.answer(&hello, now, &mut rng).reply.sealed.unwrap_or_default();
    // Nobody has attested the time yet, so no key is erased.
    member.finish_renewal(&pending, &answer, now, Unix(0)).map_err(|error| introduce(&error))?;
    DeviceDir::new(place).save(&member.to_stored())?;
    // The first is where others begin.
    config::begin(place, Anonymity::Stable, &[])?;
    others.iter().try_for_each(|(_, place)| config::begin(place, anonymity, &[]))?;
    Ok(())
}
