//! `offers`: which devices offer a service.

use super::Verdict;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::client::escape;
use crate::gateway::dto::Offer;

/// Lists the devices that offer a service, and how busy they are
///
/// They are asked now. The exit code is 2 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh offers clock\n  m2mesh offers clock --json | jq -r '.[].from'")]
pub(super) struct Arguments {
    /// Name of the service
    service: String,
}

pub(super) async fn run(Arguments { service }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let offers: Vec<Offer> = shell.client()?.get(&format!("/v1/services/{}", escape(&service)), &()).await?;
    let verdict = Verdict::of(!offers.is_empty());
    if shell.json {
        shell.object(&offers)?;
        return Ok(verdict);
    }
    if offers.is_empty() {
        shell.note(format_args!("no device within reach offers {service}, as far as is known"));
        return Ok(verdict);
    }
    let row = |offer: Offer| {
        vec![offer.from, offer.load.to_string(), offer.capacity.to_string(), shell::micros(offer.age_us)]
    };
    shell.table(&["NAME", "LOAD", "CAPACITY", "AGE"], offers.into_iter().map(row).collect())?;
    Ok(verdict)
}
