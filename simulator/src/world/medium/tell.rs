//! What the medium tells of itself: bytes and their cost, what stands, how devices look.

use super::books::Amount;
use super::kinds::Kinds;
use super::{Bearer, Medium};

/// Links that are expected, and those that stand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Edges that carry frames.
    pub up: u64,
    /// Edges that stood and do not any more, so far.
    pub lost: u64,
    /// Edges that could stand, and do not. Only those of which an end knows the other's address count.
    pub missing: u64,
    /// When the last of these came up last, in nanoseconds.
    pub whole_at: Option<u64>,
    /// Frames that a device of another realm got onto a link.
    pub foreign: u64,
}

/// What has gone over links so far.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// Bytes by purpose.
    pub purposes: Vec<u64>,
    /// Bytes by bearer.
    pub bearers: Vec<u64>,
    /// Money, each byte and packet at the price of its bearer.
    pub cost: f64,
    /// Of that, for streams of messages.
    pub cost_of_payload: f64,
}

impl Medium {
    /// The hash so far, hexadecimal.
    pub fn trace(&self) -> String {
        self.lock().trace.digest()
    }

    /// Bytes so far, and what they cost.
    pub fn spent(&self) -> Spent {
        let state = self.lock();
        let cost = |amount: &dyn Fn(&Bearer) -> Amount| {
            state.bearers.iter().map(|bearer| bearer.tariff.cost(amount(bearer))).sum()
        };
        Spent {
            purposes: state.purposes.to_vec(),
            bearers: state.bearers.iter().map(|bearer| bearer.all.bytes).collect(),
            cost: cost(&|bearer| bearer.all),
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
        let tariff = &state.bearers[edge.bearer].tariff;
        let mut both = edge.sent[0];
        both += edge.sent[1];
        (edge.sent.map(|sent| sent.bytes), tariff.cost(both))
    }

    /// Bytes that each end of an edge has sent over it, and their cost.
    pub fn edge_sent(&self, edge: usize) -> [(u64, f64); 2] {
        let state = self.lock();
        let edge = &state.edges[edge];
        edge.sent.map(|sent| (sent.bytes, state.bearers[edge.bearer].tariff.cost(sent)))
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
