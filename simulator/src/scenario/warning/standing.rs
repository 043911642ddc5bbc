//! Standing: the links that can ever be up. Their ends come within reach of each other, their bearer is open at some
//! time of the run, and they are fast enough for the set-up of a connection.
//!
//! If devices move, the least distance between them is that between two points on straight lines, leg by leg. An
//! improvement by a fault counts as if it were always in effect.

use crate::plan::{Bearer, Device, Edge, FaultKind, Plan, place};
use m2mesh::link::bearer::Profile;
use m2mesh::net::NetConfig;
use m2mesh::net::emulation::Shape;
use std::time::Duration;

/// The links that can ever be up: see the module's documentation.
pub(super) struct Standing {
    /// By edge: the reason for which it is never up, if there is one.
    never: Vec<Option<Never>>,
    /// By edge: the least time that the first half of a connection's set-up takes.
    set_ups: Vec<Duration>,
}

/// The reason for which a link is never up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Never {
    /// Its ends are never within reach; the value is their least distance in metres.
    Far(f64),
    /// Its bearer is closed throughout.
    Closed,
    /// A connection is given up before its set-up is complete.
    Slow,
}

impl Standing {
    pub(super) fn of(plan: &Plan) -> Self {
        let set_ups = set_ups(plan);
        let open: Vec<bool> = plan.bearers.iter().map(|bearer| is_ever_open(plan, bearer)).collect();
        let why = |(number, edge): (usize, &Edge)| {
            let bearer = &plan.bearers[edge.bearer];
            let far = bearer.reach.and_then(|reach| apart(&plan.devices[edge.a], &plan.devices[edge.b], reach));
            let closed = (!open[edge.bearer]).then_some(Never::Closed);
            let slow = is_slow(bearer, set_ups[number]).then_some(Never::Slow);
            far.map(Never::Far).or(closed).or(slow)
        };
        Self { never: plan.edges.iter().enumerate().map(why).collect(), set_ups }
    }

    pub(super) fn never(&self, edge: usize) -> Option<Never> {
        self.never[edge]
    }

    pub(super) fn set_up(&self, edge: usize) -> Duration {
        self.set_ups[edge]
    }
}

/// Returns the time that nodes allow for each half of a connection's set-up over a bearer.
pub(super) fn setup_time(bearer: &Bearer) -> Duration {
    let profile = Profile { class: bearer.class, setup: bearer.setup, ..Profile::default() };
    profile.setup_time(NetConfig::default().setup_time)
}

/// Returns whether the first half of a connection's set-up takes longer than allowed.
pub(super) fn is_slow(bearer: &Bearer, set_up: Duration) -> bool {
    set_up > setup_time(bearer)
}

/// Returns, by edge, the least time of the first half of a set-up, whichever end dials, and under all faults: the
/// packets of TCP and Noise that the medium passes one after the other, three in one direction and two in the other.
fn set_ups(plan: &Plan) -> Vec<Duration> {
    let least = |shape: &Shape| shape.delay.saturating_sub(shape.jitter);
    let mut ways: Vec<[Duration; 2]> =
        plan.edges.iter().map(|edge| [0, 1].map(|way| least(&edge.shapes[way]))).collect();
    for fault in &plan.faults {
        let FaultKind::Degrade { edges, shapes } = &fault.what else { continue };
        for (edge, (way, shape)) in edges.iter().flat_map(|edge| shapes.iter().enumerate().map(move |way| (*edge, way)))
        {
            ways[edge][way] = shape.as_ref().map_or(ways[edge][way], |shape| ways[edge][way].min(least(shape)));
        }
    }
    ways.into_iter().map(|[there, back]| (there + back) * 2 + there.min(back)).collect()
}

/// Returns whether an access window of a bearer overlaps the run.
fn is_ever_open(plan: &Plan, bearer: &Bearer) -> bool {
    let ends = plan.start + (plan.warmup + plan.duration + plan.settle);
    let opens = || bearer.windows.next_change(plan.start).is_some_and(|opens| opens < ends);
    bearer.windows.open_at(plan.start) || opens()
}

/// Returns the least distance of two devices in metres, if it is never within reach.
fn apart(one: &Device, other: &Device, reach: f64) -> Option<f64> {
    let mut times: Vec<Duration> = one.track.iter().chain(&other.track).map(|point| point.at).collect();
    times.sort_unstable();
    times.dedup();
    let between = |at: Duration| {
        let (one, other) = (place(&one.track, at), place(&other.track, at));
        (one.0 - other.0, one.1 - other.1)
    };
    let mut nearest = f64::INFINITY;
    let mut before: Option<(f64, f64)> = None;
    for at in times {
        let now = between(at);
        nearest = nearest.min(before.map_or(now.0.hypot(now.1), |before| to_origin(before, now)));
        if nearest <= reach + ROUNDING {
            return None;
        }
        before = Some(now);
    }
    Some(nearest)
}

/// Returns the distance of the straight line from one point to another from the origin.
fn to_origin(from: (f64, f64), to: (f64, f64)) -> f64 {
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    let squared = x * x + y * y;
    let part = if squared > 0.0 { (-(from.0 * x + from.1 * y) / squared).clamp(0.0, 1.0) } else { 0.0 };
    (from.0 + x * part).hypot(from.1 + y * part)
}

/// The metres within which a distance counts as equal to a reach.
const ROUNDING: f64 = 1e-6;
