//! Ledger: the issuer's book of tickets and devices, and the rules by which entries are made.
//!
//! [`Ledger`] is the interface that an issuer needs, [`Book`] implements the rules in memory. A ledger on disk keeps a
//! `Book` and writes down the entries that it changes.
//!
//! Contacts are mutual: two devices hold each other's cards if either was invited as a contact of the other.
//!
//! Invariants
//! 1. A ticket enrols one device. That a device names the ticket *is* the record of its use: one entry, one write.
//! 2. One pair of keys is certified for a device and epoch, and no pseudonym for two devices. Which keys these are is
//!    kept until the epoch has passed, so that the record of a device is bounded by what one request is granted.
//! - Leaves and device ids are given once and never again.
//! - No two devices have one renewal key, nor one name while both are in force.

mod revoking;

pub use contacts::Contacts;
pub use leaves::FormerLeaves;
pub use revoking::{Reach, RevocationRecord};

mod contacts;
pub mod leaves;
mod publishers;
mod segments;

use crate::id::{AgreementKey, DeviceId, Name, Pseudonym, Tag};
use crate::identity::certified::{Certified, EPOCH_KEYS};
use crate::identity::group_tree::LEAVES;
use crate::identity::permit::MAX_GROUPS;
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::contact::MailPrekey;
use crate::wire::enrolment::DeviceKeys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an issuer reads and writes. A change is durable once the method that makes it returns.
pub trait Ledger {
    /// Enters a ticket; its name must be free.
    ///
    /// # Errors
    /// The name is taken, or the ledger cannot be written.
    fn invite(&mut self, ticket: TicketRecord) -> Result<(), LedgerError>;

    /// The ticket with this public key.
    fn ticket(&mut self, key: &Pseudonym) -> Result<Option<TicketRecord>, LedgerError>;

    /// Makes a device from a ticket, or finds the one that was made before; see [`Enrolled`].
    ///
    /// # Errors
    /// All leaves have been given, or the ledger cannot be read or written.
    fn enrol(&mut self, enrolment: &Enrolment<'_>) -> Result<Enrolled, LedgerError>;

    /// Makes two devices in force contacts of each other. Returns whether they were not contacts before.
    ///
    /// # Errors
    /// There is no device in force of one of the names, or the ledger cannot be read or written.
    fn allow(&mut self, one: &Name, other: &Name) -> Result<bool, LedgerError>;

    /// The device with this renewal key.
    fn device(&mut self, renewal: &Pseudonym) -> Result<Option<DeviceRecord>, LedgerError>;

    /// Notes what a device is about to be granted, or refuses it; see [`Noted`].
    fn note(&mut self, note: &Note<'_>) -> Result<Noted, LedgerError>;

    /// The contacts of the device, the newest first, at most `limit`.
    fn contacts(&mut self, device: &DeviceId, limit: usize) -> Result<Vec<DeviceRecord>, LedgerError>;

    /// Cuts a device off: from here on it is granted nothing. Says whether it was not; of one that was, nothing changes.
    fn revoke(&mut self, device: &DeviceId, revocation: &RevocationRecord) -> Result<bool, LedgerError>;

    /// Makes a ticket void that nobody has used; says whether there was one.
    fn withdraw(&mut self, ticket: &Pseudonym) -> Result<bool, LedgerError>;

    /// Begins a new generation for every device whose card a device may hold that is revoked and in no bulletin yet.
    fn renew_cards(&mut self) -> Result<(), LedgerError>;

    /// The revocations that were in no bulletin are in this version.
    fn publish(&mut self, bulletin: u64) -> Result<(), LedgerError>;

    /// All devices by leaf, those that are revoked among them.
    fn every_device(&mut self) -> Result<Vec<DeviceRecord>, LedgerError>;

    /// Numbers the leaves of all devices in force anew, unless that has been begun and is not over; see [`leaves`]. Returns until when they
    /// hold two leaves (unix seconds), if it has begun now.
    ///
    /// # Errors
    /// There are not as many leaves left, or the ledger cannot be read or written.
    fn number_anew(&mut self, now: Unix) -> Result<Option<u64>, LedgerError>;
}

/// Why the ledger does not do what it is asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The ledger cannot be read or written; the text says why.
    #[error("{0}")]
    Storage(String),
    /// The ledger holds no device with this id.
    #[error("the ledger holds no device {0}")]
    NoDevice(DeviceId),
    /// The realm has no device in force with this name.
    #[error("the realm has no device called {0}; `m2mesh realm list` shows those it has")]
    NoName(Name),
    /// A device in force or an open ticket has this name.
    #[error("the name {0} is taken by a device or an open ticket; choose another")]
    NameTaken(Name),
    /// A device would have a right for too many restricted groups.
    #[error(
        "{0} has the right to publish to {MAX_GROUPS} restricted groups already, the most that there can be; take one from it first"
    )]
    TooManyGroups(Name),
    /// Every leaf of the group key tree has been given.
    #[error("the realm has had all the {LEAVES} devices that it can have")]
    Full,
}

/// A ticket as the issuer keeps it: without the private half of its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TicketRecord {
    /// The public half of the ticket's key.
    pub key: Pseudonym,
    /// The name of the device that the ticket is for.
    pub name: Name,
    /// Unix seconds at which the ticket was made.
    pub issued: u64,
    /// Unix seconds after which the ticket is void.
    pub expires: u64,
    /// Length of the device's epochs.
    pub epoch_length: EpochLength,
    /// The device's segments, a bit map as in credentials.
    pub segments: u64,
    /// The device's roles, a bit map as in credentials.
    pub roles: u16,
    /// The devices whose cards the device gets, and that get its card.
    pub contacts: Contacts,
}

/// A device as the issuer knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// The device's lasting id.
    pub device: DeviceId,
    /// The device's name.
    pub name: Name,
    /// Public key of the ticket that the device was enrolled with.
    pub ticket: Pseudonym,
    /// The device's leaf in the group key tree.
    pub leaf: u32,
    /// The leaves that it had before.
    #[serde(default, skip_serializing_if = "FormerLeaves::is_empty")]
    pub former: FormerLeaves,
    /// Generation of the device's resolution-key chain.
    pub generation: u32,
    /// The device's static contact key.
    pub contact: AgreementKey,
    /// The key that signs the device's renewals.
    pub renewal: Pseudonym,
    /// Length of the device's epochs.
    pub epoch_length: EpochLength,
    /// The device's segments, a bit map as in credentials.
    pub segments: u64,
    /// The device's roles, a bit map as in credentials.
    pub roles: u16,
    /// The devices that it was invited to be a contact of.
    pub contacts: Contacts,
    /// Unix seconds of the device's enrolment.
    pub joined: u64,
    /// Unix seconds at which the device's last credential ends.
    pub until: u64,
    /// Whether the device is revoked.
    pub revoked: bool,
    /// The device's mail prekey, once published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prekey: Option<MailPrekey>,
    /// The keys that were certified for the device.
    #[serde(default, skip_serializing_if = "Certified::is_empty")]
    pub certified: Certified,
    /// How far its credentials reach, generation by generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<Reach>,
    /// Who has cut it off, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<RevocationRecord>,
    /// The restricted groups that it may publish to, by the tags of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<Tag>,
}

/// What a device is about to be granted.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// The device that is granted something.
    pub device: &'a DeviceId,
    /// The generation under which it is granted that.
    pub generation: u32,
    /// Unix seconds when its last credential ends; that never shrinks.
    pub until: u64,
    /// A new mail prekey of the device, if there is one.
    pub prekey: Option<&'a MailPrekey>,
    /// The first epoch of `keys`.
    pub first: Epoch,
    /// An Ed25519 and an X25519 key for each epoch, in order.
    pub keys: &'a [u8],
    /// The present time in unix seconds: keys of epochs that have passed by then are forgotten.
    pub now: u64,
}

/// What became of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// The note is entered.
    Done,
    /// Nothing is entered: an epoch has other keys already, or a pseudonym is another device's.
    KeyTaken,
    /// Nothing is noted: the device has been cut off meanwhile.
    Revoked,
    /// Nothing is noted: another generation has begun meanwhile.
    Moved,
}

/// A device that asks to be enrolled.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment<'a> {
    /// The ticket that the device shows.
    pub ticket: &'a TicketRecord,
    /// The device's lasting public keys.
    pub keys: &'a DeviceKeys,
    /// A fresh random id, used if the device is new.
    pub id: DeviceId,
    /// The present time in unix seconds.
    pub now: u64,
}

/// What became of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// The device is new and was entered.
    New(DeviceRecord),
    /// The same keys were enrolled with the same ticket before: the answer got lost on its way.
    Again(DeviceRecord),
    /// Another device has used the ticket.
    TicketUsed,
    /// The renewal key is that of a device that was enrolled with another ticket.
    KeyTaken,
    /// The ticket was withdrawn.
    Withdrawn,
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
    /// Puts in a ticket that was stored.
    pub fn load_ticket(&mut self, ticket: TicketRecord) {
        self.tickets.insert(ticket.key, ticket);
    }

    /// Puts in a device that was stored.
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

    /// All devices in the order of their leaves: for those in force, and those that were revoked before leaves were numbered anew, the order
    /// of their enrolment.
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

    /// Forgets the certified keys of a device whose epochs have passed at `now` (unix seconds).
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

    /// At most `most` devices that have certified keys all of whose epochs have passed at `now` (unix seconds).
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
        if self.tickets.get(&ticket.key) != Some(ticket) {
            return Ok(Enrolled::Withdrawn);
        }
        if self.next_leaf >= LEAVES || self.devices.contains_key(&id) {
            return Err(LedgerError::Full);
        }
        let device = DeviceRecord {
            device: id,
            name: ticket.name.clone(),
            ticket: ticket.key,
            leaf: self.next_leaf,
            former: FormerLeaves::default(),
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
            reach: Vec::new(),
            revocation: None,
            publishes: Vec::new(),
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
        if record.revoked {
            return Ok(Noted::Revoked);
        }
        if record.generation != note.generation {
            return Ok(Noted::Moved);
        }
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
        if !note.keys.is_empty() {
            record.extend_reach(note.until, note.now);
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

    fn revoke(&mut self, device: &DeviceId, revocation: &RevocationRecord) -> Result<bool, LedgerError> {
        self.cut_off(device, revocation)
    }

    fn withdraw(&mut self, ticket: &Pseudonym) -> Result<bool, LedgerError> {
        Ok(self.make_void(ticket))
    }

    fn renew_cards(&mut self) -> Result<(), LedgerError> {
        self.begin_generations();
        Ok(())
    }

    fn publish(&mut self, bulletin: u64) -> Result<(), LedgerError> {
        self.note_published(bulletin);
        Ok(())
    }

    fn every_device(&mut self) -> Result<Vec<DeviceRecord>, LedgerError> {
        Ok(self.devices().into_iter().cloned().collect())
    }

    fn number_anew(&mut self, now: Unix) -> Result<Option<u64>, LedgerError> {
        self.give_other_leaves(now)
    }
}

/// The first epoch whose credential may still be accepted at `now` (unix seconds): the one before the present epoch.
fn oldest(device: &DeviceRecord, now: u64) -> Epoch {
    Epoch(device.epoch_length.epoch_at(Unix::from_seconds(now)).0.saturating_sub(1))
}
