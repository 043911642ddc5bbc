//! Classes: the bytes of a stream of messages by class, which the readable headers of its frames of data state.
//!
//! All fragments of a frame count with the class that the first states. Other frames have no class.

use m2mesh::wire::data::{Class, Header, MAX_HEADER};
use m2mesh::wire::fragment::Fragment;
use m2mesh::wire::frame::{HEADER, Kind};
use std::collections::VecDeque;

/// Bytes by class, most urgent first.
pub type ByClass = [u64; Class::ALL.len()];

/// A follower of the frames of one stream in one direction.
pub struct Sorter {
    /// The number of lines of negotiation still to come, each preceded by its length.
    lines: u32,
    /// The bytes of the present frame from its beginning, until its class is known.
    head: Vec<u8>,
    /// The number of bytes of the present frame, or line, still to come; `None` if its length is not known.
    rest: Option<usize>,
    class: Option<Class>,
    /// The classes of frames in fragments, by their numbers.
    pieces: VecDeque<(u32, Class)>,
}

impl Sorter {
    /// Returns a sorter for a new stream.
    pub fn new() -> Self {
        Self { lines: 2, head: Vec::new(), rest: None, class: None, pieces: VecDeque::new() }
    }

    /// Counts bytes that are written. The overhead that they take on the wire counts with the first class among them.
    pub fn count(&mut self, mut bytes: &[u8], overhead: usize) -> ByClass {
        let mut sums = ByClass::default();
        while let Some((first, others)) = bytes.split_first() {
            match self.rest {
                Some(0) => self.begin(),
                Some(rest) if self.head.is_empty() => {
                    let taken = rest.min(bytes.len());
                    if let Some(class) = self.class {
                        sums[class as usize] += taken as u64;
                    }
                    (self.rest, bytes) = (Some(rest - taken), &bytes[taken..]);
                }
                None if self.lines > 0 => {
                    // Lines are short: one byte of length.
                    self.lines -= 1;
                    (self.rest, bytes) = (Some(usize::from(*first)), others);
                }
                _ => {
                    self.head.push(*first);
                    self.rest = self.rest.map(|rest| rest - 1);
                    bytes = others;
                    self.look(&mut sums);
                }
            }
        }
        if let Some(first) = sums.iter_mut().find(|sum| **sum > 0) {
            *first += overhead as u64;
        }
        sums
    }

    fn begin(&mut self) {
        (self.rest, self.class) = (None, None);
        self.head.clear();
    }

    /// Examines the head, which has grown by a byte: it may now show the class, or that there is none.
    fn look(&mut self, sums: &mut ByClass) {
        if self.rest.is_none() {
            let Some(length) = self.head.first_chunk().filter(|_| self.head.len() == HEADER) else { return };
            self.rest = Some((u32::from_be_bytes(*length) as usize + 4).saturating_sub(HEADER));
        }
        let whole = self.rest == Some(0);
        let told = match self.head.get(4).copied().and_then(Kind::from_u8) {
            Some(Kind::Data) => class_of(&self.head).or_else(|| (whole || self.head.len() > MOST_HEAD).then_some(None)),
            Some(Kind::Fragment) if whole => Some(self.piece()),
            Some(Kind::Fragment) if self.head.len() < MOST_PIECE => None,
            _ => Some(None),
        };
        let Some(class) = told else { return };
        if let Some(class) = class {
            sums[class as usize] += self.head.len() as u64;
        }
        self.class = class;
        self.head.clear();
    }

    /// Returns the class of the fragment in the head.
    fn piece(&mut self) -> Option<Class> {
        let piece: Fragment<'_> = m2mesh::wire::decode(&self.head[HEADER..]).ok()?;
        if piece.piece > 0 {
            return self.pieces.iter().find(|(frame, _)| *frame == piece.frame).map(|(_, class)| *class);
        }
        let class = class_of(piece.bytes).flatten().filter(|_| piece.bytes.get(4) == Some(&(Kind::Data as u8)))?;
        self.pieces.push_back((piece.frame, class));
        if self.pieces.len() > MOST_IN_PIECES {
            self.pieces.pop_front();
        }
        Some(class)
    }
}

/// Returns the class of the beginning of a frame of data: `None` while its header is incomplete, and `Some(None)` if it
/// has no class.
fn class_of(frame: &[u8]) -> Option<Option<Class>> {
    let (length, rest) = frame.get(HEADER..)?.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length > MAX_HEADER {
        return Some(None);
    }
    let header = rest.get(..length)?;
    Some(m2mesh::wire::decode::<Header>(header).ok().map(|header| header.class))
}

/// The number of bytes that contain a frame's header.
const MOST_HEAD: usize = HEADER + 2 + MAX_HEADER;
/// The size of the largest fragment that is examined, in bytes.
const MOST_PIECE: usize = 16 * 1024;
/// The number of frames in fragments at a time on one stream: one of each class, and more. Drop policy: the first begun
/// is forgotten.
const MOST_IN_PIECES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use m2mesh::id::Handle;
    use m2mesh::wire::data::{Form, Policy};
    use m2mesh::wire::{encode, frame};

    fn data(class: Class, length: usize) -> Vec<u8> {
        let header = Header {
            to: Handle([7; Handle::LEN]),
            class,
            form: Form::Session,
            expiry: 1,
            policy: Policy::default(),
            segment: 0,
            mail: None,
        };
        let mut body = Vec::new();
        m2mesh::wire::data::put_prefixed(&mut body, &encode(&header));
        body.resize(body.len() + length, 9);
        frame::raw(Kind::Data, &body)
    }

    #[test]
    fn classes_are_told_apart_whatever_pieces_frames_come_in() {
        let (alarm, bulk, other) = (data(Class::Alarm, 40), data(Class::Bulk, 900), frame::raw(Kind::HopAck, &[1; 30]));
        let halves = [&bulk[..500], &bulk[500..]];
        let pieces = halves.iter().enumerate().map(|(number, bytes)| {
            frame::raw(Kind::Fragment, &encode(&Fragment { frame: 3, piece: number as u16, pieces: 2, bytes }))
        });
        let pieces: Vec<u8> = pieces.flatten().collect();
        let stream = [&b"\x03ab\n\x02c\n"[..], &alarm, &other, &bulk, &pieces, &alarm].concat();
        for size in [1, 5, 64, 10_000] {
            let (mut sorter, mut sums) = (Sorter::new(), ByClass::default());
            for bytes in stream.chunks(size) {
                sums.iter_mut().zip(sorter.count(bytes, 0)).for_each(|(sum, more)| *sum += more);
            }
            assert_eq!(sums, [2 * alarm.len() as u64, 0, 0, (bulk.len() + pieces.len()) as u64], "{size}");
        }
        let mut sorter = Sorter::new();
        sorter.count(b"\x03ab\n\x02c\n", 70);
        assert_eq!(sorter.count(&[other, alarm.clone()].concat(), 70), [alarm.len() as u64 + 70, 0, 0, 0]);
    }
}
