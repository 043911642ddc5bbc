//! Handshake: admission over a line, a Noise XX handshake (`identity::noise::xx`) with a proof of each end in its payloads.
//!
//! ```text
//! initiator                                              responder
//!    │ ── e | version, number, mtu, clock in clear ────────▶ │
//!    │ ◀── e, ee, s, es | number, mtu, key, signature, hello │
//!    │ verifies, or is silent                                │
//!    │ ── s, se | key, signature, hello ────────────────────▶ │ verifies, or closes
//!    │ ◀───────────────────────── the first sealed packet ── │ admitted
//!    ▼ admitted                                              ▼
//! ```
//!
//! The signature is one of the pseudonym `key` over the transcript before the payload and the rest of the payload, under
//! a context for each role. It proves that the pseudonym's owner takes part in this very handshake, in this role, with
//! these numbers and this hello; a transcript depends on fresh keys of both ends, so that it proves it once. The hello is
//! that of a connection over IP ([`Hello`](crate::wire::hello::Hello)), and so are the checks. The clock in the first
//! message lets a responder that does not know the time answer with its credential for that time.
//!
//! The responder shows its credential to whoever has opened the line, the initiator only to an admitted member: one of
//! two that do not know each other has to begin.
//!
//! Invariants
//! 1. A message that does not open, or whose signature does not hold, changes nothing.
//! - A handshake is made of three messages of at most [`MAX_PIECES`] pieces each; incomplete ones are replaced by newer.

use super::Guard;
use super::framing;
use super::packet::{MAX_PIECES, PIECE_HEAD, Piece};
use super::{MAX_MTU, MIN_MTU};
use crate::id::{Pseudonym, Signature};
use crate::identity::noise::xx::{Answered, Initiator, Opener, Responder, Sealer, Transcript};
use crate::identity::{seal, sign};
use crate::time::Time;
use rand_chacha::ChaCha20Rng;

/// What both ends know before the first message.
const PROLOGUE: &[u8] = b"m2mesh/1 serial";
/// The context of the responder's signature.
pub const RESPONDER: &str = "m2mesh/1 serial responder";
/// The context of the initiator's signature.
pub const INITIATOR: &str = "m2mesh/1 serial initiator";
/// The version of what a line carries.
const VERSION: u8 = 1;

/// The numbers and the limit of one end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The end's number of the session.
    pub number: u32,
    /// The longest line frame that it sends.
    pub mtu: u16,
}

/// An initiator that waits for the answer.
pub struct Opening {
    /// The own terms.
    pub own: Terms,
    /// When the first message was made.
    pub began: Time,
    initiator: Initiator,
    /// The first message.
    pub message: Vec<u8>,
}

/// A responder that waits for the last message.
pub struct Answering {
    /// The own terms.
    pub own: Terms,
    /// The initiator's terms.
    pub theirs: Terms,
    /// When the answer was made.
    pub began: Time,
    /// When anything of this handshake came last.
    pub touched: Time,
    answered: Answered,
    /// The answer.
    pub message: Vec<u8>,
}

/// A neighbour that was admitted, and the keys of the session with it.
pub struct Made<P> {
    /// Its terms.
    pub theirs: Terms,
    /// Its pseudonym.
    pub peer: Pseudonym,
    /// What is known of it.
    pub found: P,
    /// Seals what this end sends.
    pub sealer: Sealer,
    /// Opens what the other end sends.
    pub opener: Opener,
}

/// Why a message has no effect.
pub enum Unmade {
    /// It is not of this handshake, or was changed on its way.
    Stray,
    /// Its sender is not let in, for this reason, and may be told so under that key.
    Refused(&'static str, Option<Sealer>),
}

impl Opening {
    /// Makes the first message.
    pub fn new<G: Guard>(guard: &G, own: Terms, rng: &mut ChaCha20Rng, now: Time) -> Self {
        let mut payload = vec![VERSION];
        own.encode(&mut payload);
        payload.extend_from_slice(&guard.seconds().to_be_bytes());
        let (initiator, message) = Initiator::new(PROLOGUE, seal::new_secret(rng), &payload);
        Self { own, began: now, initiator, message }
    }

    /// Takes the answer. Returns the last message besides.
    ///
    /// # Errors
    /// Fails if it is no answer, or if the responder is refused.
    pub fn hear<G: Guard>(
        &self,
        guard: &G,
        from: u32,
        answer: &[u8],
        rng: &mut ChaCha20Rng,
    ) -> Result<(Made<G::Peer>, Vec<u8>), Unmade> {
        let (payload, heard) = self.initiator.hear(answer).map_err(|_| Unmade::Stray)?;
        let (theirs, proof) =
            Terms::decode(&payload).filter(|(theirs, _)| theirs.number == from).ok_or(Unmade::Stray)?;
        let said = theirs.encoded();
        let (peer, hello) = proved(RESPONDER, &heard.transcript, &said, proof)?;
        let found = guard.verify(hello, &peer).map_err(|code| Unmade::Refused(code, None))?;
        let finished = heard.finish(&seal::new_secret(rng), |transcript| {
            prove(guard, INITIATOR, transcript, Vec::new(), &guard.answer(hello))
        });
        let (last, split) = finished.map_err(|_| Unmade::Stray)?;
        let (sealer, opener) = (Sealer::new(&split.forth), Opener::new(&split.back));
        Ok((Made { theirs, peer, found, sealer, opener }, last))
    }
}

impl Answering {
    /// Takes a first message and makes the answer; `None` if it is none.
    pub fn new<G: Guard>(
        guard: &G,
        own: Terms,
        from: u32,
        first: &[u8],
        rng: &mut ChaCha20Rng,
        now: Time,
    ) -> Option<Self> {
        let (payload, responder) = Responder::new(PROLOGUE, first).ok()?;
        let (_, payload) = payload.split_first().filter(|(version, _)| **version == VERSION)?;
        let (theirs, rest) = Terms::decode(payload).filter(|(theirs, _)| theirs.number == from)?;
        let seconds = u64::from_be_bytes(rest.try_into().ok()?);
        let answer = responder.answer(&seal::new_secret(rng), seal::new_secret(rng), |transcript| {
            prove(guard, RESPONDER, transcript, own.encoded(), &guard.hello(seconds))
        });
        let (message, answered) = answer.ok()?;
        Some(Self { own, theirs, began: now, touched: now, answered, message })
    }

    /// Takes the last message.
    ///
    /// # Errors
    /// Fails if it does not follow the answer, or if the initiator is refused.
    pub fn finish<G: Guard>(&self, guard: &G, last: &[u8]) -> Result<Made<G::Peer>, Unmade> {
        let last = self.answered.finish(last).map_err(|_| Unmade::Stray)?;
        let (sealer, opener) = (Sealer::new(&last.split.back), Opener::new(&last.split.forth));
        let (peer, hello) = proved(INITIATOR, &last.transcript, &[], &last.payload)?;
        match guard.verify(hello, &peer) {
            Ok(found) => Ok(Made { theirs: self.theirs, peer, found, sealer, opener }),
            Err(code) => Err(Unmade::Refused(code, Some(sealer))),
        }
    }
}

/// Makes a payload: what is said first, then the proof.
fn prove<G: Guard>(guard: &G, role: &str, transcript: &Transcript, mut first: Vec<u8>, hello: &[u8]) -> Vec<u8> {
    let signature = guard.sign(role, &[&transcript[..], &first, hello].concat());
    first.extend_from_slice(&guard.own().0);
    first.extend_from_slice(&signature.0);
    first.extend_from_slice(hello);
    first
}

/// Takes a proof apart: the pseudonym that has signed, and its hello.
fn proved<'a>(
    role: &str,
    transcript: &Transcript,
    first: &[u8],
    proof: &'a [u8],
) -> Result<(Pseudonym, &'a [u8]), Unmade> {
    let apart = proof.split_first_chunk().and_then(|(key, rest)| Some((Pseudonym(*key), rest.split_first_chunk()?)));
    let (key, (signature, hello)) = apart.ok_or(Unmade::Stray)?;
    let said = [&transcript[..], first, hello].concat();
    sign::verify(&key, role, &said, &Signature(*signature)).then_some((key, hello)).ok_or(Unmade::Stray)
}

impl Terms {
    fn encode(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.number.to_be_bytes());
        out.extend_from_slice(&self.mtu.to_be_bytes());
    }

    fn encoded(self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (mtu, rest) = rest.split_first_chunk()?;
        let terms = Self { number: u32::from_be_bytes(*number), mtu: u16::from_be_bytes(*mtu) };
        (MIN_MTU..=MAX_MTU).contains(&terms.mtu.into()).then_some((terms, rest))
    }
}

/// Cuts a message into the bodies of line frames of at most `mtu` bytes.
pub fn cut(from: u32, to: u32, message: u8, bytes: &[u8], mtu: usize) -> Vec<Vec<u8>> {
    let pieces: Vec<&[u8]> = bytes.chunks(mtu - framing::OVERHEAD - PIECE_HEAD).collect();
    let count = u8::try_from(pieces.len()).unwrap_or(u8::MAX);
    (0..).zip(pieces).map(|(index, bytes)| Piece { from, to, message, index, count, bytes }.encode()).collect()
}

/// The pieces of one message that have come.
#[derive(Debug, Default)]
pub struct Collected {
    of: (u32, u32, u8, u8),
    pieces: Vec<Option<Vec<u8>>>,
}

impl Collected {
    /// Takes a piece; those of another message are forgotten. Returns the message once it is whole.
    pub fn push(&mut self, piece: &Piece<'_>) -> Option<Vec<u8>> {
        let of = (piece.from, piece.to, piece.message, piece.count);
        if self.of != of {
            *self = Self { of, pieces: vec![None; usize::from(piece.count).min(MAX_PIECES)] };
        }
        *self.pieces.get_mut(usize::from(piece.index))? = Some(piece.bytes.to_vec());
        if self.pieces.iter().any(Option::is_none) {
            return None;
        }
        Some(core::mem::take(self).pieces.into_iter().flatten().flatten().collect())
    }
}
