//! Mail of a membership: its prekeys, and how mail is sealed and opened with its keys.

use super::Membership;
use crate::id::{AgreementKey, Handle};
use crate::identity::credential::{CredentialError, PeerCredential};
use crate::identity::mail::{self, Addressee, MAX_AGE, MailChain};
use crate::identity::seal::SealError;
use crate::time::{Day, Unix};
use crate::wire::contact::MailPrekey;
use crate::wire::data::MailBox;
use crate::wire::mail::Mail;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;

/// Why mail does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The device takes no mail, or the prekey of that day has been erased or is not yet.
    #[error("there is no prekey of that day")]
    NoPrekey,
    /// It was sealed for another device, or changed on its way.
    #[error("it does not open: {0}")]
    Seal(#[from] SealError),
    /// The sender's credential is not accepted.
    #[error("the sender's credential is refused: {0}")]
    Credential(#[from] CredentialError),
    /// No card resolves the sender's handle.
    #[error("the sender is no contact")]
    UnknownContact,
}

impl Membership {
    /// The day of a time.
    pub fn day_of(&self, at: Unix) -> Day {
        at.day_since(self.bulletin.body().founded)
    }

    /// Has the device take mail from now on: it has a chain of prekeys, from which those are erased that are not needed any
    /// more at the time `sure`, which has certainly come. Returns whether the membership is to be saved.
    pub fn keep_prekeys(&mut self, now: Unix, sure: Unix, rng: &mut ChaCha20Rng) -> bool {
        let (today, past) = (self.day_of(now), self.day_of(sure));
        match &mut self.batch.mail {
            Some(chain) => chain.erase_past(past),
            None => {
                self.batch.mail = Some(MailChain::generate(today, rng));
                true
            }
        }
    }

    /// Whether the issuer is to be told a new prekey.
    pub fn prekey_is_due(&self, now: Unix) -> bool {
        let told = self.batch.mail.as_ref().map(|chain| chain.told);
        told.is_some_and(|told| told < Some(self.day_of(now)))
    }

    /// The prekey of the day, signed; `None` if the device takes no mail.
    pub(super) fn prekey(&self, now: Unix) -> Option<MailPrekey> {
        let signer = SigningKey::from_bytes(&self.secrets.renewal);
        self.batch.mail.as_ref()?.prekey(self.day_of(now), &signer)
    }

    /// The issuer has that prekey.
    pub(super) fn told_prekey(&mut self, prekey: Option<&MailPrekey>) {
        if let (Some(prekey), Some(chain)) = (prekey, &mut self.batch.mail) {
            chain.told = chain.told.max(Some(prekey.day));
        }
    }

    /// Seals a plaintext as mail under the credential of the epoch of `now`; `None` if there is none, or a key is weak.
    pub fn seal_mail(
        &self,
        rng: &mut ChaCha20Rng,
        to: &Addressee<'_>,
        header: &[u8],
        plain: &[u8],
        now: Unix,
    ) -> Option<Vec<u8>> {
        let own = self.credential(now)?;
        mail::seal_mail(rng, own, &self.contact, to, header, plain).ok()
    }

    /// Opens mail for this device. Returns the sender's credential and the plaintext.
    ///
    /// # Errors
    /// [`MailError`] says why it does not open.
    pub fn open_mail(
        &mut self,
        at: (MailBox, &Handle),
        header: &[u8],
        mail: &Mail<'_>,
        now: Unix,
    ) -> Result<(PeerCredential, Vec<u8>), MailError> {
        let (MailBox { day, .. }, handle) = at;
        let secret = self.batch.mail.as_ref().and_then(|chain| chain.secret(day)).ok_or(MailError::NoPrekey)?;
        let Self { contact, contacts, bulletin, .. } = self;
        let mut sender = |signed: &[u8]| -> Result<(PeerCredential, AgreementKey), MailError> {
            let (peer, then) = bulletin.verify_past_credential(signed, now, now - MAX_AGE)?;
            let card = contacts.resolve(&peer.body.handle, then).ok_or(MailError::UnknownContact)?;
            let key = card.contact_key;
            Ok((peer, key))
        };
        mail::open_mail(&secret, contact, (day, handle), header, mail, &mut sender)
    }
}
