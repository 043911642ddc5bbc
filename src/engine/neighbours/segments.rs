//! Segments: which frames this node makes, takes and hands on.
//!
//! A link stands if either end reaches a segment of the other (`identity::admission`); what passes over it need not be of
//! that segment. So frames say which segment they are of, and everybody who has one in hands looks: the node itself, the
//! neighbour that it came from, and whoever made it, as soon as that is known, all have to be in that segment or reach it.
//!
//! Invariants
//! 1. A frame of a segment that this node neither is in nor reaches is not opened, handed on or answered; it is counted.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::LinkId;
use crate::identity::credential::PeerCredential;

impl Neighbours {
    /// What this device is in.
    pub(in crate::engine) fn own_segments(&self, core: &Core) -> u64 {
        core.membership.credential(core.now.unix).map_or(0, |own| own.body.segments())
    }

    /// What this device may exchange frames with.
    pub(in crate::engine) fn own_reach(&self, core: &Core) -> u64 {
        core.membership.bulletin().reach(self.own_segments(core))
    }

    /// The same of a neighbour.
    pub(in crate::engine) fn reach_of(&self, core: &Core, link: LinkId) -> u64 {
        self.links.get(link).map_or(0, |link| core.membership.bulletin().reach(link.peer.body.segments()))
    }

    /// Whether frames of a segment may come over a link.
    pub(in crate::engine) fn admits(&self, core: &Core, link: LinkId, segment: u8) -> bool {
        has(self.own_reach(core) & self.reach_of(core, link), segment)
    }

    /// Whether frames of a segment may come from a device, to this one.
    pub(in crate::engine) fn takes_from(&self, core: &Core, peer: &PeerCredential, segment: u8) -> bool {
        has(self.own_reach(core) & core.membership.bulletin().reach(peer.body.segments()), segment)
    }

    /// The segment of frames to a device, or `None` if the two devices have none in common.
    pub(in crate::engine) fn segment_to(&self, core: &Core, peer: &PeerCredential) -> Option<u8> {
        core.membership.bulletin().segment_between(self.own_segments(core), peer.body.segments())
    }

    /// The segment of what this device publishes: the first that it is in.
    pub(in crate::engine) fn segment_of_publications(&self, core: &Core) -> Option<u8> {
        first(self.own_segments(core))
    }
}

/// Whether a bit map has a segment; those beyond its end it has not.
pub(in crate::engine) fn has(segments: u64, segment: u8) -> bool {
    segments.checked_shr(segment.into()).is_some_and(|rest| rest & 1 == 1)
}

/// The lowest segment of a bit map.
fn first(segments: u64) -> Option<u8> {
    u8::try_from(segments.trailing_zeros()).ok().filter(|bit| *bit < 64)
}
