//! `bulletin`: hands an operator's bulletin to a node.

use super::Verdict;
use super::failure::Failure;
use super::shell::Shell;
use crate::gateway::dto::{BulletinBody, BulletinTaken};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Hands a bulletin of the realm's operator to a node, which tells it to the whole mesh
///
/// Exit code 2 when the node holds another one that is as new, or newer.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  m2mesh realm bulletin ./plant > bulletin.json
  m2mesh bulletin bulletin.json --dir ./meter")]
pub(super) struct Arguments {
    /// A file that `m2mesh realm bulletin` has written, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) async fn run(Arguments { file }: Arguments, shell: Shell) -> Result<Verdict, Failure> {
    let bytes = read(&file).map_err(|error| Failure::file("read", &file, &error))?;
    let bulletin: BulletinBody = serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("{} is no bulletin: {error}", file.display());
        Failure::new(what, "write one with `m2mesh realm bulletin DIR`")
    })?;
    let taken: BulletinTaken = shell.client()?.post("/v1/bulletin", &bulletin).await?;
    if shell.json {
        shell.object(&taken)?;
    } else if taken.newer {
        shell.line(format_args!("bulletin {} holds from now on", taken.version))?;
    } else {
        shell.line(format_args!("the node holds bulletin {} already", taken.version))?;
    }
    Ok(Verdict::of(taken.newer))
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file.as_os_str() != "-" {
        return std::fs::read(file);
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Most bytes that are read: more than the local API takes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
