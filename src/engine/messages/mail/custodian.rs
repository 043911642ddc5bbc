//! Custodian: what this device keeps for others, if the operator has made it a mailbox.
//!
//! ```text
//! mail ─▶ for this device? ──yes──▶ receiving
//!   │ no
//!   ▼
//! its path goes on ──yes──▶ the next hop
//!   │ no: it ends here, or there is no way on
//!   ▼
//! a mailbox? ──no──▶ the nearest mailbox, or dropped, counted
//!   │ yes
//!   ▼
//! quota? ──used up──▶ stated: over quota
//!   │ room, or something less urgent gives way
//!   ▼
//! into the turn's commit; stated once it is durable
//! ```
//!
//! Mail lies in the box of its receiver, which is found by the box's tag. It knows neither who sent it, which is sealed, nor
//! whether it will open; so what one neighbour hands in may take half of a box at most.
//!
//! Invariants
//! 1. Mail of a receiver that is revoked is not kept.

use super::{Kept, key, statements};
use crate::counter::Counter;
use crate::delivery::mailbox::Item;
use crate::engine::api::MailRecord;
use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::engine::neighbours::Neighbours;
use crate::engine::routing::Routing;
use crate::engine::routing::data_frames::Arrival;
use crate::engine::store::{Table, Write};
use crate::id::Name;
use crate::identity::mail::KEPT_DAYS;
use crate::time::Unix;
use crate::wire;
use crate::wire::credential::Role;
use crate::wire::custody::CustodyVerdict;
use crate::wire::data::{Header, MailBox};
use bytes::Bytes;

impl Messages {
    /// Whether this device keeps mail for others: its credential and its settings say so.
    pub(in crate::engine) fn is_custodian(&self, core: &Core) -> bool {
        core.settings.mail_quota > 0
            && core.settings.forwarding
            && core.credential().is_some_and(|own| own.body.has_role(Role::Mailbox))
    }

    /// Processes mail that has come over a link.
    pub(in crate::engine) fn handle_mail(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        arrival: Arrival<'_>,
    ) {
        let Arrival { link, data, .. } = arrival;
        let Some(mailbox) = data.header.mail else { return core.count(Counter::DataMalformed, 1) };
        if Unix(data.header.expiry) + core.skew() < core.now.unix {
            return core.count(Counter::DataExpired, 1);
        }
        let own = core.membership.credential_of(&data.header.to, core.now.unix).is_some();
        let ends = data.path.hops.is_empty() || usize::from(data.path.next) + 1 >= data.path.hops.len();
        if (own || ends) && self.open_mail(core, neighbours, routing, arrival, mailbox) {
            return;
        }
        if own {
            core.count(Counter::MailNotOpened, 1);
            return self.mail.state(link, data, CustodyVerdict::NoSuchBox);
        }
        let custodian = self.is_custodian(core);
        if custodian && ends && !data.path.hops.is_empty() {
            return self.take_custody(core, neighbours, routing, arrival, mailbox);
        }
        if routing.pass_mail(core, neighbours, arrival) {
            return;
        }
        if custodian {
            return self.take_custody(core, neighbours, routing, arrival, mailbox);
        }
        routing.seek(core, neighbours, link, data.header.to);
        core.count(Counter::DataWithoutWay, 1);
    }

    /// Whose box it is, as far as that is a contact.
    fn owner_of(core: &mut Core, MailBox { day, tag }: &MailBox) -> Option<Name> {
        let today = core.membership.day_of(core.now.unix);
        let near = day.0 <= today.0.saturating_add(1) && today.0 <= day.0.saturating_add(KEPT_DAYS);
        if near { core.membership.contacts().owner_of_box(*day, tag).cloned() } else { None }
    }

    /// Keeps mail for its receiver, and has that stated once it is durable; or has stated why it does not.
    fn take_custody(
        &mut self,
        core: &mut Core,
        neighbours: &mut Neighbours,
        routing: &mut Routing,
        arrival: Arrival<'_>,
        mailbox: MailBox,
    ) {
        let Arrival { link, data, .. } = arrival;
        if routing.has_begun(&data.path.outer) {
            return core.count(Counter::DataLooped, 1);
        }
        let seal = statements::seal_of(data.sealed);
        if self.mail.mailbox.known(&seal).is_some() {
            return self.mail.state(link, data, CustodyVerdict::Kept);
        }
        let owner = Self::owner_of(core, &mailbox);
        if owner.as_ref().is_some_and(|owner| core.membership.contact_book().is_revoked(owner)) {
            return self.mail.state(link, data, CustodyVerdict::NoSuchBox);
        }
        if core.journal.disk_fails {
            core.count(Counter::MailNotKept, 1);
            return self.mail.state(link, data, CustodyVerdict::NotStored);
        }
        let item = Item {
            owner,
            from: neighbours.links.get(link).and_then(|link| link.name.clone()),
            class: data.header.class,
            until: statements::until(Unix(data.header.expiry), core.now.unix),
            since: core.now.unix,
            seal,
            bytes: data.header_bytes.len() + data.sealed.len(),
            frame: Kept {
                header: data.header_bytes.to_vec(),
                sealed: Bytes::copy_from_slice(data.sealed),
                came: Some((link, data.path.outer)),
            },
        };
        let value = wire::encode(&MailRecord::of(&item));
        let Ok((number, gone)) = self.mail.mailbox.enter(item) else {
            core.count(Counter::MailOverQuota, 1);
            return self.mail.state(link, data, CustodyVerdict::OverQuota);
        };
        for (number, item) in gone {
            core.count(Counter::MailDisplaced, 1);
            core.journal.write(Write::Delete { table: Table::Mail, key: key(number) });
            self.mail.state_gone(&item.frame, item.seal);
        }
        core.journal.write(Write::Put { table: Table::Mail, key: key(number), value });
        core.count(Counter::MailKept, 1);
        self.mail.state(link, data, CustodyVerdict::Kept);
        self.mail.look_again();
        arrival.acknowledge(core, neighbours);
    }

    /// Puts mail of receivers that have become known into boxes of their own, as far as there is room: there it is found by
    /// every handle of its receiver, and not only by the one in its header.
    pub(in crate::engine) fn adopt_mail(&mut self, core: &mut Core) {
        let strangers: Vec<(u64, MailBox)> = self
            .mail
            .mailbox
            .waiting(&None)
            .filter_map(|(number, item)| Some((number, wire::decode::<Header>(&item.frame.header).ok()?.mail?)))
            .collect();
        for (number, mailbox) in strangers {
            let Some(owner) = Self::owner_of(core, &mailbox) else { continue };
            if let Some(item) = self.mail.mailbox.adopt(number, owner) {
                let value = wire::encode(&MailRecord::of(item));
                core.journal.write(Write::Put { table: Table::Mail, key: key(number), value });
                self.mail.look_again();
            }
        }
    }

    /// Lets go of the mail of a receiver that has been revoked.
    pub(in crate::engine) fn cut_off_mail(&mut self, core: &mut Core, to: &Name) {
        for (number, _) in self.mail.mailbox.clear(&Some(to.clone())) {
            core.count(Counter::MailExpired, 1);
            core.journal.write(Write::Delete { table: Table::Mail, key: key(number) });
        }
    }
}
