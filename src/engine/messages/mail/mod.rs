//! Mail: messages for devices that are away, which others keep until these are there.
//!
//! **Mechanism.** A message for which there is no way is sealed as mail ([`identity::mail`](crate::identity::mail)), if its receiver's card
//! has a prekey, and goes to a *custodian*: a router with the role mailbox. That one makes it durable, and only then says
//! so with a signed statement ([`Custody`](crate::wire::custody::Custody)); from here on it answers for it. It hands the mail on when the receiver is there, and lets
//! go of it when the next one, another custodian or the receiver itself, has said the same.
//!
//! ```text
//!            sending                        custodian                         receiving
//! message ─▶ sealed as mail ──Data─────────▶ durable in its box
//!            kept by another ◀──Custody────── after that commit
//!                                             handing ──Data────────────────▶ opened, judged like any message
//!                                             let go of ◀──Custody─────────── after that commit
//!            ended ◀──────────────────────────────── receipt ─────────────────┘
//! ```
//!
//! The sender of a message that asks for the receiver's confirmation goes on keeping it: custody is a notice on the way. It sends it
//! again when the custodian lets go of it, and when half of the time has passed that was left; whatever comes twice is
//! recognised by the receiver. A message that asks for less has ended with custody.
//!
//! - `cards`: how often cards with prekeys are asked for; `custodian`: what is kept here, and for whom; `handing`: how it goes on; `statements`: what is said and heard of
//!   custody; `notices`: what the sender is told of it; `sending`, `receiving`: the two ends.
//!
//! Invariants
//! 1. Custody is stated no earlier than the mail is durable.
//! 2. Kept mail is let go of only when the next one has stated custody, when its time is over, when more urgent mail needs its place, or when its
//!    receiver is revoked.
//! 3. What is kept outlives a restart; nothing of it is known by a pseudonym, a handle or a link.

pub(in crate::engine) mod awaited;
mod cards;
mod custodian;
mod handing;
mod notices;
mod receiving;
mod sending;
mod statements;

use crate::delivery::mailbox::{Item, Mailbox, Owner};
use crate::engine::api::MailRecord;
use crate::engine::store::{Read, ReadError, Table};
use crate::id::{CredentialHash, LinkId, Name, OuterId, Pseudonym};
use crate::time::{Now, Time};
use crate::wire;
use crate::wire::data::Class;
use awaited::Awaited;
use bytes::Bytes;
use cards::Cards;
use statements::Statement;
use std::collections::{BTreeMap, VecDeque};

/// The state of mail.
#[derive(Debug)]
pub(in crate::engine) struct Mail {
    /// What is kept here.
    pub(in crate::engine) mailbox: Mailbox<Kept>,
    /// Frames of which a statement is expected.
    pub(in crate::engine) awaited: Awaited,
    /// What is to be stated at the end of the turn.
    statements: Vec<Statement>,
    /// When mail is to be handed on next; `None` if there is nothing to do before something changes.
    due: Option<Time>,
    /// Whether something has changed that may have opened a way.
    changed: bool,
    /// How often in a row there was a way, and its link took nothing.
    put_off: u32,
    /// When the next mail of a box may be handed on.
    paced: BTreeMap<Owner, Time>,
    /// Statements under credentials that have been asked for.
    unproved: VecDeque<(CredentialHash, LinkId, Vec<u8>)>,
    /// Custodians that do not take mail for a receiver for a while.
    shunned: BTreeMap<(Name, Pseudonym), Shunned>,
    /// Whether and when new cards are asked for again, since a receiver's has no prekey.
    pub(in crate::engine) cards: Cards,
    /// What custodians have said last of mail of this device, by receiver.
    said: notices::Said,
    /// When cards were asked for last, since mail came of a device without one.
    strangers_came: Option<Time>,
}

/// Until when a custodian is not asked, for mail of this class and less urgent mail.
#[derive(Clone, Copy, Debug)]
struct Shunned {
    until: Time,
    class: Class,
}

/// A frame that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Kept {
    /// Its encoded header.
    header: Vec<u8>,
    /// Its sealed part.
    sealed: Bytes,
    /// Over which link it came and under which id, if that was since the start.
    came: Option<(LinkId, OuterId)>,
}

impl Mail {
    pub(in crate::engine) fn load(store: &dyn Read, quota: u64, now: Now) -> Result<Self, ReadError> {
        let mut mailbox = Mailbox::new(quota);
        store.scan(Table::Mail, &[], &mut |key, value| {
            let number = key.try_into().map(u64::from_be_bytes);
            if let (Ok(number), Ok(stored)) = (number, wire::decode::<MailRecord>(value)) {
                mailbox.restore(number, stored.into());
            }
            true
        })?;
        let due = (!mailbox.is_empty()).then_some(now.time);
        Ok(Self {
            mailbox,
            awaited: Awaited::default(),
            statements: Vec::new(),
            due,
            changed: false,
            put_off: 0,
            paced: BTreeMap::new(),
            unproved: VecDeque::new(),
            shunned: BTreeMap::new(),
            cards: Cards::default(),
            said: notices::Said::default(),
            strangers_came: None,
        })
    }

    /// Something has changed that may have opened a way to somebody.
    pub(in crate::engine) fn look_again(&mut self) {
        self.changed = !self.mailbox.is_empty();
    }

    /// When mail has something to do.
    pub(in crate::engine) fn next_wake(&self, now: Now) -> Option<Time> {
        let due = if self.changed { Some(now.time) } else { self.due };
        let ends =
            self.mailbox.next_end().map(|end| now.time + end.since(now.unix) + core::time::Duration::from_millis(1));
        [due, ends, self.mailbox.next_back()].into_iter().flatten().min()
    }
}

impl From<MailRecord> for Item<Kept> {
    fn from(stored: MailRecord) -> Self {
        let MailRecord { owner, from, class, until, since, header, sealed } = stored;
        let (seal, bytes) = (statements::seal_of(&sealed), header.len() + sealed.len());
        Self {
            owner,
            from,
            class,
            until,
            since,
            seal,
            bytes,
            frame: Kept { header, sealed: sealed.into(), came: None },
        }
    }
}

impl MailRecord {
    fn of(item: &Item<Kept>) -> Self {
        let Item { owner, from, class, until, since, seal: _, bytes: _, frame } = item;
        Self {
            owner: owner.clone(),
            from: from.clone(),
            class: *class,
            until: *until,
            since: *since,
            header: frame.header.clone(),
            sealed: frame.sealed.to_vec(),
        }
    }
}

/// The key of a mail in the store.
fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}
