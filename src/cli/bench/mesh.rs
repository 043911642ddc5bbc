//! The contender m2mesh: two nodes of one realm, as a program uses them through [`Node`].

use super::part::{Counted, RoundTrips, Task};
use crate::engine::api::Outcome;
use crate::id::Name;
use crate::node::handle::CallError;
use crate::node::handle::Node;
use crate::node::sending::Message;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use std::path::Path;
use std::time::Instant;

/// Name of the device that receives, and of the one that sends.
pub(super) const NAMES: [&str; 2] = ["receiver", "sender"];

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Counts or echoes unconfirmed messages, until a message that asks for a confirmation announces the end.
pub(super) async fn receive(directory: &Path, echo: bool, ready: impl FnOnce(String)) -> Result<Counted, Failed> {
    let node = start(directory, None).await?;
    let mut inbox = node.inbox("").await?;
    let mut outlet = node.outlet(Name::new(NAMES[1])?);
    ready(node.listen().first().cloned().unwrap_or_default());
    let mut counted = Counted::new();
    loop {
        let record = inbox.next().await?;
        let mut payloads = 0;
        for payload in record.payloads() {
            std::hint::black_box(payload);
            payloads += 1;
            if echo && record.first == 0 {
                outlet.send(payload).await?;
            }
        }
        if echo && record.first == 0 {
            outlet.flush().await?;
        }
        if record.first > 0 && record.payloads().any(|payload| payload == OVER) {
            inbox.consume(record.last()).await?;
            counted.lost = inbox.skipped();
            node.stop().await;
            return Ok(counted);
        }
        if record.first == 0 || !echo {
            counted.add(payloads);
        }
        if record.first > 0 {
            inbox.consume(record.last()).await?;
        }
    }
}

/// Sends without confirmation, as fast as possible.
pub(super) async fn send(directory: &Path, to: &str, task: Task) -> Result<(), Failed> {
    let node = linked(directory, to).await?;
    let mut outlet = node.outlet(Name::new(NAMES[0])?);
    let (payload, until) = (vec![7; task.size], Instant::now() + task.period);
    while Instant::now() < until {
        for _ in 0..64 {
            outlet.send(&payload).await?;
        }
    }
    outlet.finish().await?;
    over(node).await
}

/// Sends with confirmation end to end, durable at both ends, and counts the messages delivered.
pub(super) async fn confirm(directory: &Path, to: &str, task: Task) -> Result<Counted, Failed> {
    let node = linked(directory, to).await?;
    let name = Name::new(NAMES[0])?;
    let (payload, until) = (vec![7; task.size], Instant::now() + task.period);
    let (mut flying, mut counted) = (FuturesUnordered::new(), Counted::new());
    loop {
        while flying.len() < WINDOW && Instant::now() < until {
            flying.push(node.submit(Message::new(name.clone(), payload.clone())).await?);
        }
        let Some(first) = flying.next().await else { break };
        counted.settle(&first);
        while let Some(Some(next)) = flying.next().now_or_never() {
            counted.settle(&next);
        }
    }
    over(node).await?;
    Ok(counted)
}

/// Sends one message at a time and waits for its echo, repeatedly.
pub(super) async fn ping(directory: &Path, to: &str, task: Task) -> Result<RoundTrips, Failed> {
    let node = linked(directory, to).await?;
    let mut inbox = node.inbox("").await?;
    let mut outlet = node.outlet(Name::new(NAMES[0])?);
    let (payload, mut trips, until) = (vec![7; task.size], RoundTrips::new(), Instant::now() + task.period);
    while Instant::now() < until {
        let began = Instant::now();
        outlet.send(&payload).await?;
        outlet.flush().await?;
        inbox.next().await?;
        trips.add(began.elapsed());
    }
    over(node).await?;
    Ok(trips)
}

async fn start(directory: &Path, bootstrap: Option<&str>) -> Result<Node, Failed> {
    let mut builder = Node::builder(directory).listen("/ip4/127.0.0.1/tcp/0").mdns(false).api(false);
    if let Some(bootstrap) = bootstrap {
        builder = builder.bootstrap(bootstrap);
    }
    Ok(builder.start().await?)
}

/// Starts a node, and returns it once it has a link and a session with the receiver.
async fn linked(directory: &Path, to: &str) -> Result<Node, Failed> {
    let node = start(directory, Some(to)).await?;
    match node.send(Message::new(Name::new(NAMES[0])?, "hello")).await? {
        Outcome::Delivered { .. } => Ok(node),
        outcome => Err(format!("the receiver is not reached: {outcome:?}").into()),
    }
}

/// Announces the end to the receiver.
async fn over(node: Node) -> Result<(), Failed> {
    node.send(Message::new(Name::new(NAMES[0])?, OVER)).await?;
    node.stop().await;
    Ok(())
}

impl Counted {
    fn settle(&mut self, outcome: &Result<Outcome, CallError>) {
        match outcome {
            Ok(Outcome::Delivered { .. }) => self.add(1),
            _ => self.lost += 1,
        }
    }
}

const OVER: &[u8] = b"over";
/// Messages under way while each is confirmed.
const WINDOW: usize = 4_096;
