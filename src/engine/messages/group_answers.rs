//! Group answers: what this device's programs answer to publications that are requests.

use crate::engine::api::{Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::services::{CALL_LIFETIME, check_size};
use crate::id::{InnerId, Name};
use crate::wire::batch::Purpose;

impl Messages {
    /// Sends the application's answer to a publication that is a request.
    pub(in crate::engine) fn answer_publication(
        &mut self,
        core: &mut Core,
        token: Token,
        to: &Name,
        request: InnerId,
        answer: Vec<u8>,
    ) {
        if let Err(refused) = check_size(&answer) {
            return core.finish(token, Reply::Refused(refused));
        }
        if core.membership.contacts().get(to).is_none() {
            let name = to.to_string();
            return core.finish(token, Reply::Refused(Refused::UnknownContact { name, nearest: None }));
        }
        if self.answer(core, token, to, request, Purpose::Reply, answer, CALL_LIFETIME) {
            core.journal.finish_with(token, Reply::Ready);
        }
    }
}
