//! Tables in documents that are those of the code: kinds of events, gauges and counters.
//!
//! In each document what follows the mark is written from the declarations, and what is before it by people. A document that has
//! fallen behind fails; `M2MESH_BLESS=1 cargo test --test it tidy::` writes its tables anew.

use m2mesh::counter::Counter;
use m2mesh::event_log::Event;
use m2mesh::event_log::declared::{Declaration, Detail};
use m2mesh::metrics::{Gauge, counted};
use std::path::Path;

/// Begins what the code writes.
pub const MARK: &str = "<!-- From here on written from the code: M2MESH_BLESS=1 cargo test --test it tidy:: -->\n";

/// Documents with the tables that follow their mark.
pub fn all() -> [(&'static str, String); 2] {
    [("docs/events.md", events()), ("docs/metrics.md", metrics())]
}

/// What a document is to be: its part before the mark, then the tables.
pub fn due(text: &str, tables: &str) -> Option<String> {
    let (before, _) = text.split_once(MARK)?;
    Some(format!("{before}{MARK}\n{tables}"))
}

/// What is wrong with a document whose text is `kept`.
pub fn document(path: &str, kept: &str, tables: &str) -> Vec<String> {
    let Some(due) = due(kept, tables) else {
        return vec![format!("{path}:1: table: no mark; put it before the tables")];
    };
    let lines = kept.lines().zip(due.lines()).zip(1..);
    let differs = |((kept, due), line): ((&str, &str), usize)| (kept != due).then_some(line);
    match lines.filter_map(differs).next() {
        Some(line) => vec![format!("{path}:{line}: table: is not as the code has it; bless it")],
        None if kept != due => vec![format!("{path}:{}: table: ends early or late; bless it", kept.lines().count())],
        None => Vec::new(),
    }
}

/// Compares a document with the code, or writes it when blessed.
pub fn check(root: &Path, path: &str, tables: &str) -> Vec<String> {
    let file = root.join(path);
    let mut kept = std::fs::read_to_string(&file).unwrap_or_default();
    if std::env::var_os("M2MESH_BLESS").is_some()
        && let Some(due) = due(&kept, tables)
    {
        std::fs::write(&file, &due).expect("the document is writable");
        kept = due;
    }
    document(path, &kept, tables)
}

/// Documentation as the code has it, on one line.
fn sentences(lines: &[&str]) -> String {
    cell(&lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" "))
}

/// A text in a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn detail(Detail { name, json, about }: &Detail) -> String {
    let names: Vec<String> = json(name).iter().map(|(name, form)| format!("`{name}` ({form})")).collect();
    format!("{}: {}", names.join(", "), sentences(about))
}

fn events() -> String {
    let mut out = String::from("| kind | what it says | details | line |\n|-|-|-|-|\n");
    for Declaration { kind, about, text, fields } in Event::DECLARED {
        let fields: Vec<String> = fields.iter().map(detail).collect();
        out += &format!("| `{kind}` | {} | {} | {} |\n", sentences(about), fields.join("<br>"), cell(text));
    }
    out
}

fn metrics() -> String {
    let mut out = String::from("## Gauges\n\n| metric | in `status --json` | unit | what it says |\n|-|-|-|-|\n");
    for gauge in Gauge::ALL {
        let unit = gauge.unit.map(|unit| unit.to_string()).unwrap_or_default();
        out += &format!("| `{}` | `{}` | {unit} | {} |\n", gauge.metric(), gauge.name, cell(gauge.help));
    }
    out += "\n## Counters\n\n| metric | in `status --json`, below `counters` | unit | what it counts |\n|-|-|-|-|\n";
    for counter in Counter::ALL {
        let (name, unit) = (counter.name(), counter.unit());
        out += &format!("| `{}` | `{name}` | {unit} | {} |\n", counted(*counter), cell(counter.help()));
    }
    out
}
