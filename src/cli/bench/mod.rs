//! `bench`: measures how fast messages go.
//!
//! `bench DEST` sends to a device over the mesh as it is, as any application would. `bench --local` measures this
//! machine: two processes exchange messages over loopback, in turn by raw TCP, by a bare libp2p stream and by m2mesh.
//! It runs several rounds, so that the ratios of one run can be compared, which depend little on the state of the
//! machine.
//!
//! | file | is |
//! |-|-|
//! | [`dest`] | `bench DEST` |
//! | [`local`] | `bench --local`: rounds, processes, the table |
//! | [`part`] | one of the two processes |
//! | [`pack`] | records in chunks, as raw TCP and the bare stream carry them |
//! | [`raw`], [`bare`], [`mesh`] | the contenders |

mod bare;
mod dest;
mod local;
mod mesh;
mod pack;
mod part;
mod raw;

use super::Verdict;
use super::arguments::{self, Ack, Class};
use super::failure::Failure;
use super::shell::Shell;
use std::time::Duration;

/// Measures how fast messages go
///
/// To DEST: sends messages of this size, with as many under way as the window allows, and measures the time to the
/// outcome of each; they stay in DEST's inbox. With --local: two processes on this machine, compared with raw TCP and a
/// bare libp2p stream in the same run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh bench meter-17
  m2mesh bench meter-17 --window 1 --for 10s
  m2mesh bench --local
  m2mesh bench --local --size 1024 --rounds 3 --json")]
pub(super) struct Arguments {
    /// The receiver's name
    #[arg(value_name = "DEST", required_unless_present_any = ["local", "part"], conflicts_with = "local")]
    to: Option<String>,
    /// Measure this machine over loopback, compared with raw TCP and a bare libp2p stream
    #[arg(long)]
    local: bool,
    /// Size of a message in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=60_000))]
    size: u16,
    /// How long each measurement takes
    #[arg(long = "for", value_name = "DURATION", default_value = "5s", value_parser = arguments::duration)]
    period: Duration,
    /// To DEST: the confirmation to wait for
    #[arg(long, value_enum, default_value = "end")]
    ack: Ack,
    /// To DEST: how urgent the messages are
    #[arg(long, value_enum, default_value = "telemetry")]
    class: Class,
    /// To DEST: most messages under way; 1 measures the latency of one
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    window: u32,
    /// With --local: number of rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// One of the processes of --local
    #[arg(long, value_name = "PART", hide = true)]
    part: Option<String>,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { to, local, size, period, ack, class, window, rounds, part } = arguments;
    if let Some(part) = part {
        return part::run(&part, &shell).await;
    }
    if local {
        return local::run(&shell, size, period, rounds).await;
    }
    let to = arguments::destination(&to.unwrap_or_default())?;
    dest::run(&shell, &to, dest::Load { size, period, ack, class, window }).await
}
