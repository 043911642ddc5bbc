//! What the auditor's log keeps, finds and mends.

use super::*;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

const NOW: Unix = Unix(1_800_000_100_000_000);

fn log() -> (TempDir, AuditorLog) {
    let place = tempfile::tempdir().expect("a directory");
    let log = AuditorLog::new(place.path().join("disclosures.log"), RealmId([7; 32]));
    (place, log)
}

fn opened(reason: &str) -> Opened {
    Opened::new(reason, b"a signed credential", DeviceId([9; 16]), 500_000, 3_600)
}

fn with_records(count: usize) -> (TempDir, AuditorLog, Vec<Appended>) {
    let (place, log) = log();
    let appended = (0..count).map(|n| log.append(opened(&format!("case {n}")), NOW).expect("appended")).collect();
    (place, log, appended)
}

fn bytes(log: &AuditorLog) -> Vec<u8> {
    std::fs::read(log.path()).expect("read")
}

fn check(log: &AuditorLog) -> Checked {
    log.verify(None, |_, _| {}).expect("read")
}

#[test]
fn what_was_opened_is_told_again_in_order() {
    let (_place, log, appended) = with_records(3);
    let mut reasons = Vec::new();
    let checked = log.verify(Some(&appended[1].head), |record, _| reasons.push(record.opened.map(|o| o.reason)));
    let checked = checked.expect("read");
    assert_eq!(reasons, ["case 0", "case 1", "case 2"].map(|reason| Some(reason.to_owned())));
    assert_eq!((checked.records, checked.head, &checked.end), (3, appended[2].head, &End::Clean));
    assert!(checked.found && !check(&log).found);
    assert_eq!(std::fs::metadata(log.path()).expect("there").permissions().mode() & 0o777, 0o600);
    let (_place, empty) = self::log();
    assert_eq!((check(&empty).records, check(&empty).end), (0, End::Clean));
}

/// Invariant 1.
#[test]
fn whatever_byte_is_changed_the_record_is_named() {
    let (_place, log, _) = with_records(3);
    let whole = bytes(&log);
    let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at).collect();
    for at in (0..whole.len()).filter(|at| at % 7 == 0 || ends.contains(at)) {
        let mut changed = whole.clone();
        changed[at] ^= 0x01;
        std::fs::write(log.path(), &changed).expect("changed");
        let record = ends.iter().filter(|end| **end < at).count() as u64;
        let checked = check(&log);
        assert_eq!(checked.records, record, "byte {at}");
        assert_ne!(checked.end, End::Clean, "byte {at}");
    }
}

#[test]
fn a_record_that_is_missing_exchanged_or_of_another_realm_is_named() {
    let (place, log, _) = with_records(4);
    let whole = bytes(&log);
    let lines: Vec<&[u8]> = whole.split_inclusive(|b| *b == b'\n').collect();
    for (order, holds) in [(&[0, 1, 3][..], 2), (&[1, 2, 3], 0), (&[0, 2, 1, 3], 1), (&[0, 1, 1, 2], 2)] {
        let text: Vec<u8> = order.iter().flat_map(|at: &usize| lines[*at].to_vec()).collect();
        std::fs::write(log.path(), text).expect("written");
        let checked = check(&log);
        assert_eq!(checked.records, holds, "{order:?}");
        assert!(matches!(checked.end, End::Bad { .. }), "{order:?}");
    }
    std::fs::write(log.path(), &whole).expect("as it was");
    let foreign = AuditorLog::new(log.path().to_owned(), RealmId([8; 32]));
    assert_eq!(check(&foreign).records, 0);
    drop(place);
}

/// What nobody sees without a hash that was noted elsewhere.
#[test]
fn a_hash_that_was_noted_elsewhere_shows_that_the_end_was_cut_off() {
    let (_place, log, appended) = with_records(3);
    let whole = bytes(&log);
    let second = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).expect("two lines").0;
    std::fs::write(log.path(), &whole[..=second]).expect("cut");
    assert_eq!((check(&log).records, check(&log).end), (2, End::Clean));
    let found = |head: &Hash| log.verify(Some(head), |_, _| {}).expect("read").found;
    assert!(found(&appended[1].head) && !found(&appended[2].head));
}

/// Whatever a crash left of a line: the records before it stay, and the log says what was cut off.
#[test]
fn a_torn_record_is_cut_off_and_told() {
    let (_place, log, _) = with_records(2);
    let whole = bytes(&log);
    let first = whole.iter().position(|b| *b == b'\n').expect("a line") + 1;
    for cut in [first + 1, first + 40, first + 65, first + 80, whole.len() - 2] {
        std::fs::write(log.path(), &whole[..cut]).expect("cut");
        let torn = whole[first..cut].to_vec();
        assert_eq!(check(&log).end, End::Torn { bytes: torn.clone(), whole: false }, "at {cut}");
        let appended = log.append(opened("after the crash"), NOW).expect("mended");
        assert_eq!((appended.record, appended.mended), (3, Some(2)));
        let mut records = Vec::new();
        let checked = log.verify(None, |record, _| records.push(record)).expect("read");
        assert_eq!((checked.records, checked.end), (3, End::Clean));
        let mended = records[1].mended.as_ref().expect("it says so");
        assert_eq!((mended.bytes, &mended.hash), (torn.len() as u64, &HEXLOWER.encode(&Sha256::digest(&torn))));
    }
}

#[test]
fn a_record_that_lacks_the_end_of_its_line_alone_is_kept() {
    let (_place, log, appended) = with_records(2);
    let whole = bytes(&log);
    std::fs::write(log.path(), &whole[..whole.len() - 1]).expect("cut");
    assert_eq!((check(&log).records, check(&log).head), (2, appended[1].head));
    assert!(matches!(check(&log).end, End::Torn { whole: true, .. }));
    let third = log.append(opened("next"), NOW).expect("appended");
    assert_eq!((third.record, third.mended, check(&log).records), (3, None, 3));
    assert_eq!(check(&log).end, End::Clean);
}

/// Invariant 2.
#[test]
fn nothing_is_appended_behind_a_record_that_does_not_hold() {
    let (_place, log, _) = with_records(2);
    let mut changed = bytes(&log);
    changed[100] ^= 1;
    std::fs::write(log.path(), &changed).expect("changed");
    let error = log.append(opened("next"), NOW).expect_err("refused").to_string();
    assert!(error.contains("record 1") && error.contains("as evidence"), "{error}");
    assert_eq!(bytes(&log), changed);
}

#[test]
fn a_log_that_others_can_read_is_refused() {
    let (_place, log, _) = with_records(1);
    std::fs::set_permissions(log.path(), std::fs::Permissions::from_mode(0o644)).expect("changed");
    for error in [
        log.verify(None, |_, _| {}).err(),
        log.append(opened("x"), NOW).err().map(|e| match e {
            AuditorLogError::File(error) => error,
            AuditorLogError::Bad { .. } => unreachable!("it holds"),
        }),
    ] {
        assert!(error.expect("refused").to_string().contains("chmod"));
    }
}
