//! Forgeries: what happens to neighbours that forward forged or malformed frames.
//!
//! **Mechanism.** No device forwards a group frame, a link-state advertisement, a bulletin or a credential whose signature
//! it has not verified, nor a frame that it cannot decode; so a neighbour that sends one is broken, or means harm. A
//! neighbour has an allowance of [`FORGIVEN`] forged frames, and earns one more in each [`PARDON`]; and the same of
//! malformed ones, of which a later version may send some. The frame that uses up an allowance closes its links, so that
//! trees and routes lead round the neighbour; until they are closed, frames with signatures of others that arrive over
//! them are not looked at (`frames_distrusted`). So does a frame of impossible length, at once. The neighbour is dialled
//! again as after any failure, but when it happens again it is put in [`quarantine`](super::quarantine).
//!
//! What is sealed within a frame for its receiver does not count, nor that a session or a group key does not open it, nor
//! what time, segment or revocation speaks against: of these no relay can judge, or it judges by another clock or bulletin.
//!
//! Invariants
//! 1. Of the forged signatures that a neighbour sends at once, over whatever links, at most [`FORGIVEN`] are verified.
//! - After that, at most one is verified in each [`PARDON`].

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::{LinkId, Pseudonym};
use crate::share::Rates;
use crate::time::Time;
use core::time::Duration;

/// The allowance of a neighbour: forged frames, and as many malformed ones, that it may bring at once.
const FORGIVEN: u32 = 32;
/// The time in which a neighbour earns one more of each.
const PARDON: Duration = Duration::from_secs(5);

/// The allowances of all neighbours, unused.
#[derive(Debug)]
pub(in crate::engine) struct Forgeries {
    forged: Rates,
    malformed: Rates,
}

impl Default for Forgeries {
    fn default() -> Self {
        Self { forged: Rates::new(FORGIVEN, PARDON), malformed: Rates::new(FORGIVEN, PARDON) }
    }
}

impl Forgeries {
    /// What a neighbour has used up under one pseudonym it has used up under its next one.
    pub(in crate::engine) fn inherit(&mut self, from: &Pseudonym, to: Pseudonym, now: Time) {
        self.forged.inherit(from, to, now);
        self.malformed.inherit(from, to, now);
    }
}

impl Neighbours {
    /// Whether signatures of others that arrive over a link are verified at present; a frame that is not looked at is
    /// counted.
    pub(in crate::engine) fn trusts(&mut self, core: &mut Core, link: LinkId) -> bool {
        // A frame that waited for a credential may be looked at when its link is gone; there are few such frames.
        let trusts = self.key_of(link).is_none_or(|by| self.forgeries.forged.has(&by, core.now.time));
        core.count(Counter::FramesDistrusted, u64::from(!trusts));
        trusts
    }

    /// Notes that a signature did not verify, counts it as `what`, and closes the neighbour's links when its allowance is
    /// used up.
    pub(in crate::engine) fn note_forgery(&mut self, core: &mut Core, link: LinkId, what: Counter) {
        core.count(what, 1);
        let Some(by) = self.key_of(link) else { return };
        let (forged, now) = (&mut self.forgeries.forged, core.now.time);
        if forged.take(&by, now) && !forged.has(&by, now) {
            self.note_offence(core, link, "it hands on what others have not signed");
        }
    }

    /// The same for a frame that does not decode.
    pub(in crate::engine) fn note_malformed(&mut self, core: &mut Core, link: LinkId, what: Counter) {
        core.count(what, 1);
        let Some(by) = self.key_of(link) else { return };
        let (malformed, now) = (&mut self.forgeries.malformed, core.now.time);
        if malformed.take(&by, now) && !malformed.has(&by, now) {
            self.note_offence(core, link, "it sends frames that are malformed");
        }
    }
}
