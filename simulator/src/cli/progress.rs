//! Progress: the progress of a run, drawn on standard error if that is a terminal.
//!
//! The simulation has a thread of its own, on which time is virtual; a channel carries its progress to the thread that
//! draws. The speed is virtual time by processor time: other load of the machine makes a run longer, but does not lower
//! its speed.

use crate::plan::Plan;
use crate::record::Record;
use crate::virtual_os;
use crate::world::{self, Options, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use std::sync::mpsc::sync_channel;

/// Runs a plan and draws its progress. `shown` is false if something else is drawn already.
pub(super) fn simulate(plan: Plan, options: Options, shown: bool) -> Result<Record, String> {
    let bar = if shown { ProgressBar::new(SCALE) } else { ProgressBar::hidden() };
    let style = "{bar:32} {percent:>3} %  {msg}";
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    let (told, progress) = sync_channel::<Progress>(CHANNEL);
    let run = std::thread::spawn(move || world::simulate(plan, options, told));
    let began = virtual_os::cpu_time();
    while let Ok(Progress { virtual_s, total_s, events, delivered }) = progress.recv() {
        bar.set_position((virtual_s / total_s.max(1e-9) * SCALE as f64) as u64);
        let spent = virtual_os::cpu_time().saturating_sub(began) as f64 / 1e9;
        let speed = virtual_s / spent.max(1e-3);
        let whole = std::time::Duration::from_secs(virtual_s as u64);
        bar.set_message(format!(
            "{} of virtual time, {speed:.0} s in a second of processor, {events} events, {delivered} delivered",
            humantime::format_duration(whole)
        ));
    }
    bar.finish_and_clear();
    run.join().unwrap_or_else(|_| Err("the simulation has failed; this is a defect of the program".to_owned()))
}

/// The number of steps of the progress bar.
const SCALE: u64 = 1_000;
/// The number of progress reports that may wait to be drawn. Drop policy: further ones are dropped, since only the
/// newest matters.
const CHANNEL: usize = 4;
