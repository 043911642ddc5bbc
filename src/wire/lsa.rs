//! LSA: a link-state advertisement, by which a router tells of its links, leaves, groups and services.
//!
//! The router's pseudonym signs it with context [`CONTEXT`]. Metrics are integers: micro-units of money, microseconds,
//! parts per 65,536.

use crate::id::{CredentialHash, Handle, Tag};
use serde::{Deserialize, Serialize};

/// Signature context of an LSA.
pub const CONTEXT: &str = "m2mesh/1 lsa";
/// Longest signed LSA, in bytes.
pub const MAX_LSA: usize = 64 * 1024;
/// Most links in an LSA.
pub const MAX_LINKS: usize = 256;
/// Most leaves in an LSA.
pub const MAX_LEAVES: usize = 1_024;
/// Most kinds of links to leaves in an LSA.
pub const MAX_ACCESSES: usize = 16;
/// Most other areas in an LSA.
pub const MAX_BORDERS: usize = 16;
/// Most groups in an LSA, and most services: those of a node that listens to 1,024 groups, at the turn of an epoch.
pub const MAX_TAGS: usize = 2_048;
/// Most entries in a digest or a request.
pub const MAX_ENTRIES: usize = 2_048;

/// The body of an LSA.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lsa {
    /// Hash of the router's credential.
    pub origin: CredentialHash,
    /// Sequence number of the LSA: it begins at 1 for every credential and grows with every change.
    pub sequence: u64,
    /// The router's area; 0 unless configured.
    pub area: u32,
    /// Whether the router is leaving: its links do not count any more.
    pub leaving: bool,
    /// The router's links, one for each neighbour and bearer, ascending.
    pub links: Vec<LsaLink>,
    /// Handles of the leaves attached to the router, ascending.
    pub leaves: Vec<Handle>,
    /// Groups that the router or its leaves listen to, ascending.
    pub groups: Vec<Tag>,
    /// Services that the router or its leaves offer, ascending.
    pub services: Vec<Tag>,
    /// Other areas that the router has links into, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub borders: Vec<u32>,
    /// What the links to its leaves are worth, one for each kind of link, ascending; a leaf is in one of them, or in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accesses: Vec<LsaAccess>,
}

impl Lsa {
    /// What the link to one of the leaves is worth; `None` if the leaf is not listed, or the router does not say it.
    pub fn access_of(&self, leaf: &Handle) -> Option<&LsaAccess> {
        let place = self.leaves.binary_search(leaf).ok()?;
        self.accesses.iter().find(|access| access.has(place))
    }
}

/// A link with its metrics, as one end of it measures them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaLink {
    /// Hash of the neighbour's credential.
    pub to: CredentialHash,
    /// Bearer class: the number of a [`Bearer`].
    pub bearer: u8,
    /// Price in micro-units per MB.
    pub price: u64,
    /// Smoothed one-way delay in microseconds.
    pub delay: u32,
    /// Mean deviation of that delay in microseconds.
    pub deviation: u32,
    /// Lower bound of the probability that a frame arrives, in parts of 65,535.
    pub success: u16,
    /// Energy per MB in millijoules.
    pub energy: u32,
    /// Rate in kbit/s.
    pub rate: u32,
    /// Largest frame in bytes.
    pub mtu: u32,
}

/// What a router's links of one kind to leaves are worth: what is configured is the same for all of them, what is measured is their mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaAccess {
    /// Bearer class: the number of a [`Bearer`].
    pub bearer: u8,
    /// Price in micro-units per MB.
    pub price: u64,
    /// Smoothed one-way delay in microseconds.
    pub delay: u32,
    /// Mean deviation of that delay in microseconds.
    pub deviation: u32,
    /// Lower bound of the probability that a frame arrives, in parts of 65,535.
    pub success: u16,
    /// Energy per MB in millijoules.
    pub energy: u32,
    /// Rate in kbit/s.
    pub rate: u32,
    /// Largest frame in bytes.
    pub mtu: u32,
    /// The leaves at the other end of these links: a bit for each place in [`Lsa::leaves`], the first the lowest of the first octet, in as many
    /// octets as these need.
    #[serde(with = "serde_bytes")]
    pub leaves: Vec<u8>,
}

impl LsaAccess {
    /// The octets of a set of places among `all`; places beyond are left out.
    pub fn places(of: impl IntoIterator<Item = usize>, all: usize) -> Vec<u8> {
        let mut octets = vec![0; all.div_ceil(8)];
        for place in of.into_iter().filter(|place| *place < all) {
            octets[place / 8] |= 1 << (place % 8);
        }
        octets
    }

    /// Whether the leaf at this place is one of these.
    pub fn has(&self, place: usize) -> bool {
        self.leaves.get(place / 8).is_some_and(|octet| octet >> (place % 8) & 1 == 1)
    }

    /// What is configured of these links and not measured, by which the kinds of links are told apart.
    pub fn kind(&self) -> (u8, u64, u32, u32, u32) {
        (self.bearer, self.price, self.energy, self.rate, self.mtu)
    }
}

/// The class of a bearer, which carries a link's bits. On the wire it is its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bearer {
    /// A wired packet network, and every bearer of which nothing better is known.
    #[default]
    Ethernet = 0,
    /// A wireless local network.
    Wifi = 1,
    /// A mobile network.
    Cellular = 2,
    /// A satellite.
    Satellite = 3,
    /// Long-range, narrow-band radio.
    Lora = 4,
    /// Short messages of a mobile network.
    Sms = 5,
    /// A serial line.
    Serial = 6,
}

impl Bearer {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 7] =
        [Self::Ethernet, Self::Wifi, Self::Cellular, Self::Satellite, Self::Lora, Self::Sms, Self::Serial];

    /// Returns the class with a number; `None` for a class of a later version.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name of the class, as in settings and tables.
    pub fn name(self) -> &'static str {
        ["ethernet", "wifi", "cellular", "satellite", "lora", "sms", "serial"][self as usize]
    }
}

/// The summary of a link-state database, exchanged when a link comes up and from time to time.
///
/// Routers with the same summary have the same database, and need not say more. Entries are included only where they
/// help: when the database is small, and in the answer to a summary that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaDigest {
    /// First 8 bytes of the SHA-256 over the keys of all LSAs, ascending, each as its 16 bytes of origin and 8 bytes of
    /// sequence number, big endian.
    pub summary: Tag,
    /// Origins with the sequence number at hand, ascending, at most [`MAX_ENTRIES`]; `None` if only the summary is
    /// sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<Vec<LsaKey>>,
}

impl LsaDigest {
    /// Makes a digest of news, and not of the whole database: its summary is zeros.
    pub fn of_news(entries: Vec<LsaKey>) -> Self {
        Self { summary: Tag([0; Tag::LEN]), entries: Some(entries) }
    }
}

/// The key of an LSA: its origin and sequence number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LsaKey {
    /// Hash of the credential of the LSA's router.
    pub origin: CredentialHash,
    /// Sequence number of the LSA.
    pub sequence: u64,
}

/// Asks for LSAs that the neighbour's digest showed to be newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LsaRequest {
    /// Origins of the LSAs asked for, at most [`MAX_ENTRIES`] in a frame.
    pub origins: Vec<CredentialHash>,
}
