//! Pester: what a hostile member asks of its neighbours without end, all of which a member may ask.
//!
//! Its node is not changed. With each frame of its control stream that leaves, so many more go out: requests for
//! credentials, for the bulletin and for link state, questions for devices that nobody knows, comparisons of databases
//! that differ, and link state of its own that is ever newer, signed with its own key. With each data frame that opens a
//! session, as many others go out to the same receiver, which open nothing.

use super::lie::Liar;
use crate::virtual_os::splitmix;
use m2mesh::id::{CredentialHash, Handle, OuterId, Tag};
use m2mesh::identity::session::early_id;
use m2mesh::wire;
use m2mesh::wire::bulletin::BulletinRequest;
use m2mesh::wire::credential_exchange::CredentialRequest;
use m2mesh::wire::data::{DataFrame, Form, MAX_PATH, put_prefixed, split_record};
use m2mesh::wire::frame::{self, HEADER, Kind};
use m2mesh::wire::locate::{Locate, MAX_AREAS};
use m2mesh::wire::lsa::{Lsa, LsaDigest, LsaRequest};
use m2mesh::wire::opener::Opener;

/// Returns bytes that nobody has seen.
fn drawn<const N: usize>(chance: &mut u64) -> [u8; N] {
    std::array::from_fn(|_| splitmix(chance) as u8)
}

impl Liar {
    /// Returns so many control frames that ask for something.
    pub fn pester(&mut self, times: u32, chance: &mut u64) -> Vec<Vec<u8>> {
        (0..times).filter_map(|number| self.request(number, chance)).collect()
    }

    fn request(&mut self, number: u32, chance: &mut u64) -> Option<Vec<u8>> {
        let known: Vec<CredentialHash> = self.heard().copied().collect();
        Some(match number % 6 {
            0 => {
                let hash = known.first().copied().unwrap_or(CredentialHash(drawn(chance)));
                frame::of(Kind::CredentialRequest, &CredentialRequest { hash })
            }
            1 => frame::of(Kind::LsaDigest, &LsaDigest { summary: Tag(drawn(chance)), entries: None }),
            2 => frame::of(Kind::LsaRequest, &LsaRequest { origins: known }),
            3 => {
                let (id, handle, segments) = (OuterId(drawn(chance)), Handle(drawn(chance)), u64::MAX.to_be_bytes());
                frame::of(Kind::Locate, &Locate { id, handle, ttl: MAX_AREAS, segments })
            }
            4 => frame::of(Kind::BulletinRequest, &BulletinRequest { have: 0 }),
            _ => {
                let last = self.own()?;
                let next = Lsa { sequence: last.sequence + 1, ..last.clone() };
                self.say(next)?
            }
        })
    }
}

/// Returns so many data frames that seem to open sessions with the receiver of one that does; none if that does not.
pub(super) fn openers(bytes: &[u8], times: u32, chance: &mut u64) -> Vec<Vec<u8>> {
    let one = || {
        let body = bytes.get(HEADER..).filter(|_| bytes[4] == Kind::Data as u8)?;
        let DataFrame { header, header_bytes, mut path, sealed } = DataFrame::parse(body).ok()?;
        let (encoded, record) = split_record(header.form, sealed).filter(|_| header.form == Form::Opener)?;
        let opener: Opener = wire::decode(encoded).ok()?;
        let message = drawn(chance);
        path.outer = OuterId(drawn(chance));
        let (path, id) = (wire::encode(&path), early_id(&message));
        let rest = record.get(id.0.len()..).filter(|_| path.len() <= MAX_PATH)?;
        let mut body = Vec::new();
        put_prefixed(&mut body, header_bytes);
        put_prefixed(&mut body, &path);
        put_prefixed(&mut body, &wire::encode(&Opener { message, ..opener }));
        body.extend_from_slice(&id.0);
        body.extend_from_slice(rest);
        Some(frame::raw(Kind::Data, &body))
    };
    std::iter::repeat_with(one).take(times as usize).map_while(|frame| frame).collect()
}
