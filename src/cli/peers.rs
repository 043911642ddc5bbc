//! `peers`: the neighbours of the node.

use super::failure::Failure;
use super::shell::{self, Shell};
use super::{Verdict, shape};
use crate::gateway::dto::{Done, Peer, Quarantined, Status};
use std::time::Duration;

/// Lists the node's neighbours: each link with its address, round trip and traffic
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  m2mesh peers\n  m2mesh peers --json | jq -r '.[].address'\n  m2mesh peers --credentials\n  m2mesh peers --lift-quarantine"
)]
pub(super) struct Arguments {
    /// The signed credential of each in hexadecimal, which the realm's auditor can open
    #[arg(long)]
    credentials: bool,
    /// Let those come back that are in quarantine for what they have sent
    #[arg(long, conflicts_with = "credentials")]
    lift_quarantine: bool,
}

pub(super) async fn run(
    Arguments { credentials, lift_quarantine }: Arguments,
    shell: Shell,
) -> Result<Verdict, Failure> {
    if lift_quarantine {
        let done: Done = shell.client()?.post("/v1/quarantine/lift", &()).await?;
        if shell.json {
            shell.object(&done)?;
        }
        shell.note("nobody is in quarantine; a neighbour that does it again is put there again");
        return Ok(Verdict::Done);
    }
    let peers: Vec<Peer> = shell.client()?.get("/v1/peers", &()).await?;
    if shell.json {
        shell.object(&peers)?;
        return Ok(Verdict::Done);
    }
    let status: Status = shell.client()?.get("/v1/status", &()).await?;
    for held in &status.quarantined {
        shell.note(format_args!("in quarantine: {}", sentence(held)));
    }
    if peers.is_empty() {
        shell.note("no neighbours; check the addresses under [net] in config.toml, and that the others run");
        return Ok(Verdict::Done);
    }
    if credentials {
        let row = |peer: Peer| vec![peer.name.unwrap_or_else(|| short(&peer.peer_id)), peer.credential];
        shell.table(&["NAME", "CREDENTIAL"], peers.into_iter().map(row).collect())?;
        return Ok(Verdict::Done);
    }
    let mut header = vec!["NAME", "STATE", "VIA", "DIALLED", "RTT", "FOR", "SENT", "RECEIVED", "ADDRESS"];
    let shaped = peers.iter().any(|peer| peer.shape.is_some());
    if shaped {
        header.extend(["SHAPE", "PRICE"]);
    }
    let rows = peers.into_iter().map(|peer| {
        let Peer { name, peer_id, address, transport, direction, silent, rtt_us, up_s, .. } = peer;
        let Peer { sent, received, shape, .. } = peer;
        let mut row = vec![
            name.unwrap_or_else(|| short(&peer_id)),
            if silent { "silent" } else { "up" }.to_owned(),
            transport,
            direction,
            rtt_us.map_or_else(|| "-".to_owned(), shell::micros),
            humantime::format_duration(Duration::from_secs(up_s)).to_string(),
            shell::bytes(sent),
            shell::bytes(received),
            address,
        ];
        if shaped {
            let shape = shape.unwrap_or_default();
            let [.., price] = shape::cells(&shape);
            row.extend([shape::summary(&shape), price]);
        }
        row
    });
    shell.table(&header, rows.collect())?;
    Ok(Verdict::Done)
}

/// What is said of a neighbour in quarantine.
pub(super) fn sentence(held: &Quarantined) -> String {
    let Quarantined { name, peer_id, left_s, offences, reason } = held;
    let name = name.clone().unwrap_or_else(|| short(peer_id));
    let left = humantime::format_duration(Duration::from_secs(*left_s));
    format!("{name} for another {left}, offence {offences}: {reason}; `m2mesh peers --lift-quarantine` ends it")
}

/// The end of a PeerId, which tells PeerIds apart; they all begin alike.
fn short(peer_id: &str) -> String {
    let skip = peer_id.chars().count().saturating_sub(8);
    format!("(…{})", peer_id.chars().skip(skip).collect::<String>())
}
