//! Machine: whether the machine was idle while real nodes were measured.
//!
//! Other load delays real nodes, and not simulated ones: on a busy machine a difference says nothing of the simulator.
//! Two signs are read while messages are sent. The first is the time that processors have worked for other processes,
//! by the counts of the kernel (`/proc/stat`) less what this process and its descendants have used, plus the time that
//! a hypervisor has given to other machines. The second is the lateness of a thread that asks to be woken every few
//! milliseconds, which shows what the counts cannot: a machine that is busy with these very nodes.

use std::collections::BTreeMap;
use std::fs;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The readings of both signs.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub(super) struct Readings {
    /// The share of all processors' time that went to other processes, from 0 to 1.
    pub(super) others: f64,
    /// The share that went to this process and its descendants.
    pub(super) ours: f64,
    /// The lateness that one wake-up in a hundred reached or exceeded, in seconds.
    pub(super) late_s: f64,
}

impl Readings {
    /// Returns the reason for which the machine was too busy for a verdict, if it was.
    pub(super) fn objection(&self) -> Option<String> {
        let Self { others, late_s, .. } = *self;
        if others > MOST_OTHERS {
            let limit = MOST_OTHERS * 100.0;
            return Some(format!(
                "other programs took {:.0} % of its processors ({limit:.0} % allowed)",
                others * 100.0
            ));
        }
        if late_s > MOST_LATE {
            let (late, limit) = (late_s * 1e3, MOST_LATE * 1e3);
            return Some(format!("one wake-up in a hundred came {late:.1} ms late or more ({limit:.0} ms allowed)"));
        }
        None
    }
}

/// A measurement, which begins when it is made.
pub(super) struct Watch {
    before: Counts,
    over: SyncSender<()>,
    probe: JoinHandle<Vec<Duration>>,
}

/// Processor time so far, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counts {
    /// The time of all processors, busy or idle.
    total: u64,
    /// The time that processors worked, or that the hypervisor took.
    busy: u64,
    /// The time of this process and its descendants.
    ours: u64,
}

impl Watch {
    pub(super) fn begin() -> Self {
        let (over, told) = sync_channel(0);
        let probe = std::thread::spawn(move || wake_ups(&told));
        Self { before: Counts::now(), over, probe }
    }

    /// Ends the measurement. It has to be called while the nodes still run, since the time of processes that have ended
    /// cannot be read.
    pub(super) fn end(self) -> Readings {
        let after = Counts::now();
        drop(self.over);
        let mut late = self.probe.join().unwrap_or_default();
        late.sort();
        let late = late.get(late.len() * 99 / 100).copied().unwrap_or_default();
        readings(self.before, after, late)
    }
}

fn readings(before: Counts, after: Counts, late: Duration) -> Readings {
    let total = after.total.saturating_sub(before.total).max(1) as f64;
    let ours = after.ours.saturating_sub(before.ours) as f64;
    let busy = after.busy.saturating_sub(before.busy) as f64;
    Readings { others: ((busy - ours) / total).max(0.0), ours: ours / total, late_s: late.as_secs_f64() }
}

/// Returns the lateness of each wake-up, until the measurement ends.
fn wake_ups(over: &Receiver<()>) -> Vec<Duration> {
    let mut late = Vec::new();
    loop {
        let due = Instant::now() + BETWEEN;
        match over.recv_timeout(BETWEEN) {
            Err(RecvTimeoutError::Timeout) => late.push(due.elapsed()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return late,
        }
    }
}

impl Counts {
    /// Reads the counts; they are zero if there is no `/proc`, in which case only wake-ups count.
    fn now() -> Self {
        let (total, busy) = fs::read_to_string("/proc/stat").ok().and_then(|text| machine(&text)).unwrap_or_default();
        let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
        let processes = entries.filter_map(|entry| process(&fs::read_to_string(entry.path().join("stat")).ok()?));
        let processes: BTreeMap<u32, Process> = processes.map(|process| (process.number, process)).collect();
        Self { total, busy, ours: of_family(&processes, std::process::id()) }
    }
}

/// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal. Later columns are
/// included in these.
fn machine(text: &str) -> Option<(u64, u64)> {
    let fields = text.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<u64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
    let total: u64 = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    Some((total, total - idle))
}

/// A process and its time, including that of children that have ended.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Process {
    number: u32,
    parent: u32,
    ticks: u64,
}

/// Reads `/proc/PID/stat` (proc(5)); the name, which is in brackets, may contain any character.
fn process(text: &str) -> Option<Process> {
    let (front, rest) = text.rsplit_once(')')?;
    let number = front.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Process { number, parent: fields.get(1)?.parse().ok()?, ticks })
}

/// Returns the ticks of a process and of all its descendants.
fn of_family(processes: &BTreeMap<u32, Process>, head: u32) -> u64 {
    let descends = |process: &&Process| {
        let mut number = process.number;
        // Processes are read one after the other, so the loop is bounded by their number.
        for _ in 0..processes.len() {
            if number == head {
                return true;
            }
            match processes.get(&number) {
                Some(process) => number = process.parent,
                None => return false,
            }
        }
        false
    };
    processes.values().filter(descends).map(|process| process.ticks).sum()
}

/// The interval of wake-ups.
const BETWEEN: Duration = Duration::from_millis(5);
/// The share of the processors that others may take. An idle machine has less than 3 %, one compiler on two processors
/// takes 50 %.
const MOST_OTHERS: f64 = 0.1;
/// The lateness, in seconds, of one wake-up in a hundred. On an idle machine it is 0.2 ms, under compilers several.
const MOST_LATE: f64 = 2e-3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_objected_to() {
        let quiet = Readings { others: 0.03, ours: 0.4, late_s: 2e-4 };
        assert_eq!(quiet.objection(), None);
        let shared = Readings { others: 0.5, ..quiet }.objection().expect("half of it is another's");
        assert!(shared.contains("50 %"), "{shared}");
        let late = Readings { late_s: 9e-3, ..quiet }.objection().expect("wake-ups are late");
        assert!(late.contains("9.0 ms"), "{late}");
    }

    #[test]
    fn what_is_not_ours_is_others() {
        let before = Counts { total: 1_000, busy: 100, ours: 50 };
        let after = Counts { total: 2_000, busy: 700, ours: 250 };
        assert_eq!(readings(before, after, Duration::ZERO), Readings { others: 0.4, ours: 0.2, late_s: 0.0 });
        // Counts are taken one after the other: what is ours may seem more than all.
        let after = Counts { busy: 200, ours: 250, ..after };
        assert_eq!(readings(before, after, Duration::ZERO).others, 0.0);
    }

    #[test]
    fn counts_are_read_as_the_kernel_writes_them() {
        assert_eq!(machine("cpu  10 1 5 100 20 2 3 7 0 0\ncpu0 …"), Some((148, 28)));
        let line = "41 (a (b) c) S 7 41 41 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 5 6 7";
        let child = Process { number: 41, parent: 7, ticks: 127 };
        assert_eq!(process(line), Some(child));
        let of = |number, parent, ticks| (number, Process { number, parent, ticks });
        let all = [of(41, 7, 127), of(42, 41, 3), of(7, 1, 10), of(50, 1, 1_000), of(1, 0, 5)].into();
        assert_eq!(of_family(&all, 7), 140);
        assert_eq!(of_family(&all, 2), 0);
    }
}
