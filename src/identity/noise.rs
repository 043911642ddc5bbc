//! Noise: the handshake of sessions, `Noise_KKpsk0_25519_ChaChaPoly_SHA256` of the Noise Protocol Framework, revision
//! 34.
//!
//! ```text
//!   → s      ← s          both static keys are known before; the prologue and a pre-shared key are too
//!   → psk, e, es, ss      nothing follows but a tag: the initiator has its keys
//!   ← e, ee, se           with a payload: the responder has its keys, and has heard this very first message
//! ```
//!
//! The pattern is published and its security proved by others. This module adds only one more key, derived from the
//! state after the first message (an *early* key, like that of TLS 1.3 for early data): of the ephemeral keys it
//! depends on the initiator's alone, so that only the initiator may seal with it. The two keys at the end of the
//! handshake depend on an ephemeral key of either side.
//!
//! Every cipher key of this pattern seals one payload, the empty one or the answer's, with the nonce zero. Tests run
//! each side against the same side of `snow`, byte by byte. Serial lines use another pattern of the same framework
//! ([`xx`]).
//!
//! Invariants
//! 1. A refused message changes nothing: the initiator can still take the true answer.
//! 2. An agreement that yields zeros is refused.

mod symmetric;
pub mod xx;

use crate::id::AgreementKey;
use crate::identity::kdf::Secret;
use crate::identity::seal::{self, SealError, TAG};
pub use symmetric::Split;
use symmetric::Symmetric;
use x25519_dalek::StaticSecret;

/// The name of the protocol, which is part of every hash.
const PROTOCOL: &[u8] = b"Noise_KKpsk0_25519_ChaChaPoly_SHA256";
/// Bytes of a message besides its payload: an ephemeral key and a tag.
pub(super) const OVERHEAD: usize = 32 + TAG;

/// What an end knows before the first message.
pub(super) struct Before<'a> {
    /// Bytes that both ends know and that are bound into the handshake.
    pub prologue: &'a [u8],
    /// The pre-shared key.
    pub psk: &'a Secret,
    /// This end's static secret.
    pub own: &'a StaticSecret,
    /// The other end's static key.
    pub peer: &'a AgreementKey,
}

/// Starts with the prologue and both static keys, the initiator's first.
fn known(prologue: &[u8], initiator: &AgreementKey, responder: &AgreementKey) -> Symmetric {
    Symmetric::new(PROTOCOL, &[prologue, &initiator.0, &responder.0])
}

/// An initiator that has sent its message and waits for the answer.
pub(super) struct Opened {
    symmetric: Symmetric,
    ephemeral: StaticSecret,
}

impl Opened {
    /// Makes the first message; it fails if the other end's static key is weak.
    pub(super) fn new(before: &Before<'_>, ephemeral: StaticSecret) -> Result<(Self, [u8; OVERHEAD]), SealError> {
        let mut symmetric = known(before.prologue, &seal::agreement_public(before.own), before.peer);
        symmetric.mix_key_and_hash(before.psk.as_slice());
        let e = seal::agreement_public(&ephemeral);
        symmetric.mix_ephemeral_with_psk(&e);
        symmetric.mix_key(seal::agree(&ephemeral, before.peer)?.as_slice());
        symmetric.mix_key(seal::agree(before.own, before.peer)?.as_slice());
        let mut tag = Vec::with_capacity(TAG);
        symmetric.encrypt(&[], &mut tag);
        let mut message = [0; OVERHEAD];
        message[..32].copy_from_slice(&e.0);
        message[32..].copy_from_slice(&tag);
        Ok((Self { symmetric, ephemeral }, message))
    }

    /// The key that the initiator may seal with before it has the answer.
    pub(super) fn early(&self) -> Secret {
        self.symmetric.early()
    }

    /// Takes the answer. Returns its payload, and the keys of the records.
    pub(super) fn finish(&self, own: &StaticSecret, answer: &[u8]) -> Result<(Vec<u8>, Split), SealError> {
        let (e, sealed) = answer.split_first_chunk::<32>().ok_or(SealError::Short)?;
        let (mut symmetric, e) = (self.symmetric.clone(), AgreementKey(*e));
        symmetric.mix_ephemeral_with_psk(&e);
        symmetric.mix_key(seal::agree(&self.ephemeral, &e)?.as_slice());
        symmetric.mix_key(seal::agree(own, &e)?.as_slice());
        let payload = symmetric.decrypt(sealed)?;
        Ok((payload, symmetric.split()))
    }
}

/// A responder that has taken the first message.
pub(super) struct Accepted {
    symmetric: Symmetric,
    initiator: AgreementKey,
    e: AgreementKey,
}

impl Accepted {
    /// Takes the first message; it fails if the message does not open under the keys of both ends.
    pub(super) fn new(before: &Before<'_>, message: &[u8; OVERHEAD]) -> Result<Self, SealError> {
        let mut symmetric = known(before.prologue, before.peer, &seal::agreement_public(before.own));
        symmetric.mix_key_and_hash(before.psk.as_slice());
        let (e, tag) = message.split_at(32);
        let e = AgreementKey(core::array::from_fn(|index| e[index]));
        symmetric.mix_ephemeral_with_psk(&e);
        symmetric.mix_key(seal::agree(before.own, &e)?.as_slice());
        symmetric.mix_key(seal::agree(before.own, before.peer)?.as_slice());
        symmetric.decrypt(tag)?;
        Ok(Self { symmetric, initiator: *before.peer, e })
    }

    /// The key under which the initiator seals before it has the answer.
    pub(super) fn early(&self) -> Secret {
        self.symmetric.early()
    }

    /// Makes the answer, around a payload. Returns it with the keys of the records.
    pub(super) fn answer(self, ephemeral: &StaticSecret, payload: &[u8]) -> Result<(Vec<u8>, Split), SealError> {
        let Self { mut symmetric, initiator, e } = self;
        let own = seal::agreement_public(ephemeral);
        let mut answer = own.0.to_vec();
        symmetric.mix_ephemeral_with_psk(&own);
        symmetric.mix_key(seal::agree(ephemeral, &e)?.as_slice());
        symmetric.mix_key(seal::agree(ephemeral, &initiator)?.as_slice());
        symmetric.encrypt(payload, &mut answer);
        Ok((answer, symmetric.split()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::seal::agreement_public;
    use snow::{Builder, HandshakeState};

    const PROLOGUE: &[u8] = b"what both have said in clear";
    const PAYLOAD: &[u8] = b"chosen";

    fn secret(seed: u8) -> StaticSecret {
        StaticSecret::from([seed; 32])
    }

    /// The same side of `snow`, with these keys.
    fn oracle(own: u8, peer: u8, ephemeral: u8, psk: u8, initiates: bool) -> HandshakeState {
        let name = String::from_utf8(PROTOCOL.to_vec()).expect("text");
        let (own, ephemeral) = ([own; 32], [ephemeral; 32]);
        let (peer, psk) = (agreement_public(&secret(peer)).0, [psk; 32]);
        let builder = Builder::new(name.parse().expect("a pattern"));
        let builder = builder.local_private_key(&own).expect("a key").remote_public_key(&peer).expect("a key");
        let builder = builder.prologue(PROLOGUE).expect("a prologue").psk(0, &psk).expect("a key");
        let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
        let built = if initiates { builder.build_initiator() } else { builder.build_responder() };
        built.expect("all keys are there")
    }

    fn with<T>(own: u8, peer: u8, psk: u8, f: impl FnOnce(&Before<'_>) -> T) -> T {
        let (own, peer, psk) = (secret(own), agreement_public(&secret(peer)), Secret::new([psk; 32]));
        f(&Before { prologue: PROLOGUE, psk: &psk, own: &own, peer: &peer })
    }

    fn open() -> (Opened, [u8; OVERHEAD]) {
        with(1, 2, 7, |before| Opened::new(before, secret(3))).expect("sound keys")
    }

    fn split_of(mut state: HandshakeState) -> ([u8; 32], [u8; 32]) {
        state.dangerously_get_raw_split()
    }

    #[test]
    fn the_initiator_says_what_the_oracle_says_and_ends_with_its_keys() {
        let (opened, message) = open();
        let mut expected = [0; 128];
        let mut same = oracle(1, 2, 3, 7, true);
        let length = same.write_message(&[], &mut expected).expect("it writes");
        assert_eq!(&message[..], &expected[..length]);

        let (mut responder, mut out) = (oracle(2, 1, 4, 7, false), [0; 128]);
        assert_eq!(responder.read_message(&message, &mut out), Ok(0));
        let length = responder.write_message(PAYLOAD, &mut expected).expect("it writes");
        let answer = &expected[..length];
        let (payload, split) = opened.finish(&secret(1), answer).expect("it finishes");
        assert_eq!((payload.as_slice(), (*split.forth, *split.back)), (PAYLOAD, split_of(responder)));
    }

    #[test]
    fn the_responder_answers_what_the_oracle_answers_and_ends_with_its_keys() {
        let mut initiator = oracle(1, 2, 3, 7, true);
        let (mut message, mut out) = ([0; OVERHEAD], [0; 128]);
        assert_eq!(initiator.write_message(&[], &mut message), Ok(OVERHEAD));
        let accepted = with(2, 1, 7, |before| Accepted::new(before, &message)).expect("it is accepted");
        let early = accepted.early();
        let (answer, split) = accepted.answer(&secret(4), PAYLOAD).expect("sound keys");

        let (mut same, mut expected) = (oracle(2, 1, 4, 7, false), [0; 128]);
        assert_eq!(same.read_message(&message, &mut out), Ok(0));
        let length = same.write_message(PAYLOAD, &mut expected).expect("it writes");
        assert_eq!(answer, &expected[..length]);
        assert_eq!(initiator.read_message(&answer, &mut out), Ok(PAYLOAD.len()));
        assert_eq!((*split.forth, *split.back), split_of(initiator));

        let (opened, _) = open();
        assert_eq!(*opened.early(), *early, "both ends have the same early key");
        assert!([*split.forth, *split.back].iter().all(|key| *key != *early));
    }

    /// A changed message or key is refused by either side, and by the oracle's.
    /// Invariant 1.
    #[test]
    fn another_key_on_either_side_and_any_change_ends_it() {
        let (opened, message) = open();
        for (own, peer, psk) in [(2, 1, 8), (2, 9, 7), (9, 1, 7)] {
            let refused = with(own, peer, psk, |before| Accepted::new(before, &message).map(drop));
            assert_eq!(refused, Err(SealError::Opening), "own {own}, peer {peer}, psk {psk}");
            assert!(oracle(own, peer, 4, psk, false).read_message(&message, &mut [0; 128]).is_err());
        }
        for at in 0..OVERHEAD {
            let mut changed = message;
            changed[at] ^= 1;
            assert!(with(2, 1, 7, |before| Accepted::new(before, &changed).map(drop)).is_err(), "byte {at}");
        }
        let accepted = with(2, 1, 7, |before| Accepted::new(before, &message)).expect("it is accepted");
        let (answer, split) = accepted.answer(&secret(4), PAYLOAD).expect("sound keys");
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            assert!(opened.finish(&secret(1), &changed).is_err(), "byte {at}");
        }
        assert!(opened.finish(&secret(9), &answer).is_err(), "with another static key");
        assert_eq!(opened.finish(&secret(1), &answer[..OVERHEAD - 1]).map(drop), Err(SealError::Short));
        // None of these attempts has kept the true answer from being taken.
        let (_, same) = opened.finish(&secret(1), &answer).expect("it finishes");
        assert_eq!((*same.forth, *same.back), (*split.forth, *split.back));
    }

    /// Invariant 2.
    #[test]
    fn a_key_of_small_order_is_refused() {
        let zero = AgreementKey([0; 32]);
        let (own, psk) = (secret(1), Secret::new([7; 32]));
        let before = Before { prologue: PROLOGUE, psk: &psk, own: &own, peer: &zero };
        assert_eq!(Opened::new(&before, secret(3)).map(drop), Err(SealError::WeakKey));
        assert_eq!(open().0.finish(&own, &[0; OVERHEAD]).map(drop), Err(SealError::WeakKey));
    }
}
