//! Bearers and devices: who takes part, where it is, when it is awake.

use super::Planning;
use super::draw::Draw;
use super::kinds::Key;
use crate::plan::{Bearer, Device, Schedule, Waypoint};
use crate::scenario::choice::Placement;
use crate::scenario::model::{Group, Mobility, MobilityKind};
use crate::scenario::problem::{Problem, instead};
use crate::scenario::quantity::Size;
use m2mesh::id::Name;
use m2mesh::wire::lsa;
use std::time::Duration;
use toml::Spanned;

impl Planning<'_> {
    pub(super) fn plan_bearers(&self) -> Result<Vec<Bearer>, Problem> {
        let mut all: Vec<_> = self.model.bearers.iter().collect();
        all.sort_by_key(|(name, _)| name.span().start);
        if all.is_empty() {
            let hint = "add a table, as [bearers.radio] with delay = \"20ms\"";
            return Err(self.document.whole("there is no bearer, so nothing can be sent", hint));
        }
        let above_zero = |value: &Option<Spanned<f64>>, key: &str| match value {
            Some(value) if !(*value.get_ref() > 0.0 && value.get_ref().is_finite()) => Err(self.document.problem(
                &value.span(),
                format!("`{key}` is {}", value.get_ref()),
                "write metres above zero, or leave it out for any distance",
            )),
            _ => Ok(value.as_ref().map(|value| *value.get_ref())),
        };
        let planned = all.into_iter().map(|(name, bearer)| {
            let price = bearer.price.as_ref().map_or(0.0, |price| *price.get_ref());
            if let Some(given) = bearer.price.as_ref().filter(|_| !(price >= 0.0 && price.is_finite())) {
                let hint = "write what a megabyte costs, 0 or more";
                return Err(self.document.problem(&given.span(), format!("the price is {price}"), hint));
            }
            Ok(Bearer {
                name: name.get_ref().clone(),
                price,
                channel: bearer.channel.as_ref().map(|channel| channel.get_ref().0),
                reach: above_zero(&bearer.reach, "reach")?,
                windows: bearer.windows.iter().map(|window| (window.from, window.to)).collect(),
                class: bearer.class.unwrap_or_else(|| named(name.get_ref())),
                energy: bearer.energy.unwrap_or_default(),
                mtu: self.mtu(bearer.mtu.as_ref())?,
                rate: bearer.rate.map(|rate| rate.0),
                quota: bearer.quota.as_ref().map(|quota| (quota.get_ref().bytes.0, quota.get_ref().every.0)),
                metered: bearer.metered.unwrap_or(price > 0.0),
            })
        });
        planned.collect()
    }

    fn mtu(&self, given: Option<&Spanned<Size>>) -> Result<Option<u32>, Problem> {
        let Some(given) = given else { return Ok(None) };
        let mtu = u32::try_from(given.get_ref().0).ok().filter(|mtu| LEAST_MTU <= *mtu);
        mtu.map(Some).ok_or_else(|| {
            let what = format!("no bearer's largest packet has {} bytes", given.get_ref().0);
            self.document.problem(&given.span(), what, format!("write {LEAST_MTU} or more, or leave `mtu` out"))
        })
    }

    pub(super) fn plan_devices(&mut self) -> Result<(), Problem> {
        let mut groups: Vec<_> = self.model.devices.iter().collect();
        groups.sort_by_key(|(name, _)| name.span().start);
        if groups.is_empty() {
            let hint = "add a table, as [devices.meter] with count = 10";
            return Err(self.document.whole("there are no devices", hint));
        }
        for (name, group) in groups {
            self.plan_group(name, group)?;
        }
        Ok(())
    }

    fn plan_group(&mut self, name: &Spanned<String>, group: &Group) -> Result<(), Problem> {
        let document = self.document;
        let word = name.get_ref();
        if word == "all" || word == "neighbours" {
            let what = format!("a group cannot be called `{word}`, which means others");
            return Err(document.problem(&name.span(), what, "call it after what its devices are"));
        }
        let count = group.count.as_ref().map_or(1, |count| *count.get_ref());
        let span = group.count.as_ref().map_or_else(|| name.span(), Spanned::span);
        if count == 0 {
            let what = format!("the group `{word}` has zero devices");
            return Err(document.problem(&span, what, "write a count of 1 or more, or remove the group"));
        }
        if self.devices.len().saturating_add(count) > MOST_DEVICES {
            let what = format!("with the group `{word}` there are more than {MOST_DEVICES} devices");
            return Err(document.problem(&span, what, "lower the count"));
        }
        let carried = self.carried_by(group)?;
        let first = self.devices.len();
        // A stream for each group, by its name: other groups may come and go.
        let mut draw = Draw::new(self.seed, &format!("placement {word}"), self.attempt);
        let mut schedules = Draw::new(self.seed, &format!("schedule {word}"), 0);
        for number in 0..count {
            let called = format!("{word}-{}", number + 1);
            let called = Name::new(called).map_err(|error| {
                document.problem(&name.span(), format!("`{word}` cannot be part of a device's name: {error}"), NAMING)
            })?;
            let track = self.track(group, number, count, &mut draw)?;
            let schedule = self.schedule(group, &mut schedules)?;
            self.devices.push(Device {
                name: called,
                group: word.clone(),
                track,
                schedule,
                flush: group.flush.map_or(FLUSH, |flush| flush.0),
                target_links: group.looks_for,
                forwarding: group.forwarding.unwrap_or(true),
                area: group.routing_area.unwrap_or_default(),
            });
            self.carried.push(carried.clone());
        }
        self.groups.push((word.clone(), first..first + count));
        self.unambiguous(name)
    }

    /// `meter` and `meter-1` could both have a device `meter-1-1`; and `meter-1` would name a group and a device.
    fn unambiguous(&self, name: &Spanned<String>) -> Result<(), Problem> {
        let clash = self.groups.iter().find(|(group, _)| self.device(group).is_some());
        match clash {
            Some((group, _)) => {
                let what = format!("`{group}` would be both a group and a device of another");
                Err(self.document.problem(&name.span(), what, "give one of the groups another name"))
            }
            None => Ok(()),
        }
    }

    fn carried_by(&self, group: &Group) -> Result<Vec<usize>, Problem> {
        let Some(named) = &group.bearers else { return Ok((0..self.bearers.len()).collect()) };
        let mut carried = Vec::new();
        for name in named {
            let known = || self.bearers.iter().map(|bearer| bearer.name.as_str());
            carried.push(known().position(|known| known == name.get_ref()).ok_or_else(|| {
                let what = format!("no bearer is called `{}`", name.get_ref());
                self.document.problem(&name.span(), what, instead(name.get_ref(), known()))
            })?);
        }
        Ok(carried)
    }

    fn schedule(&self, group: &Group, draw: &mut Draw) -> Result<Option<Schedule>, Problem> {
        let Some(sleep) = &group.sleep else { return Ok(None) };
        let (every, awake) = (sleep.get_ref().every.0, sleep.get_ref().awake.0);
        if awake >= every {
            let hint = "let `awake` be less than `every`, or leave `sleep` out";
            return Err(self.document.problem(&sleep.span(), "the devices would never sleep", hint));
        }
        if self.duration().as_secs_f64() / every.as_secs_f64() > MOST_WAKINGS {
            let what = format!("the devices would wake more than {MOST_WAKINGS} times");
            return Err(self.document.problem(&sleep.span(), what, "lengthen `every`"));
        }
        Ok(Some(Schedule { every, awake, phase: draw.within(every) }))
    }

    fn track(&self, group: &Group, number: usize, count: usize, draw: &mut Draw) -> Result<Vec<Waypoint>, Problem> {
        let spacing = group.spacing.as_ref().map_or(SPACING, |spacing| *spacing.get_ref());
        let area = group.area.as_ref().map_or(AREA, |area| *area.get_ref());
        for (span, wrong) in [
            (group.spacing.as_ref().map(Spanned::span), !(spacing > 0.0 && spacing.is_finite())),
            (group.area.as_ref().map(Spanned::span), !area.iter().all(|side| *side > 0.0 && side.is_finite())),
        ] {
            if let Some(span) = span.filter(|_| wrong) {
                return Err(self.document.problem(&span, "this has no extent", "write metres above zero"));
            }
        }
        let origin = group.origin.unwrap_or_default();
        let x_y = match group.placement.unwrap_or(Placement::Random) {
            Placement::Random => [draw.unit() * area[0], draw.unit() * area[1]],
            Placement::Grid => {
                let width = super::topology::near_square(count);
                [(number % width) as f64 * spacing, (number / width) as f64 * spacing]
            }
            Placement::Line => [number as f64 * spacing, 0.0],
            Placement::At(point) => point,
        };
        let place = [x_y[0] + origin[0], x_y[1] + origin[1]];
        match &group.mobility {
            None => Ok(vec![Waypoint { at: Duration::ZERO, x: place[0], y: place[1] }]),
            Some(mobility) => match mobility.get_ref().kind {
                MobilityKind::Waypoints => self.wander(mobility, place, origin, area, draw),
                MobilityKind::Route => self.route(mobility, number as f64 / count as f64, draw),
            },
        }
    }

    /// The random waypoint model: to a point of the area, at a speed, a pause, and on to the next.
    fn wander(
        &self,
        mobility: &Spanned<Mobility>,
        from: [f64; 2],
        origin: [f64; 2],
        area: [f64; 2],
        draw: &mut Draw,
    ) -> Result<Vec<Waypoint>, Problem> {
        let Mobility { speed, pause, points, closed, .. } = mobility.get_ref();
        let keys = [
            Key::new("points", points, false, "kind = \"route\""),
            Key::new("loop", closed, false, "kind = \"route\""),
        ];
        self.only("kind = \"waypoints\"", &keys)?;
        let pause = pause.as_ref().map_or(Duration::ZERO, |pause| pause.get_ref().0);
        let mut track = vec![Waypoint { at: Duration::ZERO, x: from[0], y: from[1] }];
        let (mut at, mut here) = (Duration::ZERO, from);
        while at < self.length() {
            let next = [origin[0] + draw.unit() * area[0], origin[1] + draw.unit() * area[1]];
            let speed = draw.between(speed.least, speed.most);
            at += travel(here, next, speed);
            here = next;
            track.push(Waypoint { at, x: here[0], y: here[1] });
            if !pause.is_zero() {
                at += pause;
                track.push(Waypoint { at, x: here[0], y: here[1] });
            }
            self.bounded(&track, mobility)?;
        }
        Ok(track)
    }

    /// Along the points; round and round, or to the last. Devices of a group that go round begin spread over the round.
    fn route(&self, mobility: &Spanned<Mobility>, part: f64, draw: &mut Draw) -> Result<Vec<Waypoint>, Problem> {
        let Mobility { speed, pause, points, closed, .. } = mobility.get_ref();
        self.only("kind = \"route\"", &[Key::new("pause", pause, false, "kind = \"waypoints\"")])?;
        let points = self.needed(points, "a route", &mobility.span(), "points = [[0, 0], [1000, 0]]")?;
        let stops = points.get_ref();
        let apart = stops.windows(2).any(|pair| pair[0] != pair[1]);
        if !apart || !stops.iter().flatten().all(|metres| metres.is_finite()) {
            let what = "a route has at least two different points";
            return Err(self.document.problem(&points.span(), what, "write them as [[0, 0], [1000, 0]]"));
        }
        let speed = draw.between(speed.least, speed.most);
        let round = closed.as_ref().is_some_and(|closed| *closed.get_ref());
        let ends = stops.len() + usize::from(round);
        let legs: Vec<_> = (1..ends).map(|to| (stops[to - 1], stops[to % stops.len()])).collect();
        let whole: Duration = legs.iter().map(|(from, to)| travel(*from, *to, speed)).sum();
        // Where it would be had it begun that long before.
        let ahead = if round { whole.mul_f64(part) } else { Duration::ZERO };
        let (mut at, mut track) = (Duration::ZERO, Vec::new());
        for (from, to) in legs.iter().cycle().take(if round { usize::MAX } else { legs.len() }) {
            let takes = travel(*from, *to, speed);
            if at + takes > ahead {
                let passed = ahead.saturating_sub(at).as_secs_f64() / takes.as_secs_f64();
                if track.is_empty() {
                    let [x, y] = [0, 1].map(|axis| from[axis] + (to[axis] - from[axis]) * passed);
                    track.push(Waypoint { at: Duration::ZERO, x, y });
                }
                track.push(Waypoint { at: at + takes - ahead, x: to[0], y: to[1] });
            }
            at += takes;
            if at > ahead + self.length() {
                break;
            }
            self.bounded(&track, mobility)?;
        }
        Ok(track)
    }

    fn bounded(&self, track: &[Waypoint], mobility: &Spanned<Mobility>) -> Result<(), Problem> {
        if track.len() <= MOST_WAYPOINTS {
            return Ok(());
        }
        let what = format!("a device would turn more than {MOST_WAYPOINTS} times");
        Err(self.document.problem(&mobility.span(), what, "lower its speed, or shorten the run"))
    }
}

/// The class of that name, or what stands for all that is not known better.
fn named(name: &str) -> lsa::Bearer {
    lsa::Bearer::ALL.into_iter().find(|class| class.name() == name).unwrap_or_default()
}

fn travel(from: [f64; 2], to: [f64; 2], speed: f64) -> Duration {
    let metres = (to[0] - from[0]).hypot(to[1] - from[1]);
    Duration::from_secs_f64((metres / speed).clamp(0.001, LONGEST_LEG))
}

/// Seconds from one point to the next: more than any run has, and sums of it are no trouble.
const LONGEST_LEG: f64 = 1e10;
/// Bytes of the smallest packet that a bearer may have: a short message.
const LEAST_MTU: u32 = 16;
/// Devices of a plan. Beyond, memory is the limit.
const MOST_DEVICES: usize = 20_000;
/// Points of one device's track.
const MOST_WAYPOINTS: usize = 20_000;
/// Times that one device wakes in a run.
const MOST_WAKINGS: f64 = 1e5;
/// Metres between devices in a line or grid.
const SPACING: f64 = 100.0;
/// Metres east and north in which devices stand that are placed by lot.
const AREA: [f64; 2] = [1_000.0, 1_000.0];
/// What a flush of common flash storage takes.
const FLUSH: Duration = Duration::from_millis(4);
const NAMING: &str = "write letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
