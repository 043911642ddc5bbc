//! m2mesh-sim: the node itself, a thousand of them, in virtual time.
//!
//! A mesh is planned before it is bought. This program runs the loop that runs on devices (`m2mesh::node`), with its real
//! libp2p Swarm, admission and engine, over a simulated medium and on a virtual clock, on one thread. The same
//! scenario, settings and seed give the same bytes on every wire.
//!
//! ```text
//! scenario  ──▶  plan  ──▶  world  ──▶  record  ──▶  report
//! one TOML       drawn      devices,    metrics,     one HTML page
//! file, one      from the   medium,     checks,
//! question       seed       faults      series
//!                   │
//!                   └────▶  lab         real processes, in real time
//! ```
//!
//! [`scenario`] reads the file, [`plan`] says what it comes to for one seed, [`world`] runs it, [`lab`] has real processes play it, [`record`] is what a run
//! leaves behind, [`metrics`] what is measured, [`report`] the page; [`fuzz`] draws scenarios; [`cli`] has one file a verb.

mod cli;
mod fuzz;
mod lab;
mod metrics;
mod plan;
mod record;
mod report;
mod scenario;
mod virtual_os;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
