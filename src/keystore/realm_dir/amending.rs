//! The next bulletin: what the operator changes, signed and in its place.
//!
//! **Mechanism.** Under a lock, the bulletin on disk is read anew, changed, given the next version, signed with the operator's key, and
//! written: first the documents that it names, then the bulletin itself, then what is not named any more goes. So after a
//! crash there is the old bulletin with its documents or the new one with its own. A node that runs in the directory reads the bulletin
//! again before it answers an enrolment, so that what it grants is of the newest one.
//!
//! Versions of group keys that no frame is sealed with any more are dropped on the way: those that a later version has followed for
//! longer than the allowed skew.
//!
//! Invariants
//! 1. Of two changes at one time neither is lost.
//! 2. Each bulletin has a version above all that were written here before it, and is issued no earlier than they were.
//! 3. A bulletin that a frame would not carry is not written.

use super::{BULLETIN, OPERATOR, RealmDir, RealmDirError};
use crate::id::RealmId;
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::ledger::{LedgerError, leaves};
use crate::identity::realm::Operator;
use crate::keystore::documents;
use crate::keystore::keyring::Keyring;
use crate::keystore::private_file::{self, FileError};
use crate::time::Unix;
use crate::wire::bulletin::{Bulletin, MAX_BULLETIN, MAX_GROUPS};
use crate::wire::{DecodeError, decode, encode};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a bulletin was not changed.
#[derive(Debug, thiserror::Error)]
pub enum AmendError {
    /// The realm's directory.
    #[error(transparent)]
    Realm(#[from] RealmDirError),
    /// The operator's key is kept elsewhere.
    #[error("the operator's key is not at {}; name its file with --operator-key FILE", .path.display())]
    NoKey {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// What is in the key's file is none.
    #[error("{} is no operator's key: {source}; name its file with --operator-key FILE", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: DecodeError,
    },
    /// The key of another realm.
    #[error("{} is another realm's operator's key; find the one made with this realm", .path.display())]
    ForeignKey {
        /// The file.
        path: PathBuf,
    },
    /// It would not fit a frame.
    #[error(
        "the bulletin would have {0} bytes, more than the {MAX_BULLETIN} that it can have; remove groups or segments, or wait until revocations have run out"
    )]
    TooLong(usize),
    /// Too many versions of group keys.
    #[error(
        "the bulletin would name {0} versions of group keys, more than the {MAX_GROUPS} that it can; remove groups, or wait until versions that were followed by others go"
    )]
    TooManyVersions(usize),
    /// What was asked for cannot be.
    #[error("{0}")]
    Refused(String),
}

/// What a change has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amended<T> {
    /// What `change` has returned.
    pub changed: T,
    /// Until when devices hold two leaves of the group key tree, if a document was so long that they were numbered anew.
    pub numbered_anew_until: Option<Unix>,
}

impl From<FileError> for AmendError {
    fn from(error: FileError) -> Self {
        Self::Realm(error.into())
    }
}

impl From<LedgerError> for AmendError {
    fn from(error: LedgerError) -> Self {
        Self::Realm(error.into())
    }
}

impl RealmDir {
    /// Reads the operator's key: from `file`, or from its place in the directory.
    ///
    /// # Errors
    /// The key is not there, is sealed under another passphrase, or is not this realm's.
    pub fn operator(&self, file: Option<&Path>, keys: &Keyring) -> Result<Operator, AmendError> {
        let path = file.map_or_else(|| self.operator_path(), Path::to_path_buf);
        let bytes = match keys.read(&path) {
            Err(FileError::Missing { path }) => return Err(AmendError::NoKey { path }),
            read => read?,
        };
        let operator: Operator = decode(&bytes).map_err(|source| AmendError::Key { path: path.clone(), source })?;
        if operator.realm() == self.bulletin.realm() { Ok(operator) } else { Err(AmendError::ForeignKey { path }) }
    }

    /// Where the operator's key lies unless it was taken away.
    pub fn operator_path(&self) -> PathBuf {
        self.place.join(OPERATOR)
    }

    /// Makes the next bulletin. `change` gets the directory, with the bulletin as it is now, and the body to be; it returns the encoded
    /// documents that the body names anew, with its result. If one of them is long, the leaves of all devices are numbered anew once the bulletin is
    /// written.
    ///
    /// # Errors
    /// Those of `change`, or [`AmendError`]; the bulletin is as it was then, unless the file system failed on the way.
    pub fn amend<T>(
        &mut self,
        operator: &Operator,
        now: Unix,
        change: impl FnOnce(&mut Self, &mut Bulletin) -> Result<(T, Vec<Vec<u8>>), AmendError>,
    ) -> Result<Amended<T>, AmendError> {
        let _lock = private_file::lock(&self.place.join(LOCK))?;
        self.refresh_locked()?;
        let mut body = self.bulletin.body().clone();
        let (changed, new) = change(self, &mut body)?;
        forget_followed(&mut body, now);
        if body.groups.len() > MAX_GROUPS {
            return Err(AmendError::TooManyVersions(body.groups.len()));
        }
        let span = body.next_update.saturating_sub(body.issued);
        body.version += 1;
        body.issued = body.issued.max(now.seconds());
        if body.next_update <= body.issued {
            body.next_update = body.issued.saturating_add(span);
        }
        // The signature and the heads of both parts take less than a hundred bytes.
        let length = encode(&body).len() + 100;
        if length > MAX_BULLETIN {
            return Err(AmendError::TooLong(length));
        }
        let path = self.place.join(BULLETIN);
        let failed = |source: BulletinError| RealmDirError::Bulletin { path: path.clone(), source };
        let mut next = operator.sign(&body).map_err(failed)?;
        next.inherit(&self.bulletin);
        for document in &new {
            next.attach(document).map_err(failed)?;
        }
        let before: Vec<Arc<[u8]>> = self.bulletin.documents().cloned().collect();
        let named: Vec<Arc<[u8]>> = next.documents().cloned().collect();
        let directory = self.place.join(documents::DIRECTORY);
        documents::write(&directory, &before.iter().chain(&named).cloned().collect::<Vec<_>>())?;
        private_file::write(&path, next.signed())?;
        documents::write(&directory, &named)?;
        self.bulletin = next;
        let longest = new.iter().map(Vec::len).max().unwrap_or(0);
        let numbered_anew_until = leaves::shorten(&mut self.ledger, longest, now)?;
        Ok(Amended { changed, numbered_anew_until })
    }

    /// Takes the bulletin from disk if another process has written a newer one.
    pub(super) fn refresh(&mut self) -> Result<(), RealmDirError> {
        if self.is_current()? {
            return Ok(());
        }
        let _lock = private_file::lock(&self.place.join(LOCK))?;
        self.refresh_locked()
    }

    /// The same for who holds the lock.
    fn refresh_locked(&mut self) -> Result<(), RealmDirError> {
        if self.is_current()? {
            return Ok(());
        }
        let bulletin = read_locked(&self.place, self.bulletin.realm())?;
        if bulletin.version() > self.bulletin.version() {
            self.bulletin = bulletin;
        }
        Ok(())
    }

    fn is_current(&self) -> Result<bool, FileError> {
        Ok(private_file::read(&self.place.join(BULLETIN))?[..] == self.bulletin.signed()[..])
    }
}

/// Reads a realm's bulletin, with the documents that lie beside it.
pub(super) fn read_bulletin(place: &Path, realm: RealmId) -> Result<VerifiedBulletin, RealmDirError> {
    let _lock = private_file::lock(&place.join(LOCK))?;
    read_locked(place, realm)
}

/// Under the lock: who reads the documents removes what an interrupted write has left beside them.
pub(super) fn read_locked(place: &Path, realm: RealmId) -> Result<VerifiedBulletin, RealmDirError> {
    let path = place.join(BULLETIN);
    let damaged = |source| RealmDirError::Bulletin { path: path.clone(), source };
    let mut bulletin = VerifiedBulletin::verify(realm, &private_file::read(&path)?).map_err(damaged)?;
    for document in documents::read(&place.join(documents::DIRECTORY))? {
        bulletin.attach(&document).map_err(damaged)?;
    }
    if !bulletin.missing().is_empty() {
        let directory = place.join(documents::DIRECTORY);
        tracing::warn!("{} lacks documents that the bulletin names", directory.display());
    }
    Ok(bulletin)
}

/// Drops the versions of group keys that a later one has followed for longer than the allowed skew.
fn forget_followed(body: &mut Bulletin, now: Unix) {
    let skew = body.epoch_length.skew();
    let over: Vec<_> =
        body.groups.iter().filter(|named| Unix::from_seconds(named.from) + skew < now).cloned().collect();
    body.groups.retain(|named| !over.iter().any(|later| later.group == named.group && later.version > named.version));
}

/// Held while the bulletin is changed, for whatever reason: its name is that of the first of them.
pub(super) const LOCK: &str = "revoking";

#[cfg(test)]
mod long_documents;
#[cfg(test)]
mod tests;
