//! Traffic: the flows of messages, with their senders, receivers and times.
//!
//! A message or request goes to a device to which there is a path, over possible links and devices that forward
//! ([`reach`](super::reach)). In a flow to a group, each sender draws one of the group's devices each time; with
//! `partners`, one of this number that are drawn for it at the start. Publications spread over any number of links;
//! with many topics ([`topics`]), each sender uses them in turn.

use super::Planning;
use super::draw::Draw;
use super::kinds::Key;
use super::reach::Reach;
use super::topics;
use crate::plan::{Daily, Flow, FlowKind, Pattern, Traced};
use crate::scenario::model::{Traffic, TrafficKind};
use crate::scenario::problem::{Problem, instead};
use crate::scenario::quantity;
use m2mesh::routing::policies::NamedPolicy;
use m2mesh::wire::batch::Ack;
use m2mesh::wire::data::Class;
use m2mesh::wire::{self, topic};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

impl Planning<'_> {
    pub(super) fn plan_traffic(&self, policies: &[NamedPolicy]) -> Result<Vec<Flow>, Problem> {
        let reach = self.reach();
        let mut flows: Vec<Flow> = Vec::new();
        for (number, traffic) in self.model.traffic.iter().enumerate() {
            let name = &traffic.get_ref().name;
            if flows.iter().any(|flow| flow.name == *name.get_ref()) {
                let what = format!("there is a flow `{}` already", name.get_ref());
                return Err(self.document.problem(&name.span(), what, "give each flow another name"));
            }
            if name.get_ref().is_empty() || name.get_ref().contains(['[', ']', '=', '.']) {
                let what = format!("{:?} cannot be a flow's name", name.get_ref());
                return Err(self.document.problem(&name.span(), what, "write a word without `[`, `]`, `=` and `.`"));
            }
            flows.push(self.plan_flow(traffic, number, &reach, policies)?);
        }
        Ok(flows)
    }

    fn plan_flow(
        &self,
        traffic: &Spanned<Traffic>,
        number: usize,
        reach: &Reach,
        policies: &[NamedPolicy],
    ) -> Result<Flow, Problem> {
        let (span, traffic) = (traffic.span(), traffic.get_ref());
        let publishes = traffic.kind == TrafficKind::Publish;
        let all = traffic.kind == TrafficKind::Broadcast;
        let sends = traffic.kind == TrafficKind::Send;
        let single = !publishes && !all;
        let called = format!("kind = \"{}\"", format!("{:?}", traffic.kind).to_lowercase());
        self.only(
            &called,
            &[
                Key::new("topic", &traffic.topic, publishes, "kind = \"publish\""),
                Key::new("to", &traffic.to, !all, "all other kinds"),
                Key::new("ack", &traffic.ack, sends || all, "kind = \"send\" and \"broadcast\""),
                Key::new("class", &traffic.class, single, "kind = \"send\" and \"request\""),
                Key::new("policy", &traffic.policy, !publishes, "kind = \"send\", \"request\" and \"broadcast\""),
                Key::new("partners", &traffic.partners, single, "kind = \"send\" and \"request\""),
                Key::new("repeat", &traffic.repeat, single, "kind = \"request\""),
            ],
        )?;
        let size = self.size(traffic, publishes || all)?;
        let (begin, end) = self.span_of_time(traffic)?;
        let traced = match &traffic.trace {
            Some(trace) => Some(self.trace(trace, size, publishes || all)?),
            None => None,
        };
        let from = match (&traffic.from, &traced) {
            (Some(from), _) => self.spanned_members(from)?,
            (None, Some(lines)) => lines.iter().map(|line| line.from).collect::<BTreeSet<_>>().into_iter().collect(),
            (None, None) => self.spanned_members(self.needed(&traffic.from, "a flow", &span, "from = \"all\"")?)?,
        };
        let (from, kind) = match traffic.kind {
            TrafficKind::Publish => (from, self.publication(traffic, &span)?),
            TrafficKind::Broadcast => {
                let kind = self.to_all(traffic, &from)?;
                (from, kind)
            }
            kind => match self.to_any(traffic, &from, traced.as_deref(), reach)? {
                Some(any) => (from, any),
                None => {
                    let (from, lists) = self.receivers(traffic, number, from, traced.as_deref(), reach, &span)?;
                    (from, if kind == TrafficKind::Send { FlowKind::Send(lists) } else { FlowKind::Request(lists) })
                }
            },
        };
        let daily = self.daily(traffic)?;
        let pattern = self.pattern(traffic, &span, &from, traced, (begin, end), number, size)?;
        let flow = Flow {
            name: traffic.name.get_ref().clone(),
            from,
            kind,
            pattern,
            daily,
            size,
            ack: traffic.ack.as_ref().map_or(Ack::End, |ack| (*ack.get_ref()).into()),
            class: traffic.class.as_ref().map_or(Class::Telemetry, |class| (*class.get_ref()).into()),
            policy: traffic.policy.as_ref().map(|policy| self.policy(policy, policies)).transpose()?,
            deadline: traffic.deadline.map_or(DEADLINE, |deadline| deadline.0),
            begin,
            end,
        };
        let expected = messages(&flow);
        if expected > MOST_MESSAGES {
            let what = format!("the flow comes to {expected:.0} messages");
            let hint = format!("at most {MOST_MESSAGES:.0} can be: send less often, by fewer, or for a shorter time");
            return Err(self.document.problem(&span, what, hint));
        }
        Ok(flow)
    }

    /// Returns the daily profile of a flow's rate.
    fn daily(&self, traffic: &Traffic) -> Result<Option<Daily>, Problem> {
        let Some(daily) = &traffic.daily else { return Ok(None) };
        let wrong = |what: &str, hint: &str| Err(self.document.problem(&daily.span(), what, hint));
        if traffic.rate.is_none() {
            return wrong("`daily` multiplies a `rate`, and there is none", "add rate = \"6/h\", or remove `daily`");
        }
        let steps: Vec<_> = daily.get_ref().iter().map(|(time, factor)| (time.0, *factor)).collect();
        let sound = |factor: f64| (0.0..=MOST_FACTOR).contains(&factor);
        if !steps.iter().all(|(_, factor)| sound(*factor)) || steps.iter().all(|(_, factor)| *factor == 0.0) {
            let hint = "write { \"00:00\" = 0.2, \"07:00\" = 3 }, each from 0 to 10000, one of them more than 0";
            return wrong("these are no factors of a rate over the day", hint);
        }
        Ok(Some(Daily { steps, dawn: self.dawn() }))
    }

    fn size(&self, traffic: &Traffic, publishes: bool) -> Result<usize, Problem> {
        let Some(size) = &traffic.size else { return Ok(SIZE) };
        let bytes = usize::try_from(size.get_ref().0).unwrap_or(usize::MAX);
        let most = most_bytes(publishes);
        if (LEAST_SIZE..=most).contains(&bytes) {
            return Ok(bytes);
        }
        let what = format!("a payload of {bytes} bytes is {}", if bytes > most { "too large" } else { "too small" });
        let hint = format!("write {LEAST_SIZE} to {most} bytes; the simulator numbers its messages in the first");
        Err(self.document.problem(&size.span(), what, hint))
    }

    fn span_of_time(&self, traffic: &Traffic) -> Result<(Duration, Duration), Problem> {
        let duration = self.duration();
        let begin = traffic.begin.as_ref().map_or(Duration::ZERO, |begin| begin.get_ref().0);
        let end = traffic.end.as_ref().map_or(duration, |end| end.get_ref().0);
        let at_end = traffic.end.as_ref().filter(|_| end > duration).map(Spanned::span);
        let at_begin = traffic.begin.as_ref().filter(|_| begin >= end).map(Spanned::span);
        match at_end.or(at_begin).or_else(|| traffic.end.as_ref().filter(|_| begin >= end).map(Spanned::span)) {
            None => Ok((begin, end)),
            Some(span) => {
                let what = "the flow does not lie within the measured time".to_owned();
                let hint = format!(
                    "let it begin before it ends, and end within the duration of {}",
                    humantime::format_duration(duration)
                );
                Err(self.document.problem(&span, what, hint))
            }
        }
    }

    fn publication(&self, traffic: &Traffic, span: &Range<usize>) -> Result<FlowKind, Problem> {
        let written = self.needed(&traffic.topic, "a publication", span, "topic = \"plant/temperature\"")?;
        let topics = topics::expand(written.get_ref())
            .map_err(|(what, hint)| self.document.problem(&written.span(), what, hint))?;
        for topic in &topics {
            topic::check_topic(topic).map_err(|error| {
                let hint = "write a topic, as \"plant/temperature\"";
                self.document.problem(&written.span(), error.to_string().replace("; ", ", "), hint)
            })?;
        }
        let subscribers = match &traffic.to {
            Some(to) => self.spanned_members(to)?,
            None => (0..self.devices.len()).collect(),
        };
        Ok(FlowKind::Publish { topics, subscribers })
    }

    /// Returns the receivers of each sender.
    fn receivers(
        &self,
        traffic: &Traffic,
        number: usize,
        from: Vec<usize>,
        traced: Option<&[Traced]>,
        reach: &Reach,
        span: &Range<usize>,
    ) -> Result<(Vec<usize>, Vec<Vec<usize>>), Problem> {
        let by_trace = traced.is_some_and(|lines| lines.iter().all(|line| line.to.is_some()));
        if let Some(line) =
            traced.into_iter().flatten().find(|line| line.to.is_some_and(|to| !reach.can(line.from, to)))
        {
            let to = line.to.map_or("", |to| self.devices[to].name.as_str());
            return Err(self.no_way(span, self.devices[line.from].name.as_str(), to));
        }
        if traffic.to.is_none() && by_trace {
            let lists = vec![Vec::new(); from.len()];
            return Ok((from, lists));
        }
        let to = self.needed(&traffic.to, "a flow", span, "to = \"neighbours\"")?;
        let wanted: Option<Vec<usize>> = match &to.get_ref().0[..] {
            [one] if one == NEIGHBOURS => None,
            [one] if self.named(one, &to.span()).is_err() => {
                return Err(self.nobody(one, &to.span(), Some(NEIGHBOURS)));
            }
            _ => Some(self.spanned_members(to)?),
        };
        let mut draw = Draw::new(self.seed, "partners", number);
        let partners = traffic.partners.as_ref().map(|partners| *partners.get_ref());
        if let Some(given) = traffic.partners.as_ref().filter(|given| *given.get_ref() == 0) {
            return Err(self.document.problem(&given.span(), "a sender has zero partners", "write 1 or more"));
        }
        let mut lists = Vec::with_capacity(from.len());
        for sender in &from {
            let list: Vec<usize> = match &wanted {
                None => reach.near[*sender].iter().copied().collect(),
                Some(wanted) => wanted.iter().copied().filter(|to| reach.can(*sender, *to)).collect(),
            };
            let list = partners.map_or_else(|| list.clone(), |partners| draw.choose(&list, partners));
            if list.is_empty() {
                let receivers = to.get_ref().0.join("`, `");
                return Err(self.no_way(&to.span(), self.devices[*sender].name.as_str(), &receivers));
            }
            lists.push(list);
        }
        Ok((from, lists))
    }

    fn no_way(&self, span: &Range<usize>, sender: &str, receivers: &str) -> Problem {
        let what = format!("there is no way from `{sender}` to `{receivers}`");
        let hint = "add [[links]] between them, or over devices that forward; or send to \"neighbours\"";
        self.document.problem(span, what, hint)
    }

    #[expect(clippy::too_many_arguments, reason = "what has been read of a flow so far")]
    fn pattern(
        &self,
        traffic: &Traffic,
        span: &Range<usize>,
        from: &[usize],
        traced: Option<Vec<Traced>>,
        (begin, end): (Duration, Duration),
        number: usize,
        size: usize,
    ) -> Result<Pattern, Problem> {
        let Traffic { every, rate, burst, total, trace, .. } = traffic;
        let given = [
            ("every", every.as_ref().map(Spanned::span)),
            ("rate", rate.as_ref().map(Spanned::span)),
            ("burst", burst.as_ref().map(Spanned::span)),
            ("total", total.as_ref().map(Spanned::span)),
            ("trace", trace.as_ref().map(Spanned::span)),
        ];
        let given: Vec<_> = given.into_iter().filter_map(|(key, span)| Some((key, span?))).collect();
        let hint = "write one of every = \"1m\", rate = \"6/h\", burst = { count = 10, every = \"5m\" }, total = 100 and trace = \"file.csv\"";
        match &given[..] {
            [_] => {}
            [] => return Err(self.document.problem(span, "nothing says when the flow sends", hint)),
            [(one, _), (other, span), ..] => {
                let what = format!("`{one}` and `{other}` both say when the flow sends");
                return Err(self.document.problem(span, what, hint));
            }
        }
        let pattern = match (every, rate, burst, total, traced) {
            (Some(every), ..) => Pattern::Periodic(every.get_ref().0),
            (_, Some(rate), ..) => Pattern::Poisson(rate.get_ref().0),
            (_, _, Some(burst), ..) => {
                if burst.get_ref().count == 0 {
                    let what = "a burst of zero messages";
                    return Err(self.document.problem(&burst.span(), what, "write a count of 1 or more"));
                }
                Pattern::Burst { count: burst.get_ref().count, every: burst.get_ref().every.0 }
            }
            (_, _, _, Some(total), _) => {
                let count = *total.get_ref();
                if !(1..=MOST_LINES).contains(&count) {
                    let hint = format!("write a `total` of 1 to {MOST_LINES}");
                    return Err(self.document.problem(&total.span(), format!("{count} messages in all"), hint));
                }
                let mut draw = Draw::new(self.seed, "traffic", number);
                let step = (end - begin).div_f64(count as f64);
                let lines = (0..count).map(|line| {
                    let sender = from[draw.below(from.len())];
                    Traced { at: begin + step.mul_f64(line as f64), from: sender, to: None, size }
                });
                Pattern::Trace(lines.collect())
            }
            (.., traced) => {
                let lines = traced.unwrap_or_default();
                let senders: BTreeSet<usize> = from.iter().copied().collect();
                if let Some(line) = lines.iter().find(|line| !senders.contains(&line.from)) {
                    let name = &self.devices[line.from].name;
                    let what = format!("the trace has messages from `{name}`, which is not in `from`");
                    return Err(self.document.problem(span, what, "add it to `from`, or leave `from` out"));
                }
                Pattern::Trace(lines)
            }
        };
        Ok(pattern)
    }

    /// Reads lines `at,from,to,size`: seconds or a duration after the warm-up, two devices, bytes. `to` and `size` may
    /// be empty if the flow states them. Empty lines, the text after a `#`, and a first line with these words are
    /// ignored.
    fn trace(&self, name: &Spanned<String>, size: usize, publishes: bool) -> Result<Vec<Traced>, Problem> {
        let mut lines = Vec::new();
        let known: BTreeMap<&str, usize> =
            self.devices.iter().enumerate().map(|(index, device)| (device.name.as_str(), index)).collect();
        for (number, text) in self.file(name)?.lines().enumerate() {
            let wrong =
                |what: String, hint: String| Problem::new(format!("{}:{}: {what}", name.get_ref(), number + 1), hint);
            let line = text.split('#').next().unwrap_or_default().trim();
            if line.is_empty() || (lines.is_empty() && line.starts_with("at,")) {
                continue;
            }
            let mut columns = line.split(',').map(str::trim);
            let mut column = || columns.next().unwrap_or_default();
            let (at, from, to, bytes) = (column(), column(), column(), column());
            let device = |word: &str| {
                known
                    .get(word)
                    .copied()
                    .ok_or_else(|| wrong(format!("no device is called `{word}`"), instead(word, known.keys().copied())))
            };
            let seconds = quantity::number(at).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let at = seconds.or_else(|| quantity::duration(at)).ok_or_else(|| {
                wrong(format!("{at:?} is no time"), "write at,from,to,size, as `12.5,meter-1,gateway-1,40`".into())
            })?;
            if at >= self.duration() {
                let hint = "remove the line, or lengthen the scenario's `duration`".to_owned();
                return Err(wrong("this is after the end of the measured time".into(), hint));
            }
            let bytes = match bytes {
                "" => size,
                text => {
                    text.parse().ok().filter(|bytes| (LEAST_SIZE..=most_bytes(publishes)).contains(bytes)).ok_or_else(
                        || {
                            let hint = format!("write {LEAST_SIZE} to {} bytes", most_bytes(publishes));
                            wrong(format!("{text:?} is no size of a payload"), hint)
                        },
                    )?
                }
            };
            let to = if to.is_empty() { None } else { Some(device(to)?) };
            lines.push(Traced { at, from: device(from)?, to, size: bytes });
        }
        if lines.is_empty() || lines.len() > MOST_LINES {
            let what = format!("the trace {} has {} messages", name.get_ref(), lines.len());
            let hint = format!("it has 1 to {MOST_LINES} lines `at,from,to,size`, as `12.5,meter-1,gateway-1,40`");
            return Err(self.document.problem(&name.span(), what, hint));
        }
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }
}

/// Returns the expected number of messages of a flow, without faults; copies of publications are not counted.
pub fn messages(flow: &Flow) -> f64 {
    let (senders, seconds) = (flow.from.len(), (flow.end - flow.begin).as_secs_f64());
    match &flow.pattern {
        Pattern::Periodic(every) => senders as f64 * seconds / every.as_secs_f64(),
        Pattern::Poisson(rate) => {
            let factor = flow.daily.as_ref().map_or(1.0, |daily| daily.mean(flow.begin, flow.end));
            senders as f64 * seconds * rate * factor
        }
        Pattern::Burst { count, every } => {
            senders as f64 * f64::from(*count) * (seconds / every.as_secs_f64()).ceil().max(1.0)
        }
        Pattern::Trace(lines) => lines.len() as f64,
    }
}

/// Returns the number of receivers of each message of a flow.
pub fn copies(flow: &Flow) -> usize {
    match &flow.kind {
        FlowKind::Send(_) | FlowKind::Request(_) | FlowKind::Any { .. } | FlowKind::Broadcast => 1,
        FlowKind::Publish { subscribers, .. } => subscribers.len(),
    }
}

fn most_bytes(publishes: bool) -> usize {
    if publishes { wire::group::MAX_PAYLOAD } else { wire::batch::MAX_PAYLOAD }
}

/// The word for the devices with which a device can link.
const NEIGHBOURS: &str = "neighbours";
/// The default size of a payload in bytes: a reading with its unit and time.
const SIZE: usize = 64;
/// The number of bytes in which the simulator numbers its messages.
const LEAST_SIZE: usize = 8;
/// The default time for which messages are of use.
const DEADLINE: Duration = Duration::from_secs(60);
/// The factor by which a rate may be multiplied at a time of the day.
const MOST_FACTOR: f64 = 10_000.0;
/// The number of messages of one trace.
const MOST_LINES: usize = 1_000_000;
/// The number of messages of one flow: the run keeps each.
const MOST_MESSAGES: f64 = 20_000_000.0;
