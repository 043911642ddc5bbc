//! Messages to names without a card.
//!
//! The operator may have introduced the device meanwhile: so a message to a stranger waits for one pull of cards (`renewal`), then goes or is refused
//! as to an unknown contact. What it has waited is taken from its lifetime.
//!
//! Invariant: at most [`MAX_STRANGERS`] commands wait. Drop policy: the newest is refused (`messages_to_strangers_refused`).

use super::Engine;
use super::api::{Command, Load, Refused, Reply, Send, Token};
use super::spelling::nearest;
use crate::counter::Counter;
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
pub(super) struct Strangers(Vec<Stranger>);

impl Engine {
    /// A message to a name without a card: pull, then see.
    pub(super) fn submit_after_pull(&mut self, token: Token, to: Name, command: Command) {
        if to == *self.membership.name() {
            return self.refuse_unknown(token, &to);
        }
        if self.strangers.0.len() >= MAX_STRANGERS {
            self.count(Counter::MessagesToStrangersRefused, 1);
            return self.refuse_unknown(token, &to);
        }
        let since = self.now.time;
        self.strangers.0.push(Stranger { token, to, command, since });
        if !self.renewal.is_asking() {
            self.pull_cards();
        }
    }

    /// The pull is over: messages to strangers go, or are refused.
    pub(super) fn settle_strangers(&mut self) {
        for Stranger { token, to, mut command, since } in core::mem::take(&mut self.strangers.0) {
            if let Command::Send(Send { lifetime, .. })
            | Command::SendLoad(Load { lifetime, .. })
            | Command::Request { send: Send { lifetime, .. }, .. } = &mut command
            {
                *lifetime = lifetime.saturating_sub(self.now.time.since(since));
            }
            if self.membership.contacts().get(&to).is_none() {
                self.refuse_unknown(token, &to);
            } else {
                self.handle_command(token, command);
            }
        }
    }

    /// No card of that name.
    pub(super) fn refuse_unknown(&mut self, token: Token, name: &Name) {
        if name == self.membership.name() {
            return self.finish(token, Reply::Refused(Refused::Oneself(name.clone())));
        }
        let names = self.membership.contact_book().iter().map(|card| card.name.as_str());
        let nearest = nearest(name.as_str(), names);
        self.finish(token, Reply::Refused(Refused::UnknownContact { name: name.to_string(), nearest }));
    }
}
