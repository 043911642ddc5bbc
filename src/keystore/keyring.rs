//! Private files that may be sealed under a passphrase.
//!
//! A [`Keyring`] reads and writes the files of one directory: those that say that they are sealed are opened, and what
//! it writes is sealed if it has a key to seal with. That key is the one given at the start, or that of the first sealed
//! file it has opened: what was sealed stays sealed. The slow derivation is done once for each salt it meets; when all is
//! read, [`Keyring::forget`] drops the passphrase and the keys that serve no more.
//!
//! [`reseal`] seals, opens or seals anew all secret files of a directory, all or none of them:
//!
//! 1. Each file is written in its new form beside the old one, as `NAME.resealed`, and synced.
//! 2. The mark `resealing` is written and synced: from here on there is no way back.
//! 3. Each new file is renamed over the old one; the mark is removed.
//!
//! Whoever reads the directory after a crash finds the mark and does step 3 again first ([`recover`]), or finds none and
//! the old files.
//!
//! Invariants
//! 1. A secret that was sealed on disk is never written unsealed but by [`reseal`].
//! 2. Opening a directory takes at most one derivation for each secret file, so that hostile ones cannot make it last.

use super::private_file::{self, FileError};
use crate::identity::passphrase::{self, FileKey, Passphrase, PassphraseError};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use zeroize::Zeroizing;

/// Opens and seals the files of one directory. Clones share their keys.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    passphrase: Option<Passphrase>,
    keys: Vec<FileKey>,
    /// Seals what is written.
    sealing: Option<FileKey>,
}

impl Keyring {
    /// With a passphrase for what is sealed already. Nothing is sealed by it unless something is found that was.
    pub fn new(passphrase: Passphrase) -> Self {
        let state = State { passphrase: Some(passphrase), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// With a passphrase under which everything is to be sealed. Slow: it derives a key.
    pub fn sealing(passphrase: Passphrase) -> Result<Self, KeyringError> {
        let key = FileKey::new(&passphrase, &mut generator()?).map_err(KeyringError::Passphrase)?;
        let state = State { passphrase: Some(passphrase), keys: vec![key.clone()], sealing: Some(key) };
        Ok(Self { state: Arc::new(Mutex::new(state)) })
    }

    /// Drops the passphrase, and every key but the one that seals: to be called when everything has been read.
    pub fn forget(&self) {
        let mut state = self.state();
        state.passphrase = None;
        state.keys = state.sealing.iter().cloned().collect();
    }

    /// Reads a secret file, sealed or not. Its name is part of the seal, so that one cannot be put in another's place.
    pub(super) fn read(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
        Ok(self.read_form(path)?.0)
    }

    /// Writes a secret file durably, in the form that this keyring gives it, unless it has these bytes and that form.
    pub(super) fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FileError> {
        let sealed = self.state().sealing.is_some();
        match self.read_form(path) {
            Ok((there, form)) if form == sealed && *there == bytes => Ok(()),
            Err(error @ (FileError::Sealed { .. } | FileError::Passphrase { .. })) => Err(error),
            _ => private_file::write(path, &self.form(path, bytes)?),
        }
    }

    /// The content, and whether it was sealed.
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

    /// Without an error, there is no passphrase to try.
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

    /// The bytes as they are to stand on disk, for a file of the name in `path`.
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

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The passphrase does not serve.
    #[error(transparent)]
    Passphrase(PassphraseError),
    /// The operating system has no randomness.
    #[error("the operating system gives no randomness: {0}; try again")]
    Randomness(getrandom::Error),
}

/// Whether the directory has a secret file that is sealed. One that cannot be read says so when it is.
pub fn is_sealed(directory: &Path) -> bool {
    SECRETS.iter().any(|secret| is_sealed_file(&directory.join(secret)))
}

/// Whether one secret file is sealed. One that cannot be read says so when it is.
pub fn is_sealed_file(path: &Path) -> bool {
    let bytes = private_file::read(path).map(Zeroizing::new);
    bytes.is_ok_and(|bytes| passphrase::is_sealed(&bytes))
}

/// Brings all secret files of a directory from the form that `from` reads into the form that `to` writes, all or none.
/// The caller holds the directory's lock. Answers which files there were.
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

/// Whether a keyring opens every secret file of a directory.
pub fn check(directory: &Path, keys: &Keyring) -> Result<(), FileError> {
    recover(directory)?;
    let present = SECRETS.iter().map(|secret| directory.join(secret)).filter(|path| path.exists());
    present.into_iter().try_for_each(|path| keys.read(&path).map(drop))
}

/// Ends what an interrupted [`reseal`] had begun to put in place. Does nothing where there is nothing to end; harmless
/// when several processes do it.
pub fn recover(directory: &Path) -> Result<(), FileError> {
    if mark(directory).exists() { finish(directory) } else { Ok(()) }
}

/// As [`recover`]; removes also what one left that was interrupted before that. The caller holds the directory's lock.
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

/// Every device's directory has that folder.
fn mark(directory: &Path) -> PathBuf {
    directory.join("identity").join("resealing")
}

/// What a file is sealed for: being the file of that name.
fn purpose(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn generator() -> Result<ChaCha20Rng, KeyringError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(KeyringError::Randomness)?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// The files that a passphrase seals, all others being public or no key.
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

    /// A directory with some of the files there can be.
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

    /// As an interruption at any step leaves it.
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
