//! Custody: mail, from the statement of the first custodian to that of its receiver.
//!
//! A statement says that mail is durable where it was made. So it is looked for on that disk when the statement leaves, again when the
//! process has been restarted, and as long as nobody else has stated the same and its time is not over. A mailbox with a bound
//! that the scenario sets may give mail up for more urgent mail.

use super::{Going, Witness};
use crate::plan::{FaultKind, Plan};
use crate::world::checks::Promise;
use m2mesh::wire::custody::{Custody, CustodyVerdict};
use m2mesh::wire::data::{Form, Header};
use m2mesh::wire::{self, Signed};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// What a statement names a mail by.
type Seal = [u8; 32];

/// The mail of a run.
pub struct Custodies {
    mails: BTreeMap<Seal, Mail>,
    /// The number of mails above which those whose time is over are forgotten.
    limit: usize,
    mailboxes: BTreeSet<usize>,
    /// The mailboxes that may give mail up, since their bound is the scenario's or receivers are revoked.
    bounded: BTreeSet<usize>,
}

/// One mail.
#[derive(Default)]
struct Mail {
    receiver: Option<usize>,
    /// The wall time in microseconds at which its time is over.
    until: u64,
    /// Whether its receiver has stated that it has it.
    arrived: bool,
    /// The custodians on whose disks it is, each with whether it has stated so.
    held: BTreeMap<usize, bool>,
}

impl Custodies {
    pub(super) fn new(plan: &Plan) -> Self {
        let revokes = plan.faults.iter().any(|fault| matches!(fault.what, FaultKind::Revoke { .. }));
        let mailboxes = || plan.devices.iter().enumerate().filter(|(_, device)| device.is_mailbox());
        let bounded = mailboxes().filter(|(_, device)| revokes || device.post.quota.is_some());
        Self {
            mails: BTreeMap::new(),
            limit: LEAST_LIMIT,
            mailboxes: mailboxes().map(|(device, _)| device).collect(),
            bounded: bounded.map(|(device, _)| device).collect(),
        }
    }

    fn entry(&mut self, seal: Seal, unix: u64) -> &mut Mail {
        if self.mails.len() >= self.limit {
            self.mails.retain(|_, mail| mail.until + LINGERS > unix || !mail.held.is_empty());
            self.limit = (2 * self.mails.len()).max(LEAST_LIMIT);
        }
        self.mails.entry(seal).or_default()
    }
}

impl Witness {
    /// Notes the receiver of mail that a node writes.
    pub(super) fn note_mail_frame(&mut self, header: &Header, sealed: &[u8]) {
        if header.form != Form::Mail {
            return;
        }
        let (unix, receiver) = (self.unix(), self.handles.get(&header.to).copied());
        let mail = self.custodies.entry(Sha256::digest(sealed).into(), unix);
        mail.receiver = receiver.or(mail.receiver);
        mail.until = mail.until.max(header.expiry);
    }

    /// Notes that mail is on the disk of a device.
    pub fn note_kept(&mut self, device: usize, seal: Seal, until: u64) {
        let unix = self.unix();
        let mail = self.custodies.entry(seal, unix);
        mail.until = mail.until.max(until);
        mail.held.insert(device, false);
    }

    /// Notes that mail is no longer on the disk of a device.
    pub fn note_let_go(&mut self, device: usize, seal: Seal) {
        let (unix, skew) = (self.unix(), self.skew);
        let Some(mail) = self.custodies.mails.get_mut(&seal) else { return };
        let stated = mail.held.remove(&device) == Some(true);
        let elsewhere = mail.arrived || mail.held.values().any(|stated| *stated);
        let over = unix + skew >= mail.until;
        if stated {
            let holds = elsewhere || over || self.custodies.bounded.contains(&device);
            self.look(Promise::CustodyKept, holds, |known| {
                format!("{} lets go of mail that it has stated to keep", known.device(device))
            });
        }
    }

    /// Examines the disk of a device that starts.
    pub fn note_mail_of_disk(&mut self, device: usize, there: &BTreeSet<Seal>) {
        let held = self.custodies.mails.iter_mut().filter(|(_, mail)| mail.held.contains_key(&device));
        let gone: Vec<bool> = held
            .filter_map(|(seal, mail)| {
                let missing = !there.contains(seal);
                (!missing || mail.held.remove(&device) == Some(true)).then_some(missing)
            })
            .collect();
        for missing in gone {
            self.look(Promise::CustodyKept, !missing, |known| {
                format!("{} has lost mail in a crash that it has stated to keep", known.device(device))
            });
        }
    }

    /// Examines a statement of custody, as its maker writes it.
    pub(super) fn handle_custody(&mut self, going: &Going<'_>) {
        let Ok(signed) = wire::decode::<Signed<'_>>(going.body) else { return };
        let Ok(custody) = wire::decode::<Custody>(signed.body) else { return };
        let maker = self.owners.get(&custody.by.prefix()).copied();
        if custody.verdict != CustodyVerdict::Kept || maker != Some(going.from) {
            return;
        }
        let (unix, device) = (self.unix(), going.from);
        let is_mailbox = self.custodies.mailboxes.contains(&device);
        let mail = self.custodies.entry(custody.sealed, unix);
        if !is_mailbox || mail.receiver == Some(device) {
            mail.arrived = true;
            return;
        }
        let there = mail.held.get_mut(&device).map(|stated| *stated = true).is_some();
        self.look(Promise::CustodyKept, there, |known| {
            format!("{} states that it keeps mail which is not on its disk", known.device(device))
        });
    }
}

/// The least number of mails above which those whose time is over are searched for.
const LEAST_LIMIT: usize = 16_384;
/// The microseconds after its time for which a mail is remembered.
const LINGERS: u64 = 3_600_000_000;
