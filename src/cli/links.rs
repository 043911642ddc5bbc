//! `links`: the metrics of each link, as the router sees them.

use super::Verdict;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::dto::LinkView;

/// Lists each link's bearer, delay, success, price, quota and air time, as the router sees them
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh links\n  m2mesh links --json | jq '.[] | select(.state != \"up\")'")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let links: Vec<LinkView> = shell.client()?.get("/v1/links", &()).await?;
    if shell.json {
        shell.object(&links)?;
        return Ok(Verdict::Done);
    }
    if links.is_empty() {
        shell.note("no links; check the addresses under [net] in config.toml, and that the others run");
        return Ok(Verdict::Done);
    }
    let header =
        ["TO", "ROLE", "BEARER", "CLASS", "STATE", "DELAY", "± ", "ARRIVES", "PRICE/MB", "QUOTA LEFT", "AIR LEFT"];
    let rows = links.into_iter().map(|link| {
        let LinkView {
            to,
            bearer,
            class,
            role,
            state,
            delay_ms,
            deviation_ms,
            success,
            price,
            energy_mj: _,
            left,
            air_ms,
        } = link;
        vec![
            to,
            role,
            bearer,
            class,
            state,
            format!("{delay_ms:.1} ms"),
            format!("{deviation_ms:.1} ms"),
            format!("{:.1} %", success * 100.0),
            format!("{price}"),
            left.map_or_else(|| "-".to_owned(), shell::bytes),
            air_ms.map_or_else(|| "-".to_owned(), |air| format!("{:.1} s", air as f64 / 1e3)),
        ]
    });
    shell.table(&header, rows.collect())?;
    Ok(Verdict::Done)
}
