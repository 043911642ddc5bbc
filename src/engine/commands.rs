//! Commands of the local application, each to whom it concerns.

use super::Engine;
use super::api::{Command, Refused, Reply, Send, Token};
use super::services::check_size;
use super::unicast::Sender;
use crate::delivery::outgoing::Submission;
use crate::id::{InnerId, Name};
use crate::wire::batch::Purpose;

impl Engine {
    pub(super) fn handle_command(&mut self, token: Token, command: Command) {
        match command {
            Command::Send(send) => {
                let sender = Sender::Message(token, send.to.clone());
                self.submit(token, sender, send, Purpose::Deliver, None, None);
            }
            Command::Request { send, service } => self.request(token, send, service),
            Command::Publish { topic, payload, lifetime } => self.publish(token, topic, payload, lifetime),
            Command::Subscribe { filter } => self.subscribe(token, filter),
            Command::Offer { service } => self.offer(token, service),
            Command::Respond { call, answer } => self.respond(token, call, answer),
            Command::Receive => {
                self.inbox.watch(token);
                let extent = self.inbox.extent();
                self.journal.defer(token, extent);
            }
            Command::Consume { up_to } => {
                let writes = self.inbox.consume(up_to);
                self.journal.extend(writes);
                self.journal.finish_with(token);
            }
            Command::FollowLog => {
                self.journal.watch(token);
                let last = self.log.head().last;
                self.journal.defer(token, Reply::Log { last });
            }
            Command::Cancel => self.cancel(token),
            // The node answers these: it knows the network's part.
            Command::Status | Command::Peers | Command::Contacts | Command::Lab(_) => {}
        }
    }

    /// Puts a message on its way. `None` when it was refused, which has been said then.
    pub(super) fn submit(
        &mut self,
        token: Token,
        sender: Sender,
        send: Send,
        purpose: Purpose,
        service: Option<String>,
        replies_to: Option<InnerId>,
    ) -> Option<InnerId> {
        if let Err(refused) = check_size(&send.payload) {
            self.finish(token, Reply::Refused(refused));
            return None;
        }
        if self.membership.contacts().get(&send.to).is_none() {
            self.submit_after_pull(token, send, purpose, service);
            return None;
        }
        let Send { to, payload, ack, class, lifetime } = send;
        let message = Submission { token: sender, payload, purpose, service, replies_to, ack, class, lifetime };
        match self.outgoing.submit(&to, message, self.now.time, self.now.unix, &mut self.rng) {
            Ok(id) => {
                self.ready.insert(to);
                Some(id)
            }
            Err(full) => {
                self.finish(token, Reply::Refused(Refused::Full(full.to_string())));
                None
            }
        }
    }

    /// No card of that name.
    pub(super) fn refuse_unknown(&mut self, token: Token, name: &Name) {
        let nearest = self
            .membership
            .contacts()
            .iter()
            .map(|card| (distance(card.name.as_str(), name.as_str()), card.name.to_string()))
            .min()
            .filter(|(distance, _)| *distance <= 2)
            .map(|(_, name)| name);
        self.finish(token, Reply::Refused(Refused::UnknownContact { name: name.to_string(), nearest }));
    }

    fn cancel(&mut self, token: Token) {
        let known = self.inbox.unwatch(token)
            | self.journal.unwatch(token)
            | self.services.withdraw(token)
            | self.unsubscribe(token);
        if !known {
            self.services.forget_request(token);
        }
    }
}

/// Levenshtein distance, by rows.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = core::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
