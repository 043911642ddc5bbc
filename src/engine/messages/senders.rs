//! Streams by sender: of whom a stream, and with it what is known of its duplicates, is forgotten when there are too many.

use crate::engine::messages::inbox::MAX_STREAMS;
use crate::id::{Name, StreamId};
use crate::share::Shares;
use crate::time::Unix;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Senders(Shares<StreamId, Name>);

impl Default for Senders {
    fn default() -> Self {
        Self(Shares::new(MAX_STREAMS))
    }
}

impl Senders {
    /// Streams as they lie on disk, with when each last brought something.
    pub(in crate::engine) fn load<'a>(streams: impl Iterator<Item = (Unix, StreamId, &'a Name)>) -> Self {
        let mut heard: Vec<_> = streams.collect();
        heard.sort();
        let mut senders = Self::default();
        for (_, stream, from) in heard {
            senders.heard(from, stream);
        }
        senders
    }

    /// A stream brings something. Answers which is to be forgotten for it, if one is.
    pub(in crate::engine) fn heard(&mut self, from: &Name, stream: StreamId) -> Option<StreamId> {
        self.0.enter(from.clone(), stream)
    }
}
