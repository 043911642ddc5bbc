//! Group versions: the versions of one group's key, and which of them seals and opens at a time.
//!
//! ```text
//!  version 1 ────────────────────────┤ S ├
//!  version 2                   ├ S ├─────────────────────────┤ S ├
//!                                  ▲ from                        ▲ from of version 3
//! ```
//!
//! Invariants
//! 1. Of the versions whose time has come the highest seals, whatever their order in the bulletin. Before the time of
//!    the first version the first one seals, unless the group had a derived key before it.
//! 2. A version opens from S before its time to S after the time of the next one, S being the allowed clock skew.
//! 3. The key that a group derived from the root key before its version 1 counts as the version before it.
//! 4. Of a restricted group, versions of another generation than that of the one that seals do not open.

use crate::identity::kdf::Secret;
use crate::identity::permit::PublishingKey;
use crate::time::Unix;
use core::time::Duration;

/// The versions of a key in ascending order, each number once.
#[derive(Clone, Default)]
pub(super) struct Versions(pub(super) Vec<VersionedKey>);

#[derive(Clone)]
pub(super) struct VersionedKey {
    pub(super) version: u32,
    /// The time from which frames are sealed with this version.
    pub(super) from: Unix,
    /// The key; `None` for a member that is cut off from it.
    pub(super) key: Option<Secret>,
    /// The publishing key of a restricted group.
    pub(super) publishing: Option<PublishingKey>,
}

impl VersionedKey {
    /// The generation of the right to publish; 0 of a group that is not restricted.
    pub(super) fn generation(&self) -> u32 {
        self.publishing.as_ref().map_or(0, |publishing| publishing.generation)
    }
}

impl Versions {
    pub(super) fn put(&mut self, key: VersionedKey) {
        match self.0.binary_search_by_key(&key.version, |known| known.version) {
            Ok(at) => self.0[at] = key,
            Err(at) => self.0.insert(at, key),
        }
    }

    /// Keeps, of the versions known before, the highest one with a key below the first that is listed, or the highest
    /// of all if none is listed.
    pub(super) fn keep(&mut self, known: &Self) {
        let first = self.0.first().map_or(u32::MAX, |first| first.version);
        let below = known.0.iter().rev().find(|known| known.version < first && known.key.is_some());
        if let Some(below) = below {
            self.0.insert(0, below.clone());
        }
    }

    /// The version that frames are sealed with at the time `at`.
    pub(super) fn holding(&self, at: Unix) -> Option<&VersionedKey> {
        self.0.iter().rev().find(|version| version.from <= at).or(self.0.first())
    }

    /// Whether frames are sealed with any of these versions yet. A first version other than 1 had others before it,
    /// whose time is over.
    pub(super) fn begun(&self, at: Unix) -> bool {
        self.0.first().is_none_or(|first| first.version != 1 || first.from <= at)
    }

    /// Whether the key derived before version 1 still opens.
    pub(super) fn begins_after(&self, at: Unix, skew: Duration) -> bool {
        self.0.first().is_some_and(|first| first.version == 1 && at <= first.from + skew)
    }

    /// The versions that open frames at the time `at`.
    pub(super) fn open(&self, at: Unix, skew: Duration) -> impl Iterator<Item = &VersionedKey> {
        let (holding, generation) = self.holding(at).map_or((0, 0), |holding| (holding.version, holding.generation()));
        let next = |place: usize| self.0.get(place + 1).map(|next| next.from);
        self.0.iter().enumerate().filter_map(move |(place, version)| {
            let begun = version.version <= holding || version.from <= at + skew;
            let over = version.version < holding && next(place).is_some_and(|next| next + skew < at);
            (begun && !over && version.generation() == generation).then_some(version)
        })
    }

    /// The generation of the version that frames are sealed with; 0 if the group is not restricted.
    pub(super) fn generation(&self, at: Unix) -> u32 {
        self.holding(at).map_or(0, VersionedKey::generation)
    }

    /// The versions of other generations that were in force before.
    pub(super) fn former(&self, at: Unix) -> impl Iterator<Item = &VersionedKey> {
        let (holding, generation) = self.holding(at).map_or((0, 0), |holding| (holding.version, holding.generation()));
        self.0.iter().filter(move |version| version.version < holding && version.generation() != generation)
    }

    /// The times at which another version seals, or one begins or ceases to open.
    pub(super) fn edges(&self, skew: Duration) -> impl Iterator<Item = Unix> {
        let edges = move |version: &VersionedKey| {
            [version.from - skew, version.from, version.from + skew + Duration::from_micros(1)]
        };
        self.0.iter().flat_map(edges)
    }
}
