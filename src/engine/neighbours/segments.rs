//! Segments: which frames this node makes, accepts and forwards.
//!
//! A link is admitted if either end reaches a segment of the other (`identity::admission`); the frames that pass over
//! it need not be of that segment. So each frame names its segment, and every node that handles it checks: the node
//! itself, the neighbour that the frame came from and, as soon as that is known, the device that made it all have to be
//! in that segment or reach it.
//!
//! Invariants
//! 1. A frame of a segment that this node is neither in nor reaches is not opened, forwarded or answered, and is
//!    counted.

use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::LinkId;
use crate::identity::credential::PeerCredential;

impl Neighbours {
    /// The segments that this device is in, as a bit map.
    pub(in crate::engine) fn own_segments(&self, core: &Core) -> u64 {
        core.credential().map_or(0, |own| own.body.segments())
    }

    /// The segments with which this device may exchange frames, as a bit map.
    pub(in crate::engine) fn own_reach(&self, core: &Core) -> u64 {
        core.membership.bulletin().reach(self.own_segments(core))
    }

    /// The segments with which a neighbour may exchange frames, as a bit map.
    pub(in crate::engine) fn reach_of(&self, core: &Core, link: LinkId) -> u64 {
        self.links.get(link).map_or(0, |link| core.membership.bulletin().reach(link.peer.body.segments()))
    }

    /// Whether frames of a segment may arrive over a link.
    pub(in crate::engine) fn admits(&self, core: &Core, link: LinkId, segment: u8) -> bool {
        has(self.own_reach(core) & self.reach_of(core, link), segment)
    }

    /// Whether this device may accept frames of a segment from a device.
    pub(in crate::engine) fn takes_from(&self, core: &Core, peer: &PeerCredential, segment: u8) -> bool {
        has(self.own_reach(core) & core.membership.bulletin().reach(peer.body.segments()), segment)
    }

    /// The segment of frames to a device, or `None` if the two devices have no segment in common.
    pub(in crate::engine) fn segment_to(&self, core: &Core, peer: &PeerCredential) -> Option<u8> {
        core.membership.bulletin().segment_between(self.own_segments(core), peer.body.segments())
    }

    /// The segment of this device's publications: the lowest that it is in.
    pub(in crate::engine) fn segment_of_publications(&self, core: &Core) -> Option<u8> {
        first(self.own_segments(core))
    }
}

/// Whether a bit map contains a segment; numbers beyond its end are not contained.
pub(in crate::engine) fn has(segments: u64, segment: u8) -> bool {
    segments.checked_shr(segment.into()).is_some_and(|rest| rest & 1 == 1)
}

/// The lowest segment of a bit map, or `None` if it is empty.
fn first(segments: u64) -> Option<u8> {
    u8::try_from(segments.trailing_zeros()).ok().filter(|bit| *bit < 64)
}
