//! `run`: the node, in the foreground.

use super::failure::Failure;
use super::shell::{self, Shell};
use super::{Verdict, allocator, passphrase};
use crate::node::handle::Builder;
use crate::node::handle::Node;
use futures_timer::Delay;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;

/// Runs the node in the foreground, until Ctrl-C or SIGTERM
///
/// By default it listens on all interfaces at port 7707, by TCP and QUIC. If another program uses that port, it takes
/// another one, which it keeps from then on. Once it listens, it prints a line `READY name=… listen=…` (and notifies
/// systemd). Diagnostics go to standard error. Settings come from config.toml in its directory unless --config names
/// another file.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh run --dir /var/lib/m2mesh
  m2mesh run --listen /ip4/0.0.0.0/udp/7707/quic-v1 --bootstrap /dns4/hub.example/tcp/7707")]
pub(super) struct Arguments {
    /// File with the settings, instead of config.toml in the node's directory
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this multiaddress, instead of those in the settings; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Connect to this multiaddress, in addition to those in the settings; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    bootstrap: Vec<String>,
    /// Do not look for members on the local network by multicast DNS, whatever the settings say
    #[arg(long)]
    no_mdns: bool,
    #[command(flatten)]
    passphrase: passphrase::Source,
    /// Stop when this process, which started the node, ends
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<i32>,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { config, listen, bootstrap, no_mdns, passphrase, parent } = arguments;
    if let Some(parent) = parent {
        end_with(parent)?;
    }
    allocator::return_large_blocks();
    let dir = shell.node_directory()?;
    let keys = passphrase.keyring(&dir)?;
    // Signals are caught from here on: a node that is told to stop while it starts stops once it has started, or when
    // its grace period is over.
    let interrupted = heed_signals();
    let mut builder = Node::builder(dir).keys(keys).mdns(!no_mdns);
    builder = listen.into_iter().fold(builder, Builder::listen);
    builder = bootstrap.into_iter().fold(builder, Builder::bootstrap);
    if let Some(config) = config {
        builder = builder.config(config);
    }
    let started = builder.start().await;
    let node = started
        .map_err(|error| Failure::split(error, "see the diagnostics above; `m2mesh run --log debug` shows more"))?;
    announce(&shell, node.name(), node.listen());
    match interrupted {
        // The sender lives as long as the process.
        Ok(interrupted) => drop(interrupted.await),
        Err(failure) => {
            // Without signals the node can still be killed, which its store survives.
            failure.tell(shell.json);
            return std::future::pending().await;
        }
    }
    tracing::info!("stopping");
    // The node stops even if the service manager cannot be notified.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    node.stop().await;
    Ok(Verdict::Done)
}

fn announce(shell: &Shell, name: &str, listen: &[String]) {
    let line = match shell.json {
        true => serde_json::json!({ "ready": true, "name": name, "listen": listen }).to_string(),
        false => format!("READY name={name} listen={}", listen.join(",")),
    };
    let mut out = std::io::stdout().lock();
    // The node runs even if nobody reads this line.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "the service manager was not told that the node is ready");
    }
}

/// Has the kernel send SIGTERM when the process that started this one ends, for whatever reason.
fn end_with(parent: i32) -> Result<(), Failure> {
    let failed = |what: String| Failure::new(what, "start the node without --parent");
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
        .map_err(|error| failed(format!("cannot ask to be told of the parent's end: {error}")))?;
    // The parent may have ended before the kernel was asked.
    match rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()) {
        Some(present) if present == parent => Ok(()),
        _ => Err(failed(format!("process {parent}, which started this node, is gone"))),
    }
}

/// Listens for Ctrl-C and SIGTERM on a thread of its own, which an overloaded machine or a stuck task does not delay as
/// it would delay the node. The receiver returned is ready at either signal. The process ends when the grace period is
/// over, at the latest.
fn heed_signals() -> Result<oneshot::Receiver<()>, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("cannot listen for signals: {error}"), "try again");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let entered = runtime.enter();
    let interruption = shell::interruption()?;
    drop(entered);
    let (tell, interrupted) = oneshot::channel();
    let heed = move || {
        runtime.block_on(interruption);
        // A node that has failed meanwhile no longer listens.
        let _ = tell.send(());
        runtime.block_on(Delay::new(GRACE));
        shell::complain(&format_args!("stopping took longer than {} s; stopped at once", GRACE.as_secs()));
        std::process::exit(1);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(heed).map_err(failed)?;
    Ok(interrupted)
}

/// How long an orderly stop may take: less than the lab and service managers wait before they kill the process.
const GRACE: Duration = Duration::from_secs(4);
