//! `route`: the route to one device, and the reasons for it.

use super::failure::Failure;
use super::routes::cells;
use super::shell::Shell;
use super::{Verdict, arguments};
use crate::gateway::dto::{CandidateView, PathView, RouteQuery, RouteView};

/// Shows the route that messages to a device take now, and why
///
/// The exit code is 2 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh route meter-17
  m2mesh route meter-17 --policy cheap --explain")]
pub(super) struct Arguments {
    /// The device's name
    #[arg(value_name = "DEST")]
    to: String,
    /// Show the route under this policy: cheap, fast, sure, frugal, balanced, or one of `config.toml`
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Also show the other candidates, the limits that rule them out, and what would change the choice
    #[arg(long)]
    explain: bool,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { to, policy, explain } = arguments;
    let to = arguments::destination(&to)?.to_string();
    let way: RouteView = shell.client()?.get("/v1/route", &RouteQuery { to, policy }).await?;
    let verdict = Verdict::of(way.path.is_some());
    if shell.json {
        shell.object(&way)?;
        return Ok(verdict);
    }
    let RouteView { to, policy, weights, path, alternate, no_way, candidates, why } = way;
    if let Some(reason) = no_way {
        shell.line(format_args!("no way to {to} under {policy}: {reason}"))?;
    }
    let row = |label: &str, path: &PathView| {
        let [way, delay, arrives, price] = cells(path);
        vec![label.to_owned(), way, delay, arrives, price]
    };
    let taken = path.iter().map(|path| row("now", path));
    let rows: Vec<_> = taken.chain(alternate.iter().map(|path| row("alternate", path))).collect();
    if !rows.is_empty() {
        shell.table(&["", "OVER", "DELAY", "ARRIVES", "PRICE/MB"], rows)?;
    }
    if explain {
        let names = ["cost", "delay", "failures", "energy"];
        let weights: Vec<String> =
            names.iter().zip(&weights).map(|(name, weight)| format!("{name} {weight}")).collect();
        shell.line(format_args!("\npolicy {policy} weighs {}", weights.join(", ")))?;
        let rows = candidates.into_iter().map(|candidate| {
            let CandidateView { best_at, path, chosen, weight, cut_by } = candidate;
            let [way, delay, arrives, price] = cells(&path);
            let verdict = match (chosen, cut_by) {
                (true, _) => "taken".to_owned(),
                (false, Some(limit)) => format!("beyond the limit on {limit}"),
                (false, None) => String::new(),
            };
            vec![
                way,
                best_at.join(", "),
                delay,
                arrives,
                price,
                format!("{} mJ", path.energy_mj),
                weight.to_string(),
                verdict,
            ]
        });
        let header = ["OVER", "BEST AT", "DELAY", "ARRIVES", "PRICE/MB", "ENERGY/MB", "WEIGHT", ""];
        shell.table(&header, rows.collect())?;
        for reason in why {
            shell.line(format_args!("· {reason}"))?;
        }
    }
    Ok(verdict)
}
