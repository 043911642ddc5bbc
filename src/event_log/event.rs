//! What can happen: one variant a kind, with what an operator wants to know of it.

use super::chain::Hash;
use crate::id::{CredentialPrefix, Name};
use serde::{Deserialize, Serialize};

/// A chain of records that ended when what it lay in was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// Records that it had.
    pub records: u64,
    /// Its head: the hash of its newest record.
    #[serde(with = "serde_bytes")]
    pub head: Hash,
}

/// How often something happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What: a reason code or a counter's name.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// An event. Variants are numbered by their order on disk: new ones go to the end. Payloads, keys and other devices' lasting ids never appear in one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The node started.
    Started {
        /// Version of m2mesh.
        version: String,
    },
    /// The node stopped in good order.
    Stopped,
    /// This device enrolled or renewed: it has credentials until then (unix seconds).
    Joined {
        /// End of the last credential.
        until: u64,
    },
    /// Connections refused at admission since the last such event, by reason.
    Refused {
        /// Reason codes with counts.
        reasons: Vec<Count>,
    },
    /// A neighbour's link came up.
    LinkUp {
        /// Its name, if it is a contact.
        name: Option<Name>,
        /// Its credential.
        credential: CredentialPrefix,
        /// `tcp`, `quic`.
        transport: String,
    },
    /// A neighbour's link went down.
    LinkDown {
        /// Its name, if it is a contact.
        name: Option<Name>,
        /// Its credential.
        credential: CredentialPrefix,
        /// Why.
        reason: String,
    },
    /// Messages ended without delivery since the last such event.
    MessageFailed {
        /// To whom.
        to: String,
        /// How it ended: `expired`, `refused`, `unreachable`.
        outcome: String,
        /// Why.
        reason: String,
        /// How many.
        count: u64,
    },
    /// A device was enrolled here, this node being an issuer.
    Enrolled {
        /// Its name.
        name: Name,
    },
    /// An enrolment was refused here, this node being an issuer.
    EnrolmentRefused {
        /// Why.
        reason: String,
    },
    /// A newer bulletin was accepted.
    BulletinAccepted {
        /// Its version.
        version: u64,
    },
    /// The credential of a new epoch is in use.
    EpochChanged {
        /// Its number.
        epoch: u64,
    },
    /// Renewal did not succeed; it is tried again.
    RenewalFailed {
        /// Why.
        reason: String,
    },
    /// The wall clock moved against the monotonic one, in milliseconds.
    ClockStepped {
        /// By how much.
        by_ms: i64,
    },
    /// Something was dropped at a bound since the last such event, by counter.
    Dropped {
        /// Counters with counts.
        counts: Vec<Count>,
    },
    /// The disk does not take writes; nothing is acknowledged until it does.
    StoreFailed {
        /// Why.
        reason: String,
    },
    /// The disk takes writes again.
    StoreRecovered,
    /// Old records were dropped to keep the log within its bound.
    LogTrimmed {
        /// First record dropped.
        first: u64,
        /// Last record dropped.
        last: u64,
    },
    /// Something in the store was lost; what is left of it was set aside.
    Quarantined {
        /// Where the damaged files are, below the node's directory.
        place: String,
        /// What was wrong.
        reason: String,
        /// The chain of this log, if it does not verify without what was lost: with this record begins a new one.
        #[serde(default)]
        chain: Option<Chain>,
    },
    /// At boot this log did not verify; it goes on after the damage.
    LogBroken {
        /// The first bad record.
        record: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A call that was handed to the application will not be answered, and is not repeated.
    CallInterrupted {
        /// Of which service.
        service: String,
        /// Who called.
        from: Name,
        /// What happened.
        reason: String,
    },
    /// A neighbour was asked whether it lives and does not answer: nothing goes over that link for now.
    LinkSilent {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// Name of the link's bearer.
        bearer: String,
    },
    /// It is heard again.
    LinkHeard {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// Name of the link's bearer.
        bearer: String,
    },
    /// A bearer's quota is spent: nothing goes over it until the next period.
    QuotaSpent {
        /// Its name.
        bearer: String,
    },
    /// A bearer's next period has begun.
    QuotaRenewed {
        /// Its name.
        bearer: String,
    },
    /// Messages to a device take another way.
    RouteChanged {
        /// The device.
        to: Name,
        /// Whom it led over, the device last.
        old: Vec<String>,
        /// Whom it leads over now.
        new: Vec<String>,
        /// The one thing that made it.
        cause: String,
    },
    /// There is no way to a device any more.
    RouteLost {
        /// The device.
        to: Name,
        /// Why.
        cause: String,
    },
    /// Another device's clock and this one's differ by more than is allowed; both in unix seconds.
    ClockDiffers {
        /// Where the other is.
        address: String,
        /// What its clock says, as it says.
        theirs: u64,
        /// What this one's said.
        ours: u64,
    },
    /// The issuer has changed whose messages a contact's name stands for, or tried to.
    ContactChanged {
        /// The contact.
        name: Name,
        /// What is different.
        what: String,
    },
    /// The time by which the bulletin was to have a successor has passed. The node goes on with the one it has.
    BulletinOverdue {
        /// The version at hand.
        version: u64,
        /// That time (unix seconds).
        since: u64,
    },
    /// Two processes that both live have one identity: somebody has copied a device's directory. What is sent to the device
    /// goes to one of them.
    Twins {
        /// The device's name, if it is a contact or this node.
        name: Option<Name>,
        /// Where they are, as far as this node sees it.
        addresses: Vec<String>,
    },
}

impl Event {
    /// How many kinds this version knows: greater numbers are of later versions.
    pub const KINDS: u64 = 30;

    /// The kind as shown by `log --kind`: the variant in kebab case.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped => "stopped",
            Self::Joined { .. } => "joined",
            Self::Refused { .. } => "refused",
            Self::LinkUp { .. } => "link-up",
            Self::LinkDown { .. } => "link-down",
            Self::MessageFailed { .. } => "message-failed",
            Self::Enrolled { .. } => "enrolled",
            Self::EnrolmentRefused { .. } => "enrolment-refused",
            Self::BulletinAccepted { .. } => "bulletin-accepted",
            Self::EpochChanged { .. } => "epoch-changed",
            Self::RenewalFailed { .. } => "renewal-failed",
            Self::ClockStepped { .. } => "clock-stepped",
            Self::Dropped { .. } => "dropped",
            Self::StoreFailed { .. } => "store-failed",
            Self::StoreRecovered => "store-recovered",
            Self::LogTrimmed { .. } => "log-trimmed",
            Self::Quarantined { .. } => "quarantined",
            Self::LogBroken { .. } => "log-broken",
            Self::CallInterrupted { .. } => "call-interrupted",
            Self::LinkSilent { .. } => "link-silent",
            Self::LinkHeard { .. } => "link-heard",
            Self::QuotaSpent { .. } => "quota-spent",
            Self::QuotaRenewed { .. } => "quota-renewed",
            Self::RouteChanged { .. } => "route-changed",
            Self::RouteLost { .. } => "route-lost",
            Self::ClockDiffers { .. } => "clock-differs",
            Self::ContactChanged { .. } => "contact-changed",
            Self::BulletinOverdue { .. } => "bulletin-overdue",
            Self::Twins { .. } => "twins",
        }
    }

    /// What [`Self::kind`] answers, in the order of the numbers.
    pub const NAMES: [&'static str; Self::KINDS as usize] = [
        "started",
        "stopped",
        "joined",
        "refused",
        "link-up",
        "link-down",
        "message-failed",
        "enrolled",
        "enrolment-refused",
        "bulletin-accepted",
        "epoch-changed",
        "renewal-failed",
        "clock-stepped",
        "dropped",
        "store-failed",
        "store-recovered",
        "log-trimmed",
        "quarantined",
        "log-broken",
        "call-interrupted",
        "link-silent",
        "link-heard",
        "quota-spent",
        "quota-renewed",
        "route-changed",
        "route-lost",
        "clock-differs",
        "contact-changed",
        "bulletin-overdue",
        "twins",
    ];

    /// The same with its texts cut at [`MAX_TEXT`] and its lists at [`MAX_COUNTS`], which bounds a record.
    pub(crate) fn bounded(mut self) -> Self {
        match &mut self {
            Self::Started { version: text }
            | Self::LinkUp { transport: text, .. }
            | Self::LinkDown { reason: text, .. }
            | Self::EnrolmentRefused { reason: text }
            | Self::RenewalFailed { reason: text }
            | Self::StoreFailed { reason: text }
            | Self::LogBroken { reason: text, .. }
            | Self::LinkSilent { bearer: text, .. }
            | Self::LinkHeard { bearer: text, .. }
            | Self::QuotaSpent { bearer: text }
            | Self::QuotaRenewed { bearer: text }
            | Self::RouteLost { cause: text, .. }
            | Self::ClockDiffers { address: text, .. } => cut(text),
            Self::ContactChanged { what: text, .. } => cut(text),
            Self::RouteChanged { old, new, cause, .. } => {
                old.truncate(MAX_COUNTS);
                new.truncate(MAX_COUNTS);
                old.iter_mut().chain(new).for_each(cut);
                cut(cause);
            }
            Self::Twins { addresses, .. } => {
                addresses.truncate(MAX_COUNTS);
                addresses.iter_mut().for_each(cut);
            }
            Self::MessageFailed { to, outcome, reason, .. } => [to, outcome, reason].into_iter().for_each(cut),
            Self::Quarantined { place, reason, .. } => [place, reason].into_iter().for_each(cut),
            Self::CallInterrupted { service, reason, .. } => [service, reason].into_iter().for_each(cut),
            Self::Refused { reasons: counts } | Self::Dropped { counts } => {
                counts.truncate(MAX_COUNTS);
                counts.iter_mut().for_each(|count| cut(&mut count.name));
            }
            Self::Stopped
            | Self::Joined { .. }
            | Self::Enrolled { .. }
            | Self::BulletinAccepted { .. }
            | Self::BulletinOverdue { .. }
            | Self::EpochChanged { .. }
            | Self::ClockStepped { .. }
            | Self::StoreRecovered
            | Self::LogTrimmed { .. } => {}
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
}

/// Longest text in an event, in bytes: an error with the path it is about.
pub const MAX_TEXT: usize = 512;

/// Most counts in an event: all names of a tally and the one for the others.
pub const MAX_COUNTS: usize = super::notes::MAX_NAMES + 1;
