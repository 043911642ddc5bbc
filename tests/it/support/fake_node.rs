//! A gateway over a real socket, with the test in the node's place.

use futures::channel::oneshot;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use m2mesh::client::{Arriving, Call, Command, Door, Reply};
use m2mesh::engine::api::InboxRecord;
use m2mesh::engine::store::{Read, ReadError, Table};
use m2mesh::event_log::{Event, Head, Record, chain};
use m2mesh::gateway::Gateway;
use m2mesh::gateway::client::Client;
use m2mesh::id::{Name, StreamId};
use m2mesh::time::Unix;
use m2mesh::wire;
use m2mesh::wire::parcel::put_record;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What a store holds, as its reader sees it.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Entries>>);

/// Values by table and key.
type Entries = BTreeMap<(u8, Vec<u8>), Vec<u8>>;

impl Shelf {
    pub fn put(&self, table: Table, key: &[u8], value: Vec<u8>) {
        self.0.lock().expect("no test panics with the lock").insert((table as u8, key.to_vec()), value);
    }

    /// Inbox messages, numbered from `first`.
    pub fn put_inbox(&self, first: u64, payloads: &[&[u8]]) {
        for (payload, number) in payloads.iter().zip(first..) {
            let mut records = Vec::new();
            put_record(&mut records, 0, payload);
            let record = InboxRecord {
                first: number,
                from: Name::new(if number % 2 == 1 { "odd" } else { "even" }).expect("a name"),
                stream: StreamId([7; 16]),
                base: number,
                sent: Unix::from_seconds(1_000 + number),
                received: Unix::from_seconds(2_000 + number),
                records: records.into(),
                blob: None,
                sent_error: None,
            };
            self.put(Table::Inbox, &number.to_be_bytes(), wire::encode(&record));
        }
    }

    /// An event log of these events, a second apart.
    pub fn put_log(&self, events: Vec<Event>) {
        let mut head = Head::default();
        for event in events {
            let at = Unix::from_seconds(1_000_000 + head.last);
            let raw = Record::encode(head.last + 1, at, &head.hash, event);
            head = Head { last: head.last + 1, hash: chain::hash(&raw), ..head };
            self.put(Table::Log, &chain::key(head.last), raw);
        }
        self.put(Table::Meta, m2mesh::event_log::HEAD_KEY, head.encode());
    }
}

impl Read for Shelf {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.lock().expect("no test panics with the lock").get(&(table as u8, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        let all = self.0.lock().expect("no test panics with the lock").clone();
        for ((_, key), value) in all.iter().filter(|((at, key), _)| *at == table as u8 && key.as_slice() >= from) {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn last(&self, table: Table) -> Result<Option<(Vec<u8>, Vec<u8>)>, ReadError> {
        let all = self.0.lock().expect("no test panics with the lock");
        Ok(all.iter().rfind(|((at, _), _)| *at == table as u8).map(|((_, key), value)| (key.clone(), value.clone())))
    }
}

/// All calls in one stream, as they come.
fn calls(shelf: Shelf) -> (Door<Shelf>, BoxStream<'static, Call>) {
    let (door, Arriving { orders, questions }) = Door::new(shelf);
    (door, stream::select(orders, questions).boxed())
}

/// A served gateway whose calls come to the test.
pub struct Rig {
    pub directory: TempDir,
    pub calls: BoxStream<'static, Call>,
    pub client: Client,
    pub shelf: Shelf,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl Rig {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let gateway = Gateway::bind(directory.path()).expect("it binds");
        let shelf = Shelf::default();
        let (door, calls) = calls(shelf.clone());
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(gateway.serve(door, stopped.map(|_| ())));
        let client = Client::new(directory.path());
        Self { directory, calls, client, shelf, stop, served }
    }

    /// The next call.
    pub async fn call(&mut self) -> Call {
        self.calls.next().await.expect("the gateway lives")
    }

    /// Answers the next call, which is to be `expected`.
    pub async fn answer(&mut self, expected: Command, reply: Reply) {
        let call = self.call().await;
        assert_eq!(call.command, expected);
        call.replies.push(reply).expect("somebody listens");
    }

    /// Stops serving; answers when it has.
    pub async fn stop(self) -> TempDir {
        self.stop.send(()).expect("it still serves");
        self.served.await.expect("it does not panic");
        self.directory
    }
}

/// Serves a directory from a thread of its own; `node` is asked for every call until the value is dropped.
pub struct Background {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    pub fn new(directory: &Path, shelf: Shelf, mut node: impl FnMut(Call) + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
        let directory = directory.to_owned();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let gateway = Gateway::bind(&directory).expect("it binds");
                bound.send(()).expect("the test waits for it");
                let (door, mut calls) = calls(shelf);
                let serve = gateway.serve(door, stopped.map(|_| ()));
                let answer = async {
                    while let Some(call) = calls.next().await {
                        node(call);
                    }
                };
                tokio::join!(serve, answer);
            });
        });
        is_bound.recv().expect("it binds");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the fake node does not panic");
        }
    }
}
