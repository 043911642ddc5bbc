//! Reading: the application follows its inbox and the event log, and reports how far it has consumed them.
//!
//! Readers are told how far there is something for them to read, once it is durable; they read it from the store
//! themselves.

use crate::engine::api::{Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;

impl Messages {
    /// Begins to report to a consumer how far the inbox reaches, now and whenever it has grown.
    pub(in crate::engine) fn read_inbox(&mut self, core: &mut Core, token: Token, consumer: String, live: bool) {
        match self.inbox.check_consumer(&consumer) {
            Ok(()) => {
                let extent = self.inbox.extent(&consumer);
                self.inbox.watch(token, consumer, live);
                core.journal.defer(token, extent);
            }
            Err(refused) => core.finish(token, Reply::Refused(refused)),
        }
    }

    /// Notes that a consumer has consumed every message up to a number. The consumer is answered at once, or, if
    /// `durable`, when that is on disk.
    pub(in crate::engine) fn consume(
        &mut self,
        core: &mut Core,
        token: Token,
        consumer: &str,
        up_to: u64,
        durable: bool,
    ) {
        match self.inbox.check_consumer(consumer) {
            Ok(()) => {
                let writes = self.inbox.consume(consumer, up_to);
                core.journal.extend(writes);
                self.let_blobs_go(core);
                match durable {
                    true => core.journal.finish_with(token, Reply::Ready),
                    false => core.finish(token, Reply::Ready),
                }
            }
            Err(refused) => core.finish(token, Reply::Refused(refused)),
        }
    }

    /// Makes a consumer, unless one of that name exists.
    pub(in crate::engine) fn make_consumer(&mut self, core: &mut Core, token: Token, consumer: &str) {
        match self.inbox.make_consumer(consumer) {
            Ok(writes) => {
                core.journal.extend(writes);
                core.journal.finish_with(token, Reply::Ready);
            }
            Err(refused) => core.finish(token, Reply::Refused(refused)),
        }
    }

    /// Forgets a consumer: no message is kept for it any more.
    pub(in crate::engine) fn forget_consumer(&mut self, core: &mut Core, token: Token, consumer: String) {
        match self.inbox.forget(&consumer) {
            Some(writes) => {
                core.journal.extend(writes);
                self.let_blobs_go(core);
                core.journal.finish_with(token, Reply::Ready);
            }
            None => core.finish(token, Reply::Refused(Refused::NoSuchConsumer(consumer))),
        }
    }

    /// Begins to report how far the event log reaches, now and whenever it has grown.
    pub(in crate::engine) fn follow_log(&mut self, core: &mut Core, token: Token) {
        core.journal.watch(token);
        let last = core.log.head().last;
        core.journal.defer(token, Reply::Log { last });
    }
}
