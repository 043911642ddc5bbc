//! The lab: a scenario played by real processes, in real time.
//!
//! **Mechanism.** [`layout`] says what of a plan a lab can do, and in which form. [`drive`] starts `m2mesh lab` with a node for each device
//! ([`process`]), tells the nodes how their links behave ([`links`]), puts an application on each ([`life`]), and then goes round as the
//! world of a simulation does: the same workload draws the same messages from the same seed, the same agenda says when which fault
//! begins and ends, and the same ledger is told what was sent, how it ended and what arrived. What is done to a node takes time, so a
//! worker for each does it ([`worker`]). When all is over the ledger is checked as after a simulation, and [`measured`] says which
//! expectations can be held against it.
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
//! 1. Everything that was started is stopped when [`drive`] returns or is let go of.
//! 2. What of a scenario a lab does not do is in [`Layout::beyond`](layout::Layout::beyond), and what it does not
//!    measure in [`Played::unmeasured`]; neither is silent.
//! - The ledger and all that is told to it is on one thread, whose [clock](crate::world::clock) is real.

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

/// How to play.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The node's program, instead of the one beside this.
    pub program: Option<PathBuf>,
    /// Where to write events, a JSON object a line.
    pub events: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug)]
pub struct Played {
    /// As of a simulation; expectations that are not measured are not among its.
    pub summary: Summary,
    /// Expectations that could not be held against anything.
    pub unmeasured: Vec<String>,
}

/// Plays a scenario in a directory of its own, and tells how far it is.
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

/// Ready when this process is told to end.
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

/// How much longer than its scenario a lab may run: it starts and is told of its links before, and is asked afterwards.
const SPARE: Duration = Duration::from_secs(300);
