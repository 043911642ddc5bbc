//! `man`: the manual, as pages for `man(1)`.

use super::failure::Failure;
use super::shell::Shell;
use super::{Cli, Verdict};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Prints the manual page, or writes one page per verb
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh man | man -l -
  m2mesh man --out ~/.local/share/man/man1")]
pub(super) struct Arguments {
    /// Write m2mesh.1 and a page for each verb, such as m2mesh-run.1, into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) async fn run(Arguments { out }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(directory) = out else {
        let page = render(&command).map_err(|error| Failure::output(&error))?;
        std::io::stdout().lock().write_all(&page).map_err(|error| Failure::output(&error))?;
        shell.flush()?;
        return Ok(Verdict::Done);
    };
    std::fs::create_dir_all(&directory).map_err(|error| Failure::file("make", &directory, &error))?;
    let mut pages = Vec::new();
    write(&command, &directory, &mut pages)?;
    if shell.json {
        shell.object(&serde_json::json!({ "pages": pages }))?;
    } else {
        shell.line(format_args!("{} pages in {}", pages.len(), directory.display()))?;
    }
    Ok(Verdict::Done)
}

/// Writes the page of a verb, and those of the verbs below it.
fn write(command: &Command, directory: &Path, pages: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = directory.join(format!("{name}.1"));
    let written = render(command).and_then(|page| std::fs::write(&path, page));
    written.map_err(|error| Failure::file("write", &path, &error))?;
    pages.push(path);
    command.get_subcommands().try_for_each(|verb| write(verb, directory, pages))
}

fn render(command: &Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
