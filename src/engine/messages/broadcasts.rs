//! Broadcasts: messages to all devices, which are put into the inbox of this one.
//!
//! They come as publications, and are taken at most once, as these are. Each is in a stream of its own, since its sender counts none
//! for this device.

use crate::counter::Counter;
use crate::engine::api::{InboxRecord, Published};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::store::{Table, Write};
use crate::id::StreamId;
use crate::wire;
use crate::wire::parcel::put_record;
use rand_chacha::rand_core::Rng;
use std::borrow::Cow;

impl Messages {
    /// Puts a broadcast into the inbox.
    pub(in crate::engine) fn take_broadcast(&mut self, core: &mut Core, published: Published) {
        let Published { payload, from: Some(from), sent, sent_error, .. } = published else { return };
        if core.settings.push_only {
            return core.count(Counter::PushOnlyTurnedDown, 1);
        }
        let mut records = Vec::new();
        put_record(&mut records, 0, &payload);
        if self.inbox.is_full(&from, 1, records.len()) {
            return core.count(Counter::InboxFull, 1);
        }
        let mut stream = [0; StreamId::LEN];
        core.rng.fill_bytes(&mut stream);
        let record = InboxRecord {
            first: self.inbox.last + 1,
            from,
            stream: StreamId(stream),
            base: 1,
            sent,
            received: core.now.unix,
            records: Cow::Owned(records),
            blob: None,
            sent_error,
        };
        self.inbox.last = record.last();
        self.inbox.enter(&record);
        self.inbox.grown = true;
        let key = record.first.to_be_bytes().to_vec();
        core.journal.write(Write::Put { table: Table::Inbox, key, value: wire::encode(&record) });
    }
}
