//! Protects the memory of a process: it holds keys, and messages that are sealed everywhere else.
//!
//! A core dump would write them to a file, and any process of the same user could attach and read them. Therefore a
//! process of this command leaves no core dump, and only root may inspect it. To debug one, one has to be root.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Disables core dumps and inspection. Must be called before any key is read.
pub(super) fn close() {
    // The hard limit stays as it is: programs that a service runs may want to raise theirs.
    let limit = getrlimit(Resource::Core);
    let closed = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: limit.maximum });
    #[cfg(target_os = "linux")]
    let closed = closed.and(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable));
    if let Err(error) = closed {
        tracing::warn!(%error, "the memory of this process, with its keys, may end in a core dump");
    }
}
