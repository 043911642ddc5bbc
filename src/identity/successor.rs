//! Successor: the proof that two pseudonyms are one device, which convinces one neighbour and nobody else.
//!
//! The proof is a tag over the new credential, under a key that follows from two key agreements (X25519): of the old credential's key with
//! the neighbour's, and of the new credential's key with the neighbour's. Making it takes both secrets of the device. The neighbour can
//! compute the same key from its own secret, and could therefore have made the proof itself, so that it shows nothing to a third party: it is
//! deniable, as the authentication of Off-the-Record Messaging (Borisov, Goldberg, Brewer, 2004) is.
//!
//! Invariants
//! 1. A proof holds for the three credentials that it was made for, and for no others.
//! 2. Who lacks the secret of either credential, and that of the neighbour, cannot make a proof.

use super::credential::{OwnCredential, PeerCredential};
use super::kdf::{self, Secret, label};
use super::seal::{self, SealError};
use crate::id::CredentialHash;
use subtle::ConstantTimeEq;

/// Length of a proof, in bytes.
pub const PROOF: usize = 16;

/// Proves to a neighbour that the device of `old` goes on as `new`.
///
/// # Errors
/// Fails if the neighbour's agreement key is weak.
pub fn prove(old: &OwnCredential, new: &OwnCredential, neighbour: &PeerCredential) -> Result<[u8; PROOF], SealError> {
    let with = &neighbour.body.agreement;
    let (first, second) = (seal::agree(&old.agreement, with)?, seal::agree(&new.agreement, with)?);
    Ok(proof(&first, &second, [&old.hash, &new.hash, &neighbour.hash], &new.signed))
}

/// Whether a proof that was sent to `own` holds: that the device of `old` goes on as `new`.
pub fn holds(own: &OwnCredential, old: &PeerCredential, new: &PeerCredential, shown: &[u8; PROOF]) -> bool {
    let agree = |with: &PeerCredential| seal::agree(&own.agreement, &with.body.agreement);
    let (Ok(first), Ok(second)) = (agree(old), agree(new)) else { return false };
    proof(&first, &second, [&old.hash, &new.hash, &own.hash], &new.signed).ct_eq(shown).into()
}

fn proof(first: &Secret, second: &Secret, of: [&CredentialHash; 3], signed: &[u8]) -> [u8; PROOF] {
    let mut agreed = zeroize::Zeroizing::new([0; 64]);
    agreed[..32].copy_from_slice(&first[..]);
    agreed[32..].copy_from_slice(&second[..]);
    let key = kdf::derive(&agreed[..], label::SUCCESSOR, &[&of[0].0, &of[1].0, &of[2].0]);
    kdf::tag(&key[..], label::SUCCESSOR_PROOF, &[signed])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::anonymity::Anonymity;
    use crate::identity::invitation::MemoryRealm;
    use crate::time::{EpochLength, Unix};
    use core::time::Duration;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_100_000_000);

    fn peer(own: &OwnCredential) -> PeerCredential {
        PeerCredential { hash: own.hash, body: own.body.clone(), signed: own.signed.clone() }
    }

    /// Invariants 1 and 2.
    #[test]
    fn a_proof_is_of_three_credentials_and_takes_the_secrets_of_two() {
        let mut rng = ChaCha20Rng::from_seed([4; 32]);
        let mut realm = MemoryRealm::found(EpochLength::HOUR, NOW, &mut rng).expect("a realm");
        realm.anonymity = Anonymity::Rotating;
        let names = ["meter", "pump", "valve"].map(|name| Name::new(name).expect("a name"));
        let members = realm.enrol(names, 4, NOW, &mut rng).expect("members");
        let of = |who: usize, hours: u64| {
            members[who].credential(NOW + Duration::from_secs(3_600 * hours)).expect("a credential").clone()
        };
        let (old, new, neighbour) = (of(0, 0), of(0, 1), of(1, 0));
        let shown = prove(&old, &new, &peer(&neighbour)).expect("a proof");
        assert!(holds(&neighbour, &peer(&old), &peer(&new), &shown));
        // Another neighbour, another epoch of either, another device: it is not theirs.
        assert!(!holds(&of(2, 0), &peer(&old), &peer(&new), &shown));
        assert!(!holds(&of(1, 1), &peer(&old), &peer(&new), &shown));
        assert!(!holds(&neighbour, &peer(&of(0, 2)), &peer(&new), &shown));
        assert!(!holds(&neighbour, &peer(&old), &peer(&of(0, 2)), &shown));
        assert!(!holds(&neighbour, &peer(&old), &peer(&of(2, 1)), &shown));
        // The device of one of the two alone cannot claim the other.
        let stolen = prove(&of(2, 0), &new, &peer(&neighbour)).expect("a proof");
        assert!(!holds(&neighbour, &peer(&old), &peer(&new), &stolen));
        let taken_over = prove(&old, &of(2, 1), &peer(&neighbour)).expect("a proof");
        assert!(!holds(&neighbour, &peer(&old), &peer(&new), &taken_over));
        // The neighbour makes the same proof, so it shows nothing to others.
        let (first, second) = (
            seal::agree(&neighbour.agreement, &old.body.agreement),
            seal::agree(&neighbour.agreement, &new.body.agreement),
        );
        let made = proof(
            &first.expect("a key"),
            &second.expect("a key"),
            [&old.hash, &new.hash, &neighbour.hash],
            &new.signed,
        );
        assert_eq!(made, shown);
    }
}
