//! Standing: the links that carry frames, and those that could and do not.
//!
//! A device whose pseudonym changes opens a second network, and leaves the first. The links of the first end with it:
//! they are not lost, but have *turned*. A pair of devices that has another link by then has lost nothing; a pair that
//! has none is apart until one of them dials again, which is measured separately from all other absences.

use super::{Medium, NANOS, State, Verdict, now};
use libp2p::PeerId;

/// What turns of pseudonyms have done to links so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turned {
    /// The number of edges that have ceased to carry frames since an end had left its former pseudonym.
    pub links: u64,
    /// The number of these that could carry frames and do not yet.
    pub apart: u64,
    /// The number of these that have carried frames again.
    pub again: u64,
    /// The sum of the times until they did, in nanoseconds, and the longest.
    pub time: u64,
    /// The longest of these times.
    pub longest: u64,
}

impl Medium {
    /// Notes that a device has left the network with this key for another.
    pub(super) fn note_left(&self, device: usize, peer: PeerId) {
        let there = &mut self.lock().devices[device];
        // The networks of a process that is killed are not left.
        if !there.gone {
            there.left.insert(peer);
        }
    }

    /// Notes that the operator has revoked a device.
    pub fn set_revoked(&self, device: usize) {
        self.change(self.edges_of(device), |state| state.devices[device].revoked = true);
    }

    /// Returns whether a link over an edge could come up, or stands, and carries bytes.
    pub fn carries(&self, edge: usize) -> bool {
        let state = self.lock();
        let known = &state.edges[edge];
        (known.known || known.standing > 0) && state.verdict(edge) == Verdict::Open
    }

    /// Returns the time at which an edge has last ceased to carry frames, in nanoseconds; 0 if it never has.
    pub fn fell(&self, edge: usize) -> u64 {
        self.lock().edges[edge].fell
    }

    /// Notes that a connection between networks with these keys begins or ceases to carry frames.
    pub(super) fn set_standing(&self, edge: usize, up: bool, peers: [Option<PeerId>; 2]) {
        let mut state = self.lock();
        let missing = state.is_missing(edge);
        let known = &mut state.edges[edge];
        let before = known.standing > 0;
        known.standing = if up { known.standing + 1 } else { known.standing.saturating_sub(1) };
        let after = known.standing > 0;
        let (a, b) = (known.a, known.b);
        if up && (state.devices[a].foreign || state.devices[b].foreign) {
            state.watch.foreign += 1;
        }
        match (before, after) {
            (false, true) => {
                state.watch.up += 1;
                [a, b].into_iter().for_each(|device| state.note_attached(device));
            }
            (true, false) => {
                state.watch.up -= 1;
                state.edges[edge].fell = now();
                let left = |device: usize| peers.iter().flatten().any(|peer| state.devices[device].left.contains(peer));
                if left(a) || left(b) {
                    state.watch.turned.links += 1;
                    state.edges[edge].turned = true;
                } else {
                    state.watch.lost += 1;
                }
            }
            _ => {}
        }
        state.note_missing(edge, missing);
    }
}

impl State {
    /// Notes that a link of a device came up.
    fn note_attached(&mut self, device: usize) {
        let (now, came) = (now(), &mut self.devices[device].came);
        came.push_back(now);
        while came.pop_front_if(|at| *at + NANOS <= now).is_some() {}
        self.watch.attached = self.watch.attached.max(came.len() as u64);
    }

    /// Returns whether an edge could carry frames and does not.
    pub(super) fn is_missing(&self, edge: usize) -> bool {
        let known = &self.edges[edge];
        let there = [known.a, known.b].into_iter().all(|device| {
            let device = &self.devices[device];
            !device.gone && !device.revoked
        });
        known.known && known.standing == 0 && there && self.verdict(edge) == Verdict::Open
    }

    /// Notes what a change has made of an edge that was missing before it, or was not.
    pub(super) fn note_missing(&mut self, edge: usize, before: bool) {
        let after = self.is_missing(edge);
        let turned = self.edges[edge].turned;
        match (before, after, turned) {
            (false, true, true) => {
                self.watch.turned.apart += 1;
                self.edges[edge].missing_since = now();
            }
            (false, true, false) => {
                self.watch.missing += 1;
                self.edges[edge].missing_since = now();
            }
            (true, false, true) => {
                self.watch.turned.apart -= 1;
                if self.edges[edge].standing > 0 {
                    let took = now() - self.edges[edge].missing_since;
                    self.watch.turned.again += 1;
                    self.watch.turned.time += took;
                    self.watch.turned.longest = self.watch.turned.longest.max(took);
                }
            }
            (true, false, false) => {
                self.watch.missing -= 1;
                if self.watch.missing == 0 {
                    self.watch.whole_at = Some(now());
                }
            }
            (true, true, _) | (false, false, _) => {}
        }
        if !after {
            self.edges[edge].turned = false;
        }
    }
}
