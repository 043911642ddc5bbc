//! Unfinished: calls that are accepted and not yet handed over, and requests that are answered and not yet ended, since
//! what they consist of is still fetched (`blobs::calls`).

use super::Services;
use crate::engine::api::{Call, Token};
use crate::id::{InnerId, Name};
use crate::time::Time;

impl Services {
    /// Of a call that waits for its answer: who calls, its message, and its deadline.
    pub(in crate::engine::messages) fn waiting_call(&self, call: u64) -> Option<(Name, InnerId, Time)> {
        self.calls.get(&call).map(|waiting| (waiting.from.clone(), waiting.id, waiting.deadline))
    }

    /// Keeps the call that was accepted last from being handed over.
    pub(in crate::engine::messages) fn withhold(&mut self) -> Option<(Token, Call)> {
        self.released.pop()
    }

    /// Hands a call over that was kept from it, once the turn's commit is durable.
    pub(in crate::engine::messages) fn hand_over(&mut self, offer: Token, call: Call) {
        self.released.push((offer, call));
    }

    /// Of a request to this device that waits for its response: who has asked, and until when.
    pub(in crate::engine::messages) fn awaited_of(&self, id: &InnerId, from: &Name) -> Option<(Token, Time)> {
        let request = self.requests.get(id).filter(|request| request.to == *from);
        request.map(|request| (request.token, request.deadline))
    }

    /// Removes a request that has its response: who has asked, and since when.
    pub(in crate::engine::messages) fn take_request(&mut self, id: &InnerId) -> Option<(Token, Time)> {
        let request = self.requests.remove(id)?;
        self.by_token.remove(&request.token);
        self.deadlines.remove(&(request.deadline, *id));
        Some((request.token, request.since))
    }
}
