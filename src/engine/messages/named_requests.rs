//! Named requests: requests that outlive the process that asks.
//!
//! **Mechanism.** An application may name a request, as it may a message (`outcomes`). The order is then a named message, which is kept
//! until it has ended (`outbox`) and does not leave before it is durable; and what is waited for is a record of its own: from which device, by which
//! message, until when. After a restart the order is the same message, which its receiver knows, and so executes once; the response finds
//! the record. The response is written in the commit that takes it, and handed over when that is durable.
//!
//! ```text
//! asked ─▶ (any:SERVICE: looks for a device; nobody has it, and nothing is written) ─▶ ordered, written ─▶ restart? the same order again
//!                                                                                      │
//!                      asked again under its name: waits with the first ◀──────────────┤
//!                                            told from the record ◀── answered, written┤
//!                                            told the outcome ◀── ended without ───────┘
//! ```
//!
//! A request to any device that was looking for one when its process ended has left for none: who asks again begins anew. One that
//! was ordered stays with its device, since only that one can say that it has not taken it.
//!
//! Invariants
//! 1. A request whose name is known is not ordered a second time.
//! 2. Who asks again is told the response, as long as it is kept, or the one outcome.
//! - A response is kept for [`KEPT`] after the deadline, and at most [`MAX_BYTES`] of all, [`RECORD`] for each included. Drop policy: the one that is kept for the shortest time gives way;
//!   its name then stands for a request that was answered (`responses_forgotten`).

use crate::counter::Counter;
use crate::engine::api::{Attached, Outcome, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::store::{Read, ReadError, Table, Write};
use crate::id::{InnerId, Name, SendId};
use crate::time::{Now, Time, Unix};
use crate::wire;
use core::time::Duration;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// For how long a response is kept after the request's deadline.
const KEPT: Duration = Duration::from_secs(600);
/// Most bytes of responses that are kept.
pub(in crate::engine) const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that a response takes besides its payload.
const RECORD: usize = 256;
/// The tokens of requests from before a restart, for which nobody waits yet, begin here.
const RESTORED: u64 = 1 << 62;

/// A request as it is stored in [`Table::Requests`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Stored {
    /// Who was asked.
    to: Name,
    /// By which message.
    message: InnerId,
    /// Its deadline.
    expiry: Unix,
    /// The response, once it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Response {
    #[serde(with = "serde_bytes")]
    payload: Vec<u8>,
    /// The time from command to response, in microseconds.
    latency: u64,
    /// The blob that it consists of, in place of the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Attached>,
}

impl Response {
    fn reply(self, from: Name) -> Reply {
        let latency = Duration::from_micros(self.latency);
        match self.blob {
            Some(blob) => Reply::BlobResponse { from, blob, latency },
            None => Reply::Response { from, payload: self.payload, latency },
        }
    }
}

impl Stored {
    fn bytes(&self) -> usize {
        self.response.as_ref().map_or(0, |response| RECORD + response.payload.len())
    }
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct NamedRequests {
    known: BTreeMap<SendId, (Token, Stored)>,
    /// Those without a response, by the tokens of those who asked first.
    open: BTreeMap<Token, SendId>,
    /// Those with a response, by their deadlines.
    answered: BTreeSet<(Unix, SendId)>,
    /// Bytes of all responses.
    bytes: usize,
}

impl NamedRequests {
    pub(in crate::engine) fn load(store: &dyn Read) -> Result<Self, ReadError> {
        let mut requests = Self::default();
        store.scan(Table::Requests, &[], &mut |key, value| {
            if let (Some(id), Ok(stored)) = (SendId::from_slice(key), wire::decode::<Stored>(value)) {
                let token = Token(RESTORED + requests.known.len() as u64);
                match &stored.response {
                    None => drop(requests.open.insert(token, id)),
                    Some(_) => drop(requests.answered.insert((stored.expiry, id))),
                }
                requests.bytes += stored.bytes();
                requests.known.insert(id, (token, stored));
            }
            true
        })?;
        Ok(requests)
    }

    /// The token of an open request from before a restart; `None` if it has its response, or is not known.
    pub(in crate::engine) fn token_of(&self, id: &SendId) -> Option<Token> {
        self.known.get(id).filter(|(_, stored)| stored.response.is_none()).map(|(token, _)| *token)
    }

    /// Whether a request has its response.
    pub(in crate::engine) fn has_response(&self, id: &SendId) -> bool {
        self.known.get(id).is_some_and(|(_, stored)| stored.response.is_some())
    }

    /// Whether the request under a token is named, and open.
    pub(in crate::engine) fn is_named(&self, token: Token) -> bool {
        self.open.contains_key(&token)
    }

    /// When responses are to be forgotten next.
    pub(in crate::engine) fn next_wake(&self, now: Now) -> Option<Time> {
        let (expiry, _) = self.answered.first()?;
        Some(now.time + (*expiry + KEPT).since(now.unix))
    }

    /// Bytes of the responses that are kept.
    pub(in crate::engine) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, id: &SendId) -> Option<(Token, Stored)> {
        let (token, stored) = self.known.remove(id)?;
        self.open.remove(&token);
        self.answered.remove(&(stored.expiry, *id));
        self.bytes -= stored.bytes();
        Some((token, stored))
    }
}

fn key(id: &SendId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

impl Messages {
    /// Waits again for the responses to requests of an earlier process.
    pub(in crate::engine) fn restore_requests(&mut self, core: &Core) {
        for (token, id) in self.named_requests.open.clone() {
            let Some((_, stored)) = self.named_requests.known.get(&id) else { continue };
            let deadline = core.now.time + stored.expiry.since(core.now.unix);
            self.services.awaits(stored.message, token, stored.to.clone(), core.now.time, deadline);
            self.outcomes.opened(id);
        }
    }

    /// Answers a request whose name is known already. Returns `false` if it is not known.
    pub(in crate::engine) fn request_again(&mut self, core: &mut Core, token: Token, id: Option<SendId>) -> bool {
        let known = id.and_then(|id| self.named_requests.known.get(&id));
        if let Some((_, Stored { to, response: Some(response), .. })) = known {
            let reply = response.clone().reply(to.clone());
            // It may have come only just now.
            core.journal.finish_with(token, reply);
            return true;
        }
        self.ask_again(core, token, id)
    }

    /// A request has been ordered from a device: its name stands for it from now on, and so for `others` who have asked.
    pub(in crate::engine) fn name_request(
        &mut self,
        core: &mut Core,
        (id, others): (Option<SendId>, Vec<Token>),
        token: Token,
        (to, message): (Name, InnerId),
        lifetime: Duration,
    ) {
        let Some(id) = id else { return };
        self.named_requests.remove(&id);
        let stored = Stored { to, message, expiry: core.now.unix + lifetime, response: None };
        core.journal.write(Write::Put { table: Table::Requests, key: key(&id), value: wire::encode(&stored) });
        self.named_requests.open.insert(token, id);
        self.named_requests.known.insert(id, (token, stored));
        self.outcomes.opened_for(id, others);
    }

    /// The response to a request has come: it is handed over, first written if the request is named.
    pub(in crate::engine) fn hand_over(
        &mut self,
        core: &mut Core,
        token: Token,
        from: Name,
        (payload, blob): (&[u8], Option<Attached>),
        latency: Duration,
    ) {
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let response = Response { payload: payload.to_vec(), latency, blob };
        let reply = response.clone().reply(from);
        let Some(id) = self.named_requests.open.remove(&token) else {
            return match response.blob {
                // That it is whole is in the turn's commit.
                Some(_) => core.journal.finish_with(token, reply),
                None => core.finish(token, reply),
            };
        };
        let requests = &mut self.named_requests;
        if let Some((_, stored)) = requests.known.get_mut(&id) {
            stored.response = Some(response);
            requests.bytes += stored.bytes();
            requests.answered.insert((stored.expiry, id));
            core.journal.write(Write::Put { table: Table::Requests, key: key(&id), value: wire::encode(stored) });
        }
        for token in core::iter::once(token).chain(self.outcomes.closed(&id)) {
            core.journal.finish_with(token, reply.clone());
        }
        self.forget_responses(core);
    }

    /// A request has ended without a response: whoever waits is told, first written if it is named.
    pub(in crate::engine) fn end_request(&mut self, core: &mut Core, token: Token, outcome: Outcome) {
        let Some(id) = self.forget_named(core, token) else { return core.finish(token, Reply::Outcome(outcome)) };
        for token in core::iter::once(token).chain(self.outcomes.ended(id, &outcome)) {
            let reply = Reply::Outcome(outcome.clone());
            if core.journal.disk_fails { core.finish(token, reply) } else { core.journal.finish_with(token, reply) }
        }
    }

    /// A request is waited for no more: its outcome is remembered by its name alone.
    pub(in crate::engine) fn forget_named(&mut self, core: &mut Core, token: Token) -> Option<SendId> {
        let id = self.named_requests.open.get(&token).copied()?;
        self.named_requests.remove(&id);
        core.journal.write(Write::Delete { table: Table::Requests, key: key(&id) });
        Some(id)
    }

    /// Lets go of responses whose time is over, or that are too many. Their names are remembered.
    pub(in crate::engine) fn forget_responses(&mut self, core: &mut Core) {
        let now = core.now.unix;
        loop {
            let first = self.named_requests.answered.first().copied();
            let full = self.named_requests.bytes > MAX_BYTES;
            let Some((_, id)) = first.filter(|(expiry, _)| full || *expiry + KEPT <= now) else { return };
            let Some((_, stored)) = self.named_requests.remove(&id) else { return };
            core.count(Counter::ResponsesForgotten, u64::from(full));
            core.journal.write(Write::Delete { table: Table::Requests, key: key(&id) });
            let reason = format!("{} has answered, and its response is kept no more", stored.to);
            self.outcomes.ended(id, &Outcome::Expired { reason });
        }
    }
}
