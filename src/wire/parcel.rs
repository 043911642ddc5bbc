//! Parcel: messages of one sender for one receiver's inbox, with equal class, policy and acknowledgement, under one
//! seal.
//!
//! Most messages of a mesh are small readings, so a message costs six bytes here and no decoding: the plaintext is
//! `type:u8 | length:u16 | head | records`, where the head is CBOR, once for each parcel, and a record is
//! `length:u16 | earlier:u32 | payload`. Records follow each other in the stream from `base` on. The receiver's store
//! keeps the same records unchanged.
//!
//! Invariants
//! 1. [`Parcel::parse`] accepts whole records only, at least one and at most [`MAX_MESSAGES`], each within
//!    [`MAX_PAYLOAD`].

use super::batch::{Ack, MAX_MESSAGES, MAX_PAYLOAD};
use super::codec::{DecodeError, decode, encode};
use super::data::{prefixed, put_prefixed};
use crate::id::{Handle, StreamId};
use serde::{Deserialize, Serialize};

/// Type of a plaintext that is a [`Parcel`].
pub const PLAIN_PARCEL: u8 = 2;
/// Longest encoded head, in bytes.
pub const MAX_HEAD: usize = 512;
/// Bytes of a record besides its payload.
pub const RECORD: usize = 6;

/// What the messages of a parcel have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The sender's stream to this receiver.
    pub stream: StreamId,
    /// Messages with a lower sequence number have ended at the sender: the receiver need not wait for them.
    pub floor: u64,
    /// Sequence number of the first record; the others follow.
    pub base: u64,
    /// The sender's clock when the messages leave, in unix microseconds.
    pub sent: u64,
    /// The confirmation that the sender asks for.
    pub ack: Ack,
    /// Handles under which a receipt finds the sender until the deadline; empty with [`Ack::None`].
    pub reply: Vec<Handle>,
    /// Microseconds after `sent` until which the longest-lived of the messages is of use.
    pub lifetime: u64,
    /// By how many microseconds the sender's clock is wrong at most, as far as the sender knows; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<u64>,
    /// Whether the sender only pushes: it takes nothing.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub push_only: bool,
}

/// A parcel as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel<'a> {
    /// What the messages have in common.
    pub head: Head,
    /// The records' bytes, checked.
    pub records: &'a [u8],
    /// Number of records.
    pub count: u32,
    /// The most microseconds by which a record's lifetime is shorter than the head's.
    pub earliest: u32,
}

/// One message of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The application's bytes.
    pub payload: &'a [u8],
    /// Microseconds by which the message's lifetime is shorter than the head's.
    pub earlier: u32,
}

impl<'a> Parcel<'a> {
    /// Parses what follows the type byte.
    ///
    /// # Errors
    /// The bytes are cut off, the head does not decode, or the records are too long, too many or none.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (head, records) = prefixed(bytes, MAX_HEAD)?;
        let (count, earliest) = check(records)?;
        Ok(Self { head: decode(head)?, records, count, earliest })
    }

    /// Appends a plaintext: type byte, head and records.
    pub fn put(head: &Head, records: &[u8], out: &mut Vec<u8>) {
        out.push(PLAIN_PARCEL);
        put_prefixed(out, &encode(head));
        out.extend_from_slice(records);
    }
}

/// Appends one record. The payload is at most [`MAX_PAYLOAD`] bytes.
pub fn put_record(out: &mut Vec<u8>, earlier: u32, payload: &[u8]) {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&earlier.to_be_bytes());
    out.extend_from_slice(&payload[..usize::from(length)]);
}

/// Makes every record of a checked buffer end `by` microseconds earlier; `earlier` saturates, so that a record without
/// room for it ends at once.
pub fn shorten(records: &mut [u8], by: u32) {
    let mut at = 0;
    while let Some([high, low, earlier @ ..]) = records.get_mut(at..at + RECORD) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let known = <[u8; 4]>::try_from(&*earlier).map_or(0, u32::from_be_bytes);
        earlier.copy_from_slice(&known.saturating_add(by).to_be_bytes());
        at += RECORD + length;
    }
}

/// Iterates over the records of a checked buffer.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a>(pub &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let (prefix, rest) = self.0.split_first_chunk::<RECORD>()?;
        let [high, low, earlier @ ..] = *prefix;
        let (payload, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
        self.0 = rest;
        Some(Record { payload, earlier: u32::from_be_bytes(earlier) })
    }
}

/// Checks the records. Returns their number and the greatest `earlier`.
fn check(records: &[u8]) -> Result<(u32, u32), DecodeError> {
    let (mut at, mut count, mut earliest) = (0, 0, 0);
    while at < records.len() {
        let Some([high, low, earlier @ ..]) = records.get(at..at + RECORD) else {
            return Err(DecodeError::Truncated { at });
        };
        earliest = earliest.max(<[u8; 4]>::try_from(earlier).map_or(0, u32::from_be_bytes));
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length > MAX_PAYLOAD {
            return Err(DecodeError::TooLong { found: length, limit: MAX_PAYLOAD });
        }
        (at, count) = (at + RECORD + length, count + 1);
    }
    match count {
        _ if at > records.len() => Err(DecodeError::Truncated { at: records.len() }),
        0 => Err(DecodeError::Shape("a parcel without a message".into())),
        count if count as usize > MAX_MESSAGES => {
            Err(DecodeError::Shape(format!("a parcel of more than {MAX_MESSAGES} messages")))
        }
        count => Ok((count, earliest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        let stream = StreamId([1; 16]);
        let reply = vec![Handle([2; 16])];
        Head { stream, floor: 1, base: 7, sent: 5, ack: Ack::End, reply, lifetime: 9, error: Some(4), push_only: false }
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_out(payloads in proptest::collection::vec(proptest::collection::vec(0u8.., 0..300), 1..40)) {
            let mut records = Vec::new();
            for (at, payload) in payloads.iter().enumerate() {
                put_record(&mut records, at as u32, payload);
            }
            shorten(&mut records, 5);
            let mut plain = Vec::new();
            Parcel::put(&head(), &records, &mut plain);
            prop_assert_eq!(plain[0], PLAIN_PARCEL);
            let parcel = Parcel::parse(&plain[1..]).expect("sound");
            prop_assert_eq!((&parcel.head, parcel.count as usize), (&head(), payloads.len()));
            let back: Vec<(Vec<u8>, u32)> = Records(parcel.records).map(|r| (r.payload.to_vec(), r.earlier - 5)).collect();
            prop_assert_eq!(back, payloads.into_iter().zip(0..).collect::<Vec<_>>());
        }

        /// Invariant 1.
        #[test]
        fn a_cut_parcel_is_refused(cut in 1usize..20) {
            let (mut records, mut plain) = (Vec::new(), Vec::new());
            put_record(&mut records, 0, &[3; 20]);
            Parcel::put(&head(), &records, &mut plain);
            prop_assert!(Parcel::parse(&plain[1..plain.len() - cut]).is_err());
        }
    }

    /// Invariant 1.
    #[test]
    fn bounds_are_kept() {
        let mut plain = Vec::new();
        Parcel::put(&head(), &[], &mut plain);
        assert!(Parcel::parse(&plain[1..]).is_err(), "nothing in it");
        let mut long = (MAX_PAYLOAD as u16 + 1).to_be_bytes().to_vec();
        long.resize(RECORD + MAX_PAYLOAD + 1, 0);
        assert!(matches!(check(&long), Err(DecodeError::TooLong { .. })));
        let many: Vec<u8> = core::iter::repeat_n([0; RECORD], MAX_MESSAGES + 1).flatten().collect();
        assert!(check(&many).is_err() && check(&many[RECORD..]).is_ok());
    }
}
