//! Conversations with the local application: they begin with its commands, carry the engine's replies, and end when the
//! application goes.

use super::{EventLoop, Held, Host};
use crate::client::{Call, Command, Rejected, Reply};
use crate::engine::Input;
use crate::engine::api::{self, Refused, Token};
use crate::store::Store;
use std::task::Context;

impl<S: Store, H: Host> EventLoop<S, H> {
    /// Ends the streams whose application has gone. Returns whether there were any.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> bool {
        let conversations = &self.conversations;
        let gone = |token: &&Token| conversations.get(token).is_some_and(|replies| replies.poll_gone(cx).is_ready());
        let gone: Vec<Token> = self.streams.keys().filter(gone).copied().collect();
        for token in &gone {
            self.end_stream(*token);
        }
        !gone.is_empty()
    }

    /// Starts a conversation if there is room for what its command needs. Returns the call if it has to wait. While the
    /// disk fails, it is refused instead.
    pub(super) fn admit(&mut self, call: Call) -> Option<Call> {
        if self.has_room() {
            self.start(call);
            return None;
        }
        let Some(failure) = &self.store_failure else { return Some(call) };
        // Nobody knows for how long it would have to wait.
        let refused = Refused::Full(format!("the disk takes no writes, and no more can wait for it: {failure}"));
        drop(call.replies.push(Reply::Refused(refused)));
        None
    }

    /// Starts a conversation with the application.
    pub(super) fn start(&mut self, Call { command, replies }: Call) {
        self.last_token += 1;
        let token = Token(self.last_token);
        match command {
            Command::Status => drop(replies.push(Reply::Status(Box::new(self.status())))),
            Command::Peers => drop(replies.push(Reply::Peers(self.peers()))),
            Command::Contacts => drop(replies.push(self.engine.contacts().into())),
            Command::Lab => drop(replies.push(self.lab())),
            Command::SetLab(orders) => self.handle_lab(orders, replies),
            command => {
                let lasting = command.is_stream();
                // The commands that are not for the engine are handled in the arms above.
                let Some(command) = command.for_engine() else { return };
                if lasting {
                    self.streams.insert(token, ());
                }
                self.conversations.insert(token, replies);
                self.handle(Input::Command { token, command });
            }
        }
    }

    pub(super) fn tell(&mut self, token: Token, reply: api::Reply, last: bool) {
        let Some(replies) = self.conversations.get(&token) else { return };
        match replies.push(reply.into()) {
            Err(Rejected::Busy(call)) => {
                let answer = Err("the service has too many calls waiting".to_owned());
                let token = Token(0);
                self.handle(Input::Command { token, command: api::Command::Respond { call: call.call, answer } });
            }
            Err(Rejected::Gone) if self.streams.contains_key(&token) => self.end_stream(token),
            Err(Rejected::Gone) | Ok(()) => {}
        }
        if last {
            self.conversations.remove(&token);
            self.streams.remove(&token);
        }
    }

    /// Tells a client that asks for the inbox or the log how much of it is durable, if the disk fails: nobody knows for
    /// how long, and the durable part can be read already.
    pub(super) fn tell_what_is_durable(&mut self, held: &Held) {
        let (inbox, log) = self.reached;
        let (token, reply) = match held {
            Held::Reply { token, reply: api::Reply::Inbox { first, last }, last: false } => {
                (*token, api::Reply::Inbox { first: *first, last: inbox.min(*last) })
            }
            Held::Reply { token, reply: api::Reply::Log { last }, last: false } => {
                (*token, api::Reply::Log { last: log.min(*last) })
            }
            _ => return,
        };
        if self.store_failure.is_some() {
            self.tell(token, reply, false);
        }
    }

    /// Hands over all publications that wait, in their order: while the disk fails they no longer wait for it.
    pub(super) fn release_publications(&mut self) {
        for held in self.waiting.take_publications() {
            if let Held::Reply { token, reply, last } = held {
                self.tell(token, reply, last);
            }
        }
    }

    fn end_stream(&mut self, token: Token) {
        self.streams.remove(&token);
        if self.conversations.remove(&token).is_some() {
            self.handle(Input::Command { token, command: api::Command::Cancel });
        }
    }
}
