//! `lab`: a local test network of real processes.
//!
//! A lab is an ephemeral realm with N device directories `node-1` … `node-N` in one directory, each with a process of
//! its own that listens on loopback. The processes run in process groups of their own, so that Ctrl-C reaches the lab
//! alone, which then stops them in good order. The kernel notifies each process when the lab's process ends, for
//! whatever reason (`run --parent`), so none is left behind. `lab.json` lists the nodes; the lock beside it shows
//! whether the lab runs.
//!
//! A node that is killed on purpose does not end the lab. Only the lab can start it again, so killing and starting go
//! through its `lab.sock`. Orders about links go to the nodes directly, over their local API (`PUT /v1/lab`).
//!
//! | file | is |
//! |-|-|
//! | [`prepare`] | directory, realm, ports, settings |
//! | [`topology`] | which nodes may link |
//! | [`nodes`] | the processes: starting, watching, killing, stopping |
//! | [`control`] | the control socket for `lab kill` and `lab start` |
//! | [`links`] | `lab cut`, `lab heal`, `lab shape` |
//! | [`view`] | the table on a terminal, and the lines elsewhere |
//! | [`record`] | `lab.json`, `lab status`, `lab exec` |

mod control;
mod links;
mod nodes;
mod prepare;
mod record;
mod topology;
mod view;

use super::failure::Failure;
use super::shell::{self, Shell};
use super::{Verdict, arguments, directory, shape};
use crate::identity::anonymity::Anonymity;
use crate::time::EpochLength;
use control::{Control, Request};
use nodes::{Event, Nodes};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use topology::Topology;
use view::View;

/// Runs a local test network of real node processes, until Ctrl-C
///
/// Each node is a process that listens on loopback. All nodes are contacts of each other, and link with each other as
/// the topology says. Without --dir, everything is removed at the end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh lab
  m2mesh lab --nodes 20 --topology grid --dir /tmp/lab
  m2mesh lab exec node-1 -- subscribe 'plant/#'
  m2mesh lab shape node-1 node-2 --delay 20ms --loss 1%
  m2mesh lab status --json")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    plan: Plan,
}

/// The lab to run.
#[derive(Debug, clap::Args)]
struct Plan {
    /// Number of nodes [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: Option<u16>,
    /// Which nodes may link: full, ring, line, grid, or a file with a line `node-1 node-2` per link [default: full]
    #[arg(long, value_name = "TOPOLOGY", value_parser = Topology::parse)]
    topology: Option<Topology>,
    /// Length of an epoch: at least 4s, and a divisor of a day [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = arguments::epoch)]
    epoch: Option<EpochLength>,
    /// For how long nodes but the first are known by one pseudonym: stable, rotating (an epoch), strict [default: stable]
    #[arg(long, value_name = "MODE", value_parser = arguments::anonymity)]
    anonymity: Option<Anonymity>,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = arguments::duration)]
    period: Option<Duration>,
}

impl Plan {
    /// The name of the first of these options that was given.
    fn given(&self) -> Option<&'static str> {
        let Self { nodes, topology, epoch, anonymity, period } = self;
        let given = [
            (nodes.is_some(), "--nodes"),
            (topology.is_some(), "--topology"),
            (epoch.is_some(), "--epoch"),
            (anonymity.is_some(), "--anonymity"),
            (period.is_some(), "--for"),
        ];
        given.into_iter().find(|(given, _)| *given).map(|(_, name)| name)
    }
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows the nodes of the running lab
    #[command(after_help = "Example:\n  m2mesh lab status")]
    Status,
    /// Runs a verb on a node of the running lab
    #[command(after_help = "Examples:
  m2mesh lab exec node-2 -- receive --follow
  m2mesh lab exec node-1 -- send node-2 hello")]
    Exec {
        /// The node, such as node-1
        node: String,
        /// The verb with its arguments
        #[arg(value_name = "VERB", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        verb: Vec<OsString>,
    },
    /// Kills a node of the running lab at once, as a crash would; the lab goes on without it
    #[command(after_help = "Example:\n  m2mesh lab kill node-2")]
    Kill {
        /// The node, such as node-1
        #[arg(value_parser = shape::name)]
        node: String,
    },
    /// Starts a node again that was killed or has ended
    #[command(after_help = "Example:\n  m2mesh lab start node-2")]
    Start {
        /// The node, such as node-1
        #[arg(value_parser = shape::name)]
        node: String,
    },
    /// Cuts two nodes off from each other, as if the cable between them were pulled
    #[command(after_help = "Examples:
  m2mesh lab cut node-1 node-2
  m2mesh lab cut node-1 node-2 --silent")]
    Cut {
        #[command(flatten)]
        pair: links::Pair,
        /// Leave their connections open, but let nothing arrive on them
        #[arg(long)]
        silent: bool,
    },
    /// Lets two nodes that were cut off link again, and removes the link's shape
    #[command(after_help = "Example:\n  m2mesh lab heal node-1 node-2")]
    Heal(links::Pair),
    /// Makes a link slow, narrow, lossy or expensive, in both directions; without options, shows its shape
    #[command(after_help = "Examples:
  m2mesh lab shape node-1 node-2 --delay 20ms --jitter 5ms --loss 1% --rate 10Mbit
  m2mesh lab shape node-1 node-2 --off
  m2mesh lab shape node-1 node-2")]
    Shape {
        #[command(flatten)]
        pair: links::Pair,
        #[command(flatten)]
        change: links::Change,
    },
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { action, plan } = arguments;
    let place = match shell.given() {
        Some(given) => Place { directory: given.to_owned(), ephemeral: false },
        None => Place { directory: directory::lab()?, ephemeral: true },
    };
    if let (Some(_), Some(given)) = (&action, plan.given()) {
        return Err(Failure::new(
            format!("{given} is for a lab that is to start, not for one that runs"),
            format!("leave {given} out, or start a lab without another verb"),
        ));
    }
    let directory = &place.directory;
    match action {
        Some(Action::Status) => record::status(&shell, directory).await,
        Some(Action::Exec { node, verb }) => record::exec(&shell, directory, &node, verb).await,
        Some(Action::Kill { node }) => order(&shell, directory, Request::Kill(node)).await,
        Some(Action::Start { node }) => order(&shell, directory, Request::Start(node)).await,
        Some(Action::Cut { pair, silent }) => links::cut(&shell, directory, &pair, silent).await,
        Some(Action::Heal(pair)) => links::heal(&shell, directory, &pair).await,
        Some(Action::Shape { pair, change }) => links::shape(&shell, directory, &pair, change).await,
        None => up(&shell, &place, plan).await,
    }
}

/// Has the running lab kill or start a node, and prints the result.
async fn order(shell: &Shell, directory: &Path, request: Request) -> Result<Verdict, Failure> {
    record::running(directory)?;
    let node = control::ask(directory, &request).await?;
    if shell.json {
        shell.object(&node)?;
    } else {
        let (Request::Kill(name) | Request::Start(name)) = &request;
        shell.line(format_args!("{name} {} (pid {})", node["state"].as_str().unwrap_or_default(), node["pid"]))?;
    }
    Ok(Verdict::Done)
}

/// The place of a lab.
struct Place {
    directory: PathBuf,
    /// Whether the directory is removed at the end.
    ephemeral: bool,
}

/// Sets up a lab, runs it, and cleans up. The lock is held all the while.
async fn up(shell: &Shell, place: &Place, plan: Plan) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let Plan { nodes: count, topology, epoch, anonymity, period } = plan;
    let count = count.unwrap_or(NODES);
    let links = topology.unwrap_or(Topology::Full).links(usize::from(count))?;
    let _lock = prepare::directory(&place.directory)?;
    let plans = prepare::nodes(
        &place.directory,
        count,
        (epoch.unwrap_or(EpochLength::HOUR), anonymity.unwrap_or_default()),
        &links,
    )?;
    let control = Control::bind(&place.directory)?;
    let mut nodes = Nodes::start(plans)?;
    let mut view = View::new(shell);
    let lab = Lab { directory: &place.directory, control, started, period };
    let result = match record::write(&place.directory, &nodes) {
        Ok(()) => lab.attend(&mut nodes, &mut view).await,
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

/// A lab that runs.
struct Lab<'a> {
    directory: &'a Path,
    control: Control,
    started: Instant,
    period: Option<Duration>,
}

impl Lab<'_> {
    /// Watches the nodes and carries out orders until a signal comes or the given period is over.
    async fn attend(self, nodes: &mut Nodes, view: &mut View) -> Result<Verdict, Failure> {
        let Self { directory, mut control, started, period } = self;
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
                    Some(event) => {
                        // Written before orders are answered, so that whoever gets an answer finds it in the record.
                        record::write(directory, nodes)?;
                        nodes.settle(&event);
                        view.event(nodes, &event)?;
                        if matches!(event, Event::Ended { .. }) && nodes.all_ended() {
                            return Err(Failure::new(
                                "all nodes have ended",
                                "start the lab with --dir and read their log.txt",
                            ));
                        }
                    }
                    None => return Ok(Verdict::Done),
                },
                order = control.next() => {
                    nodes.handle(order);
                    record::write(directory, nodes)?;
                }
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
}

/// Number of nodes of a lab by default.
const NODES: u16 = 5;
