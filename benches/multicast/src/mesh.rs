//! The nodes of this project.

use super::{Heard, NODES, SIZE};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use m2mesh::{EpochLength, Name, News, Node, Publication, realm};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Publications without an outcome, beyond which no further one is begun.
const UNDER_WAY: usize = 1_024;
/// How long nodes take to find each other, and how long subscriptions take to reach all.
const SETTLE: Duration = Duration::from_secs(4);

/// Measures the messages per second that the slowest subscriber hears, and how many messages all subscribers have
/// missed.
pub async fn run(ahead: u64) -> Result<(f64, u64), Box<dyn Error>> {
    let place = tempfile::tempdir()?;
    let mut devices = Vec::new();
    for number in 0..NODES {
        let directory = place.path().join(number.to_string());
        std::fs::create_dir(&directory)?;
        devices.push((Name::new(&format!("node-{number}"))?, directory));
    }
    realm::found(&devices, EpochLength::HOUR)?;
    let mut nodes: Vec<Node> = Vec::new();
    for (_, directory) in &devices {
        let mut builder = Node::builder(directory).listen("/ip4/127.0.0.1/tcp/0").mdns(false);
        for other in &nodes {
            builder = builder.bootstrap(&other.listen()[0]);
        }
        nodes.push(builder.start().await?);
    }
    tokio::time::sleep(SETTLE).await;
    let (heard, missed) = (Heard::new(), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for (number, node) in nodes[1..].iter().enumerate() {
        let (mut news, heard, missed) = (node.subscribe("bench/#").await?, heard.clone(), missed.clone());
        tasks.push(tokio::spawn(async move {
            while let Some(news) = news.next().await {
                let lost = match news {
                    News::Message(message) => {
                        heard.note(number);
                        message.lost
                    }
                    News::Missed(told) => told.lost,
                };
                missed.fetch_add(lost, Ordering::Relaxed);
            }
        }));
    }
    tokio::time::sleep(SETTLE).await;
    let publisher = nodes.remove(0);
    let publish = async {
        let (mut published, mut under_way) = (0, FuturesUnordered::new());
        loop {
            while under_way.len() < UNDER_WAY && published < heard.slowest() + ahead {
                under_way.push(publisher.publish(Publication::new("bench/rate", vec![7; SIZE])));
                published += 1;
            }
            tokio::select! {
                Some(_) = under_way.next() => {}
                () = tokio::time::sleep(Duration::from_micros(200)) => {}
            }
        }
    };
    let rate = tokio::select! {
        rate = heard.rate() => rate,
        () = publish => unreachable!("it goes on for ever"),
    };
    tasks.iter().for_each(|task| task.abort());
    for node in nodes {
        node.stop().await;
    }
    publisher.stop().await;
    Ok((rate, missed.load(Ordering::Relaxed)))
}
