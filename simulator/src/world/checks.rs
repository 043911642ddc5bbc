//! Checks: promises of the mesh that every run checks across nodes, whatever its scenario asks.
//!
//! Each check counts how often it was exercised, since a run says nothing of a promise that it never put to the test,
//! and how often it was violated, with the first examples.

use super::medium::{NANOS, now};
use crate::record;

/// A promise that is checked. The order is that of [`PROMISES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// An application receives a message at most once.
    AtMostOnce,
    /// A confirmed message is durable at its receiver when the sender is told.
    DurableFirst,
    /// A confirmed message is at its receiver at the end.
    NothingLost,
    /// A message that was refused is not at its receiver at the end.
    RefusedIsNotThere,
    /// A message is not handed over after its deadline.
    InTime,
    /// A message arrives as it was sent, at the receiver to which it was sent.
    Unaltered,
    /// Every message ends in one outcome.
    OneOutcome,
    /// Event logs verify.
    LogsVerify,
    /// No key seals twice under one nonce.
    FreshNonces,
    /// No device of another realm gets in.
    NoStranger,
    /// Links are up again after everything has healed.
    Converged,
    /// A subscription hears each publication once, in order and in time, or is told that it missed it.
    HeardOrTold,
    /// Every fault of the scenario has an effect.
    FaultsStrike,
    /// No node forwards a frame that it has forwarded before.
    NoLoop,
    /// No frame goes beyond the limits that it names.
    WithinLimits,
    /// The costs that are reported are those that the medium charges.
    BooksAgree,
    /// No node sends more than its quota.
    QuotasKept,
    /// No node sends or dials outside of access windows.
    WindowsKept,
    /// No node is on air for longer than its bearer's duty cycle allows.
    DutyKept,
    /// A publication goes over each link of its tree once.
    PushedOnce,
    /// Routers advertise true values for their links.
    LinkStateTrue,
    /// The reports on a message's path to its sender are true.
    ToldTruly,
    /// The counters of nodes are correct.
    CountsAgree,
    /// Who refuses a revoked device has nothing to do with it.
    RevokedAreOut,
    /// Nothing passes between devices that segments or lists of readers part.
    KeptApart,
    /// Nobody disturbs a device that has said that it sleeps.
    RestKept,
    /// Mail is not lost that a custodian has stated to keep.
    CustodyKept,
}

/// The name and the promise of each check.
const PROMISES: [(&str, &str); 27] = [
    ("at-most-once", "an application is handed a message once"),
    ("durable-first", "what a sender is told was delivered is on the receiver's disk by then"),
    ("nothing-lost", "what was confirmed is with the receiver's application, or in its inbox, at the end"),
    ("refused-is-not-there", "what was told refused is in no inbox, and never was"),
    ("in-time", "nothing is delivered after its deadline"),
    ("unaltered", "what arrives is what was sent, at the one it was sent to"),
    ("one-outcome", "every message of a node that stays up ends in exactly one outcome, by its deadline"),
    ("logs-verify", "every node's event log verifies"),
    ("fresh-nonces", "no key of any device and any life of it seals twice under one nonce"),
    ("no-stranger", "no device of another realm gets onto a link"),
    ("converged", "when everything has healed, every link stands that can"),
    (
        "heard-or-told",
        "a subscription hears every publication once, in order and in time, or is told that it missed it",
    ),
    ("faults-strike", "every fault of the scenario does what it is there for"),
    ("no-loop", "no device hands on a frame that it has sent or handed on before"),
    ("within-limits", "no frame goes on past its expiry, beyond its hops and budget, or over a bearer that it avoids"),
    ("books-agree", "what frames and senders are told was spent is what the medium charges for it"),
    ("quotas-kept", "no device sends more messages over a bearer than its quota in a period"),
    ("windows-kept", "no device sends or dials over a bearer outside of its access windows"),
    ("duty-kept", "no device is on air over a bearer for longer than its duty cycle allows, in any hour"),
    ("pushed-once", "no device pushes a publication's frame to a neighbour twice over one connection"),
    (
        "link-state-true",
        "routers tell of links that can be, at their price, with the delay that they have and no fewer losses",
    ),
    ("told-truly", "the latency and the hops that a sender is told are those of its message"),
    ("counts-agree", "what nodes count of messages and bytes is what there was"),
    (
        "revoked-are-out",
        "who has the bulletin has no link with a revoked device, takes nothing from it and gives it nothing",
    ),
    ("kept-apart", "nothing passes between devices that the realm's segments and lists of readers part"),
    (
        "rest-kept",
        "who has said that it sleeps sends and dials nothing, and nobody who was told dials it or sends to it",
    ),
    (
        "custody-kept",
        "mail is on the disk of whoever has stated to keep it, until another or its receiver has stated the same, or its time is over",
    ),
];

/// The state of all checks of a run.
#[derive(Clone, Debug)]
pub struct Checks(Vec<record::Check>);

impl Checks {
    /// Returns checks that have not been exercised.
    pub fn new() -> Self {
        let check = |(name, promise): &(&str, &str)| record::Check {
            name: (*name).to_owned(),
            promise: (*promise).to_owned(),
            looked: 0,
            violated: 0,
            examples: Vec::new(),
        };
        Self(PROMISES.iter().map(check).collect())
    }

    /// Counts that a promise was exercised; `found` describes the violation if it does not hold.
    pub fn look(&mut self, promise: Promise, holds: bool, found: impl FnOnce() -> String) {
        let check = &mut self.0[promise as usize];
        check.looked += 1;
        if !holds {
            check.violated += 1;
            if check.examples.len() < MAX_EXAMPLES {
                check.examples.push(format!("{:.6} s: {}", now() as f64 / NANOS as f64 - 1.0, found()));
            }
        }
    }

    /// Counts how often a promise was exercised, and how often it was violated.
    pub fn tally(&mut self, promise: Promise, looked: u64, violated: u64) {
        if violated > 0 {
            self.look(promise, false, || format!("{violated} times"));
        }
        let check = &mut self.0[promise as usize];
        (check.looked, check.violated) = (looked, violated);
    }

    /// Adds the results of other checks.
    pub fn merge(&mut self, others: Self) {
        for (check, other) in self.0.iter_mut().zip(others.0) {
            check.looked += other.looked;
            check.violated += other.violated;
            let room = MAX_EXAMPLES.saturating_sub(check.examples.len());
            check.examples.extend(other.examples.into_iter().take(room));
        }
    }

    /// Returns the number of violations of all checks.
    pub fn violated(&self) -> u64 {
        self.0.iter().map(|check| check.violated).sum()
    }

    /// Returns the checks in the form of the record.
    pub fn into_record(self) -> Vec<record::Check> {
        self.0
    }
}

/// The number of violations of each check that are described.
const MAX_EXAMPLES: usize = 10;
