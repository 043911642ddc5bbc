//! The command line, with one file for each verb.
//!
//! The exit code is 0 if all expectations hold, 2 if an expectation was missed or a check violated, and 1 on an error,
//! which says what, where, and what to do next.

mod baseline;
mod calibrate;
mod check;
mod compare;
mod failure;
mod fuzz;
mod import;
mod lab;
mod linkage;
mod list;
mod merge;
mod new;
mod outputs;
mod progress;
mod replay;
mod run;
mod scratch;
mod statistics;
mod sweep;
mod tell;

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(
    name = "m2mesh-sim",
    version,
    about = "Simulates a mesh of m2mesh nodes, in virtual time",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Arguments),
    Lab(lab::Arguments),
    Replay(replay::Arguments),
    Sweep(sweep::Arguments),
    Merge(merge::Arguments),
    Compare(compare::Arguments),
    Calibrate(calibrate::Arguments),
    Fuzz(fuzz::Arguments),
    Linkage(linkage::Arguments),
    List(list::Arguments),
    Check(check::Arguments),
    New(new::Arguments),
    Import(import::Arguments),
}

/// Carries out the command that the arguments give.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let verb = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { verb }) => verb,
        Err(error) => {
            // An error in printing cannot be reported.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match verb {
        Verb::Run(arguments) => run::run(&arguments),
        Verb::Lab(arguments) => lab::run(&arguments),
        Verb::Replay(arguments) => replay::run(&arguments),
        Verb::Sweep(arguments) => sweep::run(&arguments),
        Verb::Merge(arguments) => merge::run(&arguments),
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Linkage(arguments) => linkage::run(&arguments),
        Verb::Calibrate(arguments) => calibrate::run(&arguments),
        Verb::List(arguments) => list::run(&arguments),
        Verb::Check(arguments) => check::run(&arguments),
        Verb::New(arguments) => new::run(&arguments),
        Verb::Import(arguments) => import::run(&arguments),
    }
}
