//! m2mesh-sim: a simulator that runs up to a thousand real nodes in virtual time.
//!
//! It serves to plan a mesh before the devices are bought. This program runs the event loop of a device (`m2mesh::node`),
//! with its real libp2p Swarm, admission and engine, over a simulated medium and on a virtual clock, on one thread. The
//! same scenario, settings and seed give the same bytes on every wire.
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
//! [`scenario`] reads the file, [`plan`] is the scenario worked out for one seed, [`world`] runs it, [`lab`] lets real
//! processes play it, [`record`] is the result of a run, [`metrics`] defines the measured quantities, [`report`] writes the
//! page; [`fuzz`] draws scenarios; [`cli`] has one file for each verb.

mod cli;
mod fuzz;
mod lab;
mod linkage;
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
