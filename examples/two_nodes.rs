//! Two nodes of one realm in one program: a pump that receives messages and offers a service, and a meter that uses
//! both.
//!
//! ```sh
//! cargo run --example two_nodes
//! ```

use futures::StreamExt;
use m2mesh::{CallError, EpochLength, Message, Name, Node, Outcome, realm};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A realm with two devices, each with a directory of its own. Real devices join with a ticket instead.
    let place = tempfile::tempdir()?;
    let (pump, meter) = (Name::new("pump")?, Name::new("meter")?);
    let mut devices = Vec::new();
    for name in [&pump, &meter] {
        let directory = place.path().join(name.as_str());
        std::fs::create_dir(&directory)?;
        devices.push((name.clone(), directory));
    }
    realm::found(&devices, EpochLength::HOUR)?;

    let loopback = "/ip4/127.0.0.1/tcp/0";
    let pump_node = Node::builder(&devices[0].1).listen(loopback).mdns(false).start().await?;
    let meter_node =
        Node::builder(&devices[1].1).listen(loopback).bootstrap(&pump_node.listen()[0]).mdns(false).start().await?;
    println!("{} and {} run", pump_node.name(), meter_node.name());

    // A message. Its outcome is `Delivered` once it is durable in the inbox of the pump.
    match meter_node.send(Message::new(pump.clone(), "21.5")).await? {
        Outcome::Delivered { latency_us, .. } => println!("delivered in {latency_us} µs"),
        other => println!("not delivered: {other:?}"),
    }
    let mut inbox = pump_node.inbox("").await?;
    let record = inbox.next().await?;
    for message in record.messages() {
        println!("{} got {:?} from {}", pump_node.name(), String::from_utf8_lossy(&message.payload), message.from);
    }
    inbox.consume(record.last()).await?;

    // A service. Each call is answered once.
    let mut calls = pump_node.offer("valve").await?;
    let answering = async {
        if let Some(call) = calls.next().await {
            let answer = format!("{} is done", String::from_utf8_lossy(&call.payload));
            pump_node.respond(&call, Ok(answer.into_bytes())).await?;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let asking = meter_node.request(pump, Some("valve"), "open", Duration::from_secs(10));
    let (answered, response) = tokio::join!(answering, asking);
    answered?;
    match response {
        Ok(response) => println!("the valve says {:?}", String::from_utf8_lossy(&response)),
        Err(CallError::Unanswered(outcome)) => println!("no response: {outcome:?}"),
        Err(error) => return Err(error.into()),
    }

    meter_node.stop().await;
    pump_node.stop().await;
    Ok(())
}
