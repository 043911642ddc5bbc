//! Contacts that the operator has revoked: nothing goes to them, and what was on its way ends.
//!
//! What has not left is refused, with that reason: it is certain that it is not delivered. Of what has left nobody knows, and it ends as
//! what is not known to be delivered. What such a contact has sent before stays in the inbox.
//!
//! Invariant: of a contact that is revoked there is no session, and nothing waits for it or from it.

use crate::delivery::sends::Ended;
use crate::engine::api::{Refused, Reply, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::Name;

impl Messages {
    /// Whether nothing goes to a contact, since it is revoked or only pushes; if so, that has been said.
    pub(in crate::engine) fn refuse_contact(&mut self, core: &mut Core, token: Token, to: &Name) -> bool {
        let refused = if core.membership.contact_book().is_revoked(to) {
            Some(Refused::Revoked(to.clone()))
        } else {
            self.sessions.pushers.knows(to, core.now.time).then(|| Refused::Pusher(to.clone()))
        };
        let refuses = refused.is_some();
        if let Some(refused) = refused {
            core.finish(token, Reply::Refused(refused));
        }
        refuses
    }

    /// Ends what is on its way to contacts that are revoked, and the sessions with them.
    pub(in crate::engine) fn cut_off(&mut self, core: &mut Core, neighbours: &mut Neighbours, routing: &mut Routing) {
        let revoked: Vec<Name> = core.membership.contact_book().revoked().cloned().collect();
        for name in revoked {
            self.sessions.forget_peer(&name);
            self.sender_clocks.forget(&name);
            self.sessions.pushers.forget(&name);
            let mut ended = Ended::default();
            self.sends.cut_off(&name, core.now.time, &mut ended);
            self.report(core, neighbours, routing, ended.ends);
            self.report_gone(core, ended.gone);
            self.end_conversations(core, &name);
            self.end_blobs(core, &name);
            self.cut_off_held(core, neighbours, routing, &name);
            self.cut_off_mail(core, &name);
            neighbours.forget_sleeper(core, &name);
        }
    }
}
