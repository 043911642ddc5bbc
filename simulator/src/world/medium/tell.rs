//! What the medium tells of itself: bytes and their cost, what stands, how devices look.

use super::kinds::Kinds;
use super::{Bearer, Medium, Spent, Watch};

impl Medium {
    /// The hash so far, hexadecimal.
    pub fn trace(&self) -> String {
        self.lock().trace.digest()
    }

    /// Bytes so far, and what they cost.
    pub fn spent(&self) -> Spent {
        let state = self.lock();
        let cost = |bytes: &dyn Fn(&Bearer) -> u64| {
            state.bearers.iter().map(|bearer| bytes(bearer) as f64 / 1e6 * bearer.price).sum()
        };
        Spent {
            purposes: state.purposes.to_vec(),
            bearers: state.bearers.iter().map(|bearer| bearer.bytes).collect(),
            cost: cost(&|bearer| bearer.bytes),
            cost_of_payload: cost(&|bearer| bearer.payload),
        }
    }

    /// Bytes and frames on control streams so far, by kind of frame.
    pub fn kinds(&self) -> Kinds {
        self.lock().kinds.clone()
    }

    /// Bytes on an edge, each way, and their cost.
    pub fn edge_bytes(&self, edge: usize) -> ([u64; 2], f64) {
        let state = self.lock();
        let edge = &state.edges[edge];
        (edge.bytes, (edge.bytes[0] + edge.bytes[1]) as f64 / 1e6 * state.bearers[edge.bearer].price)
    }

    /// Bytes that each end of an edge has sent over it, and their cost.
    pub fn edge_sent(&self, edge: usize) -> [(u64, f64); 2] {
        let state = self.lock();
        let edge = &state.edges[edge];
        edge.bytes.map(|bytes| (bytes, bytes as f64 / 1e6 * state.bearers[edge.bearer].price))
    }

    /// How much cuts have taken from an edge so far.
    pub fn struck(&self, edge: usize) -> u64 {
        self.lock().edges[edge].struck
    }

    /// What a hostile member, or a stranger, has done so far.
    pub fn misdeeds(&self, device: usize) -> u64 {
        self.lock().devices[device].misdeeds
    }

    /// Bytes that a device has sent.
    pub fn device_bytes(&self, device: usize) -> u64 {
        self.lock().devices[device].bytes
    }

    /// Whether an edge carries frames at present.
    pub fn stands(&self, edge: usize) -> bool {
        self.lock().edges[edge].standing > 0
    }

    /// Since when an edge could carry frames and does not, in nanoseconds, if so.
    pub fn missing(&self, edge: usize) -> Option<u64> {
        let state = self.lock();
        state.is_missing(edge).then(|| state.edges[edge].missing_since)
    }

    /// Links expected and standing.
    pub fn watch(&self) -> Watch {
        self.lock().watch
    }

    /// How a device looks: `1` on, `0` off, `z` asleep or without power, `h` hostile.
    pub fn look(&self, device: usize) -> char {
        let device = &self.lock().devices[device];
        match () {
            () if device.gone => '0',
            () if device.dark > 0 => 'z',
            () if device.hostile.is_some() => 'h',
            () => '1',
        }
    }

    /// Where a device is.
    pub fn place(&self, device: usize) -> (f64, f64) {
        self.lock().devices[device].place
    }
}
