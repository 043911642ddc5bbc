//! What bytes on a wire are for, by the stream that they are on.
//!
//! A stream of libp2p begins with the name of its protocol (multistream-select); the first stream of a connection, on
//! which admission talks, does not. What comes before a protocol is known counts as admission: it sets something up.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

/// What bytes are for. Their numbers are places in [`PURPOSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Messages and receipts, publications and what is told about them.
    Payload = 0,
    /// Keeps the mesh running.
    Routing = 1,
    /// Sets connections up.
    Admission = 2,
}

/// Names, in their order.
pub const PURPOSES: [&str; 3] = ["payload", "routing", "admission"];

/// Finds out what a stream is for; both directions share it.
pub struct Classifier {
    known: AtomicU8,
    /// What its opener has said so far.
    head: Mutex<Vec<u8>>,
}

impl Classifier {
    /// Of a fresh stream.
    pub fn new() -> Self {
        Self { known: AtomicU8::new(UNKNOWN), head: Mutex::new(Vec::new()) }
    }

    /// What bytes are for that are written now. Answers also whether that has become known with them.
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

    /// What it is for, once known.
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

/// How every stream of libp2p begins.
const MULTISTREAM: &[u8] = b"\x13/multistream/1.0.0\n";
/// Within so many bytes a stream has said its name.
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
