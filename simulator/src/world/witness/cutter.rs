//! Cutter: whole frames of the bytes that are written to a stream.
//!
//! A stream begins with two lines of multistream-select, each preceded by its length in one byte; frames follow. A
//! frame that was sent in fragments ([`Fragment`]) is put together, so that it looks as it does to the next hop.

use m2mesh::wire;
use m2mesh::wire::fragment::Fragment;
use m2mesh::wire::frame::{HEADER, Kind, MAX_FRAME};
use std::collections::BTreeMap;

/// A cutter of the bytes that one end writes to a stream.
#[derive(Default)]
pub struct Cutter {
    /// The number of lines of negotiation that have passed.
    lines: u32,
    partial: Vec<u8>,
    /// The frames of which fragments have been sent, by their number.
    pieces: BTreeMap<u32, Vec<u8>>,
}

impl Cutter {
    /// Takes bytes that are written, and calls `each` with every frame that they complete: its kind, its bytes with the
    /// head, and the number of bytes that it took on the stream.
    pub fn handle(&mut self, bytes: &[u8], each: &mut dyn FnMut(Kind, &[u8], usize)) {
        self.partial.extend_from_slice(bytes);
        let mut done = 0;
        while let Some(length) = self.whole(done) {
            let frame = done..done + length;
            done += length;
            if self.lines < LINES {
                self.lines += 1;
            } else if let Some(kind) = Kind::from_u8(self.partial[frame.start + 4]) {
                let frame = &self.partial[frame];
                if kind == Kind::Fragment {
                    join(&mut self.pieces, frame, each);
                } else {
                    each(kind, frame, frame.len());
                }
            }
        }
        self.partial.drain(..done);
    }

    /// Returns the length of the line or frame that begins there, if it is complete.
    fn whole(&self, at: usize) -> Option<usize> {
        let rest = &self.partial[at..];
        let length = match self.lines < LINES {
            true => 1 + usize::from(*rest.first()?),
            false => 4 + (u32::from_be_bytes(*rest.first_chunk()?) as usize).max(HEADER - 4),
        };
        (length <= rest.len()).then_some(length)
    }
}

fn join(pieces: &mut BTreeMap<u32, Vec<u8>>, frame: &[u8], each: &mut dyn FnMut(Kind, &[u8], usize)) {
    let Ok(Fragment { frame: number, piece, pieces: all, bytes }) = wire::decode::<Fragment<'_>>(&frame[HEADER..])
    else {
        return;
    };
    if piece == 0 {
        pieces.insert(number, Vec::new());
    }
    let Some(begun) = pieces.get_mut(&number) else { return };
    begun.extend_from_slice(bytes);
    if begun.len() > MAX_FRAME + 4 {
        pieces.remove(&number);
    } else if piece + 1 == all
        && let Some(whole) = pieces.remove(&number)
        && let Some(kind) = whole.get(4).copied().and_then(Kind::from_u8).filter(|_| whole.len() >= HEADER)
    {
        each(kind, &whole, whole.len());
    }
}

/// The number of lines of negotiation on a stream.
const LINES: u32 = 2;
