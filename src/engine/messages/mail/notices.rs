//! Notices: what the sender of mail is told of its custody, on the way and at the end.
//!
//! Custody ends no message that asks for the receiver's confirmation. Who keeps such messages, or has refused to and why, is told
//!
//! - while they wait: in the `status` of the node, from where `send` takes it;
//! - in the event log, counted by receiver and custodian, at most once an interval;
//! - at the end, if no confirmation has come: in the reason of the outcome.
//!
//! Invariants
//! 1. Of each receiver the last that was said is told, and nothing once no message to it is open.

use crate::engine::core::Core;
use crate::engine::messages::Messages;
use crate::id::Name;
use crate::identity::credential::PeerCredential;
use crate::wire::custody::CustodyVerdict;
use std::collections::BTreeMap;

/// What custodians have said last, by receiver: each has messages that have not ended, so there are no more than destinations.
pub(super) type Said = BTreeMap<Name, (String, CustodyVerdict)>;

/// Who has said it: its name, if it is a contact.
pub(super) fn spell(name: Option<&Name>, by: &PeerCredential) -> String {
    name.map_or_else(|| format!("the mailbox with credential {}", by.hash.prefix()), Name::to_string)
}

/// Why a custodian does not keep mail.
fn why(verdict: CustodyVerdict) -> &'static str {
    match verdict {
        CustodyVerdict::Kept => "it does",
        CustodyVerdict::OverQuota => "its quota is used up",
        CustodyVerdict::NotStored => "its disk takes nothing at the moment",
        CustodyVerdict::NoSuchBox => "it keeps nothing for that device",
    }
}

impl Messages {
    /// A custodian has said what becomes of mail of this device.
    pub(super) fn note_custody(&mut self, core: &mut Core, to: &Name, by: String, verdict: CustodyVerdict) {
        let refused = (verdict != CustodyVerdict::Kept).then(|| why(verdict));
        core.note_custody(to.as_str(), &by, refused);
        self.mail.said.insert(to.clone(), (by, verdict));
    }

    /// A message to a device has ended: of others nothing has been said.
    pub(in crate::engine) fn forget_custody(&mut self, to: &Name) {
        if self.mail.said.contains_key(to) && self.sends.open_to(to) == 0 {
            self.mail.said.remove(to);
        }
    }

    /// What custodians have said last of messages to a device that have not ended, in words.
    pub(in crate::engine) fn custody_of(&self, to: &Name) -> Option<String> {
        let (by, verdict) = self.mail.said.get(to)?;
        Some(match verdict {
            CustodyVerdict::Kept => format!("{by} keeps it until {to} is there"),
            refused => format!("{by} does not keep it for {to}: {}", why(*refused)),
        })
    }
}
