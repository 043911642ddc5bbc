//! Blobs on this machine: orders to the disk are carried out one after the other, on a thread that may block.
//!
//! Orders that come while others are carried out are taken together next time, and share their syncs. How many wait is
//! bounded by the engine: so many blobs are fetched and served at a time, with so many chunks each.

use super::blocking;
use crate::blob::disk::{Done, Order};
use crate::store::blobs::{BlobDisk, Partial};
use futures::FutureExt;
use futures::future::{BoxFuture, Either, select};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// See the module's documentation.
pub(super) struct BlobThread {
    disk: BlobDisk,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Order, oneshot::Sender<Vec<Done>>)>,
    /// The files in use; `None` while the thread has them.
    idle: Option<Partial>,
}

impl BlobThread {
    pub(super) fn new(disk: BlobDisk) -> Self {
        let state = State { waiting: VecDeque::new(), idle: Some(Partial::default()) };
        Self { disk, state: Arc::new(Mutex::new(state)) }
    }

    /// Has an order carried out. What the future yields may answer orders before it, too.
    pub(super) fn order(&self, order: Order) -> BoxFuture<'static, Vec<Done>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting.push_back((order, answer));
        let begin = state.idle.take();
        drop(state);
        let (disk, shared) = (self.disk.clone(), self.state.clone());
        let Some(partial) = begin else { return answered.map(Result::unwrap_or_default).boxed() };
        async move {
            // The thread goes on for as long as there are orders, whoever gave them, and whether this future is there or not.
            let working = blocking(move || work(&disk, &shared, partial)).boxed();
            match select(working, answered).await {
                Either::Left((_, answered)) => answered.await.unwrap_or_default(),
                Either::Right((done, _)) => done.unwrap_or_default(),
            }
        }
        .boxed()
    }
}

fn work(disk: &BlobDisk, shared: &Mutex<State>, mut partial: Partial) {
    loop {
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() {
            state.idle = Some(partial);
            return;
        }
        let batch: Vec<_> = state.waiting.drain(..).collect();
        drop(state);
        let (orders, answers): (Vec<Order>, Vec<_>) = batch.into_iter().unzip();
        let done = disk.carry_out(&mut partial, orders);
        // The answers are told together, by the first who asked; the others hear that there is nothing more.
        let mut answers = answers.into_iter();
        if let Some(first) = answers.next() {
            let _ = first.send(done);
        }
    }
}
