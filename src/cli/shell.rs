//! The environment of a verb: the node it talks to, and the output it writes to.
//!
//! Results go to standard output: as tables with colours on a terminal, as plain text when piped, as JSON under
//! `--json`. Notes go to standard error. Payloads are written unchanged when piped; on a terminal, control characters
//! are escaped, so that a message from elsewhere cannot steer the terminal.

use super::directory;
use super::failure::Failure;
use crate::gateway::client::Client;
use crate::gateway::dto::Payload;
use comfy_table::{Attribute, Cell, Table, presets};
use serde::Serialize;
use std::fmt::{Display, Write as _};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// The environment of a verb.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    /// The directory given by `--dir`.
    given: Option<PathBuf>,
    /// Whether the output is JSON.
    pub(super) json: bool,
    /// Whether standard output is a terminal, and the output is not JSON.
    pub(super) terminal: bool,
}

impl Shell {
    pub(super) fn new(given: Option<PathBuf>, json: bool) -> Self {
        Self { given, json, terminal: !json && io::stdout().is_terminal() }
    }

    /// The directory given by `--dir`, if any.
    pub(super) fn given(&self) -> Option<&Path> {
        self.given.as_deref()
    }

    /// The node's directory.
    pub(super) fn node_directory(&self) -> Result<PathBuf, Failure> {
        directory::node(self.given())
    }

    /// A client of the node's local API.
    pub(super) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(self.node_directory()?))
    }

    /// Prints a line of text.
    pub(super) fn line(&self, text: impl Display) -> Result<(), Failure> {
        writeln!(io::stdout().lock(), "{text}").map_err(|error| Failure::output(&error))
    }

    /// Prints a line of JSON.
    pub(super) fn object(&self, value: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(value).expect("our own types have string keys and no failing serializer");
        self.line(json)
    }

    /// Prints a table, without colours when piped.
    pub(super) fn table(&self, header: &[&str], rows: Vec<Vec<String>>) -> Result<(), Failure> {
        self.line(render(header, rows, self.terminal))
    }

    /// Prints a payload: unchanged and ended by a line feed when piped; after `label` and with control characters
    /// escaped on a terminal.
    pub(super) fn payload(&self, label: &str, payload: Payload) -> Result<(), Failure> {
        let bytes = payload.into_bytes().map_err(|error| Failure::new(error, "check the node's version"))?;
        if self.terminal {
            let label = if label.is_empty() { String::new() } else { format!("{}  ", console::style(label).dim()) };
            return self.line(format_args!("{label}{}", visible(&bytes)));
        }
        let mut out = io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.write_all(b"\n")).map_err(|error| Failure::output(&error))
    }

    /// Prints a payload without a line feed when piped, and as [`Self::payload`] does on a terminal.
    pub(super) fn raw(&self, payload: Payload) -> Result<(), Failure> {
        if self.terminal {
            return self.payload("", payload);
        }
        let bytes = payload.into_bytes().map_err(|error| Failure::new(error, "check the node's version"))?;
        let mut out = io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush()).map_err(|error| Failure::output(&error))
    }

    /// Flushes standard output.
    pub(super) fn flush(&self) -> Result<(), Failure> {
        io::stdout().lock().flush().map_err(|error| Failure::output(&error))
    }

    /// Prints a note on standard error.
    pub(super) fn note(&self, text: impl Display) {
        if self.json {
            complain(&serde_json::json!({ "note": text.to_string() }));
        } else {
            complain(&console::style(text).for_stderr().dim());
        }
    }
}

/// Prints a line on standard error. If standard error is closed, there is nobody to tell.
pub(super) fn complain(text: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Waits for Ctrl-C, SIGTERM or SIGHUP.
pub(super) async fn interrupted() -> Result<(), Failure> {
    interruption()?.await;
    Ok(())
}

/// Catches Ctrl-C, SIGTERM and SIGHUP from now on, so that they no longer end the process. The future returned is ready
/// at any of them. A SIGHUP that was ignored before, as by `nohup`, stays ignored.
pub(super) fn interruption() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot listen for signals: {error}"), "try again");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup()).map_err(failed)?) };
    Ok(async move {
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => drop(hangup.recv().await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = hung_up => {}
        }
    })
}

/// Whether the parent process had SIGHUP ignored: the lowest bit of the mask `SigIgn`.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Renders rows under a header, without borders.
pub(super) fn render(header: &[&str], rows: Vec<Vec<String>>, colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if colours {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// Converts bytes to text, with control characters escaped.
pub(super) fn visible(bytes: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(bytes).chars() {
        if c.is_control() && c != '\t' {
            // Writing to a String never fails.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Quotes a word of a command that is printed to be pasted into a shell, if it needs quotes.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Formats microseconds for people.
pub(super) fn micros(us: u64) -> String {
    match us {
        0..=999 => format!("{us} µs"),
        1_000..=999_999 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// Formats bytes for people.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..=9_999 => format!("{count} B"),
        10_000..=10_239_999 => format!("{} KiB", count / 1_024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_printed_commands_survive_a_shell() {
        for (word, printed) in [
            ("plant", "plant"),
            ("/srv/m2mesh_1/a.b", "/srv/m2mesh_1/a.b"),
            ("my plant", "'my plant'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), printed);
        }
    }

    #[test]
    fn a_message_cannot_steer_the_terminal() {
        assert_eq!(visible(b"\x1b[2Jgone\r\n"), "\\u{1b}[2Jgone\\r\\n");
        assert_eq!(visible("21 °C\t!".as_bytes()), "21 °C\t!");
    }

    #[test]
    fn quantities_read_well() {
        assert_eq!([micros(250), micros(1_250), micros(2_500_000)], ["250 µs", "1.2 ms", "2.5 s"]);
        assert_eq!([bytes(200), bytes(65_536), bytes(20_971_520)], ["200 B", "64 KiB", "20 MiB"]);
    }
}
