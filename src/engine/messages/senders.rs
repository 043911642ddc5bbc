//! Senders: the incoming streams by sender, to decide which stream, with the state of its duplicates, is forgotten when
//! there are too many.

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
    /// Restores the streams of the store, in the order in which each last brought something.
    pub(in crate::engine) fn load<'a>(streams: impl Iterator<Item = (Unix, StreamId, &'a Name)>) -> Self {
        let mut heard: Vec<_> = streams.collect();
        heard.sort();
        let mut senders = Self::default();
        for (_, stream, from) in heard {
            senders.heard(from, stream);
        }
        senders
    }

    /// Notes that a stream has brought something. Returns the stream to be forgotten in exchange, if there are too
    /// many.
    pub(in crate::engine) fn heard(&mut self, from: &Name, stream: StreamId) -> Option<StreamId> {
        self.0.enter(from.clone(), stream)
    }
}
