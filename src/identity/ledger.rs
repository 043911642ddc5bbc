//! The issuer's book of tickets and devices: what is known of each, and the rules by which entries are made.
//!
//! [`Ledger`] is what an issuer needs of it, [`Book`] the rules in memory. A ledger on disk keeps a `Book` and
//! writes down the entries that it changes.
//!
//! Contacts are mutual: two devices hold each other's cards if either was invited with the other.
//!
//! Invariants
//! 1. A ticket enrols one device. That a device names the ticket *is* the record of its use: one entry, one write.
//! 2. Leaves and device ids are given once and never again.
//! 3. No two devices have one renewal key, nor one name while both are in force.
//! 4. One pair of keys is certified for a device and epoch, and no pseudonym for two devices. Which ones is kept until
//!    the epoch has passed: what is kept of a device is bounded by what one request is granted.

mod segments;

use crate::id::{AgreementKey, DeviceId, Name, Pseudonym};
use crate::identity::certified::{Certified, EPOCH_KEYS};
use crate::identity::group_tree::LEAVES;
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::contact::MailPrekey;
use crate::wire::enrolment::DeviceKeys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an issuer reads and writes. Whatever returns has become durable.
pub trait Ledger {
    /// Enters a ticket; its name must be free.
    fn invite(&mut self, ticket: TicketRecord) -> Result<(), LedgerError>;

    /// The ticket with this public key.
    fn ticket(&mut self, key: &Pseudonym) -> Result<Option<TicketRecord>, LedgerError>;

    /// Makes a device out of a ticket, or finds the one that was made; see [`Enrolled`].
    fn enrol(&mut self, enrolment: &Enrolment<'_>) -> Result<Enrolled, LedgerError>;

    /// Makes two devices in force contacts; says whether they were not.
    fn allow(&mut self, one: &Name, other: &Name) -> Result<bool, LedgerError>;

    /// The device with this renewal key.
    fn device(&mut self, renewal: &Pseudonym) -> Result<Option<DeviceRecord>, LedgerError>;

    /// Notes what a device is about to be granted.
    fn note(&mut self, note: &Note<'_>) -> Result<Noted, LedgerError>;

    /// The device's contacts, the newest first, at most `limit`.
    fn contacts(&mut self, device: &DeviceId, limit: usize) -> Result<Vec<DeviceRecord>, LedgerError>;
}

/// The ledger does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Cannot be read or written.
    #[error("{0}")]
    Storage(String),
    /// No such device.
    #[error("the ledger holds no device {0}")]
    NoDevice(DeviceId),
    /// No device of that name.
    #[error("the realm has no device called {0}; `m2mesh realm list` shows those it has")]
    NoName(Name),
    /// The name is taken.
    #[error("the name {0} is taken by a device or an open ticket; choose another")]
    NameTaken(Name),
    /// Every leaf of the group key tree has been given.
    #[error("the realm has had all the {LEAVES} devices that it can have")]
    Full,
}

/// A ticket as the issuer keeps it: without the private half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// Public half.
    pub key: Pseudonym,
    /// Name of the device to be.
    pub name: Name,
    /// Unix seconds when it was made.
    pub issued: u64,
    /// Unix seconds after which it is void.
    pub expires: u64,
    /// Length of the device's epochs.
    pub epoch_length: EpochLength,
    /// Segments as in credentials.
    pub segments: u64,
    /// Roles as in credentials.
    pub roles: u16,
    /// Whose cards it gets, and who gets its card.
    pub contacts: Contacts,
}

/// Whose contact a device was invited to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredContacts", into = "StoredContacts")]
pub enum Contacts {
    /// Everybody's, now and later.
    All,
    /// These devices'.
    Some(Vec<DeviceId>),
}

/// As it is written: the codec takes no map with a name for its key. Without a list it is everybody.
#[derive(Serialize, Deserialize)]
struct StoredContacts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    devices: Option<Vec<DeviceId>>,
}

impl From<Contacts> for StoredContacts {
    fn from(contacts: Contacts) -> Self {
        match contacts {
            Contacts::All => Self { devices: None },
            Contacts::Some(devices) => Self { devices: Some(devices) },
        }
    }
}

impl From<StoredContacts> for Contacts {
    fn from(stored: StoredContacts) -> Self {
        stored.devices.map_or(Self::All, Self::Some)
    }
}

/// A device as the issuer knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// Lasting id.
    pub device: DeviceId,
    /// Name.
    pub name: Name,
    /// Ticket it came with.
    pub ticket: Pseudonym,
    /// Leaf in the group key tree.
    pub leaf: u32,
    /// Generation of its resolution-key chain.
    pub generation: u32,
    /// Static contact key.
    pub contact: AgreementKey,
    /// Key that signs its renewals.
    pub renewal: Pseudonym,
    /// Length of its epochs.
    pub epoch_length: EpochLength,
    /// Segments as in credentials.
    pub segments: u64,
    /// Roles as in credentials.
    pub roles: u16,
    /// Whose contact it was invited to be.
    pub contacts: Contacts,
    /// Unix seconds of its enrolment.
    pub joined: u64,
    /// Unix seconds when its last credential ends.
    pub until: u64,
    /// Whether it is cut off.
    pub revoked: bool,
    /// Its mail prekey, once published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey: Option<MailPrekey>,
    /// The keys that were certified for it.
    #[serde(default, skip_serializing_if = "Certified::is_empty")]
    pub certified: Certified,
}

/// What a device is about to be granted.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// Which.
    pub device: &'a DeviceId,
    /// Unix seconds when its last credential ends; that never shrinks.
    pub until: u64,
    /// A new mail prekey.
    pub prekey: Option<&'a MailPrekey>,
    /// The first epoch of `keys`.
    pub first: Epoch,
    /// An Ed25519 and an X25519 key for each epoch, in order.
    pub keys: &'a [u8],
    /// Unix seconds: what has passed by then is forgotten.
    pub now: u64,
}

/// What became of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is noted.
    Done,
    /// Nothing is noted: an epoch has other keys already, or a pseudonym is another device's.
    KeyTaken,
}

/// A device that asks to be made.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment<'a> {
    /// With this ticket.
    pub ticket: &'a TicketRecord,
    /// With these keys.
    pub keys: &'a DeviceKeys,
    /// Fresh random id, for a device that is new.
    pub id: DeviceId,
    /// Unix seconds.
    pub now: u64,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The device was made.
    New(DeviceRecord),
    /// The same keys came with the same ticket before: the answer got lost on the way.
    Again(DeviceRecord),
    /// Another device has the ticket.
    TicketUsed,
    /// The renewal key is that of a device that came with another ticket.
    KeyTaken,
}

/// A ledger in memory.
#[derive(Clone, Debug, Default)]
pub struct Book {
    tickets: BTreeMap<Pseudonym, TicketRecord>,
    devices: BTreeMap<DeviceId, DeviceRecord>,
    by_renewal: BTreeMap<Pseudonym, DeviceId>,
    by_ticket: BTreeMap<Pseudonym, DeviceId>,
    by_pseudonym: BTreeMap<Pseudonym, DeviceId>,
    next_leaf: u32,
}

impl Book {
    /// Puts in an entry that was made before.
    pub fn load_ticket(&mut self, ticket: TicketRecord) {
        self.tickets.insert(ticket.key, ticket);
    }

    /// Puts in an entry that was made before.
    pub fn load_device(&mut self, device: DeviceRecord) {
        self.by_renewal.insert(device.renewal, device.device);
        self.by_ticket.insert(device.ticket, device.device);
        self.by_pseudonym.extend(device.certified.pseudonyms().map(|key| (key, device.device)));
        self.next_leaf = self.next_leaf.max(device.leaf.saturating_add(1));
        self.devices.insert(device.device, device);
    }

    /// Whether a device in force, or a ticket that can still be used at `now` (unix seconds), has the name.
    pub fn is_taken(&self, name: &Name, now: u64) -> bool {
        self.devices.values().any(|device| !device.revoked && device.name == *name)
            || self.open_tickets(now).any(|ticket| ticket.name == *name)
    }

    /// Tickets that can still be used at `now` (unix seconds).
    pub fn open_tickets(&self, now: u64) -> impl Iterator<Item = &TicketRecord> {
        self.tickets.values().filter(move |ticket| ticket.expires >= now && !self.by_ticket.contains_key(&ticket.key))
    }

    /// All devices by leaf, which is the order they came in.
    pub fn devices(&self) -> Vec<&DeviceRecord> {
        let mut devices: Vec<_> = self.devices.values().collect();
        devices.sort_by_key(|device| device.leaf);
        devices
    }

    /// The device with this id.
    pub fn get(&self, device: &DeviceId) -> Option<&DeviceRecord> {
        self.devices.get(device)
    }

    /// The device in force that has this name.
    pub fn named(&self, name: &Name) -> Option<&DeviceRecord> {
        self.devices.values().find(|device| !device.revoked && device.name == *name)
    }

    /// Forgets what has passed of the keys that were certified for a device.
    pub fn forget_passed(&mut self, device: DeviceId, now: u64) {
        let Some(record) = self.devices.get_mut(&device) else { return };
        let before: Vec<Pseudonym> = record.certified.pseudonyms().collect();
        record.certified.forget_before(oldest(record, now));
        for key in before {
            let stays = record.certified.pseudonyms().any(|kept| kept == key);
            if !stays && self.by_pseudonym.get(&key) == Some(&device) {
                self.by_pseudonym.remove(&key);
            }
        }
    }

    /// Devices, at most `most`, of whose certified epochs all have passed.
    pub fn passed(&self, now: u64, most: usize) -> Vec<DeviceId> {
        let passed = |record: &&DeviceRecord| record.certified.end().is_some_and(|end| end <= oldest(record, now));
        self.devices.values().filter(passed).take(most).map(|record| record.device).collect()
    }

    fn are_contacts(&self, one: &DeviceRecord, other: &DeviceRecord) -> bool {
        let invites = |from: &DeviceRecord, to: &DeviceRecord| match &from.contacts {
            Contacts::All => true,
            Contacts::Some(devices) => devices.contains(&to.device),
        };
        one.device != other.device && (invites(one, other) || invites(other, one))
    }
}

impl Ledger for Book {
    fn invite(&mut self, ticket: TicketRecord) -> Result<(), LedgerError> {
        if self.is_taken(&ticket.name, ticket.issued) {
            return Err(LedgerError::NameTaken(ticket.name));
        }
        self.load_ticket(ticket);
        Ok(())
    }

    fn ticket(&mut self, key: &Pseudonym) -> Result<Option<TicketRecord>, LedgerError> {
        Ok(self.tickets.get(key).cloned())
    }

    fn enrol(&mut self, enrolment: &Enrolment<'_>) -> Result<Enrolled, LedgerError> {
        let Enrolment { ticket, keys, id, now } = *enrolment;
        if let Some(device) = self.by_ticket.get(&ticket.key).and_then(|id| self.devices.get(id)) {
            let same = device.renewal == keys.renewal && device.contact == keys.contact;
            return Ok(if same { Enrolled::Again(device.clone()) } else { Enrolled::TicketUsed });
        }
        if self.by_renewal.contains_key(&keys.renewal) {
            return Ok(Enrolled::KeyTaken);
        }
        if self.next_leaf >= LEAVES || self.devices.contains_key(&id) {
            return Err(LedgerError::Full);
        }
        let device = DeviceRecord {
            device: id,
            name: ticket.name.clone(),
            ticket: ticket.key,
            leaf: self.next_leaf,
            generation: 0,
            contact: keys.contact,
            renewal: keys.renewal,
            epoch_length: ticket.epoch_length,
            segments: ticket.segments,
            roles: ticket.roles,
            contacts: ticket.contacts.clone(),
            joined: now,
            until: 0,
            revoked: false,
            prekey: None,
            certified: Certified::default(),
        };
        self.load_device(device.clone());
        Ok(Enrolled::New(device))
    }

    fn allow(&mut self, one: &Name, other: &Name) -> Result<bool, LedgerError> {
        let named = |name: &Name| self.named(name).ok_or_else(|| LedgerError::NoName(name.clone()));
        let (one, other) = (named(one)?, named(other)?);
        if one.device == other.device || self.are_contacts(one, other) {
            return Ok(false);
        }
        let (one, other) = (one.device, other.device);
        if let Some(DeviceRecord { contacts: Contacts::Some(devices), .. }) = self.devices.get_mut(&one) {
            devices.push(other);
        }
        Ok(true)
    }

    fn device(&mut self, renewal: &Pseudonym) -> Result<Option<DeviceRecord>, LedgerError> {
        Ok(self.by_renewal.get(renewal).and_then(|id| self.devices.get(id)).cloned())
    }

    fn note(&mut self, note: &Note<'_>) -> Result<Noted, LedgerError> {
        self.forget_passed(*note.device, note.now);
        let record = self.devices.get(note.device).ok_or(LedgerError::NoDevice(*note.device))?;
        // What has passed is not accepted any more, and not noted.
        let oldest = oldest(record, note.now);
        let keys = note.keys.as_chunks::<EPOCH_KEYS>().0;
        let epochs = (note.first.0..).map(Epoch).zip(keys).filter(|(epoch, _)| *epoch >= oldest);
        let taken = |(epoch, keys): (Epoch, &[u8; EPOCH_KEYS])| {
            let whose = Pseudonym::from_slice(&keys[..32]).and_then(|key| self.by_pseudonym.get(&key));
            record.certified.conflicts(epoch, keys) || whose.is_some_and(|whose| whose != note.device)
        };
        if epochs.clone().any(taken) {
            return Ok(Noted::KeyTaken);
        }
        let Some(record) = self.devices.get_mut(note.device) else { return Ok(Noted::Done) };
        for (epoch, keys) in epochs {
            record.certified.insert(epoch, keys);
        }
        record.until = record.until.max(note.until);
        if note.prekey.is_some() {
            record.prekey = note.prekey.cloned();
        }
        self.by_pseudonym.extend(record.certified.pseudonyms().map(|key| (key, *note.device)));
        Ok(Noted::Done)
    }

    fn contacts(&mut self, device: &DeviceId, limit: usize) -> Result<Vec<DeviceRecord>, LedgerError> {
        let own = self.devices.get(device).ok_or(LedgerError::NoDevice(*device))?;
        let mut contacts: Vec<_> =
            self.devices.values().filter(|other| !other.revoked && self.are_contacts(own, other)).collect();
        contacts.sort_by_key(|other| core::cmp::Reverse(other.leaf));
        contacts.truncate(limit);
        Ok(contacts.into_iter().cloned().collect())
    }
}

/// The first epoch whose credential may still be accepted at `now` (unix seconds): that before the present one.
fn oldest(device: &DeviceRecord, now: u64) -> Epoch {
    Epoch(device.epoch_length.epoch_at(Unix::from_seconds(now)).0.saturating_sub(1))
}
