//! Comparison: the results of both sides, and whether they agree.
//!
//! Latencies are compared by median and 99th percentile (nearest rank). If there was a cut, the time from its end to
//! the first confirmed message is compared too, by its median over the senders.

use super::super::failure::Failure;
use super::super::tell::{self, say};
use super::machine::Readings;
use super::senders::Confirmed;
use serde::Serialize;
use std::path::Path;

/// The results of one side.
#[derive(Debug)]
pub(super) struct Side {
    /// The number of messages that were sent.
    pub(super) sent: usize,
    pub(super) confirmed: Vec<Confirmed>,
    /// The beginning and the end of the cut, in seconds.
    pub(super) cut: Option<(f64, f64)>,
}

/// The results of both sides.
#[derive(Debug, Serialize)]
pub(super) struct Comparison {
    /// What joined the nodes: `lab`, `tcp`, `quic`.
    over: &'static str,
    nodes: usize,
    /// The number of messages that were sent, in reality and simulated.
    sent: [usize; 2],
    /// The number of these that were confirmed.
    confirmed: [usize; 2],
    disk_flush_s: f64,
    machine: Readings,
    quantiles: Vec<Quantile>,
    /// The error of the simulation relative to reality.
    p50_error: f64,
    p99_error: f64,
    /// The median time from the end of the cut to the first confirmation, in reality and simulated, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    repair_s: Option<[f64; 2]>,
    pub(super) within: bool,
}

/// A percentile of the latency until confirmation, in seconds.
#[derive(Debug, Serialize)]
struct Quantile {
    /// The name: `p50`, `max`.
    name: &'static str,
    real_s: f64,
    simulated_s: f64,
}

/// The machine on which it was measured.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) over: &'static str,
    pub(super) nodes: usize,
    pub(super) disk_flush_s: f64,
    pub(super) machine: Readings,
}

/// Compares reality, which is the first side, with the simulation.
pub(super) fn compare(place: &Place, sides: &[Side; 2]) -> Result<Comparison, Failure> {
    let nothing = || Failure::new("no message was confirmed, so there is nothing to compare", "try a longer --for");
    let [real, simulated] = sides.each_ref().map(Side::latencies);
    if real.is_empty() || simulated.is_empty() {
        return Err(nothing());
    }
    let named = [("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)];
    let quantiles = named.map(|(name, part)| {
        let (real_s, simulated_s) = (quantile(&real, part), quantile(&simulated, part));
        Quantile { name, real_s, simulated_s }
    });
    let error = |part: f64| quantile(&simulated, part) / quantile(&real, part) - 1.0;
    let (p50_error, p99_error) = (error(0.5), error(0.99));
    let repair_s = match sides[0].cut {
        None => None,
        Some(_) => {
            let [real, simulated] = sides.each_ref().map(Side::repair);
            Some([real.ok_or_else(nothing)?, simulated.ok_or_else(nothing)?])
        }
    };
    let repaired = repair_s.is_none_or(|[real, simulated]| (simulated / real - 1.0).abs() <= P99_WITHIN);
    Ok(Comparison {
        over: place.over,
        nodes: place.nodes,
        sent: sides.each_ref().map(|side| side.sent),
        confirmed: [real.len(), simulated.len()],
        disk_flush_s: place.disk_flush_s,
        machine: place.machine,
        quantiles: quantiles.into(),
        p50_error,
        p99_error,
        repair_s,
        within: p50_error.abs() <= P50_WITHIN && p99_error.abs() <= P99_WITHIN && repaired,
    })
}

impl Side {
    /// Returns the latencies in ascending order, in seconds.
    fn latencies(&self) -> Vec<f64> {
        let mut latencies: Vec<f64> = self.confirmed.iter().map(|confirmed| confirmed.latency).collect();
        latencies.sort_by(f64::total_cmp);
        latencies
    }

    /// Returns the median over the senders of the time from the end of the cut to the first confirmation.
    fn repair(&self) -> Option<f64> {
        let (_, healed) = self.cut?;
        let senders = self.confirmed.iter().map(|confirmed| confirmed.sender).max()? + 1;
        let first = |sender: usize| {
            let of = self.confirmed.iter().filter(|confirmed| confirmed.sender == sender && confirmed.at >= healed);
            of.map(|confirmed| confirmed.at - healed).min_by(f64::total_cmp)
        };
        let mut times: Vec<f64> = (0..senders).filter_map(first).collect();
        times.sort_by(f64::total_cmp);
        (!times.is_empty()).then(|| quantile(&times, 0.5))
    }
}

/// Returns the smallest of sorted values that is not exceeded by a share `part` of them (nearest rank).
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()) - 1).copied().unwrap_or_default()
}

impl Comparison {
    /// Writes the results, and the measurements from which they were computed.
    pub(super) fn keep(&self, out: &Path, sides: &[Side; 2]) -> Result<(), Failure> {
        let mut table = "where,sender,confirmed_at_s,latency_s\n".to_owned();
        for (place, side) in ["real", "simulated"].iter().zip(sides) {
            for Confirmed { sender, at, latency } in &side.confirmed {
                table.push_str(&format!("{place},{sender},{at:.6},{latency:.6}\n"));
            }
        }
        let json = format!("{:#}\n", serde_json::json!(self));
        for (name, text) in [("calibration.json", json), ("latencies.csv", table)] {
            let path = out.join(name);
            std::fs::write(&path, text).map_err(|error| Failure::file("write", &path, &error))?;
        }
        Ok(())
    }

    pub(super) fn print(&self, sides: &[Side; 2]) {
        let mut table = tell::table(&["CONFIRMED AFTER", "REAL", "SIMULATED", "ERROR"]);
        for Quantile { name, real_s, simulated_s } in &self.quantiles {
            let seconds = |value: f64| tell::right(format!("{:.1} ms", value * 1e3));
            let error = tell::right(tell::percent(simulated_s / real_s - 1.0));
            table.add_row([comfy_table::Cell::new(name), seconds(*real_s), seconds(*simulated_s), error]);
        }
        say!("{table}");
        let Self { sent, confirmed, .. } = self;
        say!(
            "{} of {} messages confirmed in reality, {} of {} simulated",
            confirmed[0],
            sent[0],
            confirmed[1],
            sent[1]
        );
        if let Some([real, simulated]) = self.repair_s {
            say!("after the cut the first was confirmed {real:.2} s in reality, {simulated:.2} s simulated");
        }
        let Readings { others, ours, late_s } = self.machine;
        let (others, ours, late) = (others * 100.0, ours * 100.0, late_s * 1e3);
        say!(
            "processors: {ours:.0} % for this, {others:.0} % for others; one wake-up in a hundred {late:.1} ms late\n"
        );
        let [real, simulated] = sides.each_ref().map(Side::latencies);
        let (from, to) = (real[0].min(simulated[0]), quantile(&real, 0.995).max(quantile(&simulated, 0.995)));
        say!("share confirmed, from {:.0} to {:.0} ms (logarithmic)", from * 1e3, to * 1e3);
        for (name, values) in [("real     ", &real), ("simulated", &simulated)] {
            let curve: String = (0..COLUMNS).map(|column| bar(values, from, to, column)).collect();
            say!("{name} {curve}");
        }
        let style = |text: &str, good: bool| {
            let text = console::style(text.to_owned());
            if good { text.green() } else { text.red() }
        };
        let word = if self.within { "agree" } else { "differ" };
        say!(
            "\nthey {}: median off by {:+.1} % (15 % allowed), 99th percentile by {:+.1} % (30 % allowed)",
            style(word, self.within).bold(),
            self.p50_error * 100.0,
            self.p99_error * 100.0
        );
    }
}

/// Returns the share of confirmations in a column of a curve.
fn bar(sorted: &[f64], from: f64, to: f64, column: usize) -> char {
    let at = from * (to / from).max(1.0).powf((column + 1) as f64 / COLUMNS as f64);
    let share = sorted.partition_point(|value| *value <= at) as f64 / sorted.len() as f64;
    BARS[((share * (BARS.len() - 1) as f64).round() as usize).min(BARS.len() - 1)]
}

/// The errors allowed for the median and for the 99th percentile; the latter also holds for the time of repair.
const P50_WITHIN: f64 = 0.15;
const P99_WITHIN: f64 = 0.30;
/// The width of the curves in columns.
const COLUMNS: usize = 60;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[cfg(test)]
mod tests {
    use super::*;

    fn side(latencies: &[f64], cut: Option<(f64, f64)>) -> Side {
        let confirmed = |(at, latency): (usize, &f64)| Confirmed { sender: at % 2, at: at as f64, latency: *latency };
        Side { sent: latencies.len(), confirmed: latencies.iter().enumerate().map(confirmed).collect(), cut }
    }

    fn place() -> Place {
        let machine = Readings { others: 0.0, ours: 0.1, late_s: 1e-4 };
        Place { over: "tcp", nodes: 2, disk_flush_s: 1e-3, machine }
    }

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|part| quantile(&sorted, part)), [1.0, 50.0, 99.0, 100.0]);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
    }

    #[test]
    fn medians_and_tails_are_held_against_each_other() {
        let real: Vec<f64> = (1..=100).map(f64::from).collect();
        let of = |factor: f64, tail: f64| {
            let mut simulated: Vec<f64> = real.iter().map(|latency| latency * factor).collect();
            simulated[98] *= tail;
            simulated[99] *= tail;
            compare(&place(), &[side(&real, None), side(&simulated, None)]).expect("comparable")
        };
        assert!(of(1.1, 1.0).within);
        assert!(!of(1.2, 1.0).within && !of(0.8, 1.0).within, "the median is off");
        assert!(!of(1.0, 1.4).within, "the tail is off");
        assert!(compare(&place(), &[side(&real, None), side(&[], None)]).is_err());
    }

    #[test]
    fn repair_is_the_first_confirmation_of_each_sender_after_the_cut() {
        // Confirmations at 0, 1, 2, … of two senders in turn.
        let of = |healed| side(&[1.0; 9], Some((2.0, healed)));
        assert_eq!(of(3.5).repair(), Some(0.5));
        let found = compare(&place(), &[of(3.5), of(3.25)]).expect("comparable");
        assert_eq!(found.repair_s, Some([0.5, 0.75]));
        assert!(!found.within, "half as long again");
        assert!(compare(&place(), &[of(3.5), of(20.0)]).is_err(), "never repaired");
    }
}
