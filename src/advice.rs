//! Advice: what a person can do about an error that the system reports of a file, for error messages.
//!
//! It is a pure function of the system's error, so that all modules that keep files give the same advice for the same
//! error.

use rustix::io::Errno;
use std::io;

/// Returns what to do about an error of a file.
pub(crate) fn of(error: &io::Error) -> &'static str {
    or(error, "check the disk itself")
}

/// As [`of`], but with other advice, `otherwise`, for errors that are not known here.
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
