//! Settings: the engine's settings, from `config.toml`.

use crate::delivery::mailbox;
use crate::event_log;
use crate::id::Name;
use crate::identity::anonymity::Anonymity;
use crate::link::bearer::Profile;
use crate::link::windows::Windows;
use crate::routing::policies::NamedPolicy;
use crate::time::Unix;
use core::time::Duration;

/// When the device is awake, and who is there for it meanwhile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SleepSettings {
    /// Contacts that are to keep its mail.
    pub parents: Vec<Name>,
    /// The times at which it is awake; without any it always is.
    pub awake: Windows,
}

/// The engine's settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The bounds of the event log.
    pub log: event_log::Config,
    /// Whether the node forwards for others, as a router; otherwise it is a leaf.
    pub forwarding: bool,
    /// Whether the device only pushes: it sends, and takes nothing.
    pub push_only: bool,
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
    /// Whether the device takes mail: what is sent while it is away is kept for it by others.
    pub mail: bool,
    /// Most bytes of mail that are kept for one receiver, if the operator has made the device a mailbox; 0 to keep none.
    pub mail_quota: u64,
    /// When the device is awake, if it sleeps.
    pub sleep: Option<SleepSettings>,
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
            push_only: false,
            area: 0,
            aes: false,
            bearers: Vec::new(),
            anonymity: Anonymity::Stable,
            blob_quota: 2_000_000_000,
            mail: false,
            mail_quota: mailbox::QUOTA,
            sleep: None,
            policies: Vec::new(),
            clock: true,
            clock_error: None,
            built: Unix(0),
        }
    }
}
