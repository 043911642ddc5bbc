//! `lab`: a local test network of real processes.
//!
//! A lab is an ephemeral realm and N device directories `node-1` … `node-N` in one directory, each with a process of
//! its own that listens on loopback. The processes run in groups of their own, so that Ctrl-C reaches the lab alone,
//! which then stops them in good order; and each is told by the kernel when the lab's process ends, however it ends
//! (`run --parent`), so none is left behind. `lab.json` says what there is; the lock beside it says whether it runs.
//!
//! A node that is killed on purpose does not end the lab. Only the lab can start it again, so that and the killing go
//! through its `lab.sock`. How nodes are linked they are told directly, over their local API (`PUT /v1/lab`).
//!
//! | file | is |
//! |-|-|
//! | [`prepare`] | directory, realm, ports, settings |
//! | [`topology`] | which nodes may link |
//! | [`nodes`] | the processes: starting, watching, killing, stopping |
//! | [`control`] | the way in for `lab kill` and `lab start` |
//! | [`links`] | `lab cut`, `lab heal`, `lab shape` |
//! | [`view`] | the table, and what is said when there is no terminal |
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
/// Each node is a process that listens on loopback; all have each other as contacts, and link with each other as the
/// topology says. Without --dir, everything is removed at the end.
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

/// What lab to run.
#[derive(Debug, clap::Args)]
struct Plan {
    /// How many nodes [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    nodes: Option<u16>,
    /// Which nodes may link: full, ring, line, grid, or a file with a line `node-1 node-2` for each link [default: full]
    #[arg(long, value_name = "TOPOLOGY", value_parser = Topology::parse)]
    topology: Option<Topology>,
    /// Length of an epoch: divides a day, at least 4s [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = arguments::epoch)]
    epoch: Option<EpochLength>,
    /// Stop after this long
    #[arg(long = "for", value_name = "DURATION", value_parser = arguments::duration)]
    period: Option<Duration>,
}

impl Plan {
    /// Which of these was given.
    fn given(&self) -> Option<&'static str> {
        let Self { nodes, topology, epoch, period } = self;
        let given = [
            (nodes.is_some(), "--nodes"),
            (topology.is_some(), "--topology"),
            (epoch.is_some(), "--epoch"),
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
    /// Kills a node of the running lab at once, as a crash would; the lab goes on without it
    #[command(after_help = "Example:\n  m2mesh lab kill node-2")]
    Kill {
        /// The node, as node-1
        #[arg(value_parser = shape::name)]
        node: String,
    },
    /// Starts a node again that was killed or has ended
    #[command(after_help = "Example:\n  m2mesh lab start node-2")]
    Start {
        /// The node, as node-1
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
        /// Leaves their connections open, and nothing arrives on them
        #[arg(long)]
        silent: bool,
    },
    /// Lets two nodes link again that were cut off, and removes the link's shape
    #[command(after_help = "Example:\n  m2mesh lab heal node-1 node-2")]
    Heal(links::Pair),
    /// Makes a link slow, narrow, lossy or dear, in both directions; without options, shows how it is
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

/// Has the running lab kill or start a node.
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

/// Where the lab is.
struct Place {
    directory: PathBuf,
    /// Removed at the end.
    ephemeral: bool,
}

/// From nothing to a running lab and back. The lock is held all the while.
async fn up(shell: &Shell, place: &Place, plan: Plan) -> Result<Verdict, Failure> {
    let started = Instant::now();
    let Plan { nodes: count, topology, epoch, period } = plan;
    let count = count.unwrap_or(NODES);
    let links = topology.unwrap_or(Topology::Full).links(usize::from(count))?;
    let _lock = prepare::directory(&place.directory)?;
    let plans = prepare::nodes(&place.directory, count, epoch.unwrap_or(EpochLength::HOUR), &links)?;
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
    /// Watches the nodes and takes orders until the end: a signal, or the period given.
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
                        // Who is answered finds it written down.
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

/// Nodes of a lab when nothing is said.
const NODES: u16 = 5;
