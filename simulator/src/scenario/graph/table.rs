//! Table: a line for each link or for each node, in columns.
//!
//! Columns are separated by commas, semicolons or tabs if the first line has some, and otherwise by spaces. Empty
//! lines, and lines that begin with `#`, are ignored; if spaces separate the columns, so is the text after a `#`. An
//! empty cell, or a dash, means that no value is given.
//!
//! The first line names the columns. If it begins with `from to`, the table is one of links: each line describes both
//! directions, or one if another line describes the other. If it begins with `name`, the table is one of nodes. Without
//! such a line, each line is a link that consists of two names.

use super::attributes::Attributes;
use super::{Edge, Graph, implied, sound_name};
use crate::scenario::problem::{Problem, instead};
use std::collections::BTreeMap;

/// A line of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number of the line, from 1 on.
    pub line: usize,
    /// The contents of the cells.
    pub cells: Vec<String>,
}

/// Returns the lines that are not ignored.
pub fn rows(name: &str, text: &str) -> Result<Vec<Row>, Problem> {
    // The byte order mark that spreadsheets write first.
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let first = first.map_or("", |line| line.split('#').next().unwrap_or_default());
    let Some(parted) = [',', ';', '\t'].into_iter().find(|mark| first.contains(*mark)) else {
        return Ok(spaced(text));
    };
    // The ignored lines are removed here, since the reader does not keep their numbers.
    let counts = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let (numbers, lines): (Vec<usize>, Vec<&str>) =
        text.lines().enumerate().filter(|(_, line)| counts(line)).map(|(number, line)| (number + 1, line)).unzip();
    let number = |line: u64| {
        let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
        index.and_then(|index| numbers.get(index)).or(numbers.last()).copied().unwrap_or(1)
    };
    let lines = lines.join("\n");
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .delimiter(u8::try_from(parted).unwrap_or(b','))
        .from_reader(lines.as_bytes());
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            let line = error.position().map_or(1, |position| number(position.line()));
            Problem::new(format!("{name}:{line}: {error}"), "correct that line")
        })?;
        let line = record.position().map_or(1, |position| number(position.line()));
        if record.iter().any(|cell| !cell.is_empty()) {
            all.push(Row { line, cells: record.iter().map(str::to_owned).collect() });
        }
    }
    Ok(all)
}

fn spaced(text: &str) -> Vec<Row> {
    let lines = text.lines().enumerate().map(|(number, line)| {
        let line = line.split('#').next().unwrap_or_default();
        Row { line: number + 1, cells: line.split_whitespace().map(str::to_owned).collect() }
    });
    lines.filter(|row| !row.cells.is_empty()).collect()
}

/// Reads a table of links or of nodes.
pub(super) fn read(name: &str, text: &str) -> Result<Graph, Problem> {
    let rows = rows(name, text)?;
    let head: Vec<String> =
        rows.first().into_iter().flat_map(|row| &row.cells).map(|cell| cell.to_lowercase()).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    match head[..] {
        ["from", "to", ..] | ["source", "target", ..] => {
            links(name, &rows[1..], &columns(name, &rows[0], &head, &LINK)?)
        }
        ["name", ..] => nodes(name, &rows[1..], &columns(name, &rows[0], &head, &NODE)?),
        _ => links(name, &rows, &["from", "to"]),
    }
}

/// Returns the columns that the first line names.
fn columns<'h>(name: &str, row: &Row, head: &[&'h str], known: &[&str]) -> Result<Vec<&'h str>, Problem> {
    for (place, column) in head.iter().enumerate() {
        let problem = if !known.contains(column) {
            Some((format!("there is no column `{column}`"), instead(column, known.iter().copied())))
        } else if head[..place].contains(column) {
            Some((format!("there are two columns `{column}`"), "remove one of them".to_owned()))
        } else {
            None
        };
        if let Some((what, hint)) = problem {
            return Err(Problem::new(format!("{name}:{}: {what}", row.line), hint));
        }
    }
    Ok(head.to_vec())
}

/// Returns the cells of a row by their columns, without those that have no value.
fn cells<'r>(place: &str, row: &'r Row, columns: &[&'r str]) -> Result<BTreeMap<&'r str, &'r str>, Problem> {
    if row.cells.len() > columns.len() && row.cells[columns.len()..].iter().any(|cell| !cell.is_empty()) {
        let (what, hint) = match columns {
            ["from", "to"] => (
                format!("{:?} is no link", row.cells.join(" ")),
                "write the names of two devices, as `meter-1 gateway-1`; or begin the file with a line that names the columns, as `from to delay loss`".to_owned(),
            ),
            _ => (
                format!("the line has {} columns", row.cells.len()),
                format!("write {}: {}", columns.len(), columns.join(", ")),
            ),
        };
        return Err(Problem::new(format!("{place}: {what}"), hint));
    }
    let all = columns.iter().copied().zip(row.cells.iter().map(String::as_str));
    Ok(all.filter(|(_, cell)| !["", "-"].contains(cell)).collect())
}

fn links(name: &str, rows: &[Row], columns: &[&str]) -> Result<Graph, Problem> {
    let mut edges = Vec::with_capacity(rows.len());
    let mut seen = BTreeMap::new();
    for row in rows {
        let place = format!("{name}:{}", row.line);
        let wrong = |what: String, hint: &str| Problem::new(format!("{place}: {what}"), hint);
        let cells = cells(&place, row, columns)?;
        let mut ends = ["from", "to", "source", "target"].iter().filter_map(|column| cells.get(column));
        let (Some(from), Some(to)) = (ends.next(), ends.next()) else {
            let what = format!("{:?} is no link", row.cells.join(" "));
            return Err(wrong(what, "write the names of two devices, as `meter-1 gateway-1`"));
        };
        if from == to {
            return Err(wrong("a device does not link with itself".into(), "name two devices"));
        }
        let mut attributes = Attributes::new(&place);
        cells.iter().for_each(|(column, cell)| attributes.add(column, cell));
        let properties = attributes.edge()?;
        let ends = [(*from).to_owned(), (*to).to_owned()];
        if let Some(before) = seen.insert((ends.clone(), properties.bearer.clone()), row.line) {
            let what = format!("line {before} describes the link from `{from}` to `{to}` already");
            return Err(wrong(what, "remove one of the lines; the way back is the same, or has a line of its own"));
        }
        edges.push(Edge { ends, place, properties });
    }
    Ok(Graph { nodes: implied(&edges), edges, left_out: 0 })
}

fn nodes(name: &str, rows: &[Row], columns: &[&str]) -> Result<Graph, Problem> {
    let mut nodes = Vec::with_capacity(rows.len());
    let mut seen = BTreeMap::new();
    for row in rows {
        let place = format!("{name}:{}", row.line);
        let wrong = |what: String, hint: String| Problem::new(format!("{place}: {what}"), hint);
        let cells = cells(&place, row, columns)?;
        let Some(called) = cells.get("name") else {
            return Err(wrong("the node has no name".into(), "write one in the column `name`".into()));
        };
        let naming = "write letters, digits, `-`, `_` and `.`, beginning with a letter or digit".to_owned();
        sound_name(called).map_err(|what| wrong(what, naming))?;
        if let Some(before) = seen.insert((*called).to_owned(), row.line) {
            let what = format!("line {before} has a node `{called}` already");
            return Err(wrong(what, "give each node a name of its own".into()));
        }
        let mut attributes = Attributes::new(&place);
        cells.iter().for_each(|(column, cell)| attributes.add(column, cell));
        nodes.push(attributes.node((*called).to_owned())?);
    }
    Ok(Graph { nodes, ..Graph::default() })
}

/// Columns of a table of links.
const LINK: [&str; 11] =
    ["from", "to", "source", "target", "delay", "jitter", "loss", "rate", "price", "bearer", "length"];
/// Columns of a table of nodes.
const NODE: [&str; 10] = ["name", "x", "y", "lat", "lon", "latitude", "longitude", "group", "forwarding", "area"];
