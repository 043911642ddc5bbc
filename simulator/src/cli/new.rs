//! `new`: a scenario to begin with, every key explained.

use super::failure::Failure;
use crate::cli::tell::say;
use crate::scenario::TEMPLATE;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A scenario to begin with, every key explained
///
/// Prints it, or writes it to NAME.toml, which must not exist yet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim new my-site && m2mesh-sim check my-site.toml")]
pub(super) struct Arguments {
    /// Writes NAME.toml
    name: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let Some(name) = &arguments.name else {
        match arguments.json {
            true => say!("{}", json!({ "text": TEMPLATE })),
            false => print!("{TEMPLATE}"),
        }
        return ExitCode::SUCCESS;
    };
    let path = PathBuf::from(if name.ends_with(".toml") { name.clone() } else { format!("{name}.toml") });
    match write(&path) {
        Ok(()) if arguments.json => say!("{}", json!({ "file": path })),
        Ok(()) => say!("wrote {0}; see what it comes to with `m2mesh-sim check {0}`", path.display()),
        Err(failure) => return failure.tell(arguments.json),
    }
    ExitCode::SUCCESS
}

fn write(path: &Path) -> Result<(), Failure> {
    let mut file = std::fs::File::create_new(path).map_err(|error| Failure::file("make", path, &error))?;
    file.write_all(TEMPLATE.as_bytes()).map_err(|error| Failure::file("write", path, &error))
}
