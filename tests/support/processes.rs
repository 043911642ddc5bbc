//! Processes of the command, as a user runs them.

#![allow(dead_code)] // each test binary uses its part

#[path = "limit.rs"]
pub mod limit;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

pub fn m2mesh(arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m2mesh"));
    command.args(arguments).current_dir(directory).env_remove("M2MESH_DIR").stdin(Stdio::null());
    command
}

pub fn done(arguments: &[&str], directory: &Path) -> String {
    let Output { status, stdout, stderr } = output(arguments, directory);
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{arguments:?} ended with {status}\n{stdout}\n{stderr}");
    stdout.trim_end().to_owned()
}

/// The exit code and what was said on standard error.
pub fn refused(arguments: &[&str], directory: &Path) -> (Option<i32>, String) {
    let output = output(arguments, directory);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn output(arguments: &[&str], directory: &Path) -> Output {
    let mut command = m2mesh(arguments, directory);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    limit::output(command.spawn().expect("the command runs"), &format!("{arguments:?}"))
}

/// A process that has announced itself ready, and is stopped at the end of the test.
pub struct Running {
    pub child: Child,
    pub ready: String,
}

impl Running {
    pub fn start(arguments: &[&str], directory: &Path) -> Self {
        Self::start_with(arguments, directory, |_| {})
    }

    /// With what else the process is to be given.
    pub fn start_with(arguments: &[&str], directory: &Path, also: impl FnOnce(&mut Command)) -> Self {
        let mut command = m2mesh(arguments, directory);
        also(&mut command);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the process starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let limit = limit::Limit::on(&child);
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("READY"));
        assert!(!limit.is_over(), "{arguments:?} was not ready after {:?} and was killed", limit::LIMIT);
        let ready = ready.expect("READY");
        // Whatever else it says is read, so that it never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, ready }
    }

    pub fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill runs").success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, or stopped here.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
