//! A running device's membership: its keys, its credentials epoch by epoch, the bulletin, its contacts.
//!
//! What lasts is in [`DeviceSecrets`], written once. What an issuer granted is the [`Batch`]: it is replaced whole at
//! a renewal, and with it go the private keys of past epochs. A membership takes itself apart into [`Stored`], the
//! bytes of its files, and comes back from them.
//!
//! One Ed25519 key serves all epochs of a device for now; each epoch has an X25519 key of its own.
//!
//! Invariants
//! 1. Of two bulletins the newer one holds; there is no way back.
//! 2. There is always at least one credential; whether it is still good is a question of time.
//! 3. Private keys of epochs that are accepted no more are erased, but those of the last credential there is.

use crate::id::{DeviceId, Handle, IssuerId, Name, Pseudonym, RealmId, SessionId};
use crate::identity::admission::AdmissionView;
use crate::identity::batch::{Batch, DeviceSecrets, Granted};
use crate::identity::bulletin::{BulletinError, VerifiedBulletin};
use crate::identity::contact::{ContactBook, StoredContact};
use crate::identity::credential::{CredentialError, OwnCredential, PeerCredential};
use crate::identity::enrolment::{EnrolmentError, PendingEnrolment};
use crate::identity::group::{GroupError, GroupKeys};
use crate::identity::issuer::MAX_EPOCHS;
use crate::identity::kdf::{self, Secret, label};
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

/// What a device is and has.
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
}

/// A membership as the bytes of its files. All but the bulletin are secret.
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
    /// Encoded array of contacts: cards, and what has been changed about them.
    pub cards: Zeroizing<Vec<u8>>,
}

/// Why stored bytes are no membership: which part, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The keys.
    #[error("the device's keys cannot be read: {0}")]
    Keys(DecodeError),
    /// The batch.
    #[error("the credentials cannot be read: {0}")]
    Batch(DecodeError),
    /// A credential of the batch that is not this device's, or none at all.
    #[error("the credentials do not belong to the device's keys")]
    Credentials,
    /// The bulletin.
    #[error(transparent)]
    Bulletin(#[from] BulletinError),
    /// The cards.
    #[error("the contact cards cannot be read: {0}")]
    Cards(DecodeError),
    /// The group keys.
    #[error("the group keys do not open: {0}")]
    Groups(#[from] GroupError),
}

impl Membership {
    /// From the bytes of its files.
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
        let groups = GroupKeys::new(&batch.path, &batch.group_keys, &bulletin, None)?;
        let contact = ContactSecret::new(*secrets.contact);
        Ok(Self { secrets, contact, batch, credentials, bulletin: Arc::new(bulletin), contacts, groups, asked_of: 0 })
    }

    /// A membership out of a first grant.
    pub(super) fn from_grant(secrets: DeviceSecrets, grant: Granted) -> Result<Self, MembershipError> {
        let Granted { batch, bulletin, cards } = grant;
        let mut contacts = ContactBook::new(bulletin.body().founded);
        for card in cards {
            contacts.insert(card);
        }
        Self::new(secrets, batch, bulletin, contacts)
    }

    /// The bytes of its files.
    pub fn to_stored(&self) -> Stored {
        Stored {
            keys: Zeroizing::new(encode(&self.secrets)),
            batch: Zeroizing::new(encode(&self.batch)),
            bulletin: self.bulletin.signed().to_vec(),
            documents: self.bulletin.documents().cloned().collect(),
            cards: Zeroizing::new(encode(&self.contacts.to_stored())),
        }
    }

    /// Takes a signed bulletin; says whether it was newer than the one at hand.
    pub fn accept_bulletin(&mut self, signed: &[u8]) -> Result<bool, BulletinError> {
        let bulletin = VerifiedBulletin::verify(self.realm(), signed)?;
        Ok(self.adopt(bulletin))
    }

    /// Takes a document that the bulletin names; says whether it was missing.
    pub fn accept_document(&mut self, raw: &[u8]) -> Result<bool, BulletinError> {
        let taken = Arc::make_mut(&mut self.bulletin).attach(raw)?;
        if taken {
            self.open_groups();
        }
        Ok(taken)
    }

    /// A device that is cut off keeps what it had; nobody else uses that any more.
    fn open_groups(&mut self) {
        let Batch { path, group_keys, .. } = &self.batch;
        if let Ok(groups) = GroupKeys::new(path, group_keys, &self.bulletin, Some(&self.groups)) {
            self.groups = groups;
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
        self.begin_request(first, usize::try_from(epochs).unwrap_or(MAX_EPOCHS), rng)
    }

    /// Asks for the cards of new contacts and the bulletin only.
    pub fn begin_pull(
        &mut self,
        now: Unix,
        rng: &mut ChaCha20Rng,
    ) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let present = self.batch.epoch_length.epoch_at(now);
        self.begin_request(present.max(self.batch.source.epoch), 0, rng)
    }

    fn begin_request(
        &mut self,
        first: Epoch,
        epochs: usize,
        rng: &mut ChaCha20Rng,
    ) -> Result<(EnrolHello, PendingEnrolment), EnrolmentError> {
        let issuers = &self.bulletin.body().issuers;
        let issuer = issuers.iter().find(|issuer| issuer.id == self.batch.issuer).or(issuers.first());
        let issuer = issuer.ok_or(EnrolmentError::NoIssuer)?;
        let source = self.batch.source.at(first).ok_or(Refusal::Epochs)?;
        let (issuer, secrets) = ((issuer.id, issuer.seal), self.secrets.clone());
        self.asked_of = self.bulletin.version();
        let pending = PendingEnrolment::renewal(self.realm(), issuer, secrets, (first, source.chain), epochs, rng);
        Ok((pending.hello(rng)?, pending))
    }

    /// Takes the issuer's answer to a renewal or a pull: credentials, cards, bulletin. Says what changed. `sure` is as for
    /// [`Self::erase_past`].
    pub fn finish_renewal(
        &mut self,
        pending: &PendingEnrolment,
        answer: &[u8],
        now: Unix,
        sure: Unix,
    ) -> Result<Renewed, EnrolmentError> {
        let Granted { mut batch, bulletin, cards } = pending.granted(answer)?;
        let credentials = !batch.epochs.is_empty();
        batch.keep_current(&self.batch, now, sure);
        let opened = batch.open(&self.secrets)?;
        self.credentials = opened;
        self.batch = batch;
        let bulletin = self.adopt(bulletin);
        let cards = cards.into_iter().map(|card| self.contacts.insert(card)).filter(|changed| *changed).count();
        self.contacts.heed(&self.bulletin.body().revocations);
        // Also where the issuer has an older bulletin than this device: asking again would bring no others.
        self.batch.cards_of = self.batch.cards_of.max(self.asked_of);
        if !bulletin {
            self.open_groups();
        }
        Ok(Renewed { credentials, cards, bulletin })
    }

    /// The device's name.
    pub fn name(&self) -> &Name {
        &self.batch.name
    }

    /// Its lasting id.
    pub fn device(&self) -> DeviceId {
        self.batch.device
    }

    /// Its realm.
    pub fn realm(&self) -> RealmId {
        self.batch.realm
    }

    /// The issuer that granted the present batch.
    pub fn issuer(&self) -> IssuerId {
        self.batch.issuer
    }

    /// Its pseudonym, the same in all epochs for now.
    pub fn pseudonym(&self) -> Pseudonym {
        sign::public(&SigningKey::from_bytes(&self.secrets.pseudonym))
    }

    /// Seed of the Ed25519 key behind the pseudonym: the libp2p identity.
    pub fn libp2p_seed(&self) -> Secret {
        self.secrets.pseudonym.clone()
    }

    /// Private half of its contact key.
    pub fn contact_secret(&self) -> &ContactSecret {
        &self.contact
    }

    /// Its credential of the epoch that `at` is in.
    pub fn credential(&self, at: Unix) -> Option<&Arc<OwnCredential>> {
        self.credentials.get(&self.batch.epoch_length.epoch_at(at))
    }

    /// Its credential with this handle, of the present epoch, the one before or the one after: what an opener that
    /// came under this handle was made for.
    pub fn credential_of(&self, handle: &Handle, at: Unix) -> Option<&Arc<OwnCredential>> {
        let present = self.batch.epoch_length.epoch_at(at);
        let near = Epoch(present.0.saturating_sub(1))..=Epoch(present.0 + 1);
        self.credentials.range(near).map(|(_, own)| own).find(|own| own.body.handle == *handle)
    }

    /// Its handles in the epochs from `from` to `until`, at most `most`: what a receipt is sent to.
    pub fn handles(&self, from: Unix, until: Unix, most: usize) -> Vec<Handle> {
        let length = self.batch.epoch_length;
        let epochs = length.epoch_at(from)..=length.epoch_at(until.max(from));
        self.credentials.range(epochs).take(most).map(|(_, own)| own.body.handle).collect()
    }

    /// Takes an opener made for `own`, to receive under that id with one of these suites; see [`Session::accept`].
    pub fn accept_session(
        &mut self,
        rng: &mut ChaCha20Rng,
        (id, suites): (SessionId, u8),
        opener: &Opener,
        own: &OwnCredential,
        at: Unix,
    ) -> Result<(Session, PeerCredential), SessionError> {
        let Self { contact, contacts, bulletin, .. } = self;
        let mut contact_key_of = |handle: &Handle| contacts.resolve(handle, at).map(|card| card.contact_key);
        let end = End { id, suites, own, contact };
        Session::accept(rng, end, opener, bulletin, at, &mut contact_key_of)
    }

    /// Erases the private keys of epochs whose credentials are accepted no more: what was sealed to them cannot be opened by
    /// whoever takes the device later. Says whether there were any, and so whether it is to be saved. There is no way back:
    /// `sure` is a time that another than the device's own clock has shown to have come.
    pub fn erase_past(&mut self, sure: Unix) -> bool {
        let erased = self.batch.erase_past(sure);
        let kept = &self.batch;
        self.credentials.retain(|epoch, _| kept.holds(*epoch));
        erased
    }

    /// Length of its epochs.
    pub fn epoch_length(&self) -> EpochLength {
        self.batch.epoch_length
    }

    /// When its first credential begins.
    pub fn valid_from(&self) -> Unix {
        let first = self.credentials.first_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.batch.epoch_length.start(first)
    }

    /// When its last credential ends.
    pub fn valid_until(&self) -> Unix {
        let last = self.credentials.last_key_value().map_or(Epoch(0), |(epoch, _)| *epoch);
        self.batch.epoch_length.end(last)
    }

    /// When the credentials that follow on each other from `at` on end.
    fn covered_until(&self, at: Unix) -> Option<Epoch> {
        let present = self.batch.epoch_length.epoch_at(at);
        let held = self.credentials.range(present..).zip(present.0..);
        held.take_while(|((epoch, _), expected)| epoch.0 == *expected).last().map(|((epoch, _), _)| *epoch)
    }

    /// Whether it is time to renew: at about half of the time that the batch was granted for, at a point that
    /// differs from device to device by up to a tenth of it, and again whenever there is no credential for `at`, or one for later
    /// is of a generation that is over.
    pub fn renewal_due(&self, at: Unix) -> bool {
        let Some(last) = self.covered_until(at) else { return true };
        if self.batch.first_outdated(self.batch.epoch_length.epoch_at(at)).is_some() {
            return true;
        }
        let (length, granted) = (self.batch.epoch_length, Unix::from_seconds(self.batch.granted));
        if granted > at + length.skew() {
            // That clock was ahead, or this one is behind: what there is has to tell.
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

    /// Its contacts.
    pub fn contacts(&mut self) -> &mut ContactBook {
        &mut self.contacts
    }

    /// Its contacts, to look at.
    pub fn contact_book(&self) -> &ContactBook {
        &self.contacts
    }

    /// Its group keys.
    pub fn groups(&self) -> &GroupKeys {
        &self.groups
    }

    /// Its group keys, to be told the time.
    pub fn groups_mut(&mut self) -> &mut GroupKeys {
        &mut self.groups
    }

    /// What the transport needs to admit neighbours. To be published anew whenever bulletin or batch change.
    pub fn admission_view(&self) -> AdmissionView {
        AdmissionView::new(self.bulletin.clone(), self.credentials.values().cloned().collect())
    }
}

impl fmt::Debug for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Membership").field("bulletin", &self.bulletin).finish_non_exhaustive()
    }
}

/// What a renewal or a pull changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Renewed {
    /// Whether there are new credentials.
    pub credentials: bool,
    /// How many cards are new or changed.
    pub cards: usize,
    /// Whether the bulletin is newer.
    pub bulletin: bool,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stored(…)")
    }
}
