//! Key derivation: every key and tag of the realm comes from one of two functions.
//!
//! [`derive()`] is HKDF-SHA256 (RFC 5869) without salt: the input key material is `key`, the info
//! `label ‖ 0x00 ‖ parts`. [`tag`] is HMAC-SHA256 (RFC 2104) over `label ‖ 0x00 ‖ parts`, cut to its length. All parts
//! but the last have a fixed length for their label, so that different inputs never give the same bytes.
//!
//! Invariants
//! 1. No label serves two purposes; all of them are constants of [`label`].

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// A 32-byte secret that is wiped when it is dropped.
pub type Secret = Zeroizing<[u8; 32]>;

#[cfg(test)]
thread_local! {
    static DERIVED: core::cell::Cell<u64> = const { core::cell::Cell::new(0) };
}

/// How many keys and tags this thread has derived.
#[cfg(test)]
pub(crate) fn derived() -> u64 {
    DERIVED.get()
}

/// Derives a key of 32 bytes.
pub fn derive(key: &[u8], label: &str, parts: &[&[u8]]) -> Secret {
    expand(&Hkdf::<Sha256>::new(None, key), label, parts)
}

/// As [`derive()`], with a salt: `salt` binds what both ends have seen, `key` is what only they know.
pub fn derive_salted(salt: &[u8; 32], key: &[u8], label: &str, parts: &[&[u8]]) -> Secret {
    expand(&Hkdf::<Sha256>::new(Some(salt), key), label, parts)
}

/// Computes a keyed tag of `N` bytes, 32 at most.
pub fn tag<const N: usize>(key: &[u8], label: &str, parts: &[&[u8]]) -> [u8; N] {
    const { assert!(N <= 32) };
    #[cfg(test)]
    DERIVED.set(DERIVED.get() + 1);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(label.as_bytes());
    mac.update(&[0]);
    for part in parts {
        mac.update(part);
    }
    let full = mac.finalize().into_bytes();
    let mut out = [0; N];
    out.copy_from_slice(&full[..N]);
    out
}

/// SHA-256 over the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// Serde for a [`Secret`]: a byte string, only ever written to files of the device's own.
pub(crate) mod secret {
    use super::Secret;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(secret.as_slice())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        Ok(Secret::new(serde_bytes::ByteArray::<32>::deserialize(deserializer)?.into_array()))
    }
}

/// How a secret that may be absent is written.
pub(crate) mod optional_secret {
    use super::Secret;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => super::secret::serialize(secret, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
        super::secret::deserialize(deserializer).map(Some)
    }
}

/// Every label. `m2mesh/1` is the protocol's version: another version derives other keys from the same secrets.
pub mod label {
    /// RK(0) = derive(K_resolve; device id:16, generation:4).
    pub const RESOLUTION: &str = "m2mesh/1 resolution";
    /// RK(d+1) = derive(RK(d)).
    pub const DAY: &str = "m2mesh/1 day";
    /// Handle = tag(RK(day); epoch:8), 16 bytes.
    pub const HANDLE: &str = "m2mesh/1 handle";
    /// Key that seals a device id in a credential: see [`crate::identity::seal`].
    pub const SEALED_ID: &str = "m2mesh/1 sealed id";
    /// Key that seals an enrolment request.
    pub const ENROL_REQUEST: &str = "m2mesh/1 enrolment request";
    /// Key that seals an enrolment answer.
    pub const ENROL_ANSWER: &str = "m2mesh/1 enrolment answer";
    /// Key of the initiator's records before the answer = derive(chaining key after the first message), salted with the
    /// handshake's hash: see [`crate::identity::session`].
    pub const SESSION_EARLY: &str = "m2mesh/1 session early";
    /// Key that seals the initiator's credential in an opener.
    pub const SESSION_CREDENTIAL: &str = "m2mesh/1 session credential";
    /// The beginning of the prologue of a session's handshake, before a zero byte.
    pub const SESSION_PROLOGUE: &str = "m2mesh/1 session";
    /// Pre-shared key of a session's handshake = derive(DH of the contact keys; initiator's contact key:32,
    /// responder's:32).
    pub const SESSION_PSK: &str = "m2mesh/1 session psk";
    /// Tag of a device's box of a day = tag(RK(day)), 8 bytes.
    pub const BOX: &str = "m2mesh/1 box";
    /// Key of the next day's place in a device's chain of mail prekeys = derive(key of a place).
    pub const MAIL_CHAIN: &str = "m2mesh/1 mail chain";
    /// Private half of a day's mail prekey = derive(key of the day's place).
    pub const MAIL_SECRET: &str = "m2mesh/1 mail secret";
    /// Key that seals the sender's credential in mail = derive(es; day:4, ephemeral:32, prekey:32).
    pub const MAIL_CREDENTIAL: &str = "m2mesh/1 mail credential";
    /// The beginning of the transcript of mail, before a zero byte.
    pub const MAIL_TRANSCRIPT: &str = "m2mesh/1 mail transcript";
    /// Key of mail = derive(es, ss and cc; day:4, sender's handle:16, receiver's handle:16), salted with the transcript.
    pub const MAIL: &str = "m2mesh/1 mail";
    /// Key of a tree node = derive(tree secret; node:4).
    pub const TREE_NODE: &str = "m2mesh/1 tree node";
    /// Key that seals a group key to a tree node = derive(node key; group tag:8 or zeros, version:4, node:4, salt:16).
    pub const COVER: &str = "m2mesh/1 group cover";
    /// Tag of a group's name in the bulletin = tag(realm id; name), 8 bytes.
    pub const GROUP_NAME: &str = "m2mesh/1 group name";
    /// K_group of a group that the bulletin does not list = derive(root key; name).
    pub const GROUP_KEY: &str = "m2mesh/1 group key";
    /// Tag of a group in an epoch = tag(K_group; epoch:8), 8 bytes, the first bit set to 0.
    pub const GROUP_TAG: &str = "m2mesh/1 group tag";
    /// Publishing key of a restricted group = derive(tree secret; group name's tag:8, generation:4).
    pub const PUBLISHING_KEY: &str = "m2mesh/1 publishing key";
    /// Tag of a restricted group in an epoch = tag(publishing key; epoch:8), 8 bytes, the first bit set to 1.
    pub const PUBLISHING_TAG: &str = "m2mesh/1 publishing tag";
    /// Key that seals a publishing key = derive(K_group; group name's tag:8, version:4, generation:4, salt:16).
    pub const PUBLISHING_SEAL: &str = "m2mesh/1 publishing seal";
    /// Tag of a service in an epoch = tag(root key; epoch:8, name), 8 bytes.
    pub const SERVICE: &str = "m2mesh/1 service";
    /// Key of one sender to a group = derive(K_group; pseudonym:32, salt:16).
    pub const GROUP_SENDER: &str = "m2mesh/1 group sender";
    /// Key of one file at rest = derive(key of a passphrase; fresh salt:32, purpose): see
    /// [`crate::identity::passphrase`].
    pub const FILE_KEY: &str = "m2mesh/1 file key";
    /// Check that tells a wrong passphrase = tag(key of a passphrase; head of the file), 16 bytes.
    pub const FILE_CHECK: &str = "m2mesh/1 file check";
    /// Key of the next place of a device's chain of epochs = derive(key of a place); of the first place of a block =
    /// derive(block; 0:1): see `identity::epoch_chain`.
    pub const EPOCH_CHAIN: &str = "m2mesh/1 epoch chain";
    /// Key of the next block of a device's chain of epochs = derive(block).
    pub const EPOCH_BLOCK: &str = "m2mesh/1 epoch block";
    /// X25519 secret of an epoch = derive(key of its place).
    pub const EPOCH_SECRET: &str = "m2mesh/1 epoch secret";
    /// Number of a process under one pseudonym = tag(number of the process; pseudonym:32), 8 bytes.
    pub const PROCESS: &str = "m2mesh/1 process";
    /// Seed of the Ed25519 key of an epoch = derive(key of its place), where the device rotates its pseudonyms.
    pub const EPOCH_PSEUDONYM: &str = "m2mesh/1 epoch pseudonym";
    /// Key of a successor's proof = derive(DH(a_old, A_N) ‖ DH(a_new, A_N); h_old:16, h_new:16, h_N:16); see [`crate::identity::successor`].
    pub const SUCCESSOR: &str = "m2mesh/1 successor";
    /// Proof of a successor = tag(that key; the new signed credential), 16 bytes.
    pub const SUCCESSOR_PROOF: &str = "m2mesh/1 successor proof";
    /// Offset at which a device renews within its window = tag(device id; last epoch:8), 8 bytes.
    pub const RENEWAL_JITTER: &str = "m2mesh/1 renewal jitter";
}

fn expand(prk: &Hkdf<Sha256>, label: &str, parts: &[&[u8]]) -> Secret {
    let mut info: [&[u8]; MAX_PARTS + 2] = [&[]; MAX_PARTS + 2];
    info[0] = label.as_bytes();
    #[cfg(test)]
    DERIVED.set(DERIVED.get() + 1);
    info[1] = &[0];
    info[2..2 + parts.len()].copy_from_slice(parts);
    let mut out = Secret::default();
    prk.expand_multi_info(&info, out.as_mut_slice()).expect("32 bytes are within what HKDF-SHA256 expands to");
    out
}

/// Most parts of one info.
const MAX_PARTS: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_label_salt_and_parts_all_count() {
        let keys: std::collections::BTreeSet<[u8; 32]> = [
            derive(b"key", "a", &[b"x", b"y"]),
            derive(b"kez", "a", &[b"x", b"y"]),
            derive(b"key", "b", &[b"x", b"y"]),
            derive(b"key", "a", &[b"x", b"z"]),
            derive(b"key", "a", &[b"x"]),
            derive_salted(&[1; 32], b"key", "a", &[b"x", b"y"]),
        ]
        .into_iter()
        .map(|key| *key)
        .collect();
        assert_eq!(keys.len(), 6);
        assert_ne!(tag::<8>(b"key", "a", &[b"x"]), tag::<8>(b"key", "b", &[b"x"]));
        assert_eq!(tag::<32>(b"key", "a", &[b"x"])[..8], tag::<8>(b"key", "a", &[b"x"]));
    }
}
