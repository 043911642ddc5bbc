//! Frame: the frames of a stream, `length:u32 (big endian) | kind:u8 | flags:u8 | body`, where `length` counts what
//! follows it.
//!
//! Many frames go into one write. [`Frames`] splits a read buffer without copying; [`begin`] and [`finish`] build
//! a frame in place, so that a body is encoded straight into the buffer that goes to the socket.
//!
//! Of the flags the upper four bits are *required* (a receiver that does not know one refuses the frame), the lower
//! four are hints. Version 1 defines one hint, [`HOP_ACK`].
//!
//! Invariants
//! 1. A frame is never longer than [`MAX_FRAME`]; a stream that announces a longer one is closed.
//! 2. Kinds below 0x40 travel on the control stream, those from 0x40 on the data stream.

/// Longest frame body with kind and flags, in bytes: 64 KiB of sealed messages and 8 KiB of headers.
pub const MAX_FRAME: usize = 72 * 1024;
/// Bytes before the body: length, kind and flags.
pub const HEADER: usize = 6;
/// Flags that a receiver must know, or refuse the frame.
pub const REQUIRED_FLAGS: u8 = 0xf0;

/// Hint on a data frame: the next hop is asked to acknowledge it by a [`Kind::HopAck`].
pub const HOP_ACK: u8 = 0x01;

/// The kind of a frame: what its body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// [`crate::wire::announce::Announce`].
    Announce = 0x01,
    /// [`crate::wire::ping::Ping`].
    Ping = 0x02,
    /// An echoed [`crate::wire::ping::Ping`].
    Pong = 0x03,
    /// [`crate::wire::bulletin::BulletinRequest`].
    BulletinRequest = 0x04,
    /// A signed [`crate::wire::bulletin::Bulletin`].
    Bulletin = 0x05,
    /// [`crate::wire::credential_exchange::CredentialRequest`].
    CredentialRequest = 0x06,
    /// A signed [`crate::wire::credential::Credential`] that was asked for.
    Credential = 0x07,
    /// A signed [`crate::wire::credential::Credential`] that replaces the neighbour's own.
    Refresh = 0x08,
    /// [`crate::wire::enrol_relay::EnrolRelay`].
    EnrolRelay = 0x09,
    /// [`crate::wire::enrol_relay::EnrolAnswer`].
    EnrolAnswer = 0x0a,
    /// [`crate::wire::successor::Successor`].
    Successor = 0x0b,
    /// Signed [`crate::wire::time_beacon::TimeBeacon`].
    TimeBeacon = 0x0c,
    /// [`crate::wire::document::DocumentRequest`].
    DocumentRequest = 0x0d,
    /// [`crate::wire::document::DocumentPiece`].
    DocumentPiece = 0x0e,
    /// [`crate::wire::time_beacon::TimeRequest`].
    TimeRequest = 0x0f,
    /// Signed [`crate::wire::lsa::Lsa`].
    Lsa = 0x10,
    /// [`crate::wire::lsa::LsaDigest`].
    LsaDigest = 0x11,
    /// [`crate::wire::lsa::LsaRequest`].
    LsaRequest = 0x12,
    /// [`crate::wire::locate::Locate`].
    Locate = 0x13,
    /// [`crate::wire::locate::Located`].
    Located = 0x14,
    /// [`crate::wire::witness::Witness`].
    Witness = 0x15,
    /// [`crate::wire::rest::Rest`].
    Rest = 0x16,
    /// [`crate::wire::data::DataFrame`].
    Data = 0x40,
    /// Signed [`crate::wire::receipt::SessionNack`].
    SessionNack = 0x41,
    /// [`crate::wire::receipt::HopAck`].
    HopAck = 0x42,
    /// Signed [`crate::wire::group::GroupFrame`].
    Group = 0x43,
    /// Signed [`crate::wire::custody::Custody`].
    Custody = 0x44,
    /// [`crate::wire::fragment::Fragment`] of a data frame.
    Fragment = 0x45,
    /// [`crate::wire::group_repair::GroupHave`].
    GroupHave = 0x46,
    /// [`crate::wire::group_repair::GroupWant`].
    GroupWant = 0x47,
    /// [`crate::wire::group_repair::Again`] and a signed [`crate::wire::group::GroupFrame`].
    GroupAgain = 0x48,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 31] = [
        Self::Announce,
        Self::Ping,
        Self::Pong,
        Self::BulletinRequest,
        Self::Bulletin,
        Self::CredentialRequest,
        Self::Credential,
        Self::Refresh,
        Self::EnrolRelay,
        Self::EnrolAnswer,
        Self::Successor,
        Self::TimeBeacon,
        Self::DocumentRequest,
        Self::DocumentPiece,
        Self::TimeRequest,
        Self::Lsa,
        Self::LsaDigest,
        Self::LsaRequest,
        Self::Locate,
        Self::Located,
        Self::Witness,
        Self::Rest,
        Self::Data,
        Self::SessionNack,
        Self::HopAck,
        Self::Group,
        Self::Custody,
        Self::Fragment,
        Self::GroupHave,
        Self::GroupWant,
        Self::GroupAgain,
    ];

    /// Returns the kind with a number; `None` for a kind of a later version.
    pub fn from_u8(kind: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u8 == kind)
    }

    /// Whether frames of this kind travel on the control stream.
    pub fn is_control(self) -> bool {
        (self as u8) < 0x40
    }
}

/// One frame in a read buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Number of the frame's kind; see [`Kind::from_u8`].
    pub kind: u8,
    /// The flags, as sent.
    pub flags: u8,
    /// The body, as sent.
    pub body: &'a [u8],
}

/// Why a buffer does not split into frames. The stream that it came from is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame's length is outside 2..=[`MAX_FRAME`].
    #[error("a frame of {0} bytes; a frame has 2 to {MAX_FRAME}")]
    Length(usize),
    /// The buffer ends within a frame.
    #[error("the buffer ends within a frame")]
    Truncated,
}

/// Reads the length prefix and checks it; `None` while fewer than four bytes are there.
pub fn length(buffer: &[u8]) -> Option<Result<usize, FrameError>> {
    let prefix = buffer.first_chunk::<4>()?;
    let length = u32::from_be_bytes(*prefix) as usize;
    Some(if (2..=MAX_FRAME).contains(&length) { Ok(length) } else { Err(FrameError::Length(length)) })
}

/// Splits a buffer of whole frames; ends after the first error.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a>(pub &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = match length(self.0) {
            Some(Ok(length)) if self.0.len() >= 4 + length => length,
            Some(Err(error)) => {
                self.0 = &[];
                return Some(Err(error));
            }
            _ => {
                self.0 = &[];
                return Some(Err(FrameError::Truncated));
            }
        };
        let (frame, rest) = self.0[4..].split_at(length);
        self.0 = rest;
        Some(Ok(Frame { kind: frame[0], flags: frame[1], body: &frame[2..] }))
    }
}

/// Starts a frame in `out`. Returns its place, for [`finish`].
pub fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0, 0, 0, 0, kind as u8, 0]);
    start
}

/// Ends the frame that begins at `start`: writes its length.
pub fn finish(out: &mut [u8], start: usize) {
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Makes a whole frame around an encoded body.
pub fn raw(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + body.len());
    let start = begin(&mut out, kind);
    out.extend_from_slice(body);
    finish(&mut out, start);
    out
}

/// Makes a whole frame around a value, which it encodes.
pub fn of<T: serde::Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 96);
    let start = begin(&mut out, kind);
    super::codec::encode_into(value, &mut out);
    finish(&mut out, start);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_split_as_they_were_joined() {
        let mut buffer = raw(Kind::Ping, b"one");
        buffer.extend(raw(Kind::Data, b""));
        let frames: Result<Vec<_>, _> = Frames(&buffer).collect();
        let frames = frames.expect("whole frames");
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].kind, frames[0].body), (0x02, &b"one"[..]));
        assert_eq!(Kind::from_u8(frames[1].kind), Some(Kind::Data));
    }

    /// Invariant 1.
    #[test]
    fn bad_lengths_end_the_stream() {
        assert_eq!(Frames(&[0, 0, 0, 1, 2]).next(), Some(Err(FrameError::Length(1))));
        assert_eq!(Frames(&[0, 0, 0, 9, 2]).next(), Some(Err(FrameError::Truncated)));
        assert_eq!(Frames(&[0xff, 0, 0, 9, 2]).next(), Some(Err(FrameError::Length(0xff00_0009))));
    }
}
