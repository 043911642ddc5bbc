//! Kinds: the bytes of control streams by kind of frame, with the overhead of the packets that carry them.

use m2mesh::wire::frame::{HEADER, Kind};
use std::collections::BTreeMap;

/// The bytes, and the number of frames, by kind of frame.
pub type Kinds = BTreeMap<String, (u64, u64)>;

/// A follower of the frames of one stream in one direction.
pub struct Follower {
    /// The number of lines of negotiation still to come, each preceded by its length.
    lines: u32,
    head: Vec<u8>,
    /// The number of bytes of the present frame, or line, still to come.
    rest: usize,
    kind: Option<u8>,
}

impl Follower {
    /// Returns a follower of a new stream.
    pub fn new() -> Self {
        Self { lines: 2, head: Vec::new(), rest: 0, kind: None }
    }

    /// Counts bytes that are written, with the overhead that they take on the wire.
    pub fn count(&mut self, mut bytes: &[u8], overhead: usize, kinds: &mut Kinds) {
        let mut overhead = overhead as u64;
        while !bytes.is_empty() {
            let (taken, begun) = self.take(bytes);
            bytes = &bytes[taken..];
            let kind = self.kind.and_then(Kind::from_u8);
            let name = kind.map_or_else(|| "negotiation".to_owned(), |kind| format!("{kind:?}").to_lowercase());
            let (sum, frames) = kinds.entry(name).or_default();
            *sum += taken as u64 + std::mem::take(&mut overhead);
            *frames += u64::from(begun);
        }
    }

    /// Takes the bytes that belong together: returns their number, and whether a frame begins with them.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.rest > 0 {
            let taken = self.rest.min(bytes.len());
            self.rest -= taken;
            return (taken, false);
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            if self.lines > 0 {
                // Lines are short: one byte of length.
                self.lines -= 1;
                self.rest = usize::from(*byte);
                self.head.clear();
                return (at + 1, false);
            }
            if self.head.len() == HEADER {
                let length = self.head.first_chunk().map_or(0, |length| u32::from_be_bytes(*length)) as usize;
                self.kind = self.head.get(4).copied();
                self.rest = (length + 4).saturating_sub(HEADER);
                self.head.clear();
                return (at + 1, true);
            }
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use m2mesh::wire::frame;

    #[test]
    fn frames_are_told_apart_whatever_pieces_they_come_in() {
        let stream =
            [&b"\x03ab\n\x02c\n"[..], &frame::raw(Kind::Ping, b"12345678"), &frame::raw(Kind::Lsa, &[7; 300])].concat();
        for piece in [1, 5, 1_000] {
            let (mut follower, mut kinds) = (Follower::new(), Kinds::new());
            stream.chunks(piece).for_each(|bytes| follower.count(bytes, 0, &mut kinds));
            // The head of a frame that comes in pieces counts with the one before.
            assert_eq!(kinds.values().map(|(bytes, _)| *bytes).sum::<u64>(), stream.len() as u64, "{piece}");
            assert_eq!((kinds["ping"].1, kinds["lsa"].1), (1, 1), "{piece}");
        }
    }
}
