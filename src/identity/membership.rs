//! Membership: what a running device has: its keys, its credentials epoch by epoch, the bulletin, its contacts.
//!
//! The lasting keys are [`DeviceSecrets`], written once. What an issuer granted is the [`Batch`]: it is replaced whole
//! at a renewal, and the private keys of past epochs go with it. A membership is stored as [`Stored`], the bytes of its
//! files, and restored from them.
//!
//! Each epoch has an X25519 key of its own. One Ed25519 key serves all epochs, or each has its own where the device rotates its
//! pseudonyms ([`anonymity`](super::anonymity)).
//!
//! Invariants
//! 1. Private keys of epochs that are no longer accepted are erased, except those of the last credential there is.
//! - Of two bulletins the newer one is in force; a device never goes back to an older one.
//! - There is always at least one credential; whether it is still accepted is a question of time.

mod mail;
mod permits;
mod pseudonyms;

pub use mail::MailError;
pub use permits::MayPublish;

use crate::id::{DeviceId, Handle, IssuerId, Name, Pseudonym, RealmId, SessionId};
use crate::identity::admission::AdmissionView;
use crate::identity::anonymity::Anonymity;
use crate::identity::batch::{Batch, DeviceSecrets, Granted, KeySource};
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::contact::{ContactBook, StoredContact};
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::identity::enrolment::{EnrolmentError, PendingEnrolment};
use crate::identity::group::{GroupError, GroupKeys};
use crate::identity::issuer::MAX_EPOCHS;
use crate::identity::kdf::{self, label};
use crate::identity::permit::OwnPermits;
use crate::identity::session::{ContactSecret, End, Session, SessionError};
use crate::identity::sign;
use crate::time::{Epoch, EpochLength, Unix};
use crate::wire::DecodeError;
use crate::wire::codec::decode;
use crate::wire::encode;
use crate::wire::enrolment::Refusal;
use crate::wire::hello::EnrolHello;
use crate::wire::opener::Opener;
use core::fmt;
use core::time::Duration;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The membership of a device in a realm. See the module's documentation.
pub struct Membership {
    secrets: DeviceSecrets,
    contact: ContactSecret,
    batch: Batch,
    credentials: BTreeMap<Epoch, Arc<OwnCredential>>,
    bulletin: Arc<VerifiedBulletin>,
    contacts: ContactBook,
    groups: GroupKeys,
    /// Version of the bulletin when the issuer was asked last: its answer tells at least of that.
    asked_of: u64,
    anonymity: Anonymity,
    /// The pseudonym that serves all epochs, if the device does not rotate.
    stable: Pseudonym,
}

/// A membership as the bytes of its files. All but the bulletin and its documents are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Encoded [`DeviceSecrets`].
    pub keys: Zeroizing<Vec<u8>>,
    /// Encoded [`Batch`].
    pub batch: Zeroizing<Vec<u8>>,
    /// The signed bulletin.
    pub bulletin: Vec<u8>,
    /// Documents that the bulletin names, as far as they are at hand.
    pub documents: Vec<Arc<[u8]>>,
    /// The encoded array of contacts: their cards, and what has been changed about them.
    pub cards: Zeroizing<Vec<u8>>,
}

/// Why stored bytes are no membership: which part cannot be read, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The device's keys do not decode.
    #[error("the device's keys cannot be read: {0}")]
    Keys(DecodeError),
    /// The batch does not decode.
    #[error("the credentials cannot be read: {0}")]
    Batch(DecodeError),
    /// A credential of the batch does not belong to this device's keys, or there is none.
    #[error("the credentials do not belong to the device's keys")]
    Credentials,
    /// The bulletin does not verify.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
    /// The contact cards do not decode.
    #[error("the contact cards cannot be read: {0}")]
    Cards(DecodeError),
    /// The group keys do not open.
    #[error("the group keys do not open: {0}")]
    Groups(#[from] GroupError),
}

impl Membership {
    /// Restores a membership from the bytes of its files.
    ///
    /// # Errors
    /// Names the part that cannot be read; see [`MembershipError`].
    pub fn from_stored(stored: &Stored) -> Result<Self, MembershipError> {
        let secrets: DeviceSecrets = decode(&stored.keys).map_err(MembershipError::Keys)?;
        let batch: Batch = decode(&stored.batch).map_err(MembershipError::Batch)?;
        let mut bulletin = VerifiedBulletin::verify(batch.realm, &stored.bulletin)?;
        for document in &stored.documents {
            bulletin.attach(document)?;
        }
        let cards: Vec<StoredContact> = decode(&stored.cards).map_err(MembershipError::Cards)?;
        let mut contacts = ContactBook::new(bulletin.body().founded);
        for card in cards {
            contacts.load(card);
        }
        Self::new(secrets, batch, bulletin, contacts)
    }

    fn new(
        secrets: DeviceSecrets,
        batch: Batch,
        bulletin: VerifiedBulletin,
        mut contacts: ContactBook,
    ) -> Result<Self, MembershipError> {
        let credentials = batch.open(&secrets)?;
        // Their files may be older than the bulletin's.
        contacts.heed(&bulletin.body().revocations);
        let permits = OwnPermits::new(&batch.permits, batch.issuer, &bulletin);
        let groups = GroupKeys::new(&batch.path, &batch.group_keys, &bulletin, None)?.with_permits(permits);
        let contact = ContactSecret::new(*secrets.contact);
        let stable = sign::public(&SigningKey::from_bytes(&secrets.pseudonym));
        Ok(Self {
            secrets,
            contact,
            batch,
            credentials,
            bulletin: Arc::new(bulletin),
            contacts,
            groups,
            anonymity: Anonymity::Stable,
            stable,
            asked_of: 0,
        })
    }

    /// Makes a membership from a first grant.
    pub(super) fn from_grant(secrets: DeviceSecrets, grant: Granted) -> Result<Self, MembershipError> {
        let Granted { batch, bulletin, cards } = grant;
        let mut contacts = ContactBook::new(bulletin.body().founded);
        for card in cards {
            contacts.insert(card);
        }
        Self::new(secrets, batch, bulletin, contacts)
    }

    /// Returns the bytes of the membership's files.
    pub fn to_stored(&self) -> Stored {
        Stored {
            keys: Zeroizing::new(encode(&self.secrets)),
            batch: Zeroizing::new(encode(&self.batch)),
            bulletin: self.bulletin.signed().to_vec(),
            documents: self.bulletin.documents().cloned().collect(),
            cards: Zeroizing::new(encode(&self.contacts.to_stored())),
        }
    }

    /// Takes a signed bulletin. Returns whether it is newer than the one at hand, and so is in force now.
    ///
    /// # Errors
    /// The bulletin does not verify.
    pub fn accept_bulletin(&mut self, signed: &[u8]) -> Result<bool, BulletinError> {
        let bulletin = VerifiedBulletin::verify(self.realm(), signed)?;
        Ok(self.adopt(bulletin))
    }

    /// Takes a document that the bulletin names. Returns whether it was named and missing.
    ///
    /// # Errors
    /// The document does not fit the bulletin.
    pub fn accept_document(&mut self, raw: &[u8]) -> Result<bool, BulletinError> {
        let taken = Arc::make_mut(&mut self.bulletin).attach(raw)?;
        if taken {
            self.open_groups();
        }
        Ok(taken)
    }

    /// Opens the group keys anew. A device that is cut off keeps those it had; nobody else uses them any more.
    fn open_groups(&mut self) {
        let Batch { path, group_keys, permits, issuer, .. } = &self.batch;
        if let Ok(groups) = GroupKeys::new(path, group_keys, &self.bulletin, Some(&self.groups)) {
            self.groups = groups.with_permits(OwnPermits::new(permits, *issuer, &self.bulletin));
        }
    }

    fn adopt(&mut self, mut bulletin: VerifiedBulletin) -> bool {
        if bulletin.version() <= self.bulletin.version() {
            return false;
        }
        bulletin.inherit(&self.bulletin);
        self.bulletin = Arc::new(bulletin);
        self.contacts.heed(&self.bulletin.body().revocations);
        self.open_groups();
        true
    }

    /// Whether the bulletin revokes this device.
    pub fn is_revoked(&self, at: Unix) -> bool {
        self.credential(at)
            .is_some_and(|own| self.bulletin.verify_credential(&own.signed, at) == Err(CredentialError::Revoked))
    }

    /// Whether a bulletin has come since the contact cards were asked for last: those of some contacts may be others.
    pub fn cards_are_due(&self) -> bool {
        self.batch.cards_of < self.bulletin.version()
    }

    /// Asks for credentials from the first epoch on that has none, until there is a batch from now.
    pub fn begin_renewal(
        &mut self,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let (present, length) = (self.batch.epoch_length.epoch_at(now), self.batch.epoch_length);
        let end = present.0.saturating_add(length.batch());
        let missing = (present.0..end).map(Epoch).find(|epoch| !self.credentials.contains_key(epoch));
        let missing = missing.into_iter().chain(self.batch.first_outdated(present)).min();
        let first = missing.unwrap_or(Epoch(end)).max(self.batch.source.epoch);
        let epochs = end.saturating_sub(first.0);
        let source = self.batch.source.at(first).ok_or(Refusal::Epochs)?;
        self.begin_request(source, usize::try_from(epochs).unwrap_or(MAX_EPOCHS), Some(now), rng)
    }

    /// Asks for the cards of new contacts and the bulletin only, and for the time: whatever this device takes it for, the epoch is
    /// the issuer's present one.
    pub fn begin_pull(&mut self, rng: &mut ChaCha20Rng) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let source = self.batch.source.clone();
        self.begin_request(KeySource { epoch: Epoch(0), ..source }, 0, None, rng)
    }

    /// The same, and tells the issuer the mail prekey of the day.
    pub fn begin_telling(
        &mut self,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let source = self.batch.source.clone();
        self.begin_request(KeySource { epoch: Epoch(0), ..source }, 0, Some(now), rng)
    }

    fn begin_request(
        &mut self,
        source: KeySource,
        epochs: usize,
        now: Option<Unix>,
        rng: &mut ChaCha20Rng,
    ) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let issuers = &self.bulletin.body().issuers;
        let issuer = issuers.iter().find(|issuer| issuer.id == self.batch.issuer).or(issuers.first());
        let issuer = issuer.ok_or(EnrolmentError::NoIssuer)?;
        let KeySource { epoch, chain } = source;
        let (issuer, secrets) = ((issuer.id, issuer.seal), self.secrets.clone());
        self.asked_of = self.bulletin.version();
        let prekey = now.and_then(|now| self.prekey(now));
        let pending = PendingEnrolment::renewal(
            self.realm(),
            issuer,
            secrets,
            (epoch, chain),
            (epochs, self.anonymity.rotates()),
            rng,
        )
        .with_prekey(prekey);
        Ok((pending.hello(rng)?, pending))
    }

    /// Takes the issuer's answer to a renewal or a pull: credentials, cards, bulletin. Returns what changed. `sure` is
    /// as for [`Self::erase_past`].
    ///
    /// # Errors
    /// The answer does not open or decode, is a refusal, or does not come from the issuer that was asked.
    pub fn finish_renewal(
        &mut self,
        pending: &PendingEnrolment,
        answer: &[u8],
        now: Unix,
        sure: Unix,
    ) -> Result<Renewed, EnrolmentError> {
        let Granted { mut batch, bulletin, cards } = pending.granted(answer)?;
        let (credentials, time) = (!batch.epochs.is_empty(), Unix::from_seconds(batch.granted));
        batch.keep_current(&self.batch, now, sure);
        let opened = batch.open(&self.secrets)?;
        self.credentials = opened;
        self.batch = batch;
        self.told_prekey(pending.prekey());
        let bulletin = self.adopt(bulletin);
        let cards = cards.into_iter().map(|card| self.contacts.insert(card)).filter(|changed| *changed).count();
        self.contacts.heed(&self.bulletin.body().revocations);
        // Also where the issuer has an older bulletin than this device: asking again would bring no others.
        self.batch.cards_of = self.batch.cards_of.max(self.asked_of);
        if !bulletin {
            self.open_groups();
        }
        Ok(Renewed { credentials, cards, bulletin, time })
    }

    /// The device's name.
    pub fn name(&self) -> &Name {
        &self.batch.name
    }

    /// The device's lasting id.
    pub fn device(&self) -> DeviceId {
        self.batch.device
    }

    /// The realm that the device belongs to.
    pub fn realm(&self) -> RealmId {
        self.batch.realm
    }

    /// What the issuer's clock said when it granted the present batch.
    pub fn granted(&self) -> Unix {
        Unix::from_seconds(self.batch.granted)
    }

    /// The issuer that granted the present batch.
    pub fn issuer(&self) -> IssuerId {
        self.batch.issuer
    }

    /// The private half of the device's contact key.
    pub fn contact_secret(&self) -> &ContactSecret {
        &self.contact
    }

    /// The device's credential of the epoch that `at` is in.
    pub fn credential(&self, at: Unix) -> Option<&Arc<OwnCredential>> {
        self.credentials.get(&self.batch.epoch_length.epoch_at(at))
    }

    /// The device's credential with this handle, of the present epoch, the one before or the one after: the one that an
    /// opener sent to this handle was made for.
    pub fn credential_of(&self, handle: &Handle, at: Unix) -> Option<&Arc<OwnCredential>> {
        let present = self.batch.epoch_length.epoch_at(at);
        let near = Epoch(present.0.saturating_sub(1))..=Epoch(present.0 + 1);
        self.credentials.range(near).map(|(_, own)| own).find(|own| own.body.handle == *handle)
    }

    /// The device's handles in the epochs from `from` to `until`, at most `most`: those that a receipt is sent to.
    pub fn handles(&self, from: Unix, until: Unix, most: usize) -> Vec<Handle> {
        let length = self.batch.epoch_length;
        let epochs = length.epoch_at(from)..=length.epoch_at(until.max(from));
        self.credentials.range(epochs).take(most).map(|(_, own)| own.body.handle).collect()
    }

    /// Accepts a session by an opener that was made for `own`, to receive under the id with one of the suites; see
    /// [`Session::accept`]. A device of which `may` says that it may not open one counts as no contact.
    pub fn accept_session(
        &mut self,
        rng: &mut ChaCha20Rng,
        (id, suites): (SessionId, u8),
        opener: &Opener,
        own: &OwnCredential,
        at: Unix,
        may: &mut dyn FnMut(&Handle) -> bool,
    ) -> Result<(Session, PeerCredential), SessionError> {
        let Self { contact, contacts, bulletin, .. } = self;
        let mut contact_key_of = |handle: &Handle| {
            let card = contacts.resolve(handle, at)?;
            may(handle).then_some(card.contact_key)
        };
        let end = End { id, suites, own, contact };
        Session::accept(rng, end, opener, bulletin, at, &mut contact_key_of)
    }

    /// Erases the private keys of epochs whose credentials are no longer accepted: what was sealed to them cannot be
    /// opened by whoever takes the device later. Returns whether anything was erased, and so whether the membership is
    /// to be saved. This cannot be undone: `sure` is a time that another source than the device's own clock has shown
    /// to have come.
    pub fn erase_past(&mut self, sure: Unix) -> bool {
        let erased = self.batch.erase_past(sure);
        let kept = &self.batch;
        self.credentials.retain(|epoch, _| kept.holds(*epoch));
        erased
    }

    /// Length of the device's epochs.
    pub fn epoch_length(&self) -> EpochLength {
        self.batch.epoch_length
    }

    /// The time at which the device's first credential begins.
    pub fn valid_from(&self) -> Unix {
        let first = self.credentials.first_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.batch.epoch_length.start(first)
    }

    /// The time at which the device's last credential ends.
    pub fn valid_until(&self) -> Unix {
        let last = self.credentials.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.batch.epoch_length.end(last)
    }

    /// The last of the consecutive epochs from the one of `at` on that have a credential; `None` if that one has none.
    fn covered_until(&self, at: Unix) -> Option<Epoch> {
        let present = self.batch.epoch_length.epoch_at(at);
        let held = self.credentials.range(present..).zip(present.0..);
        held.take_while(|((epoch, _), expected)| epoch.0 == *expected).last().map(|((epoch, _), _)| *epoch)
    }

    /// Whether it is time to renew: at about half of the time that the batch was granted for, at a point that differs
    /// from device to device by up to a tenth of it, and again whenever there is no credential for `at`.
    pub fn renewal_due(&self, at: Unix) -> bool {
        let Some(last) = self.covered_until(at) else { return true };
        if self.batch.first_outdated(self.batch.epoch_length.epoch_at(at)).is_some() {
            return true;
        }
        let (length, granted) = (self.batch.epoch_length, Unix::from_seconds(self.batch.granted));
        if granted > at + length.skew() {
            // The issuer's clock was ahead, or this one is behind: the credentials at hand decide.
            let half = Duration::from_secs(length.batch() * length.seconds() / 2);
            return length.end(last).since(at) < half;
        }
        let span = length.end(last).since(granted);
        let jitter: [u8; 8] = kdf::tag(&self.batch.device.0, label::RENEWAL_JITTER, &[&last.0.to_be_bytes()]);
        let tenth = span / 10;
        let jitter = Duration::from_secs(u64::from_be_bytes(jitter) % tenth.as_secs().max(1));
        at >= granted + span / 2 - tenth / 2 + jitter
    }

    /// The bulletin in force.
    pub fn bulletin(&self) -> &Arc<VerifiedBulletin> {
        &self.bulletin
    }

    /// The device's contacts.
    pub fn contacts(&mut self) -> &mut ContactBook {
        &mut self.contacts
    }

    /// The device's contacts, for reading.
    pub fn contact_book(&self) -> &ContactBook {
        &self.contacts
    }

    /// The device's group keys.
    pub fn groups(&self) -> &GroupKeys {
        &self.groups
    }

    /// The device's group keys, so that their time can be set.
    pub fn groups_mut(&mut self) -> &mut GroupKeys {
        &mut self.groups
    }

    /// What the transport needs to admit neighbours. It is to be published anew whenever bulletin or batch change.
    pub fn admission_view(&self) -> AdmissionView {
        AdmissionView::new(self.bulletin.clone(), self.credentials.values().cloned().collect())
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("bulletin", &self.bulletin).finish_non_exhaustive()
    }
}

/// What a renewal or a pull has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Whether there are new credentials.
    pub credentials: bool,
    /// How many cards are new or changed.
    pub cards: usize,
    /// Whether the answer's bulletin was newer and is in force now.
    pub bulletin: bool,
    /// What the issuer's clock said.
    pub time: Unix,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(…)")
    }
}
