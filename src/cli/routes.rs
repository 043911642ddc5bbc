//! `routes`: what the router knows.

use super::Verdict;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::dto::{PathView, RoutesView};
use std::time::Duration;

/// Lists routers of the area, routes in use, and hops in doubt
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  m2mesh routes\n  m2mesh routes --json | jq '.routers | length'")]
pub(super) struct Arguments {}

pub(super) async fn run(Arguments {}: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let view: RoutesView = shell.client()?.get("/v1/routes", &()).await?;
    if shell.json {
        shell.object(&view)?;
        return Ok(Verdict::Done);
    }
    let RoutesView { area, forwarding, links, forwarded, routers, routes, doubts } = view;
    let role = if forwarding { "router" } else { "leaf" };
    let forwarded = shell::bytes(forwarded);
    shell.line(format_args!(
        "{role} in area {area}: {} routers, {links} directed links, {forwarded} forwarded for others",
        routers.len()
    ))?;
    if !routers.is_empty() {
        let rows = routers.into_iter().map(|router| {
            let heard = humantime::format_duration(Duration::from_secs(router.age_s)).to_string();
            let (leaves, groups) = (router.leaves.to_string(), router.groups.to_string());
            vec![router.name, router.neighbours.join(" "), leaves, groups, router.sequence.to_string(), heard]
        });
        shell.table(&["ROUTER", "NEIGHBOURS", "LEAVES", "GROUPS", "NUMBER", "HEARD"], rows.collect())?;
    }
    if !routes.is_empty() {
        let rows = routes.into_iter().map(|route| {
            let since = humantime::format_duration(Duration::from_secs(route.since_s)).to_string();
            let [way, delay, arrives, price] = cells(&route.path);
            let policy = if route.hurried { format!("{}, hurried", route.policy) } else { route.policy };
            vec![route.to, policy, way, delay, arrives, price, since]
        });
        shell.table(&["TO", "POLICY", "OVER", "DELAY", "ARRIVES", "PRICE/MB", "SINCE"], rows.collect())?;
    }
    if !doubts.is_empty() {
        let rows = doubts.into_iter().map(|doubt| {
            let works = format!("{:.0} %", doubt.works * 100.0);
            vec![doubt.from, doubt.to, works, if doubt.shunned { "shunned" } else { "" }.to_owned()]
        });
        shell.table(&["HOP FROM", "TO", "WORKS", ""], rows.collect())?;
    }
    Ok(Verdict::Done)
}

/// The cells of a path in a table: hops, delay, success, price.
pub(super) fn cells(path: &PathView) -> [String; 4] {
    let hop = |hop: &crate::gateway::dto::HopView| match &hop.bearer {
        Some(bearer) if bearer != "ethernet" => format!("{} ({bearer})", hop.to),
        _ => hop.to.clone(),
    };
    let hops: Vec<String> = path.hops.iter().map(hop).collect();
    [
        hops.join(" → "),
        format!("{:.1} ms", path.delay_ms),
        format!("{:.2} %", path.success * 100.0),
        format!("{}", path.price),
    ]
}
