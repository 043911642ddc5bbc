//! Tests of [`Heard`]: frames that may have been heard stay so, whatever is forgotten and whenever a process ends.

use super::*;

const END: Unix = Unix(3_600_000_000);
const TERM: Term = Term { end: END, until: Unix(4_200_000_000) };

/// A disk that keeps all writes, from which further processes load their state.
#[derive(Default)]
struct Disk(BTreeMap<(u8, Vec<u8>), Vec<u8>>);

impl Disk {
    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { table, key, value } => self.0.insert((table as u8, key), value),
                Write::Delete { table, key } => self.0.remove(&(table as u8, key)),
            };
        }
    }
}

impl Read for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(&(table as u8, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, from: &[u8], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), ReadError> {
        let range = self.0.range((table as u8, from.to_vec())..(table as u8 + 1, Vec::new()));
        range.into_iter().all(|((_, key), value)| each(key, value));
        Ok(())
    }

    fn last(&self, _: Table) -> Result<Option<crate::engine::store::Entry>, ReadError> {
        Ok(None)
    }
}

fn seconds(seconds: u64) -> Unix {
    Unix(seconds * 1_000_000)
}

fn of(publisher: u8) -> CredentialHash {
    CredentialHash([publisher; CredentialHash::LEN])
}

/// Invariants 2 and 4.
#[test]
fn who_is_forgotten_in_favour_of_others_is_not_new() {
    let mut heard = Heard::new(4, Unix(0), Unix(0));
    let mut disk = Disk::default();
    for publisher in 0..20u8 {
        let passed = heard.pass((of(publisher), TERM), seconds(100 + u64::from(publisher)), seconds(100), Lsn(1));
        assert_eq!(passed.forgotten, u64::from(publisher >= 4));
        disk.apply(passed.writes);
    }
    let again = Heard::load(&disk).expect("it reads");
    assert_eq!((heard.marks.len(), again.marks.len()), (4, 4));
    for publisher in 0..20u8 {
        let sent = seconds(100 + u64::from(publisher));
        assert!(again.barred(&of(publisher)) >= sent, "{publisher}");
        // This process still has the streams of the publishers that have marks.
        assert!(publisher >= 16 || heard.barred(&of(publisher)) >= sent, "{publisher}");
    }
    heard.forget_stream(&of(19));
    assert_eq!(heard.barred(&of(19)), seconds(119));
}

/// Invariant 3.
#[test]
fn credentials_that_are_over_leave_nothing_but_the_floor() {
    let mut heard = Heard::new(100, Unix(0), Unix(0));
    let next = Term { end: Unix(2 * END.0), until: Unix(TERM.until.0 + END.0) };
    for publisher in 0..10 {
        heard.pass((of(publisher), TERM), seconds(3_000), seconds(3_000), Lsn(1));
    }
    // One publisher claims that it sent at the end of time.
    heard.pass((of(10), TERM), Unix(u64::MAX), seconds(3_000), Lsn(1));
    heard.pass((of(11), next), seconds(4_300), seconds(4_300), Lsn(2));
    assert_eq!(heard.marks.len(), 1);
    assert_eq!(heard.barred(&of(0)), END);
}

/// Invariant 1.
#[test]
fn a_commit_that_lets_frames_pass_bars_them_after_a_restart() {
    let (mut disk, mut lsn) = (Disk::default(), 0);
    let mut heard = Heard::load(&disk).expect("it reads");
    let mut commits: Vec<(Lsn, Vec<Write>)> = Vec::new();
    // Time goes on in steps of 50 ms, goes back once by ten seconds, and the publisher's clock is anywhere near it.
    let mut now = 1_000_000_000u64;
    for step in 0u64..2_000 {
        now = if step == 1_000 { now - 10_000_000 } else { now + 50_000 };
        let sent = Unix(now + step * 7_919 % 400_000);
        lsn += 1;
        let Passed { after, writes, .. } = heard.pass((of(1), TERM), sent, Unix(now), Lsn(lsn));
        commits.push((Lsn(lsn), writes));
        // The commits that have to be durable by now are on the disk, and no later ones.
        for (_, writes) in commits.extract_if(.., |(lsn, _)| *lsn <= after) {
            disk.apply(writes);
        }
        let again = Heard::load(&disk).expect("it reads");
        assert!(again.barred(&of(1)) >= sent, "step {step}");
    }
    let written = commits.iter().filter(|(_, writes)| !writes.is_empty()).count();
    assert!(written <= 1, "{written} written and not waited for");
}

#[test]
fn a_publisher_whose_clock_was_ahead_for_a_while_is_heard_soon_after_a_restart_and_nothing_of_it_twice() {
    let mut heard = Heard::new(4, Unix(0), Unix(0));
    let mut disk = Disk::default();
    // The publisher's clock is 90 s ahead for ten seconds.
    for now in 100..110 {
        disk.apply(heard.pass((of(1), TERM), seconds(now + 90), seconds(now), Lsn(now)).writes);
    }
    let again = Heard::load(&disk).expect("it reads");
    assert!(again.barred(&of(1)) >= seconds(199));
    disk.apply(heard.pass((of(1), TERM), seconds(111), seconds(111), Lsn(111)).writes);
    for now in 112..300 {
        disk.apply(heard.pass((of(1), TERM), seconds(now), seconds(now), Lsn(now)).writes);
        let again = Heard::load(&disk).expect("it reads").barred(&of(1));
        assert!(again >= seconds(199).max(seconds(now)), "what was heard is heard again");
        assert!(again <= seconds(199).max(seconds(now + 3)), "at {now} it is not heard until {again:?}");
    }
}

#[test]
fn a_publisher_whose_clock_goes_to_and_fro_makes_no_write_for_each_frame() {
    let mut heard = Heard::new(4, Unix(0), Unix(0));
    let mut disk = Disk::default();
    let mut writes = 0;
    for step in 0..1_000 {
        let (now, ahead) = (Unix(100_000_000 + step * 10_000), if step % 2 == 0 { 90_000_000 } else { 0 });
        let passed = heard.pass((of(1), TERM), Unix(now.0 + ahead), now, Lsn(step));
        writes += passed.writes.iter().filter(|write| matches!(write, Write::Put { table: Table::Heard, .. })).count();
        disk.apply(passed.writes);
        let again = Heard::load(&disk).expect("it reads").barred(&of(1));
        assert!(again.0 >= now.0 + ahead, "what was heard is heard again");
    }
    // In these ten seconds the mark is lowered once and raised once, besides the first write and the raises for later
    // frames that are ahead.
    assert!(writes <= 4, "{writes}");
}
