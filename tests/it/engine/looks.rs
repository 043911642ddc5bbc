//! What is seen of a mesh: what lies durably on its disks, what its nodes have counted and said.

use super::mesh::Mesh;
use m2mesh::counter::Counter;
use m2mesh::engine::api::{InboxMessage, InboxRecord, Reply, Token};
use m2mesh::engine::store::{Read, Table};
use m2mesh::event_log::{Event, Logged, Record};

impl Mesh {
    /// What a node's event log holds durably.
    pub fn log(&self, at: usize) -> Vec<Logged> {
        let mut events = Vec::new();
        let read = self.nodes[at].disk.scan(Table::Log, &[], &mut |_, raw| {
            events.push(Record::decode(raw).expect("its own record").event);
            true
        });
        read.expect("readable");
        events
    }

    /// The events in it.
    pub fn events(&self, at: usize) -> Vec<Event> {
        let known = |logged| match logged {
            Logged::Known(event) => Some(event),
            _ => None,
        };
        self.log(at).into_iter().filter_map(known).collect()
    }

    /// Messages that lie durably in a node's inbox.
    pub fn inbox(&self, at: usize) -> Vec<InboxMessage> {
        let mut messages = Vec::new();
        let read = self.nodes[at].disk.scan(Table::Inbox, &[], &mut |_, value| {
            let record: InboxRecord<'_> = m2mesh::wire::decode(value).expect("an inbox record");
            messages.extend(record.messages());
            true
        });
        read.expect("readable");
        messages
    }

    /// How many mails lie durably on a node's disk.
    pub fn mails(&self, at: usize) -> usize {
        let mut mails = 0;
        let read = self.nodes[at].disk.scan(Table::Mail, &[], &mut |_, _| {
            mails += 1;
            true
        });
        read.expect("readable");
        mails
    }

    /// What a node has counted under a name.
    pub fn counted(&self, at: usize, counter: Counter) -> u64 {
        self.nodes[at].engine.counters().get(&counter).copied().unwrap_or(0)
    }

    /// The last reply under a token.
    pub fn reply(&self, at: usize, token: Token) -> Option<&Reply> {
        self.nodes[at].replies.iter().rev().find(|(of, _)| *of == token).map(|(_, reply)| reply)
    }
}
