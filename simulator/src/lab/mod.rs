//! Lab: a scenario played by real processes, in real time.
//!
//! **Mechanism.** [`layout`] determines which parts of a plan a lab can carry out, and in which form. [`drive`] starts
//! `m2mesh lab` with a node for each device ([`process`]), tells the nodes the shapes of their links ([`links`]), starts an
//! application on each ([`life`]), and then proceeds as the world of a simulation does: the same workload draws the same
//! messages from the same seed, the same agenda has the beginning and the end of each fault, and the same ledger is told
//! which messages were sent, how they ended and which arrived. Actions on a node take time, so a worker for each node does
//! them ([`worker`]). At the end of the run the ledger is checked as after a simulation, and [`measured`] says which
//! expectations can be judged.
//!
//! ```text
//! plan ──▶ layout ──▶ drive ──▶ verdicts, checks, what was not measured
//!                     │ ▲
//!        orders, lines│ │outcomes, inboxes, subscriptions
//!                     ▼ │
//!                 m2mesh lab: node-1 … node-N
//! ```
//!
//! Invariants
//! 1. Everything that was started is stopped when [`drive`] returns or is dropped.
//! 2. The parts of a scenario that a lab leaves out are listed in [`Layout::beyond`](layout::Layout::beyond), and the
//!    expectations that it does not measure in [`Played::unmeasured`]; both are shown to the user.
//! - The ledger and all reports to it are on one thread, whose [clock](crate::world::clock) is real.

mod driver;
mod ending;
pub mod layout;
mod life;
mod links;
mod measured;
mod process;
mod watch;
mod worker;

use crate::record::Summary;
use crate::scenario::Problem;
use crate::world::events::Events;
use crate::world::{Progress, clock};
use driver::Driver;
use layout::Layout;
use process::Place;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The options of a lab.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node's program, instead of the one beside this program.
    pub program: Option<PathBuf>,
    /// The file for events, with a JSON object a line.
    pub events: Option<PathBuf>,
}

/// The results of a lab.
#[derive(Debug)]
pub struct Played {
    /// The summary, as of a simulation, without the expectations that are not measured.
    pub summary: Summary,
    /// The expectations of metrics that are not measured.
    pub unmeasured: Vec<String>,
}

/// Plays a scenario in a directory of its own, and reports its progress.
pub fn play(
    layout: Layout,
    options: &Options,
    directory: &Path,
    told: &mut dyn FnMut(Progress),
) -> Result<Played, Problem> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::new(format!("nothing can be started: {error}"), "try again"))?;
    let place = Place::new(options.program.clone(), directory.join("lab"));
    runtime.block_on(async {
        let stopped = interrupted()?;
        tokio::select! {
            played = drive(layout, options, place, directory, told) => played,
            () = stopped => Err(Problem::new("it was stopped before its end", "start it again")),
        }
    })
}

async fn drive(
    layout: Layout,
    options: &Options,
    place: Place,
    directory: &Path,
    told: &mut dyn FnMut(Progress),
) -> Result<Played, Problem> {
    let plan = &layout.plan;
    let events = match &options.events {
        Some(path) => {
            let flows = plan.flows.iter().map(|flow| flow.name.clone()).collect();
            let created = Events::create(path, layout.names.clone(), flows, None);
            created
                .map_err(|error| Problem::new(format!("cannot write {}: {error}", path.display()), "check the path"))?
        }
        None => Events::default(),
    };
    let length = plan.warmup + plan.duration + plan.settle;
    let mut process = place.start(&layout, &directory.join("topology"), length + SPARE).await?;
    clock::begin();
    let mut driver = Driver::new(layout, place, events);
    driver.prepare().await?;
    driver.run(&mut process, told).await?;
    driver.finish().await
}

/// Returns a future that is ready when this process receives a signal to end.
fn interrupted() -> Result<impl Future<Output = ()>, Problem> {
    let failed = |error: std::io::Error| Problem::new(format!("cannot listen for signals: {error}"), "try again");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// The time by which a lab may run longer than its scenario: it starts and is told of its links before, and is asked
/// for its last state afterwards.
const SPARE: Duration = Duration::from_secs(300);
