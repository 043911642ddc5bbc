//! Outputs: files that a run writes for other programs: tables, figures, the answer for a CI system.

use super::failure::Failure;
use crate::record::Record;
use crate::report::junit::{self, Run};
use crate::report::{charts, tables};
use std::path::{Path, PathBuf};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Outputs {
    /// Writes each figure as a CSV table into this directory
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,
    /// Draws each figure as SVG and as PNG into this directory
    #[arg(long, value_name = "DIR")]
    figures: Option<PathBuf>,
    /// Writes expectations and checks to this file as test cases, as JUnit's XML
    #[arg(long, value_name = "FILE.xml")]
    junit: Option<PathBuf>,
}

impl Outputs {
    /// Returns the requested outputs, each with its name in messages.
    pub(super) fn told(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("tables", &self.csv), ("figures", &self.figures), ("junit", &self.junit)];
        all.into_iter().filter_map(|(word, path)| Some((word, path.as_deref()?)))
    }

    /// Checks that all of them can be written, so that an error is found before an hour of simulation.
    pub(super) fn try_out(&self) -> Result<(), Failure> {
        for directory in [&self.csv, &self.figures].into_iter().flatten() {
            std::fs::create_dir_all(directory).map_err(|error| Failure::file("make", directory, &error))?;
        }
        self.junit.as_deref().map_or(Ok(()), try_file)
    }

    /// Writes all requested outputs.
    pub(super) fn write(&self, record: &Record) -> Result<(), Failure> {
        if let Some(directory) = &self.csv {
            for table in tables::tables(record) {
                write(&directory.join(table.file), table.text.as_bytes())?;
            }
        }
        if let Some(directory) = &self.figures {
            for chart in charts::charts(record) {
                let drawn = charts::svg(&chart).and_then(|svg| Ok((svg, charts::png(&chart)?)));
                let (svg, png) = drawn.map_err(|error| {
                    let error = format!("the figure {} cannot be drawn: {error}", chart.name);
                    Failure::new(error, "leave --figures out; the report has it, too")
                })?;
                write(&directory.join(format!("{}.svg", chart.name)), svg.as_bytes())?;
                write(&directory.join(format!("{}.png", chart.name)), &png)?;
            }
        }
        if let Some(path) = &self.junit {
            let run = Run { summary: &record.summary, performance: Some(&record.performance) };
            write(path, junit::document([run]).as_bytes())?;
        }
        Ok(())
    }
}

/// Checks that a file can be written. An existing file is not changed; one that does not exist is created, empty.
pub(super) fn try_file(path: &Path) -> Result<(), Failure> {
    let tried = std::fs::OpenOptions::new().append(true).create(true).open(path);
    tried.map(drop).map_err(|error| Failure::file("write", path, &error))
}

/// Writes a file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    std::fs::write(path, bytes).map_err(|error| Failure::file("write", path, &error))
}
