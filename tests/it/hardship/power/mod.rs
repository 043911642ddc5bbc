//! Losing power, and being killed, in the middle of work: what the store promises about both, and how it is checked.

#![allow(clippy::panic)] // a test that meets something else than it expects has failed

pub mod disk;
pub mod random;
pub mod workload;

use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles the shim; says so where that cannot be done.
pub fn shim(place: &Path) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hardship/power/shim.c");
    let library = place.join("shim.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-lpthread");
    match command.output() {
        Err(error) => {
            println!(
                "SKIPPED: {} does not run: {error}; install a C compiler to test losses of power",
                compiler.display()
            );
            None
        }
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(library)
        }
    }
}
