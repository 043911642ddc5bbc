//! Mail: what is sealed to a device that is away, and kept for it by others until it is there.
//!
//! **Mechanism.** The receiver of a session answers; that of mail does not. So mail is sealed in one step, in the manner of
//! the Noise pattern X, to the receiver's *prekey* of a day, which its contact card carries with a signature of the
//! receiver. `es = DH(e, P)`, `ss = DH(a_I, P)`, `cc = DH(c_I, C_R)`: the sender proves the key of its credential and its
//! contact key, and an issuer that makes false credentials can neither read nor forge mail between contacts. The sender's
//! signed credential travels inside, sealed under `es` alone, since the receiver must read it before it can compute the
//! rest. The transcript of all this salts the key, and the header is the seal's associated data.
//!
//! **Prekeys.** A device that takes mail has a [`MailChain`] from which follows the prekey of each day. It steps forward,
//! and what is behind is erased: whoever takes the device later cannot open the mail of those days. An answer of the
//! issuer that is lost costs nothing, since the chain gives the same prekey again. A sender seals to the prekey of a
//! card for [`PREKEY_DAYS`] days; mail is kept for [`MAX_AGE`]; so a chain is kept for [`KEPT_DAYS`].
//!
//! A mail may be opened days after it was sealed, when the epoch of the sender's credential is long over. That credential is judged
//! by the time of its own epoch, and must not be older than mail may be.
//!
//! Invariants
//! 1. A mail opens only with the header that it was sealed with, by the device to whose prekey it was sealed, and names the
//!    contact that sealed it.
//! 2. From a chain follow the prekeys of its day and of later ones, and of no earlier day.
//! - Each mail has an ephemeral key of its own, so that the key that seals it is used once.

use crate::id::{AgreementKey, Handle, Pseudonym, Tag};
use crate::identity::credential::{OwnCredential, PeerCredential};
use crate::identity::kdf::{self, Secret, label};
use crate::identity::seal::{self, SealError, TAG};
use crate::identity::session::ContactSecret;
use crate::identity::sign;
use crate::time::{DAY_SECONDS, Day};
use crate::wire::contact::{MailPrekey, PREKEY_CONTEXT};
use crate::wire::encode;
use crate::wire::mail::Mail;
use core::time::Duration;
use ed25519_dalek::SigningKey;
use rand_chacha::ChaCha20Rng;
use serde::{Deserialize, Serialize};
use x25519_dalek::StaticSecret;

/// For how many days after its own a prekey is sealed to.
pub const PREKEY_DAYS: u32 = 14;
/// For how long mail is kept at most, and how long it may be under way.
pub const MAX_AGE: Duration = Duration::from_secs(14 * DAY_SECONDS);
/// For how many days after its own a prekey is kept: it was sealed to on the last day that it may be, and was kept for
/// as long as mail is; clocks may differ by a day.
pub const KEPT_DAYS: u32 = PREKEY_DAYS + 14 + 1;

/// The tag of a device's box of a day, given its resolution key of that day.
pub fn box_tag(day_key: &Secret) -> Tag {
    Tag(kdf::tag(day_key.as_slice(), label::BOX, &[]))
}

/// Where a device's prekeys come from, at the first day whose prekey may still be needed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MailChain {
    day: Day,
    #[serde(with = "kdf::secret")]
    key: Secret,
    /// The last day whose prekey the issuer has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) told: Option<Day>,
}

impl MailChain {
    pub(super) fn generate(day: Day, rng: &mut ChaCha20Rng) -> Self {
        Self { day, key: seal::random(rng), told: None }
    }

    /// The key of a day's place; `None` for an earlier day, or one that is too far ahead.
    fn at(&self, day: Day) -> Option<Secret> {
        let steps = day.0.checked_sub(self.day.0).filter(|steps| *steps <= MOST_STEPS)?;
        let mut key = self.key.clone();
        for _ in 0..steps {
            key = kdf::derive(key.as_slice(), label::MAIL_CHAIN, &[]);
        }
        Some(key)
    }

    /// The private half of a day's prekey.
    pub(super) fn secret(&self, day: Day) -> Option<StaticSecret> {
        let place = self.at(day)?;
        Some(StaticSecret::from(*kdf::derive(place.as_slice(), label::MAIL_SECRET, &[])))
    }

    /// The prekey of a day, signed.
    pub(super) fn prekey(&self, day: Day, signer: &SigningKey) -> Option<MailPrekey> {
        let key = seal::agreement_public(&self.secret(day)?);
        let signature = sign::sign(signer, PREKEY_CONTEXT, &prekey_message(day, &key));
        Some(MailPrekey { day, key, signature })
    }

    /// Erases the prekeys of the days for which no mail can come any more, on that day. Returns whether there were any.
    pub(super) fn erase_past(&mut self, today: Day) -> bool {
        let first = Day(today.0.saturating_sub(KEPT_DAYS));
        match self.at(first) {
            Some(key) if first > self.day => {
                (self.day, self.key) = (first, key);
                true
            }
            _ => false,
        }
    }
}

/// Whether the key `by` has signed a mail prekey.
pub(super) fn prekey_is_signed(prekey: &MailPrekey, by: &Pseudonym) -> bool {
    sign::verify(by, PREKEY_CONTEXT, &prekey_message(prekey.day, &prekey.key), &prekey.signature)
}

/// What a prekey's signature is over.
fn prekey_message(day: Day, key: &AgreementKey) -> Vec<u8> {
    [&day.0.to_be_bytes()[..], &key.0].concat()
}

/// For whom mail is sealed.
#[derive(Clone, Copy, Debug)]
pub struct Addressee<'a> {
    /// Its prekey.
    pub prekey: &'a MailPrekey,
    /// Its contact key.
    pub contact: &'a AgreementKey,
    /// Its handle in the header.
    pub handle: &'a Handle,
}

/// Seals a plaintext as mail; `header` is the frame's encoded header.
///
/// # Errors
/// A key of the receiver is weak.
pub(super) fn seal_mail(
    rng: &mut ChaCha20Rng,
    own: &OwnCredential,
    contact: &ContactSecret,
    to: &Addressee<'_>,
    header: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, SealError> {
    let (day, prekey) = (to.prekey.day, &to.prekey.key);
    let secret = seal::new_secret(rng);
    let ephemeral = seal::agreement_public(&secret);
    let es = seal::agree(&secret, prekey)?;
    let mut credential = own.signed.to_vec();
    let key = credential_key(&es, day, &ephemeral, prekey);
    let tag = seal::encrypt(&seal::cipher(&key), 0, &[], &mut credential);
    credential.extend_from_slice(&tag);
    let (ss, cc) = (seal::agree(&own.agreement, prekey)?, contact.agree(to.contact)?);
    let transcript = transcript(&ephemeral, prekey, &contact.public(), to.contact, &credential);
    let key = mail_key(&transcript, [&es, &ss, &cc], day, &own.body.handle, to.handle);
    let mut sealed = plain.to_vec();
    let tag = seal::encrypt(&seal::cipher(&key), 0, header, &mut sealed);
    sealed.extend_from_slice(&tag);
    Ok(encode(&Mail { ephemeral, credential: &credential, sealed: &sealed }))
}

/// A sender's verified credential, and the contact key of its card.
type Sender = (PeerCredential, AgreementKey);

/// Opens mail that was sealed to the prekey whose private half is `secret`. `sender` verifies the sender's credential, and
/// returns it with the contact key of its card.
///
/// # Errors
/// What `sender` returns, or the mail does not open.
pub(super) fn open_mail<E: From<SealError>>(
    secret: &StaticSecret,
    contact: &ContactSecret,
    (day, handle): (Day, &Handle),
    header: &[u8],
    mail: &Mail<'_>,
    sender: &mut dyn FnMut(&[u8]) -> Result<Sender, E>,
) -> Result<(PeerCredential, Vec<u8>), E> {
    let prekey = seal::agreement_public(secret);
    let es = seal::agree(secret, &mail.ephemeral)?;
    let signed = decrypted(&credential_key(&es, day, &mail.ephemeral, &prekey), &[], mail.credential)?;
    let (peer, peer_contact) = sender(&signed)?;
    let (ss, cc) = (seal::agree(secret, &peer.body.agreement)?, contact.agree(&peer_contact)?);
    let transcript = transcript(&mail.ephemeral, &prekey, &peer_contact, &contact.public(), mail.credential);
    let key = mail_key(&transcript, [&es, &ss, &cc], day, &peer.body.handle, handle);
    let plain = decrypted(&key, header, mail.sealed)?;
    Ok((peer, plain))
}

fn decrypted(key: &Secret, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG>().ok_or(SealError::Short)?;
    let mut plain = ciphertext.to_vec();
    seal::decrypt(&seal::cipher(key), 0, aad, &mut plain, tag).then_some(plain).ok_or(SealError::Opening)
}

fn credential_key(es: &Secret, day: Day, ephemeral: &AgreementKey, prekey: &AgreementKey) -> Secret {
    kdf::derive(es.as_slice(), label::MAIL_CREDENTIAL, &[&day.0.to_be_bytes(), &ephemeral.0, &prekey.0])
}

fn transcript(
    ephemeral: &AgreementKey,
    prekey: &AgreementKey,
    sender: &AgreementKey,
    receiver: &AgreementKey,
    credential: &[u8],
) -> [u8; 32] {
    let context = label::MAIL_TRANSCRIPT.as_bytes();
    kdf::sha256(&[context, &[0], &ephemeral.0, &prekey.0, &sender.0, &receiver.0, credential])
}

fn mail_key(transcript: &[u8; 32], secrets: [&Secret; 3], day: Day, sender: &Handle, receiver: &Handle) -> Secret {
    let mut all = zeroize::Zeroizing::new([0; 96]);
    for (part, secret) in all.chunks_exact_mut(32).zip(secrets) {
        part.copy_from_slice(secret.as_slice());
    }
    kdf::derive_salted(transcript, all.as_slice(), label::MAIL, &[&day.0.to_be_bytes(), &sender.0, &receiver.0])
}

/// Longest stretch of a chain that is computed at once, in days.
const MOST_STEPS: u32 = 36_600;

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    /// Invariant 2.
    #[test]
    fn a_chain_gives_the_same_prekeys_until_they_are_erased() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let mut chain = MailChain::generate(Day(100), &mut rng);
        let public = |chain: &MailChain, day| chain.secret(Day(day)).map(|secret| seal::agreement_public(&secret));
        let (first, later) = (public(&chain, 100), public(&chain, 100 + KEPT_DAYS + 1));
        assert!(first.is_some() && first != public(&chain, 101) && public(&chain, 99).is_none());
        assert!(!chain.erase_past(Day(100 + KEPT_DAYS)));
        assert!(public(&chain, 100) == first);
        assert!(chain.erase_past(Day(100 + KEPT_DAYS + 1)));
        assert_eq!(public(&chain, 100), None);
        assert_eq!(public(&chain, 100 + KEPT_DAYS + 1), later);
        assert!(!chain.erase_past(Day(50)), "a clock that goes back erases nothing");
    }
}
