//! `completions`: a script for a shell to complete command lines.

use super::failure::Failure;
use super::shell::Shell;
use super::{Cli, Verdict};
use clap::CommandFactory;
use std::io::Write;

/// Prints a script with which a shell completes m2mesh's command lines
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh completions bash > ~/.local/share/bash-completion/completions/m2mesh
  m2mesh completions fish > ~/.config/fish/completions/m2mesh.fish")]
pub(super) struct Arguments {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) async fn run(arguments: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "m2mesh", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(|error| Failure::output(&error))?;
    shell.flush()?;
    Ok(Verdict::Done)
}
