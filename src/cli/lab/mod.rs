//! `lab`: a local test network of real processes.
//!
//! A lab is an ephemeral realm and N device directories `node-1` … `node-N` in one directory, each with a process of
//! its own that listens on loopback. The processes run in groups of their own, so that Ctrl-C reaches the lab alone,
//! which then stops them in good order; and each is told by the kernel when the lab's process ends, however it ends
//! (`run --parent`), so none is left behind. `lab.json` says what there is; the lock beside it says whether it runs.
//!
//! | file | is |
//! |-|-|
//! | [`prepare`] | directory, realm, ports, settings |
//! | [`nodes`] | the processes: starting, watching, stopping |
//! | [`view`] | the table, and what is said when there is no terminal |
//! | [`record`] | `lab.json`, `lab status`, `lab exec` |

mod nodes;
mod prepare;
mod record;
mod view;

use super::failure::Failure;
use super::shell::{self, Shell};
use super::{Verdict, arguments, directory};
use crate::time::EpochLength;
use nodes::{Event, Nodes};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use view::View;

/// Runs a local test network of real node processes, until Ctrl-C
///
/// Each node is a process that listens on loopback; all know each other and have each other as contacts. Without
/// --dir, everything is removed at the end.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  m2mesh lab
  m2mesh lab --nodes 20 --dir /tmp/lab
  m2mesh lab exec node-1 -- subscribe 'plant/#'
  m2mesh lab status --json")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: u16,
    /// Length of an epoch: divides a day, at least 4s
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = arguments::epoch)]
    epoch: EpochLength,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = arguments::duration)]
    period: Option<Duration>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows the nodes of the running lab
    #[command(after_help = "Example:\n  m2mesh lab status")]
    Status,
    /// Runs a verb against a node of the running lab
    #[command(after_help = "Examples:
  m2mesh lab exec node-2 -- receive --follow
  m2mesh lab exec node-1 -- send node-2 hello")]
    Exec {
        /// The node, as node-1
        node: String,
        /// The verb with its arguments
        #[arg(value_name = "VERB", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        verb: Vec<OsString>,
    },
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { action, nodes, epoch, period } = arguments;
    let place = match shell.given() {
        Some(given) => Place { directory: given.to_owned(), ephemeral: false },
        None => Place { directory: directory::lab()?, ephemeral: true },
    };
    match action {
        Some(Action::Status) => record::status(&shell, &place.directory).await,
        Some(Action::Exec { node, verb }) => record::exec(&shell, &place.directory, &node, verb).await,
        None => up(&shell, &place, nodes, epoch, period).await,
    }
}

/// Where the lab is.
struct Place {
    directory: PathBuf,
    /// Removed at the end.
    ephemeral: bool,
}

/// From nothing to a running lab and back. The lock is held all the while.
async fn up(
    shell: &Shell,
    place: &Place,
    count: u16,
    epoch: EpochLength,
    period: Option<Duration>,
) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let _lock = prepare::directory(&place.directory)?;
    let plans = prepare::nodes(&place.directory, count, epoch)?;
    let mut nodes = Nodes::start(plans)?;
    let mut view = View::new(shell);
    let result = match record::write(&place.directory, &nodes) {
        Ok(()) => attend(&mut nodes, &mut view, started, period).await,
        Err(failure) => Err(failure),
    };
    view.stopping(&nodes)?;
    let killed = nodes.stop().await;
    if killed > 0 {
        shell.note(format_args!("{killed} did not stop in {} s and were killed", nodes::PATIENCE.as_secs()));
    }
    prepare::clear(&place.directory, place.ephemeral)?;
    result
}

/// Watches the nodes until the end: a signal, or the period given.
async fn attend(
    nodes: &mut Nodes,
    view: &mut View,
    started: Instant,
    period: Option<Duration>,
) -> Result<Verdict, Failure> {
    let interrupted = shell::interrupted();
    let over = async move {
        match period {
            Some(period) => tokio::time::sleep(period).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(interrupted, over);
    let mut refresh = tokio::time::interval(view.interval());
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            event = nodes.next() => match event {
                Some(event @ Event::Ended { .. }) => {
                    view.event(nodes, &event)?;
                    if nodes.running() == 0 {
                        return Err(Failure::new("all nodes have ended", "start the lab with --dir and read their log.txt"));
                    }
                }
                Some(event) => view.event(nodes, &event)?,
                None => return Ok(Verdict::Done),
            },
            _ = refresh.tick() => {
                if view.wants_counts() {
                    nodes.ask().await;
                }
                view.refresh(nodes, started.elapsed())?;
            }
            result = &mut interrupted => return result.map(|()| Verdict::Done),
            () = &mut over => return Ok(Verdict::Done),
        }
    }
}
