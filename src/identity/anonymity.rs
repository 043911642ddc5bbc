//! Anonymity: for how long a device is known by one pseudonym.
//!
//! | mode | its Ed25519 keys | what neighbours are told at the turn of an epoch |
//! |-|-|-|
//! | stable | one for as long as the device lives | the credential of the new epoch |
//! | rotating | one an epoch | that the new pseudonym succeeds the old one; nobody else can be shown that |
//! | strict | one an epoch | nothing |
//!
//! An epoch whose keys an issuer has certified keeps them. So another mode is in force from the first epoch on for which the device has
//! asked for no credential yet; [`Membership::rotates_from`](super::membership::Membership::rotates_from) says which.

use serde::{Deserialize, Serialize};

/// For how long a device is known by one pseudonym. See the module's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymity {
    /// One pseudonym for the device's life: for devices that others are told an address of.
    Stable,
    /// A pseudonym an epoch; neighbours are told of the successor.
    #[default]
    Rotating,
    /// A pseudonym an epoch; nobody is told of the successor.
    Strict,
}

impl Anonymity {
    /// Whether there is a pseudonym for each epoch.
    pub fn rotates(self) -> bool {
        self != Self::Stable
    }

    /// The mode of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Stable, Self::Rotating, Self::Strict].into_iter().find(|mode| mode.name() == name)
    }

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Rotating => "rotating",
            Self::Strict => "strict",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Name;
    use crate::identity::invitation::MemoryRealm;
    use crate::identity::membership::Membership;
    use crate::identity::sign;
    use crate::time::{Epoch, EpochLength, Unix};
    use core::time::Duration;
    use ed25519_dalek::SigningKey;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const NOW: Unix = Unix(1_800_000_100_000_000);
    const LENGTH: EpochLength = EpochLength::HOUR;

    fn hour(hours: u64) -> Unix {
        NOW + Duration::from_secs(3_600 * hours)
    }

    #[test]
    fn a_device_that_rotates_has_a_pseudonym_for_each_epoch_and_may_become_stable_again() {
        let mut rng = ChaCha20Rng::from_seed([9; 32]);
        let mut realm = MemoryRealm::found(LENGTH, NOW, &mut rng).expect("a realm");
        realm.anonymity = Anonymity::Rotating;
        let name = Name::new("meter").expect("a name");
        let mut member = realm.enrol([name], 4, NOW, &mut rng).expect("a member").remove(0);
        let pseudonyms = [0, 1, 2, 3].map(|hours| member.pseudonym(hour(hours)));
        assert_eq!(pseudonyms.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(member.pseudonym(hour(9)), pseudonyms[3], "the last one, where there is no credential");
        let stored = Membership::from_stored(&member.to_stored()).expect("its files");
        for (hours, pseudonym) in (0..).zip(pseudonyms) {
            assert_eq!(stored.pseudonym(hour(hours)), pseudonym);
            let seed = member.libp2p_seed(hour(hours));
            assert_eq!(sign::public(&SigningKey::from_bytes(&seed)), pseudonym);
            assert!(!member.is_stable(&pseudonym));
        }
        // After the turn the old one is used until its credential lapses, and no longer.
        let end = LENGTH.end(LENGTH.epoch_at(NOW));
        assert!(member.credential_under(&pseudonyms[0], end + LENGTH.skew()).is_some());
        assert!(member.credential_under(&pseudonyms[0], end + LENGTH.skew() * 2).is_none());
        // Epochs that are certified keep their keys: another mode is in force after these.
        member.set_anonymity(Anonymity::Stable);
        assert_eq!(member.rotates_from(NOW), Epoch(LENGTH.epoch_at(NOW).0 + 4));
        let (hello, renewal) = member.begin_renewal(hour(3), &mut rng).expect("a request");
        let MemoryRealm { issuer, book, bulletin, .. } = &mut realm;
        let answer = issuer.answer(&hello, book, bulletin, hour(3), &mut rng).reply.sealed.expect("granted");
        member.finish_renewal(&renewal, &answer, hour(3), hour(3)).expect("renewed");
        assert_eq!(member.pseudonym(hour(3)), pseudonyms[3]);
        assert!(member.is_stable(&member.pseudonym(hour(4))) && member.is_stable(&member.pseudonym(hour(9))));
    }

    #[test]
    fn names_of_modes_are_read_again() {
        for mode in [Anonymity::Stable, Anonymity::Rotating, Anonymity::Strict] {
            assert_eq!(Anonymity::of_name(mode.name()), Some(mode));
        }
        assert_eq!(Anonymity::of_name("secret"), None);
    }
}
