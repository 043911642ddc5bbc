//! Settings: the engine's settings, from `config.toml`.

use crate::event_log;
use crate::identity::anonymity::Anonymity;
use crate::link::bearer::Profile;
use crate::routing::policies::NamedPolicy;
use crate::time::Unix;
use core::time::Duration;

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bounds of the event log.
    pub log: event_log::Config,
    /// Whether the node forwards for others, as a router; otherwise it is a leaf.
    pub forwarding: bool,
    /// The area that the node is in.
    pub area: u32,
    /// Whether the processor has instructions for AES: sessions are then sealed with it if both ends say so.
    pub aes: bool,
    /// The bearers by number; if there are none, one bearer without a price is assumed.
    pub bearers: Vec<Profile>,
    /// For how long the device is to be known by one pseudonym; what the application has said later holds instead.
    pub anonymity: Anonymity,
    /// Most bytes of blobs that are kept.
    pub blob_quota: u64,
    /// The policies of this node's own.
    pub policies: Vec<NamedPolicy>,
    /// Whether the machine has a clock that may be believed.
    pub clock: bool,
    /// By how much the machine's clock is wrong at most, as whoever sets it says; `None` if nobody does.
    pub clock_error: Option<Duration>,
    /// When the program was built: no clock that is set says less.
    pub built: Unix,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log: event_log::Config::default(),
            forwarding: true,
            area: 0,
            aes: false,
            bearers: Vec::new(),
            anonymity: Anonymity::Stable,
            blob_quota: 2_000_000_000,
            policies: Vec::new(),
            clock: true,
            clock_error: None,
            built: Unix(0),
        }
    }
}
