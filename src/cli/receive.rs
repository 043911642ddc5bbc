//! `receive`: prints the messages sent to this device.
//!
//! A message is consumed once it has been printed and the output flushed, so after a crash in between it is printed
//! again instead of being lost. The inbox is consumed in order; with a filter by sender, therefore, nothing is
//! consumed.
//!
//! Consuming returns at once, so that no message waits for the disk to record the one before it. The last message
//! consumed is durable before the command ends.

use super::Verdict;
use super::blob;
use super::failure::Failure;
use super::shell::{self, Shell};
use crate::gateway::client::Client;
use crate::gateway::dto::{
    AttachedBlob, ConsumeBody, ConsumerBody, Done, ForgetBody, InboxFollowQuery, InboxMessage, InboxPage, InboxQuery,
};
use futures::FutureExt;
use std::path::{Path, PathBuf};

/// Prints the messages in this device's inbox and removes them
///
/// If the output is piped, each message is its payload and a line feed, or with `--raw` its payload alone. On a
/// terminal it follows its time and its sender, and with `--json` it has all fields. Without --count or --follow,
/// prints the messages that are there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh receive
  m2mesh receive --count 1
  m2mesh receive --count 1 --raw > picture.jpg
  m2mesh receive --follow --out received
  m2mesh receive --follow --json")]
pub(super) struct Arguments {
    /// Only messages from this device; all messages stay in the inbox
    #[arg(long, value_name = "NAME")]
    from: Option<String>,
    /// Wait for this many messages, then stop
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Continue with new messages, until Ctrl-C
    #[arg(long, conflicts_with = "count")]
    follow: bool,
    /// Write each payload alone, without a line feed after it
    #[arg(long, conflicts_with = "json")]
    raw: bool,
    /// Write blobs to files in this directory, under the names that their senders gave them
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave the messages in the inbox
    #[arg(long)]
    keep: bool,
    /// Read as this consumer, which has a read position of its own: messages stay until it has taken them, whatever
    /// others take. It is created when its name is first used; the consumer without a name always exists
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    consumer: String,
    /// Remove the consumer: no message is kept for it any more
    #[arg(long, requires = "consumer", conflicts_with_all = ["from", "count", "follow", "keep"])]
    forget: bool,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let Arguments { from, count, follow, raw, out, keep, consumer, forget } = arguments;
    let reader = Reader { client: shell.client()?, from, raw, out, consume: !keep, consumer };
    if forget {
        let Done {} = reader.client.post("/v1/inbox/forget", &ForgetBody { consumer: reader.consumer }).await?;
        return Ok(Verdict::Done);
    }
    if !reader.consumer.is_empty() {
        let body = ConsumerBody { consumer: reader.consumer.clone() };
        let Done {} = reader.client.post("/v1/inbox/consumers", &body).await?;
    }
    let reader = Reader { consume: reader.consume && reader.from.is_none(), ..reader };
    match count {
        None if !follow => drain(&shell, &reader).await,
        count => wait(&shell, &reader, count).await,
    }
}

/// The options that messages are read with.
struct Reader {
    client: Client,
    from: Option<String>,
    raw: bool,
    out: Option<PathBuf>,
    consume: bool,
    consumer: String,
}

/// Prints the messages that are there, page by page.
async fn drain(shell: &Shell, reader: &Reader) -> Result<Verdict, Failure> {
    let Reader { client, from, consume, consumer, .. } = reader;
    let mut from_number = None;
    loop {
        let query = InboxQuery { from_number, limit: None, from: from.clone(), consumer: consumer.clone() };
        let page: InboxPage = client.get("/v1/inbox", &query).await?;
        let last = page.messages.last().map(|message| message.number);
        for message in page.messages {
            print(shell, reader, message).await?;
        }
        if let Some(last) = last.filter(|_| *consume) {
            take(shell, reader, last, !page.more).await?;
        }
        if !page.more {
            return Ok(Verdict::Done);
        }
        from_number = Some(page.next);
    }
}

/// Prints messages as they come, until there are enough.
async fn wait(shell: &Shell, reader: &Reader, count: Option<u64>) -> Result<Verdict, Failure> {
    let query = InboxFollowQuery { from_number: None, from: reader.from.clone(), consumer: reader.consumer.clone() };
    let mut events = reader.client.events("/v1/inbox/follow", &query).await?;
    let (mut printed, mut untaken) = (0u64, 0u64);
    let mut last = 0;
    while count.is_none_or(|count| printed < count) {
        // A burst of messages is consumed at its end, or in parts.
        let message = match events.next::<InboxMessage>().now_or_never() {
            Some(message) if untaken < MAX_UNTAKEN => message?,
            Some(message) => {
                take(shell, reader, last, false).await?;
                untaken = 0;
                message?
            }
            None => {
                if reader.consume && untaken > 0 {
                    take(shell, reader, last, false).await?;
                    untaken = 0;
                }
                events.next().await?
            }
        };
        let Some(message) = message else {
            return Err(Failure::new("the node stopped", "start it again with `m2mesh run`"));
        };
        last = message.number;
        printed += 1;
        untaken += u64::from(reader.consume);
        print(shell, reader, message).await?;
    }
    if reader.consume && printed > 0 {
        take(shell, reader, last, true).await?;
    }
    Ok(Verdict::Done)
}

async fn take(shell: &Shell, reader: &Reader, up_to: u64, durable: bool) -> Result<(), Failure> {
    shell.flush()?;
    let body = ConsumeBody { up_to, consumer: reader.consumer.clone(), durable };
    let Done {} = reader.client.post("/v1/inbox/consume", &body).await?;
    Ok(())
}

async fn print(shell: &Shell, reader: &Reader, message: InboxMessage) -> Result<(), Failure> {
    if let Some(blob) = &message.blob {
        return print_blob(shell, reader, &message, blob).await;
    }
    if shell.json {
        return shell.object(&message);
    }
    if reader.raw {
        return shell.raw(message.payload);
    }
    let InboxMessage { from, received, payload, .. } = message;
    shell.payload(&format!("{received} {from}"), payload)
}

/// Prints a message that consists of a blob. Its bytes are on the disk when it is consumed, or with who reads the output.
async fn print_blob(
    shell: &Shell,
    reader: &Reader,
    message: &InboxMessage,
    blob: &AttachedBlob,
) -> Result<(), Failure> {
    let written = match &reader.out {
        Some(directory) => {
            let path = free_path(directory, blob)?;
            blob::write_file(&reader.client, &blob.hash, &path).await?;
            Some(path)
        }
        None => None,
    };
    if shell.json {
        return shell.object(message);
    }
    if written.is_none() && !shell.terminal {
        blob::write_out(&reader.client, &blob.hash).await?;
        return if reader.raw { Ok(()) } else { shell.line("") };
    }
    let name = shell::visible(blob.name.as_bytes());
    let place = written.map_or_else(
        || format!("`m2mesh blob get {} -o FILE` writes it", blob.hash),
        |path| format!("written to {}", path.display()),
    );
    let InboxMessage { received, from, .. } = message;
    shell.line(format_args!("{received} {from}  {name} ({}), {place}", shell::bytes(blob.length)))
}

/// A path in a directory at which there is no file, after the name that a sender gave: no path, and no hidden file.
fn free_path(directory: &Path, blob: &AttachedBlob) -> Result<PathBuf, Failure> {
    let last = blob.name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let plain = plain.trim_start_matches('.');
    let name = if plain.is_empty() { &blob.hash[..16.min(blob.hash.len())] } else { plain };
    std::fs::create_dir_all(directory).map_err(|error| Failure::file("make", directory, &error))?;
    let first = directory.join(name);
    let others = (2..10_000).map(|number| directory.join(format!("{name}.{number}")));
    std::iter::once(first).chain(others).find(|path| !path.exists()).ok_or_else(|| {
        Failure::new(format!("{} holds 10,000 files called {name}", directory.display()), "give another directory")
    })
}

/// Most messages printed and not yet consumed.
const MAX_UNTAKEN: u64 = 256;
