//! Commands: what the application asks about blobs.

use crate::blob::disk::Order;
use crate::blob::shelf::Entry;
use crate::engine::api::{BlobCommand, BlobProgress, BlobSend, BlobView, Command, Refused, Reply, Send, Token};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::messages::blobs::Blobs;
use crate::engine::messages::blobs::fetching::{Get, MAX_FETCHES};
use crate::engine::messages::objectives::Asked;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::id::{BlobHash, Name};
use crate::wire::batch::Ack;
use crate::wire::blob::{MAX_LENGTH, MAX_NAME};
use crate::wire::data::Class;
use core::time::Duration;

impl Messages {
    pub(in crate::engine) fn command_blob(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        command: BlobCommand,
    ) {
        match command {
            BlobCommand::Put { hash, length, keep, shared } => self.put_blob(core, token, hash, length, (keep, shared)),
            BlobCommand::Get { hash, from, shared, lifetime } => {
                self.get_blob(core, neighbours, token, hash, from, (shared, lifetime));
            }
            BlobCommand::Send(send) => self.check_and_send(core, neighbours, routing, token, send),
            BlobCommand::Request(request) => self.request_blob(core, neighbours, routing, token, request),
            BlobCommand::Respond { call, hash } => self.respond_blob(core, token, call, &hash),
            BlobCommand::List => core.finish(token, Reply::Blobs(self.list_blobs())),
            BlobCommand::Remove { hash } => self.remove_blob(core, token, hash),
        }
    }

    fn put_blob(&mut self, core: &mut Core, token: Token, hash: BlobHash, length: u64, (keep, shared): (bool, bool)) {
        if length > MAX_LENGTH {
            let reason = format!("a blob has at most {MAX_LENGTH} bytes, this one has {length}; send it in parts");
            return core.finish(token, Reply::Refused(Refused::Blob(reason)));
        }
        let mut entry = self.blobs.shelf.get(&hash).cloned().unwrap_or_else(|| Entry::new(length, core.now.unix));
        (entry.length, entry.whole, entry.used) = (length, true, core.now.unix);
        entry.kept |= keep;
        entry.shared |= shared;
        match self.blobs.enter(core, hash, entry) {
            Ok(()) => {
                // What was being fetched has come by another way.
                if self.blobs.fetches.contains_key(&hash) {
                    self.handle_finished(core, hash);
                }
                core.journal.finish_with(token, Reply::Ready);
            }
            Err(no_room) => {
                if self.blobs.shelf.get(&hash).is_none() {
                    Blobs::order(core, Order::Remove { hash });
                }
                core.finish(token, Reply::Refused(Refused::Blob(no_room.to_string())));
            }
        }
    }

    fn get_blob(
        &mut self,
        core: &mut Core,
        neighbours: &Neighbours,
        token: Token,
        hash: BlobHash,
        from: Vec<Name>,
        (shared, lifetime): (bool, Duration),
    ) {
        let entry = self.blobs.shelf.get_mut(&hash);
        let known = entry.as_ref().map(|entry| entry.length);
        if let Some(entry) = entry.filter(|entry| entry.whole) {
            (entry.kept, entry.shared, entry.used) = (true, entry.shared | shared, core.now.unix);
            let length = entry.length;
            let progress = BlobProgress { hash, length: Some(length), bytes: length, whole: true };
            self.blobs.write_entry(core, &hash);
            return core.journal.finish_with(token, Reply::Blob(progress));
        }
        let unknown = from.iter().find(|name| core.membership.contacts().get(name).is_none());
        if let Some(name) = unknown {
            let refused = Refused::UnknownContact { name: name.to_string(), nearest: None };
            return core.finish(token, Reply::Refused(refused));
        }
        // Neighbours are asked first, since no more than some are asked at all.
        let asked: Vec<Name> = match from.is_empty() {
            true => {
                let near = neighbours.links.iter().filter_map(|(_, link)| link.name.clone());
                near.chain(core.membership.contacts().iter().map(|contact| contact.name.clone())).collect()
            }
            false => from,
        };
        if !self.begin_fetch(core, hash, known) {
            let reason = format!("{MAX_FETCHES} blobs are being fetched already");
            return core.finish(token, Reply::Refused(Refused::Full(reason)));
        }
        self.ask_for(core, &hash, asked);
        let until = core.now.time + lifetime;
        if let Some(fetching) = self.blobs.fetches.get_mut(&hash) {
            fetching.gets.insert(token, Get { shared, until });
            let begun = fetching.progress(&hash);
            core.reply(token, Reply::Blob(begun));
        }
    }

    fn check_and_send(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        token: Token,
        send: BlobSend,
    ) {
        let BlobSend { to, name, lifetime, id, .. } = &send;
        let (class, ack) = (Class::Bulk, Ack::End);
        let (payload, policy, latest) = (Vec::new(), None, None);
        let asked_again = Send { to: to.clone(), payload, ack, class, policy, lifetime: *lifetime, id: *id, latest };
        if self.ask_again(core, token, asked_again.id) {
            return;
        }
        if name.len() > MAX_NAME {
            let reason = format!("the name of a blob has at most {MAX_NAME} bytes; give a shorter one with --name");
            return core.finish(token, Reply::Refused(Refused::Blob(reason)));
        }
        if core.membership.contacts().get(to).is_none() {
            let (to, command) = (to.clone(), Command::Blob(BlobCommand::Send(send)));
            return self.submit_after_pull(core, token, to, command);
        }
        if self.refuse_contact(core, token, to) {
            return;
        }
        let asked = Asked { policy: None, class, service: None, wait: None };
        let found = self.send_policy_of(core, neighbours, routing, token, &send.to.clone(), &asked, *lifetime, 0);
        if let Some((_, lifetime)) = found {
            self.send_blob(core, token, send, lifetime);
        }
    }

    fn list_blobs(&self) -> Vec<BlobView> {
        let view = |(hash, entry): (&BlobHash, &Entry)| {
            let fetched = self.blobs.fetches.get(hash).map_or(0, |fetching| fetching.fetch.bytes());
            BlobView {
                hash: *hash,
                length: entry.length,
                bytes: if entry.whole { entry.length } else { fetched },
                kept: entry.kept,
                shared: entry.shared,
                readers: entry.readers.clone(),
                inbox: entry.inbox.clone(),
                from: entry.by.clone(),
            }
        };
        self.blobs.shelf.iter().map(view).collect()
    }

    fn remove_blob(&mut self, core: &mut Core, token: Token, hash: BlobHash) {
        let refused = match self.blobs.shelf.get(&hash) {
            None => Some(format!("no blob {hash} is here; `m2mesh blob list` shows those that are")),
            Some(entry) if !entry.inbox.is_empty() => {
                Some(format!("message {} of the inbox consists of it; `m2mesh receive` takes it", entry.inbox[0]))
            }
            Some(_) if self.blobs.sends.values().any(|sending| sending.kept.hash == hash) => {
                Some("it is being sent; it can be removed when that has ended".to_owned())
            }
            Some(_) if self.blobs.fetches.contains_key(&hash) => {
                Some("it is being fetched; it can be removed when that has ended".to_owned())
            }
            Some(_) => None,
        };
        if let Some(reason) = refused {
            return core.finish(token, Reply::Refused(Refused::Blob(reason)));
        }
        self.blobs.drop_blob(core, &hash);
        core.journal.finish_with(token, Reply::Ready);
    }

    /// The application has ended a conversation about blobs. Returns whether it was one.
    pub(in crate::engine) fn cancel_blob(&mut self, token: Token) -> bool {
        let mut fetches = self.blobs.fetches.iter_mut();
        let fetched = fetches.find_map(|(hash, fetching)| fetching.gets.remove(&token).map(|_| *hash));
        match fetched {
            Some(hash) => {
                self.end_idle_fetch(&hash);
                true
            }
            None => self.forget_send(token),
        }
    }
}
