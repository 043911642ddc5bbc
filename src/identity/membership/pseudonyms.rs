//! Pseudonyms of a membership: which is this device's at which time, and what a network under one of them needs.

use super::Membership;
use crate::id::Pseudonym;
use crate::identity::admission::AdmissionView;
use crate::identity::anonymity::Anonymity;
use crate::identity::credential::{OwnCredential, acceptance};
use crate::identity::kdf::Secret;
use crate::time::{Epoch, Unix};
use std::sync::Arc;

impl Membership {
    /// The device's pseudonym in the epoch that `at` is in. Where it has no credential for that, it is the one of the last epoch before.
    pub fn pseudonym(&self, at: Unix) -> Pseudonym {
        self.credential_or_last(at).map_or_else(|| self.stable, |own| own.pseudonym())
    }

    /// The epoch that its present pseudonym is of; `None` if that serves all epochs.
    pub fn epoch_of_pseudonym(&self, at: Unix) -> Option<Epoch> {
        let own = self.credential_or_last(at)?;
        (!self.is_stable(&own.pseudonym())).then_some(own.body.epoch)
    }

    /// Seed of the Ed25519 key behind the pseudonym, which is also the libp2p identity.
    pub fn libp2p_seed(&self, at: Unix) -> Secret {
        self.credential_or_last(at).map_or_else(|| self.secrets.pseudonym.clone(), |own| own.seed())
    }

    /// Sets for how long it is to be known by one pseudonym; see [`Anonymity`].
    pub fn set_anonymity(&mut self, anonymity: Anonymity) {
        self.anonymity = anonymity;
    }

    /// For how long it is to be known by one pseudonym.
    pub fn anonymity(&self) -> Anonymity {
        self.anonymity
    }

    /// From which epoch on its [`Anonymity`] is in force: the first, not before that of `at`, after which no credential has keys of the other kind.
    pub fn rotates_from(&self, at: Unix) -> Epoch {
        let other = |own: &OwnCredential| self.is_stable(&own.pseudonym()) == self.anonymity.rotates();
        let present = self.batch.epoch_length.epoch_at(at);
        let last = self.credentials.range(present..).rev().find(|(_, own)| other(own));
        last.map_or(present, |(epoch, _)| Epoch(epoch.0 + 1))
    }

    /// The beginning of the next epoch in which it has another pseudonym than in that of `at`; `None` if there is none: it is stable.
    pub fn next_change(&self, at: Unix) -> Option<Unix> {
        let (length, own) = (self.batch.epoch_length, self.pseudonym(at));
        let after = Epoch(length.epoch_at(at).0.saturating_add(1));
        let other = self.credentials.range(after..).find(|(_, next)| next.pseudonym() != own);
        // Beyond those that it has, each has the keys of its mode.
        let last = self.credentials.last_key_value().map_or(after, |(epoch, _)| after.max(Epoch(epoch.0 + 1)));
        let changes = self.anonymity.rotates() || !self.is_stable(&own);
        other.map(|(epoch, _)| *epoch).or_else(|| changes.then_some(last)).map(|epoch| length.start(epoch))
    }

    /// Whether a pseudonym is the one that serves all epochs.
    pub fn is_stable(&self, key: &Pseudonym) -> bool {
        *key == self.stable
    }

    /// Its credential of the epoch that `at` is in, if that is of the pseudonym `key`; otherwise the last one before under that
    /// pseudonym, while it is accepted: a device that rotates its pseudonyms uses the old one for a while. One that is not sure of the time may use
    /// that of a later epoch.
    pub fn credential_under(&self, key: &Pseudonym, at: Unix) -> Option<&Arc<OwnCredential>> {
        let present = self.credential(at);
        if present.is_none_or(|own| own.pseudonym() == *key) && (present.is_some() || self.is_stable(key)) {
            return present;
        }
        let epoch = self.batch.epoch_length.epoch_at(at);
        let last = self.credentials.range(..=epoch).rev().map(|(_, own)| own).find(|own| own.pseudonym() == *key);
        let last = last.filter(|own| acceptance(&own.body).is_some_and(|(_, until)| until > at));
        let later = || self.credentials.range(Epoch(epoch.0.saturating_add(1))..).map(|(_, own)| own);
        last.or_else(|| later().find(|own| own.pseudonym() == *key && !self.is_stable(key)))
    }

    /// Its credentials of the epoch that `at` is in, and of those beside it, that are of the pseudonym `key`: what neighbours may have been shown.
    pub fn credentials_under(&self, key: &Pseudonym, at: Unix) -> impl Iterator<Item = &Arc<OwnCredential>> {
        let epoch = self.batch.epoch_length.epoch_at(at);
        let near = self.credentials.range(Epoch(epoch.0.saturating_sub(1))..=Epoch(epoch.0.saturating_add(1)));
        near.rev().map(|(_, own)| own).filter(move |own| own.pseudonym() == *key)
    }

    /// Its credential of the epoch that `at` is in, or of the last before that, or else the first there is.
    fn credential_or_last(&self, at: Unix) -> Option<&Arc<OwnCredential>> {
        let present = self.batch.epoch_length.epoch_at(at);
        let last = self.credentials.range(..=present).next_back().or(self.credentials.first_key_value());
        last.map(|(_, own)| own)
    }

    /// The same for a network with the key of one of the device's pseudonyms.
    pub fn admission_view_of(&self, key: &Pseudonym) -> AdmissionView {
        let (own, others): (Vec<_>, Vec<_>) =
            self.credentials.values().cloned().partition(|own| own.pseudonym() == *key);
        let others = others.iter().map(|own| own.body.handle).collect();
        AdmissionView::new(self.bulletin.clone(), own).besides(others)
    }
}
