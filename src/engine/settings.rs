//! What an engine is set to do, from `config.toml`.

use crate::event_log;
use crate::link::bearer::Profile;
use crate::routing::policies::NamedPolicy;
use crate::time::Unix;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bounds of the event log.
    pub log: event_log::Config,
    /// Whether it forwards for others: a router. Otherwise it is a leaf.
    pub forwarding: bool,
    /// Area that it is in.
    pub area: u32,
    /// Whether the processor has instructions for AES: sessions are then sealed with it where both ends say so.
    pub aes: bool,
    /// Bearers by number; none stands for one without a price.
    pub bearers: Vec<Profile>,
    /// Policies of its own.
    pub policies: Vec<NamedPolicy>,
    /// Whether the machine has a clock that may be believed.
    pub clock: bool,
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
            policies: Vec::new(),
            clock: true,
            built: Unix(0),
        }
    }
}
