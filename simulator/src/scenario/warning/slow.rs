//! Slow: links whose connections are given up before their set-up is complete.
//!
//! The time that a node allows for each half of a connection's set-up follows from its bearer's class, or is the
//! bearer's `setup`. The first half takes five times the delay.

use super::standing::{is_slow, setup_time};
use super::{Looking, Warning};
use std::time::Duration;

impl Looking<'_> {
    /// Warns of bearers with links that are too slow, once for each bearer.
    pub(super) fn slow(&self) -> Vec<Warning> {
        let mut found = Vec::new();
        for (name, bearer) in &self.model.bearers {
            let of = |other: &str| {
                other
                    .strip_prefix(name.get_ref().as_str())
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(" at "))
            };
            let edges = self.plan.edges.iter().enumerate().filter(|(_, edge)| of(&self.plan.bearers[edge.bearer].name));
            let edges: Vec<usize> = edges.map(|(number, _)| number).collect();
            let is_slow =
                |edge: &usize| is_slow(&self.plan.bearers[self.plan.edges[*edge].bearer], self.standing.set_up(*edge));
            let slow: Vec<usize> = edges.iter().copied().filter(is_slow).collect();
            let Some(slowest) = slow.iter().copied().max_by_key(|edge| self.standing.set_up(*edge)) else { continue };
            let needed = self.standing.set_up(slowest);
            let given = setup_time(&self.plan.bearers[self.plan.edges[slowest].bearer]);
            let what = format!(
                "{} of the {} links over `{}` never come up: that of {} takes {} for half of its set-up, and nodes give {}",
                slow.len(),
                edges.len(),
                name.get_ref(),
                self.ends(slowest),
                seconds(needed),
                seconds(given)
            );
            // A quarter more, for the time that a rate and repetitions add.
            let enough = needed.mul_f64(1.25).as_secs() + 1;
            let hint = format!("write setup = \"{enough}s\" in [bearers.{}], or lower the delay", name.get_ref());
            let span = bearer.delay.as_ref().map_or_else(|| name.span(), toml::Spanned::span);
            found.push(self.warning(&span, what, hint));
        }
        found
    }
}

/// Returns a time in seconds and tenths.
fn seconds(time: Duration) -> String {
    let tenths = u64::try_from(time.as_millis() / 100).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_millis(tenths.saturating_mul(100))).to_string()
}
