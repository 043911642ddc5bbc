//! Worker: the actions on a node, one after the other. The worker of each device takes orders and reports their
//! results.
//!
//! Orders to one node are carried out in the order in which they were given, so that a cut is not undone by an earlier
//! shape, and a start does not precede its kill. A paused node is told of its links when it resumes; a node that is
//! down finds them in its directory when it starts.

use super::process::Place;
use m2mesh::config;
use m2mesh::gateway::client::{Client, ClientError};
use m2mesh::gateway::dto::{Lab, Status};
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// An order to a worker.
#[derive(Clone, Debug)]
pub enum Order {
    /// Kills the process.
    Kill,
    /// Starts the process again.
    Start,
    /// Pauses the process.
    Pause,
    /// Resumes the process.
    GoOn,
    /// Sets the links of the node and their shapes.
    Links(Lab),
}

/// A report to the driver of a lab.
#[derive(Debug)]
pub enum News {
    /// A device's node runs again.
    Up(usize),
    /// A device's application listens to all that it is to hear.
    Listens(usize),
    /// The streams of a device's application have ended.
    Broken {
        /// The index of the device.
        device: usize,
        /// The reason.
        what: String,
    },
    /// An order could not be carried out.
    Failed(String),
    /// The state of the lab.
    Seen(super::watch::Seen),
}

/// Runs the worker of one device, which ends when the sender of its orders is dropped.
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
    // A paused process cannot be stopped in an orderly manner.
    let _ = node.go_on().await;
}

struct Node {
    client: Client,
    directory: PathBuf,
    /// The paused process.
    still: Option<Pid>,
    /// The links that the node is to be told of when it resumes.
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
            // A process that has been killed meanwhile does not need this.
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

/// Tells a running node of its links and their shapes.
pub async fn put(client: &Client, links: &Lab) -> Result<(), ClientError> {
    client.put::<Lab>("/v1/lab", links).await.map(drop)
}
