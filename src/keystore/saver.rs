//! Saver: the one saver of a device's identity, which keeps the newest state.
//!
//! A node saves whenever its membership has changed, on blocking threads that run in any order. States are taken and
//! numbered in the order of the calls. A thread that is about to write first checks whether a newer state has been
//! written; if so, it has nothing to do.
//!
//! Invariants
//! 1. The state on disk is never replaced by an earlier state of the same process.
//! - One state is written at a time.

use super::device_dir::{DeviceDir, DeviceDirError};
use crate::identity::membership::Stored;
use std::sync::{Arc, Mutex, PoisonError};

/// Takes and numbers the states of one device.
#[derive(Debug)]
pub struct Saver {
    device: DeviceDir,
    last: u64,
    written: Arc<Mutex<u64>>,
}

/// A state that is to be written.
#[derive(Debug)]
pub struct Save {
    device: DeviceDir,
    number: u64,
    state: Stored,
    /// The number of the newest state on disk.
    written: Arc<Mutex<u64>>,
}

impl Saver {
    /// Creates the saver of a device's directory.
    pub fn new(device: DeviceDir) -> Self {
        Self { device, last: 0, written: Arc::default() }
    }

    /// Takes the current state.
    pub fn take(&mut self, state: Stored) -> Save {
        self.last += 1;
        Save { device: self.device.clone(), number: self.last, state, written: self.written.clone() }
    }

    /// Returns the device's directory.
    pub fn device(&self) -> &DeviceDir {
        &self.device
    }
}

impl Save {
    /// Writes the state durably, unless a newer one has been written. Blocks.
    pub fn write(self) -> Result<(), DeviceDirError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < self.number {
            self.device.save(&self.state)?;
            *written = self.number;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn state(number: u8) -> Stored {
        let secret = || Zeroizing::new(vec![number; 2_000]);
        Stored {
            keys: secret(),
            batch: secret(),
            bulletin: vec![number; 2_000],
            documents: Vec::new(),
            cards: secret(),
        }
    }

    fn on_disk(directory: &std::path::Path) -> Vec<u8> {
        std::fs::read(directory.join("identity").join("cards")).expect("it has been saved")
    }

    /// Invariant 1.
    #[test]
    fn the_newer_state_stays_whichever_is_written_last() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut saver = Saver::new(DeviceDir::new(directory.path()));
        let saves: Vec<Save> = (1..=3).map(|number| saver.take(state(number))).collect();
        let [first, second, third] = saves.try_into().expect("three");
        second.write().expect("written");
        assert_eq!(on_disk(directory.path()), [2; 2_000]);
        first.write().expect("nothing to do");
        assert_eq!(on_disk(directory.path()), [2; 2_000]);
        third.write().expect("written");
        assert_eq!(on_disk(directory.path()), [3; 2_000]);
    }

    #[test]
    fn two_that_write_side_by_side_do_not_take_each_others_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let device = DeviceDir::new(directory.path());
        std::thread::scope(|scope| {
            for first in [0, 100] {
                let device = &device;
                scope.spawn(move || {
                    for number in first..first + 40 {
                        device.save(&state(number)).expect("saved");
                    }
                });
            }
        });
        let cards = on_disk(directory.path());
        assert!(cards.len() == 2_000 && [39, 139].contains(&cards[0]));
        let left = std::fs::read_dir(directory.path().join("identity")).expect("it lists").count();
        assert_eq!(left, 5, "nothing temporary is left over");
    }
}
