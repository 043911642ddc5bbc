//! A realm in memory, step by step: devices are entered, then the bulletin says what is to hold for them, then they get their credentials.
//!
//! So their first grant has the keys of groups whose readers are listed, which are sealed to leaves that entering assigns.

use super::{Invitation, InviteError, MemoryRealm, enter_all, grant_all};
use crate::id::Name;
use crate::identity::bulletin::BulletinError;
use crate::identity::enrolment::PendingEnrolment;
use crate::identity::group::name_tag;
use crate::identity::group_tree;
use crate::identity::ledger::LedgerError;
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
