//! Events: what can happen, with one declaration for each kind.
//!
//! A declaration contains everything about a kind: what it means, the name by which `log --kind` selects it, its fields
//! with what each of them means, and the line that it is shown as. From it are made the variant of [`Event`], its form
//! on disk, its text, its fields in JSON, the bound on its size, and its row in `docs/events.md`. A new kind is added
//! at the end of the table, with a sample in the tests of this module.
//!
//! Invariants
//! 1. Kinds are numbered by their order here, also on disk, and so are fields: new ones are added at the end.
//! 2. A recorded event is bounded: texts at [`MAX_TEXT`], lists at [`MAX_COUNTS`].
//! - Payloads, keys and lasting ids of other devices never appear in an event.
//! - A time is stored in Unix seconds, and declared `as Seconds`, which shows it as a time.

use super::chain::Hash;
use super::declared::events;
use super::text::{Joined, Plural, Seconds, Step, total};
use crate::id::{CredentialPrefix, Name};
use serde::{Deserialize, Serialize};

/// A chain of records that ended when the store that held it was set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// The number of its records.
    pub records: u64,
    /// The hash of its newest record.
    #[serde(with = "serde_bytes")]
    pub head: Hash,
}

/// A number of occurrences under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The name: a reason code or a counter's name.
    pub name: String,
    /// The number of occurrences.
    pub count: u64,
}

events! {
    /// The node started.
    Started = "started" {
        /// The version of m2mesh.
        version: String,
    } => "started, m2mesh {version}";

    /// The node stopped in an orderly manner.
    Stopped = "stopped" => "stopped in good order";

    /// This device enrolled or renewed, and has credentials until the given time.
    Joined = "joined" {
        /// The end of the last credential.
        until: u64 as Seconds,
    } => "has credentials until {until}";

    /// Connections were refused at admission since the last such event, counted by reason.
    Refused = "refused" {
        /// Reason codes with counts.
        reasons: Vec<Count>,
    } => "refused {connections}: {reasons}", connections = Plural(total(reasons), "connection");

    /// A neighbour's link came up.
    LinkUp = "link-up" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// The neighbour's credential.
        credential: CredentialPrefix,
        /// The transport: `tcp` or `quic`.
        transport: String,
    } => "link to {name} up over {transport} (credential {credential})";

    /// A neighbour's link went down.
    LinkDown = "link-down" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// The neighbour's credential.
        credential: CredentialPrefix,
        /// The reason.
        reason: String,
    } => "link to {name} down: {reason} (credential {credential})";

    /// Messages ended without delivery since the last such event.
    MessageFailed = "message-failed" {
        /// The destination.
        to: String,
        /// How the messages ended: `expired`, `refused`, `unreachable`.
        outcome: String,
        /// The reason.
        reason: String,
        /// The number of messages.
        count: u64,
    } => "{messages} to {to} {outcome}: {reason}", messages = Plural(*count, "message");

    /// This node, as an issuer, enrolled a device.
    Enrolled = "enrolled" {
        /// The device's name.
        name: Name,
    } => "enrolled device {name}";

    /// This node, as an issuer, refused an enrolment.
    EnrolmentRefused = "enrolment-refused" {
        /// The reason.
        reason: String,
    } => "refused an enrolment: {reason}";

    /// A newer bulletin was accepted.
    BulletinAccepted = "bulletin-accepted" {
        /// The version of the bulletin.
        version: u64,
    } => "accepted bulletin version {version}";

    /// The node now uses the credential of a new epoch.
    EpochChanged = "epoch-changed" {
        /// The number of the epoch.
        epoch: u64,
    } => "uses the credential of epoch {epoch}";

    /// Renewal did not succeed; it is tried again.
    RenewalFailed = "renewal-failed" {
        /// The reason.
        reason: String,
    } => "renewal failed, will be tried again: {reason}";

    /// The wall clock was set: it moved against the monotonic clock.
    ClockStepped = "clock-stepped" {
        /// The step in milliseconds; negative if the clock was set back.
        by_ms: i64,
    } => "the clock was set {step}", step = Step(*by_ms);

    /// Something was dropped at a bound since the last such event, counted by counter.
    Dropped = "dropped" {
        /// The counters with their counts.
        counts: Vec<Count>,
    } => "dropped at a bound: {counts}";

    /// The disk does not take writes; nothing is acknowledged until it does.
    StoreFailed = "store-failed" {
        /// The reason.
        reason: String,
    } => "the disk takes no writes, nothing is acknowledged until it does: {reason}";

    /// The disk takes writes again.
    StoreRecovered = "store-recovered" => "the disk takes writes again";

    /// Old records were removed to keep the log within its bound.
    LogTrimmed = "log-trimmed" {
        /// The first record removed.
        first: u64,
        /// The last record removed.
        last: u64,
    } => "dropped old log records {first} to {last} to keep the log within its bound";

    /// Something in the store was lost, and the damaged files were set aside.
    Quarantined = "quarantined" {
        /// Where the damaged files are, relative to the node's directory.
        place: String,
        /// What was wrong.
        reason: String,
        /// The chain of this log, if it does not verify without what was lost; a new chain then begins with this
        /// record.
        #[serde(default)]
        chain: Option<Chain>,
    } => "damage in the store, set aside as {place}: {reason}{chain}";

    /// At boot this log did not verify; it continues after the damage.
    LogBroken = "log-broken" {
        /// The first bad record.
        record: u64,
        /// What is wrong with it.
        reason: String,
    } => "this log did not verify at start: record {record} {reason}";

    /// A call that was handed to the application will not be answered, and is not repeated.
    CallInterrupted = "call-interrupted" {
        /// The service that was called.
        service: String,
        /// The device that called.
        from: Name,
        /// What happened.
        reason: String,
    } => "a call of {service} by {from} was interrupted: {reason}";

    /// A neighbour was pinged and does not answer: nothing is sent over that link for now.
    LinkSilent = "link-silent" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// The name of the link's bearer.
        bearer: String,
    } => "{name} does not answer over {bearer}: nothing goes there for now";

    /// A silent neighbour is heard again over the link.
    LinkHeard = "link-heard" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// The name of the link's bearer.
        bearer: String,
    } => "{name} is heard again over {bearer}";

    /// A bearer's quota is spent: nothing is sent over it until the next period.
    QuotaSpent = "quota-spent" {
        /// The name of the bearer.
        bearer: String,
    } => "the quota of {bearer} is spent: nothing goes over it until the next period";

    /// The next period of a bearer's quota has begun.
    QuotaRenewed = "quota-renewed" {
        /// The name of the bearer.
        bearer: String,
    } => "a new period of the quota of {bearer} has begun";

    /// Messages to a device take another route.
    RouteChanged = "route-changed" {
        /// The destination.
        to: Name,
        /// The hops of the old route, the destination last.
        old: Vec<String>,
        /// The hops of the new route, the destination last.
        new: Vec<String>,
        /// The one cause of the change.
        cause: String,
    } => "the way to {to} changed from {old} to {new}: {cause}";

    /// There is no route to a device any more.
    RouteLost = "route-lost" {
        /// The destination.
        to: Name,
        /// The cause.
        cause: String,
    } => "there is no way to {to} any more: {cause}";

    /// Another device's clock and this one's differ by more than is allowed.
    ClockDiffers = "clock-differs" {
        /// The address of the other device.
        address: String,
        /// The time of the other device's clock.
        theirs: u64 as Seconds,
        /// The time of this device's clock.
        ours: u64 as Seconds,
    } => "the clock of the device at {address} says {theirs}, this one's {ours}: one is wrong";

    /// The issuer has changed, or tried to change, which device a contact's name stands for.
    ContactChanged = "contact-changed" {
        /// The name of the contact.
        name: Name,
        /// What has changed.
        what: String,
    } => "contact {name}: {what}";

    /// The time by which the bulletin was to have a successor has passed. The node continues with the bulletin that it
    /// has.
    BulletinOverdue = "bulletin-overdue" {
        /// The version that the node has.
        version: u64,
        /// The time by which a successor was due.
        since: u64 as Seconds,
    } => "bulletin version {version} was to be followed by {since}; the node goes on with it";

    /// Two running processes have one identity: somebody has copied a device's directory. What is sent to the device
    /// reaches one of them.
    Twins = "twins" {
        /// The device's name, if it is a contact or this node.
        name: Option<Name>,
        /// The addresses of the processes, as far as this node knows.
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

    /// The device goes on under the pseudonym of another epoch.
    PseudonymChanged = "pseudonym-changed" {
        /// The number of the epoch.
        epoch: u64,
    } => "takes part under the pseudonym of epoch {epoch}";

    /// The network of the next pseudonym could not be opened; it is tried again.
    RotationFailed = "rotation-failed" {
        /// The reason.
        reason: String,
    } => "the next pseudonym has no network yet, will be tried again: {reason}";

    /// A neighbour is in quarantine: it is neither dialled nor admitted for a while. Its links were closed for what it sent,
    /// and not for the first time.
    NeighbourQuarantined = "neighbour-quarantined" {
        /// The neighbour's name, if it is a contact.
        name: Option<Name>,
        /// The neighbour's credential.
        credential: CredentialPrefix,
        /// What it did.
        reason: String,
        /// For how many seconds.
        seconds: u64,
        /// How often it has done such a thing, what has been forgiven left out.
        offences: u64,
    } => "{name} is in quarantine for {seconds} s, offence {offences}: {reason}; look at the device, `m2mesh peers --lift-quarantine` lets it come back (credential {credential})";

    /// The operator has lifted the quarantine of all neighbours.
    QuarantineLifted = "quarantine-lifted" {
        /// The number of neighbours that were in quarantine.
        neighbours: u64,
    } => "the quarantine of {held} was lifted", held = Plural(*neighbours, "neighbour");

    /// The time that others have told was of no use: under the pseudonym that the device has for that time, nobody linked to
    /// it. The device goes on under the one before.
    TimeToldInVain = "time-told-in-vain" {
        /// The time that was told, in Unix seconds.
        told: u64 as Seconds,
    } => "nobody linked to this device under the pseudonym for the time that others told, {told}; it goes on as before";

    /// The device keeps its pseudonyms for another length of time from the first epoch on whose keys are not certified yet.
    AnonymitySet = "anonymity-set" {
        /// The mode: rotating, strict or stable.
        anonymity: String,
    } => "pseudonyms are {anonymity} from the first epoch whose keys are not certified yet";

    /// A contact has sent a blob, which is whole and in the inbox.
    BlobReceived = "blob-received" {
        /// The contact.
        from: Name,
        /// Its length.
        bytes: u64,
    } => "a blob of {bytes} bytes from {from} is in the inbox";

    /// A blob could not be taken, written or read.
    BlobFailed = "blob-failed" {
        /// The contact that it came from, or was to come from; or the disk.
        with: String,
        /// The reason.
        reason: String,
    } => "a blob failed, by {with}: {reason}";

    /// The air time of a bearer is used up: nothing is sent over it until enough of it has come back.
    AirSpent = "air-spent" {
        /// The name of the bearer.
        bearer: String,
        /// In how many seconds it may be on air again.
        again_s: u64,
    } => "the air time of {bearer} is used up: it may be on air again in {again_s} s";

    /// A receiver has had no room in its inbox for a while: messages to it wait.
    ReceiverFull = "receiver-full" {
        /// Its name.
        name: Name,
        /// How many messages to it have not ended.
        waiting: u64,
    } => "the inbox of {name} is full: {waiting} messages to it wait; let its consumers take what lies there";

    /// A receiver that had no room takes messages again.
    ReceiverTakes = "receiver-takes" {
        /// Its name.
        name: Name,
    } => "the inbox of {name} takes messages again";

    /// A broadcast goes another way than over every link, since that reaches the same devices.
    BroadcastNarrowed = "broadcast-narrowed" {
        /// The way: `multicast`, along a tree of all routers, or `unicast`, to the only other device.
        to: String,
        /// The devices within reach.
        receivers: u64,
        /// The transmissions that it takes.
        transmissions: u64,
        /// The transmissions that a flood would take.
        flood: u64,
    } => "a broadcast to {receivers} devices goes as {to}: {transmissions} transmissions instead of {flood}";

    /// A mailbox keeps mail of this device for a receiver that is away.
    MailTaken = "mail-taken" {
        /// The receiver.
        to: String,
        /// The mailbox.
        by: String,
        /// How many mails, each of which may hold several messages.
        count: u64,
    } => "{mails} for {to} kept by {by} until it is there", mails = Plural(*count, "mail");

    /// A mailbox does not keep mail of this device, or keeps it no more. It goes another way, or is sent again.
    MailNotTaken = "mail-not-taken" {
        /// The receiver.
        to: String,
        /// The mailbox.
        by: String,
        /// The reason.
        reason: String,
        /// How many mails, each of which may hold several messages.
        count: u64,
    } => "{mails} for {to} not kept by {by}: {reason}", mails = Plural(*count, "mail");
}

/// The longest text in an event, in bytes: enough for an error with the path that it concerns.
pub const MAX_TEXT: usize = 512;

/// The most entries in a list of an event: all names of a tally and the one for the others.
pub const MAX_COUNTS: usize = super::notes::MAX_NAMES + 1;
