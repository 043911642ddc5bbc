//! Failure: the error of a verb: what, where, and what to do next.

use crate::scenario::Problem;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// An error, for people.
#[derive(Debug)]
pub(super) struct Failure {
    error: String,
    hint: String,
}

impl Failure {
    pub(super) fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { error: error.into(), hint: hint.into() }
    }

    /// Returns the failure of a run that did not end as planned.
    pub(super) fn of_run(error: String) -> Self {
        match error.split_once("; ") {
            Some((error, hint)) => Self::new(error, hint),
            None => Self::new(error, "run it again; if it fails again, that is a defect of the program"),
        }
    }

    /// Returns the failure of an operation on a file.
    pub(super) fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => "check the path",
            io::ErrorKind::AlreadyExists => "choose another name, or remove that file first",
            io::ErrorKind::PermissionDenied => "check who owns it and its mode",
            io::ErrorKind::StorageFull => "free some space and try again",
            _ => "check the path and the disk",
        };
        Self::new(format!("cannot {doing} {}: {error}", path.display()), hint)
    }

    /// Prints it on standard error, and returns the exit code 1.
    pub(super) fn tell(&self, json: bool) -> ExitCode {
        if json {
            eprintln!("{}", serde_json::json!({ "error": self.error, "hint": self.hint }));
        } else {
            eprintln!("{self}");
        }
        ExitCode::FAILURE
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = console::style("error:").for_stderr().red().bold();
        let next = console::style("what to do:").for_stderr().bold();
        write!(f, "{word} {}\n{next} {}", self.error, self.hint)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::new(problem.error, problem.hint)
    }
}
