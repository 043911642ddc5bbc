//! Link-state advertisement: what one router says of its links, leaves, groups and services.
//!
//! Signed by the router's pseudonym with context [`CONTEXT`]. Metrics are integers: micro-units of money,
//! microseconds, parts per 65,536.

use crate::id::{CredentialHash, Handle, Tag};
use serde::{Deserialize, Serialize};

/// Signature context.
pub const CONTEXT: &str = "m2mesh/1 lsa";
/// Longest signed LSA, in bytes.
pub const MAX_LSA: usize = 64 * 1024;
/// Most links in one.
pub const MAX_LINKS: usize = 256;
/// Most leaves in one.
pub const MAX_LEAVES: usize = 1_024;
/// Most other areas in one.
pub const MAX_BORDERS: usize = 16;
/// Most groups in one, and most services: those of a node that listens to 1,024 groups, at the turn of an epoch.
pub const MAX_TAGS: usize = 2_048;
/// Most entries in a digest or a request.
pub const MAX_ENTRIES: usize = 2_048;

/// The body of an LSA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lsa {
    /// Credential of the router.
    pub origin: CredentialHash,
    /// Grows with every change; begins at 1 for every credential.
    pub sequence: u64,
    /// Area, 0 unless configured.
    pub area: u32,
    /// Whether it is going away: its links count no more.
    pub leaving: bool,
    /// Links, one for each neighbour and bearer, ascending.
    pub links: Vec<LsaLink>,
    /// Handles of attached leaves, ascending.
    pub leaves: Vec<Handle>,
    /// Groups that it or its leaves listen to, ascending.
    pub groups: Vec<Tag>,
    /// Services that it or its leaves offer, ascending.
    pub services: Vec<Tag>,
    /// Other areas that it has links into, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borders: Vec<u32>,
}

/// One link as its one end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaLink {
    /// Credential of the neighbour.
    pub to: CredentialHash,
    /// Bearer class: the number of a [`Bearer`].
    pub bearer: u8,
    /// Price in micro-units per MB.
    pub price: u64,
    /// Smoothed one-way delay in microseconds.
    pub delay: u32,
    /// Its mean deviation in microseconds.
    pub deviation: u32,
    /// Lower bound of the chance that a frame arrives, in parts of 65,535.
    pub success: u16,
    /// Energy per MB in millijoules.
    pub energy: u32,
    /// Rate in kbit/s.
    pub rate: u32,
    /// Largest frame in bytes.
    pub mtu: u32,
}

/// What carries bits, by class. Its number travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bearer {
    /// A wire with packets; also whatever is not known better.
    #[default]
    Ethernet = 0,
    /// Wireless local network.
    Wifi = 1,
    /// Mobile network.
    Cellular = 2,
    /// Satellite.
    Satellite = 3,
    /// Long-range, narrow-band radio.
    Lora = 4,
    /// Short messages.
    Sms = 5,
    /// Serial line.
    Serial = 6,
}

impl Bearer {
    /// All of them, by number.
    pub const ALL: [Self; 7] =
        [Self::Ethernet, Self::Wifi, Self::Cellular, Self::Satellite, Self::Lora, Self::Sms, Self::Serial];

    /// By its number; `None` for one of a later version.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its name, as in settings and tables.
    pub fn name(self) -> &'static str {
        ["ethernet", "wifi", "cellular", "satellite", "lora", "sms", "serial"][self as usize]
    }
}

/// What a database holds, for exchange when a link comes up, and from time to time.
///
/// Who has the same summary has the same database, and need not say more. Entries stand in it only where they help:
/// when the database is small, and in the answer to a summary that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaDigest {
    /// First 8 bytes of SHA-256 over the keys of all LSAs, ascending, each as its 16 bytes and 8 bytes of sequence number,
    /// big endian.
    pub summary: Tag,
    /// Origins with the sequence number at hand, ascending, at most [`MAX_ENTRIES`]; nothing for the summary alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<LsaKey>>,
}

impl LsaDigest {
    /// Of news, and not of the whole database: the summary is zeros.
    pub fn of_news(entries: Vec<LsaKey>) -> Self {
        Self { summary: Tag([0; Tag::LEN]), entries: Some(entries) }
    }
}

/// One LSA by origin and sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LsaKey {
    /// Its router.
    pub origin: CredentialHash,
    /// Its sequence number.
    pub sequence: u64,
}

/// Asks for LSAs that the neighbour's digest showed to be newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaRequest {
    /// Which, at most 2,048 a frame.
    pub origins: Vec<CredentialHash>,
}
