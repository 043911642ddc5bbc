//! Examples of events of every kind.

use super::*;
use event::Count;

/// Further examples of kinds that have more than one form.
pub(super) fn others() -> Vec<Event> {
    let text = |text: &str| text.to_owned();
    let chain = Some(event::Chain { records: 12, head: [0xab; 32] });
    vec![
        Event::Refused { reasons: vec![Count { name: text("expired"), count: 1 }] },
        Event::LinkDown { name: Name::new("mast").ok(), credential: CredentialPrefix([8; 8]), reason: text("closed") },
        Event::MessageFailed { to: text("pump"), outcome: text("expired"), reason: text("no receipt"), count: 1 },
        Event::ClockStepped { by_ms: 3_600_007 },
        Event::Quarantined { place: text("store.quarantine-1800000000"), reason: text("corrupt"), chain },
        Event::Twins { name: Name::new("pump").ok(), addresses: vec![text("/ip4/192.0.2.1/tcp/7")] },
    ]
}

fn pump() -> Name {
    Name::new("pump").expect("a name")
}

/// One example of every kind, in the order of their numbers on disk.
pub(super) fn samples() -> Vec<Event> {
    let (name, credential) = (Name::new("meter-17").ok(), CredentialPrefix([7; 8]));
    let text = |text: &str| text.to_owned();
    let count = |name: &str, count| Count { name: name.to_owned(), count };
    vec![
        Event::Started { version: text("0.1.0") },
        Event::Stopped,
        Event::Joined { until: 1_800_604_800 },
        Event::Refused { reasons: vec![count("expired", 3), count("wrong-peer", 1)] },
        Event::LinkUp { name: name.clone(), credential, transport: text("tcp") },
        Event::LinkDown { name: None, credential, reason: text("the other side\nclosed it") },
        Event::MessageFailed { to: text("pump"), outcome: text("expired"), reason: text("no receipt"), count: 2 },
        Event::Enrolled { name: pump() },
        Event::EnrolmentRefused { reason: text("the ticket was used") },
        Event::BulletinAccepted { version: 4 },
        Event::EpochChanged { epoch: 500_000 },
        Event::RenewalFailed { reason: text("no issuer in reach") },
        Event::ClockStepped { by_ms: -1_250 },
        Event::Dropped { counts: vec![count("gossip-queue", 9)] },
        Event::StoreFailed { reason: text("no space left") },
        Event::StoreRecovered,
        Event::LogTrimmed { first: 1, last: 256 },
        Event::Quarantined { place: text("store.quarantine-1800000000"), reason: text("corrupt"), chain: None },
        Event::LogBroken { record: 17, reason: text("is missing") },
        Event::CallInterrupted { service: text("valve"), from: pump(), reason: text("the device was restarted") },
        Event::LinkSilent { name: None, bearer: text("satellite") },
        Event::LinkHeard { name: Some(Name::new("mast").expect("a name")), bearer: text("satellite") },
        Event::QuotaSpent { bearer: text("satellite") },
        Event::QuotaRenewed { bearer: text("satellite") },
        Event::RouteChanged {
            to: pump(),
            old: vec![text("mast"), text("pump")],
            new: vec![text("gate"), text("pump")],
            cause: text("price rose"),
        },
        Event::RouteLost { to: pump(), cause: text("no links lead there") },
        Event::ClockDiffers { address: text("/ip4/192.0.2.7/tcp/7707"), theirs: 1_800_007_200, ours: 1_800_000_000 },
        Event::ContactChanged { name: pump(), what: text("another device has it") },
        Event::BulletinOverdue { version: 7, since: 1_800_000_000 },
        Event::Twins { name: None, addresses: vec![text("/ip4/192.0.2.1/tcp/7"), text("/ip4/192.0.2.2/tcp/7")] },
        Event::ClockUnset { machine: 1_000, from: 1_800_000_000 },
        Event::ClockLearnt { from: text("2 members"), at: 1_800_007_200 },
        Event::PseudonymChanged { epoch: 500_000 },
        Event::RotationFailed { reason: text("no port is free") },
        Event::NeighbourQuarantined {
            name: Name::new("mast").ok(),
            credential,
            reason: text("it hands on what others have not signed"),
            seconds: 120,
            offences: 3,
        },
        Event::QuarantineLifted { neighbours: 1 },
        Event::TimeToldInVain { told: 1_800_000_000 },
        Event::AnonymitySet { anonymity: text("strict") },
        Event::BlobReceived { from: pump(), bytes: 1_048_576 },
        Event::BlobFailed { with: text("mast"), reason: text("the disk is full") },
        Event::AirSpent { bearer: text("srd"), again_s: 1_830 },
        Event::ReceiverFull { name: pump(), waiting: 4_096 },
        Event::ReceiverTakes { name: pump() },
        Event::BroadcastNarrowed { to: text("multicast"), receivers: 9, transmissions: 9, flood: 31 },
        Event::MailTaken { to: text("meter"), by: text("box"), count: 2 },
        Event::MailNotTaken { to: text("meter"), by: text("box"), reason: text("its quota is used up"), count: 1 },
    ]
}

pub(super) fn sample(at: usize) -> Event {
    samples().swap_remove(at % samples().len())
}
