//! `blob`: large payloads, put here, fetched from others and sent to them.
//!
//! Bytes go to the node and come from it as a stream: none of these verbs holds a blob in memory. A transfer goes on by
//! itself when its node comes back, and the command asks again under the same name.

use super::Verdict;
use super::arguments;
use super::failure::Failure;
use super::send;
use super::shell::{self, Shell};
use crate::gateway::client::{Client, ClientError};
use crate::gateway::dto::{
    Blob, BlobFetchQuery, BlobLine, BlobPutQuery, BlobSendQuery, BlobTaken, Done, Outcome, Span,
};
use axum::body::{Body, Bytes};
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Puts, fetches, sends and lists large payloads, of up to 1 GiB
///
/// A blob is named by the hash of its content. It travels in verified chunks: a transfer that is cut goes on at the chunk
/// that was under way, also after a restart of either end.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh blob put @map.tiles
  m2mesh blob get 3b2c…e1 -o map.tiles
  m2mesh blob send meter-17 @firmware.bin --deadline 6h
  m2mesh blob list")]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Puts a file here for all contacts, and prints its hash
    #[command(after_help = "Example:\n  m2mesh blob put @survey.tif")]
    Put {
        /// The file, as `@FILE` or `FILE`; `-` for standard input
        #[arg(value_name = "@FILE")]
        file: String,
        /// Only contacts that it is sent to may fetch it
        #[arg(long)]
        private: bool,
    },
    /// Fetches a blob from the contacts that have it, from several at once
    ///
    /// Without -o, and with standard output piped, the blob is written there.
    #[command(after_help = "Example:\n  m2mesh blob get 3f9a5c… -o survey.tif --from hub")]
    Get {
        /// The blob's hash
        #[arg(value_name = "HASH")]
        hash: String,
        /// Write it to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Ask these contacts only
        #[arg(long, value_name = "NAME", num_args = 1..)]
        from: Vec<String>,
        /// Let all contacts fetch it from here, too
        #[arg(long)]
        share: bool,
        /// Give up after this long; what has come stays for the next attempt
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = arguments::duration)]
        deadline: Duration,
    },
    /// Sends a file to a device's inbox and prints its outcome
    ///
    /// The outcome is `delivered` once the receiver has all of it, verified and durable.
    #[command(after_help = "Example:\n  m2mesh blob send hub @survey.tif")]
    Send {
        /// The receiver's name
        #[arg(value_name = "DEST")]
        to: String,
        /// The file, as `@FILE` or `FILE`; `-` for standard input
        #[arg(value_name = "@FILE")]
        file: String,
        /// The name that the receiver is told; that of the file, if absent
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Give up after this long
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = arguments::duration)]
        deadline: Duration,
    },
    /// Lists the blobs that are here
    #[command(after_help = "Example:\n  m2mesh blob list --json")]
    List,
    /// Removes a blob from here
    #[command(after_help = "Example:\n  m2mesh blob remove 3f9a5c…")]
    Remove {
        /// The blob's hash
        #[arg(value_name = "HASH")]
        hash: String,
    },
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let client = shell.client()?;
    match arguments.verb {
        Verb::Put { file, private } => {
            let taken = put(&shell, &client, Source::open(&file)?, true, !private).await?;
            if shell.json {
                shell.object(&taken)?
            } else {
                shell.line(&taken.hash)?
            }
            Ok(Verdict::Done)
        }
        Verb::Get { hash, output, from, share, deadline } => {
            let query = BlobFetchQuery { from: from.join(","), shared: share, deadline: Span(deadline) };
            get(&shell, &client, &hash, output.as_deref(), &query).await
        }
        Verb::Send { to, file, name, deadline } => {
            let to = arguments::destination(&to)?.to_string();
            let source = Source::open(&file)?;
            let name = name.unwrap_or_else(|| source.name.clone());
            send_source(&shell, &client, &to, source, name, deadline).await
        }
        Verb::List => list(&shell, &client).await,
        Verb::Remove { hash } => {
            let Done {} = client.delete(&format!("/v1/blobs/{hash}")).await?;
            Ok(Verdict::Done)
        }
    }
}

/// Where the bytes of a blob come from.
pub(super) struct Source {
    read: Box<dyn Read + Send>,
    length: Option<u64>,
    name: String,
}

impl Source {
    /// Opens `@FILE`, `FILE` or `-`.
    fn open(argument: &str) -> Result<Self, Failure> {
        if argument == "-" {
            return Ok(Self { read: Box::new(io::stdin()), length: None, name: String::new() });
        }
        Self::file(Path::new(argument.strip_prefix('@').unwrap_or(argument)))
    }

    /// Opens a file.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::file("read", path, &error);
        let file = File::open(path).map_err(failed)?;
        let data = file.metadata().map_err(failed)?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { read: Box::new(file), length: data.is_file().then_some(data.len()), name })
    }

    /// What was read already, and standard input behind it.
    pub(super) fn begun(bytes: Vec<u8>) -> Self {
        Self { read: Box::new(io::Cursor::new(bytes).chain(io::stdin())), length: None, name: String::new() }
    }

    /// The length, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The name that the receiver is told.
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// Hands a blob in to the node.
pub(super) async fn put(
    shell: &Shell,
    client: &Client,
    source: Source,
    keep: bool,
    shared: bool,
) -> Result<BlobTaken, Failure> {
    let bar = progress(shell, "reading", source.length);
    let counted = bar.clone();
    let parts = futures::stream::unfold(source.read, move |mut read| {
        let mut part = vec![0; PART];
        let found = read.read(&mut part);
        if let Ok(length) = &found {
            part.truncate(*length);
            counted.inc(*length as u64);
        }
        let item = match found {
            Ok(0) => None,
            Ok(_) => Some((Ok(Bytes::from(part)), read)),
            Err(error) => Some((Err(error), read)),
        };
        std::future::ready(item)
    });
    let taken = client.upload("/v1/blobs", &BlobPutQuery { keep, shared }, Body::from_stream(parts)).await;
    bar.finish_and_clear();
    Ok(taken?)
}

/// Hands a blob in and sends it. Asks again under the same name while the node comes back.
pub(super) async fn send_source(
    shell: &Shell,
    client: &Client,
    to: &str,
    source: Source,
    name: String,
    deadline: Duration,
) -> Result<Verdict, Failure> {
    let taken = put(shell, client, source, false, false).await?;
    let id = Some(send::new_id()?);
    let query = BlobSendQuery { to: to.to_owned(), name, deadline: Span(deadline), id };
    let bar = progress(shell, "sending", Some(taken.length));
    let path = format!("/v1/blobs/{}/send", taken.hash);
    let ended = follow(shell, client, &path, &query, &bar, deadline).await;
    bar.finish_and_clear();
    match ended? {
        Some(outcome) => send::tell(shell, &outcome, to),
        None => Err(Failure::new("the node did not say how it ended", "look at `m2mesh log --kind message-failed`")),
    }
}

async fn get(
    shell: &Shell,
    client: &Client,
    hash: &str,
    output: Option<&Path>,
    query: &BlobFetchQuery,
) -> Result<Verdict, Failure> {
    let bar = progress(shell, "fetching", None);
    let ended = follow(shell, client, &format!("/v1/blobs/{hash}/fetch"), query, &bar, query.deadline.0).await;
    bar.finish_and_clear();
    if let Some(outcome) = ended? {
        return send::tell(shell, &outcome, hash);
    }
    match output {
        Some(path) => write_file(client, hash, path).await?,
        None if !shell.json && !io::stdout().is_terminal() => write_out(client, hash).await?,
        None if !shell.json => shell.line(format_args!("{hash} is here; -o FILE writes it to a file"))?,
        None => {}
    }
    Ok(Verdict::Done)
}

/// Follows a transfer to its end, also over a restart of the node. Returns its outcome; `None` if it is whole.
async fn follow(
    shell: &Shell,
    client: &Client,
    path: &str,
    query: &impl serde::Serialize,
    bar: &ProgressBar,
    deadline: Duration,
) -> Result<Option<Outcome>, Failure> {
    let mut gone: Option<Instant> = None;
    loop {
        let broken = match attempt(shell, client, path, query, bar).await {
            Ok(ended) => return Ok(ended),
            Err(Attempt::Failure(failure)) => return Err(failure),
            Err(Attempt::Client(error)) => error,
        };
        let since = *gone.get_or_insert_with(|| {
            shell.note("the node has gone; it is asked again when it is back");
            Instant::now()
        });
        let absent =
            matches!(broken, ClientError::Broken(_) | ClientError::NotRunning(_) | ClientError::Connect { .. });
        if !absent || since.elapsed() > deadline.min(PATIENCE) {
            return Err(broken.into());
        }
        if matches!(broken, ClientError::Broken(_)) {
            gone = Some(Instant::now());
        }
        tokio::time::sleep(RETRY).await;
    }
}

enum Attempt {
    Client(ClientError),
    Failure(Failure),
}

async fn attempt(
    shell: &Shell,
    client: &Client,
    path: &str,
    query: &impl serde::Serialize,
    bar: &ProgressBar,
) -> Result<Option<Outcome>, Attempt> {
    let mut lines = match client.lines(path, query, Body::empty()).await {
        Ok(lines) => lines,
        // A first attempt that finds no node is an error of its own.
        Err(error @ ClientError::Broken(_)) => return Err(Attempt::Client(error)),
        Err(error) if bar.position() == 0 && bar.elapsed() < RETRY => return Err(Attempt::Failure(error.into())),
        Err(error) => return Err(Attempt::Client(error)),
    };
    while let Some(line) = lines.next::<BlobLine>().await.map_err(Attempt::Client)? {
        match line {
            BlobLine::Outcome(outcome) => return Ok(Some(outcome)),
            BlobLine::Progress(progress) => {
                if let Some(length) = progress.length {
                    bar.set_length(length);
                }
                bar.set_position(progress.bytes);
                if shell.json {
                    shell.object(&progress).map_err(Attempt::Failure)?;
                }
                if progress.whole {
                    return Ok(None);
                }
            }
        }
    }
    Err(Attempt::Client(ClientError::Broken("the node is stopping".into())))
}

/// Writes a blob of the node to a file, which gets its name when it is whole.
pub(super) async fn write_file(client: &Client, hash: &str, path: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::file("write", path, &error);
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut file = File::create(&part).map_err(failed)?;
    let mut download = client.download(&format!("/v1/blobs/{hash}")).await?;
    while let Some(bytes) = download.next().await? {
        file.write_all(&bytes).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}

/// Writes a blob of the node to standard output.
pub(super) async fn write_out(client: &Client, hash: &str) -> Result<(), Failure> {
    let mut download = client.download(&format!("/v1/blobs/{hash}")).await?;
    while let Some(bytes) = download.next().await? {
        io::stdout().lock().write_all(&bytes).map_err(|error| Failure::output(&error))?;
    }
    io::stdout().lock().flush().map_err(|error| Failure::output(&error))
}

async fn list(shell: &Shell, client: &Client) -> Result<Verdict, Failure> {
    let blobs: Vec<Blob> = client.get("/v1/blobs", &()).await?;
    if shell.json {
        blobs.iter().try_for_each(|blob| shell.object(blob))?;
        return Ok(Verdict::Done);
    }
    let rows = blobs.into_iter().map(|blob| {
        let here = match blob.bytes.checked_mul(100).and_then(|part| part.checked_div(blob.length)) {
            Some(percent) if blob.bytes < blob.length => format!("{percent} %"),
            _ => "all".to_owned(),
        };
        let why = match (blob.kept, blob.inbox.is_empty()) {
            (true, _) => "kept",
            (_, false) => "inbox",
            _ => "cached",
        };
        let who = if blob.shared { "all contacts".to_owned() } else { blob.readers.join(" ") };
        let from = blob.from.unwrap_or_default();
        vec![blob.hash, shell::bytes(blob.length), here, why.to_owned(), who, from]
    });
    shell.table(&["HASH", "SIZE", "HERE", "STAYS", "FOR", "FROM"], rows.collect())?;
    Ok(Verdict::Done)
}

/// A progress bar on standard error, if that is a terminal.
fn progress(shell: &Shell, doing: &'static str, length: Option<u64>) -> ProgressBar {
    if shell.json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = length.map_or_else(ProgressBar::no_length, ProgressBar::new).with_message(doing);
    let template = "{msg} [{bar:30}] {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Bytes that are read at a time.
const PART: usize = 64 * 1024;
/// Pause between two attempts to reach the node.
const RETRY: Duration = Duration::from_millis(500);
/// How long a node may be gone.
const PATIENCE: Duration = Duration::from_secs(120);
