//! Track: the position of a device at a time, on straight lines between the points of its track.

use super::Waypoint;
use std::time::Duration;

/// Returns the position in metres east and north at a time after the start.
pub fn place(track: &[Waypoint], at: Duration) -> (f64, f64) {
    let next = track.partition_point(|point| point.at <= at);
    match (next.checked_sub(1).and_then(|before| track.get(before)), track.get(next)) {
        (Some(before), Some(after)) => {
            let part = (at - before.at).as_secs_f64() / (after.at - before.at).as_secs_f64().max(1e-9);
            (before.x + (after.x - before.x) * part, before.y + (after.y - before.y) * part)
        }
        (Some(point), None) | (None, Some(point)) => (point.x, point.y),
        (None, None) => (0.0, 0.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_move_on_straight_lines_between_waypoints() {
        let point = |at, x, y| Waypoint { at: Duration::from_secs(at), x, y };
        let track = [point(10, 0.0, 0.0), point(20, 100.0, 50.0)];
        let at = |seconds| place(&track, Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(10), at(15), at(20), at(99)],
            [(0.0, 0.0), (0.0, 0.0), (50.0, 25.0), (100.0, 50.0), (100.0, 50.0)]
        );
    }
}
