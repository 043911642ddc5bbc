//! Devices that are cut off, as the ledger keeps them: until when their credentials last, and whose cards they may hold.
//!
//! A revocation goes through the ledger in steps, each of which is durable before the next begins, so that it can be taken up
//! again wherever it was interrupted:
//!
//! ```text
//! cut off ─▶ its contacts begin new generations ─▶ the bulletin is written ─▶ the ledger notes its version
//!    └─ from here the issuer grants it nothing, so that the times in the bulletin are the last there are
//! ```
//!
//! A device that is in no bulletin yet is *pending*. Whoever takes the steps again begins another generation, which costs a
//! card each and does no harm.
//!
//! Invariants
//! 1. What is granted to a device after it was cut off is nothing, also to a request that was under way.
//! 2. Of each generation under which credentials may be accepted it is kept how far they reach.
//! 3. A device begins one generation at a time, however many devices are cut off together.

use super::{Book, DeviceRecord, LedgerError};
use crate::id::{DeviceId, Name, Pseudonym};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How far the credentials of one generation reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reach {
    /// Generation of the resolution-key chain that their handles are of.
    pub generation: u32,
    /// Unix seconds when the last of them ends.
    pub until: u64,
}

/// Who has cut a device off, when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationRecord {
    /// Unix seconds.
    pub at: u64,
    /// Who: as the machine knows the user.
    pub by: String,
    /// Why, if that was said.
    pub reason: String,
    /// The first bulletin that says so; absent while it is in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulletin: Option<u64>,
}

impl DeviceRecord {
    /// How far its credentials reach, generation by generation.
    pub fn reaches(&self) -> Vec<Reach> {
        match self.reach.is_empty() && self.until > 0 {
            // Granted before that was kept.
            true => vec![Reach { generation: self.generation, until: self.until }],
            false => self.reach.clone(),
        }
    }

    /// Whether it is cut off and in no bulletin yet.
    pub fn is_pending(&self) -> bool {
        self.revoked && self.revocation.as_ref().is_none_or(|revocation| revocation.bulletin.is_none())
    }

    /// It is granted credentials until then. What has run out long ago is forgotten.
    pub(super) fn extend_reach(&mut self, until: u64, now: u64) {
        let mut reach = self.reaches();
        reach.retain(|reach| reach.generation == self.generation || reach.until.saturating_add(KEPT) > now);
        match reach.iter_mut().find(|reach| reach.generation == self.generation) {
            Some(reach) => reach.until = reach.until.max(until),
            None => reach.push(Reach { generation: self.generation, until }),
        }
        self.reach = reach;
    }
}

impl Book {
    /// The device that was called so and is cut off, the latest of several.
    pub fn last_revoked(&self, name: &Name) -> Option<&DeviceRecord> {
        let called = self.devices.values().filter(|device| device.revoked && device.name == *name);
        called.max_by_key(|device| device.leaf)
    }

    pub(super) fn cut_off(&mut self, device: &DeviceId, revocation: &RevocationRecord) -> Result<bool, LedgerError> {
        let record = self.devices.get_mut(device).ok_or(LedgerError::NoDevice(*device))?;
        if record.revoked {
            return Ok(false);
        }
        record.revoked = true;
        record.revocation = Some(RevocationRecord { bulletin: None, ..revocation.clone() });
        Ok(true)
    }

    pub(super) fn make_void(&mut self, ticket: &Pseudonym) -> bool {
        match self.tickets.get_mut(ticket).filter(|ticket| !self.by_ticket.contains_key(&ticket.key)) {
            Some(ticket) => core::mem::take(&mut ticket.expires) > 0,
            None => false,
        }
    }

    /// Answers whose generation is another one.
    pub(super) fn begin_generations(&mut self) -> BTreeSet<DeviceId> {
        let pending: Vec<&DeviceRecord> = self.devices.values().filter(|device| device.is_pending()).collect();
        let holds = |device: &DeviceRecord| pending.iter().any(|gone| self.are_contacts(gone, device));
        let affected = self.devices.values().filter(|device| !device.revoked && holds(device));
        let affected: BTreeSet<DeviceId> = affected.map(|device| device.device).collect();
        for device in &affected {
            if let Some(record) = self.devices.get_mut(device) {
                // What was granted before that was kept counts under the generation that ends.
                record.reach = record.reaches();
                record.generation = record.generation.saturating_add(1);
            }
        }
        affected
    }

    /// Answers of which devices that has been noted.
    pub(super) fn note_published(&mut self, bulletin: u64) -> Vec<DeviceId> {
        let pending = self.devices.values_mut().filter(|device| device.is_pending());
        let note = |device: &mut DeviceRecord| {
            if let Some(revocation) = &mut device.revocation {
                revocation.bulletin = Some(bulletin);
            }
            device.device
        };
        pending.map(note).collect()
    }
}

/// How long after its end the reach of a generation is kept, in seconds: longer than any credential is accepted after that.
const KEPT: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::invitation::MemoryRealm;
    use crate::identity::ledger::{Ledger, Note, Noted};
    use crate::time::{Epoch, EpochLength, Unix};
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_100_000_000);

    fn book() -> (Book, Vec<DeviceRecord>) {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        let names = ["a", "b", "c"].map(|name| Name::new(name).expect("a name"));
        realm.enrol(names, 2, NOW, &mut rng).expect("members");
        let devices = realm.book.devices().into_iter().cloned().collect();
        (realm.book, devices)
    }

    fn record() -> RevocationRecord {
        RevocationRecord { at: NOW.seconds(), by: "me".into(), reason: "lost".into(), bulletin: None }
    }

    fn note(device: &DeviceRecord, generation: u32, until: u64) -> Note<'_> {
        let (first, now) = (EpochLength::HOUR.epoch_at(NOW), NOW.seconds());
        Note {
            device: &device.device,
            generation,
            until,
            prekey: None,
            first: Epoch(first.0 + 20),
            keys: &[7; 64],
            now,
        }
    }

    /// Invariant 1.
    #[test]
    fn what_was_under_way_when_a_device_was_cut_off_is_not_granted() {
        let (mut book, devices) = book();
        assert_eq!(book.revoke(&devices[1].device, &record()), Ok(true));
        assert_eq!(book.revoke(&devices[1].device, &record()), Ok(false));
        // The issuer had looked the device up before.
        assert_eq!(book.note(&note(&devices[1], 0, u64::MAX)), Ok(Noted::Revoked));
        assert!(book.get(&devices[1].device).is_some_and(|device| device.until < u64::MAX));
    }

    /// Invariant 2.
    #[test]
    fn how_far_each_generation_reaches_is_kept_while_it_matters() {
        let (mut book, devices) = book();
        let (a, first) = (devices[0].device, devices[0].until);
        book.revoke(&devices[1].device, &record()).expect("a device");
        book.renew_cards().expect("in memory");
        assert_eq!(book.note(&note(&devices[0], 0, first + 50)), Ok(Noted::Moved), "of the generation before");
        assert_eq!(book.note(&note(&devices[0], 1, first + 50)), Ok(Noted::Done));
        let reach = |generation, until| Reach { generation, until };
        let reaches = |book: &Book| book.get(&a).map(DeviceRecord::reaches);
        assert_eq!(reaches(&book), Some(vec![reach(0, first), reach(1, first + 50)]));
        let later = Note { now: first + KEPT, keys: &[8; 64], ..note(&devices[0], 1, first + 90) };
        book.note(&later).expect("in memory");
        assert_eq!(reaches(&book), Some(vec![reach(1, first + 90)]));
    }

    /// Invariant 3.
    #[test]
    fn a_device_begins_one_generation_however_many_are_cut_off_and_none_afterwards() {
        let (mut book, devices) = book();
        for device in &devices[1..] {
            book.revoke(&device.device, &record()).expect("a device");
        }
        let generation = |book: &Book| book.get(&devices[0].device).map(|device| device.generation);
        book.renew_cards().expect("in memory");
        assert_eq!(generation(&book), Some(1));
        book.publish(2).expect("in memory");
        book.renew_cards().expect("in memory");
        assert_eq!(generation(&book), Some(1));
        let revoked = book.last_revoked(&devices[2].name).and_then(|device| device.revocation.clone());
        assert_eq!(revoked.and_then(|revocation| revocation.bulletin), Some(2));
    }
}
