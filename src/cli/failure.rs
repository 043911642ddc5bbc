//! Failures of verbs: what went wrong, where, and what to do next.

use super::shell;
use crate::gateway::client::ClientError;
use crate::gateway::error::ErrorBody;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// An error with a hint, for people.
#[derive(Debug)]
pub(super) struct Failure {
    error: String,
    hint: String,
    /// Whether standard output was closed by its reader. That is no error: the reader has enough.
    closed: bool,
    /// Whether this is a definite negative answer to what was asked.
    no: bool,
    /// Whether to print it as JSON, whatever the shell says.
    json: bool,
}

impl Failure {
    pub(super) fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { error: error.into(), hint: hint.into(), closed: false, no: false, json: false }
    }

    /// Splits an error's text at its first semicolon, after which it says what to do next; `hint` if there is no
    /// semicolon.
    pub(super) fn split(error: impl fmt::Display, hint: &str) -> Self {
        let text = error.to_string();
        match text.split_once("; ") {
            Some((error, hint)) => Self::new(error, hint),
            None => Self::new(text, hint),
        }
    }

    /// Makes it a definite negative answer to what was asked: exit code 2.
    pub(super) fn definite(self) -> Self {
        Self { no: true, ..self }
    }

    /// A failure for arguments that cannot be parsed: what is wrong with them, and how they are written.
    pub(super) fn usage(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        let (what, usage) = text.split_once("\n\nUsage: ").unwrap_or((&text, ""));
        let what = what.trim_start_matches("error: ").trim_end();
        let usage = usage.lines().next().unwrap_or_default();
        let hint = match usage {
            "" => "`m2mesh help` lists the verbs, `m2mesh VERB --help` their arguments".to_owned(),
            usage => format!("write it as `{usage}`; `m2mesh VERB --help` tells a verb's arguments"),
        };
        Self::new(what, hint)
    }

    /// Has it printed as one JSON object, if `json` is true.
    pub(super) fn for_machines(self, json: bool) -> Self {
        Self { json, ..self }
    }

    /// A failure of an operation on a file.
    pub(super) fn file(doing: &str, path: &std::path::Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::PermissionDenied => "check who owns it and its mode",
            io::ErrorKind::StorageFull => "free some space and try again",
            _ => "check the path and the disk",
        };
        Self::new(format!("cannot {doing} {}: {error}", path.display()), hint)
    }

    /// A failure to write to standard output.
    pub(super) fn output(error: &io::Error) -> Self {
        let closed = error.kind() == io::ErrorKind::BrokenPipe;
        Self { closed, ..Self::new(format!("cannot write the output: {error}"), "check where it goes") }
    }

    /// The form in which it is sent to another process.
    pub(super) fn into_body(self) -> ErrorBody {
        ErrorBody { error: self.error, hint: self.hint }
    }

    /// Prints it on standard error. Returns exit code 1, or 2 for a definite negative answer.
    pub(super) fn tell(&self, json: bool) -> ExitCode {
        if self.closed {
            return ExitCode::SUCCESS;
        }
        self.mention(json);
        if self.no { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

impl Failure {
    /// Prints it on standard error, for something that does not fail the whole verb.
    pub(super) fn mention(&self, json: bool) {
        if self.closed {
            return;
        }
        if json || self.json {
            shell::complain(&serde_json::json!({ "error": self.error, "hint": self.hint }));
        } else {
            shell::complain(&self);
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = console::style("error:").for_stderr().red().bold();
        let next = console::style("what to do:").for_stderr().bold();
        write!(f, "{word} {}\n{next} {}", self.error, self.hint)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            ClientError::NotRunning(directory) => {
                format!(
                    "start it with `m2mesh run --dir {}`, or name another directory with --dir",
                    shell::quoted(&directory.to_string_lossy())
                )
            }
            ClientError::Connect { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => {
                "only the user who runs the node can reach it; check who that is".into()
            }
            // The kernel allows 107 bytes.
            ClientError::Connect { error, .. } if error.kind() == io::ErrorKind::InvalidInput => {
                "its path is too long for a socket; name the directory by a shorter path, as from within it with `--dir .`".into()
            }
            ClientError::Connect { error, .. } => crate::advice::of(error).into(),
            ClientError::Api(body) => body.hint.clone(),
            ClientError::Silent { .. } => {
                "see whether its process is stopped or starved (`ps -o state,pid,args -C m2mesh`), and its diagnostics"
                    .into()
            }
            ClientError::Broken(_) => "see whether the node still runs with `m2mesh status`".into(),
            ClientError::Answer(_) => "check that the node runs the same version with `m2mesh status`".into(),
        };
        Self::new(error.to_string(), hint)
    }
}
