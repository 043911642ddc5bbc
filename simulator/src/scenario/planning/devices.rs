//! Devices: the devices of each group, with their positions and properties.

use super::Planning;
use super::draw::Draw;
use super::files::Member;
use super::kinds::Key;
use crate::plan::{Device, Post, Waypoint};
use crate::scenario::choice::{Placement, Speed};
use crate::scenario::model::{Group, Mobility, MobilityKind};
use crate::scenario::problem::{Problem, instead};
use m2mesh::id::Name;
use m2mesh::wire::credential::Role;
use std::time::Duration;
use toml::Spanned;

impl Planning<'_> {
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
        let carried = self.carried_by(group)?;
        let first = self.devices.len();
        let members = match &group.file {
            Some(file) => self.of_file(name, group, file)?,
            None => self.counted(name, group)?,
        };
        let count = members.len();
        if first + count > MOST_DEVICES {
            let what = format!("with the group `{word}` there are more than {MOST_DEVICES} devices");
            let span = group.count.as_ref().map(Spanned::span).or(group.file.as_ref().map(Spanned::span));
            return Err(document.problem(&span.unwrap_or_else(|| name.span()), what, "lower the count"));
        }
        let traced = self.traced(group, &members)?;
        // Each group has a stream of its own, by its name, so that adding or removing other groups does not change it.
        let mut draw = Draw::new(self.seed, &format!("placement {word}"), self.attempt);
        let mut phases = Draw::new(self.seed, &format!("schedule {word}"), 0);
        for (number, (member, traced)) in members.into_iter().zip(traced).enumerate() {
            let track = match traced {
                Some(track) => track,
                None => self.track(group, number, count, member.place, &mut draw)?,
            };
            let schedules = self.schedules(group, &mut phases)?;
            self.by_name.extend(group.file.as_ref().map(|_| (member.name.to_string(), self.devices.len())));
            self.devices.push(Device {
                name: member.name,
                group: word.clone(),
                track,
                schedules,
                power: group.power.map_or([0.0; 2], |power| [power.awake.0, power.asleep.unwrap_or(power.awake).0]),
                battery: self.battery(group)?,
                flush: group.flush.map_or(FLUSH, |flush| flush.0),
                processing: group.processing.unwrap_or_default().0,
                work: group.work.unwrap_or_default().0,
                start_up: group.start_up.unwrap_or_default().0,
                start_within: group.start_within.unwrap_or_default().0,
                target_links: group.looks_for,
                forwarding: member.forwarding.or(group.forwarding).unwrap_or(true),
                area: member.area.or(group.routing_area).unwrap_or_default(),
                roles: roles_of(group),
                post: Post {
                    takes: group.mail || group.parents.is_some(),
                    quota: self.mail_quota(group)?,
                    parents: Vec::new(),
                },
                offers: self.offers(group)?,
            });
            self.carried.push(carried.clone());
            self.degrees.push(member.degrees);
        }
        self.groups.push((word.clone(), first..first + count));
        self.unambiguous(name)
    }

    /// Returns the devices of a group that are called after the group, with a number.
    fn counted(&self, name: &Spanned<String>, group: &Group) -> Result<Vec<Member>, Problem> {
        let (document, word) = (self.document, name.get_ref());
        let keys = [Key::new("without", &group.without, false, "`file`")];
        self.only("a group without a `file`", &keys)?;
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
        let members = (1..=count).map(|number| {
            let called = Name::new(format!("{word}-{number}")).map_err(|error| {
                document.problem(&name.span(), format!("`{word}` cannot be part of a device's name: {error}"), NAMING)
            })?;
            if self.by_name.contains_key(called.as_str()) {
                let what = format!("a device of a file is called `{called}` already");
                return Err(document.problem(&name.span(), what, "give the group another name"));
            }
            Ok(Member::new(called))
        });
        members.collect()
    }

    /// Checks that names are unambiguous: `meter` and `meter-1` could both have a device `meter-1-1`; and `meter-1`
    /// would name a group and a device.
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

    fn battery(&self, group: &Group) -> Result<Option<f64>, Problem> {
        let Some(battery) = &group.battery else { return Ok(None) };
        if battery.get_ref().0 <= 0.0 {
            let hint = "write what it holds, as \"20kJ\", or leave it out where there is mains";
            return Err(self.document.problem(&battery.span(), "the battery is empty", hint));
        }
        Ok(Some(battery.get_ref().0))
    }

    fn track(
        &self,
        group: &Group,
        number: usize,
        count: usize,
        place: Option<[f64; 2]>,
        draw: &mut Draw,
    ) -> Result<Vec<Waypoint>, Problem> {
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
            _ if place.is_some() => place.unwrap_or_default(),
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
                // A device that the trace does not name stays where it is placed.
                MobilityKind::Trace => Ok(vec![Waypoint { at: Duration::ZERO, x: place[0], y: place[1] }]),
            },
        }
    }

    /// Returns a track of the random waypoint model: to a point of the area, at a speed, a pause, and on to the next.
    fn wander(
        &self,
        mobility: &Spanned<Mobility>,
        from: [f64; 2],
        origin: [f64; 2],
        area: [f64; 2],
        draw: &mut Draw,
    ) -> Result<Vec<Waypoint>, Problem> {
        let Mobility { pause, points, closed, file, .. } = mobility.get_ref();
        let keys = [
            Key::new("points", points, false, "kind = \"route\""),
            Key::new("loop", closed, false, "kind = \"route\""),
            Key::new("file", file, false, "kind = \"trace\""),
        ];
        self.only("kind = \"waypoints\"", &keys)?;
        let speed = self.speed(mobility, "random waypoints")?;
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

    /// Returns a track along the points, repeatedly in a round or once to the last. Devices of a group that go round
    /// begin spread over the round.
    fn route(&self, mobility: &Spanned<Mobility>, part: f64, draw: &mut Draw) -> Result<Vec<Waypoint>, Problem> {
        let Mobility { pause, points, closed, file, .. } = mobility.get_ref();
        let keys = [
            Key::new("pause", pause, false, "kind = \"waypoints\""),
            Key::new("file", file, false, "kind = \"trace\""),
        ];
        self.only("kind = \"route\"", &keys)?;
        let speed = self.speed(mobility, "a route")?;
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
        // The position at which it would be if it had begun that long before.
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

    fn speed(&self, mobility: &Spanned<Mobility>, kind: &str) -> Result<Speed, Problem> {
        let speed = self.needed(&mobility.get_ref().speed, kind, &mobility.span(), "speed = 1.5")?;
        Ok(*speed.get_ref())
    }

    pub(super) fn bounded(&self, track: &[Waypoint], mobility: &Spanned<Mobility>) -> Result<(), Problem> {
        if track.len() <= MOST_WAYPOINTS {
            return Ok(());
        }
        let what = format!("a device would turn more than {MOST_WAYPOINTS} times");
        Err(self.document.problem(&mobility.span(), what, "lower its speed, or shorten the run"))
    }
}

/// Returns the roles of a group's devices as a bit map.
fn roles_of(group: &Group) -> u16 {
    group.roles.iter().flatten().fold(0, |all, role| all | Role::from(*role) as u16)
}

fn travel(from: [f64; 2], to: [f64; 2], speed: f64) -> Duration {
    let metres = (to[0] - from[0]).hypot(to[1] - from[1]);
    Duration::from_secs_f64((metres / speed).clamp(0.001, LONGEST_LEG))
}

/// The seconds from one point to the next: longer than any run, and short enough for sums.
const LONGEST_LEG: f64 = 1e10;
/// The number of devices of a plan. Beyond it, memory is the limit.
const MOST_DEVICES: usize = 20_000;
/// The number of points of one device's track.
const MOST_WAYPOINTS: usize = 20_000;
/// The metres between devices in a line or grid.
const SPACING: f64 = 100.0;
/// The area in metres east and north in which devices with random positions are.
const AREA: [f64; 2] = [1_000.0, 1_000.0];
/// The time that a flush of common flash storage takes.
const FLUSH: Duration = Duration::from_millis(4);
const NAMING: &str = "write letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
