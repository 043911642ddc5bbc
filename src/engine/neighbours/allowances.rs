//! Allowances: how much a neighbour may ask of this device, whatever links it has.
//!
//! **Mechanism.** Each neighbour has a token bucket for each of the following, by its pseudonym, so that neither a second
//! link nor a new one fills it again. What exceeds it is dropped when it comes, the newest first, and counted. An honest
//! neighbour needs a small part of each: the bursts are what it asks for when it comes to an area of 1,024 routers, and
//! what is dropped is asked for again.
//!
//! | what | at once; then one in | counter |
//! |-|-|-|
//! | frames of the control stream | [`FRAMES`] | `frames_too_often` |
//! | credentials asked for | [`CREDENTIALS`] | `credential_requests_too_often` |
//! | bulletins, and pieces of documents, asked for | [`DOCUMENTS`] | `document_requests_too_often` |
//! | databases of link state compared, and greetings, at its demand | [`DIGESTS`] | `lsa_digests_too_often` |
//! | LSAs asked for | [`LSAS`] | `lsas_withheld` |
//! | openings of sessions with this device | [`OPENERS`] | `openers_too_often` |
//! | the same under one credential | [`OPENERS_OF_ONE`] | `openers_too_often` |
//!
//! **Openings of sessions** come from devices behind the neighbour too, and a relay does not know whether they are sound. So
//! the neighbour's allowance bounds the work that they make, and that of each credential, over each neighbour, keeps one
//! member from using it up by sound ones. A recorded opener that another neighbour hands in costs the turns of that
//! neighbour alone.
//!
//! Invariants
//! 1. Of what a neighbour asks at once, over any number of links, no more than the burst is done.
//! - Frames of the data stream have no allowance: the link's outbox holds them back, and the buffers of all links are read
//!   in turn.

use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::neighbours::Neighbours;
use crate::id::{Handle, LinkId, Pseudonym};
use crate::share::Rates;
use core::time::Duration;

/// Frames of the control stream.
const FRAMES: (u32, Duration) = (8_192, Duration::from_micros(500));
/// Credentials.
const CREDENTIALS: (u32, Duration) = (2_048, Duration::from_millis(10));
/// Bulletins and pieces of documents.
const DOCUMENTS: (u32, Duration) = (512, Duration::from_millis(20));
/// Digests that are answered with all that this device has.
const DIGESTS: (u32, Duration) = (32, Duration::from_millis(500));
/// Link-state advertisements: the database of an area twice, and more than changes in the largest.
const LSAS: (u32, Duration) = (4_096, Duration::from_millis(4));
/// Openings of sessions that a neighbour brings: those of 2,048 devices behind it at the turn of an epoch.
const OPENERS: (u32, Duration) = (2_048, Duration::from_millis(5));
/// Openings of sessions under one credential that a neighbour brings.
const OPENERS_OF_ONE: (u32, Duration) = (32, Duration::from_secs(1));

/// What a neighbour asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Asked {
    /// A frame of the control stream, whatever is in it.
    Frame,
    /// A credential.
    Credential,
    /// A bulletin, or a piece of a document.
    Document,
    /// All that this device knows of link state, by name; or to be greeted as by another process.
    Digest,
    /// To open a session with this device, or with another under its pseudonym.
    Opener,
}

/// The allowances of all neighbours. See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Allowances {
    frames: Rates,
    credentials: Rates,
    documents: Rates,
    digests: Rates,
    lsas: Rates,
    openers: Rates,
    of_one: Rates<(Pseudonym, Handle)>,
}

impl Default for Allowances {
    fn default() -> Self {
        let rates = |(burst, every): (u32, Duration)| Rates::new(burst, every);
        Self {
            frames: rates(FRAMES),
            credentials: rates(CREDENTIALS),
            documents: rates(DOCUMENTS),
            digests: rates(DIGESTS),
            lsas: rates(LSAS),
            openers: rates(OPENERS),
            of_one: Rates::new(OPENERS_OF_ONE.0, OPENERS_OF_ONE.1),
        }
    }
}

impl Neighbours {
    /// The pseudonym of the neighbour at the other end of a link; `None` if the link is gone.
    pub(in crate::engine) fn key_of(&self, link: LinkId) -> Option<Pseudonym> {
        self.links.get(link).map(|link| link.peer.body.key)
    }

    /// Whether a neighbour may ask for that now: it spends a turn. What it may not is counted.
    pub(in crate::engine) fn may_ask(&mut self, core: &mut Core, link: LinkId, what: Asked) -> bool {
        let Some(by) = self.key_of(link) else { return false };
        let Allowances { frames, credentials, documents, digests, openers, .. } = &mut self.allowances;
        let (rates, counter) = match what {
            Asked::Frame => (frames, Counter::FramesTooOften),
            Asked::Credential => (credentials, Counter::CredentialRequestsTooOften),
            Asked::Document => (documents, Counter::DocumentRequestsTooOften),
            Asked::Digest => (digests, Counter::LsaDigestsTooOften),
            Asked::Opener => (openers, Counter::OpenersTooOften),
        };
        let may = rates.take(&by, core.now.time);
        core.count(counter, u64::from(!may));
        may
    }

    /// How many of the LSAs that a neighbour asks for it is given now. The others are counted.
    pub(in crate::engine) fn lsas_given(&mut self, core: &mut Core, link: LinkId, asked: usize) -> usize {
        let Some(by) = self.key_of(link) else { return 0 };
        let wanted = u32::try_from(asked).unwrap_or(u32::MAX);
        let given = self.allowances.lsas.take_all(&by, wanted, core.now.time);
        core.count(Counter::LsasWithheld, u64::from(wanted - given));
        given as usize
    }
}

impl Allowances {
    /// What a neighbour has used up under one pseudonym it has used up under its next one. Its openings by credential
    /// begin anew, since those credentials end with the epoch.
    pub(in crate::engine) fn inherit(&mut self, from: &Pseudonym, to: Pseudonym, now: crate::time::Time) {
        let Self { frames, credentials, documents, digests, lsas, openers, of_one: _ } = self;
        for rates in [frames, credentials, documents, digests, lsas, openers] {
            rates.inherit(from, to, now);
        }
    }

    /// Whether a session may be opened under the credential with that handle, which a neighbour has brought: it spends a
    /// turn of it.
    pub(in crate::engine) fn may_open(&mut self, by: Pseudonym, handle: &Handle, now: crate::time::Time) -> bool {
        self.of_one.take(&(by, *handle), now)
    }
}
