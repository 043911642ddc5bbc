//! Statements of custody: what is said to the one that handed a mail in, and what is heard of the next one.
//!
//! A statement goes back over the link on which the frame came, and relays in between pass it on, by the frame's outer id. It is
//! signed by the pseudonym of its maker, and names the frame and the hash of its sealed part: it holds whoever brings it.
//!
//! The receiver is known by its name, if it is a contact, and in any case by its handle: the issuer has certified the one that the header
//! names for the receiver alone. So a custodian that has no card of the receiver lets go of what that has. The receiver signs under the
//! pseudonym by whose link the frame has come, since that is the one that is known there. Who else may say so is a mailbox: the operator has
//! given it that role, and with it the power to lose the mail that it is given.
//!
//! Invariants
//! 1. A statement is believed if it is signed under an accepted credential that has the role mailbox, or is the receiver's own.

use super::awaited::{Entry, Held};
use super::notices::spell;
use super::{Mail, Shunned, key};
use crate::counter::Counter;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::neighbours::fragments::Leaving;
use crate::engine::routing::Routing;
use crate::engine::store::{Table, Write};
use crate::id::{CredentialHash, LinkId, Lsn, Name, OuterId, Pseudonym, Tag};
use crate::identity::kdf;
use crate::identity::sign::verify_signed;
use crate::time::Unix;
use crate::wire::credential::Role;
use crate::wire::custody::{CONTEXT, Custody, CustodyVerdict};
use crate::wire::data::{Class, DataFrame};
use crate::wire::frame::{self, Kind};
use crate::wire::{self, Signed};
use core::time::Duration;
use std::collections::VecDeque;

/// The shortest time after which a message that another keeps is sent again.
const AGAIN: Duration = Duration::from_secs(60);
/// For how long a custodian is not asked again that keeps nothing for a receiver.
const SHUN: Duration = Duration::from_secs(60);
/// The most custodians that are remembered as keeping nothing for one receiver. While there are as many, no other one is asked; those
/// that were asked for what is less urgent count less. Drop policy: the one that would be asked again first is forgotten (`custodians_forgotten`).
pub(super) const MAX_SHUNNED: usize = 16;

/// The most statements that wait for a credential. Drop policy: the oldest is dropped (`custody_refused`); its mail is sent again.
pub(in crate::engine) const MAX_UNPROVED: usize = 64;

/// What is to be stated.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    link: LinkId,
    frame: OuterId,
    seal: [u8; 32],
    verdict: CustodyVerdict,
    mailbox: Option<Tag>,
}

/// Who has made a statement about mail of this device.
struct By {
    key: Pseudonym,
    /// Its name, in words.
    name: String,
}

/// What a statement says of a sealed part.
pub(super) fn seal_of(sealed: &[u8]) -> [u8; 32] {
    kdf::sha256(&[sealed])
}

impl Mail {
    /// Has a verdict stated at the end of the turn, to the one that a frame came from.
    pub(super) fn state(&mut self, link: LinkId, data: &DataFrame<'_>, verdict: CustodyVerdict) {
        let mailbox = data.header.mail.map(|mail| mail.tag);
        let seal = seal_of(data.sealed);
        self.statements.push(Statement { link, frame: data.path.outer, seal, verdict, mailbox });
    }

    /// Tells the one that a kept mail came from that it is kept no more.
    pub(super) fn state_gone(&mut self, kept: &super::Kept, seal: [u8; 32]) {
        if let Some((link, frame)) = kept.came {
            let verdict = CustodyVerdict::OverQuota;
            self.statements.push(Statement { link, frame, seal, verdict, mailbox: None });
        }
    }
}

impl Messages {
    /// States custody, once the commit that it rests on is durable.
    pub(in crate::engine) fn say_custody(&mut self, core: &mut Core, neighbours: &mut Neighbours, after: Lsn) {
        for statement in core::mem::take(&mut self.mail.statements) {
            let Statement { link, frame, seal, verdict, mailbox } = statement;
            // Under the pseudonym that the other end knows: it may be the one before, whose links are drained.
            let under = neighbours.links.get(link).map(|link| link.own);
            let known = under.and_then(|under| core.membership.credential_under(&under, core.now.unix).cloned());
            let Some(own) = known.or_else(|| core.credential().cloned()) else { return };
            let body = wire::encode(&Custody { frame, sealed: seal, by: own.hash, verdict, mailbox });
            let frame = frame::raw(Kind::Custody, &own.sign_document(CONTEXT, &body));
            let leaving = Leaving { link, class: Class::Control, frame: frame.into(), after, until: None };
            if neighbours.links.get(link).is_some() {
                neighbours.send_acknowledgement(core, leaving);
            }
        }
    }

    /// Processes a statement: of mail that left from here, or of a frame that passed through here.
    pub(in crate::engine) fn handle_custody(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        link: LinkId,
        body: &[u8],
    ) {
        let decoded = wire::decode::<Signed<'_>>(body);
        let decoded = decoded.and_then(|signed| Ok((wire::decode::<Custody>(signed.body)?, signed)));
        let Ok((custody, signed)) = decoded else {
            return neighbours.note_malformed(core, link, Counter::DataMalformed);
        };
        let Some(entry) = self.mail.awaited.get(&custody.frame).filter(|entry| entry.seal == custody.sealed).cloned()
        else {
            return match routing.flows.mail_back(&custody.frame).filter(|back| *back != link) {
                Some(back) => neighbours.send_frame(core, back, frame::raw(Kind::Custody, body)),
                None => core.count(Counter::CustodyRefused, 1),
            };
        };
        let Some(by) = neighbours.peers.get(&custody.by).cloned() else {
            return self.ask_for_proof(core, neighbours, custody.by, link, body);
        };
        let name = neighbours.name_of(core, &by.body.handle);
        let receiver = by.body.handle == entry.handle || (entry.to.is_some() && name == entry.to);
        let accepted = core.membership.bulletin().recheck(&by, core.now.unix).is_ok();
        let entitled = receiver || by.body.has_role(Role::Mailbox);
        if !accepted || !entitled || !verify_signed(CONTEXT, &by.body.key, &signed) {
            return core.count(Counter::CustodyRefused, 1);
        }
        match entry.held {
            Held::Own => {
                if let Some(to) = &entry.to {
                    let by = By { key: by.body.key, name: spell(name.as_ref(), &by) };
                    self.own_mail(core, neighbours, routing, (to, &entry), &custody, by);
                }
            }
            Held::Kept(number) => self.kept_mail(core, (number, &entry), &custody, &by.body.key, receiver),
        }
    }

    /// Keeps a statement until the credential of its maker is known.
    fn ask_for_proof(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        by: CredentialHash,
        link: LinkId,
        body: &[u8],
    ) {
        if self.mail.unproved.len() >= MAX_UNPROVED {
            self.mail.unproved.pop_front();
            core.count(Counter::CustodyRefused, 1);
        }
        self.mail.unproved.push_back((by, link, body.to_vec()));
        neighbours.ask_credential(core, link, by);
    }

    /// A credential that was asked for is known: statements under it are judged.
    pub(in crate::engine) fn release_custody(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        by: &CredentialHash,
    ) {
        if neighbours.peers.get(by).is_none() {
            return;
        }
        let (due, waiting) = core::mem::take(&mut self.mail.unproved).into_iter().partition(|(of, ..)| of == by);
        self.mail.unproved = waiting;
        let due: VecDeque<(CredentialHash, LinkId, Vec<u8>)> = due;
        for (_, link, body) in due {
            self.handle_custody(core, neighbours, routing, link, &body);
        }
    }

    /// The next one has said what becomes of messages of this device.
    fn own_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        (to, entry): (&Name, &Entry),
        custody: &Custody,
        by: By,
    ) {
        let By { key, name } = by;
        self.note_custody(core, to, name, custody.verdict);
        if custody.verdict != CustodyVerdict::Kept {
            core.count(Counter::MailNotTaken, 1);
            self.shun(core, to.clone(), entry.class, custody, &key);
            // Another custodian is asked at once.
            return self.sends.handle_let_go(to, &custody.frame);
        }
        core.count(Counter::MailTaken, 1);
        let left = entry.expiry.since(core.now.unix);
        let again = core.now.time + (left / 2).max(AGAIN);
        let mut ends = Vec::new();
        self.sends.handle_kept(to, &custody.frame, again, core.now.time, &mut ends);
        self.report(core, neighbours, routing, ends);
    }

    /// The next one has said what becomes of mail that is kept here.
    fn kept_mail(
        &mut self,
        core: &mut Core,
        (number, entry): (u64, &Entry),
        custody: &Custody,
        by: &Pseudonym,
        receiver: bool,
    ) {
        if self.mail.mailbox.get(number).is_none_or(|item| item.seal != custody.sealed) {
            return;
        }
        let counter = match custody.verdict {
            CustodyVerdict::Kept => Counter::MailHandedOn,
            // It will never open.
            CustodyVerdict::NoSuchBox if receiver => Counter::MailNotOpened,
            _ => {
                if let Some(to) = entry.to.clone().filter(|_| !receiver) {
                    self.shun(core, to, entry.class, custody, by);
                }
                // Not at once: it would say the same.
                return;
            }
        };
        core.count(counter, 1);
        self.mail.mailbox.release(number);
        self.mail.look_again();
        core.journal.write(Write::Delete { table: Table::Mail, key: key(number) });
    }

    /// A custodian keeps nothing for a receiver: nothing at all, or nothing that is not more urgent.
    fn shun(&mut self, core: &mut Core, to: Name, class: Class, custody: &Custody, by: &Pseudonym) {
        let (now, shunned) = (core.now.time, &mut self.mail.shunned);
        shunned.retain(|_, shunned| shunned.until > now);
        let of_one = shunned.iter().filter(|((name, known), _)| *name == to && known != by);
        let full = of_one.clone().count() >= MAX_SHUNNED;
        if full && let Some(first) = of_one.min_by_key(|(_, shunned)| shunned.until).map(|(key, _)| key.clone()) {
            shunned.remove(&first);
            core.count(Counter::CustodiansForgotten, 1);
        }
        let class = if custody.verdict == CustodyVerdict::OverQuota { class } else { Class::Alarm };
        shunned.insert((to, *by), Shunned { until: now + SHUN, class });
    }
}

/// When a mail is of no use any more here: at its expiry, or when it has been kept for as long as mail is.
pub(super) fn until(expiry: Unix, now: Unix) -> Unix {
    expiry.min(now + crate::identity::mail::MAX_AGE)
}
