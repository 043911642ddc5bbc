//! Membership: how this device stays a member of its realm, and how it helps others to become and stay members.

pub(super) mod anonymity;
pub(super) mod bulletins;
pub(super) mod clock;
pub(super) mod documents;
pub(super) mod epochs;
pub(super) mod issuer_search;
pub(super) mod relaying;
pub(super) mod renewal;
pub(super) mod rotation;

use crate::id::IssuerId;

/// The state of the membership wing.
pub(super) struct Member {
    /// The issuer whose key this node holds; `None` on a node without one.
    pub(super) issuer: Option<IssuerId>,
    pub(super) clock: clock::Beacons,
    pub(super) epochs: epochs::Epochs,
    pub(super) renewal: renewal::Renewal,
    pub(super) rotation: rotation::Rotation,
    pub(super) bulletins: bulletins::Bulletins,
    pub(super) documents: documents::Documents,
    pub(super) relaying: relaying::Relays,
    pub(super) issuer_search: issuer_search::Responders,
}

impl Member {
    /// Creates the state of a node that has sent no requests yet.
    pub(super) fn new(issuer: Option<IssuerId>) -> Self {
        Self {
            issuer,
            clock: clock::Beacons::default(),
            epochs: epochs::Epochs::default(),
            renewal: renewal::Renewal::default(),
            rotation: rotation::Rotation::default(),
            bulletins: bulletins::Bulletins::default(),
            documents: documents::Documents::default(),
            relaying: relaying::Relays::default(),
            issuer_search: issuer_search::Responders::default(),
        }
    }
}
