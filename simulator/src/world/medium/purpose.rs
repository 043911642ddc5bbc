//! Purpose: the purpose of the bytes on a wire, which follows from their stream.
//!
//! A stream of libp2p begins with the name of its protocol (multistream-select), except the first stream of a
//! connection, which admission uses. Bytes before the protocol is known count as admission, since they belong to a
//! set-up.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

/// The purpose of bytes. The numbers are indices into [`PURPOSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Messages and receipts, publications and their repair.
    Payload = 0,
    /// Control frames between established neighbours.
    Routing = 1,
    /// The set-up of connections.
    Admission = 2,
}

/// The names of the purposes, in their order.
pub const PURPOSES: [&str; 3] = ["payload", "routing", "admission"];

/// A classifier, which finds out the purpose of a stream; both directions share it.
pub struct Classifier {
    known: AtomicU8,
    /// The bytes that its opener has sent so far.
    head: Mutex<Vec<u8>>,
}

impl Classifier {
    /// Returns a classifier of a new stream.
    pub fn new() -> Self {
        Self { known: AtomicU8::new(UNKNOWN), head: Mutex::new(Vec::new()) }
    }

    /// Returns the purpose of bytes that are written now, and whether it has become known with them.
    pub fn classify(&self, by_opener: bool, bytes: &[u8]) -> (Purpose, bool) {
        match self.known.load(Relaxed) {
            0 => return (Purpose::Payload, false),
            1 => return (Purpose::Routing, false),
            2 => return (Purpose::Admission, false),
            _ => {}
        }
        if !by_opener {
            return (Purpose::Admission, false);
        }
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        head.extend_from_slice(&bytes[..bytes.len().min(MOST_HEAD)]);
        let found = find(&head);
        if let Some(found) = found {
            self.known.store(found as u8, Relaxed);
            *head = Vec::new();
        }
        (found.unwrap_or(Purpose::Admission), found.is_some())
    }

    /// Returns the purpose, once it is known.
    pub fn known(&self) -> Option<Purpose> {
        match self.known.load(Relaxed) {
            0 => Some(Purpose::Payload),
            1 => Some(Purpose::Routing),
            2 => Some(Purpose::Admission),
            _ => None,
        }
    }
}

fn find(head: &[u8]) -> Option<Purpose> {
    let common = head.len().min(MULTISTREAM.len());
    if head[..common] != MULTISTREAM[..common] {
        return Some(Purpose::Admission);
    }
    let names = [(&b"/m2mesh/1/data\n"[..], Purpose::Payload), (&b"/m2mesh/1/control\n"[..], Purpose::Routing)];
    let named = names.iter().find(|(name, _)| head.windows(name.len()).any(|part| part == *name));
    match named {
        Some((_, purpose)) => Some(*purpose),
        None if head.len() >= MOST_HEAD => Some(Purpose::Admission),
        None => None,
    }
}

/// The first bytes of every stream of libp2p.
const MULTISTREAM: &[u8] = b"\x13/multistream/1.0.0\n";
/// The number of bytes within which a stream has stated its protocol.
const MOST_HEAD: usize = 256;
const UNKNOWN: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_known_by_its_name_whatever_pieces_that_comes_in() {
        let stream = Classifier::new();
        assert_eq!(stream.classify(true, b"\x13/multistream/1.0.0\n"), (Purpose::Admission, false));
        assert_eq!(stream.classify(false, b"\x13/multistream/1.0.0\n"), (Purpose::Admission, false));
        assert_eq!(stream.classify(true, b"\x0f/m2mesh/1/da"), (Purpose::Admission, false));
        assert_eq!(stream.classify(true, b"ta\n"), (Purpose::Payload, true));
        assert_eq!(stream.classify(false, b"anything"), (Purpose::Payload, false));
        assert_eq!(Classifier::new().classify(true, b"\x01\x02hello"), (Purpose::Admission, true));
    }
}
