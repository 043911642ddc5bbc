//! Messages to names without a card.
//!
//! The operator may have introduced the device meanwhile: so a message to a stranger waits for one pull of cards (`renewal`), then goes or is refused
//! as to an unknown contact. What it has waited is taken from its lifetime.
//!
//! Invariant: at most [`MAX_STRANGERS`] commands wait. Drop policy: the newest is refused (`messages_to_strangers_refused`).

use crate::counter::Counter;
use crate::engine::api::{Command, Load, Refused, Reply, Send, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::spelling::nearest;
use crate::id::Name;
use crate::time::Time;

/// Most messages that wait for a pull. Drop policy: the newest is refused as to an unknown contact.
const MAX_STRANGERS: usize = 256;

#[derive(Debug)]
struct Stranger {
    token: Token,
    to: Name,
    command: Command,
    since: Time,
}

/// Commands that wait for a pull.
#[derive(Debug, Default)]
pub(in crate::engine) struct Strangers(Vec<Stranger>);

impl Messages {
    /// No card of that name.
    pub(in crate::engine) fn refuse_unknown(&mut self, core: &mut Core, token: Token, name: &Name) {
        if name == core.membership.name() {
            return core.finish(token, Reply::Refused(Refused::Oneself(name.clone())));
        }
        let names = core.membership.contact_book().iter().map(|card| card.name.as_str());
        let nearest = nearest(name.as_str(), names);
        core.finish(token, Reply::Refused(Refused::UnknownContact { name: name.to_string(), nearest }));
    }

    /// A message to a name without a card: pull, then see.
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

    /// The pull is over: messages to strangers are refused, or go. Those that go are answered.
    pub(in crate::engine) fn settle_strangers(&mut self, core: &mut Core) -> Vec<(Token, Command)> {
        let mut known = Vec::new();
        for Stranger { token, to, mut command, since } in core::mem::take(&mut self.strangers.0) {
            if let Command::Send(Send { lifetime, .. })
            | Command::SendLoad(Load { lifetime, .. })
            | Command::Request { send: Send { lifetime, .. }, .. } = &mut command
            {
                *lifetime = lifetime.saturating_sub(core.now.time.since(since));
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
