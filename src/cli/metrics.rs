//! `metrics`: everything that the node measures and counts, for a monitoring system.
//!
//! Prints the answer of `GET /v1/metrics` byte for byte. With `--json`, it prints the same samples as data, derived
//! from the node's status by the same table.

use super::Verdict;
use super::failure::Failure;
use super::shell::Shell;
use crate::gateway::dto::Status;

/// Prints everything that the node measures and counts, in Prometheus' text format
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh metrics > /var/lib/node_exporter/m2mesh.prom
  m2mesh metrics --json | jq '.[] | select(.value > 0)'")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let client = shell.client()?;
    if shell.json {
        let status: Status = client.get("/v1/status", &()).await?;
        shell.object(&status.samples())?;
    } else {
        shell.line(client.text("/v1/metrics").await?.trim_end())?;
    }
    Ok(Verdict::Done)
}
