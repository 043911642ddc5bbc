//! `import`: a scenario made from a topology that another program has written.

use super::failure::Failure;
use crate::cli::tell::say;
use crate::scenario::{self, Imported};
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A scenario of a network in a file: GraphML, GML, JSON with nodes and links, GeoJSON, or a table
///
/// Prints it, or writes it to NAME.toml, which must not exist yet. It can be run at once: every device sends to every
/// other, and one device publishes to all. The file is not copied; the scenario refers to it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: m2mesh-sim import Abilene.graphml abilene && m2mesh-sim run abilene.toml")]
pub(super) struct Arguments {
    /// The network: .graphml, .gml, .json or .geojson; any other is a table of links
    file: PathBuf,
    /// Writes NAME.toml
    name: Option<String>,
    /// A table of nodes, where FILE has links only
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    match import(arguments) {
        Ok((imported, written)) => tell(&imported, written.as_deref(), arguments.json),
        Err(failure) => return failure.tell(arguments.json),
    }
    ExitCode::SUCCESS
}

fn import(arguments: &Arguments) -> Result<(Imported, Option<PathBuf>), Failure> {
    let Arguments { file, name, nodes, .. } = arguments;
    let toml =
        |name: &String| PathBuf::from(if name.ends_with(".toml") { name.clone() } else { format!("{name}.toml") });
    let path = name.as_ref().map(toml);
    let elsewhere = path.as_deref().and_then(Path::parent).is_some_and(|parent| parent != Path::new(""));
    // The names of files are relative to the scenario's directory.
    let called = |file: &Path| match elsewhere {
        true => std::path::absolute(file).unwrap_or_else(|_| file.to_owned()).display().to_string(),
        false => file.display().to_string(),
    };
    let imported = scenario::import(file, nodes.as_deref(), called)?;
    if let Some(path) = &path {
        let mut made = std::fs::File::create_new(path).map_err(|error| Failure::file("make", path, &error))?;
        made.write_all(imported.text.as_bytes()).map_err(|error| Failure::file("write", path, &error))?;
    }
    Ok((imported, path))
}

fn tell(imported: &Imported, written: Option<&Path>, as_json: bool) {
    let Imported { text, nodes, links } = imported;
    match (written, as_json) {
        (Some(path), true) => say!("{}", json!({ "file": path, "nodes": nodes, "links": links })),
        (None, true) => say!("{}", json!({ "text": text, "nodes": nodes, "links": links })),
        (None, false) => print!("{text}"),
        (Some(path), false) => {
            let path = path.display();
            say!("wrote {path}: {nodes} devices, {links} links; run it with `m2mesh-sim run {path}`");
        }
    }
}
