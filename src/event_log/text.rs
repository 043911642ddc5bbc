//! Events as an operator reads them: one line each, and fields for machines.

use super::event::{Chain, Count, Event};
use crate::id::Name;
use crate::time::Unix;
use core::fmt;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::collections::BTreeMap;

/// A field of an event, for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Field {
    /// A number.
    Number(u64),
    /// A number that may be negative.
    Signed(i64),
    /// A text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// Counts by name.
    Counts(BTreeMap<String, u64>),
    /// Not known.
    Absent(()),
}

impl Event {
    /// Its fields by name. Identifiers are hexadecimal.
    pub fn fields(&self) -> BTreeMap<&'static str, Field> {
        use Field::{Number, Signed, Text};
        let text = |text: &str| Text(text.to_owned());
        let name = |name: &Option<Name>| name.as_ref().map_or(Field::Absent(()), |name| Text(name.to_string()));
        let fields = match self {
            Self::Started { version } => vec![("version", text(version))],
            Self::Stopped | Self::StoreRecovered => vec![],
            Self::Joined { until } => vec![("until", text(&Unix::from_seconds(*until).to_string()))],
            Self::Refused { reasons } => vec![("reasons", Field::counts(reasons))],
            Self::LinkUp { name: who, credential, transport } => {
                vec![("name", name(who)), ("credential", Text(credential.to_string())), ("transport", text(transport))]
            }
            Self::LinkDown { name: who, credential, reason } => {
                vec![("name", name(who)), ("credential", Text(credential.to_string())), ("reason", text(reason))]
            }
            Self::MessageFailed { to, outcome, reason, count } => {
                vec![("to", text(to)), ("outcome", text(outcome)), ("reason", text(reason)), ("count", Number(*count))]
            }
            Self::Enrolled { name } => vec![("name", Text(name.to_string()))],
            Self::EnrolmentRefused { reason } | Self::RenewalFailed { reason } | Self::StoreFailed { reason } => {
                vec![("reason", text(reason))]
            }
            Self::BulletinAccepted { version } => vec![("version", Number(*version))],
            Self::BulletinOverdue { version, since } => {
                vec![("version", Number(*version)), ("since", text(&Unix::from_seconds(*since).to_string()))]
            }
            Self::EpochChanged { epoch } => vec![("epoch", Number(*epoch))],
            Self::ClockStepped { by_ms } => vec![("by_ms", Signed(*by_ms))],
            Self::Dropped { counts } => vec![("counts", Field::counts(counts))],
            Self::LogTrimmed { first, last } => vec![("first", Number(*first)), ("last", Number(*last))],
            Self::Quarantined { place, reason, chain } => {
                let mut fields = vec![("place", text(place)), ("reason", text(reason))];
                if let Some(Chain { records, head }) = chain {
                    fields.extend([("records", Number(*records)), ("head", Text(HEXLOWER.encode(head)))]);
                }
                fields
            }
            Self::LogBroken { record, reason } => vec![("record", Number(*record)), ("reason", text(reason))],
            Self::CallInterrupted { service, from, reason } => {
                vec![("service", text(service)), ("from", Text(from.to_string())), ("reason", text(reason))]
            }
            Self::LinkSilent { name: who, bearer } | Self::LinkHeard { name: who, bearer } => {
                vec![("name", name(who)), ("bearer", text(bearer))]
            }
            Self::QuotaSpent { bearer } | Self::QuotaRenewed { bearer } => vec![("bearer", text(bearer))],
            Self::RouteChanged { to, old, new, cause } => vec![
                ("to", Text(to.to_string())),
                ("old", Field::Texts(old.clone())),
                ("new", Field::Texts(new.clone())),
                ("cause", text(cause)),
            ],
            Self::RouteLost { to, cause } => vec![("to", Text(to.to_string())), ("cause", text(cause))],
            Self::ClockDiffers { address, theirs, ours } => vec![
                ("address", text(address)),
                ("theirs", text(&Unix::from_seconds(*theirs).to_string())),
                ("ours", text(&Unix::from_seconds(*ours).to_string())),
            ],
            Self::ContactChanged { name, what } => vec![("name", Text(name.to_string())), ("what", text(what))],
            Self::Twins { name: who, addresses } => {
                vec![("name", name(who)), ("addresses", Field::Texts(addresses.clone()))]
            }
        };
        fields.into_iter().collect()
    }
}

impl Field {
    fn counts(counts: &[Count]) -> Self {
        let mut by_name = BTreeMap::new();
        for Count { name, count } in counts {
            *by_name.entry(name.clone()).or_insert(0) += count;
        }
        Self::Counts(by_name)
    }
}

impl fmt::Display for Event {
    /// One line, whatever the texts in it hold: control characters are shown escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { version } => write!(f, "started, m2mesh {}", Line(version)),
            Self::Stopped => write!(f, "stopped in good order"),
            Self::Joined { until } => write!(f, "has credentials until {}", Unix::from_seconds(*until)),
            Self::Refused { reasons } => {
                write!(f, "refused {}: {}", Plural(total(reasons), "connection"), List(reasons))
            }
            Self::LinkUp { name, credential, transport } => {
                write!(f, "link to {} up over {}", Who(name), Line(transport))?;
                write!(f, " (credential {credential})")
            }
            Self::LinkDown { name, credential, reason } => {
                write!(f, "link to {} down: {}", Who(name), Line(reason))?;
                write!(f, " (credential {credential})")
            }
            Self::MessageFailed { to, outcome, reason, count } => {
                write!(f, "{} to {} {}: {}", Plural(*count, "message"), Line(to), Line(outcome), Line(reason))
            }
            Self::Enrolled { name } => write!(f, "enrolled device {name}"),
            Self::EnrolmentRefused { reason } => write!(f, "refused an enrolment: {}", Line(reason)),
            Self::BulletinAccepted { version } => write!(f, "accepted bulletin version {version}"),
            Self::BulletinOverdue { version, since } => write!(
                f,
                "bulletin version {version} was to be followed by {}; the node goes on with it",
                Unix::from_seconds(*since)
            ),
            Self::EpochChanged { epoch } => write!(f, "uses the credential of epoch {epoch}"),
            Self::RenewalFailed { reason } => write!(f, "renewal failed, will be tried again: {}", Line(reason)),
            Self::ClockStepped { by_ms } => {
                let direction = if *by_ms < 0 { "back" } else { "forward" };
                let by = by_ms.unsigned_abs();
                write!(f, "the clock was set {direction} by {}.{:03} s", by / 1_000, by % 1_000)
            }
            Self::Dropped { counts } => write!(f, "dropped at a bound: {}", List(counts)),
            Self::StoreFailed { reason } => {
                write!(f, "the disk takes no writes, nothing is acknowledged until it does: {}", Line(reason))
            }
            Self::StoreRecovered => write!(f, "the disk takes writes again"),
            Self::LogTrimmed { first, last } => {
                write!(f, "dropped old log records {first} to {last} to keep the log within its bound")
            }
            Self::Quarantined { place, reason, chain } => {
                write!(f, "damage in the store, set aside as {}: {}", Line(place), Line(reason))?;
                let Some(Chain { records, head }) = chain else { return Ok(()) };
                let head = HEXLOWER.encode(head);
                write!(f, "; this log begins a new chain, the one before had {records} records and the head {head}")
            }
            Self::LogBroken { record, reason } => {
                write!(f, "this log did not verify at start: record {record} {}", Line(reason))
            }
            Self::CallInterrupted { service, from, reason } => {
                write!(f, "a call of {} by {from} was interrupted: {}", Line(service), Line(reason))
            }
            Self::LinkSilent { name, bearer } => {
                write!(f, "{} does not answer over {}: nothing goes there for now", Who(name), Line(bearer))
            }
            Self::LinkHeard { name, bearer } => write!(f, "{} is heard again over {}", Who(name), Line(bearer)),
            Self::QuotaSpent { bearer } => {
                write!(f, "the quota of {} is spent: nothing goes over it until the next period", Line(bearer))
            }
            Self::QuotaRenewed { bearer } => write!(f, "a new period of the quota of {} has begun", Line(bearer)),
            Self::RouteChanged { to, old, new, cause } => {
                write!(f, "the way to {to} changed from {} to {}: {}", Way(old), Way(new), Line(cause))
            }
            Self::ContactChanged { name, what } => write!(f, "contact {name}: {}", Line(what)),
            Self::RouteLost { to, cause } => write!(f, "there is no way to {to} any more: {}", Line(cause)),
            Self::ClockDiffers { address, theirs, ours } => {
                let (theirs, ours) = (Unix::from_seconds(*theirs), Unix::from_seconds(*ours));
                write!(f, "the clock of the device at {} says {theirs}, this one's {ours}: one is wrong", Line(address))
            }
            Self::Twins { name, addresses } => {
                write!(f, "two copies of {} run at once, at {}: ", Who(name), Line(&addresses.join(" and ")))?;
                write!(f, "each message to it reaches one of them; stop one, and enrol it anew if both are needed")
            }
        }
    }
}

fn total(counts: &[Count]) -> u64 {
    counts.iter().fold(0, |sum, count| sum.saturating_add(count.count))
}

/// A text kept to one line.
struct Line<'a>(&'a str);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c.is_control() {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A number with its noun.
struct Plural(u64, &'static str);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// `expired 3, wrong-peer 1`.
struct List<'a>(&'a [Count]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Count { name, count }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{} {count}", Line(name))?;
        }
        Ok(())
    }
}

/// `mast → gate`.
struct Way<'a>(&'a [String]);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { " → " }, Line(name))?;
        }
        Ok(())
    }
}

/// A neighbour, by name if it is a contact.
struct Who<'a>(&'a Option<Name>);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "a neighbour that is no contact"),
        }
    }
}
