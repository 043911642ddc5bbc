//! What an operator may see of the mail that is kept here.

use crate::delivery::mailbox::{Owner, Sum};
use crate::engine::Engine;
use crate::engine::api::{Reply, Token};
use crate::engine::view::MailboxView;

impl Engine {
    pub(super) fn report_mailbox(&mut self, token: Token) {
        let boxes = self.mailbox();
        self.core.finish(token, Reply::Mailbox(boxes));
    }

    /// The boxes in which something lies, and those of devices whose parent this one is, by their owners' names; last the one that all others share.
    pub fn mailbox(&self) -> Vec<MailboxView> {
        let view = |(owner, sum): (&Owner, Sum)| {
            let Sum { mails, bytes, under_way, oldest, expires } = sum;
            MailboxView { to: owner.clone(), parent: false, mails, bytes, under_way, oldest, expires }
        };
        let mut boxes: Vec<MailboxView> = self.messages.mail.mailbox.boxes().map(view).collect();
        for name in self.neighbours.sleepers.children() {
            match boxes.iter_mut().find(|one| one.to.as_ref() == Some(name)) {
                Some(one) => one.parent = true,
                None => boxes.push(MailboxView { to: Some(name.clone()), parent: true, ..MailboxView::default() }),
            }
        }
        boxes.sort_by(|a, b| (a.to.is_none(), &a.to).cmp(&(b.to.is_none(), &b.to)));
        boxes
    }
}
