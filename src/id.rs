//! Id: identifiers, fixed-size byte strings of a type each, so that a handle is never taken for a pseudonym.
//!
//! All of them travel as CBOR byte strings of exactly their length. `Debug` and `Display` show them in lower-case
//! hexadecimal; none of them is a secret.

use core::fmt;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::sync::Arc;

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Takes a slice of exactly [`Self::LEN`] bytes; `None` for another length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a byte string of {} bytes", $len)
                    }
                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        $name::from_slice(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
                    }
                }
                deserializer.deserialize_bytes(Visitor)
            }
        }
    };
}

byte_id!(
    /// A realm: SHA-256 of its operator's Ed25519 public key.
    RealmId, 32
);
byte_id!(
    /// A device of a realm, for as long as the realm lives: random, known to issuers and contacts only.
    DeviceId, 16
);
byte_id!(
    /// A device's Ed25519 public key of one epoch; it is the libp2p key of that epoch.
    Pseudonym, 32
);
byte_id!(
    /// An X25519 public key.
    AgreementKey, 32
);
byte_id!(
    /// Tag of a device in one epoch; only the device's contacts and the issuers can compute it.
    Handle, 16
);
byte_id!(
    /// First 8 bytes of SHA-256 of an issuer's Ed25519 public key.
    IssuerId, 8
);
byte_id!(
    /// First 16 bytes of the SHA-256 of a signed credential's bytes: signatures name the credential by it.
    CredentialHash, 16
);
byte_id!(
    /// First 8 bytes of a credential's hash, where hops are listed. Two credentials may share them: the prefix is
    /// looked up among the known credentials, and a prefix that fits two names none.
    CredentialPrefix, 8
);
byte_id!(
    /// A transmission attempt of a data frame: random, so that two attempts cannot be linked.
    OuterId, 8
);
byte_id!(
    /// A session between two devices: chosen at random by the end that receives under it.
    SessionId, 8
);
byte_id!(
    /// A stream of messages of one sender to one receiver (or to one group): chosen at random by the sender.
    StreamId, 16
);
byte_id!(
    /// The application's name for a message that it sends, by which it can ask later what became of the message.
    SendId, 16
);
byte_id!(
    /// A blob: the hash over its length and the root of the hash tree over its chunks.
    BlobHash, 32
);
byte_id!(
    /// The sending of a blob to one device: random, so that an offer that comes again is known.
    OfferId, 16
);
byte_id!(
    /// First 8 bytes of a keyed hash of a group's, service's or box's name in one epoch.
    Tag, 8
);
byte_id!(
    /// An Ed25519 signature.
    Signature, 64
);
byte_id!(
    /// An issuer's id, and its signature by which a pseudonym may publish to a restricted group in one epoch.
    Permit, 72
);

impl Default for OuterId {
    /// Zeros, the id of no attempt.
    fn default() -> Self {
        Self([0; Self::LEN])
    }
}

impl CredentialHash {
    /// The first bytes of the hash.
    pub fn prefix(&self) -> CredentialPrefix {
        let mut short = [0; CredentialPrefix::LEN];
        short.copy_from_slice(&self.0[..CredentialPrefix::LEN]);
        CredentialPrefix(short)
    }
}

impl CredentialPrefix {
    /// The range of all hashes that begin with this prefix.
    pub fn hashes(&self) -> core::ops::RangeInclusive<CredentialHash> {
        let filled = |with: u8| {
            let mut hash = [with; CredentialHash::LEN];
            hash[..Self::LEN].copy_from_slice(&self.0);
            CredentialHash(hash)
        };
        filled(0)..=filled(0xff)
    }
}

/// A message, end to end: its stream and its place in the stream. Dedupe works on this id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InnerId {
    /// The sender's stream to this receiver.
    pub stream: StreamId,
    /// The message's place in the stream, from 1.
    pub sequence: u64,
}

/// A link to a neighbour, numbered by the node as it comes up; a number is never reused within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Log sequence number of a write handed to the store: an output that waits for `Lsn(n)` is released once the store
/// says that write `n` and all before it are durable. `Lsn(0)` waits for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Why a text is no name of a device or realm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty or longer than [`Name::MAX`].
    #[error("a name has 1 to {max} characters, this one has {0}", max = Name::MAX)]
    Length(usize),
    /// The text has a character that would be ambiguous in topics, paths or destinations.
    #[error("a name holds letters, digits, '-', '_' and '.', and starts with a letter or digit; {0:?} is neither")]
    Character(char),
}

/// A human-readable name of a device: 1 to 64 of `[A-Za-z0-9._-]`, the first a letter or digit. It never travels in
/// clear. Clones share the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Longest name, in characters (all are ASCII, so in bytes too).
    pub const MAX: usize = 64;

    /// Checks and takes a name.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() || name.len() > Self::MAX {
            return Err(NameError::Length(name.chars().count()));
        }
        for (at, c) in name.chars().enumerate() {
            if !(c.is_ascii_alphanumeric() || (at > 0 && matches!(c, '-' | '_' | '.'))) {
                return Err(NameError::Character(c));
            }
        }
        Ok(Self(name.into()))
    }

    /// The text of the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl core::str::FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(Name::new("meter-17").is_ok());
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new("a/b"), Err(NameError::Character('/')));
        assert_eq!(Name::new("-a"), Err(NameError::Character('-')));
        assert_eq!(Name::new("x".repeat(65)), Err(NameError::Length(65)));
    }

    #[test]
    fn ids_travel_as_byte_strings_of_their_length() {
        let handle = Handle([7; 16]);
        let bytes = serde_cbor::to_vec(&handle).expect("a handle encodes");
        assert_eq!(bytes[0], 0x50);
        assert_eq!(serde_cbor::from_slice::<Handle>(&bytes).expect("and decodes"), handle);
        assert!(serde_cbor::from_slice::<Tag>(&bytes).is_err());
    }
}
