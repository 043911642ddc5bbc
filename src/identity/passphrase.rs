//! Passphrase: sealing bytes under a passphrase, as keys at rest may be.
//!
//! A [`FileKey`] is derived from a passphrase and a salt by Argon2id (RFC 9106), which is slow and takes memory on
//! purpose. That is done once: all files of a device share the salt, and each is sealed under a key of its own,
//! `derive(file key, "file key"; fresh salt, purpose)`, with ChaCha20-Poly1305 and nonce zero, since that key is used
//! once.
//!
//! ```text
//! magic:13 | version:1 | memory in KiB:4 | passes:4 | lanes:4 | salt:16      what the file key comes from
//! fresh salt:32 | checksum:8 = SHA-256(all before)[..8]                      what the one-time key comes from
//! check:16 = tag(file key, "file check"; all before)                         tells a wrong passphrase
//! ciphertext | tag:16                                                        all before is its associated data
//! ```
//!
//! The checksum tells a damaged head from a wrong passphrase; the check tells a wrong passphrase from damaged content.
//! Neither makes guessing cheaper: each guess costs one Argon2id derivation.
//!
//! Invariants
//! 1. The cost that a file asks for is bounded before it is spent: memory, passes and lanes.
//! 2. A sealed file opens under the passphrase and the purpose that it was sealed for, or not at all.
//! - No byte sequence that the codec writes begins like a sealed file, so the bytes of a file show whether it is
//!   sealed.

use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal::{TAG, cipher, decrypt, encrypt};
use argon2::{Algorithm, Argon2, Params, Version};
use core::fmt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use zeroize::Zeroizing;

/// A passphrase, wiped when it is dropped.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// The cost of deriving a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes that the memory is divided into.
    pub lanes: u32,
}

/// The key derived from a passphrase and a salt, which seals and opens files.
#[derive(Clone)]
pub struct FileKey {
    origin: Origin,
    key: Secret,
}

/// What a key is derived from besides the passphrase; keys of one passphrase and origin are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    cost: Cost,
    salt: [u8; 16],
}

/// Why a sealed file does not open, or a passphrase cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// The passphrase is empty or longer than [`MAX_PASSPHRASE`] bytes.
    #[error("a passphrase has between 1 and {MAX_PASSPHRASE} bytes, this has {0}")]
    Length(usize),
    /// The file was written in a format that this program does not know.
    #[error("it is sealed in format {0}, this m2mesh knows format {FORMAT}")]
    Format(u8),
    /// The file asks for a cost that is out of bounds.
    #[error("its key would take {} KiB of memory and {} passes, beyond what is allowed", .0.memory, .0.passes)]
    Cost(Cost),
    /// The file is sealed under another passphrase.
    #[error("it is sealed under another passphrase")]
    Passphrase,
    /// The file was changed or cut, or sealed for another purpose.
    #[error("it is sealed and damaged")]
    Damaged,
}

impl Passphrase {
    /// Takes a passphrase that was typed or read, of 1 to [`MAX_PASSPHRASE`] bytes.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            1..=MAX_PASSPHRASE => Ok(Self(bytes)),
            length => Err(PassphraseError::Length(length)),
        }
    }
}

/// Compares passphrases in constant time.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Cost {
    /// The cost of new keys: OWASP's choice for Argon2id, which a device with little memory can afford, some 50 ms.
    pub const DEFAULT: Self = Self { memory: 19 * 1024, passes: 2, lanes: 1 };

    fn params(self) -> Result<Params, PassphraseError> {
        let allowed = self.memory <= MAX_MEMORY && self.passes <= MAX_PASSES && self.lanes <= MAX_LANES;
        let params = Params::new(self.memory, self.passes, self.lanes, Some(32)).ok().filter(|_| allowed);
        params.ok_or(PassphraseError::Cost(self))
    }
}

impl FileKey {
    /// Derives a key with a fresh salt. Slow.
    pub fn new(passphrase: &Passphrase, rng: &mut ChaCha20Rng) -> Result<Self, PassphraseError> {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        Self::derive(passphrase, Origin { cost: Cost::DEFAULT, salt })
    }

    /// Derives the key of this passphrase and origin. Slow.
    pub fn derive(passphrase: &Passphrase, origin: Origin) -> Result<Self, PassphraseError> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, origin.cost.params()?);
        let mut key = Secret::default();
        argon2
            .hash_password_into(&passphrase.0, &origin.salt, key.as_mut_slice())
            .map_err(|_| PassphraseError::Cost(origin.cost))?;
        Ok(Self { origin, key })
    }

    /// The origin that the key was derived from.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Seals bytes for a purpose.
    pub fn seal(&self, purpose: &str, plain: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
        let Origin { cost, salt } = self.origin;
        let mut fresh = [0; 32];
        rng.fill_bytes(&mut fresh);
        let mut out = Vec::with_capacity(HEAD + plain.len() + TAG);
        out.extend_from_slice(MAGIC);
        out.push(FORMAT);
        for number in [cost.memory, cost.passes, cost.lanes] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&salt);
        out.extend_from_slice(&fresh);
        let checksum = checksum(&out);
        out.extend_from_slice(&checksum);
        let check: [u8; 16] = kdf::tag(self.key.as_slice(), label::FILE_CHECK, &[out.as_slice()]);
        out.extend_from_slice(&check);
        out.extend_from_slice(plain);
        let (head, content) = out.split_at_mut(HEAD);
        let tag = encrypt(&cipher(&self.once(&fresh, purpose)), 0, head, content);
        out.extend_from_slice(&tag);
        out
    }

    /// Opens bytes that were sealed under a key of this origin for this purpose.
    ///
    /// # Errors
    /// The bytes are of another format, sealed under another passphrase, or damaged or sealed for another purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PassphraseError> {
        let Head { origin, fresh, check } = Head::parse(sealed)?;
        let (head, content) = sealed.split_at(HEAD);
        let expected: [u8; 16] = kdf::tag(self.key.as_slice(), label::FILE_CHECK, &[&head[..HEAD - check.len()]]);
        if origin != self.origin || expected != check {
            return Err(PassphraseError::Passphrase);
        }
        let (content, tag) = content.split_last_chunk::<TAG>().ok_or(PassphraseError::Damaged)?;
        let mut plain = Zeroizing::new(content.to_vec());
        let opened = decrypt(&cipher(&self.once(&fresh, purpose)), 0, head, &mut plain, tag);
        opened.then_some(plain).ok_or(PassphraseError::Damaged)
    }

    fn once(&self, fresh: &[u8; 32], purpose: &str) -> Secret {
        kdf::derive(self.key.as_slice(), label::FILE_KEY, &[fresh, purpose.as_bytes()])
    }
}

/// Whether these bytes begin like a sealed file.
pub fn is_sealed(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

/// Returns the origin of the key that a file is sealed under.
///
/// # Errors
/// The head is damaged or of another format, or the cost is out of bounds.
pub fn origin_of(sealed: &[u8]) -> Result<Origin, PassphraseError> {
    let Head { origin, .. } = Head::parse(sealed)?;
    origin.cost.params()?;
    Ok(origin)
}

struct Head {
    origin: Origin,
    fresh: [u8; 32],
    check: [u8; 16],
}

impl Head {
    fn parse(sealed: &[u8]) -> Result<Self, PassphraseError> {
        let rest = sealed.strip_prefix(MAGIC).ok_or(PassphraseError::Damaged)?;
        let (&format, rest) = rest.split_first().ok_or(PassphraseError::Damaged)?;
        if format != FORMAT {
            return Err(PassphraseError::Format(format));
        }
        let mut rest = rest;
        let cost = Cost { memory: number(&mut rest)?, passes: number(&mut rest)?, lanes: number(&mut rest)? };
        let (salt, fresh) = (take(&mut rest)?, take(&mut rest)?);
        let sum: [u8; 8] = take(&mut rest)?;
        let check = take(&mut rest)?;
        let before = sealed.len() - rest.len() - size_of_val(&check) - size_of_val(&sum);
        if checksum(&sealed[..before]) != sum {
            return Err(PassphraseError::Damaged);
        }
        Ok(Self { origin: Origin { cost, salt }, fresh, check })
    }
}

fn number(rest: &mut &[u8]) -> Result<u32, PassphraseError> {
    Ok(u32::from_be_bytes(take(rest)?))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], PassphraseError> {
    let (taken, left) = rest.split_first_chunk::<N>().ok_or(PassphraseError::Damaged)?;
    *rest = left;
    Ok(*taken)
}

fn checksum(bytes: &[u8]) -> [u8; 8] {
    let mut sum = [0; 8];
    sum.copy_from_slice(&kdf::sha256(&[bytes])[..8]);
    sum
}

/// The first bytes of a sealed file. In CBOR they would be a text string, and no file of this crate is one.
const MAGIC: &[u8; 13] = b"m2mesh sealed";
/// The format's version.
const FORMAT: u8 = 1;
/// Bytes before the content.
const HEAD: usize = MAGIC.len() + 1 + 3 * 4 + 16 + 32 + 8 + 16;
/// Longest passphrase, in bytes: a longer one is more likely a file that was named by mistake.
pub const MAX_PASSPHRASE: usize = 1_024;
/// Most memory that a file may ask for, in KiB: a quarter of a small gateway's.
const MAX_MEMORY: u32 = 256 * 1024;
/// Most passes that a file may ask for: some ten seconds with the most memory.
const MAX_PASSES: u32 = 16;
/// Most lanes that a file may ask for; they are computed one after the other.
const MAX_LANES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).expect("a passphrase")
    }

    /// Invariant 2.
    #[test]
    fn what_is_sealed_opens_for_its_passphrase_and_purpose_only() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let key = FileKey::new(&passphrase("correct horse"), &mut rng).expect("a key");
        let sealed = key.seal("keys", b"plain", &mut rng);
        assert!(is_sealed(&sealed) && !is_sealed(b"plain"));
        assert_eq!(sealed.len(), HEAD + 5 + TAG);
        assert_ne!(sealed, key.seal("keys", b"plain", &mut rng), "each is sealed under a key of its own");
        let again = FileKey::derive(&passphrase("correct horse"), origin_of(&sealed).expect("an origin"));
        let open = |purpose, sealed: &[u8]| again.clone().expect("a key").open(purpose, sealed);
        assert_eq!(open("keys", &sealed).as_deref(), Ok(&b"plain".to_vec()));
        assert_eq!(open("cards", &sealed), Err(PassphraseError::Damaged));
        let other = FileKey::derive(&passphrase("correct hors"), key.origin()).expect("a key");
        assert_eq!(other.open("keys", &sealed), Err(PassphraseError::Passphrase));
        for length in 0..sealed.len() {
            assert!(open("keys", &sealed[..length]).is_err(), "{length} bytes");
        }
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x40;
            let error = open("keys", &changed).expect_err("it has changed");
            let in_check = (HEAD - 16..HEAD).contains(&at);
            assert_eq!(error == PassphraseError::Passphrase, in_check, "byte {at}: {error}");
        }
    }

    /// Invariant 1.
    #[test]
    fn a_file_cannot_ask_for_more_than_there_is() {
        for cost in [
            Cost { memory: u32::MAX, ..Cost::DEFAULT },
            Cost { memory: MAX_MEMORY + 1, ..Cost::DEFAULT },
            Cost { passes: u32::MAX, ..Cost::DEFAULT },
            Cost { lanes: MAX_LANES + 1, ..Cost::DEFAULT },
            Cost { memory: 0, passes: 0, lanes: 0 },
        ] {
            let hostile = FileKey { origin: Origin { cost, salt: [0; 16] }, key: Secret::default() };
            let sealed = hostile.seal("keys", b"", &mut ChaCha20Rng::from_seed([1; 32]));
            assert_eq!(origin_of(&sealed), Err(PassphraseError::Cost(cost)));
            let derived = FileKey::derive(&passphrase("x"), hostile.origin);
            assert_eq!(derived.map(drop), Err(PassphraseError::Cost(cost)));
        }
    }

    #[test]
    fn a_passphrase_has_a_length_and_is_never_shown() {
        for length in [0, MAX_PASSPHRASE + 1] {
            let refused = Passphrase::new(Zeroizing::new(vec![b'x'; length]));
            assert_eq!(refused.map(drop), Err(PassphraseError::Length(length)));
        }
        assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase(…)");
    }
}
