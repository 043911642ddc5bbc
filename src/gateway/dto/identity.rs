//! Under which pseudonym the device takes part, and for how long.

use crate::engine::view::IdentityView;
use crate::identity::anonymity::Anonymity;
use crate::net;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The device's pseudonym, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    /// The pseudonym in force, as a libp2p PeerId.
    pub peer_id: String,
    /// The one before, while frames for it are still taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// For how long the device is to be known by one pseudonym: `stable` (its life), `rotating` or `strict` (an epoch).
    pub anonymity: String,
    /// From when on that is in force, as RFC 3339: epochs whose keys are certified keep them.
    pub in_force_from: String,
    /// The number of the present epoch.
    pub epoch: u64,
    /// When the present epoch ends, as RFC 3339.
    pub epoch_ends: String,
    /// The beginning of the next epoch with another pseudonym, as RFC 3339; absent if no further epoch has one. The change comes a little later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<String>,
    /// Whether the pseudonym is being changed.
    pub changing: bool,
}

impl From<IdentityView> for Identity {
    fn from(view: IdentityView) -> Self {
        let IdentityView { pseudonym, former, anonymity, in_force_from, epoch, epoch_ends, next_change, changing } =
            view;
        let text = |key| net::peer_id(&key).map_or_else(String::new, |peer| peer.to_string());
        Self {
            peer_id: text(pseudonym),
            former: former.map(text),
            anonymity: anonymity.name().to_owned(),
            in_force_from: in_force_from.to_string(),
            epoch,
            epoch_ends: epoch_ends.to_string(),
            next_change: next_change.map(|at| at.to_string()),
            changing,
        }
    }
}

/// What is to become of the pseudonym.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateBody {
    /// For how long the device is to be known by one from now on: `stable`, `rotating` or `strict`. Without it, the next pseudonym is taken at once if
    /// its epoch has begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anonymity: Option<String>,
}

impl RotateBody {
    /// The mode that it names.
    ///
    /// # Errors
    /// It is none.
    pub fn mode(&self) -> Result<Option<Anonymity>, String> {
        let mode = |name: &String| {
            Anonymity::of_name(name).ok_or_else(|| format!("anonymity is {name:?}: write stable, rotating or strict"))
        };
        self.anonymity.as_ref().map(mode).transpose()
    }
}
