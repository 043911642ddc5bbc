//! Framing: line frames on a line of octets, delimited and stuffed as in RFC 1662, with its 32-bit frame check sequence.
//!
//! ```text
//! 7e | stuffed (body | crc:4, little-endian) | 7e
//! ```
//!
//! Within a frame the octets [`FLAG`], [`ESCAPE`], XON and XOFF are written as [`ESCAPE`] and the octet with bit 5
//! inverted. The check sequence is CRC-32 (ISO-HDLC), over the body before stuffing.
//!
//! Why not COBS: it costs less where octets are chosen by an adversary, but it knows one special octet only. Many lines
//! and modems have software flow control, which takes XON and XOFF out of the stream. What is sent is sealed and so
//! looks random, of which stuffing makes 1.6 % more.
//!
//! Invariants
//! 1. What is read is a frame that was written, or fails the check: noise before, between and within frames is skipped
//!    and counted, and the first flag after it ends it.
//! 2. At most [`MAX_BODY`] octets and the check sequence are kept, whatever comes.

/// Begins and ends a frame.
const FLAG: u8 = 0x7e;
/// Begins an escaped octet; before a flag it aborts a frame.
const ESCAPE: u8 = 0x7d;
/// What is inverted in an escaped octet.
const INVERTED: u8 = 0x20;
/// What software flow control takes out of the stream: XON and XOFF.
const FLOW: [u8; 2] = [0x11, 0x13];
/// Bytes of the check sequence.
pub const CHECK: usize = 4;
/// Bytes of a frame on the line besides its body, before stuffing: the flags and the check sequence.
pub const OVERHEAD: usize = 2 + CHECK;
/// The longest body of a frame that is taken.
pub const MAX_BODY: usize = super::MAX_MTU - OVERHEAD;

/// Appends a frame with this body.
pub fn write(body: &[u8], out: &mut Vec<u8>) {
    let check = crc32fast::hash(body).to_le_bytes();
    out.push(FLAG);
    for octet in body.iter().chain(&check) {
        if *octet == FLAG || *octet == ESCAPE || FLOW.contains(octet) {
            out.extend_from_slice(&[ESCAPE, octet ^ INVERTED]);
        } else {
            out.push(*octet);
        }
    }
    out.push(FLAG);
}

/// Finds frames among octets. See the module's documentation.
#[derive(Debug, Default)]
pub struct Deframer {
    body: Vec<u8>,
    state: State,
    /// Octets that belong to no frame.
    pub noise: u64,
    /// Frames whose check failed.
    pub corrupt: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first flag, or after what was too long.
    #[default]
    Outside,
    Within,
    Escaped,
}

impl Deframer {
    /// Takes one octet. Returns the body of the frame that it ends.
    pub fn push(&mut self, octet: u8) -> Option<Vec<u8>> {
        match (self.state, octet) {
            (State::Escaped, FLAG) => {
                // Aborted: the sender takes back what it has begun.
                self.skip(1);
                self.state = State::Within;
            }
            (State::Within, FLAG) => return self.end(),
            (State::Outside, FLAG) => self.state = State::Within,
            (State::Outside, _) => self.noise += 1,
            (_, XON | XOFF) => {}
            (State::Within, ESCAPE) => self.state = State::Escaped,
            (State::Within, _) => self.keep(octet),
            (State::Escaped, _) => {
                self.state = State::Within;
                self.keep(octet ^ INVERTED);
            }
        }
        None
    }

    /// Forgets what has been begun: the line is another one.
    pub fn reset(&mut self) {
        self.skip(0);
        self.state = State::Outside;
    }

    fn keep(&mut self, octet: u8) {
        self.body.push(octet);
        if self.body.len() > MAX_BODY + CHECK {
            self.skip(0);
            self.state = State::Outside;
        }
    }

    fn skip(&mut self, more: u64) {
        self.noise += self.body.len() as u64 + more;
        self.body.clear();
    }

    fn end(&mut self) -> Option<Vec<u8>> {
        let Some((body, check)) = self.body.split_last_chunk::<CHECK>().filter(|(body, _)| !body.is_empty()) else {
            self.skip(0);
            return None;
        };
        if crc32fast::hash(body).to_le_bytes() != *check {
            self.corrupt += 1;
            self.skip(0);
            return None;
        }
        let mut body = core::mem::take(&mut self.body);
        body.truncate(body.len() - CHECK);
        Some(body)
    }
}

const XON: u8 = FLOW[0];
const XOFF: u8 = FLOW[1];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames(deframer: &mut Deframer, octets: &[u8]) -> Vec<Vec<u8>> {
        octets.iter().filter_map(|octet| deframer.push(*octet)).collect()
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write(body, &mut out);
        out
    }

    #[test]
    fn the_check_is_that_of_rfc_1662_and_special_octets_are_stuffed() {
        // The check value of CRC-32/ISO-HDLC.
        assert_eq!(framed(b"123456789")[10..14], 0xcbf4_3926_u32.to_le_bytes());
        let octets = framed(&[0x7e, 0x7d, 0x11, 0x13, 0x20]);
        assert!(octets.starts_with(&[0x7e, 0x7d, 0x5e, 0x7d, 0x5d, 0x7d, 0x31, 0x7d, 0x33, 0x20]));
        // Flow control that comes in between is not part of the frame.
        let mut with = octets.clone();
        with.insert(3, 0x13);
        with.insert(6, 0x11);
        let mut deframer = Deframer::default();
        assert_eq!(frames(&mut deframer, &with), [[0x7e, 0x7d, 0x11, 0x13, 0x20]]);
        assert_eq!((deframer.noise, deframer.corrupt), (0, 0));
    }

    /// Invariant 1.
    #[test]
    fn noise_half_frames_and_changed_ones_are_skipped_and_counted() {
        let mut deframer = Deframer::default();
        assert_eq!(frames(&mut deframer, b"U-Boot 2026.07 starting\r\n"), Vec::<Vec<u8>>::new());
        assert_eq!(deframer.noise, 25);
        assert_eq!(frames(&mut deframer, &framed(b"one")), [b"one"]);
        let half = &framed(b"a frame that breaks off")[..9];
        let after = [half, &framed(b"two")].concat();
        assert_eq!(frames(&mut deframer, &after), [b"two"]);
        assert_eq!((deframer.noise, deframer.corrupt), (25 + 8, 1));
        let mut changed = framed(b"three");
        changed[2] ^= 4;
        assert_eq!(frames(&mut deframer, &[&changed[..], &framed(b"four")].concat()), [b"four"]);
        assert_eq!((deframer.noise, deframer.corrupt), (33 + 9, 2));
        // What is aborted, and what is too short for a frame.
        assert_eq!(frames(&mut deframer, &[FLAG, 1, 2, ESCAPE, FLAG, 1, 2, FLAG, FLAG]), Vec::<Vec<u8>>::new());
        assert_eq!((deframer.noise, deframer.corrupt), (42 + 5, 2));
    }

    /// Invariant 2.
    #[test]
    fn what_never_ends_is_not_kept() {
        let mut deframer = Deframer::default();
        deframer.push(FLAG);
        for _ in 0..3 * MAX_BODY {
            assert_eq!(deframer.push(b'a'), None);
            assert!(deframer.body.len() <= MAX_BODY + CHECK);
        }
        assert_eq!(deframer.noise, 3 * MAX_BODY as u64);
        let longest = vec![7; MAX_BODY];
        assert_eq!(frames(&mut deframer, &framed(&longest)), [longest]);
    }

    proptest! {
        #[test]
        fn every_body_is_read_as_it_was_written(bodies: Vec<Vec<u8>>, noise: Vec<u8>) {
            let mut deframer = Deframer::default();
            let _ = frames(&mut deframer, &noise);
            // The first flag after noise may end what the noise has begun.
            let mut octets = vec![FLAG];
            bodies.iter().for_each(|body| write(body, &mut octets));
            let expected: Vec<_> = bodies.into_iter().filter(|body| !body.is_empty()).collect();
            let read = frames(&mut deframer, &octets);
            prop_assert!(read.ends_with(&expected));
        }
    }
}
