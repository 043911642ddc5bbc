//! Noise XX: the handshake of serial lines, `Noise_XX_25519_ChaChaPoly_SHA256` of the Noise Protocol Framework,
//! revision 34.
//!
//! ```text
//!   → e                   with a payload in clear
//!   ← e, ee, s, es        with a payload, sealed to whoever has sent the first message
//!   → s, se               with a payload, sealed to whoever has sent the second message
//! ```
//!
//! Both static keys are made for one handshake and name nobody. Who an end is, it says in its payload by a signature
//! over the *transcript*: the hash of everything before that payload, the sender's static key included. Each transcript
//! depends on fresh keys of either end, so that a signature is good in one handshake only. What the payloads hold is
//! the business of [`crate::link::serial`].
//!
//! After the handshake each direction has a key, under which [`Sealer`] seals and [`Opener`] opens Noise's transport
//! messages with explicit counters. Tests run each side against the other side of `snow`.
//!
//! Invariants
//! 1. A refused message changes nothing: the true one can still be taken.
//! 2. An agreement that yields zeros is refused.
//! 3. A counter seals once, and opens at most once; counters that open only increase.

use super::symmetric::{Split, Symmetric};
use crate::id::AgreementKey;
use crate::identity::kdf::Secret;
use crate::identity::seal::{self, Cipher, SealError, TAG};
use x25519_dalek::StaticSecret;

/// The name of the protocol, which is part of every hash.
const PROTOCOL: &[u8] = b"Noise_XX_25519_ChaChaPoly_SHA256";

/// The hash of all that was said before a payload.
pub type Transcript = [u8; 32];

/// An initiator that has sent the first message.
pub struct Initiator {
    symmetric: Symmetric,
    ephemeral: StaticSecret,
}

/// An initiator that has taken the answer.
pub struct Heard {
    symmetric: Symmetric,
    /// The responder's ephemeral key.
    e: AgreementKey,
    /// What the answer's payload is signed over.
    pub transcript: Transcript,
}

impl Initiator {
    /// Makes the first message around a payload that anybody can read.
    pub fn new(prologue: &[u8], ephemeral: StaticSecret, payload: &[u8]) -> (Self, Vec<u8>) {
        let mut symmetric = Symmetric::new(PROTOCOL, &[prologue]);
        let mut message = seal::agreement_public(&ephemeral).0.to_vec();
        symmetric.mix_hash(&message);
        symmetric.mix_hash(payload);
        message.extend_from_slice(payload);
        (Self { symmetric, ephemeral }, message)
    }

    /// Takes the answer. Returns its payload.
    ///
    /// # Errors
    /// Fails if it is no answer to the first message.
    pub fn hear(&self, answer: &[u8]) -> Result<(Vec<u8>, Heard), SealError> {
        let mut symmetric = self.symmetric.clone();
        let (e, rest) = key(answer)?;
        symmetric.mix_hash(&e.0);
        symmetric.mix_key(seal::agree(&self.ephemeral, &e)?.as_slice());
        let (sealed, rest) = rest.split_at_checked(32 + TAG).ok_or(SealError::Short)?;
        let s = key(&symmetric.decrypt(sealed)?)?.0;
        symmetric.mix_key(seal::agree(&self.ephemeral, &s)?.as_slice());
        let transcript = symmetric.hash;
        let payload = symmetric.decrypt(rest)?;
        Ok((payload, Heard { symmetric, e, transcript }))
    }
}

impl Heard {
    /// Makes the last message, around the payload that is made of its transcript. Returns it with the keys.
    ///
    /// # Errors
    /// Fails if the responder's key is weak.
    pub fn finish(
        self,
        own: &StaticSecret,
        payload: impl FnOnce(&Transcript) -> Vec<u8>,
    ) -> Result<(Vec<u8>, Split), SealError> {
        let Self { mut symmetric, e, .. } = self;
        let mut message = Vec::new();
        symmetric.encrypt(&seal::agreement_public(own).0, &mut message);
        symmetric.mix_key(seal::agree(own, &e)?.as_slice());
        let payload = payload(&symmetric.hash);
        symmetric.encrypt(&payload, &mut message);
        Ok((message, symmetric.split()))
    }
}

/// A responder that has taken the first message.
pub struct Responder {
    symmetric: Symmetric,
    e: AgreementKey,
}

/// A responder that has answered.
pub struct Answered {
    symmetric: Symmetric,
    ephemeral: StaticSecret,
}

/// What the last message says.
pub struct Last {
    /// Its payload.
    pub payload: Vec<u8>,
    /// What the payload is signed over.
    pub transcript: Transcript,
    /// The keys of what follows.
    pub split: Split,
}

impl Responder {
    /// Takes the first message. Returns its payload, which anybody may have written.
    ///
    /// # Errors
    /// Fails if it is too short for a key.
    pub fn new<'a>(prologue: &[u8], message: &'a [u8]) -> Result<(&'a [u8], Self), SealError> {
        let mut symmetric = Symmetric::new(PROTOCOL, &[prologue]);
        let (e, payload) = key(message)?;
        symmetric.mix_hash(&e.0);
        symmetric.mix_hash(payload);
        Ok((payload, Self { symmetric, e }))
    }

    /// Makes the answer, around the payload that is made of its transcript.
    ///
    /// # Errors
    /// Fails if the initiator's key is weak.
    pub fn answer(
        self,
        own: &StaticSecret,
        ephemeral: StaticSecret,
        payload: impl FnOnce(&Transcript) -> Vec<u8>,
    ) -> Result<(Vec<u8>, Answered), SealError> {
        let Self { mut symmetric, e } = self;
        let mut message = seal::agreement_public(&ephemeral).0.to_vec();
        symmetric.mix_hash(&message);
        symmetric.mix_key(seal::agree(&ephemeral, &e)?.as_slice());
        symmetric.encrypt(&seal::agreement_public(own).0, &mut message);
        symmetric.mix_key(seal::agree(own, &e)?.as_slice());
        let payload = payload(&symmetric.hash);
        symmetric.encrypt(&payload, &mut message);
        Ok((message, Answered { symmetric, ephemeral }))
    }
}

impl Answered {
    /// Takes the last message.
    ///
    /// # Errors
    /// Fails if it does not follow the answer.
    pub fn finish(&self, message: &[u8]) -> Result<Last, SealError> {
        let mut symmetric = self.symmetric.clone();
        let (sealed, rest) = message.split_at_checked(32 + TAG).ok_or(SealError::Short)?;
        let s = key(&symmetric.decrypt(sealed)?)?.0;
        symmetric.mix_key(seal::agree(&self.ephemeral, &s)?.as_slice());
        let transcript = symmetric.hash;
        let payload = symmetric.decrypt(rest)?;
        Ok(Last { payload, transcript, split: symmetric.split() })
    }
}

fn key(bytes: &[u8]) -> Result<(AgreementKey, &[u8]), SealError> {
    let (key, rest) = bytes.split_first_chunk::<32>().ok_or(SealError::Short)?;
    Ok((AgreementKey(*key), rest))
}

/// Seals what one end sends after the handshake.
pub struct Sealer {
    cipher: Cipher,
    next: u32,
}

impl Sealer {
    /// Seals under one of the two keys of a handshake.
    pub fn new(key: &Secret) -> Self {
        Self { cipher: seal::cipher(key), next: 0 }
    }

    /// The counter of the next message; `None` once every counter has been used.
    pub fn next(&self) -> Option<u32> {
        (self.next < u32::MAX).then_some(self.next)
    }

    /// Seals what follows `from` in a buffer under the next counter, and appends the tag. Returns whether there was a
    /// counter left; otherwise the buffer is as it was.
    pub fn seal(&mut self, buffer: &mut Vec<u8>, from: usize) -> bool {
        let Some(counter) = self.next() else { return false };
        self.next += 1;
        let tag = seal::encrypt_noise(&self.cipher, counter.into(), &[], &mut buffer[from..]);
        buffer.extend_from_slice(&tag);
        true
    }
}

/// Opens what the other end sends after the handshake, in the order of the counters.
pub struct Opener {
    cipher: Cipher,
    /// The lowest counter that may still open.
    least: u32,
}

impl Opener {
    /// Opens under one of the two keys of a handshake.
    pub fn new(key: &Secret) -> Self {
        Self { cipher: seal::cipher(key), least: 0 }
    }

    /// Opens a message with its counter; `None` if it was not sealed with that counter, or one like it or after it has
    /// been opened.
    pub fn open(&mut self, counter: u32, sealed: &[u8]) -> Option<Vec<u8>> {
        if counter < self.least || counter == u32::MAX {
            return None;
        }
        let (ciphertext, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut plain = ciphertext.to_vec();
        if !seal::decrypt_noise(&self.cipher, counter.into(), &[], &mut plain, tag) {
            return None;
        }
        self.least = counter + 1;
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::seal::agreement_public;
    use snow::{Builder, HandshakeState};

    const PROLOGUE: &[u8] = b"what both have said in clear";

    fn secret(seed: u8) -> StaticSecret {
        StaticSecret::from([seed; 32])
    }

    /// One side of `snow`, with these keys.
    fn oracle(own: u8, ephemeral: u8, initiates: bool) -> HandshakeState {
        let name = String::from_utf8(PROTOCOL.to_vec()).expect("text");
        let (own, ephemeral) = ([own; 32], [ephemeral; 32]);
        let builder = Builder::new(name.parse().expect("a pattern")).local_private_key(&own).expect("a key");
        let builder = builder.prologue(PROLOGUE).expect("a prologue");
        let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
        let built = if initiates { builder.build_initiator() } else { builder.build_responder() };
        built.expect("all keys are there")
    }

    fn said(state: &mut HandshakeState, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 1_024];
        let length = state.write_message(payload, &mut out).expect("it writes");
        out.truncate(length);
        out
    }

    fn heard(state: &mut HandshakeState, message: &[u8]) -> Vec<u8> {
        let mut out = vec![0; 1_024];
        let length = state.read_message(message, &mut out).expect("it reads");
        out.truncate(length);
        out
    }

    #[test]
    fn our_initiator_and_the_oracles_responder_end_with_the_same_keys() {
        let mut other = oracle(2, 4, false);
        let (initiator, first) = Initiator::new(PROLOGUE, secret(3), b"in clear");
        assert_eq!(heard(&mut other, &first), b"in clear");
        let answer = said(&mut other, b"who I am");
        let (payload, taken) = initiator.hear(&answer).expect("it opens");
        assert_eq!(payload, b"who I am");
        let (last, split) = taken.finish(&secret(1), |_| b"and I".to_vec()).expect("sound keys");
        assert_eq!(heard(&mut other, &last), b"and I");
        assert_eq!(other.get_remote_static(), Some(&agreement_public(&secret(1)).0[..]));
        let transport = other.into_stateless_transport_mode().expect("it has ended");
        let (mut sealer, mut opener) = (Sealer::new(&split.forth), Opener::new(&split.back));
        for counter in 0..300_u32 {
            let mut sealed = b"head:body".to_vec();
            assert!(sealer.seal(&mut sealed, 5));
            let mut plain = [0; 64];
            let length = transport.read_message(counter.into(), &sealed[5..], &mut plain).expect("it opens");
            assert_eq!(&plain[..length], b"body");
            let length = transport.write_message(counter.into(), b"answer", &mut plain).expect("it seals");
            assert_eq!(opener.open(counter, &plain[..length]).as_deref(), Some(&b"answer"[..]));
        }
    }

    #[test]
    fn the_oracles_initiator_and_our_responder_end_with_the_same_keys() {
        let mut other = oracle(1, 3, true);
        let first = said(&mut other, b"in clear");
        let (payload, responder) = Responder::new(PROLOGUE, &first).expect("a key");
        assert_eq!(payload, b"in clear");
        let (answer, answered) = responder.answer(&secret(2), secret(4), |_| b"who I am".to_vec()).expect("sound");
        assert_eq!(heard(&mut other, &answer), b"who I am");
        let last = answered.finish(&said(&mut other, b"and I")).expect("it opens");
        assert_eq!(last.payload, b"and I");
        assert_eq!(other.get_handshake_hash().len(), 32);
        let transport = other.into_stateless_transport_mode().expect("it has ended");
        let (mut plain, mut sealed) = ([0; 64], b"text".to_vec());
        assert!(Sealer::new(&last.split.back).seal(&mut sealed, 0));
        let length = transport.read_message(0, &sealed, &mut plain).expect("it opens");
        assert_eq!(&plain[..length], b"text");
        let length = transport.write_message(0, b"back", &mut plain).expect("it seals");
        assert_eq!(Opener::new(&last.split.forth).open(0, &plain[..length]).as_deref(), Some(&b"back"[..]));
    }

    /// Invariant 1.
    #[test]
    fn a_message_with_a_changed_bit_is_refused_and_the_true_one_taken_after_it() {
        let (initiator, first) = Initiator::new(PROLOGUE, secret(3), b"clear");
        let (_, responder) = Responder::new(PROLOGUE, &first).expect("a key");
        let (answer, answered) = responder.answer(&secret(2), secret(4), |h| h.to_vec()).expect("sound keys");
        for at in 0..answer.len() {
            let mut changed = answer.clone();
            changed[at] ^= 1;
            assert!(initiator.hear(&changed).is_err(), "byte {at}");
        }
        let (payload, taken) = initiator.hear(&answer).expect("it opens");
        assert_eq!(payload, taken.transcript, "both sign over the same");
        let (last, split) = taken.finish(&secret(1), |h| h.to_vec()).expect("sound keys");
        for at in 0..last.len() {
            let mut changed = last.clone();
            changed[at] ^= 1;
            assert!(answered.finish(&changed).is_err(), "byte {at}");
        }
        let taken = answered.finish(&last).expect("it opens");
        assert_eq!(taken.payload, taken.transcript);
        assert_eq!((*split.forth, *split.back), (*taken.split.forth, *taken.split.back));
        // A first message with another payload, or another key, is another handshake.
        for at in [0, 33] {
            let mut changed = first.clone();
            changed[at] ^= 1;
            let (_, responder) = Responder::new(PROLOGUE, &changed).expect("a key");
            let (answer, _) = responder.answer(&secret(2), secret(4), |_| Vec::new()).expect("sound keys");
            assert!(initiator.hear(&answer).is_err());
        }
    }

    /// Invariant 2.
    #[test]
    fn a_key_of_small_order_is_refused() {
        let (_, responder) = Responder::new(PROLOGUE, &[0; 32]).expect("a key");
        let answer = responder.answer(&secret(2), secret(4), |_| Vec::new());
        assert_eq!(answer.map(drop), Err(SealError::WeakKey));
        let (initiator, _) = Initiator::new(PROLOGUE, secret(3), b"");
        assert_eq!(initiator.hear(&[0; 200]).map(drop), Err(SealError::WeakKey));
    }

    /// Invariant 3.
    #[test]
    fn a_counter_opens_once_and_none_before_it_later() {
        let key = Secret::new([7; 32]);
        let (mut sealer, mut opener) = (Sealer::new(&key), Opener::new(&key));
        let sealed: Vec<Vec<u8>> = (0..4)
            .map(|text| {
                let mut buffer = vec![text];
                assert!(sealer.seal(&mut buffer, 0));
                buffer
            })
            .collect();
        assert_eq!(opener.open(1, &sealed[0]), None, "another counter");
        assert_eq!(opener.open(1, &sealed[1]), Some(vec![1]));
        assert_eq!(opener.open(1, &sealed[1]), None, "once more");
        assert_eq!(opener.open(0, &sealed[0]), None, "an earlier one");
        assert_eq!(opener.open(3, &sealed[3]), Some(vec![3]));
        let mut last = Sealer { cipher: seal::cipher(&key), next: u32::MAX };
        assert!(!last.seal(&mut vec![1], 0), "no counter is left");
    }
}
