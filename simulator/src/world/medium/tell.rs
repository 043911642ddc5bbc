//! Tell: figures of the medium, which are bytes and their cost, the states of links, and the states of devices.

use super::books::Amount;
use super::kinds::Kinds;
use super::standing::Turned;
use super::{Bearer, Medium};

/// The numbers of links that are expected and that are up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// The number of edges that carry frames.
    pub up: u64,
    /// The number of edges so far that have ceased to carry frames, other than by a change of pseudonym.
    pub lost: u64,
    /// What changes of pseudonyms have done to links.
    pub turned: Turned,
    /// The number of edges that could carry frames and do not, other than by a change of pseudonym. Only edges of which
    /// an end knows the other's address count.
    pub missing: u64,
    /// The time at which the last of these came up, in nanoseconds.
    pub whole_at: Option<u64>,
    /// The most links of one device that came up within a second.
    pub attached: u64,
    /// The number of frames that a device of another realm got onto a link.
    pub foreign: u64,
}

/// The traffic over links so far.
#[derive(Clone, Debug, Default)]
pub struct Spent {
    /// The bytes by purpose.
    pub purposes: Vec<u64>,
    /// The bytes by bearer.
    pub bearers: Vec<u64>,
    /// The money, each byte and packet at the price of its bearer.
    pub cost: f64,
    /// The part of the money that is for streams of messages.
    pub cost_of_payload: f64,
}

impl Medium {
    /// Returns the hash so far, in hexadecimal.
    pub fn trace(&self) -> String {
        self.lock().trace.digest()
    }

    /// Returns the bytes so far, and their cost.
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

    /// Returns the bytes and frames on control streams so far, by kind of frame.
    pub fn kinds(&self) -> Kinds {
        self.lock().kinds.clone()
    }

    /// Returns the bytes on an edge in each direction, and their cost.
    pub fn edge_bytes(&self, edge: usize) -> ([u64; 2], f64) {
        let state = self.lock();
        let edge = &state.edges[edge];
        let tariff = &state.bearers[edge.bearer].tariff;
        let mut both = edge.sent[0];
        both += edge.sent[1];
        (edge.sent.map(|sent| sent.bytes), tariff.cost(both))
    }

    /// Returns the bytes that each end of an edge has sent over it, and their cost.
    pub fn edge_sent(&self, edge: usize) -> [(u64, f64); 2] {
        let state = self.lock();
        let edge = &state.edges[edge];
        edge.sent.map(|sent| (sent.bytes, state.bearers[edge.bearer].tariff.cost(sent)))
    }

    /// Returns the count of what cuts have taken from an edge so far.
    pub fn struck(&self, edge: usize) -> u64 {
        self.lock().edges[edge].struck
    }

    /// Returns the number of misdeeds of a hostile member or a stranger so far.
    pub fn misdeeds(&self, device: usize) -> u64 {
        self.lock().devices[device].misdeeds
    }

    /// Returns the bytes that a device has sent.
    pub fn device_bytes(&self, device: usize) -> u64 {
        self.lock().devices[device].bytes
    }

    /// Returns whether an edge carries frames at present.
    pub fn stands(&self, edge: usize) -> bool {
        self.lock().edges[edge].standing > 0
    }

    /// Returns the time since which an edge could carry frames and does not, in nanoseconds, if that is so.
    pub fn missing(&self, edge: usize) -> Option<u64> {
        let state = self.lock();
        state.is_missing(edge).then(|| state.edges[edge].missing_since)
    }

    /// Returns the numbers of links that are expected and that are up.
    pub fn watch(&self) -> Watch {
        self.lock().watch
    }

    /// Returns the state of a device: `1` on, `0` off, `z` asleep or without power, `h` hostile.
    pub fn look(&self, device: usize) -> char {
        let device = &self.lock().devices[device];
        match () {
            () if device.gone => '0',
            () if device.dark > 0 => 'z',
            () if device.hostile.is_some() => 'h',
            () => '1',
        }
    }

    /// Returns the position of a device.
    pub fn place(&self, device: usize) -> (f64, f64) {
        self.lock().devices[device].place
    }
}
