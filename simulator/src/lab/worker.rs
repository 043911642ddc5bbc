//! What is done to a node, one thing after the other: a worker for each device takes orders and tells what came of them.
//!
//! Orders to one node are carried out in the order in which they were given, so that no cut is undone by the shape before it, and no start
//! comes before its kill. A node that stands still is told of its links when it goes on; one that is down finds them in its directory
//! when it starts.

use super::process::Place;
use m2mesh::config;
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::{Lab, Status};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// What to do.
#[derive(Clone, Debug)]
pub enum Order {
    /// Its process is killed.
    Kill,
    /// It is started again.
    Start,
    /// Its process stands still.
    Pause,
    /// It goes on.
    GoOn,
    /// With whom it links, and how.
    Links(Lab),
}

/// What whoever drives a lab is told.
#[derive(Debug)]
pub enum News {
    /// A device's node runs again.
    Up(usize),
    /// Its application listens to all that it is to hear.
    Listens(usize),
    /// Its application's streams have ended.
    Broken {
        /// Which.
        device: usize,
        /// Why.
        what: String,
    },
    /// An order could not be carried out.
    Failed(String),
    /// How things stand.
    Seen(super::watch::Seen),
}

/// The worker of one device. It ends when nobody can give it orders any more.
pub async fn work(device: usize, place: Place, mut orders: mpsc::Receiver<Order>, news: mpsc::Sender<News>) {
    let mut node = Node { client: place.client(device), directory: place.node(device), still: None, held: None };
    while let Some(order) = orders.recv().await {
        let starts = matches!(order, Order::Start);
        let done = match order {
            Order::Links(links) if node.still.is_some() => {
                node.held = Some(links);
                Ok(())
            }
            Order::Links(links) => node.put(&links).await,
            Order::Pause => node.pause().await,
            Order::GoOn => node.go_on().await,
            Order::Kill => {
                node.still = None;
                match place.order("kill", device).await {
                    Ok(()) => node.tell_held().await,
                    error => error,
                }
            }
            Order::Start => place.order("start", device).await,
        };
        let told = match done {
            Err(error) => News::Failed(error),
            Ok(()) if starts => News::Up(device),
            Ok(()) => continue,
        };
        if news.send(told).await.is_err() {
            return;
        }
    }
    // A process that stands still cannot be stopped in good order.
    let _ = node.go_on().await;
}

struct Node {
    client: Client,
    directory: PathBuf,
    /// While it stands still.
    still: Option<Pid>,
    /// What it is to be told of its links when it goes on.
    held: Option<Lab>,
}

impl Node {
    async fn put(&self, links: &Lab) -> Result<(), String> {
        put(&self.client, links).await.or_else(|error| match error {
            ClientError::NotRunning(_) => config::lab::save(&self.directory, links).map_err(|error| error.to_string()),
            error => Err(format!("{}: {error}", self.directory.display())),
        })
    }

    async fn pause(&mut self) -> Result<(), String> {
        let failed = |error: &dyn std::fmt::Display| format!("{} cannot be stopped: {error}", self.directory.display());
        let status: Status = self.client.get("/v1/status", &()).await.map_err(|error| failed(&error))?;
        let process =
            i32::try_from(status.pid).ok().and_then(Pid::from_raw).ok_or_else(|| failed(&"it has no number"))?;
        kill_process(process, Signal::STOP).map_err(|error| failed(&error))?;
        self.still = Some(process);
        Ok(())
    }

    async fn go_on(&mut self) -> Result<(), String> {
        if let Some(process) = self.still.take() {
            // One that has been killed meanwhile needs not to.
            let _ = kill_process(process, Signal::CONT);
        }
        self.tell_held().await
    }

    async fn tell_held(&mut self) -> Result<(), String> {
        match self.held.take() {
            Some(links) => self.put(&links).await,
            None => Ok(()),
        }
    }
}

/// Tells a node that runs with whom it links, and how.
pub async fn put(client: &Client, links: &Lab) -> Result<(), ClientError> {
    client.put::<Lab>("/v1/lab", links).await.map(drop)
}
