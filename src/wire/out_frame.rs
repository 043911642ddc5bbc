//! Out frame: a whole frame to be sent, in two parts, of which the second may be shared with the buffer that it was
//! read into.
//!
//! The part of a frame that a relay changes precedes the part that it forwards unchanged. So it makes a new *head*, and
//! the *tail* stays where it was read: a reference to it goes to the socket. A short tail is copied, which costs less
//! than a write of its own and does not keep a whole buffer in memory.
//!
//! Invariants
//! 1. Head and tail together are the frame; the head holds at least the bytes before the body.
//! 2. A tail is empty, or at least [`SHARED`] bytes long.

use super::frame::HEADER;
use bytes::Bytes;

/// Tails of at least this length, in bytes, are shared.
pub const SHARED: usize = 16 * 1024;

/// A frame to be sent. See the module's documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutFrame {
    head: Vec<u8>,
    tail: Bytes,
}

impl OutFrame {
    /// Makes a frame of a head, begun by [`frame::begin`](super::frame::begin), and a part of the buffer `whole` that
    /// follows it. Writes the frame's length.
    pub fn around(mut head: Vec<u8>, whole: &Bytes, part: &[u8]) -> Self {
        let length = u32::try_from(head.len() + part.len() - 4).unwrap_or(u32::MAX);
        head[..4].copy_from_slice(&length.to_be_bytes());
        let (within, of) = (whole.as_ptr_range(), part.as_ptr_range());
        if part.len() >= SHARED && within.start <= of.start && of.end <= within.end {
            return Self { head, tail: whole.slice_ref(part) };
        }
        head.extend_from_slice(part);
        Self { head, tail: Bytes::new() }
    }

    /// Bytes of the frame.
    pub fn len(&self) -> usize {
        self.head.len() + self.tail.len()
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The head, which was made for this frame.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The tail, which follows the head.
    pub fn tail(&self) -> &Bytes {
        &self.tail
    }

    /// Returns head and tail in one buffer; a tail is copied.
    pub fn into_vec(self) -> Vec<u8> {
        let mut whole = self.head;
        whole.extend_from_slice(&self.tail);
        whole
    }
}

/// Takes a frame that was made here as a whole; the body of a long one is shared from here on.
impl From<Vec<u8>> for OutFrame {
    fn from(frame: Vec<u8>) -> Self {
        if frame.len() < HEADER + SHARED {
            return Self { head: frame, tail: Bytes::new() };
        }
        let head = frame[..HEADER].to_vec();
        Self { head, tail: Bytes::from(frame).slice(HEADER..) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{Kind, begin, raw};

    /// Invariants 1 and 2.
    #[test]
    fn a_long_tail_is_shared_and_a_short_one_copied() {
        let whole = Bytes::from(vec![7; 3 * SHARED]);
        for (length, shared) in [(0, 0), (SHARED - 1, 0), (SHARED, SHARED), (2 * SHARED, 2 * SHARED)] {
            let mut head = Vec::new();
            begin(&mut head, Kind::Data);
            head.extend_from_slice(b"path");
            let frame = OutFrame::around(head, &whole, &whole[9..9 + length]);
            assert_eq!(frame.tail().len(), shared);
            assert!(shared == 0 || frame.tail().as_ptr() == whole[9..].as_ptr(), "it lies where it lay");
            let body = [b"path", &whole[..length]].concat();
            assert_eq!((frame.len(), frame.into_vec()), (6 + body.len(), raw(Kind::Data, &body)));
        }
    }

    #[test]
    fn what_is_not_of_the_buffer_is_copied() {
        let (whole, other) = (Bytes::from(vec![7; SHARED]), vec![8; SHARED]);
        let mut head = Vec::new();
        begin(&mut head, Kind::Data);
        let frame = OutFrame::around(head, &whole, &other);
        assert!(frame.tail().is_empty());
        assert_eq!(frame.into_vec(), raw(Kind::Data, &other));
    }

    #[test]
    fn a_long_frame_is_shared_from_its_body_on() {
        for length in [0, 100, SHARED, 4 * SHARED] {
            let frame = raw(Kind::Data, &vec![9; length]);
            let out = OutFrame::from(frame.clone());
            assert_eq!(out.tail().is_empty(), length < SHARED);
            assert_eq!(out.into_vec(), frame);
        }
    }
}
