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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Name, Tag};
    use crate::identity::invitation::MemoryRealm;
    use crate::identity::mail::KEPT_DAYS;
    use crate::time::{DAY_SECONDS, EpochLength};
    use core::time::Duration;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_000_000_000);
    const MAIL: MailBox = MailBox { day: Day(0), tag: Tag([1; 8]) };

    fn members(rng: &mut ChaCha20Rng) -> Vec<Membership> {
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, rng).expect("a realm");
        let names = ["a", "b", "c"].map(|name| Name::new(name).expect("a name"));
        realm.enrol(names, 4, NOW, rng).expect("members")
    }

    /// Invariant 1 of identity::mail.
    #[test]
    fn mail_opens_with_its_header_for_its_receiver_and_names_its_sender() {
        let mut rng = ChaCha20Rng::from_seed([5; 32]);
        let mut members = members(&mut rng);
        for member in &mut members {
            assert!(member.keep_prekeys(NOW, NOW, &mut rng) && !member.keep_prekeys(NOW, NOW, &mut rng));
        }
        let [a, b, c] = &mut members[..] else { unreachable!("three") };
        let prekey = b.prekey(NOW).expect("it takes mail");
        let (contact, handle) = (b.contact_secret().public(), b.credential(NOW).expect("a credential").body.handle);
        let to = Addressee { prekey: &prekey, contact: &contact, handle: &handle };
        let sealed = a.seal_mail(&mut rng, &to, b"header", b"plain", NOW).expect("sealed");
        let mail: Mail<'_> = crate::wire::decode(&sealed).expect("mail");
        let own = a.credential(NOW).expect("a credential").hash;
        let (peer, plain) = b.open_mail((MAIL, &handle), b"header", &mail, NOW).expect("it opens");
        assert_eq!((peer.hash, &plain[..]), (own, &b"plain"[..]));
        // It may have waited for days, when every credential of then has passed.
        let later = NOW + Duration::from_secs(9 * DAY_SECONDS);
        assert!(b.open_mail((MAIL, &handle), b"header", &mail, later).is_ok());
        let past = NOW + Duration::from_secs(15 * DAY_SECONDS);
        assert_eq!(b.open_mail((MAIL, &handle), b"header", &mail, past), Err(CredentialError::Expired.into()));
        // Another header, another handle, another device, another contact key of the sender.
        assert!(b.open_mail((MAIL, &handle), b"heade!", &mail, NOW).is_err());
        assert!(b.open_mail((MAIL, &Handle([9; 16])), b"header", &mail, NOW).is_err());
        assert!(c.open_mail((MAIL, &handle), b"header", &mail, NOW).is_err());
        let wrong = c.contact_secret().public();
        let to = Addressee { contact: &wrong, ..to };
        let forged = a.seal_mail(&mut rng, &to, b"header", b"plain", NOW).expect("sealed");
        let forged: Mail<'_> = crate::wire::decode(&forged).expect("mail");
        assert!(b.open_mail((MAIL, &handle), b"header", &forged, NOW).is_err());
        // Once the prekeys of that day are erased, nobody opens it any more.
        let erased = NOW + Duration::from_secs(u64::from(KEPT_DAYS + 1) * DAY_SECONDS);
        assert!(b.keep_prekeys(erased, erased, &mut rng));
        assert_eq!(b.open_mail((MAIL, &handle), b"header", &mail, NOW), Err(MailError::NoPrekey));
    }
}
