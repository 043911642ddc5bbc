//! Segments: which frames this node makes, takes and hands on.
//!
//! A link stands if either end reaches a segment of the other (`identity::admission`); what passes over it need not be of
//! that segment. So frames say which segment they are of, and everybody who has one in hands looks: the node itself, the
//! neighbour that it came from, and whoever made it, as soon as that is known, all have to be in that segment or reach it.
//!
//! Invariants
//! 1. A frame of a segment that this node neither is in nor reaches is not opened, handed on or answered; it is counted.

use super::Engine;
use crate::id::LinkId;
use crate::identity::credential::PeerCredential;

impl Engine {
    /// What this device is in.
    pub(super) fn own_segments(&self) -> u64 {
        self.membership.credential(self.now.unix).map_or(0, |own| own.body.segments())
    }

    /// What this device may exchange frames with.
    pub(super) fn own_reach(&self) -> u64 {
        self.membership.bulletin().reach(self.own_segments())
    }

    /// The same of a neighbour.
    pub(super) fn reach_of(&self, link: LinkId) -> u64 {
        self.links.get(link).map_or(0, |link| self.membership.bulletin().reach(link.peer.body.segments()))
    }

    /// Whether frames of a segment may come over a link.
    pub(super) fn admits(&self, link: LinkId, segment: u8) -> bool {
        has(self.own_reach() & self.reach_of(link), segment)
    }

    /// Whether frames of a segment may come from a device, to this one.
    pub(super) fn takes_from(&self, peer: &PeerCredential, segment: u8) -> bool {
        has(self.own_reach() & self.membership.bulletin().reach(peer.body.segments()), segment)
    }

    /// The segment of frames to a device; nothing if there is none for both.
    pub(super) fn segment_to(&self, peer: &PeerCredential) -> Option<u8> {
        self.membership.bulletin().segment_between(self.own_segments(), peer.body.segments())
    }

    /// The segment of what this device publishes: the first that it is in.
    pub(super) fn segment_of_publications(&self) -> Option<u8> {
        first(self.own_segments())
    }
}

/// Whether a bit map has a segment; those beyond its end it has not.
pub(super) fn has(segments: u64, segment: u8) -> bool {
    segments.checked_shr(segment.into()).is_some_and(|rest| rest & 1 == 1)
}

/// The lowest segment of a bit map.
fn first(segments: u64) -> Option<u8> {
    u8::try_from(segments.trailing_zeros()).ok().filter(|bit| *bit < 64)
}
