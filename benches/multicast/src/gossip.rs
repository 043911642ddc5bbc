//! The comparison: gossipsub with its defaults, without signatures.

use super::{Heard, NODES, SIZE};
use futures::StreamExt;
use libp2p::gossipsub::{
    self, AllowAllSubscriptionFilter, IdentTopic, IdentityTransform, MessageAuthenticity, MessageId,
};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, tcp, yamux};
use std::error::Error;
use std::time::Duration;

type Gossip = gossipsub::Behaviour<IdentityTransform, AllowAllSubscriptionFilter>;

/// How long the nodes take to build their meshes.
const SETTLE: Duration = Duration::from_secs(8);
/// How often the publisher checks whether it may go on, and how many messages it publishes then at most.
const LOOK: Duration = Duration::from_micros(500);
const BURST: usize = 32;

fn node(topic: &IdentTopic) -> Result<Swarm<Gossip>, Box<dyn Error>> {
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        // Messages begin with their number, which serves as their id.
        .message_id_fn(|message: &gossipsub::Message| MessageId::from(message.data[..8].to_vec()))
        .build()?;
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| Ok(Gossip::new(MessageAuthenticity::Anonymous, config)?))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    swarm.behaviour_mut().subscribe(topic)?;
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    Ok(swarm)
}

/// Measures the messages per second that the slowest subscriber hears.
pub async fn run(ahead: u64) -> Result<f64, Box<dyn Error>> {
    let topic = IdentTopic::new("bench");
    let (mut swarms, mut addresses) = (Vec::new(), Vec::<Multiaddr>::new());
    for _ in 0..NODES {
        let mut swarm = node(&topic)?;
        addresses.push(loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        });
        for other in &addresses[..addresses.len() - 1] {
            swarm.dial(other.clone())?;
        }
        swarms.push(swarm);
    }
    let heard = Heard::new();
    let mut tasks = Vec::new();
    let mut publisher = swarms.remove(0);
    for (number, mut swarm) in swarms.into_iter().enumerate() {
        let heard = heard.clone();
        tasks.push(tokio::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(gossipsub::Event::Message { .. }) = swarm.select_next_some().await {
                    heard.note(number);
                }
            }
        }));
    }
    let counted = heard.clone();
    let begins = tokio::time::Instant::now() + SETTLE;
    tasks.push(tokio::spawn(async move {
        let (mut published, mut look) = (0_u64, tokio::time::interval(LOOK));
        loop {
            tokio::select! {
                _ = publisher.select_next_some() => {}
                now = look.tick() => {
                    for _ in 0..BURST {
                        if now < begins || published >= counted.slowest() + ahead {
                            break;
                        }
                        let mut data = vec![7; SIZE];
                        data[..8].copy_from_slice(&published.to_be_bytes());
                        // A message is refused while the queues are full; the publisher tries again later.
                        if publisher.behaviour_mut().publish(topic.clone(), data).is_err() {
                            break;
                        }
                        published += 1;
                    }
                }
            }
        }
    }));
    tokio::time::sleep_until(begins).await;
    let rate = heard.rate().await;
    tasks.iter().for_each(|task| task.abort());
    Ok(rate)
}
