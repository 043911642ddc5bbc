//! Shaping: how the connections to each peer are shaped. Only in a lab.
//!
//! All connections to one peer share one [`Profile`], through which the shape can change while they are open; a later
//! connection joins it. A peer without connections has no profile.

use super::Shape;
use super::shaped::{self, Line};
use crate::net::{PeerId, StreamMuxerBox};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The shapes of one network's links.
#[derive(Debug)]
pub(crate) struct Shaping(Mutex<Profiles>);

#[derive(Debug)]
struct Profiles {
    rng: ChaCha20Rng,
    /// The profiles of peers that have connections.
    by_peer: BTreeMap<PeerId, Weak<Profile>>,
}

/// How the connections to one peer are shaped.
#[derive(Default)]
pub(super) struct Profile(Mutex<State>);

#[derive(Default)]
struct State {
    shape: Option<Shape>,
    mute: bool,
    /// The peer's connections.
    lines: Vec<Weak<Line>>,
}

impl Shaping {
    /// `seed` feeds jitter and loss.
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(Mutex::new(Profiles { rng: ChaCha20Rng::from_seed(seed), by_peer: BTreeMap::new() }))
    }

    /// Wraps a connection so that it follows the peer's shape, now and when it changes.
    pub(crate) fn wrap(&self, peer: PeerId, muxer: StreamMuxerBox) -> StreamMuxerBox {
        let mut profiles = lock(&self.0);
        profiles.by_peer.retain(|_, profile| profile.strong_count() > 0);
        let profile = profiles.by_peer.get(&peer).and_then(Weak::upgrade).unwrap_or_default();
        profiles.by_peer.insert(peer, Arc::downgrade(&profile));
        let mut seed = [0; 32];
        profiles.rng.fill_bytes(&mut seed);
        shaped::wrap(muxer, profile, seed)
    }

    /// Sets the shape of what is sent to a peer from now on; no effect if the peer has no connection.
    pub(crate) fn set(&self, peer: &PeerId, shape: Option<Shape>) {
        if let Some(profile) = self.profile(peer) {
            lock(&profile.0).shape = shape;
        }
    }

    /// Holds back everything sent to a peer, or lets what has waited go out.
    pub(crate) fn set_mute(&self, peer: &PeerId, mute: bool) {
        let Some(profile) = self.profile(peer) else { return };
        let lines = {
            let mut state = lock(&profile.0);
            state.mute = mute;
            state.lines.clone()
        };
        if !mute {
            lines.iter().filter_map(Weak::upgrade).for_each(|line| line.rouse());
        }
    }

    fn profile(&self, peer: &PeerId) -> Option<Arc<Profile>> {
        lock(&self.0).by_peer.get(peer).and_then(Weak::upgrade)
    }
}

impl Profile {
    /// Adds a connection to the profile.
    pub(super) fn add(&self, line: &Arc<Line>) {
        let mut state = lock(&self.0);
        state.lines.retain(|line| line.strong_count() > 0);
        state.lines.push(Arc::downgrade(line));
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        lock(&self.0).shape
    }

    pub(super) fn is_mute(&self) -> bool {
        lock(&self.0).mute
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
