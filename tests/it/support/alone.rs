//! A test in a process of its own: for what those beside it would disturb, the memory or the directory of its process.

use std::path::Path;
use std::process::Command;

/// Names the test that is alone in this process.
const ALONE: &str = "M2MESH_TEST_ALONE";

/// Whether this is the process in which the test of that full name is alone. Elsewhere it starts that process, in a directory, and
/// answers when the test has passed there: the caller has nothing left to do.
#[track_caller]
pub fn is_alone(test: &str, directory: &Path) -> bool {
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ALONE, test)
        .current_dir(directory)
        .output()
        .expect("it starts");
    let [said, complaint] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    print!("{said}");
    assert!(output.status.success() && said.contains("1 passed"), "{test} in a process of its own:\n{said}{complaint}");
    false
}
