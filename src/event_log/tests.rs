//! The log as the engine and the CLI use it, over a store of two maps.

use super::chain::key;
use super::*;
use crate::id::{CredentialPrefix, Name};
use crate::wire::codec;
use event::{Count, MAX_COUNTS, MAX_TEXT};
use proptest::prelude::*;
use samples::{sample, samples};
use std::collections::BTreeMap;

mod damage;
#[cfg(feature = "node")]
mod pinned;
mod samples;

/// What a disk would hold.
#[derive(Clone, Default)]
struct Disk {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    head: Option<Vec<u8>>,
}

impl Disk {
    fn take(&mut self, log: &mut EventLog) {
        let Some(Changes { records, trimmed, head }) = log.poll_changes() else { return };
        for (sequence, record) in records {
            assert_eq!(self.records.insert(key(sequence).to_vec(), record), None, "a number is used once");
        }
        for sequence in trimmed {
            self.records.remove(key(sequence).as_slice());
        }
        self.head = Some(head);
    }

    fn verify(&self) -> Result<Summary, Broken> {
        verify(&self.records, self.head.as_deref())
    }

    fn boot(&self, config: Config, now: Now) -> (EventLog, Option<Broken>) {
        let mut loader = Loader::new(config, self.head.as_deref());
        for (key, record) in &self.records {
            loader.record(key, record);
        }
        loader.finish(now)
    }

    fn of(events: usize) -> Self {
        let mut log = EventLog::new(Config::default());
        for at in 0..events {
            log.append(sample(at), now(at as u64));
        }
        let mut disk = Self::default();
        disk.take(&mut log);
        disk
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.records.values().map(|raw| Record::decode(raw).expect("a record").event.kind()).collect()
    }
}

fn now(seconds: u64) -> Now {
    Now { time: Time(seconds * 1_000_000), unix: Unix::from_seconds(1_800_000_000 + seconds) }
}

#[test]
fn a_fresh_log_is_empty_and_verifies() {
    let disk = Disk::of(0);
    assert_eq!(disk.verify().map(|summary| summary.records), Ok(0));
    assert_eq!(EventLog::new(Config::default()).poll_changes(), None);
}

#[test]
fn every_kind_is_recorded_read_back_and_shown_in_a_line() {
    let disk = Disk::of(samples().len());
    let summary = disk.verify().expect("it verifies");
    let all = samples().len() as u64;
    assert_eq!((summary.records, summary.first, summary.last), (all, 1, all));
    assert_eq!(summary.until, Unix::from_seconds(1_800_000_000 + all - 1));
    for (at, (raw, event)) in disk.records.values().zip(samples()).enumerate() {
        assert_eq!(Record::decode(raw).expect("a record").event, Logged::Known(event.clone()));
        let entry = Entry::select(raw, &Filter::default()).expect("a record").expect("no filter");
        assert_eq!((entry.sequence, entry.kind), (at as u64 + 1, event.kind()));
        assert!(!entry.text.is_empty() && !entry.to_string().contains('\n'), "{entry}");
    }
    let shown: Vec<String> = samples().iter().map(Event::to_string).collect();
    assert_eq!(shown[3], "refused 4 connections: expired 3, wrong-peer 1");
    assert_eq!(
        shown[5],
        "link to a neighbour that is no contact down: the other side\\nclosed it (credential 0707070707070707)"
    );
    assert_eq!(shown[12], "the clock was set back by 1.250 s");
}

/// Invariant 1 of event_log::event.
#[test]
fn numbers_of_kinds_do_not_move() {
    for (number, event) in samples().into_iter().enumerate() {
        let encoded = codec::encode(&event);
        let at = usize::from(encoded[0] == 0xa1);
        // A number of 24 or more is encoded in a byte of its own.
        let at = at + usize::from(encoded[at] == 0x18);
        assert_eq!(usize::from(encoded[at]), number, "{} moved", event.kind());
    }
    assert_eq!(samples().len() as u64, Event::KINDS);
    assert!(samples().iter().map(Event::kind).eq(Event::NAMES));
}

#[test]
fn every_kind_is_named_by_its_variant_and_says_what_it_is() {
    for (event, declared) in samples().iter().zip(Event::DECLARED) {
        let variant = format!("{event:?}");
        let mut kebab = String::new();
        for c in variant.chars().take_while(char::is_ascii_alphanumeric) {
            kebab.extend((c.is_ascii_uppercase() && !kebab.is_empty()).then_some('-'));
            kebab.push(c.to_ascii_lowercase());
        }
        assert_eq!((declared.kind, event.kind()), (kebab.as_str(), kebab.as_str()));
        let abouts = declared.fields.iter().map(|field| field.about).chain([declared.about]);
        for about in abouts {
            assert!(about.last().is_some_and(|line| line.ends_with('.')), "{kebab}: {about:?}");
        }
        let shown: BTreeMap<&str, &str> = declared.fields.iter().flat_map(|field| (field.json)(field.name)).collect();
        assert!(event.fields().keys().all(|key| shown.contains_key(key)), "{kebab} has other fields than it declares");
    }
}

/// Invariant 2 of event_log::event.
#[test]
fn texts_and_lists_of_every_kind_are_cut_at_their_bounds() {
    let text = || "ä".repeat(MAX_TEXT);
    let long = [
        Event::RouteChanged {
            to: Name::new("pump").expect("a name"),
            old: vec![text(); MAX_COUNTS + 1],
            new: vec![text(); MAX_COUNTS + 1],
            cause: text(),
        },
        Event::MessageFailed { to: text(), outcome: text(), reason: text(), count: 1 },
        Event::Dropped { counts: vec![Count { name: text(), count: 1 }; MAX_COUNTS + 1] },
    ];
    for event in long {
        let fields = event.bounded().fields();
        for (name, field) in fields {
            let texts = match field {
                text::Field::Text(text) => vec![text],
                text::Field::Texts(texts) => texts,
                text::Field::Counts(counts) => counts.into_keys().collect(),
                _ => Vec::new(),
            };
            assert!(texts.len() <= MAX_COUNTS && texts.iter().all(|text| text.len() <= MAX_TEXT), "{name}");
        }
    }
}

#[test]
fn an_event_of_a_later_version_verifies_and_is_shown_as_unknown() {
    #[derive(serde::Serialize)]
    struct Later<'a> {
        sequence: u64,
        at: Unix,
        #[serde(with = "serde_bytes")]
        previous: Hash,
        #[serde(with = "serde_bytes")]
        event: &'a [u8],
    }
    for (event, number) in [(&[0x18, 200][..], 200), (&[0xa1, 0x18, 0xc8, 0xa1, 0x00, 0x05][..], 200)] {
        let raw = codec::encode(&Later { sequence: 1, at: Unix(5), previous: [0; 32], event });
        assert_eq!(Record::decode(&raw).expect("a record").event, Logged::Unknown(number));
        let head = Head { last: 1, hash: chain::hash(&raw), ..Head::default() }.encode();
        let summary = verify([(key(1), &raw)], Some(&head)).expect("it verifies");
        assert_eq!((summary.records, summary.unknown), (1, 1));
        let filter = Filter { kind: Some("unknown".into()), ..Filter::default() };
        assert!(Entry::select(&raw, &filter).expect("a record").is_some());
    }
}

#[test]
fn a_filter_selects_by_kind_and_time() {
    let last = 5 + samples().len();
    let disk = Disk::of(last);
    let last = last as u64;
    let select = |filter: &Filter| -> Vec<u64> {
        let entries = disk.records.values().filter_map(|raw| Entry::select(raw, filter).expect("a record"));
        entries.map(|entry| entry.sequence).collect()
    };
    let kind = Filter { kind: Some("link-up".into()), ..Filter::default() };
    assert_eq!(select(&kind), [5, last]);
    let since = Some(Unix::from_seconds(1_800_000_000 + last - 3));
    assert_eq!(select(&Filter { since, ..Filter::default() }), [last - 2, last - 1, last]);
    assert_eq!(select(&Filter { since, until: since, kind: None }), [last - 2]);
}

/// Invariant 2.
#[test]
fn it_is_trimmed_by_count_and_still_verifies() {
    let config = Config { records: 100, ..Config::default() };
    let (mut log, mut disk) = (EventLog::new(config.clone()), Disk::default());
    for at in 0..1_000 {
        log.append(Event::Stopped, now(at));
        disk.take(&mut log);
        assert!(disk.records.len() <= 100);
        let summary = disk.verify().expect("it verifies after every append");
        assert_eq!((summary.records, summary.last), (log.len(), log.head().last));
    }
    assert!(disk.records.len() > 80);
    let trimmed: Vec<(u64, u64)> = disk
        .records
        .values()
        .filter_map(|raw| match Record::decode(raw).expect("a record").event {
            Logged::Known(Event::LogTrimmed { first, last }) => Some((first, last)),
            _ => None,
        })
        .collect();
    assert!(trimmed.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "trimming leaves no gap: {trimmed:?}");
    assert_eq!(trimmed.last().map(|(_, last)| last + 1), Some(log.head().first));

    // A record before the anchor that comes back after it was trimmed is detected.
    let mut stuffed = disk.clone();
    stuffed.records.insert(key(3).to_vec(), Disk::of(3).records[key(3).as_slice()].clone());
    assert!(matches!(stuffed.verify(), Err(Broken { sequence: 3, what: Damage::Foreign { .. } })));

    let (log, broken) = disk.boot(config, now(1_000));
    assert_eq!((broken, log.len()), (None, disk.records.len() as u64));
}

#[test]
fn trimming_before_anything_is_written_writes_the_rest() {
    let (mut log, mut disk) = (EventLog::new(Config { records: 64, ..Config::default() }), Disk::default());
    for at in 0..500 {
        log.append(sample(at), now(0));
    }
    disk.take(&mut log);
    assert_eq!(disk.verify().map(|summary| summary.last), Ok(log.head().last));
    assert!(disk.records.len() <= 64);
}

#[test]
fn a_lowered_bound_is_reached_in_steps() {
    let (mut log, mut disk) = (EventLog::new(Config::default()), Disk::default());
    for _ in 0..5_000 {
        log.append(Event::Stopped, now(0));
    }
    disk.take(&mut log);
    let (mut log, _) = disk.boot(Config { records: 1_000, ..Config::default() }, now(1));
    for at in 0..20 {
        log.append(Event::Stopped, now(at));
        disk.take(&mut log);
        disk.verify().expect("it verifies");
    }
    assert!(disk.records.len() <= 1_000, "{}", disk.records.len());
}

/// Invariant 2.
#[test]
fn it_is_trimmed_by_age_a_chunk_at_a_time() {
    let config = Config { records: 1_600, days: 1, ..Config::default() };
    let (mut log, mut disk) = (EventLog::new(config), Disk::default());
    for at in 0..1_000 {
        log.append(Event::Stopped, now(at));
    }
    log.handle_timeout(now(1_000));
    disk.take(&mut log);
    assert_eq!(log.head().first, 1);
    let mut at = now(2 * crate::time::DAY_SECONDS);
    log.handle_timeout(at);
    disk.take(&mut log);
    assert_eq!(log.head().first, 100, "a chunk is a sixteenth of the bound");
    for _ in 0..30 {
        let due = log.poll_timeout();
        at = Now { time: due, unix: at.unix + due.since(at.time) };
        log.handle_timeout(at);
        disk.take(&mut log);
        disk.verify().expect("it verifies");
    }
    // Only the last chunk of the old records is left, because it holds new records too.
    assert!(log.len() < 120, "{}", log.len());
    assert!(disk.kinds().contains(&"log-trimmed"));
}

#[test]
fn it_resumes_where_it_stopped() {
    let mut disk = Disk::of(10);
    let (mut log, broken) = disk.boot(Config::default(), now(100));
    assert_eq!((broken, log.poll_changes()), (None, None));
    assert_eq!(log.append(Event::Stopped, now(101)), 11);
    disk.take(&mut log);
    assert_eq!(disk.verify().map(|summary| summary.records), Ok(11));
}

#[test]
fn floods_are_counted_and_recorded_once_an_interval() {
    let (mut log, mut disk) = (EventLog::new(Config::default()), Disk::default());
    let mut at = now(10);
    log.handle_timeout(at);
    for step in 0..5_000u64 {
        log.note_refused(if step.is_multiple_of(5) { "wrong-peer" } else { "expired" }, 1);
        log.handle_timeout(at);
        at = Now { time: at.time + Duration::from_micros(500), unix: at.unix + Duration::from_micros(500) };
    }
    let due = log.poll_timeout();
    log.handle_timeout(Now { time: due, unix: at.unix + due.since(at.time) });
    assert!(log.poll_timeout() > due + Duration::from_secs(60), "nothing is left to be recorded");
    disk.take(&mut log);
    let mut sums = BTreeMap::new();
    for raw in disk.records.values() {
        if let Logged::Known(Event::Refused { reasons }) = Record::decode(raw).expect("a record").event {
            reasons.into_iter().for_each(|Count { name, count }| *sums.entry(name).or_insert(0) += count);
        }
    }
    assert_eq!(sums, BTreeMap::from([("expired".to_owned(), 4_000), ("wrong-peer".to_owned(), 1_000)]));
    assert_eq!(disk.records.len(), 4, "one at once, then one a second over 2.5 s");
}

#[test]
fn a_stop_records_what_was_counted() {
    let (mut log, mut disk) = (EventLog::new(Config::default()), Disk::default());
    log.note_dropped("gossip-queue", 1);
    log.handle_timeout(now(1));
    log.note_dropped("gossip-queue", 41);
    log.note_failed("pump", "expired", "no receipt");
    log.note_failed("pump", "expired", "no receipt");
    log.flush_notes(now(1));
    disk.take(&mut log);
    assert_eq!(disk.kinds(), ["dropped", "dropped", "message-failed"]);
    let last = Record::decode(&disk.records[key(3).as_slice()]).expect("a record");
    assert_eq!(last.event.text(), "2 messages to pump expired: no receipt");
}

/// Invariant 1 of event_log::notes.
#[test]
fn a_tally_is_bounded_and_loses_no_count() {
    let (mut log, mut disk) = (EventLog::new(Config::default()), Disk::default());
    for name in 0..1_000 {
        log.note_refused(&format!("reason-{name}"), 1);
    }
    log.handle_timeout(now(1));
    disk.take(&mut log);
    let Logged::Known(Event::Refused { reasons }) =
        Record::decode(&disk.records[key(1).as_slice()]).expect("one").event
    else {
        panic!("not a refusal")
    };
    assert_eq!(reasons.len(), notes::MAX_NAMES + 1);
    assert_eq!(reasons.iter().map(|count| count.count).sum::<u64>(), 1_000);
}

#[test]
fn long_texts_are_cut() {
    let mut log = EventLog::new(Config::default());
    log.append(Event::StoreFailed { reason: "ä".repeat(100_000) }, now(0));
    let changes = log.poll_changes().expect("a record");
    assert!(changes.records[0].1.len() < 1_024);
    Record::decode(&changes.records[0].1).expect("a record");
}

#[test]
fn a_live_log_is_scanned_again_when_it_moved_on() {
    let (before, after) = (Disk::of(5), Disk::of(6));
    let mut heads = 0;
    let verdict = verify_live(
        || {
            heads += 1;
            Ok::<_, ()>(if heads == 1 { before.head.clone() } else { after.head.clone() })
        },
        |each| {
            let _ = after.records.iter().all(|(key, record)| each(key, record));
            Ok(())
        },
    );
    assert_eq!(verdict.map(|verdict| verdict.map(|summary| summary.last)), Ok(Ok(6)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Invariant 3, and that a boot anywhere changes nothing.
    #[test]
    fn any_history_verifies(
        bound in 64u64..300,
        steps in prop::collection::vec((0usize..64, 0u64..100_000, prop::bool::weighted(0.02)), 0..400),
    ) {
        let config = Config { records: bound, days: 5, ..Config::default() };
        let (mut log, mut disk) = (EventLog::new(config.clone()), Disk::default());
        let mut seconds = 0;
        for (kind, gap, boot) in steps {
            seconds += gap;
            log.append(sample(kind), now(seconds));
            log.handle_timeout(now(seconds));
            disk.take(&mut log);
            if boot {
                let (resumed, broken) = disk.boot(config.clone(), now(seconds));
                prop_assert_eq!(broken, None);
                prop_assert_eq!(resumed.head(), log.head());
                prop_assert_eq!(&resumed.checkpoints, &log.checkpoints);
                log = resumed;
            }
        }
        prop_assert!(disk.records.len() as u64 <= bound);
        let summary = disk.verify();
        prop_assert_eq!(summary.map(|summary| summary.records), Ok(log.len()));
    }

    /// Whatever is on disk, verification and boot end without a panic, and what is appended then is kept.
    #[test]
    fn any_bytes_are_survived(
        entries in prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 7..9), prop::collection::vec(any::<u8>(), 0..80), 0..8),
        head in prop::option::of(prop::collection::vec(any::<u8>(), 0..100)),
        tamper in prop::option::of((0usize..8, 0usize..60, any::<u8>())),
    ) {
        let mut disk = Disk::of(8);
        disk.records.extend(entries);
        disk.head = head.or(disk.head);
        if let Some((record, byte, value)) = tamper
            && let Some(raw) = disk.records.values_mut().nth(record)
            && let Some(at) = raw.get_mut(byte)
        {
            *at = value;
        }
        let _ = disk.verify();
        let (mut log, _) = disk.boot(Config { records: 64, ..Config::default() }, now(0));
        log.append(Event::Stopped, now(0));
        prop_assert!(log.poll_changes().is_some_and(|changes| changes.trimmed.len() <= 1_024));
    }
}

impl Logged {
    fn text(&self) -> String {
        match self {
            Self::Known(event) => event.to_string(),
            Self::Unknown(number) => number.to_string(),
        }
    }
}
