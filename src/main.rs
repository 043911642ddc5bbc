//! The `m2mesh` command: see [`m2mesh::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    m2mesh::cli::main(std::env::args_os())
}
