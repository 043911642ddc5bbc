//! Every kind of damage to a log, and how it is reported.

use super::*;

/// Invariant 4, exhaustively: any single byte of any record.
#[test]
fn a_changed_byte_names_its_record() {
    let disk = Disk::of(4);
    for (at, (place, raw)) in disk.records.iter().enumerate() {
        for byte in 0..raw.len() {
            for mask in [0x01, 0x80, 0xff] {
                let mut tampered = disk.clone();
                tampered.records.get_mut(place).expect("there is one")[byte] ^= mask;
                let broken = tampered.verify().expect_err("a changed byte shows");
                assert_eq!(broken.sequence, at as u64 + 1, "byte {byte} ^ {mask:#x}: {broken}");
            }
        }
    }
}

/// Invariant 4: any byte of the head.
#[test]
fn a_changed_byte_of_the_head_shows() {
    let disk = Disk::of(4);
    let head = disk.head.clone().expect("a head");
    for byte in 0..head.len() {
        let mut tampered = disk.clone();
        tampered.head.as_mut().expect("a head")[byte] ^= 0x01;
        // The last byte here is the note of reported damage, which is not part of the chain.
        assert!(tampered.verify().is_err() || byte == head.len() - 1, "byte {byte}");
    }
}

#[test]
fn what_is_missing_cut_off_or_out_of_place_is_named() {
    let disk = Disk::of(6);
    let without = |gone: &[u64]| {
        let mut disk = disk.clone();
        gone.iter().for_each(|sequence| drop(disk.records.remove(key(*sequence).as_slice())));
        disk.verify().expect_err("a gap shows")
    };
    assert_eq!(without(&[3]), Broken { sequence: 3, what: Damage::Missing });
    assert_eq!(without(&[1]), Broken { sequence: 1, what: Damage::Missing });
    assert_eq!(without(&[5, 6]), Broken { sequence: 5, what: Damage::Cut { last: 6 } });
    assert_eq!(without(&[1, 2, 3, 4, 5, 6]), Broken { sequence: 1, what: Damage::Cut { last: 6 } });

    let mut swapped = disk.clone();
    let (third, fourth) = (disk.records[key(3).as_slice()].clone(), disk.records[key(4).as_slice()].clone());
    swapped.records.insert(key(3).to_vec(), fourth);
    swapped.records.insert(key(4).to_vec(), third.clone());
    assert_eq!(swapped.verify(), Err(Broken { sequence: 3, what: Damage::Misplaced { found: 4 } }));

    let pairs: Vec<_> = [1, 2, 3, 2].iter().map(|n| (key(*n), &disk.records[key(*n).as_slice()])).collect();
    let verdict = verify(pairs, disk.head.as_deref());
    assert_eq!(verdict, Err(Broken { sequence: 2, what: Damage::OutOfOrder }));

    let mut foreign = disk.clone();
    foreign.records.insert(key(7).to_vec(), third);
    assert_eq!(foreign.verify(), Err(Broken { sequence: 7, what: Damage::Foreign { first: 1, last: 6 } }));

    let mut garbage = disk.clone();
    garbage.records.insert(b"garbage".to_vec(), vec![0]);
    assert_eq!(garbage.verify(), Err(Broken { sequence: 6, what: Damage::Key }));

    let headless = Disk { head: None, ..disk.clone() };
    assert_eq!(headless.verify(), Err(Broken { sequence: 1, what: Damage::NoHead }));
    let other = Disk { head: Disk::of(7).head, ..disk.clone() };
    assert_eq!(other.verify(), Err(Broken { sequence: 7, what: Damage::Cut { last: 7 } }));
    let mut stranger = EventLog::new(Config::default());
    for _ in 0..6 {
        stranger.append(Event::Stopped, now(0));
    }
    let foreign_head = Disk { head: stranger.poll_changes().map(|changes| changes.head), ..disk };
    assert_eq!(foreign_head.verify(), Err(Broken { sequence: 6, what: Damage::Changed }));
}

#[test]
fn damage_found_at_boot_is_reported_once_and_stays_visible() {
    let mut disk = Disk::of(10);
    disk.records.get_mut(key(4).as_slice()).expect("there is one")[10] ^= 1;
    let found = disk.verify().expect_err("it shows");
    for boot in 0..3 {
        let (mut log, broken) = disk.boot(Config::default(), now(100));
        assert_eq!(broken.as_ref(), Some(&found));
        log.append(Event::Stopped, now(100));
        disk.take(&mut log);
        assert_eq!(disk.verify(), Err(found.clone()), "boot {boot}");
    }
    let broken = disk.kinds().iter().filter(|kind| **kind == "log-broken").count();
    assert_eq!((found.sequence, broken), (4, 1));
}

/// Invariant 1.
#[test]
fn after_a_cut_tail_no_number_is_used_again() {
    let mut disk = Disk::of(10);
    disk.records.retain(|place, _| place.as_slice() <= key(7).as_slice());
    let (mut log, broken) = disk.boot(Config::default(), now(100));
    assert_eq!(broken, Some(Broken { sequence: 8, what: Damage::Cut { last: 10 } }));
    assert_eq!(log.append(Event::Stopped, now(100)), 12, "11 is the report");
    disk.take(&mut log);
    assert_eq!(disk.verify(), Err(Broken { sequence: 8, what: Damage::Missing }));
}

#[test]
fn damage_of_the_last_record_is_not_covered_up() {
    let mut disk = Disk::of(5);
    disk.records.get_mut(key(5).as_slice()).expect("there is one")[12] ^= 1;
    let (mut log, _) = disk.boot(Config::default(), now(100));
    log.append(Event::Stopped, now(100));
    disk.take(&mut log);
    assert_eq!(disk.verify().map_err(|broken| broken.sequence), Err(5));
}

#[test]
fn without_a_head_the_log_goes_on_after_what_is_there() {
    let mut disk = Disk::of(5);
    disk.head = None;
    let (mut log, broken) = disk.boot(Config::default(), now(100));
    assert_eq!(broken, Some(Broken { sequence: 1, what: Damage::NoHead }));
    disk.take(&mut log);
    assert_eq!(disk.verify().map(|summary| summary.last), Ok(6));
    assert_eq!(disk.kinds().last(), Some(&"log-broken"));
}

#[test]
fn a_far_off_record_costs_no_memory() {
    let mut disk = Disk::of(5);
    let far = Record::encode(u64::MAX - 5, Unix(0), &[0; 32], Event::Stopped);
    disk.records.insert(key(u64::MAX - 5).to_vec(), far);
    let (mut log, broken) = disk.boot(Config { records: 64, ..Config::default() }, now(0));
    assert!(broken.is_some());
    log.append(Event::Stopped, now(0));
    assert!(log.poll_changes().is_some_and(|changes| changes.trimmed.len() <= 1_024));
}

#[test]
fn after_the_store_was_set_aside_a_new_chain_begins_that_says_so() {
    let mut disk = Disk::of(10);
    let head = Head::decode(disk.head.as_deref().expect("a head")).expect("it decodes").hash;
    disk.records.remove(key(4).as_slice());
    disk.records.remove(key(5).as_slice());
    let what = SetAside { place: "store.quarantine-7".to_owned(), reason: "a part cannot be read".to_owned() };
    let mut loader = Loader::new(Config::default(), disk.head.as_deref());
    disk.records.iter().for_each(|(key, record)| loader.record(key, record));
    loader.set_aside(what.clone());
    let (mut log, broken) = loader.finish(now(100));
    assert_eq!(broken, None, "it is told as what it is");
    log.append(Event::Stopped, now(101));
    disk.take(&mut log);
    let first = Record::decode(&disk.records[key(11).as_slice()]).expect("a record");
    let chain = Some(event::Chain { records: 10, head });
    assert_eq!(first.previous, head);
    assert_eq!(
        first.event,
        Logged::Known(Event::Quarantined { place: what.place.clone(), reason: what.reason, chain })
    );

    let summary = disk.verify().expect("the new chain is intact");
    assert_eq!((summary.records, summary.first, summary.last), (2, 11, 12));
    assert_eq!(summary.older, Some(Older { kept: 8, records: 10, head, place: what.place }));
    let (_, broken) = disk.boot(Config::default(), now(200));
    assert_eq!(broken, None, "the next start finds nothing new");
    for place in [11, 12] {
        let mut tampered = disk.clone();
        tampered.records.get_mut(key(place).as_slice()).expect("there is one")[9] ^= 1;
        assert_eq!(tampered.verify().map_err(|broken| broken.sequence), Err(place));
        tampered.records.remove(key(place).as_slice());
        assert_eq!(tampered.verify().map_err(|broken| broken.sequence), Err(place));
    }
}

#[test]
fn what_was_set_aside_without_harm_to_the_log_is_a_record_like_others() {
    let mut disk = Disk::of(10);
    let mut loader = Loader::new(Config::default(), disk.head.as_deref());
    disk.records.iter().for_each(|(key, record)| loader.record(key, record));
    loader.set_aside(SetAside { place: "store.quarantine-7".to_owned(), reason: "a value is lost".to_owned() });
    let (mut log, _) = loader.finish(now(100));
    disk.take(&mut log);
    let summary = disk.verify().expect("it is one chain");
    assert_eq!((summary.records, summary.first, summary.older), (11, 1, None));
    assert_eq!(disk.kinds().last(), Some(&"quarantined"));
}

#[test]
fn an_older_chain_is_trimmed_like_any_and_then_forgotten() {
    let config = Config { records: 100, ..Config::default() };
    let mut disk = Disk::of(50);
    disk.records.remove(key(20).as_slice());
    let mut loader = Loader::new(config.clone(), disk.head.as_deref());
    disk.records.iter().for_each(|(key, record)| loader.record(key, record));
    loader.set_aside(SetAside { place: "store.quarantine-7".to_owned(), reason: "lost".to_owned() });
    let (mut log, _) = loader.finish(now(100));
    for at in 0..300 {
        log.append(Event::Stopped, now(101 + at));
        disk.take(&mut log);
        let summary = disk.verify().expect("it verifies");
        assert_eq!(summary.older.is_some(), summary.first == 51, "{summary:?}");
        if at % 7 == 0 {
            let (resumed, broken) = disk.boot(config.clone(), now(101 + at));
            assert_eq!(broken, None);
            log = resumed;
        }
    }
    assert!(disk.records.len() <= 100);
}
