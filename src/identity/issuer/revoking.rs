//! The next bulletin, in which devices are cut off.
//!
//! It is made of the ledger and the bulletin before: of each device that is cut off, the resolution keys from which all handles
//! follow under which its credentials may still be accepted; of each group, a new version of its key that reaches all whom the one
//! before reached, but for these devices.
//!
//! ```text
//! ledger ─▶ devices cut off ─┬▶ RK(day) of each generation that reaches beyond now ─▶ revocations
//!                            └▶ their leaves, and those that the version before left out ─▶ a new version of every group's key
//! bulletin before ─▶ revocations that have not run out, versions that still open
//! ```
//!
//! **Length.** Where a new version would take more seals than a document holds, all devices in force are given leaves beside each other first
//! ([`leaves`]), and it is sealed to these alone. A device opens it once it has been granted something, which a new bulletin has each device ask
//! for; so it begins to be sealed with later than others do.
//!
//! **The day.** A key shows the handles of its day and of all days after it, and none before. It is that of the first epoch whose
//! credential anybody may still accept when the device is cut off: for a quarter of an hour after midnight that is the day before.
//!
//! Invariants
//! 1. A device that is cut off has no credential that is accepted, whatever generation it is of.
//! 2. Nothing is told of the days before the one from which it is cut off.
//! 3. A new version of a key reaches nobody whom the version before did not reach.

use super::Issuer;
use crate::id::{DeviceId, Tag};
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::group_tree;
use crate::identity::handle::{DayKey, day_of};
use crate::identity::ledger::leaves::{self, SealTo};
use crate::identity::ledger::{DeviceRecord, Ledger, LedgerError, RevocationRecord};
use crate::identity::realm::Operator;
use crate::identity::seal;
use crate::time::{EpochLength, Unix};
use crate::wire::bulletin::{Bulletin, GroupReference, GroupVersion, MAX_BULLETIN, MAX_GROUPS, Revocation};
use crate::wire::codec::MAX_DOCUMENT;
use crate::wire::encode;
use core::time::Duration;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

/// Why there is no next bulletin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The bulletin.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
    /// Another realm's operator.
    #[error("the operator's key is that of another realm; bring the key of this one")]
    Operator,
    /// A document that is needed is not at hand.
    #[error("the document of a group's key, version {0}, is not at hand; bring it back from a copy of realm/groups")]
    Document(u32),
    /// More than a bulletin can hold.
    #[error(
        "the bulletin would have {found} bytes, and {MAX_BULLETIN} at most; revocations leave it as credentials run out, try again then"
    )]
    TooLong {
        /// What it would have.
        found: usize,
    },
    /// More versions of group keys than a bulletin can name.
    #[error(
        "the bulletin would name {found} versions of group keys, and {MAX_GROUPS} at most; try again when the last change is some minutes old"
    )]
    TooManyGroups {
        /// What it would name.
        found: usize,
    },
    /// A document that is too long, though all devices were numbered anew.
    #[error(
        "the document of a group's key would be too long; its readers lie scattered over the key tree, and devices were numbered anew not long ago: try again in a week"
    )]
    Cover,
}

/// A revocation, step by step, of which each is durable before the next begins: the ledger cuts the devices off, begins new
/// generations, `write` keeps the next bulletin, and the ledger notes its version. Devices that an earlier run has left pending are
/// in it too. Answers the bulletin that holds: without anything pending it is the one before.
pub struct Revoking<'a> {
    /// Signs the bulletin.
    pub operator: &'a Operator,
    /// Makes what stands in it.
    pub issuer: &'a Issuer,
    /// The bulletin in force.
    pub before: &'a VerifiedBulletin,
    /// Whom to cut off.
    pub devices: &'a [DeviceId],
    /// Who does so, when and why.
    pub record: &'a RevocationRecord,
}

/// What a revocation has made.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The bulletin that holds.
    pub bulletin: VerifiedBulletin,
    /// Until when devices hold two leaves, if they were numbered anew on the way.
    pub numbered_anew_until: Option<Unix>,
}

impl Revoking<'_> {
    /// Takes all steps.
    ///
    /// # Errors
    /// The operator is another realm's, the ledger or `write` fails, or the next bulletin or a document of it would be too long. What the ledger has
    /// been told holds all the same.
    pub fn take<E: From<RevokeError>>(
        self,
        ledger: &mut dyn Ledger,
        now: Unix,
        rng: &mut ChaCha20Rng,
        write: impl FnOnce(&VerifiedBulletin) -> Result<(), E>,
    ) -> Result<Taken, E> {
        let Self { operator, issuer, before, devices, record } = self;
        if operator.realm() != before.realm() {
            return Err(RevokeError::Operator.into());
        }
        for device in devices {
            ledger.revoke(device, record).map_err(RevokeError::from)?;
        }
        let mut all = ledger.every_device().map_err(RevokeError::from)?;
        if !all.iter().any(DeviceRecord::is_pending) {
            return Ok(Taken { bulletin: before.clone(), numbered_anew_until: None });
        }
        ledger.renew_cards().map_err(RevokeError::from)?;
        let mut numbered = None;
        let bulletin = match issuer.revoke((operator, before), &all, now, false, rng) {
            Err(RevokeError::Cover) => {
                numbered = ledger.number_anew(now).map_err(RevokeError::from)?.map(Unix::from_seconds);
                all = ledger.every_device().map_err(RevokeError::from)?;
                issuer.revoke((operator, before), &all, now, true, rng)?
            }
            made => made?,
        };
        write(&bulletin)?;
        ledger.publish(bulletin.version()).map_err(RevokeError::from)?;
        // What has to be sealed around devices that are gone comes to lie beside what has not.
        let new = bulletin.body().groups.iter().filter(|named| before.document(&named.hash).is_none());
        let longest = new.filter_map(|named| bulletin.document(&named.hash)).map(|document| document.len()).max();
        let shortened = leaves::shorten(ledger, longest.unwrap_or(0), now).map_err(RevokeError::from)?;
        Ok(Taken { bulletin, numbered_anew_until: numbered.or(shortened) })
    }
}

impl Issuer {
    /// The bulletin after `before`, in which the devices of the ledger that are cut off are. It carries its new documents, of which those that would
    /// be too long reach devices by their last leaf alone if they were `numbered_anew`.
    fn revoke(
        &self,
        (operator, before): (&Operator, &VerifiedBulletin),
        devices: &[DeviceRecord],
        now: Unix,
        numbered_anew: bool,
        rng: &mut ChaCha20Rng,
    ) -> Result<VerifiedBulletin, RevokeError> {
        let mut body = before.body().clone();
        body.version = body.version.saturating_add(1);
        body.issued = now.seconds().max(body.issued);
        body.revocations = self.revocations(before.body(), devices, now);
        let documents = self.rekey((&mut body, before), devices, now, numbered_anew, rng)?;
        if body.groups.len() > MAX_GROUPS {
            return Err(RevokeError::TooManyGroups { found: body.groups.len() });
        }
        let found = encode(&body).len() + SIGNATURE;
        if found > MAX_BULLETIN {
            return Err(RevokeError::TooLong { found });
        }
        let mut bulletin = operator.sign(&body)?;
        bulletin.inherit(before);
        for document in documents {
            let document = encode(&document);
            if document.len() > MAX_DOCUMENT {
                return Err(RevokeError::Cover);
            }
            bulletin.attach(&document)?;
        }
        Ok(bulletin)
    }

    /// Those of the bulletin before that have not run out, and those of the ledger.
    fn revocations(&self, before: &Bulletin, devices: &[DeviceRecord], now: Unix) -> Vec<Revocation> {
        let lasts = |revocation: &&Revocation| revocation.until > now.seconds();
        let mut revocations: Vec<Revocation> = before.revocations.iter().filter(lasts).cloned().collect();
        for device in devices.iter().filter(|device| device.revoked) {
            let at = device.revocation.as_ref().map_or(now, |revocation| Unix::from_seconds(revocation.at));
            for reach in device.reaches() {
                let until = reach.until.saturating_add(drained(device.epoch_length).as_secs());
                let day = day_of(first_epoch(device.epoch_length, at), device.epoch_length, before.founded);
                let key = DayKey::first(&self.resolve, device.device, reach.generation).at(day);
                let Some(key) = key.filter(|_| until > now.seconds()) else { continue };
                let (day, resolution_key, epoch_length) = (key.day(), **key.key(), device.epoch_length);
                let revocation = Revocation { day, resolution_key, epoch_length, until };
                let same = |known: &&mut Revocation| (known.day, known.resolution_key) == (day, resolution_key);
                match revocations.iter_mut().find(same) {
                    Some(known) => known.until = known.until.max(until),
                    None => revocations.push(revocation),
                }
            }
        }
        revocations
    }

    /// A new version of every group's key; of those before, the bulletin keeps what may still open.
    fn rekey(
        &self,
        (body, before): (&mut Bulletin, &VerifiedBulletin),
        devices: &[DeviceRecord],
        now: Unix,
        numbered_anew: bool,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<GroupVersion>, RevokeError> {
        let devices: Vec<&DeviceRecord> = devices.iter().collect();
        let groups: BTreeSet<Option<Tag>> = body.groups.iter().map(|named| named.group).collect();
        let opens = |named: &GroupReference| still_opens(&before.body().groups, named, now, body.epoch_length.skew());
        body.groups.retain(opens);
        let mut documents = Vec::with_capacity(groups.len());
        for group in groups {
            let versions = before.group_versions().filter(|(named, _)| named.group == group);
            let Some((named, last)) = versions.max_by_key(|(named, _)| named.version) else { continue };
            let last = last.ok_or(RevokeError::Document(named.version))?;
            let key = seal::random(rng);
            let mut seal = |to: SealTo| {
                let mut document = self.seal_next(rng, (last, &key), &devices, to);
                // Permits of who is cut off are worth nothing without a credential; those of the others last.
                if let Some(restriction) = &last.restriction {
                    self.restrict_group(&mut document, &key, restriction.generation);
                }
                document
            };
            let (mut document, mut lead) = (seal(SealTo::At(now)), LEAD);
            if numbered_anew && encode(&document).len() > MAX_DOCUMENT {
                (document, lead) = (seal(SealTo::Last), GRANTED);
            }
            body.groups.push(group_tree::reference(&document, (now + lead).seconds()));
            documents.push(document);
        }
        body.groups.sort_by_key(|named| (named.group, named.version));
        Ok(documents)
    }
}

/// Whether frames of a version may still open, or be sealed: it holds, or is to hold, or the one after it has not held for long.
fn still_opens(all: &[GroupReference], named: &GroupReference, now: Unix, skew: Duration) -> bool {
    let after = all.iter().filter(|other| other.group == named.group && other.version > named.version);
    let begun = after.map(|other| Unix::from_seconds(other.from)).min();
    begun.is_none_or(|begun| begun + skew >= now)
}

/// The first epoch whose credential may be accepted by anybody's clock.
fn first_epoch(length: EpochLength, at: Unix) -> crate::time::Epoch {
    length.epoch_at(at - drained(length))
}

/// How long after its end a credential may be accepted by somebody's clock: S for those that are behind, and S each for clocks
/// and to drain.
pub(super) fn drained(length: EpochLength) -> Duration {
    length.skew() * 3
}

/// How long after the bulletin is made its new keys begin to be sealed with: while it travels, who has it not yet hears on.
pub const LEAD: Duration = Duration::from_secs(30);
/// The same for a key that devices do not have before they are granted it: they ask within two minutes of the bulletin.
const GRANTED: Duration = Duration::from_secs(300);
/// What a signature adds to a body, in bytes, and a few more.
const SIGNATURE: usize = 80;

#[cfg(test)]
mod tests;
