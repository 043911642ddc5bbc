//! What can happen: one declaration a kind, with what an operator wants to know of it.
//!
//! A declaration says all there is to a kind: what it means, the name by which `log --kind` asks for it, its fields with what
//! each is, and the line that it is read as. From it come the variant of [`Event`], its form on disk, its text, its fields in
//! JSON, the bound on its size, and its row in `docs/events.md`. To add one, add it at the end of the table, and a sample of
//! it to the tests of this module.
//!
//! Invariants
//! 1. Kinds are numbered by their order here, on disk too, and fields likewise: new ones go to the end.
//! 2. Payloads, keys and other devices' lasting ids never appear in an event.
//! 3. A time is kept in unix seconds, and declared `as Seconds`, as which it is shown.
//! 4. A recorded event is bounded: texts at [`MAX_TEXT`], lists at [`MAX_COUNTS`].

use super::chain::Hash;
use super::declared::events;
use super::text::{Joined, Plural, Seconds, Step, total};
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

events! {
    /// The node started.
    Started = "started" {
        /// Version of m2mesh.
        version: String,
    } => "started, m2mesh {version}";

    /// The node stopped in good order.
    Stopped = "stopped" => "stopped in good order";

    /// This device enrolled or renewed: it has credentials until then.
    Joined = "joined" {
        /// End of the last credential.
        until: u64 as Seconds,
    } => "has credentials until {until}";

    /// Connections refused at admission since the last such event, by reason.
    Refused = "refused" {
        /// Reason codes with counts.
        reasons: Vec<Count>,
    } => "refused {connections}: {reasons}", connections = Plural(total(reasons), "connection");

    /// A neighbour's link came up.
    LinkUp = "link-up" {
        /// Its name, if it is a contact.
        name: Option<Name>,
        /// Its credential.
        credential: CredentialPrefix,
        /// `tcp`, `quic`.
        transport: String,
    } => "link to {name} up over {transport} (credential {credential})";

    /// A neighbour's link went down.
    LinkDown = "link-down" {
        /// Its name, if it is a contact.
        name: Option<Name>,
        /// Its credential.
        credential: CredentialPrefix,
        /// Why.
        reason: String,
    } => "link to {name} down: {reason} (credential {credential})";

    /// Messages ended without delivery since the last such event.
    MessageFailed = "message-failed" {
        /// To whom.
        to: String,
        /// How it ended: `expired`, `refused`, `unreachable`.
        outcome: String,
        /// Why.
        reason: String,
        /// How many.
        count: u64,
    } => "{messages} to {to} {outcome}: {reason}", messages = Plural(*count, "message");

    /// A device was enrolled here, this node being an issuer.
    Enrolled = "enrolled" {
        /// Its name.
        name: Name,
    } => "enrolled device {name}";

    /// An enrolment was refused here, this node being an issuer.
    EnrolmentRefused = "enrolment-refused" {
        /// Why.
        reason: String,
    } => "refused an enrolment: {reason}";

    /// A newer bulletin was accepted.
    BulletinAccepted = "bulletin-accepted" {
        /// Its version.
        version: u64,
    } => "accepted bulletin version {version}";

    /// The credential of a new epoch is in use.
    EpochChanged = "epoch-changed" {
        /// Its number.
        epoch: u64,
    } => "uses the credential of epoch {epoch}";

    /// Renewal did not succeed; it is tried again.
    RenewalFailed = "renewal-failed" {
        /// Why.
        reason: String,
    } => "renewal failed, will be tried again: {reason}";

    /// The wall clock moved against the monotonic one.
    ClockStepped = "clock-stepped" {
        /// By how much, in milliseconds; below zero: back.
        by_ms: i64,
    } => "the clock was set {step}", step = Step(*by_ms);

    /// Something was dropped at a bound since the last such event, by counter.
    Dropped = "dropped" {
        /// Counters with counts.
        counts: Vec<Count>,
    } => "dropped at a bound: {counts}";

    /// The disk does not take writes; nothing is acknowledged until it does.
    StoreFailed = "store-failed" {
        /// Why.
        reason: String,
    } => "the disk takes no writes, nothing is acknowledged until it does: {reason}";

    /// The disk takes writes again.
    StoreRecovered = "store-recovered" => "the disk takes writes again";

    /// Old records were dropped to keep the log within its bound.
    LogTrimmed = "log-trimmed" {
        /// First record dropped.
        first: u64,
        /// Last record dropped.
        last: u64,
    } => "dropped old log records {first} to {last} to keep the log within its bound";

    /// Something in the store was lost; what is left of it was set aside.
    Quarantined = "quarantined" {
        /// Where the damaged files are, below the node's directory.
        place: String,
        /// What was wrong.
        reason: String,
        /// The chain of this log, if it does not verify without what was lost: with this record begins a new one.
        #[serde(default)]
        chain: Option<Chain>,
    } => "damage in the store, set aside as {place}: {reason}{chain}";

    /// At boot this log did not verify; it goes on after the damage.
    LogBroken = "log-broken" {
        /// The first bad record.
        record: u64,
        /// What is wrong with it.
        reason: String,
    } => "this log did not verify at start: record {record} {reason}";

    /// A call that was handed to the application will not be answered, and is not repeated.
    CallInterrupted = "call-interrupted" {
        /// Of which service.
        service: String,
        /// Who called.
        from: Name,
        /// What happened.
        reason: String,
    } => "a call of {service} by {from} was interrupted: {reason}";

    /// A neighbour was asked whether it lives and does not answer: nothing goes over that link for now.
    LinkSilent = "link-silent" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// Name of the link's bearer.
        bearer: String,
    } => "{name} does not answer over {bearer}: nothing goes there for now";

    /// It is heard again.
    LinkHeard = "link-heard" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// Name of the link's bearer.
        bearer: String,
    } => "{name} is heard again over {bearer}";

    /// A bearer's quota is spent: nothing goes over it until the next period.
    QuotaSpent = "quota-spent" {
        /// Its name.
        bearer: String,
    } => "the quota of {bearer} is spent: nothing goes over it until the next period";

    /// A bearer's next period has begun.
    QuotaRenewed = "quota-renewed" {
        /// Its name.
        bearer: String,
    } => "a new period of the quota of {bearer} has begun";

    /// Messages to a device take another way.
    RouteChanged = "route-changed" {
        /// The device.
        to: Name,
        /// Whom it led over, the device last.
        old: Vec<String>,
        /// Whom it leads over now.
        new: Vec<String>,
        /// The one thing that made it.
        cause: String,
    } => "the way to {to} changed from {old} to {new}: {cause}";

    /// There is no way to a device any more.
    RouteLost = "route-lost" {
        /// The device.
        to: Name,
        /// Why.
        cause: String,
    } => "there is no way to {to} any more: {cause}";

    /// Another device's clock and this one's differ by more than is allowed.
    ClockDiffers = "clock-differs" {
        /// Where the other is.
        address: String,
        /// What its clock says, as it says.
        theirs: u64 as Seconds,
        /// What this one's said, likewise.
        ours: u64 as Seconds,
    } => "the clock of the device at {address} says {theirs}, this one's {ours}: one is wrong";

    /// The issuer has changed whose messages a contact's name stands for, or tried to.
    ContactChanged = "contact-changed" {
        /// The contact.
        name: Name,
        /// What is different.
        what: String,
    } => "contact {name}: {what}";

    /// The time by which the bulletin was to have a successor has passed. The node goes on with the one it has.
    BulletinOverdue = "bulletin-overdue" {
        /// The version at hand.
        version: u64,
        /// That time.
        since: u64 as Seconds,
    } => "bulletin version {version} was to be followed by {since}; the node goes on with it";

    /// Two processes that both live have one identity: somebody has copied a device's directory. What is sent to the device
    /// goes to one of them.
    Twins = "twins" {
        /// The device's name, if it is a contact or this node.
        name: Option<Name>,
        /// Where they are, as far as this node sees it.
        addresses: Vec<String>,
    } => "two copies of {name} run at once, at {places}: each message to it reaches one of them; stop one, and enrol it anew if both are needed",
        places = Joined(addresses, " and ");

    /// The machine's clock says less than must have passed. The node goes on by a clock of its own, and asks others for the time.
    ClockUnset = "clock-unset" {
        /// What the machine's clock says.
        machine: u64 as Seconds,
        /// From where the node's own goes on.
        from: u64 as Seconds,
    } => "this machine's clock is not set, it says {machine}: the node goes on from {from}, and asks others for the time";

    /// The node has learnt the time, which its machine does not know.
    ClockLearnt = "clock-learnt" {
        /// From whom.
        from: String,
        /// What it is.
        at: u64 as Seconds,
    } => "the time was learnt from {from}: {at}";
}

/// Longest text in an event, in bytes: an error with the path it is about.
pub const MAX_TEXT: usize = 512;

/// Most counts in an event: all names of a tally and the one for the others.
pub const MAX_COUNTS: usize = super::notes::MAX_NAMES + 1;
