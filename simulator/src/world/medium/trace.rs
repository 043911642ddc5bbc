//! Trace: a hash over every byte on every wire, with the time at which it was sent and its ends.
//!
//! Two runs with the same trace have sent the same bytes at the same times.

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// A trace: see the module's documentation.
pub struct Trace(Sha256);

impl Trace {
    /// Returns a trace without bytes.
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds bytes that go from one device to another, at a time in nanoseconds.
    pub fn add(&mut self, at: u64, from: usize, to: usize, bytes: &[u8]) {
        let mut head = [0; 32];
        for (place, value) in head.chunks_mut(8).zip([at, from as u64, to as u64, bytes.len() as u64]) {
            place.copy_from_slice(&value.to_be_bytes());
        }
        self.0.update(head);
        self.0.update(bytes);
    }

    /// Returns its first 128 bits, in hexadecimal.
    pub fn digest(&self) -> String {
        HEXLOWER.encode(&self.0.clone().finalize()[..16])
    }
}
