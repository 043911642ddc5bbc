//! Reading: the application follows its inbox and the event log, and says how far it has come.
//!
//! Readers are told how far there is something for them, once that is durable; they read it from the store themselves.

use super::Engine;
use super::api::{Refused, Reply, Token};

impl Engine {
    /// A consumer reads the inbox: it is told how far that reaches, now and whenever it has grown.
    pub(super) fn read_inbox(&mut self, token: Token, consumer: String, live: bool) {
        match self.inbox.check_consumer(&consumer) {
            Ok(()) => {
                let extent = self.inbox.extent(&consumer);
                self.inbox.watch(token, consumer, live);
                self.journal.defer(token, extent);
            }
            Err(refused) => self.finish(token, Reply::Refused(refused)),
        }
    }

    /// A consumer has behind it what is up to that number; it is told so at once, or when it is durable.
    pub(super) fn consume(&mut self, token: Token, consumer: &str, up_to: u64, durable: bool) {
        match self.inbox.check_consumer(consumer) {
            Ok(()) => {
                let writes = self.inbox.consume(consumer, up_to);
                self.journal.extend(writes);
                match durable {
                    true => self.journal.finish_with(token, Reply::Ready),
                    false => self.finish(token, Reply::Ready),
                }
            }
            Err(refused) => self.finish(token, Reply::Refused(refused)),
        }
    }

    /// Makes a consumer, if there is none of that name.
    pub(super) fn make_consumer(&mut self, token: Token, consumer: &str) {
        match self.inbox.make_consumer(consumer) {
            Ok(writes) => {
                self.journal.extend(writes);
                self.journal.finish_with(token, Reply::Ready);
            }
            Err(refused) => self.finish(token, Reply::Refused(refused)),
        }
    }

    /// Forgets a consumer: nothing stays for it.
    pub(super) fn forget_consumer(&mut self, token: Token, consumer: String) {
        match self.inbox.forget(&consumer) {
            Some(writes) => {
                self.journal.extend(writes);
                self.journal.finish_with(token, Reply::Ready);
            }
            None => self.finish(token, Reply::Refused(Refused::NoSuchConsumer(consumer))),
        }
    }

    /// Tells how far the event log reaches, now and whenever it has grown.
    pub(super) fn follow_log(&mut self, token: Token) {
        self.journal.watch(token);
        let last = self.log.head().last;
        self.journal.defer(token, Reply::Log { last });
    }
}
