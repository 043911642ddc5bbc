//! `log`: what happened on this device, and whether its record is intact.
//!
//! A running node is asked; where none runs, the store is read directly, and not changed by it.

use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, arguments, machine};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{LogPage, LogQuery, LogRecord, LogVerdict, Moment};
use crate::gateway::pages::{self, PageError};
use crate::store::{DirectoryLock, Quarantine, SledReader, SledStore, Store};
use std::path::Path;

/// Prints the event log: what happened on this device
///
/// Works while the node runs and while it does not.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:
  m2mesh log --kind link-up --since 10m
  m2mesh log --follow --json
  m2mesh log verify")]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only this kind, as link-up or refused
    #[arg(long)]
    kind: Option<String>,
    /// From this time on, as 2026-01-31T12:00:00Z, or as 10m: that long ago
    #[arg(long, value_name = "TIME", value_parser = arguments::moment)]
    since: Option<Moment>,
    /// Up to this time
    #[arg(long, value_name = "TIME", value_parser = arguments::moment)]
    until: Option<Moment>,
    /// Go on with records as they come, until Ctrl-C; needs a running node
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Checks the chain of hashes; names the first bad record, if there is one
    #[command(after_help = "Example:\n  m2mesh log verify --dir /var/lib/m2mesh")]
    Verify,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { action, kind, since, until, follow } = arguments;
    let query = LogQuery { kind, since, until, after: None, limit: None };
    let client = shell.client()?;
    match action {
        Some(Action::Verify) => verify(&shell, &client).await,
        None if follow => follow_log(&shell, &client, &query).await,
        None => print_log(&shell, &client, query).await,
    }
}

async fn print_log(shell: &Shell, client: &Client, mut query: LogQuery) -> Result<Verdict, Failure> {
    let mut offline = None;
    loop {
        let page: LogPage = match &offline {
            None => match client.get("/v1/log", &query).await {
                Err(ClientError::NotRunning(directory)) => {
                    offline = Some(offline_log(&directory)?);
                    continue;
                }
                page => page?,
            },
            Some(Offline { reader, .. }) => {
                let first = query.after.map_or(1, |after| after.saturating_add(1));
                pages::log(reader, &query, first..=u64::MAX, OFFLINE_PAGE).map_err(unreadable)?
            }
        };
        for record in page.records {
            print(shell, &record)?;
        }
        if !page.more {
            return Ok(Verdict::Done);
        }
        query.after = Some(page.after);
    }
}

async fn follow_log(shell: &Shell, client: &Client, query: &LogQuery) -> Result<Verdict, Failure> {
    let mut events = client.events("/v1/log/follow", query).await?;
    while let Some(record) = events.next::<LogRecord>().await? {
        print(shell, &record)?;
    }
    Err(Failure::new("the node stopped", "start it again with `m2mesh run`, or read on without --follow"))
}

async fn verify(shell: &Shell, client: &Client) -> Result<Verdict, Failure> {
    let verdict: LogVerdict = match client.get("/v1/log/verify", &()).await {
        Err(ClientError::NotRunning(directory)) => {
            pages::verify_log(&offline_log(&directory)?.reader).map_err(unreadable)?
        }
        verdict => verdict?,
    };
    if shell.json {
        shell.object(&verdict)?;
        return Ok(Verdict::of(verdict.intact));
    }
    let LogVerdict { intact, records, first, last, head, first_bad, reason } = verdict;
    shell.line(match (first_bad, head) {
        (Some(0), _) => format!("broken: {}", reason.unwrap_or_default()),
        (Some(bad), _) => format!("broken: record {bad} {}", reason.unwrap_or_default()),
        (None, Some(head)) if records > 0 => format!("intact: {records} records, {first} to {last}, head {head}"),
        (None, _) => "intact: no records yet".to_owned(),
    })?;
    Ok(Verdict::of(intact))
}

fn print(shell: &Shell, record: &LogRecord) -> Result<(), Failure> {
    if shell.json {
        return shell.object(record);
    }
    let LogRecord { sequence, at, kind, text, details: _, hash: _ } = record;
    let kind = console::style(format!("{kind:<17}"));
    let kind = if shell.terminal { kind.cyan() } else { kind };
    shell.line(format_args!("{at} {sequence:>6} {kind} {text}"))
}

/// The store of a node that does not run, held so that none starts on it meanwhile.
struct Offline {
    reader: SledReader,
    _store: SledStore,
    _lock: DirectoryLock,
}

/// Opens the store in a node's directory, where there is one; nothing in it changes, unless it is damaged: then it
/// is set aside, as at a start of the node.
fn offline_log(directory: &Path) -> Result<Offline, Failure> {
    if !directory.join(STORE).is_dir() {
        return Err(ClientError::NotRunning(directory.to_owned()).into());
    }
    let lock = DirectoryLock::take(directory)
        .map_err(|error| Failure::new(error.to_string(), "wait until the node is up, then try again"))?;
    let opened = SledStore::open(directory, machine::now())
        .map_err(|error| Failure::new(error.to_string(), "check the directory given by --dir and the disk"))?;
    match opened.quarantined {
        None => Ok(Offline { reader: opened.store.reader(), _store: opened.store, _lock: lock }),
        Some(Quarantine { place, reason }) => Err(Failure::new(
            format!("the store in {} was damaged and is set aside as {place}: {reason}", directory.display()),
            "keep that directory for an analysis; the node starts with an empty store",
        )),
    }
}

fn unreadable(error: PageError) -> Failure {
    Failure::new(error.to_string(), "start the node: it repairs its store, or says what it cannot repair")
}

/// Name of the store within the node's directory.
const STORE: &str = "store";
/// Records read at a time where no node runs.
const OFFLINE_PAGE: usize = 1_000;
