//! A cable between two serial devices: two pseudo-terminals, and threads that carry octets from one to the other.
//!
//! The devices have names that stay when the cable is pulled out and plugged in again.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::{read, write};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// A cable that is plugged in at both ends.
pub(super) struct Cable {
    names: [PathBuf; 2],
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Cable {
    /// Plugs it into devices of these names, which are there as long as it is.
    pub(super) fn between(names: [&Path; 2]) -> Self {
        let [(first, held), (second, also_held)] = names.map(device);
        let stop = Arc::new(AtomicBool::new(false));
        let carry = |from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, held: OwnedFd| {
            let (from, to, stop) = (from.clone(), to.clone(), stop.clone());
            std::thread::spawn(move || {
                carry(&from, &to, &stop);
                drop(held);
            })
        };
        let threads = vec![carry(&first, &second, held), carry(&second, &first, also_held)];
        Self { names: names.map(Path::to_path_buf), stop, threads }
    }

    /// Pulls it out: both devices are gone.
    pub(super) fn pull(self) {
        drop(self);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // First of all, since others may be given the same terminals.
        for name in &self.names {
            std::fs::remove_file(name).expect("it was there");
        }
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("the cable works");
        }
    }
}

/// Makes a device of that name. Returns its other end, and the device itself: while that is open, the other end can be read.
fn device(name: &Path) -> (Arc<OwnedFd>, OwnedFd) {
    let end = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&end).expect("it is granted");
    unlockpt(&end).expect("it is unlocked");
    let path = ptsname(&end, Vec::new()).expect("it has a name");
    let path = PathBuf::from(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let held = rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("it opens");
    let _ = std::fs::remove_file(name);
    std::os::unix::fs::symlink(&path, name).expect("a link");
    (Arc::new(end), held)
}

fn carry(from: &OwnedFd, to: &OwnedFd, stop: &AtomicBool) {
    let mut buffer = [0; 4_096];
    let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    while !stop.load(Ordering::Relaxed) {
        let mut ready = [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)];
        if poll(&mut ready, Some(&moment)).is_ok_and(|ready| ready > 0)
            && let Ok(length) = read(from, &mut buffer)
        {
            let mut rest = &buffer[..length];
            while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
                rest = &rest[write(to, rest).expect("the device takes it")..];
            }
        }
    }
}
