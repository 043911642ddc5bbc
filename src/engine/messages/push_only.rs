//! Devices that only push: they send, and take nothing.
//!
//! **Mechanism.** The settings say that a device only pushes. It keeps no inbox, offers nothing and listens to no topic, and it waits
//! for no receipt of a receiver: what it sends is `sent` once it has left, or once the next hop has it, and an order that would
//! wait for more is refused. What is sent to it all the same is answered with the verdict `push-only`, and nothing of it is kept.
//!
//! Others know by its own word alone, which is under the seal of a session with it: by that verdict, and by every parcel of
//! its messages. They refuse at once what is for such a device. It is forgotten when a parcel without that word comes, after [`KNOWN`],
//! and with the process: then the next message asks again. So nobody can say it of another device, and a device whose
//! settings have changed is found again by itself.
//!
//! Invariants
//! 1. A device that only pushes has nothing in its inbox, hands over no call, and reports no delivery.
//! 2. Whoever has heard its word refuses what is for it, with that reason, before it leaves.
//! - No more devices are known than there are contacts.

use crate::counter::Counter;
use crate::engine::api::{BlobCommand, Command, Refused};
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::id::{CredentialPrefix, Name, StreamId};
use crate::time::Time;
use crate::wire;
use crate::wire::batch::{Ack, Batch, PLAIN_BATCH};
use crate::wire::blob::{Said, State, Told};
use crate::wire::parcel::{PLAIN_PARCEL, Parcel};
use crate::wire::receipt::Verdict;
use core::time::Duration;
use std::collections::BTreeMap;

/// How long the word of a device counts.
const KNOWN: Duration = Duration::from_secs(86_400);

/// The contacts that only push, with the time at which each has last said so.
#[derive(Debug, Default)]
pub(in crate::engine) struct Pushers(BTreeMap<Name, Time>);

impl Pushers {
    /// A device has said whether it only pushes.
    pub(super) fn told(&mut self, of: &Name, push_only: bool, now: Time) {
        match push_only {
            true => drop(self.0.insert(of.clone(), now)),
            false => drop(self.0.remove(of)),
        }
    }

    /// Whether a device only pushes, as far as is known.
    pub(super) fn knows(&self, name: &Name, now: Time) -> bool {
        self.0.get(name).is_some_and(|at| now.since(*at) < KNOWN)
    }

    /// Forgets a contact that is none any more.
    pub(super) fn forget(&mut self, name: &Name) {
        self.0.remove(name);
    }
}

/// Why a device that only pushes does not carry out a command.
pub(in crate::engine) fn refused(command: &Command) -> Option<Refused> {
    let receives = Refused::PushOnly("it takes nothing from others");
    let waits = Refused::PushOnly("it waits for no receipt; send with --ack hop or none, and publish without --ack");
    match command {
        Command::Later { command, .. } => refused(command),
        Command::Send(send) => (send.ack == Ack::End).then_some(waits),
        Command::Broadcast(broadcast) => (broadcast.ack == Ack::End).then_some(waits),
        Command::Publish { confirm, .. } => confirm.is_some().then_some(waits),
        Command::Request { .. }
        | Command::Anycast(_)
        | Command::GroupRequest(_)
        | Command::Answer { .. }
        | Command::Offers(_)
        | Command::Subscribe { .. }
        | Command::Offer { .. }
        | Command::Respond { .. }
        | Command::Receive { .. }
        | Command::MakeConsumer { .. }
        | Command::Consume { .. }
        | Command::Forget { .. }
        // Whoever takes a blob asks for its chunks.
        | Command::Blob(
            BlobCommand::Put { .. }
            | BlobCommand::Get { .. }
            | BlobCommand::Send(_)
            | BlobCommand::Request(_)
            | BlobCommand::Respond { .. },
        ) => Some(receives),
        Command::SendLoad(_)
        | Command::Blob(BlobCommand::List | BlobCommand::Remove { .. })
        | Command::LiftQuarantine
        | Command::FollowLog
        | Command::Bulletin { .. }
        | Command::Identity
        | Command::Rotate { .. }
        | Command::Mailbox
        | Command::Links
        | Command::Routes
        | Command::Route { .. }
        | Command::Cancel => None,
    }
}

impl Messages {
    /// Turns down what a contact has sealed for this device, which only pushes. Returns whether that is what it was: receipts and
    /// the like are taken.
    pub(super) fn turn_down(
        &mut self,
        core: &mut Core,
        from: &Name,
        visited: &[CredentialPrefix],
        plain: &[u8],
    ) -> bool {
        let Some((kind, body)) = plain.split_first().filter(|_| core.settings.push_only) else { return false };
        match *kind {
            PLAIN_PARCEL => {
                let Ok(parcel) = Parcel::parse(body) else { return true };
                let (head, last) = (&parcel.head, u64::from(parcel.count.saturating_sub(1)));
                let run = [head.base, head.base.saturating_add(last)];
                self.tell_of_push(core, from, visited, (head.stream, head.ack), &run);
            }
            PLAIN_BATCH => {
                let Ok(batch) = wire::decode::<Batch<'_>>(body) else { return true };
                let numbers = batch.messages.iter().map(|message| batch.base.saturating_add(message.offset.into()));
                let pairs: Vec<u64> = numbers.flat_map(|number| [number, number]).collect();
                self.tell_of_push(core, from, visited, (batch.stream, batch.ack), &pairs);
            }
            wire::blob::PLAIN_BLOB => {
                core.count(Counter::PushOnlyTurnedDown, 1);
                if let Ok(Said::Offer(offer)) = Said::parse(body) {
                    let told = Told { id: offer.id, state: State::PushOnly, bytes: 0 };
                    self.blobs.say(from, Said::Told(told));
                }
            }
            _ => return false,
        }
        true
    }

    fn tell_of_push(
        &mut self,
        core: &mut Core,
        from: &Name,
        visited: &[CredentialPrefix],
        (stream, ack): (StreamId, Ack),
        ranges: &[u64],
    ) {
        core.count(Counter::PushOnlyTurnedDown, 1);
        if ack == Ack::End {
            self.inbox.note_visited(stream, visited);
            self.inbox.confirm(from, stream, Verdict::PushOnly, ranges);
        }
    }
}
