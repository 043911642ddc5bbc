//! A realm in memory, step by step: devices are entered, then the bulletin says what is to hold for them, then they get their credentials.
//!
//! So their first grant has the keys of groups whose readers are listed, which are sealed to leaves that entering assigns.

use super::{Invitation, InviteError, MemoryRealm, enter_all, grant_all};
use crate::id::Name;
use crate::identity::bulletin::BulletinError;
use crate::identity::enrolment::PendingEnrolment;
use crate::identity::group::name_tag;
use crate::identity::group_tree;
use crate::identity::issuer::publishing_generation;
use crate::identity::kdf::Secret;
use crate::identity::ledger::LedgerError;
use crate::identity::ledger::leaves::SealTo;
use crate::identity::membership::Membership;
use crate::identity::seal;
use crate::time::Unix;
use crate::wire::bulletin::{Bulletin, GroupVersion};
use crate::wire::encode;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeSet;

impl MemoryRealm {
    /// Enters devices, with credentials for `epochs` epochs to come; [`Self::grant`] gives them.
    ///
    /// # Errors
    /// The ledger refuses an entry.
    pub fn enter(
        &mut self,
        invitations: Vec<Invitation>,
        epochs: usize,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<PendingEnrolment>, InviteError> {
        enter_all(&self.issuer, &mut self.book, &self.bulletin, invitations, epochs, now, rng)
    }

    /// Grants devices that have been entered their credentials, with what the bulletin in force says.
    ///
    /// # Errors
    /// The issuer refuses a request.
    pub fn grant(
        &mut self,
        entered: &[PendingEnrolment],
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Vec<Membership>, InviteError> {
        grant_all(&self.issuer, &mut self.book, &self.bulletin, entered, now, rng)
    }

    /// Makes the next bulletin, which holds from here on.
    ///
    /// # Errors
    /// What `change` has made of it is none.
    pub fn amend(&mut self, now: Unix, change: impl FnOnce(&mut Bulletin)) -> Result<(), BulletinError> {
        self.amend_with(now, &[], change)
    }

    /// Gives a group its first key of its own, which is in force at once: to these members, or to all and those that come later.
    ///
    /// # Errors
    /// A reader is not in the ledger.
    pub fn add_group(
        &mut self,
        name: &str,
        readers: Option<&[Name]>,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(), InviteError> {
        let version = (Some(name_tag(self.bulletin.realm(), name)), 1);
        let key = seal::random(rng);
        let leaf = |name: &Name| {
            let device = self.book.named(name).ok_or_else(|| LedgerError::NoName(name.clone()))?;
            Ok::<_, LedgerError>(device.leaf)
        };
        let document = match readers {
            Some(readers) => {
                let leaves = readers.iter().map(leaf).collect::<Result<BTreeSet<u32>, _>>()?;
                self.issuer.seal_group_to(rng, version, &key, &leaves)
            }
            None => {
                let leaves = self.book.devices().last().map_or(1, |device| device.leaf.saturating_add(1));
                self.issuer.seal_group(rng, version, &key, leaves, &BTreeSet::new())
            }
        };
        let named = group_tree::reference(&document, now.seconds());
        Ok(self.amend_with(now, &[document], |body| {
            body.groups.push(named);
            body.groups.sort_by_key(|named| (named.group, named.version));
        })?)
    }

    /// Says who publishes to a listed group, of those who read it: these devices, or all. Where a right is taken, or the group becomes restricted or
    /// ceases to be, its key is another, with a generation of its own and in force at once; that key is returned.
    ///
    /// # Errors
    /// The group is not listed, or a device is not in the ledger.
    pub fn set_publishers(
        &mut self,
        name: &str,
        publishers: Option<&[Name]>,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<Option<Secret>, InviteError> {
        let tag = name_tag(self.bulletin.realm(), name);
        let id = |name: &Name| {
            let device = self.book.named(name).ok_or_else(|| LedgerError::NoName(name.clone()))?;
            Ok::<_, LedgerError>(device.device)
        };
        let may = publishers.unwrap_or_default().iter().map(id).collect::<Result<BTreeSet<_>, _>>()?;
        let before = self.book.publishers(tag);
        let raises =
            publishing_generation(&self.bulletin, tag).is_some() != publishers.is_some() || !may.is_superset(&before);
        self.book.assign_publishers(tag, &may)?;
        if !raises {
            self.amend(now, |_| {})?;
            return Ok(None);
        }
        let from = now - self.bulletin.epoch_length().skew() * 2;
        self.another_version(name, (now, from), |version| publishers.map(|_| version), rng).map(Some)
    }

    /// Gives a listed group another key, sealed with at once, for those who read it; who publishes stays as it is.
    ///
    /// # Errors
    /// The group is not listed.
    pub fn rekey_group(&mut self, name: &str, now: Unix, rng: &mut ChaCha20Rng) -> Result<(), InviteError> {
        let generation = publishing_generation(&self.bulletin, name_tag(self.bulletin.realm(), name));
        self.another_version(name, (now, now), |_| generation, rng).map(drop)
    }

    fn another_version(
        &mut self,
        name: &str,
        (now, from): (Unix, Unix),
        generation: impl FnOnce(u32) -> Option<u32>,
        rng: &mut ChaCha20Rng,
    ) -> Result<Secret, InviteError> {
        let group = Some(name_tag(self.bulletin.realm(), name));
        let newest = self.bulletin.group_versions().filter(|(named, _)| named.group == group);
        let newest = newest.filter_map(|(_, document)| document).max_by_key(|document| document.version);
        let missing = || LedgerError::Storage(format!("the group {name} has no key of its own"));
        let newest = newest.ok_or_else(missing)?.clone();
        let key = seal::random(rng);
        let mut document = self.issuer.seal_next(rng, (&newest, &key), &self.book.devices(), SealTo::At(now));
        if let Some(generation) = generation(document.version) {
            self.issuer.restrict_group(&mut document, &key, generation);
        }
        let named = group_tree::reference(&document, from.seconds());
        self.amend_with(now, &[document], |body| {
            body.groups.push(named);
            body.groups.sort_by_key(|named| (named.group, named.version));
        })?;
        Ok(key)
    }

    fn amend_with(
        &mut self,
        now: Unix,
        documents: &[GroupVersion],
        change: impl FnOnce(&mut Bulletin),
    ) -> Result<(), BulletinError> {
        let mut body = self.bulletin.body().clone();
        body.version = body.version.saturating_add(1);
        body.issued = now.seconds().max(body.issued);
        change(&mut body);
        let mut bulletin = self.founding.operator.sign(&body)?;
        bulletin.inherit(&self.bulletin);
        for document in documents {
            bulletin.attach(&encode(document))?;
        }
        self.bulletin = bulletin;
        Ok(())
    }
}
