//! Disclosure: which device a captured credential belongs to, by the auditor's key.
//!
//! **Mechanism.** Each credential holds the device's id and the epoch, sealed to the auditor ([`seal`](super::seal)). The seal is not
//! bound to the rest of the credential by itself: whoever copies it into a credential of his own making points at somebody
//! else. What binds it is the issuer's signature, so that is verified first, and what it does not cover is not opened. A captured
//! credential is mostly one of the past: whether its epoch is over or its device revoked does not matter here.
//!
//! Invariants
//! 1. Nothing is opened of a credential that no issuer of the bulletin has signed.
//! 2. What was sealed for another epoch than the credential's is not told as its device.

use crate::id::DeviceId;
use crate::identity::bulletin::{CREDENTIAL_VERSION, VerifiedBulletin};
use crate::identity::credential::{self, CredentialError};
use crate::identity::realm::Auditor;
use crate::identity::seal::SealError;
use crate::identity::sign;
use crate::time::{Epoch, EpochLength};
use crate::wire::codec::decode_within;
use crate::wire::credential::{CONTEXT, Credential, MAX_CREDENTIAL, SEALED_ID};
use crate::wire::{Signed, decode};

/// Whose credential it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The device.
    pub device: DeviceId,
    /// The one epoch that the credential is for.
    pub epoch: Epoch,
    /// The length in which that epoch is counted.
    pub epoch_length: EpochLength,
}

/// Why a credential tells nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DisclosureError {
    /// It is no credential that an issuer of this realm has signed.
    #[error("{0}")]
    Credential(#[from] CredentialError),
    /// The sealed id does not open.
    #[error("its sealed id does not open with this auditor's key: {0}")]
    Seal(#[from] SealError),
    /// The issuer has signed a sealed id of another epoch.
    #[error("its sealed id was made for epoch {sealed}, the credential is of epoch {epoch}: its issuer has lied", sealed = .sealed.0, epoch = .epoch.0)]
    Epoch {
        /// The epoch inside the seal.
        sealed: Epoch,
        /// The credential's.
        epoch: Epoch,
    },
}

/// Verifies that an issuer of the bulletin has signed a captured credential, at whatever time it was good.
///
/// # Errors
/// [`CredentialError`] as at an admission, but for its time and its revocation, which are not asked. An issuer is one that the
/// bulletin lists and that could still sign when the credential's epoch began.
pub fn verify_captured(bulletin: &VerifiedBulletin, signed: &[u8]) -> Result<Credential, CredentialError> {
    let document: Signed<'_> = decode_within(signed, MAX_CREDENTIAL).map_err(|_| CredentialError::Malformed)?;
    let body: Credential = decode(document.body).map_err(|_| CredentialError::Malformed)?;
    if body.version != CREDENTIAL_VERSION {
        return Err(CredentialError::Version);
    }
    if body.realm != bulletin.realm() {
        return Err(CredentialError::Realm);
    }
    let length = credential::epoch_length(&body).filter(|_| body.sealed_id.len() == SEALED_ID);
    let begins = length.ok_or(CredentialError::Malformed)?.start(body.epoch).seconds();
    let issuers = &bulletin.body().issuers;
    let issuer = issuers.iter().find(|issuer| issuer.id == body.issuer && begins <= issuer.not_after);
    let issuer = issuer.ok_or(CredentialError::Issuer)?;
    if sign::verify_signed(CONTEXT, &issuer.key, &document) { Ok(body) } else { Err(CredentialError::Signature) }
}

/// Opens the sealed id of a captured credential, once its issuer's signature holds.
///
/// # Errors
/// [`DisclosureError`]; nothing has been learnt of any device then.
pub fn open(bulletin: &VerifiedBulletin, auditor: &Auditor, signed: &[u8]) -> Result<Opening, DisclosureError> {
    let body = verify_captured(bulletin, signed)?;
    let epoch_length = credential::epoch_length(&body).ok_or(CredentialError::Malformed)?;
    let (device, sealed) = auditor.open(&body.sealed_id)?;
    if sealed != body.epoch {
        return Err(DisclosureError::Epoch { sealed, epoch: body.epoch });
    }
    Ok(Opening { device, epoch: body.epoch, epoch_length })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::invitation::MemoryRealm;
    use crate::time::Unix;
    use crate::wire::encode;
    use core::time::Duration;
    use ed25519_dalek::SigningKey;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_100_000_000);

    fn realm(seed: u8) -> (MemoryRealm, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        (MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm"), rng)
    }

    /// The captured credentials of two devices, and their ids.
    fn captured(realm: &mut MemoryRealm, rng: &mut ChaCha20Rng) -> [(DeviceId, Vec<u8>); 2] {
        let names = ["one", "two"].map(|name| Name::new(name).expect("a name"));
        let members = realm.enrol(names, 1, NOW, rng).expect("members");
        let of = |at: usize| {
            let own = members[at].credential(NOW).expect("a credential");
            (members[at].device(), own.signed.to_vec())
        };
        [of(0), of(1)]
    }

    #[test]
    fn the_auditor_alone_learns_the_device_of_a_credential() {
        let (mut realm, mut rng) = realm(1);
        let auditor = realm.founding.auditor.clone();
        for (device, signed) in captured(&mut realm, &mut rng) {
            let opening = open(&realm.bulletin, &auditor, &signed).expect("it opens");
            assert_eq!((opening.device, opening.epoch_length), (device, EpochLength::HOUR));
            assert_eq!(opening.epoch, EpochLength::HOUR.epoch_at(NOW));
            // Long after, a member would not take it any more.
            let later = NOW + Duration::from_secs(90 * 86_400);
            assert_eq!(realm.bulletin.verify_credential(&signed, later).err(), Some(CredentialError::Expired));
        }
        let (mut other, mut rng) = self::realm(2);
        let foreign = captured(&mut other, &mut rng);
        let error = open(&realm.bulletin, &auditor, &foreign[0].1);
        assert_eq!(error, Err(CredentialError::Realm.into()));
        let error = open(&other.bulletin, &auditor, &foreign[0].1);
        assert_eq!(error, Err(SealError::Opening.into()), "another realm's auditor");
    }

    /// Invariant 1: a sealed id that was copied into a credential of one's own making.
    #[test]
    fn nobody_is_unmasked_by_a_credential_that_the_issuer_has_not_signed() {
        let (mut realm, mut rng) = realm(1);
        let auditor = realm.founding.auditor.clone();
        let [(_, of_one), _] = captured(&mut realm, &mut rng);
        let document: Signed<'_> = decode(&of_one).expect("signed");
        let mut body: Credential = decode(document.body).expect("a credential");
        let liar = SigningKey::from_bytes(&[7; 32]);
        body.key = sign::public(&liar);
        let forged = sign::sign_document(&liar, CONTEXT, &encode(&body));
        assert_eq!(open(&realm.bulletin, &auditor, &forged), Err(CredentialError::Signature.into()));
        let mut changed = of_one.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert_eq!(open(&realm.bulletin, &auditor, &changed), Err(CredentialError::Signature.into()));
        assert_eq!(open(&realm.bulletin, &auditor, b"nothing"), Err(CredentialError::Malformed.into()));
        // An issuer whose time was over when the epoch began.
        let mut bulletin = realm.bulletin.body().clone();
        bulletin.version += 1;
        bulletin.issuers[0].not_after = NOW.seconds() - 7_200;
        let ended = realm.founding.operator.sign(&bulletin).expect("the operator's");
        assert_eq!(open(&ended, &auditor, &of_one), Err(CredentialError::Issuer.into()));
        bulletin.issuers.clear();
        let nobody = realm.founding.operator.sign(&bulletin).expect("the operator's");
        assert_eq!(open(&nobody, &auditor, &of_one), Err(CredentialError::Issuer.into()));
    }

    /// Invariant 2: an issuer that puts the sealed id of one epoch into the credential of another.
    #[test]
    fn a_sealed_id_of_another_epoch_is_no_disclosure() {
        let (mut realm, mut rng) = realm(1);
        let auditor = realm.founding.auditor.clone();
        let [(_, of_one), _] = captured(&mut realm, &mut rng);
        let document: Signed<'_> = decode(&of_one).expect("signed");
        let mut body: Credential = decode(document.body).expect("a credential");
        let sealed = body.epoch;
        body.epoch = Epoch(sealed.0 + 1);
        let issuer = SigningKey::from_bytes(&realm.founding.issuer.signing);
        let lie = sign::sign_document(&issuer, CONTEXT, &encode(&body));
        let told = DisclosureError::Epoch { sealed, epoch: body.epoch };
        assert_eq!(open(&realm.bulletin, &auditor, &lie), Err(told));
        assert!(told.to_string().contains("its issuer has lied"), "{told}");
    }
}
