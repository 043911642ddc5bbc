//! Neighbours that hand on what is forged.
//!
//! **Mechanism.** Nobody hands on a group frame or a link-state advertisement whose signature he has not verified, so a
//! neighbour that sends one which does not verify is broken, or means harm. [`FORGIVEN`] are forgiven, and one more in each
//! [`PARDON`]. With one more the link is closed, so that trees and routes lead round the neighbour, and until that is done nothing
//! of the two kinds that comes over it is looked at (`frames_distrusted`). It is dialled again as after any failure.
//!
//! Invariants
//! 1. A neighbour makes this node verify at most [`FORGIVEN`] forged signatures over a link at once, and one in each [`PARDON`].

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::LinkId;
use crate::share::Rates;
use core::time::Duration;

/// Forged frames that a link may bring at once.
const FORGIVEN: u32 = 32;
/// In which it may bring one more.
const PARDON: Duration = Duration::from_secs(5);

/// How often a link may still bring what is forged.
pub(in crate::engine) fn rates() -> Rates {
    Rates::new(FORGIVEN, PARDON)
}

impl Neighbours {
    /// Whether signatures of others that come over a link are verified at present; counts what is not looked at.
    pub(in crate::engine) fn trusts(&mut self, core: &mut Core, link: LinkId) -> bool {
        // What waited for a credential may be looked at when its link is gone; there is not much of it.
        let trusts = self.links.get(link).is_none() || self.forgeries.has(link, core.now.time);
        core.count(Counter::FramesDistrusted, u64::from(!trusts));
        trusts
    }

    /// A signature did not verify.
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
