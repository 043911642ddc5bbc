//! Codec: the one way in and out of CBOR, a strict gate and then serde.
//!
//! **The gate** walks the bytes once, without allocating, and lets through only this subset of deterministic
//! CBOR (RFC 8949 §4.2.1): unsigned and negative integers in shortest form, definite byte and text strings (text
//! being UTF-8), arrays, maps whose keys are unsigned integers in strictly ascending order (hence no duplicates),
//! `false`, `true`, `null`. No tags, no floats, no indefinite lengths, nothing after the item. It bounds nesting
//! ([`MAX_DEPTH`]), elements of one array or map ([`MAX_ITEMS`]) and the whole ([`MAX_DOCUMENT`]), and a declared
//! length never exceeds the bytes that are there.
//!
//! **The comparison.** Serde is lenient about shapes: it takes a struct given as an array, a variant given by name,
//! `null` for an absent field, and skips fields that it does not know. So the decoded value is encoded once more, into
//! a writer that stores nothing and only compares with the bytes received; any difference refuses them.
//!
//! Invariants
//! 1. No allocation happens for a length that has not been checked against the bytes present.
//! 2. A value has one encoding: what [`decode`] accepts is, byte for byte, what [`encode`] makes of the result.

use serde::{Deserialize, Serialize};

/// Deepest nesting of arrays and maps; the deepest document (bulletin → groups → cover → entry) has 5.
pub const MAX_DEPTH: usize = 8;
/// Most elements in one array or entries in one map.
pub const MAX_ITEMS: usize = 65_536;
/// Longest document, in bytes: an enrolment answer with a thousand contact cards.
pub const MAX_DOCUMENT: usize = 512 * 1024;

/// Why bytes are not a document. `at` is the offset of the offending item in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are longer than the document may be.
    #[error("{found} bytes where at most {limit} are allowed")]
    TooLong {
        /// How many bytes there are.
        found: usize,
        /// How many bytes are allowed.
        limit: usize,
    },
    /// The bytes end within an item.
    #[error("the bytes end within the item at offset {at}")]
    Truncated {
        /// Offset of the item.
        at: usize,
    },
    /// The item is nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} at offset {at}")]
    TooDeep {
        /// Offset of the item.
        at: usize,
    },
    /// An array or a map has more elements than [`MAX_ITEMS`].
    #[error("more than {MAX_ITEMS} elements at offset {at}")]
    TooMany {
        /// Offset of the array or map.
        at: usize,
    },
    /// The item is not of the deterministic subset.
    #[error("{what} at offset {at}")]
    NotCanonical {
        /// What was found.
        what: &'static str,
        /// Offset of the item.
        at: usize,
    },
    /// There are bytes after the item.
    #[error("{count} bytes after the end of the item")]
    Trailing {
        /// How many bytes there are after it.
        count: usize,
    },
    /// The bytes are well-formed, but not this document: a field is missing, a type or a length is another.
    #[error("not the expected document: {0}")]
    Shape(String),
    /// The bytes are this document, but not its one encoding: an unknown field, a `null` for an absent one, an array
    /// for a struct.
    #[error("not the one encoding of its value, from offset {at}")]
    Ambiguous {
        /// Offset of the first difference, or of the piece that holds it.
        at: usize,
    },
}

/// Encodes a value in packed form.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    encode_into(value, &mut out);
    out
}

/// Appends the packed form of a value to `out`. In debug builds it panics if the gate would refuse the result, as it
/// does a map whose keys are texts: such a type could not be decoded.
pub fn encode_into<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    let from = out.len();
    let mut serializer = serde_cbor::Serializer::new(&mut *out).packed_format();
    value.serialize(&mut serializer).expect("our types have no failing serializer, and a Vec takes every byte");
    debug_assert!(
        !matches!(gate(&out[from..]), Err(DecodeError::NotCanonical { .. })),
        "{} cannot be decoded",
        core::any::type_name::<T>()
    );
}

/// Passes bytes through the gate, decodes them, and compares. Borrowed fields point into `bytes`.
///
/// # Errors
/// The bytes do not pass the gate, are another document, or are not the one encoding of their value.
pub fn decode<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    gate(bytes)?;
    let value: T = serde_cbor::from_slice(bytes).map_err(|error| DecodeError::Shape(error.to_string()))?;
    let mut expect = Expect { rest: bytes };
    let mut serializer = serde_cbor::Serializer::new(serde_cbor::ser::IoWrite::new(&mut expect)).packed_format();
    let same = value.serialize(&mut serializer).is_ok() && expect.rest.is_empty();
    if same { Ok(value) } else { Err(DecodeError::Ambiguous { at: bytes.len() - expect.rest.len() }) }
}

/// As [`decode`], for documents with a tighter bound than [`MAX_DOCUMENT`].
pub fn decode_within<'a, T: Deserialize<'a> + Serialize>(bytes: &'a [u8], limit: usize) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong { found: bytes.len(), limit });
    }
    decode(bytes)
}

/// Checks that `bytes` are exactly one item of the subset, within bounds.
pub fn gate(bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.len() > MAX_DOCUMENT {
        return Err(DecodeError::TooLong { found: bytes.len(), limit: MAX_DOCUMENT });
    }
    let mut gate = Gate { bytes, at: 0 };
    gate.item(0)?;
    match bytes.len() - gate.at {
        0 => Ok(()),
        count => Err(DecodeError::Trailing { count }),
    }
}

/// A sink that takes only the bytes that it expects.
struct Expect<'a> {
    rest: &'a [u8],
}

impl std::io::Write for Expect<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.rest = self.rest.strip_prefix(bytes).ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

struct Gate<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Gate<'_> {
    fn item(&mut self, depth: usize) -> Result<(), DecodeError> {
        let at = self.at;
        let (major, argument) = self.head()?;
        match major {
            0 | 1 => Ok(()),
            2 => self.skip(argument, at).map(|_| ()),
            3 => {
                let text = self.skip(argument, at)?;
                core::str::from_utf8(text)
                    .map(|_| ())
                    .map_err(|_| DecodeError::NotCanonical { what: "text that is not UTF-8", at })
            }
            4 => {
                for _ in 0..self.count(argument, 1, depth, at)? {
                    self.item(depth + 1)?;
                }
                Ok(())
            }
            5 => {
                let mut last = None;
                for _ in 0..self.count(argument, 2, depth, at)? {
                    let at = self.at;
                    let (major, key) = self.head()?;
                    if major != 0 {
                        return Err(DecodeError::NotCanonical { what: "a key that is no unsigned integer", at });
                    }
                    if last.is_some_and(|last| key <= last) {
                        return Err(DecodeError::NotCanonical { what: "a key repeated or out of order", at });
                    }
                    last = Some(key);
                    self.item(depth + 1)?;
                }
                Ok(())
            }
            6 => Err(DecodeError::NotCanonical { what: "a tag", at }),
            _ => match self.bytes[at] {
                0xf4..=0xf6 => Ok(()),
                _ => Err(DecodeError::NotCanonical { what: "a float or simple value", at }),
            },
        }
    }

    /// Reads the item's head, which must be in shortest form. Returns its major type and argument.
    fn head(&mut self) -> Result<(u8, u64), DecodeError> {
        let at = self.at;
        let first = *self.bytes.get(at).ok_or(DecodeError::Truncated { at })?;
        self.at += 1;
        let (major, low) = (first >> 5, first & 0x1f);
        if major == 7 {
            // A simple value is complete in its first byte; `item` refuses the others.
            return Ok((major, u64::from(low)));
        }
        let width = match low {
            0..=23 => return Ok((major, u64::from(low))),
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            31 => return Err(DecodeError::NotCanonical { what: "an indefinite length", at }),
            _ => return Err(DecodeError::NotCanonical { what: "a reserved head", at }),
        };
        let end = self.at + width;
        let raw = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated { at })?;
        self.at = end;
        let argument = raw.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let least = match width {
            1 => 24,
            2 => 1 << 8,
            4 => 1 << 16,
            _ => 1 << 32,
        };
        if argument < least {
            return Err(DecodeError::NotCanonical { what: "an integer that is not in shortest form", at });
        }
        Ok((major, argument))
    }

    fn skip(&mut self, length: u64, at: usize) -> Result<&[u8], DecodeError> {
        let length = usize::try_from(length).map_err(|_| DecodeError::Truncated { at })?;
        let end = self.at.checked_add(length).ok_or(DecodeError::Truncated { at })?;
        let bytes = self.bytes.get(self.at..end).ok_or(DecodeError::Truncated { at })?;
        self.at = end;
        Ok(bytes)
    }

    /// Returns the number of elements of an array or map, each of which takes at least `least` bytes, within bounds.
    fn count(&self, argument: u64, least: usize, depth: usize, at: usize) -> Result<usize, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(DecodeError::TooDeep { at });
        }
        let count = usize::try_from(argument).map_err(|_| DecodeError::Truncated { at })?;
        if count > MAX_ITEMS {
            return Err(DecodeError::TooMany { at });
        }
        if count.saturating_mul(least) > self.bytes.len() - self.at {
            return Err(DecodeError::Truncated { at });
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bytes: &[u8]) -> DecodeError {
        gate(bytes).expect_err("the gate lets nothing like this through")
    }

    #[test]
    fn the_gate_refuses_what_is_not_deterministic() {
        assert!(gate(&[0x18, 0x18]).is_ok());
        assert!(matches!(refused(&[0x18, 0x17]), DecodeError::NotCanonical { .. }));
        assert!(matches!(refused(&[0x5f, 0x41, 0, 0xff]), DecodeError::NotCanonical { .. }));
        assert!(matches!(refused(&[0xa2, 0, 0, 0, 0]), DecodeError::NotCanonical { at: 3, .. }));
        assert!(matches!(refused(&[0xa2, 1, 0, 0, 0]), DecodeError::NotCanonical { at: 3, .. }));
        assert!(matches!(refused(&[0xa1, 0x61, b'a', 0]), DecodeError::NotCanonical { .. }));
        assert!(matches!(refused(&[0xc0, 0]), DecodeError::NotCanonical { .. }));
        assert!(matches!(refused(&[0xfb, 0, 0, 0, 0, 0, 0, 0, 0]), DecodeError::NotCanonical { .. }));
        assert_eq!(refused(&[0, 0]), DecodeError::Trailing { count: 1 });
    }

    /// Invariant 2.
    #[test]
    fn shapes_that_serde_would_forgive_are_refused() {
        use crate::wire::ping::Ping;
        assert_eq!(decode::<Ping>(&[0xa1, 0, 7]), Ok(Ping { stamp: 7 }));
        assert!(decode::<Ping>(&[0x81, 7]).is_err(), "an array for a struct");
        assert!(decode::<Ping>(&[0xa2, 0, 7, 1, 7]).is_err(), "an unknown field");
        assert!(decode::<Ping>(&[0xa0]).is_err(), "a missing field");
        let policy = crate::wire::data::Policy::default();
        let mut null = encode(&policy);
        null[0] += 1;
        null.extend([0x01, 0xf6]);
        assert!(matches!(decode::<crate::wire::data::Policy>(&null), Err(DecodeError::Ambiguous { .. })));
        assert!(
            decode::<crate::wire::data::Class>(&[0x65, b'A', b'l', b'a', b'r', b'm']).is_err(),
            "a variant by name"
        );
    }

    /// Invariant 1.
    #[test]
    fn lengths_are_checked_before_they_are_believed() {
        assert!(matches!(
            refused(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            DecodeError::Truncated { .. }
        ));
        assert!(matches!(refused(&[0x99, 0xff, 0xff]), DecodeError::Truncated { .. }));
        assert!(matches!(refused(&[0x9a, 0, 1, 0, 1]), DecodeError::TooMany { .. }));
        assert!(matches!(refused(&[0x81; 40]), DecodeError::TooDeep { .. }));
    }
}
