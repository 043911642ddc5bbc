//! Faults: what they strike, and when.
//!
//! A fault strikes once, `at` a time, or as a Poisson process of a `rate` over the measured time. If it strikes `any`
//! or a `share`, its devices or links are drawn anew each time. It is over after `for`, or when traffic ends. A fault
//! that degrades lines is split into one for each resulting shape.

use super::Planning;
use super::draw::Draw;
use super::kinds::Key;
use super::links::Behaviour;
use crate::plan::{self, Flow, Hostility, Pattern};
use crate::scenario::choice::{Struck, StruckTable};
use crate::scenario::model::{Fault, FaultKind, HostilityName};
use crate::scenario::problem::{Problem, instead};
use m2mesh::net::emulation::Shape;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

impl Planning<'_> {
    /// Returns all faults, in the order of their time.
    pub(super) fn plan_faults(&self, flows: &[Flow]) -> Result<Vec<plan::Fault>, Problem> {
        let mut all = Vec::new();
        for (number, fault) in self.model.faults.iter().enumerate() {
            let (span, fault) = (fault.span(), fault.get_ref());
            self.check_keys(fault)?;
            let mut draw = Draw::new(self.seed, "faults", number);
            for at in self.moments(fault, &span, &mut draw)? {
                let until = fault.lasting.map(|lasting| at + lasting.0).filter(|until| *until < self.duration());
                for (struck, what) in self.strike(fault, &span, at, flows, &mut draw)? {
                    let label = fault.name.clone().unwrap_or_else(|| format!("{} {struck}", called(fault.kind)));
                    all.push(plan::Fault { label, entry: number, at, until, what });
                }
            }
            if all.len() > MOST_FAULTS {
                let what = format!("there are more than {MOST_FAULTS} faults");
                return Err(self.document.problem(&span, what, "lower a `rate`, or strike fewer links"));
            }
        }
        all.sort_by_key(|fault| fault.at);
        Ok(all)
    }

    fn check_keys(&self, fault: &Fault) -> Result<(), Problem> {
        use FaultKind::{
            Asymmetric, BatteryEmpty, ClockDrift, ClockStep, Cut, Degrade, Flap, Hostile, Overload, Partition,
            RegionPowerCut, Revoke,
        };
        let kind = fault.kind;
        let of_links = matches!(kind, Cut | Flap | Degrade | Asymmetric);
        let of_devices = !of_links && !matches!(kind, Partition | Overload);
        let how = |name| fault.how.as_ref().is_some_and(|how| *how.get_ref() == name);
        let counts = how(HostilityName::Flood) || how(HostilityName::Pester);
        let waits = how(HostilityName::Delay) || how(HostilityName::Replay);
        let hostile = |fits| kind == Hostile && fits;
        let called = format!("kind = \"{}\"", called(kind));
        self.only(
            &called,
            &[
                Key::new("devices", &fault.devices, of_devices, "faults of devices, as \"crash\""),
                Key::new("links", &fault.links, of_links, "faults of links, as \"cut\""),
                Key::new("bearer", &fault.bearer, of_links, "faults of links, as \"cut\""),
                Key::new("sides", &fault.sides, kind == Partition, "\"partition\""),
                Key::new("silent", &fault.silent, matches!(kind, Cut | Partition), "\"cut\" and \"partition\""),
                Key::new("down", &fault.down, kind == Flap, "\"flap\""),
                Key::new("up", &fault.up, kind == Flap, "\"flap\""),
                Key::new("shape", &fault.shape, matches!(kind, Degrade | Asymmetric), "\"degrade\" and \"asymmetric\""),
                Key::new("by", &fault.by, kind == ClockStep, "\"clock-step\""),
                Key::new("ppm", &fault.ppm, kind == ClockDrift, "\"clock-drift\""),
                Key::new("flow", &fault.flow, kind == Overload, "\"overload\""),
                Key::new("factor", &fault.factor, kind == Overload, "\"overload\""),
                Key::new("how", &fault.how, kind == Hostile, "\"hostile\""),
                Key::new("share", &fault.share, hostile(how(HostilityName::Drop)), "\"hostile\" with how = \"drop\""),
                Key::new("after", &fault.after, hostile(waits), "\"hostile\" with how = \"delay\" or \"replay\""),
                Key::new("times", &fault.times, hostile(counts), "\"hostile\" with how = \"flood\" or \"pester\""),
                Key::new("through", &fault.through, kind == Revoke, "\"revoke\""),
            ],
        )?;
        let region = matches!(
            fault.devices.as_ref().map(Spanned::get_ref),
            Some(Struck::Drawn(StruckTable { within: Some(_), .. }))
        );
        if let Some(devices) = fault.devices.as_ref().filter(|_| kind == RegionPowerCut && !region) {
            let hint = "write devices = { within = [x, y, radius] }, or take kind = \"power-cut\"";
            return Err(self.document.problem(&devices.span(), "this is no region", hint));
        }
        if let (Revoke, Some(devices), true) = (kind, &fault.devices, fault.lasting.is_some()) {
            let what = "a device that is revoked is never a member again, so `for` does not go with it";
            return Err(self.document.problem(&devices.span(), what, "remove `for`"));
        }
        if let (BatteryEmpty, Some(devices), true) = (kind, &fault.devices, fault.lasting.is_some()) {
            let what = "an empty battery does not fill again, so `for` does not go with it";
            return Err(self.document.problem(&devices.span(), what, "remove `for`, or take kind = \"power-cut\""));
        }
        Ok(())
    }

    /// Returns the times at which a fault strikes, after the warm-up.
    fn moments(&self, fault: &Fault, span: &Range<usize>, draw: &mut Draw) -> Result<Vec<Duration>, Problem> {
        let duration = self.duration();
        match (&fault.at, &fault.rate) {
            (Some(at), None) if at.get_ref().0 < duration => Ok(vec![at.get_ref().0]),
            (Some(at), None) => {
                let length = humantime::format_duration(duration);
                let what = format!("the fault would strike after the measured time, which is {length}");
                Err(self.document.problem(&at.span(), what, "let it strike earlier, or lengthen `duration`"))
            }
            (None, Some(rate)) => {
                if fault.lasting.is_none() && !matches!(fault.kind, FaultKind::BatteryEmpty | FaultKind::Revoke) {
                    let what = "a fault that strikes again and again needs `for`";
                    return Err(self.document.problem(&rate.span(), what, "add how long it lasts, as for = \"30s\""));
                }
                let (mut moments, mut at) = (Vec::new(), draw.gap(rate.get_ref().0));
                while at < duration && moments.len() <= MOST_FAULTS {
                    moments.push(at);
                    at += draw.gap(rate.get_ref().0);
                }
                Ok(moments)
            }
            (None, None) => {
                let hint = "add at = \"2m\", or rate = \"3/h\" for a Poisson process";
                Err(self.document.problem(span, "nothing says when the fault strikes", hint))
            }
            (Some(_), Some(rate)) => {
                let what = "`at` and `rate` both say when the fault strikes";
                Err(self.document.problem(&rate.span(), what, "remove one of them"))
            }
        }
    }

    /// Returns the results of one strike, each with the words for the devices or links that it strikes.
    fn strike(
        &self,
        fault: &Fault,
        span: &Range<usize>,
        at: Duration,
        flows: &[Flow],
        draw: &mut Draw,
    ) -> Result<Vec<(String, plan::FaultKind)>, Problem> {
        let whom = |planning: &Self, draw: &mut Draw| {
            let devices = planning.needed(&fault.devices, "this fault", span, "devices = { any = 1 }")?;
            let found = planning.struck(devices, at, draw)?;
            Ok::<_, Problem>((planning.devices_in_words(devices.get_ref(), &found), found))
        };
        let edges = |planning: &Self, draw: &mut Draw| {
            let found = planning.struck_links(fault, span, draw)?;
            let found: Vec<usize> = found.into_iter().map(|(edge, _)| edge).collect();
            Ok::<_, Problem>((planning.edges_in_words(&found), found))
        };
        let silent = |default| fault.silent.as_ref().map_or(default, |silent| *silent.get_ref());
        let one = match fault.kind {
            FaultKind::Crash => map(whom(self, draw)?, plan::FaultKind::Crash),
            FaultKind::Pause => map(whom(self, draw)?, plan::FaultKind::Pause),
            FaultKind::PowerCut | FaultKind::RegionPowerCut => map(whom(self, draw)?, plan::FaultKind::PowerCut),
            FaultKind::BatteryEmpty => map(whom(self, draw)?, plan::FaultKind::BatteryEmpty),
            FaultKind::DiskFull => map(whom(self, draw)?, plan::FaultKind::DiskFull),
            FaultKind::Stranger => map(whom(self, draw)?, plan::FaultKind::Stranger),
            FaultKind::Impostor => map(whom(self, draw)?, plan::FaultKind::Impostor),
            FaultKind::Revoke => {
                // Of those that are drawn, one may have the issuer's key.
                let mut drawn = whom(self, draw)?;
                for _ in 0..MOST_DRAWS {
                    if drawn.1.contains(&ISSUING) {
                        drawn = whom(self, draw)?;
                    }
                }
                self.revocation(fault, drawn, at, draw)?
            }
            FaultKind::ClockStep => {
                let by = self.needed(&fault.by, "a clock step", span, "by = \"-90s\"")?.get_ref().0;
                map(whom(self, draw)?, |devices| plan::FaultKind::ClockStep { devices, seconds: by })
            }
            FaultKind::ClockDrift => {
                let ppm = self.needed(&fault.ppm, "a clock drift", span, "ppm = 50")?;
                if !(-100_000.0..=100_000.0).contains(ppm.get_ref()) || *ppm.get_ref() == 0.0 {
                    let hint = "write millionths from -100000 to 100000, but not 0";
                    return Err(self.document.problem(&ppm.span(), "no clock drifts so", hint));
                }
                map(whom(self, draw)?, |devices| plan::FaultKind::ClockDrift { devices, ppm: *ppm.get_ref() })
            }
            FaultKind::Hostile => {
                let how = self.hostility(fault, span)?;
                map(whom(self, draw)?, |devices| plan::FaultKind::Hostile { devices, how })
            }
            FaultKind::Cut => map(edges(self, draw)?, |edges| plan::FaultKind::Cut { edges, silent: silent(false) }),
            FaultKind::Flap => {
                let down = self.needed(&fault.down, "a flapping link", span, "down = \"5s\"")?.get_ref().0;
                let up = self.needed(&fault.up, "a flapping link", span, "up = \"20s\"")?.get_ref().0;
                map(edges(self, draw)?, |edges| plan::FaultKind::Flap { edges, down, up })
            }
            FaultKind::Partition => {
                let sides = self.needed(&fault.sides, "a partition", span, "sides = [\"meter\", \"gateway\"]")?;
                let edges = self.parted(sides, draw)?;
                (self.edges_in_words(&edges), plan::FaultKind::Cut { edges, silent: silent(true) })
            }
            FaultKind::Overload => self.overload(fault, span, flows)?,
            FaultKind::Degrade | FaultKind::Asymmetric => return self.degrade(fault, span, draw),
        };
        Ok(vec![one])
    }

    fn hostility(&self, fault: &Fault, span: &Range<usize>) -> Result<Hostility, Problem> {
        let how = self.needed(&fault.how, "a hostile member", span, "how = \"drop\"")?;
        let after = |what| self.needed(&fault.after, what, span, "after = \"5s\"").map(|after| after.get_ref().0);
        Ok(match how.get_ref() {
            HostilityName::Drop => Hostility::Drop(fault.share.as_ref().map_or(1.0, |share| share.get_ref().0)),
            HostilityName::Blackhole => Hostility::BlackHole,
            HostilityName::Return => Hostility::Return,
            HostilityName::Stretch => Hostility::Stretch,
            HostilityName::Lie => Hostility::Lie,
            HostilityName::Delay => Hostility::Delay(after("a hostile member that delays")?),
            HostilityName::Replay => Hostility::Replay(after("a hostile member that replays")?),
            name @ (HostilityName::Flood | HostilityName::Pester) => {
                let times = self.needed(&fault.times, "a hostile member that floods", span, "times = 10")?;
                if !(2..=MOST_TIMES).contains(times.get_ref()) {
                    let what = format!("{} times is no flood", times.get_ref());
                    return Err(self.document.problem(&times.span(), what, format!("write 2 to {MOST_TIMES}")));
                }
                let times = *times.get_ref();
                if *name == HostilityName::Flood { Hostility::Flood(times) } else { Hostility::Pester(times) }
            }
        })
    }

    /// Returns a revocation, which is brought to a device that is not revoked.
    fn revocation(
        &self,
        fault: &Fault,
        (words, devices): (String, Vec<usize>),
        at: Duration,
        draw: &mut Draw,
    ) -> Result<(String, plan::FaultKind), Problem> {
        let span = fault.devices.as_ref().map_or(0..0, Spanned::span);
        if devices.contains(&ISSUING) {
            let what = format!("`{}` has the issuer's key, and cannot be revoked", self.devices[ISSUING].name);
            return Err(self.document.problem(&span, what, "revoke others, as devices = { any = 1, of = \"meter\" }"));
        }
        let through = match &fault.through {
            Some(through) => {
                // Of those that are drawn, one may be revoked itself.
                let others = |device: &usize| !devices.contains(device);
                let mut found = None;
                for _ in 0..MOST_DRAWS {
                    found = found.or(self.struck(through, at, draw)?.into_iter().find(others));
                }
                found.ok_or_else(|| {
                    let what = "the bulletin would be brought to a device that it revokes";
                    self.document.problem(&through.span(), what, "name another, as through = { any = 1 }")
                })?
            }
            None => ISSUING,
        };
        Ok((words, plan::FaultKind::Revoke { devices, through }))
    }

    fn overload(
        &self,
        fault: &Fault,
        span: &Range<usize>,
        flows: &[Flow],
    ) -> Result<(String, plan::FaultKind), Problem> {
        let name = self.needed(&fault.flow, "an overload", span, "flow = \"readings\"")?;
        let factor = self.needed(&fault.factor, "an overload", span, "factor = 10")?;
        let flow = flows.iter().position(|flow| flow.name == *name.get_ref()).ok_or_else(|| {
            let what = format!("no flow is called `{}`", name.get_ref());
            self.document.problem(
                &name.span(),
                what,
                instead(name.get_ref(), flows.iter().map(|flow| flow.name.as_str())),
            )
        })?;
        if matches!(flows[flow].pattern, Pattern::Trace(_)) {
            let what = format!("the messages of `{}` are counted out, so it cannot send more", name.get_ref());
            return Err(self.document.problem(&name.span(), what, "give that flow `every`, `rate` or `burst`"));
        }
        let factor_value = *factor.get_ref();
        if !(factor_value > 0.0 && factor_value <= MOST_FACTOR) {
            let hint = format!("write above 0 and at most {MOST_FACTOR}, as 10");
            return Err(self.document.problem(&factor.span(), format!("a factor of {factor_value}"), hint));
        }
        Ok((name.get_ref().clone(), plan::FaultKind::Overload { flow, factor: factor_value }))
    }

    fn degrade(
        &self,
        fault: &Fault,
        span: &Range<usize>,
        draw: &mut Draw,
    ) -> Result<Vec<(String, plan::FaultKind)>, Problem> {
        let what = format!("kind = \"{}\"", called(fault.kind));
        let line = self.needed(&fault.shape, &what, span, "shape = { loss = 0.2 }")?;
        // By the shapes that the edge then has; as a text, since shapes have no order.
        let mut ways = BTreeMap::<String, (Vec<usize>, [Option<Shape>; 2])>::new();
        for (edge, forth) in self.struck_links(fault, span, draw)? {
            let part = draw.unit();
            let mut shapes = [None; 2];
            for (direction, shape) in shapes.iter_mut().enumerate() {
                if fault.kind == FaultKind::Degrade || (direction == 0) == forth {
                    let before = Behaviour::of(&self.edges[edge].shapes[direction], line.span());
                    *shape = Some(self.shape(&before.overridden(line.get_ref(), line.span()), part)?);
                }
            }
            ways.entry(format!("{shapes:?}")).or_insert_with(|| (Vec::new(), shapes)).0.push(edge);
        }
        let faults = ways
            .into_values()
            .map(|(edges, shapes)| (self.edges_in_words(&edges), plan::FaultKind::Degrade { edges, shapes }));
        Ok(faults.collect())
    }

    fn devices_in_words(&self, struck: &Struck, found: &[usize]) -> String {
        match (struck, found) {
            (Struck::Named(members), _) if members.0.len() <= 2 => members.0.join(", "),
            (_, [one]) => self.devices[*one].name.to_string(),
            (_, [one, other]) => format!("{}, {}", self.devices[*one].name, self.devices[*other].name),
            _ => format!("{} devices", found.len()),
        }
    }

    fn edges_in_words(&self, edges: &[usize]) -> String {
        match edges {
            [one] => {
                let edge = &self.edges[*one];
                format!("{}–{}", self.devices[edge.a].name, self.devices[edge.b].name)
            }
            _ => format!("{} links", edges.len()),
        }
    }
}

fn map(
    (words, struck): (String, Vec<usize>),
    fault: impl FnOnce(Vec<usize>) -> plan::FaultKind,
) -> (String, plan::FaultKind) {
    (words, fault(struck))
}

/// Returns the name of a kind, as it is written, and as it begins a label.
fn called(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Crash => "crash",
        FaultKind::Pause => "pause",
        FaultKind::PowerCut => "power-cut",
        FaultKind::BatteryEmpty => "battery-empty",
        FaultKind::RegionPowerCut => "region-power-cut",
        FaultKind::Cut => "cut",
        FaultKind::Flap => "flap",
        FaultKind::Partition => "partition",
        FaultKind::Degrade => "degrade",
        FaultKind::Asymmetric => "asymmetric",
        FaultKind::ClockStep => "clock-step",
        FaultKind::ClockDrift => "clock-drift",
        FaultKind::DiskFull => "disk-full",
        FaultKind::Overload => "overload",
        FaultKind::Hostile => "hostile",
        FaultKind::Stranger => "stranger",
        FaultKind::Impostor => "impostor",
        FaultKind::Revoke => "revoke",
    }
}

/// The number of draws in search of devices that can be revoked, or be brought a bulletin.
const MOST_DRAWS: usize = 8;
/// The device that has the issuer's key.
const ISSUING: usize = 0;
/// The number of faults of a run: each is a mark on every time axis.
const MOST_FAULTS: usize = 10_000;
/// The number of times that a hostile member sends each frame.
const MOST_TIMES: u32 = 1_000;
/// The factor by which a flow may be overloaded.
const MOST_FACTOR: f64 = 10_000.0;
