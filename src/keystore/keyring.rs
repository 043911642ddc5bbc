//! Keyring: reads and writes private files that may be sealed under a passphrase.
//!
//! A [`Keyring`] reads and writes the files of one directory. It opens files that say that they are sealed, and seals
//! what it writes if it has a sealing key: the key given at the start, or else that of the first sealed file that it
//! has opened. So what was sealed stays sealed. The slow derivation of a key is done once for each salt that the
//! keyring meets. When everything is read, [`Keyring::forget`] drops the passphrase and all keys that are no longer
//! needed.
//!
//! [`reseal`] seals, opens or reseals all secret files of a directory, all or none of them:
//!
//! 1. Each file is written in its new form beside the old one, as `NAME.resealed`, and synced.
//! 2. The mark `resealing` is written and synced: from here on the change will be completed.
//! 3. Each new file is renamed over the old one, and the mark is removed.
//!
//! A process that reads the directory after a crash either finds the mark and repeats step 3 first ([`recover`]), or
//! finds no mark and the old files.
//!
//! Invariants
//! 1. A secret that was sealed on disk is never written unsealed except by [`reseal`].
//! - Opening a directory takes at most one derivation for each secret file, so that forged files cannot make it last.

use super::private_file::{self, FileError};
use crate::identity::passphrase::{self, FileKey, Passphrase, PassphraseError};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Opens and seals the files of one directory. All clones share their keys.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    passphrase: Option<Passphrase>,
    keys: Vec<FileKey>,
    /// The key that seals what is written; `None` if nothing is sealed.
    sealing: Option<FileKey>,
}

impl Keyring {
    /// Creates a keyring with a passphrase for files that are already sealed. It seals nothing until it has opened such
    /// a file.
    pub fn new(passphrase: Passphrase) -> Self {
        let state = State { passphrase: Some(passphrase), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Creates a keyring that seals everything that it writes under a passphrase. Slow, since it derives a key.
    ///
    /// # Errors
    /// Fails if the passphrase cannot be used, or if the operating system has no randomness.
    pub fn sealing(passphrase: Passphrase) -> Result<Self, KeyringError> {
        let key = FileKey::new(&passphrase, &mut generator()?).map_err(KeyringError::Passphrase)?;
        let state = State { passphrase: Some(passphrase), keys: vec![key.clone()], sealing: Some(key) };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// Drops the passphrase and every key except the sealing key. Call it when everything has been read.
    pub fn forget(&self) {
        let mut state = self.state();
        state.passphrase = None;
        state.keys = state.sealing.iter().cloned().collect();
    }

    /// Reads a secret file, sealed or not. The file's name is part of the seal, so that one file cannot replace
    /// another.
    pub(super) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
        Ok(self.read_form(path)?.0)
    }

    /// Writes a secret file durably, sealed if this keyring has a sealing key. Does nothing if the file has these bytes
    /// in this form.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let sealed = self.state().sealing.is_some();
        match self.read_form(path) {
            Ok((there, form)) if form == sealed && *there == bytes => Ok(()),
            Err(error @ (FileError::Sealed { .. } | FileError::Passphrase { .. })) => Err(error),
            _ => private_file::write(path, &self.form(path, bytes)?),
        }
    }

    /// Returns the content of a file, and whether it was sealed.
    fn read_form(&self, path: &Path) -> Result<(Zeroizing<Vec<u8>>, bool), FileError> {
        let bytes = Zeroizing::new(private_file::read(path)?);
        if !passphrase::is_sealed(&bytes) {
            return Ok((bytes, false));
        }
        let plain = self.open(&purpose(path), &bytes).map_err(|error| match error {
            None => FileError::Sealed { path: path.into() },
            Some(PassphraseError::Passphrase) => FileError::Passphrase { path: path.into() },
            Some(source) => FileError::Seal { path: path.into(), source },
        })?;
        Ok((plain, true))
    }

    /// Opens sealed bytes. The error `None` means that there is no passphrase to try.
    fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Option<PassphraseError>> {
        let origin = passphrase::origin_of(sealed)?;
        let mut state = self.state();
        let known = state.keys.iter().find(|key| key.origin() == origin).cloned();
        let is_new = known.is_none();
        let key = match known {
            Some(key) => key,
            None => FileKey::derive(state.passphrase.as_ref().ok_or(None)?, origin)?,
        };
        let plain = key.open(purpose, sealed)?;
        if is_new {
            state.keys.push(key.clone());
        }
        state.sealing.get_or_insert(key);
        Ok(plain)
    }

    /// Returns the bytes in the form in which they go to disk, for a file with the name in `path`.
    fn form(&self, path: &Path, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, FileError> {
        let Some(key) = self.state().sealing.clone() else { return Ok(Zeroizing::new(bytes.to_vec())) };
        let failed = |error| FileError::Io { path: path.into(), action: "sealed", source: io::Error::other(error) };
        let mut rng = generator().map_err(failed)?;
        Ok(Zeroizing::new(key.seal(&purpose(path), bytes, &mut rng)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a keyring cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The passphrase cannot be used.
    #[error(transparent)]
    Passphrase(PassphraseError),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness: {0}; try again")]
    Randomness(getrandom::Error),
}

/// Whether any secret file of the directory is sealed. A file that cannot be read does not count: reading it later
/// reports the error.
pub fn is_sealed(directory: &Path) -> bool {
    SECRETS.iter().any(|secret| is_sealed_file(&directory.join(secret)))
}

/// Whether one secret file is sealed. One that cannot be read says so when it is.
pub fn is_sealed_file(path: &Path) -> bool {
    let bytes = private_file::read(path).map(Zeroizing::new);
    bytes.is_ok_and(|bytes| passphrase::is_sealed(&bytes))
}

/// Converts all secret files of a directory from the form that `from` reads into the form that `to` writes, all or
/// none. The caller must hold the directory's lock. Returns the files that were converted.
pub fn reseal(directory: &Path, from: &Keyring, to: &Keyring) -> Result<Vec<PathBuf>, FileError> {
    recover(directory)?;
    let mut present = Vec::new();
    let mut files = Vec::new();
    for path in SECRETS.iter().map(|secret| directory.join(secret)).filter(|path| path.exists()) {
        files.push((resealed(&path), to.form(&path, &from.read(&path)?)?));
        present.push(path);
    }
    private_file::write_all(&files)?;
    private_file::write(&mark(directory), b"")?;
    finish(directory)?;
    Ok(present)
}

/// Checks that a keyring opens every secret file of a directory.
pub fn check(directory: &Path, keys: &Keyring) -> Result<(), FileError> {
    recover(directory)?;
    let present = SECRETS.iter().map(|secret| directory.join(secret)).filter(|path| path.exists());
    present.into_iter().try_for_each(|path| keys.read(&path).map(drop))
}

/// Completes an interrupted [`reseal`] that had reached its mark; otherwise does nothing. Several processes may do this
/// at the same time.
pub fn recover(directory: &Path) -> Result<(), FileError> {
    if mark(directory).exists() { finish(directory) } else { Ok(()) }
}

/// As [`recover`]; also removes the files of a [`reseal`] that was interrupted before its mark. The caller must hold
/// the directory's lock.
pub fn clean_up(directory: &Path) -> Result<(), FileError> {
    recover(directory)?;
    SECRETS.iter().try_for_each(|secret| private_file::remove(&resealed(&directory.join(secret))))
}

fn finish(directory: &Path) -> Result<(), FileError> {
    for path in SECRETS.iter().map(|secret| directory.join(secret)) {
        match std::fs::rename(resealed(&path), &path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::Io { path, action: "replaced", source });
            }
            _ => {}
        }
    }
    for folder in ["identity", "realm"].map(|folder| directory.join(folder)) {
        if folder.exists() {
            private_file::sync_directory(&folder)?;
        }
    }
    private_file::remove(&mark(directory))
}

fn resealed(path: &Path) -> PathBuf {
    path.with_added_extension("resealed")
}

/// The mark is in `identity`, which every device's directory has.
fn mark(directory: &Path) -> PathBuf {
    directory.join("identity").join("resealing")
}

/// Returns the purpose of a seal: the name of the file, which must not be exchanged for another.
fn purpose(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn generator() -> Result<ChaCha20Rng, KeyringError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(KeyringError::Randomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// The files that a passphrase seals. All others are public or hold no key.
const SECRETS: [&str; 7] = [
    "identity/device.key",
    "identity/credentials",
    "identity/cards",
    "identity/pending",
    "realm/operator.key",
    "realm/auditor.key",
    "realm/issuer.key",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a passphrase")
    }

    /// Makes a directory with some of the secret files.
    fn directory() -> (tempfile::TempDir, Vec<PathBuf>) {
        let directory = tempfile::tempdir().expect("a directory");
        let paths: Vec<_> = [0, 1, 6].map(|n| directory.path().join(SECRETS[n])).to_vec();
        for path in &paths {
            private_file::create_directory(path.parent().expect("a parent")).expect("made");
            private_file::write(path, purpose(path).as_bytes()).expect("written");
        }
        (directory, paths)
    }

    fn all_read(keys: &Keyring, paths: &[PathBuf]) -> bool {
        paths.iter().all(|path| keys.read(path).is_ok_and(|bytes| *bytes == purpose(path).as_bytes()))
    }

    fn names(directory: &Path) -> usize {
        ["identity", "realm"]
            .map(|folder| private_file::names(&directory.join(folder)).expect("it reads").len())
            .iter()
            .sum()
    }

    /// Invariant 1.
    /// Invariant 2 of keystore.
    #[test]
    fn what_was_sealed_stays_sealed_until_it_is_asked_for() {
        let (directory, paths) = directory();
        let at = directory.path();
        let first = Keyring::sealing(passphrase("one")).expect("a key");
        assert_eq!(reseal(at, &Keyring::default(), &first).expect("sealed"), paths);
        assert!(is_sealed(at));
        assert!(matches!(Keyring::default().read(&paths[0]), Err(FileError::Sealed { .. })));
        assert!(matches!(Keyring::default().write(&paths[0], b"plain"), Err(FileError::Sealed { .. })));
        assert!(matches!(Keyring::new(passphrase("two")).read(&paths[0]), Err(FileError::Passphrase { .. })));

        let keys = Keyring::new(passphrase("one"));
        assert!(all_read(&keys, &paths));
        keys.forget();
        assert!(all_read(&keys, &paths), "the key is kept without the passphrase");
        keys.write(&paths[0], b"new").expect("written");
        assert!(passphrase::is_sealed(&private_file::read(&paths[0]).expect("there")));
        assert_eq!(*Keyring::new(passphrase("one")).read(&paths[0]).expect("it opens"), b"new");
        keys.write(&paths[0], purpose(&paths[0]).as_bytes()).expect("written");

        reseal(at, &keys, &Keyring::sealing(passphrase("two")).expect("a key")).expect("sealed anew");
        assert!(all_read(&Keyring::new(passphrase("two")), &paths));
        reseal(at, &Keyring::new(passphrase("two")), &Keyring::default()).expect("opened");
        assert!(all_read(&Keyring::default(), &paths) && !is_sealed(at));
        assert_eq!(names(at), paths.len(), "nothing is left over");
    }

    #[test]
    fn one_file_does_not_pass_for_another() {
        let (directory, paths) = directory();
        let keys = Keyring::sealing(passphrase("one")).expect("a key");
        reseal(directory.path(), &Keyring::default(), &keys).expect("sealed");
        std::fs::copy(&paths[0], &paths[1]).expect("copied");
        assert!(matches!(keys.read(&paths[1]), Err(FileError::Seal { source: PassphraseError::Damaged, .. })));
    }

    /// An interruption at any step.
    #[test]
    fn an_interrupted_change_is_made_wholly_or_not_at_all() {
        for renamed in 0..=3 {
            let (directory, paths) = directory();
            let at = directory.path();
            let keys = Keyring::sealing(passphrase("one")).expect("a key");
            for path in &paths {
                let sealed = keys.form(path, purpose(path).as_bytes()).expect("sealed");
                private_file::write(&resealed(path), &sealed).expect("written");
            }
            if renamed == 0 {
                clean_up(at).expect("cleaned");
                assert!(all_read(&Keyring::default(), &paths), "nothing was put in place yet");
            } else {
                private_file::write(&mark(at), b"").expect("marked");
                for path in &paths[..renamed - 1] {
                    std::fs::rename(resealed(path), path).expect("renamed");
                }
                recover(at).expect("ended");
                assert!(paths.iter().all(|path| passphrase::is_sealed(&private_file::read(path).expect("there"))));
                assert!(all_read(&Keyring::new(passphrase("one")), &paths));
            }
            assert_eq!(names(at), paths.len(), "nothing is left over");
        }
    }
}
