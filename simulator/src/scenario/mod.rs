//! Scenarios: one TOML file with one question.
//!
//! A scenario is a file of the user's, or a shipped one by its name. It is read with its settings into a model
//! ([`model`], with [`document`](mod@document), which has the place of each value), and [`planning`] works the model
//! out for a seed. The other files that it names, of topologies ([`graph`]), tracks ([`motion`]) and messages, are read
//! with it. Their texts are kept in the [`Source`], from which the same scenario can be loaded again without the files.
//! Parts of a plan that cannot have an effect are warned of ([`warning`]).
//!
//! Invariants
//! 1. [`load`] and [`from_source`] give the same result for the same texts: only these texts determine the plan.
//! 2. Every problem says what is wrong, in which file and line or setting, and what to do next.

mod choice;
mod document;
mod graph;
mod import;
mod model;
mod motion;
mod planning;
mod problem;
mod quantity;
mod shipped;
mod small;
mod warning;

pub use import::{Imported, import};
pub use planning::{copies, messages};
pub use problem::Problem;
pub use shipped::{SHIPPED, TEMPLATE};
pub use small::{Small, small};
pub use warning::Warning;

use crate::plan::Plan;
use crate::record::Source;
use document::Document;
use model::Model;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use toml::Spanned;

/// A scenario as it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    source: Source,
    model: Model,
}

/// Reads a scenario: a file, or the name of a shipped one; `set` changes settings, as `key=value`.
pub fn load(scenario: &Path, set: &[String]) -> Result<Loaded, Problem> {
    let (file, text) = text(scenario)?;
    let source = Source { file, text, set: set.to_vec(), ..Source::default() };
    let model = read(&source)?;
    let mut files = BTreeMap::new();
    for name in named(&model) {
        let path = scenario.parent().unwrap_or(Path::new("")).join(name.get_ref());
        let text = other(&path).map_err(|(what, hint)| document(&source).problem(&name.span(), what, hint))?;
        files.insert(name.get_ref().clone(), text);
    }
    Ok(Loaded { source: Source { files, ..source }, model })
}

/// Loads the scenario of a run again, from the source in its record.
pub fn from_source(source: &Source) -> Result<Loaded, Problem> {
    Ok(Loaded { source: source.clone(), model: read(source)? })
}

impl Loaded {
    /// Returns the texts that it consists of. The seed is the scenario's own: a run with another seed replaces it.
    pub fn source(&self) -> Source {
        Source { seed: self.model.seed, version: env!("CARGO_PKG_VERSION").to_owned(), ..self.source.clone() }
    }

    /// Works the scenario out for a seed, or for its own.
    pub fn plan(&self, seed: Option<u64>) -> Result<Plan, Problem> {
        planning::plan(&document(&self.source), &self.model, &self.source.files, &self.name(), seed)
    }

    /// Returns the warnings about parts of it that cannot have an effect, in the given plan.
    pub fn warnings(&self, plan: &Plan) -> Vec<Warning> {
        warning::warnings(&document(&self.source), &self.model, plan)
    }

    /// Returns the name of its file, without directory and extension.
    pub fn name(&self) -> String {
        let stem = Path::new(&self.source.file).file_stem().unwrap_or_default();
        stem.to_string_lossy().into_owned()
    }
}

/// Returns the name of the scenario's file in errors and records, and its text.
fn text(scenario: &Path) -> Result<(String, String), Problem> {
    let shown = scenario.display().to_string();
    if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == shown) {
        // A file with such a name and no extension can be given as ./baseline-50.
        return Ok((format!("{name}.toml"), (*text).to_owned()));
    }
    match std::fs::read_to_string(scenario) {
        Ok(text) => Ok((shown, text)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let known = SHIPPED.iter().map(|(name, _)| *name);
            let hint = match problem::nearest(&shown, known) {
                Some(nearest) => format!("did you mean `{nearest}`? `m2mesh-sim list` shows the shipped ones"),
                None => "check the path, or take a shipped one: `m2mesh-sim list` shows them".to_owned(),
            };
            Err(Problem::new(format!("there is no file, and no shipped scenario, called {shown}"), hint))
        }
        Err(error) => Err(Problem::new(format!("{shown} cannot be read: {error}"), "name a scenario's TOML file")),
    }
}

/// Reads the text of another file; an error says what is wrong with it and what to do.
fn other(path: &Path) -> Result<String, (String, &'static str)> {
    let shown = path.display();
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::InvalidData => (format!("the file {shown} is no text in UTF-8"), "convert it, or unpack it"),
        _ => (
            format!("the file {shown} cannot be read: {error}"),
            "name a file by its path from the scenario's own directory",
        ),
    };
    let bytes = std::fs::metadata(path).map_err(failed)?.len();
    if bytes > graph::MOST_BYTES {
        let what = format!("the file {shown} has {bytes} bytes, and {} at most are read", graph::MOST_BYTES);
        return Err((what, "take a part of it"));
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn document(source: &Source) -> Document<'_> {
    Document { file: &source.file, text: &source.text, set: &source.set }
}

fn read(source: &Source) -> Result<Model, Problem> {
    document(source).read()
}

/// Returns the names of the other files that a scenario uses.
fn named(model: &Model) -> impl Iterator<Item = &Spanned<String>> {
    let edges = model.links.iter().filter_map(|links| links.get_ref().file.as_ref());
    let nodes = model.devices.values().filter_map(|group| group.file.as_ref());
    let moving = model.devices.values().filter_map(|group| group.mobility.as_ref());
    let tracks = moving.filter_map(|mobility| mobility.get_ref().file.as_ref());
    let traces = model.traffic.iter().filter_map(|traffic| traffic.get_ref().trace.as_ref());
    edges.chain(nodes).chain(tracks).chain(traces)
}

#[cfg(test)]
mod daily_tests;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod post_tests;
#[cfg(test)]
mod radio_tests;
#[cfg(test)]
mod tests;
