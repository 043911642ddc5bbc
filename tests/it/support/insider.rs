//! What an insider sends, drawn from a seed: noise, frames seen before, frames with parts changed, and frames that are
//! well formed, signed by the insider's own key, and mean harm.

use ed25519_dalek::SigningKey;
use m2mesh::id::CredentialHash;
use m2mesh::identity::sign::sign_document;
use m2mesh::wire::data::{MAX_PATH, prefixed, put_prefixed};
use m2mesh::wire::frame::{Frames, HEADER, Kind, MAX_FRAME};
use m2mesh::wire::{self, Signed, group, lsa, receipt};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_cbor::Value;
use std::collections::BTreeMap;

/// Frames of a kind that are remembered to be sent again or changed.
const REMEMBERED: usize = 64;

/// The generator.
pub struct Hostile {
    rng: ChaCha20Rng,
    seen: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Hostile {
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha20Rng::seed_from_u64(seed), seen: BTreeMap::new() }
    }

    /// Remembers bodies of frames.
    pub fn learn(&mut self, sent: Vec<Vec<u8>>) {
        for buffer in sent {
            let frame = Frames(&buffer).next().and_then(Result::ok);
            let whole = frame.filter(|frame| frame.body.len() + HEADER == buffer.len());
            let (kind, body) = whole.map_or((Kind::Group as u8, buffer.as_slice()), |frame| (frame.kind, frame.body));
            let known = self.seen.entry(kind).or_default();
            if known.len() < REMEMBERED {
                known.push(body.to_vec());
            } else {
                let at = self.rng.next_u32() as usize % REMEMBERED;
                known[at] = body.to_vec();
            }
        }
    }

    /// The next frame, whole and well framed, for a stream.
    pub fn framed(&mut self, key: &SigningKey, unix: u64) -> Vec<u8> {
        let (kind, body) = self.frame(key, unix);
        let flags = if self.below(8) == 0 { self.rng.next_u32() as u8 } else { self.below(2) as u8 };
        let mut frame = u32::try_from(body.len() + 2).unwrap_or(0).to_be_bytes().to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&body);
        frame
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.rng.next_u32() as usize % bound.max(1)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }

    pub fn frame(&mut self, key: &SigningKey, unix: u64) -> (u8, Vec<u8>) {
        let kind = match self.below(20) {
            0 => self.rng.next_u32() as u8,
            at => Kind::ALL[(at + self.below(Kind::ALL.len())) % Kind::ALL.len()] as u8,
        };
        let Some(count) = self.seen.get(&kind).map(Vec::len) else {
            if kind == Kind::Data as u8 {
                return (kind, self.made_up(unix));
            }
            return (kind, self.sample(kind).map_or_else(|| self.noise(), |value| wire::encode(&value)));
        };
        let at = self.below(count);
        let body = self.seen[&kind][at].clone();
        let body = match self.below(8) {
            0 => self.noise(),
            1 => body,
            2 | 3 => self.damaged(body),
            _ if kind == Kind::Data as u8 => self.data(&body, unix),
            _ => self.changed(kind, key, &body).unwrap_or(body),
        };
        (kind, body)
    }

    /// A frame of a kind that it has never seen sent.
    fn sample(&mut self, kind: u8) -> Option<Value> {
        let hash = CredentialHash::LEN;
        let bytes = |this: &mut Self, length| Value::Bytes(this.bytes(length));
        let number = |this: &mut Self, bound| Value::Integer(this.below(bound) as i128);
        let many = |this: &mut Self, length| {
            let count = this.below(2_100);
            Value::Array((0..count).map(|_| Value::Bytes(this.bytes(length))).collect())
        };
        let fields = match Kind::from_u8(kind)? {
            Kind::BulletinRequest => vec![number(self, 3)],
            Kind::CredentialRequest => vec![bytes(self, hash)],
            Kind::EnrolRelay => vec![bytes(self, 16), number(self, 18), bytes(self, 8), bytes(self, 200)],
            Kind::EnrolAnswer => vec![bytes(self, 16), number(self, 14), number(self, 14), bytes(self, 200)],
            Kind::Fragment => vec![number(self, 9), number(self, 3), number(self, 4), bytes(self, 900)],
            Kind::HopAck => vec![many(self, 16)],
            Kind::Locate => vec![bytes(self, 16), bytes(self, 16), number(self, 5)],
            Kind::LsaRequest => vec![many(self, hash)],
            Kind::TimeRequest => vec![bytes(self, 16)],
            _ => return None,
        };
        Some(Value::Map((0..).map(Value::Integer).zip(fields).collect()))
    }

    /// Bytes that mean nothing, or CBOR that means something else.
    fn noise(&mut self) -> Vec<u8> {
        match self.below(3) {
            0 => {
                let length = if self.below(20) == 0 { MAX_FRAME - 2 } else { self.below(300) };
                self.bytes(length)
            }
            1 => vec![0x9f; self.below(2_000)],
            _ => {
                let value = self.value(4);
                wire::encode(&value)
            }
        }
    }

    fn damaged(&mut self, mut body: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.below(4) {
            match self.below(4) {
                0 => body.truncate(self.below(body.len())),
                1 => {
                    let more = self.below(40);
                    let more = self.bytes(more);
                    body.extend(more);
                }
                _ if !body.is_empty() => {
                    let at = self.below(body.len());
                    body[at] ^= 1 << self.below(8);
                }
                _ => {}
            }
        }
        body
    }

    /// The same document with some of its values changed, signed anew where it is signed.
    fn changed(&mut self, kind: u8, key: &SigningKey, body: &[u8]) -> Option<Vec<u8>> {
        let context = match Kind::from_u8(kind)? {
            Kind::Lsa => Some(lsa::CONTEXT),
            Kind::Group => Some(group::CONTEXT),
            Kind::SessionNack => Some(receipt::NACK_CONTEXT),
            _ => None,
        };
        let plain = match context {
            Some(_) => wire::decode::<Signed<'_>>(body).ok()?.body.to_vec(),
            None => body.to_vec(),
        };
        let mut value: Value = serde_cbor::from_slice(&plain).ok()?;
        for _ in 0..=self.below(3) {
            self.change(&mut value);
        }
        let plain = wire::encode(&value);
        Some(context.map_or(plain.clone(), |context| sign_document(key, context, &plain)))
    }

    /// A data frame whose header, path or sealed part is another, with paths as long as may be.
    fn data(&mut self, body: &[u8], unix: u64) -> Vec<u8> {
        let Ok((header, rest)) = prefixed(body, usize::MAX) else { return self.noise() };
        let Ok((path, sealed)) = prefixed(rest, usize::MAX) else { return self.noise() };
        let (mut header, mut path, mut sealed) = (header.to_vec(), path.to_vec(), sealed.to_vec());
        let turn = |this: &mut Self, part: &mut Vec<u8>| {
            if let Ok(mut value) = serde_cbor::from_slice::<Value>(part) {
                this.change(&mut value);
                *part = wire::encode(&value);
            }
        };
        match self.below(6) {
            0 => turn(self, &mut header),
            1 => turn(self, &mut path),
            2 => path = self.long_path(unix),
            3 => {
                // A session of its own making, and whatever is in it.
                let length = if self.below(10) == 0 { MAX_FRAME - 2_000 } else { 100 };
                sealed = self.bytes(length);
            }
            4 => sealed = self.damaged(sealed),
            _ => {
                turn(self, &mut header);
                path = self.long_path(unix);
            }
        }
        let mut out = Vec::new();
        put_prefixed(&mut out, &header);
        put_prefixed(&mut out, &path);
        out.extend_from_slice(&sealed);
        out
    }

    /// A data frame for nobody, in a session that nobody knows, as large as may be.
    fn made_up(&mut self, unix: u64) -> Vec<u8> {
        let policy = Value::Map([(Value::Integer(0), Value::Bytes(self.bytes(4)))].into());
        let parts = [
            Value::Bytes(self.bytes(16)),
            Value::Integer(self.below(4) as i128),
            Value::Integer(self.below(3) as i128),
            Value::Integer(i128::from(unix) + 30_000_000),
            Value::Bytes(self.bytes(16)),
            policy,
        ];
        let header = Value::Map((0..).map(Value::Integer).zip(parts).collect());
        let mut out = Vec::new();
        put_prefixed(&mut out, &wire::encode(&header));
        put_prefixed(&mut out, &self.long_path(unix));
        let length = MAX_FRAME - 2 - out.len();
        out.extend(self.bytes(length));
        out
    }

    /// Thirty hops that nobody knows, and as many that have had it: as long as a path may be, or longer.
    fn long_path(&mut self, unix: u64) -> Vec<u8> {
        let hops = |this: &mut Self| {
            let count = this.below(40);
            Value::Array((0..count).map(|_| Value::Bytes(this.bytes(CredentialHash::LEN))).collect())
        };
        let (there, back) = (hops(self), hops(self));
        let parts =
            [there, Value::Integer(self.below(40) as i128), back, Value::Integer(0), Value::Integer(unix.into())];
        let path = Value::Map((0..).map(Value::Integer).zip(parts).collect());
        let mut path = wire::encode(&path);
        path.truncate(MAX_PATH);
        path
    }

    fn change(&mut self, value: &mut Value) {
        match value {
            Value::Map(map) if !map.is_empty() && self.below(8) > 0 => {
                let at = self.below(map.len());
                if let Some(inner) = map.values_mut().nth(at) {
                    self.change(inner);
                }
            }
            Value::Array(array) => match self.below(4) {
                0 => {
                    let (count, item) = (self.below(600), array.first().cloned().unwrap_or(Value::Integer(0)));
                    *array = vec![item; count];
                }
                1 => array.clear(),
                _ if !array.is_empty() => {
                    let at = self.below(array.len());
                    self.change(&mut array[at]);
                }
                _ => {}
            },
            Value::Bytes(bytes) => {
                let length = if self.below(3) == 0 { self.below(700) } else { bytes.len() };
                *bytes = self.bytes(length);
            }
            Value::Integer(number) => {
                let other = [
                    0,
                    1,
                    255,
                    65_535,
                    i128::from(u32::MAX),
                    1 << 63,
                    i128::from(u64::MAX),
                    -1,
                    (*number + 1).min(u64::MAX.into()),
                ];
                *number = other[self.below(other.len())];
            }
            other => *other = self.value(2),
        }
    }

    fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 4 } else { 6 }) {
            0 => Value::Integer(self.rng.next_u64().into()),
            1 => Value::Bool(true),
            2 => Value::Text("x".repeat(self.below(90))),
            3 => {
                let length = self.below(64);
                Value::Bytes(self.bytes(length))
            }
            4 => Value::Array((0..self.below(20)).map(|_| self.value(depth - 1)).collect()),
            _ => {
                Value::Map((0..self.below(8) as i128).map(|key| (Value::Integer(key), self.value(depth - 1))).collect())
            }
        }
    }
}
