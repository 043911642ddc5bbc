//! The processes of a lab. For each there is a task that notices when the node is ready and when it ends, and that
//! stops it.

use super::control::{Order, Request};
use super::prepare::Plan;
use super::{record, view};
use crate::cli::failure::Failure;
use crate::gateway::client::Client;
use crate::gateway::dto::Status;
use futures::future::join_all;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// The nodes of a lab.
pub(super) struct Nodes {
    pub(super) all: Vec<Node>,
    watchers: Vec<JoinHandle<bool>>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    stop: watch::Sender<bool>,
    program: PathBuf,
}

/// A node of the lab.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) directory: PathBuf,
    pub(super) listen: Vec<String>,
    pub(super) pid: u32,
    pub(super) state: State,
    /// Its last status; `None` if it has not answered.
    pub(super) status: Option<Status>,
    /// Number of nodes that it is to link with.
    pub(super) links: usize,
    /// Has it killed, once.
    kill: Option<oneshot::Sender<()>>,
    /// Orders that wait until it is killed or ready. Bounded by the connections of the control socket.
    waiting: Vec<Order>,
}

/// The state of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is not ready yet.
    Starting,
    /// It has reported that it is ready.
    Up,
    /// It was killed on purpose.
    Killed,
    /// It ended by itself; how, and the last line of its diagnostics.
    Ended(String),
}

/// A change of the node with that index.
#[derive(Debug)]
pub(super) enum Event {
    /// It has reported that it is ready.
    Ready { index: usize },
    /// It has been killed on purpose.
    Killed { index: usize },
    /// It ended without having been told to.
    Ended { index: usize, how: io::Result<ExitStatus> },
}

impl Nodes {
    /// Starts a process for each plan. Must be called on the process's main thread: the kernel notifies the nodes when
    /// the thread that started them ends.
    pub(super) fn start(plans: Vec<Plan>) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot find this program's file: {error}"), "start it again"))?;
        let (sender, events) = mpsc::channel(2 * plans.len().max(1));
        let stop = watch::Sender::new(false);
        let mut nodes = Self { all: Vec::new(), watchers: Vec::new(), events, sender, stop, program };
        for (index, plan) in plans.into_iter().enumerate() {
            let Plan { name, directory, listen, links, reserved } = plan;
            // The node takes the ports over; until this moment nobody else could take them.
            drop(reserved);
            nodes.all.push(Node { links, ..Node::seen(name, directory, listen, 0, State::Starting, None) });
            let watcher = nodes.spawn(index)?;
            nodes.watchers.push(watcher);
        }
        Ok(nodes)
    }

    /// Starts the process of a node, and the task that watches it.
    fn spawn(&mut self, index: usize) -> Result<JoinHandle<bool>, Failure> {
        let node = &mut self.all[index];
        let child = start(&self.program, &node.directory)?;
        let (kill, killed) = oneshot::channel();
        node.pid = child.id().unwrap_or_default();
        node.state = State::Starting;
        node.kill = Some(kill);
        Ok(tokio::spawn(watch(index, child, self.sender.clone(), killed, self.stop.subscribe())))
    }

    /// Begins to carry out an order. It is answered when it is done, by [`Nodes::settle`].
    pub(super) fn handle(&mut self, order: Order) {
        let (Request::Kill(name) | Request::Start(name)) = &order.request;
        let Some(index) = self.all.iter().position(|node| node.name == *name) else {
            let failure = record::unknown(name, self.all.iter().map(|node| node.name.as_str()));
            return answer(order, Err(failure));
        };
        let node = &mut self.all[index];
        let refused = match (&order.request, &node.state) {
            (Request::Kill(_), State::Killed | State::Ended(_)) => {
                Some(Failure::new(format!("{name} is down already"), format!("`m2mesh lab start {name}` starts it")))
            }
            (Request::Start(_), State::Starting | State::Up) => {
                Some(Failure::new(format!("{name} runs already"), "`m2mesh lab status` shows it"))
            }
            (Request::Kill(_), _) => {
                // If the node has just ended by itself, that is reported instead.
                let _ = node.kill.take().map(|kill| kill.send(()));
                None
            }
            (Request::Start(_), _) => match self.spawn(index) {
                Ok(watcher) => {
                    self.watchers[index] = watcher;
                    None
                }
                Err(failure) => Some(failure),
            },
        };
        match refused {
            Some(failure) => answer(order, Err(failure)),
            None => self.all[index].waiting.push(order),
        }
    }

    /// Waits for the next event, and enters it into the node's state. [`Nodes::settle`] is to be called once the event
    /// is recorded.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.events.recv().await?;
        let (Event::Ready { index } | Event::Killed { index } | Event::Ended { index, .. }) = &event;
        let node = &mut self.all[*index];
        match &event {
            Event::Ready { .. } => node.state = State::Up,
            Event::Killed { .. } => (node.state, node.status) = (State::Killed, None),
            Event::Ended { how, .. } => {
                let how = match how {
                    Ok(status) => status.to_string(),
                    Err(error) => format!("lost: {error}"),
                };
                let words = last_line(&node.directory.join(LOG)).unwrap_or_default();
                node.state = State::Ended(if words.is_empty() { how } else { format!("{how}: {words}") });
                node.status = None;
            }
        }
        Some(event)
    }

    /// Answers the orders that have waited for this event.
    pub(super) fn settle(&mut self, event: &Event) {
        let (Event::Ready { index } | Event::Killed { index } | Event::Ended { index, .. }) = event;
        let node = &mut self.all[*index];
        for order in std::mem::take(&mut node.waiting) {
            let hint = || format!("read {}", node.directory.join(LOG).display());
            let result = match (&order.request, &node.state) {
                (Request::Start(_), State::Up) | (Request::Kill(_), State::Killed) => Ok(view::row(node)),
                (Request::Kill(_), State::Up | State::Starting) => {
                    // It became ready just before it is killed.
                    node.waiting.push(order);
                    continue;
                }
                (_, State::Ended(how)) => Err(Failure::new(format!("{} ended by itself: {how}", node.name), hint())),
                (Request::Start(_), _) => Err(Failure::new(format!("{} was killed as it started", node.name), hint())),
            };
            answer(order, result);
        }
    }

    /// Whether all nodes have ended by themselves.
    pub(super) fn all_ended(&self) -> bool {
        self.all.iter().all(|node| matches!(node.state, State::Ended(_)))
    }

    /// Number of nodes that run.
    pub(super) fn running(&self) -> usize {
        self.all.iter().filter(|node| matches!(node.state, State::Starting | State::Up)).count()
    }

    /// Asks every node that is up for its status.
    pub(super) async fn ask(&mut self) {
        let answers = join_all(self.all.iter().map(|node| async {
            match node.state {
                State::Up => status(&node.directory).await,
                _ => None,
            }
        }));
        let answers = answers.await;
        for (node, answer) in self.all.iter_mut().zip(answers) {
            node.status = answer;
        }
    }

    /// Stops all nodes with SIGTERM, and with SIGKILL those that do not stop in time. Returns the number of the latter.
    pub(super) async fn stop(self) -> usize {
        let Self { watchers, events, stop, .. } = self;
        // A watcher must not wait for anyone to receive the event of its node's end.
        drop(events);
        stop.send_replace(true);
        join_all(watchers).await.into_iter().filter(|killed| matches!(killed, Ok(true))).count()
    }
}

impl Node {
    /// A node that no task watches yet.
    pub(super) fn seen(
        name: String,
        directory: PathBuf,
        listen: Vec<String>,
        pid: u32,
        state: State,
        status: Option<Status>,
    ) -> Self {
        Self { name, directory, listen, pid, state, status, links: 0, kill: None, waiting: Vec::new() }
    }
}

/// Answers an order.
fn answer(order: Order, result: Result<serde_json::Value, Failure>) {
    // A client that has gone does not need the answer.
    let _ = order.answer.send(result.map_err(Failure::into_body));
}

/// Returns the status of a node; `None` if it does not answer in time.
pub(super) async fn status(directory: &Path) -> Option<Status> {
    let client = Client::new(directory);
    let asked = client.get::<Status>("/v1/status", &());
    tokio::time::timeout(ANSWER, asked).await.ok()?.ok()
}

fn start(program: &Path, directory: &Path) -> Result<Child, Failure> {
    let path = directory.join(LOG);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| Failure::file("write", &path, &error))?;
    Command::new(program)
        .arg("run")
        .arg("--dir")
        .arg(directory)
        .arg("--parent")
        .arg(std::process::id().to_string())
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        // A process group of its own: Ctrl-C in the terminal is for the lab, which stops the nodes.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::file("start", program, &error))
}

/// Watches a process until it ends. Returns whether it had to be killed because it did not stop in time.
async fn watch(
    index: usize,
    mut child: Child,
    events: mpsc::Sender<Event>,
    killed: oneshot::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) -> bool {
    let killed = async {
        if killed.await.is_err() {
            // No order can come any more.
            std::future::pending::<()>().await;
        }
    };
    tokio::pin!(killed);
    let mut lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
    loop {
        let line = async {
            match &mut lines {
                Some(lines) => lines.next_line().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = line => match line {
                Ok(Some(line)) if line.starts_with("READY ") => {
                    // The lab may be stopping; then nobody needs the event.
                    let _ = events.send(Event::Ready { index }).await;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => lines = None,
            },
            how = child.wait() => {
                let _ = events.send(Event::Ended { index, how }).await;
                return false;
            }
            () = &mut killed => {
                let event = match child.kill().await {
                    Ok(()) => Event::Killed { index },
                    Err(error) => Event::Ended { index, how: Err(error) },
                };
                let _ = events.send(event).await;
                return false;
            }
            () = async { drop(stop.wait_for(|stop| *stop).await) } => break,
        }
    }
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        // The process is not reaped yet, so the id is still its own. It is no error if it has ended meanwhile.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    if tokio::time::timeout(PATIENCE, child.wait()).await.is_ok() {
        return false;
    }
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, index, "a node could not be killed");
    }
    true
}

/// Returns the last non-empty line of a file.
fn last_line(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    tail.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Name of the file with a node's diagnostics, in its directory.
pub(super) const LOG: &str = "log.txt";
/// How long a node may take to stop.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
/// How long a node may take to answer with its status.
const ANSWER: Duration = Duration::from_secs(2);
/// Bytes at the end of the diagnostics that are searched for the last line.
const TAIL: u64 = 4 * 1024;
