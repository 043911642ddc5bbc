//! Tables: the figures as CSV files (RFC 4180), which spreadsheets and scripts read.
//!
//! Numbers are as they were measured, in the units that the first line names: seconds, bytes, metres, units of money.

use crate::metrics::METRICS;
use crate::record::Record;
use std::collections::{BTreeMap, BTreeSet};

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name of its file, such as `series.csv`.
    pub file: &'static str,
    /// Its text.
    pub text: String,
}

/// Returns all tables of a run. A table without rows consists of its first line.
pub fn tables(record: &Record) -> Vec<Table> {
    vec![
        series(record),
        latency(record),
        by(record, "flow", "flows.csv"),
        by(record, "class", "classes.csv"),
        by(record, "group", "groups.csv"),
        devices(record),
        links(record),
        spending(record),
        missed(record),
        metrics(record),
        faults(record),
    ]
}

/// The rows in the form in which they are written.
struct Rows {
    file: &'static str,
    text: String,
}

impl Rows {
    fn new<T: ToString>(file: &'static str, columns: impl IntoIterator<Item = T>) -> Self {
        let mut rows = Self { file, text: String::new() };
        rows.add(columns.into_iter().map(|column| column.to_string()));
        rows
    }

    fn add(&mut self, fields: impl IntoIterator<Item = String>) {
        let fields: Vec<String> = fields.into_iter().map(|field| quoted(&field)).collect();
        self.text.push_str(&fields.join(","));
        self.text.push_str("\r\n");
    }

    fn done(self) -> Table {
        Table { file: self.file, text: self.text }
    }
}

/// Returns a field, in quotes only if it needs them.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(String::new, number)
}

fn name(record: &Record, node: usize) -> String {
    record.nodes.get(node).map_or_else(String::new, |node| node.name.clone())
}

fn bearer(record: &Record, bearer: usize) -> String {
    record.bearers.get(bearer).cloned().unwrap_or_default()
}

/// Returns the table of the samples over time.
fn series(record: &Record) -> Table {
    let fixed = ["at_s", "sent", "delivered", "failed", "reachable", "links", "queued", "queued_most", "cost"];
    let columns = fixed.iter().map(|column| (*column).to_owned());
    let purposes = record.purposes.iter().map(|purpose| format!("bytes.{purpose}"));
    let bearers = record.bearers.iter().map(|bearer| format!("bytes[bearer={bearer}]"));
    let mut rows = Rows::new("series.csv", columns.chain(purposes).chain(bearers));
    for sample in &record.samples {
        let counts = [sample.sent, sample.delivered, sample.failed].map(|count| count.to_string());
        let gauges = [sample.links, sample.queued, sample.queued_most].map(|count| count.to_string());
        let mut fields = vec![number(sample.at_s)];
        fields.extend(counts);
        fields.push(number(sample.reachable));
        fields.extend(gauges);
        fields.push(number(sample.cost));
        let bytes = |known: usize, values: &[u64]| -> Vec<String> {
            (0..known).map(|place| values.get(place).map_or_else(String::new, u64::to_string)).collect()
        };
        fields.extend(bytes(record.purposes.len(), &sample.purposes));
        fields.extend(bytes(record.bearers.len(), &sample.bearers));
        rows.add(fields);
    }
    rows.done()
}

/// Returns the distribution of latency, by flow.
fn latency(record: &Record) -> Table {
    let mut rows = Rows::new("latency.csv", ["flow", "seconds", "share"]);
    for (flow, points) in &record.latencies {
        points.iter().for_each(|(at, share)| rows.add([flow.clone(), number(*at), number(*share)]));
    }
    rows.done()
}

/// Returns the metrics of some messages: a row for each flow, class or group, a column for each metric.
fn by(record: &Record, selector: &'static str, file: &'static str) -> Table {
    let mut found = BTreeMap::<&str, BTreeMap<&str, f64>>::new();
    for (key, value) in &record.summary.metrics {
        let Some((metric, rest)) = key.split_once('[') else { continue };
        let Some((kind, of)) = rest.strip_suffix(']').and_then(|rest| rest.split_once('=')) else { continue };
        if kind == selector {
            found.entry(of).or_default().insert(metric, *value);
        }
    }
    let measured: BTreeSet<&str> = found.values().flat_map(BTreeMap::keys).copied().collect();
    let mut columns: Vec<&str> =
        METRICS.iter().map(|metric| metric.name).filter(|name| measured.contains(name)).collect();
    columns.extend(measured.iter().filter(|name| !METRICS.iter().any(|metric| metric.name == **name)));
    let mut rows = Rows::new(file, std::iter::once(selector).chain(columns.iter().copied()));
    for (of, values) in &found {
        let fields = columns.iter().map(|column| optional(values.get(column).copied()));
        rows.add(std::iter::once((*of).to_owned()).chain(fields));
    }
    rows.done()
}

fn devices(record: &Record) -> Table {
    let mut rows = Rows::new("devices.csv", ["device", "group", "x_m", "y_m", "sent", "received", "bytes"]);
    for node in &record.nodes {
        let counts = [node.sent, node.received, node.bytes].map(|count| count.to_string());
        rows.add([node.name.clone(), node.group.clone(), number(node.x), number(node.y)].into_iter().chain(counts));
    }
    rows.done()
}

fn links(record: &Record) -> Table {
    let mut rows = Rows::new("links.csv", ["device", "other", "bearer", "bytes_there", "bytes_back", "cost"]);
    for edge in &record.edges {
        let ends = [name(record, edge.a), name(record, edge.b), bearer(record, edge.bearer)];
        rows.add(ends.into_iter().chain(edge.bytes.map(|bytes| bytes.to_string())).chain([number(edge.cost)]));
    }
    rows.done()
}

/// Returns the traffic by device and bearer, with its projection to a month.
fn spending(record: &Record) -> Table {
    let mut rows =
        Rows::new("spending.csv", ["device", "group", "bearer", "bytes", "cost", "bytes_month", "cost_month"]);
    let months = months(record);
    for spent in &record.spending {
        let group = record.nodes.get(spent.node).map_or_else(String::new, |node| node.group.clone());
        let month = |value: f64| months.map_or_else(String::new, |months| number(value / months));
        rows.add([
            name(record, spent.node),
            group,
            bearer(record, spent.bearer),
            spent.bytes.to_string(),
            number(spent.cost),
            month(spent.bytes as f64),
            month(spent.cost),
        ]);
    }
    rows.done()
}

/// Returns the number of months of 30 days in the measured time, if that time is not zero.
fn months(record: &Record) -> Option<f64> {
    let measured = record.times.end_s - record.times.warm_s;
    (measured > 0.0).then_some(measured / MONTH_S)
}

fn missed(record: &Record) -> Table {
    let mut rows = Rows::new("missed.csv", ["message", "flow", "topic", "from", "to", "at_s", "late_s"]);
    for missed in &record.missed {
        rows.add([
            missed.message.to_string(),
            missed.flow.clone(),
            missed.topic.clone(),
            name(record, missed.from),
            name(record, missed.to),
            number(missed.at_s),
            optional(missed.late_s),
        ]);
    }
    rows.done()
}

fn metrics(record: &Record) -> Table {
    let mut rows = Rows::new("metrics.csv", ["metric", "value"]);
    record.summary.metrics.iter().for_each(|(metric, value)| rows.add([metric.clone(), number(*value)]));
    rows.done()
}

fn faults(record: &Record) -> Table {
    let mut rows = Rows::new("faults.csv", ["fault", "at_s", "until_s"]);
    record.faults.iter().for_each(|fault| rows.add([fault.label.clone(), number(fault.at_s), number(fault.until_s)]));
    rows.done()
}

/// The seconds of the month for which costs are stated.
const MONTH_S: f64 = 30.0 * 86_400.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{empty, typical};

    /// Returns the fields of a line without quotes.
    fn fields(line: &str) -> Vec<&str> {
        line.split(',').collect()
    }

    fn table(record: &Record, file: &str) -> String {
        tables(record).into_iter().find(|table| table.file == file).expect("the table").text
    }

    #[test]
    fn every_row_has_the_fields_of_the_first_line() {
        let record = typical();
        for Table { file, text } in tables(&record) {
            let lines: Vec<&str> = text.split_terminator("\r\n").collect();
            let width = fields(lines[0]).len();
            assert!(lines.iter().all(|line| line.contains('"') || fields(line).len() == width), "{file}: {text}");
            assert!(lines.len() > 1 || file == "classes.csv" || file == "groups.csv", "{file} has rows");
        }
        assert_eq!(table(&record, "series.csv").lines().count(), record.samples.len() + 1);
        assert_eq!(table(&record, "links.csv").lines().count(), record.edges.len() + 1);
        assert!(tables(&empty()).iter().all(|table| table.text.lines().count() == 1));
    }

    #[test]
    fn a_month_is_told_from_the_measured_time() {
        let record = typical();
        let text = table(&record, "spending.csv");
        let line = text.lines().find(|line| line.contains(",lte,")).expect("somebody pays");
        let [cost, month] = [4, 6].map(|place| fields(line)[place].parse::<f64>().expect("a number"));
        let measured = record.times.end_s - record.times.warm_s;
        assert!((month / cost / (MONTH_S / measured) - 1.0).abs() < 1e-9, "{line}");
    }

    #[test]
    fn who_missed_what_and_what_was_late_is_told_and_text_stays_in_its_field() {
        let mut record = typical();
        record.missed[0].topic = "a,\"b\"\n".into();
        let text = table(&record, "missed.csv");
        assert!(text.contains("7,firmware,\"a,\"\"b\"\"\n\",gateway-0,"), "{text}");
        assert!(text.contains(",12.5\r\n"), "{text}");
    }
}
