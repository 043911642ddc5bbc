//! Advice: what to do about what the system says of a file. For errors that people read.
//!
//! A pure function of the system's error, so that all that keep files say the same of the same.

use rustix::io::Errno;
use std::io;

/// What to do about what the system says of a file.
pub(crate) fn of(error: &io::Error) -> &'static str {
    or(error, "check the disk itself")
}

/// The same, with something else to say of what is not known here.
pub(crate) fn or(error: &io::Error, otherwise: &'static str) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE) => {
            "too many files are open: raise the limit, with `ulimit -n` or LimitNOFILE= of a systemd unit"
        }
        Some(Errno::NOSPC | Errno::DQUOT) => "free some space",
        Some(Errno::ROFS) => "mount that disk for writing",
        Some(Errno::ACCESS | Errno::PERM) => "check who owns it and its mode",
        Some(Errno::NOENT | Errno::NOTDIR | Errno::ISDIR) => "check the path",
        _ => otherwise,
    }
}
