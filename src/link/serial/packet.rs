//! Packets: the layouts of line frames, and of what is sealed in them.
//!
//! ```text
//! 1 | from:4 | to:4 | message:1 | index:1 | count:1 | piece          a piece of a handshake's message
//! 2 | to:4 | counter:4 | sealed                                     a Noise transport message of a session
//!
//! what is sealed:
//! flags:1 | next:2 | heard:2 | [gaps:4] | [sequence:2 | lane:1 | place:1 | data]     or     80 | reason
//! ```
//!
//! Numbers are big-endian. `from` and `to` are the numbers that the two ends have drawn for a session. `next` is the
//! first sequence number that has not arrived, bit i of `gaps` says that `next + 1 + i` has, and `heard` is the lower
//! half of the counter after the highest that was opened.
//!
//! Invariants
//! 1. Octets of any kind decode to a packet that is encoded by the same octets, or to nothing.

/// Bytes of a handshake piece besides the piece.
pub const PIECE_HEAD: usize = 12;
/// Bytes of a sealed packet besides what is sealed and the tag.
pub const SEALED_HEAD: usize = 9;
/// The most pieces of a message.
pub const MAX_PIECES: usize = 16;
/// The most bytes of what is sealed besides the data of a segment.
pub const SEGMENT_HEAD: usize = 5 + 4 + 4;

const PIECE: u8 = 1;
const SEALED: u8 = 2;

/// A line frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// A piece of a handshake's message.
    Piece(Piece<'a>),
    /// A sealed packet.
    Sealed {
        /// The receiver's number of the session.
        to: u32,
        /// The counter under which it is sealed.
        counter: u32,
        /// The sealed [`Payload`].
        sealed: &'a [u8],
    },
}

/// A piece of a handshake's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The sender's number.
    pub from: u32,
    /// The receiver's number; 0 in the first message.
    pub to: u32,
    /// Which message: 1, 2 or 3.
    pub message: u8,
    /// Which piece, from 0 on.
    pub index: u8,
    /// The number of pieces, at most [`MAX_PIECES`].
    pub count: u8,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// What has arrived at the sender of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledgement {
    /// The first sequence number that has not arrived.
    pub next: u16,
    /// The lower half of the counter after the highest that was opened; 0 before any was.
    pub heard: u16,
    /// Bit i: `next + 1 + i` has arrived.
    pub gaps: u32,
}

/// What is sealed in a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The session goes on.
    Open {
        /// What has arrived.
        acknowledgement: Acknowledgement,
        /// The sender wants to be answered at once.
        asks: bool,
        /// The sender takes no segments now.
        busy: bool,
        /// A segment of a lane.
        segment: Option<Segment<'a>>,
    },
    /// The session has ended.
    Close {
        /// Why, as a number of [`Ending`](super::Ending).
        reason: u8,
    },
}

/// Bytes of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Its place among all segments of the session.
    pub sequence: u16,
    /// The lane that the bytes belong to.
    pub lane: u8,
    /// Its place among the segments of its lane.
    pub place: u8,
    /// The bytes.
    pub data: &'a [u8],
}

const HAS_SEGMENT: u8 = 1;
const HAS_GAPS: u8 = 2;
const ASKS: u8 = 4;
const BUSY: u8 = 8;
const CLOSES: u8 = 0x80;

impl<'a> Packet<'a> {
    /// Decodes the body of a line frame.
    pub fn decode(body: &'a [u8]) -> Option<Self> {
        match body.split_first()? {
            (&PIECE, rest) => {
                let (from, rest) = rest.split_first_chunk()?;
                let (to, rest) = rest.split_first_chunk()?;
                let ([message, index, count], bytes) = rest.split_first_chunk()?;
                let sound = (1..=3).contains(message) && index < count && usize::from(*count) <= MAX_PIECES;
                let (from, to) = (u32::from_be_bytes(*from), u32::from_be_bytes(*to));
                let piece = Piece { from, to, message: *message, index: *index, count: *count, bytes };
                sound.then_some(Self::Piece(piece))
            }
            (&SEALED, rest) => {
                let (to, rest) = rest.split_first_chunk()?;
                let (counter, sealed) = rest.split_first_chunk()?;
                let (to, counter) = (u32::from_be_bytes(*to), u32::from_be_bytes(*counter));
                Some(Self::Sealed { to, counter, sealed })
            }
            _ => None,
        }
    }
}

impl Piece<'_> {
    /// Encodes the body of a line frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(PIECE_HEAD + self.bytes.len());
        out.push(PIECE);
        out.extend_from_slice(&self.from.to_be_bytes());
        out.extend_from_slice(&self.to.to_be_bytes());
        out.extend_from_slice(&[self.message, self.index, self.count]);
        out.extend_from_slice(self.bytes);
        out
    }
}

/// Begins the body of a sealed packet; what is to be sealed follows.
pub fn begin_sealed(to: u32, counter: u32, out: &mut Vec<u8>) {
    out.push(SEALED);
    out.extend_from_slice(&to.to_be_bytes());
    out.extend_from_slice(&counter.to_be_bytes());
}

impl<'a> Payload<'a> {
    /// Decodes what was sealed.
    pub fn decode(plain: &'a [u8]) -> Option<Self> {
        let (flags, rest) = plain.split_first()?;
        if let (&CLOSES, [reason]) = (flags, rest) {
            return Some(Self::Close { reason: *reason });
        }
        if flags & !(HAS_SEGMENT | HAS_GAPS | ASKS | BUSY) != 0 {
            return None;
        }
        let (next, rest) = rest.split_first_chunk()?;
        let (heard, mut rest) = rest.split_first_chunk()?;
        let mut acknowledgement =
            Acknowledgement { next: u16::from_be_bytes(*next), heard: u16::from_be_bytes(*heard), gaps: 0 };
        if flags & HAS_GAPS != 0 {
            let (gaps, after) = rest.split_first_chunk()?;
            (acknowledgement.gaps, rest) = (u32::from_be_bytes(*gaps), after);
            if acknowledgement.gaps == 0 {
                return None;
            }
        }
        let segment = match flags & HAS_SEGMENT {
            0 if rest.is_empty() => None,
            0 => return None,
            _ => {
                let (sequence, rest) = rest.split_first_chunk()?;
                let ([lane, place], data) = rest.split_first_chunk()?;
                Some(Segment { sequence: u16::from_be_bytes(*sequence), lane: *lane, place: *place, data })
            }
        };
        Some(Self::Open { acknowledgement, asks: flags & ASKS != 0, busy: flags & BUSY != 0, segment })
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Close { reason } => out.extend_from_slice(&[CLOSES, *reason]),
            Self::Open { acknowledgement: Acknowledgement { next, heard, gaps }, asks, busy, segment } => {
                let flag = |is: bool, flag| if is { flag } else { 0 };
                out.push(
                    flag(segment.is_some(), HAS_SEGMENT)
                        | flag(*gaps != 0, HAS_GAPS)
                        | flag(*asks, ASKS)
                        | flag(*busy, BUSY),
                );
                out.extend_from_slice(&next.to_be_bytes());
                out.extend_from_slice(&heard.to_be_bytes());
                if *gaps != 0 {
                    out.extend_from_slice(&gaps.to_be_bytes());
                }
                if let Some(Segment { sequence, lane, place, data }) = segment {
                    out.extend_from_slice(&sequence.to_be_bytes());
                    out.extend_from_slice(&[*lane, *place]);
                    out.extend_from_slice(data);
                }
            }
        }
    }
}

/// Makes an encoded payload ask.
pub fn ask(payload: &mut [u8]) {
    if let Some(flags) = payload.first_mut() {
        *flags |= ASKS;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn again(body: &[u8]) -> Option<Vec<u8>> {
        Packet::decode(body).map(|packet| match packet {
            Packet::Piece(piece) => piece.encode(),
            Packet::Sealed { to, counter, sealed } => {
                let mut out = Vec::new();
                begin_sealed(to, counter, &mut out);
                out.extend_from_slice(sealed);
                out
            }
        })
    }

    #[test]
    fn packets_have_the_layout_that_is_written_down() {
        let piece = Piece { from: 0x0102_0304, to: 5, message: 2, index: 1, count: 3, bytes: b"xy" };
        assert_eq!(piece.encode(), [1, 1, 2, 3, 4, 0, 0, 0, 5, 2, 1, 3, b'x', b'y']);
        let acknowledgement = Acknowledgement { next: 0x0102, heard: 0x0304, gaps: 6 };
        let segment = Some(Segment { sequence: 7, lane: 4, place: 9, data: b"z" });
        let mut out = Vec::new();
        let payload = Payload::Open { acknowledgement, asks: true, busy: false, segment };
        payload.encode(&mut out);
        assert_eq!(out, [7, 1, 2, 3, 4, 0, 0, 0, 6, 0, 7, 4, 9, b'z']);
        assert_eq!(Payload::decode(&out), Some(payload));
        assert_eq!(out.len(), SEGMENT_HEAD + 1);
        for wrong in [&[1, 0, 0, 0, 1, 0, 0, 0, 0, 4, 0, 1][..], &[1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1], &[3, 1], &[]] {
            assert_eq!(Packet::decode(wrong), None);
        }
    }

    proptest! {
        /// Invariant 1.
        #[test]
        fn what_decodes_is_encoded_by_the_same_octets(mut octets: Vec<u8>, kind in 0_u8..4) {
            octets.insert(0, kind);
            if let Some(same) = again(&octets) {
                prop_assert_eq!(&same, &octets);
            }
            octets[0] = kind * 5;
            if let Some(payload) = Payload::decode(&octets) {
                let mut same = Vec::new();
                payload.encode(&mut same);
                prop_assert_eq!(same, octets);
            }
        }
    }
}
