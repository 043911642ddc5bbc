//! What the auditor needs: the realm's bulletin, the auditor's key, and the log of what was opened with it.
//!
//! ```text
//! DIR/realm/
//!   bulletin          whose issuers' credentials are opened, and for which auditor
//!   auditor.key       or a file elsewhere: nothing else of the realm's secrets is read
//!   disclosures.log   see [`AuditorLog`]
//!   ledger/           names of devices, where it is at hand
//! ```
//!
//! Invariants
//! 1. [`AuditorDir::disclose`] tells a device only after the log has a durable record of it.

use super::auditor_log::{Appended, AuditorLog, AuditorLogError, MAX_REASON, Opened};
use super::keyring::Keyring;
use super::ledger_dir::LedgerDir;
use super::private_file::{self, FileError};
use crate::id::Name;
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::disclosure::{self, DisclosureError, Opening};
use crate::identity::ledger::LedgerError;
use crate::identity::realm::Auditor;
use crate::time::Unix;
use crate::wire::bulletin::{Bulletin, MAX_BULLETIN};
use crate::wire::codec::decode_within;
use crate::wire::{DecodeError, Signed, decode};
use std::path::{Path, PathBuf};

/// A realm's directory, as its auditor uses it.
#[derive(Debug)]
pub struct AuditorDir {
    realm: PathBuf,
    bulletin: VerifiedBulletin,
    log: AuditorLog,
}

/// An identity that was opened, and the record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disclosed {
    /// Whose credential it was, and of when.
    pub opening: Opening,
    /// The device's name, if the ledger is at hand and has it.
    pub name: Option<Name>,
    /// SHA-256 of the signed credential, in hexadecimal, as the record has it.
    pub credential: String,
    /// The record in the log.
    pub record: Appended,
}

/// Why nothing is opened.
#[derive(Debug, thiserror::Error)]
pub enum AuditorDirError {
    /// No bulletin, which every realm's directory has.
    #[error("{0} holds no realm's bulletin; name the directory given to `m2mesh realm init`, or a copy of its realm/bulletin", .directory.display())]
    NoRealm {
        /// Where.
        directory: PathBuf,
    },
    /// The bulletin.
    #[error("{}: {source}; bring it back from a copy", .path.display())]
    Bulletin {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        source: BulletinError,
    },
    /// The auditor's key is kept elsewhere.
    #[error("the auditor's key is not at {}; name its file with --auditor-key FILE", .path.display())]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// What is in the key's file is none.
    #[error("{} is no auditor's key: {source}; name its file with --auditor-key FILE", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// An auditor's key, and not the one that the bulletin names.
    #[error("{} is another auditor's key than the one that the bulletin names; find the one made with this realm", .path.display())]
    ForeignKey {
        /// The file.
        path: PathBuf,
    },
    /// No reason, or too much of it.
    #[error(
        "a reason has 1 to {MAX_REASON} bytes, this one has {0}; say why in a sentence, or name the file of the case"
    )]
    Reason(usize),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The log.
    #[error(transparent)]
    Log(#[from] AuditorLogError),
    /// The ledger, which is asked for the name.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The credential tells nothing.
    #[error("this credential is not opened: {0}")]
    Credential(#[from] DisclosureError),
}

impl AuditorDir {
    /// Opens what `directory` has of a realm; the auditor's key is not asked for yet.
    ///
    /// # Errors
    /// [`AuditorDirError::NoRealm`], or what is wrong with the bulletin.
    pub fn open(directory: &Path) -> Result<Self, AuditorDirError> {
        let realm = directory.join("realm");
        let path = realm.join("bulletin");
        let bytes = match private_file::read(&path) {
            Err(FileError::Missing { .. }) => return Err(AuditorDirError::NoRealm { directory: directory.into() }),
            read => read?,
        };
        let bulletin =
            self_proving(&bytes).map_err(|source| AuditorDirError::Bulletin { path: path.clone(), source })?;
        let log = AuditorLog::new(realm.join(LOG), bulletin.realm());
        Ok(Self { realm, bulletin, log })
    }

    /// Reads the auditor's key: from `file`, or from its place in the directory.
    ///
    /// # Errors
    /// The key is not there, is sealed under another passphrase, or is not the one that the bulletin names.
    pub fn auditor(&self, file: Option<&Path>, keys: &Keyring) -> Result<Auditor, AuditorDirError> {
        let path = file.map_or_else(|| self.key_path(), Path::to_path_buf);
        let bytes = match keys.read(&path) {
            Err(FileError::Missing { path }) => return Err(AuditorDirError::NoKey { path }),
            read => read?,
        };
        let auditor: Auditor = decode(&bytes).map_err(|source| AuditorDirError::Key { path: path.clone(), source })?;
        if auditor.key() == self.bulletin.body().auditor {
            Ok(auditor)
        } else {
            Err(AuditorDirError::ForeignKey { path })
        }
    }

    /// Where the auditor's key lies unless it was taken away.
    pub fn key_path(&self) -> PathBuf {
        self.realm.join(KEY)
    }

    /// Opens the sealed id of a captured credential, once its issuer's signature holds. It is told when the log has a record of it.
    ///
    /// # Errors
    /// [`AuditorDirError::Credential`] if the credential tells nothing: then there is no record. Any other error: nothing is told, though a
    /// record may be there.
    pub fn disclose(
        &self,
        auditor: &Auditor,
        signed: &[u8],
        reason: &str,
        now: Unix,
    ) -> Result<Disclosed, AuditorDirError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.len() > MAX_REASON {
            return Err(AuditorDirError::Reason(reason.len()));
        }
        let opening = disclosure::open(&self.bulletin, auditor, signed)?;
        let Opening { device, epoch, epoch_length } = opening;
        let opened = Opened::new(reason, signed, device, epoch.0, epoch_length.seconds());
        let credential = opened.credential.clone();
        let record = self.log.append(opened, now)?;
        let ledger = self.realm.join("ledger");
        let name = if ledger.exists() {
            LedgerDir::open(ledger)?.book()?.get(&device).map(|record| record.name.clone())
        } else {
            None
        };
        Ok(Disclosed { opening, name, credential, record })
    }

    /// The log of what was opened.
    pub fn log(&self) -> &AuditorLog {
        &self.log
    }
}

/// A bulletin that lies in a place of one's own: its realm is the one that its operator's key proves.
fn self_proving(signed: &[u8]) -> Result<VerifiedBulletin, BulletinError> {
    let document: Signed<'_> = decode_within(signed, MAX_BULLETIN)?;
    let body: Bulletin = decode(document.body)?;
    VerifiedBulletin::verify(body.realm, signed)
}

const KEY: &str = "auditor.key";
const LOG: &str = "disclosures.log";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keystore::auditor_log::End;
    use crate::keystore::realm_dir::RealmDir;
    use crate::time::EpochLength;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;
    use tempfile::TempDir;

    const NOW: Unix = Unix(1_800_000_100_000_000);

    /// A realm, and the credential of its first device as somebody has captured it.
    fn realm(seed: u8) -> (TempDir, Vec<u8>) {
        let place = tempfile::tempdir().expect("a directory");
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        let name = Name::new("hub").expect("a name");
        let (_, member) = RealmDir::init(place.path(), &name, EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let signed = member.credential(NOW).expect("a credential").signed.to_vec();
        (place, signed)
    }

    /// Invariant 1: where no record can be made, nothing is told.
    #[test]
    fn nothing_is_told_without_a_record_of_it() {
        let (place, signed) = realm(1);
        let auditing = AuditorDir::open(place.path()).expect("a realm");
        let auditor = auditing.auditor(None, &Keyring::default()).expect("its key");
        let told = auditing.disclose(&auditor, &signed, " theft of pump 3 ", NOW).expect("told");
        assert_eq!(told.name.as_ref().map(Name::as_str), Some("hub"));
        assert_eq!(told.record.record, 1);
        let mut records = Vec::new();
        let checked = auditing.log().verify(None, |record, _| records.push(record)).expect("read");
        assert_eq!((checked.records, checked.end, checked.head), (1, End::Clean, told.record.head));
        let noted = records[0].opened.as_ref().expect("an opening");
        assert_eq!((noted.reason.as_str(), &noted.device), ("theft of pump 3", &told.opening.device.to_string()));
        assert_eq!(noted.credential, told.credential);

        std::fs::remove_file(auditing.log().path()).expect("removed");
        std::fs::create_dir(auditing.log().path()).expect("a directory in its place");
        assert!(matches!(auditing.disclose(&auditor, &signed, "again", NOW), Err(AuditorDirError::Log(_))));
    }

    #[test]
    fn the_auditors_key_and_the_bulletin_are_enough() {
        let (place, signed) = realm(1);
        let away = tempfile::tempdir().expect("a directory");
        private_file::create_directory(&away.path().join("realm")).expect("created");
        let copy = |name: &str, to: &Path| {
            let bytes = private_file::read(&place.path().join("realm").join(name)).expect("there");
            private_file::write(to, &bytes).expect("written");
        };
        copy("bulletin", &away.path().join("realm").join("bulletin"));
        let key = away.path().join("auditor.key");
        copy("auditor.key", &key);
        let auditing = AuditorDir::open(away.path()).expect("a realm");
        let keys = Keyring::default();
        assert!(matches!(auditing.auditor(None, &keys), Err(AuditorDirError::NoKey { .. })));
        let auditor = auditing.auditor(Some(&key), &keys).expect("the key");
        let told = auditing.disclose(&auditor, &signed, "a case", NOW).expect("told");
        assert_eq!(told.name, None, "there is no ledger here");
        let (other, _) = realm(2);
        let foreign = other.path().join("realm").join("auditor.key");
        assert!(matches!(auditing.auditor(Some(&foreign), &keys), Err(AuditorDirError::ForeignKey { .. })));
        let operator = other.path().join("realm").join("bulletin");
        assert!(matches!(auditing.auditor(Some(&operator), &keys), Err(AuditorDirError::Key { .. })));
    }

    #[test]
    fn what_tells_nothing_leaves_no_record() {
        let (place, signed) = realm(1);
        let auditing = AuditorDir::open(place.path()).expect("a realm");
        let auditor = auditing.auditor(None, &Keyring::default()).expect("its key");
        let (_, foreign) = realm(2);
        for (credential, reason) in [(&foreign, "a case"), (&signed, "  "), (&signed, &"x".repeat(MAX_REASON + 1))] {
            assert!(auditing.disclose(&auditor, credential, reason, NOW).is_err());
        }
        assert!(!auditing.log().path().exists());
        assert!(matches!(AuditorDir::open(place.path().join("x").as_path()), Err(AuditorDirError::NoRealm { .. })));
    }
}
