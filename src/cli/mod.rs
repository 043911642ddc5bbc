//! The `m2mesh` command: one verb, one file.
//!
//! A verb gets its arguments and a [`Shell`](shell::Shell), and ends in a [`Verdict`] or a [`Failure`]. The exit code
//! is 0 if it did what was asked, 2 if the answer is a definite no, and 1 on an error. An error is printed on standard
//! error with what to do next, as one JSON object under `--json`. Verbs that talk to a running node are clients of its
//! local API ([`gateway::client`](crate::gateway::client)) and of nothing else.

mod allocator;
mod arguments;
mod bench;
mod blob;
mod bulletin;
mod completions;
mod contacts;
mod directory;
mod exec;
mod failure;
mod histogram;
mod identity;
mod join;
mod lab;
mod lines;
mod links;
mod log;
mod machine;
mod mailbox;
mod man;
mod memory;
mod metrics;
mod offer;
mod offers;
mod passphrase;
mod peers;
mod publish;
mod realm;
mod receive;
mod request;
mod route;
mod routes;
mod run;
mod send;
mod shape;
mod shell;
mod status;
mod subscribe;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand, ValueEnum};
use failure::Failure;
use shell::Shell;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// A peer-to-peer mesh node for machines.
///
/// Exit codes: 0 done, 2 a definite no (undelivered, verification failed), 1 an error.
#[derive(Debug, Parser)]
#[command(
    name = "m2mesh",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(after_help = "Example:\n  m2mesh lab --nodes 5\n  m2mesh lab exec node-1 -- send node-2 'hello'")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// The arguments that every verb takes.
#[derive(Clone, Debug, clap::Args)]
struct Global {
    /// The node's directory [env: M2MESH_DIR; else ./m2mesh if it is there, else m2mesh/node in the state folder]
    #[arg(long, global = true, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print machine-readable output: one JSON object, or one line of JSON per item
    #[arg(long, global = true)]
    json: bool,
    /// Format of diagnostics on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    log_format: LogFormat,
    /// Diagnostics to show: error, warn, info, debug, trace, or a filter such as `m2mesh::net=debug,warn`
    #[arg(long, global = true, value_name = "LEVEL|FILTER")]
    log: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Lab(lab::Arguments),
    Realm(realm::Arguments),
    Join(join::Arguments),
    Run(run::Arguments),
    Passphrase(passphrase::Arguments),
    Bulletin(bulletin::Arguments),
    Status(status::Arguments),
    Identity(identity::Arguments),
    Metrics(metrics::Arguments),
    Peers(peers::Arguments),
    Links(links::Arguments),
    Mailbox(mailbox::Arguments),
    Routes(routes::Arguments),
    Route(route::Arguments),
    Contacts(contacts::Arguments),
    Send(send::Arguments),
    Blob(blob::Arguments),
    Request(request::Arguments),
    Offer(offer::Arguments),
    Offers(offers::Arguments),
    Receive(receive::Arguments),
    Publish(publish::Arguments),
    Subscribe(subscribe::Arguments),
    Log(log::Arguments),
    Bench(bench::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// How a verb ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It did what was asked.
    Done,
    /// The answer to what was asked is a definite no.
    No,
}

impl Verdict {
    fn of(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }
}

/// Runs the command line `arguments`, the program's name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, arguments.iter().any(|argument| argument == "--json")),
    };
    let json = cli.global.json;
    match execute(cli) {
        Ok(Verdict::Done) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(2),
        Err(failure) => failure.tell(json),
    }
}

/// Help and version are answers; anything else is an error in the arguments.
fn usage(error: &clap::Error, json: bool) -> ExitCode {
    let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if asked || !json {
        // The output may be closed already; then there is nobody left to tell.
        let _ = error.print();
        return if asked { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    Failure::usage(error).tell(true)
}

fn execute(cli: Cli) -> Result<Verdict, Failure> {
    let Cli { global, verb } = cli;
    diagnostics(&global, matches!(verb, Verb::Run(_)))?;
    memory::close();
    let mut runtime = match verb {
        Verb::Run(_) => tokio::runtime::Builder::new_multi_thread(),
        // The lab's nodes end with the thread that started them, so that has to be the main thread.
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(|error| {
        Failure::new(format!("cannot start: {error}"), "free some memory or file descriptors and try again")
    })?;
    let verdict = runtime.block_on(dispatch(verb, Shell::new(global.dir, global.json)));
    // A read of standard input may still block a thread; that must not keep the process alive.
    runtime.shutdown_background();
    verdict
}

async fn dispatch(verb: Verb, shell: Shell) -> Result<Verdict, Failure> {
    match verb {
        Verb::Lab(arguments) => Box::pin(lab::run(arguments, shell)).await,
        Verb::Realm(arguments) => realm::run(arguments, shell).await,
        Verb::Join(arguments) => join::run(arguments, shell).await,
        Verb::Run(arguments) => run::run(arguments, shell).await,
        Verb::Passphrase(arguments) => passphrase::run(arguments, shell).await,
        Verb::Bulletin(arguments) => bulletin::run(arguments, shell).await,
        Verb::Status(arguments) => status::run(arguments, shell).await,
        Verb::Identity(arguments) => identity::run(arguments, shell).await,
        Verb::Metrics(arguments) => metrics::run(arguments, shell).await,
        Verb::Peers(arguments) => peers::run(arguments, shell).await,
        Verb::Links(arguments) => links::run(arguments, shell).await,
        Verb::Mailbox(arguments) => mailbox::run(arguments, shell).await,
        Verb::Routes(arguments) => routes::run(arguments, shell).await,
        Verb::Route(arguments) => route::run(arguments, shell).await,
        Verb::Contacts(arguments) => contacts::run(arguments, shell).await,
        Verb::Send(arguments) => send::run(arguments, shell).await,
        Verb::Blob(arguments) => Box::pin(blob::run(arguments, shell)).await,
        Verb::Request(arguments) => request::run(arguments, shell).await,
        Verb::Offer(arguments) => until_interrupted(offer::run(arguments, shell)).await,
        Verb::Offers(arguments) => offers::run(arguments, shell).await,
        Verb::Receive(arguments) => until_interrupted(receive::run(arguments, shell)).await,
        Verb::Publish(arguments) => publish::run(arguments, shell).await,
        Verb::Subscribe(arguments) => until_interrupted(subscribe::run(arguments, shell)).await,
        Verb::Completions(arguments) => completions::run(arguments, shell).await,
        Verb::Man(arguments) => man::run(arguments, shell).await,
        Verb::Log(arguments) => until_interrupted(log::run(arguments, shell)).await,
        Verb::Bench(arguments) => until_interrupted(bench::run(arguments, shell)).await,
    }
}

/// Runs a verb that goes on until it is told to stop: Ctrl-C or SIGTERM ends it in good order.
async fn until_interrupted(verb: impl Future<Output = Result<Verdict, Failure>>) -> Result<Verdict, Failure> {
    tokio::select! {
        verdict = verb => verdict,
        result = shell::interrupted() => result.map(|()| Verdict::Done),
    }
}

/// Sends diagnostics to standard error. A bare level applies to m2mesh; the libraries below it stay at `warn`.
fn diagnostics(global: &Global, node: bool) -> Result<(), Failure> {
    let filter = match global.log.as_deref() {
        None if node => "m2mesh=info,warn".to_owned(),
        None => "warn".to_owned(),
        Some(level) if level.parse::<tracing_subscriber::filter::LevelFilter>().is_ok() => {
            format!("m2mesh={level},warn")
        }
        Some(filter) => filter.to_owned(),
    };
    let filter = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::new(
            format!("--log {filter:?} is no filter: {error}"),
            "give a level as debug, or a filter as m2mesh::net=debug,warn",
        )
    })?;
    // Standard error may be a file on a full disk: reporting there that it cannot be written would panic.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    // A subscriber can be set only once per process, and `lab exec` runs in a process that has set it.
    let _ = match global.log_format {
        LogFormat::Text => subscriber.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    Ok(())
}
