//! `log`: prints the event log, or verifies it.
//!
//! If a node runs, it is asked. Otherwise the store is read directly, without changing it.

use super::failure::Failure;
use super::shell::Shell;
use super::{Verdict, arguments};
use crate::event_log::Event;
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{LogPage, LogQuery, LogRecord, LogVerdict, Moment, OlderLog};
use crate::gateway::pages::{self, PageError};
use crate::store::{DirectoryLock, OpenError, SledReader, SledStore, Store};
use clap::builder::PossibleValuesParser;
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
    /// Only events of this kind, such as link-up or refused
    #[arg(long, value_parser = kinds(), hide_possible_values = true)]
    kind: Option<String>,
    /// Only events from this time on, as 2026-01-31T12:00:00Z, or as 10m: that long ago
    #[arg(long, value_name = "TIME", value_parser = arguments::moment)]
    since: Option<Moment>,
    /// Only events up to this time
    #[arg(long, value_name = "TIME", value_parser = arguments::moment)]
    until: Option<Moment>,
    /// Continue with new records, until Ctrl-C; needs a running node
    #[arg(long)]
    follow: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Checks the chain of hashes, and names the first bad record if there is one
    #[command(after_help = "Example:\n  m2mesh log verify --dir /var/lib/m2mesh")]
    Verify,
}

/// The kinds of events, and `unknown` for those of a later version.
fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Event::NAMES.into_iter().chain(["unknown"]))
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
            None => match client.get_patiently("/v1/log", &query).await {
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
    let verdict: LogVerdict = match client.get_patiently("/v1/log/verify", &()).await {
        Err(ClientError::NotRunning(directory)) => verify_offline(&directory)?,
        verdict => verdict?,
    };
    if shell.json {
        shell.object(&verdict)?;
        return Ok(Verdict::of(verdict.intact));
    }
    let LogVerdict { intact, records, first, last, head, first_bad, reason, older } = verdict;
    shell.line(match (first_bad, head) {
        (Some(0), _) => format!("broken: {}", reason.unwrap_or_default()),
        (Some(bad), _) => format!("broken: record {bad} {}", reason.unwrap_or_default()),
        (None, Some(head)) if records > 0 => format!("intact: {records} records, {first} to {last}, head {head}"),
        (None, _) => "intact: no records yet".to_owned(),
    })?;
    if let Some(OlderLog { kept, records, head, place }) = older {
        shell.line(format!(
            "before them: a log of {records} records with head {head} was set aside with its damaged store as {place}; \
             {kept} of its records are still here, and nothing vouches for them"
        ))?;
    }
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

/// The store of a node that does not run. The lock keeps a node from starting on it meanwhile.
struct Offline {
    reader: SledReader,
    _store: SledStore,
    _lock: DirectoryLock,
}

/// Verifies the log as the node would. If the store cannot be opened, verifies what can be read of a copy: up to the
/// damage, that is the store as it once was, so that the record after its last is the first one lost.
fn verify_offline(directory: &Path) -> Result<LogVerdict, Failure> {
    let _lock = lock(directory)?;
    let failed = |error| Failure::split(error, "check the directory given by --dir and the disk");
    let reason = match SledStore::inspect(directory) {
        Ok(store) => return pages::verify_log(&store.reader()).map_err(unreadable),
        Err(OpenError::Damaged { reason, .. }) => reason,
        Err(error) => return Err(failed(error)),
    };
    let found = SledStore::salvage(directory, |reader| pages::verify_log(&reader)).map_err(failed)?;
    let broken = |first_bad, reason| LogVerdict {
        intact: false,
        records: 0,
        first: 0,
        last: 0,
        head: None,
        first_bad: Some(first_bad),
        reason: Some(reason),
        older: None,
    };
    let Some(found) = found.transpose().map_err(unreadable)? else {
        return Ok(broken(0, format!("the store cannot be read at all: {reason}")));
    };
    if !found.intact {
        return Ok(found);
    }
    let (records, first, last) = (found.records, found.first, found.last);
    let lost = broken(last + 1, format!("cannot be read, nor what comes after it: the store is damaged: {reason}"));
    Ok(LogVerdict { records, first, last, ..lost })
}

/// Opens the store in a node's directory, if there is one. The store is not changed.
fn offline_log(directory: &Path) -> Result<Offline, Failure> {
    let lock = lock(directory)?;
    let store = SledStore::inspect(directory)
        .map_err(|error| Failure::split(error, "check the directory given by --dir and the disk"))?;
    Ok(Offline { reader: store.reader(), _store: store, _lock: lock })
}

/// Keeps a node from starting on an existing store.
fn lock(directory: &Path) -> Result<DirectoryLock, Failure> {
    if !directory.join(STORE).is_dir() {
        return Err(ClientError::NotRunning(directory.to_owned()).into());
    }
    DirectoryLock::take_to_look(directory)
        .map_err(|error| Failure::split(error, "wait until the node is up, then try again"))
}

fn unreadable(error: PageError) -> Failure {
    Failure::new(error.to_string(), "start the node: it repairs its store, or says what it cannot repair")
}

/// Name of the store's directory within the node's directory.
const STORE: &str = "store";
/// Records read at a time if no node runs.
const OFFLINE_PAGE: usize = 1_000;
