//! Sleeping: the times at which devices have their radios on.
//!
//! A pattern is a waking at equal intervals, or at times of the day; if there are several, each has the device awake. A
//! pattern at equal intervals without a phase has one that is drawn for each device, so that a group's devices awake
//! one by one. A pattern at times of the day without a phase has none, so that they awake together.

use super::Planning;
use super::draw::Draw;
use crate::plan::{DAY, Schedule};
use crate::scenario::model::{Group, Sleep};
use crate::scenario::problem::Problem;
use crate::scenario::quantity::Delay;
use std::ops::Range;
use std::time::Duration;

impl Planning<'_> {
    /// Returns the schedules of one device of a group.
    pub(super) fn schedules(&self, group: &Group, draw: &mut Draw) -> Result<Vec<Schedule>, Problem> {
        let Some(sleep) = &group.sleep else { return Ok(Vec::new()) };
        let patterns = sleep.get_ref().0.iter().map(|pattern| self.schedules_of(pattern, &sleep.span(), draw));
        let all = patterns.collect::<Result<Vec<_>, _>>()?;
        Ok(all.into_iter().flatten().collect())
    }

    fn schedules_of(&self, sleep: &Sleep, span: &Range<usize>, draw: &mut Draw) -> Result<Vec<Schedule>, Problem> {
        let wrong = |what: String, hint: &str| Err(self.document.problem(span, what, hint));
        let Sleep { every, at, awake, phase } = sleep;
        let awake = awake.0;
        let (every, times) = match (every, at) {
            (Some(every), None) => (every.0, None),
            (None, Some(times)) => (DAY, Some(&times.0)),
            _ => {
                let hint = "write one of every = \"10m\" and at = \"06:00, 18:00\"";
                return wrong("nothing, or too much, says when the devices awake".into(), hint);
            }
        };
        if awake >= every {
            let hint = "let `awake` be less than from one waking to the next, or leave `sleep` out";
            return wrong("the devices would never sleep".into(), hint);
        }
        if self.duration().as_secs_f64() / every.as_secs_f64() > MOST_WAKINGS {
            return wrong(format!("the devices would wake more than {MOST_WAKINGS} times"), "lengthen `every`");
        }
        if phase.is_some_and(|phase| phase.most >= every) {
            let hint = "let `phase` be less than from one waking to the next";
            return wrong("the devices would awake a turn later".into(), hint);
        }
        let drawn = |phase: &Delay, draw: &mut Draw| phase.least + draw.within(phase.most - phase.least);
        match times {
            None => {
                let phase = match phase {
                    Some(phase) => drawn(phase, draw),
                    None => draw.within(every),
                };
                Ok(vec![Schedule { every, awake, phase, left: Duration::ZERO }])
            }
            Some(times) => {
                let later = phase.as_ref().map_or(Duration::ZERO, |phase| drawn(phase, draw));
                Ok(times.iter().map(|time| self.at(*time + later, awake)).collect())
            }
        }
    }

    /// Returns a daily schedule at a time after midnight.
    fn at(&self, time: Duration, awake: Duration) -> Schedule {
        let nanos = (time + DAY).saturating_sub(self.dawn()).as_nanos() % DAY.as_nanos();
        let phase = Duration::from_nanos(u64::try_from(nanos).unwrap_or_default());
        // The waking of the day before may last into this one.
        let left = (phase + awake).saturating_sub(DAY);
        Schedule { every: DAY, awake, phase, left }
    }
}

/// The number of wakings of one device in a run, by one pattern.
const MOST_WAKINGS: f64 = 1e5;
