//! Strangers: messages to names without a contact card.
//!
//! The operator may have introduced the device in the meantime. So a message to such a name waits until new cards have
//! been pulled once (`renewal`); then it is sent, or refused as a message to an unknown contact. The time that it has
//! waited is taken from its lifetime.
//!
//! Invariants
//! 1. At most [`MAX_STRANGERS`] commands wait. Drop policy: the newest is refused (`messages_to_strangers_refused`).

use crate::counter::Counter;
use crate::engine::api::{Command, Load, Refused, Reply, Send, Start, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::spelling::nearest;
use crate::id::Name;
use crate::time::Time;

/// Most commands that wait for a pull of cards.
const MAX_STRANGERS: usize = 256;

#[derive(Debug)]
struct Stranger {
    token: Token,
    to: Name,
    command: Command,
    since: Time,
}

/// The commands that wait for a pull of cards.
#[derive(Debug, Default)]
pub(in crate::engine) struct Strangers(Vec<Stranger>);

impl Messages {
    /// Refuses a command because there is no card of that name; the nearest known name is suggested.
    pub(in crate::engine) fn refuse_unknown(&mut self, core: &mut Core, token: Token, name: &Name) {
        if name == core.membership.name() {
            return core.finish(token, Reply::Refused(Refused::Oneself(name.clone())));
        }
        let names = core.membership.contact_book().iter().map(|card| card.name.as_str());
        let nearest = nearest(name.as_str(), names);
        core.finish(token, Reply::Refused(Refused::UnknownContact { name: name.to_string(), nearest }));
    }

    /// Makes a command to a name without a card wait for a pull of cards.
    pub(in crate::engine) fn submit_after_pull(&mut self, core: &mut Core, token: Token, to: Name, command: Command) {
        if to == *core.membership.name() {
            return self.refuse_unknown(core, token, &to);
        }
        if self.strangers.0.len() >= MAX_STRANGERS {
            core.count(Counter::MessagesToStrangersRefused, 1);
            return self.refuse_unknown(core, token, &to);
        }
        let since = core.now.time;
        self.strangers.0.push(Stranger { token, to, command, since });
        self.asks.cards = true;
    }

    /// Settles the waiting commands when the pull is over: those to names that are still unknown are refused, the
    /// others are returned to be carried out.
    pub(in crate::engine) fn settle_strangers(&mut self, core: &mut Core) -> Vec<(Token, Command)> {
        let mut known = Vec::new();
        for Stranger { token, to, mut command, since } in core::mem::take(&mut self.strangers.0) {
            let waited = core.now.time.since(since);
            let mut inner = &mut command;
            if let Command::Later { timing, command } = inner {
                if let Some(Start::After(span)) = &mut timing.start {
                    *span = span.saturating_sub(waited);
                }
                inner = command;
            }
            if let Command::Send(Send { lifetime, .. })
            | Command::SendLoad(Load { lifetime, .. })
            | Command::Request { send: Send { lifetime, .. }, .. } = inner
            {
                *lifetime = lifetime.saturating_sub(waited);
            }
            if core.membership.contacts().get(&to).is_none() {
                self.refuse_unknown(core, token, &to);
            } else {
                known.push((token, command));
            }
        }
        known
    }
}
