//! Forgeries: what happens to neighbours that forward forged frames.
//!
//! **Mechanism.** No device forwards a group frame or a link-state advertisement whose signature it has not verified,
//! so a neighbour that sends one which does not verify is broken, or means harm. A link has an allowance of
//! [`FORGIVEN`] forged frames, and earns one more in each [`PARDON`]. The forged frame that uses up the allowance
//! closes the link, so that trees and routes lead round the neighbour; until it is closed, frames of the two kinds that
//! arrive over it are not looked at (`frames_distrusted`). The neighbour is dialled again as after any failure.
//!
//! Invariants
//! 1. Of the forged signatures that a neighbour sends over a link at once, at most [`FORGIVEN`] are verified.
//! - After that, at most one is verified in each [`PARDON`].

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::LinkId;
use crate::share::Rates;
use core::time::Duration;

/// The allowance of a link: forged frames that it may bring at once.
const FORGIVEN: u32 = 32;
/// The time in which a link earns one more.
const PARDON: Duration = Duration::from_secs(5);

/// The allowances of all links, unused.
pub(in crate::engine) fn rates() -> Rates {
    Rates::new(FORGIVEN, PARDON)
}

impl Neighbours {
    /// Whether signatures of others that arrive over a link are verified at present; a frame that is not looked at is
    /// counted.
    pub(in crate::engine) fn trusts(&mut self, core: &mut Core, link: LinkId) -> bool {
        // A frame that waited for a credential may be looked at when its link is gone; there are few such frames.
        let trusts = self.links.get(link).is_none() || self.forgeries.has(link, core.now.time);
        core.count(Counter::FramesDistrusted, u64::from(!trusts));
        trusts
    }

    /// Notes that a signature did not verify, counts it as `what`, and closes the link when its allowance is used up.
    pub(in crate::engine) fn note_forgery(&mut self, core: &mut Core, link: LinkId, what: Counter) {
        core.count(what, 1);
        if self.links.get(link).is_none() {
            return;
        }
        self.forgeries.take(link, core.now.time);
        if !self.forgeries.has(link, core.now.time) {
            self.close(core, link, "it hands on what others have not signed");
        }
    }
}
