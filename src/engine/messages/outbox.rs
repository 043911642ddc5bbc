//! The outbox: outgoing messages that must survive a restart.
//!
//! Invariants
//! 1. A message that has ended is not sent again by a later process.

use crate::counter::Counter;
use crate::delivery::persisted::KeptRecord;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::sender::Sender;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::wire;
use crate::wire::batch::Purpose;

impl Messages {
    /// Restores the messages that an earlier process has left to be sent, except those that have ended.
    pub(in crate::engine) fn restore_outgoing(&mut self, core: &mut Core, store: &dyn Read) -> Result<(), ReadError> {
        let mut damaged = 0;
        store.scan(Table::Outbox, &[], &mut |_, value| {
            let Ok(record) = wire::decode::<KeptRecord<'_>>(value) else {
                damaged += 1;
                return true;
            };
            let to = record.to.clone();
            let Self { outcomes, named_requests: requests, sends, .. } = &mut *self;
            sends.restore(record, core.now, &mut |message| {
                if let Some(id) = message.id {
                    if outcomes.has_ended(&id) || requests.has_response(&id) {
                        return None;
                    }
                    outcomes.opened(id);
                }
                if message.purpose == Some(Purpose::Request) {
                    let token = message.id.and_then(|id| requests.token_of(&id))?;
                    return Some(Sender::Request(token, to.clone()));
                }
                Some(if message.purpose.is_some() { Sender::Answer } else { Sender::Message(None, to.clone()) })
            });
            true
        })?;
        core.count(Counter::OutgoingDamaged, damaged);
        Ok(())
    }

    /// Adds to the commit what has changed of the outgoing messages that must survive a restart, and of the outcomes of
    /// named ones.
    pub(in crate::engine) fn write_outgoing(&mut self, core: &mut Core) {
        for (key, value) in self.sends.poll_writes() {
            core.journal.write(match value {
                Some(value) => Write::Put { table: Table::Outbox, key, value },
                None => Write::Delete { table: Table::Outbox, key },
            });
        }
        let (writes, forgotten) = self.outcomes.poll_writes();
        core.journal.extend(writes);
        core.count(Counter::OutcomesForgotten, forgotten);
    }
}
