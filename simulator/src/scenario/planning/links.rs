//! Links: which devices can link over which bearer, how those lines behave, and who knows whom.
//!
//! Each entry of `[[links]]` makes a graph over the devices that it is `between` and that have its bearer. A pair that an
//! earlier entry has linked over the same bearer is described anew by a later one.

use super::Planning;
use super::draw::Draw;
use super::kinds::Key;
use super::topology::{self, Pairs};
use crate::plan::Edge;
use crate::scenario::choice::Known;
use crate::scenario::model::{Line, Links, LinksKind};
use crate::scenario::problem::{Problem, instead};
use crate::scenario::quantity::Delay;
use m2mesh::engine::lab::{Shape, ShapeError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// How lines of an entry behave, before delays are drawn.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    delay: Delay,
    jitter: Duration,
    loss: f64,
    rate: Option<u64>,
    span: Range<usize>,
}

impl Planning<'_> {
    pub(super) fn plan_links(&self) -> Result<Vec<Edge>, Problem> {
        let mut all = BTreeMap::new();
        for (number, links) in self.model.links.iter().enumerate() {
            let mut draw = Draw::new(self.seed, "links", number);
            for edge in self.plan_entry(links, &mut draw)? {
                all.insert((edge.a.min(edge.b), edge.a.max(edge.b), edge.bearer), edge);
            }
        }
        if all.len() > MOST_EDGES {
            let what = format!("there are {} links", all.len());
            let hint = format!("at most {MOST_EDGES} can be: lower a `count` or `degree`, or take another `kind`");
            return Err(self.document.whole(what, hint));
        }
        Ok(all.into_values().collect())
    }

    fn plan_entry(&self, links: &Spanned<Links>, draw: &mut Draw) -> Result<Vec<Edge>, Problem> {
        let (span, links) = (links.span(), links.get_ref());
        let bearer = self.bearer(links.bearer.as_ref(), &span)?;
        let between = self.between(links, bearer)?;
        let pairs = self.graph(links, &span, &between, bearer, draw)?;
        let there = self.behaviour(bearer, links, &span)?;
        let back = links.back.as_ref().map(|back| there.overridden(back.get_ref(), back.span()));
        let mut edges = Vec::with_capacity(pairs.len());
        for (a, b) in pairs {
            let forth = self.shape(&there, draw.unit())?;
            // The way back takes as long, unless the scenario says otherwise.
            let shapes = match &back {
                Some(back) if back.delay == there.delay => {
                    let delay = Delay { least: forth.delay, most: forth.delay };
                    [forth, self.shape(&Behaviour { delay, ..back.clone() }, 0.0)?]
                }
                Some(back) => [forth, self.shape(back, draw.unit())?],
                None => [forth; 2],
            };
            edges.push(Edge { a, b, bearer, shapes, known: true });
        }
        match links.known.unwrap_or(Known::All) {
            Known::All => {}
            Known::No => edges.iter_mut().for_each(|edge| edge.known = false),
            Known::Some(count) => know_some(&mut edges, count, draw),
        }
        Ok(edges)
    }

    /// The devices that an entry may link: those that it names, all of which must have the bearer, or all that have it.
    fn between(&self, links: &Links, bearer: usize) -> Result<Vec<usize>, Problem> {
        let has = |device: &usize| self.carried[*device].contains(&bearer);
        let Some(named) = &links.between else {
            return Ok((0..self.devices.len()).filter(has).collect());
        };
        let members = self.spanned_members(named)?;
        match members.iter().find(|device| !has(device)) {
            None => Ok(members),
            Some(lacking) => {
                let (group, name) = (&self.devices[*lacking].group, &self.bearers[bearer].name);
                let what = format!("the devices of `{group}` do not have the bearer `{name}`");
                let hint = format!("add it to `bearers` of [devices.{group}], or name another bearer");
                Err(self.document.problem(&named.span(), what, hint))
            }
        }
    }

    fn graph(
        &self,
        links: &Links,
        span: &Range<usize>,
        between: &[usize],
        bearer: usize,
        draw: &mut Draw,
    ) -> Result<Pairs, Problem> {
        use LinksKind::{File, Full, Geometric, Grid, Hub, Line, Random, Ring, Tree};
        let kind = links.kind;
        let called = format!("kind = \"{}\"", format!("{kind:?}").to_lowercase());
        self.only(
            &called,
            &[
                Key::new("degree", &links.degree, matches!(kind, Random | Hub), "kind = \"random\" and \"hub\""),
                Key::new("columns", &links.columns, kind == Grid, "kind = \"grid\""),
                Key::new("fanout", &links.fanout, kind == Tree, "kind = \"tree\""),
                Key::new("hub", &links.hub, kind == Hub, "kind = \"hub\""),
                Key::new("file", &links.file, kind == File, "kind = \"file\""),
            ],
        )?;
        let value = |key: &Option<Spanned<usize>>| key.as_ref().map(|key| *key.get_ref());
        let count = between.len();
        if kind == Full && count > MOST_IN_FULL {
            let what = format!("a full mesh of {count} devices has {} links", count * (count - 1) / 2);
            let hint = format!("at most {MOST_IN_FULL} devices can be: take kind = \"random\" with a `degree`");
            return Err(self.document.problem(span, what, hint));
        }
        let made = match kind {
            Full => topology::full(count),
            Ring => topology::ring(count),
            Line => topology::line(count),
            Grid => topology::grid(count, value(&links.columns)),
            Random => {
                let degree = self.needed(&links.degree, "a random graph", span, "degree = 4")?;
                topology::random(count, *degree.get_ref(), draw)
            }
            Tree => {
                let fanout = self.needed(&links.fanout, "a tree", span, "fanout = 3")?;
                topology::tree(count, *fanout.get_ref())
            }
            Hub => {
                let hub = self.needed(&links.hub, "a hub", span, "hub = \"gateway\"")?;
                let hubs: BTreeSet<usize> = self.spanned_members(hub)?.into_iter().collect();
                let places = (0..count).filter(|place| hubs.contains(&between[*place])).collect();
                topology::hub(count, &places, value(&links.degree).unwrap_or(1))
            }
            Geometric => self.geometric(between, bearer, span)?,
            File => return self.edge_file(links, span, between),
        };
        let pairs = made.map_err(|(what, hint)| {
            let key = [&links.degree, &links.columns, &links.fanout].into_iter().flatten().next();
            self.document.problem(&key.map_or_else(|| span.clone(), Spanned::span), what, hint)
        })?;
        Ok(pairs.into_iter().map(|(a, b)| (between[a], between[b])).collect())
    }

    fn geometric(
        &self,
        between: &[usize],
        bearer: usize,
        span: &Range<usize>,
    ) -> Result<Result<Pairs, topology::Impossible>, Problem> {
        let Some(reach) = self.bearers[bearer].reach else {
            let what = format!("the bearer `{}` has no reach, so nothing says who is near", self.bearers[bearer].name);
            let hint = format!("add `reach` to [bearers.{}]", self.bearers[bearer].name);
            return Err(self.document.problem(span, what, hint));
        };
        let moves: Vec<bool> = between.iter().map(|device| self.devices[*device].track.len() > 1).collect();
        if moves.contains(&true) && between.len() > MOST_IN_FULL {
            let what = format!("some of {} devices move, and each could meet each", between.len());
            let hint = format!("at most {MOST_IN_FULL} can be in a geometric graph in which some move");
            return Err(self.document.problem(span, what, hint));
        }
        let place = |device: &usize| self.devices[*device].track.first().map_or([0.0; 2], |point| [point.x, point.y]);
        let places: Vec<[f64; 2]> = between.iter().map(place).collect();
        Ok(topology::geometric(&places, &moves, reach))
    }

    /// A line `meter-1 gateway-1` for each link; empty lines, and what follows a `#`, do not count.
    fn edge_file(&self, links: &Links, span: &Range<usize>, between: &[usize]) -> Result<Pairs, Problem> {
        let name = self.needed(&links.file, "a topology from a file", span, "file = \"site.edges\"")?;
        let allowed: BTreeSet<usize> = between.iter().copied().collect();
        let mut pairs = Vec::new();
        for (number, line) in self.file(name)?.lines().enumerate() {
            let wrong =
                |what: String, hint: String| Problem::new(format!("{}:{}: {what}", name.get_ref(), number + 1), hint);
            let device = |word: &str| {
                let device = self.device(word).ok_or_else(|| {
                    let known: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
                    wrong(format!("no device is called `{word}`"), instead(word, known))
                })?;
                if allowed.contains(&device) {
                    return Ok(device);
                }
                let hint = "let `between` and `bearer` allow it, or remove the line".to_owned();
                Err(wrong(format!("`{word}` is not among the devices that this entry links"), hint))
            };
            let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
            match words[..] {
                [] => {}
                [a, b] if a == b => {
                    return Err(wrong("a device does not link with itself".into(), "name two devices".into()));
                }
                [a, b] => pairs.push((device(a)?, device(b)?)),
                _ => {
                    let hint = "write the names of two devices, as `meter-1 gateway-1`".to_owned();
                    return Err(wrong(format!("{line:?} is no link"), hint));
                }
            }
        }
        if pairs.is_empty() {
            let what = format!("the file {} names no link", name.get_ref());
            let hint = "write a line for each link, as `meter-1 gateway-1`";
            return Err(self.document.problem(&name.span(), what, hint));
        }
        Ok(pairs)
    }

    /// As the bearer's, with what the entry says otherwise.
    fn behaviour(&self, bearer: usize, links: &Links, span: &Range<usize>) -> Result<Behaviour, Problem> {
        let spec = self.model.bearers.get(self.bearers[bearer].name.as_str());
        let spec = spec.ok_or_else(|| self.document.problem(span, "its bearer is not there", "name another"))?;
        let of_bearer = Behaviour {
            delay: spec.delay.as_ref().map_or(NO_DELAY, |delay| *delay.get_ref()),
            jitter: spec.jitter.map_or(Duration::ZERO, |jitter| jitter.0),
            loss: spec.loss.map_or(0.0, |loss| loss.0),
            rate: spec.rate.map(|rate| rate.0),
            span: span.clone(),
        };
        let Links { delay, jitter, loss, rate, .. } = links;
        let line = Line { delay: delay.clone(), jitter: *jitter, loss: *loss, rate: *rate };
        Ok(of_bearer.overridden(&line, span.clone()))
    }

    /// A line's shape; `part` from 0 to 1 says which of the delays between which it is drawn.
    pub(super) fn shape(&self, behaviour: &Behaviour, part: f64) -> Result<Shape, Problem> {
        let Behaviour { delay, jitter, loss, rate, span } = behaviour;
        let shape = Shape {
            delay: delay.least + (delay.most - delay.least).mul_f64(part),
            jitter: *jitter,
            loss: (loss * 1e6).round() as u32,
            rate: *rate,
            price: 0,
        };
        shape.check().map_err(|error| {
            let hint = match error {
                ShapeError::Delay => "lower `delay` or `jitter` here or at the bearer",
                ShapeError::Jitter => "lower `jitter`, or raise `delay`, here or at the bearer",
                ShapeError::Loss => "lower `loss` here or at the bearer",
                ShapeError::Rate => "raise `rate` here or at the bearer",
                // A line of a scenario has the price of its bearer.
                ShapeError::Price => "correct `price` at the bearer",
            };
            self.document.problem(span, error.to_string().replace(';', ","), hint)
        })?;
        Ok(shape)
    }
}

impl Behaviour {
    /// As a line that has that shape already.
    pub(super) fn of(shape: &Shape, span: Range<usize>) -> Self {
        let Shape { delay, jitter, loss, rate, price: _ } = *shape;
        Self { delay: Delay { least: delay, most: delay }, jitter, loss: f64::from(loss) / 1e6, rate, span }
    }

    /// With what is said otherwise.
    pub(super) fn overridden(&self, line: &Line, span: Range<usize>) -> Self {
        Self {
            delay: line.delay.as_ref().map_or(self.delay, |delay| *delay.get_ref()),
            jitter: line.jitter.map_or(self.jitter, |jitter| jitter.0),
            loss: line.loss.map_or(self.loss, |loss| loss.0),
            rate: line.rate.map_or(self.rate, |rate| Some(rate.0)),
            span,
        }
    }
}

/// Each device knows so many of those with whom it can link, drawn one after the other; the others only if it hears of
/// them. An edge that one end knows is known: that end dials.
fn know_some(edges: &mut [Edge], count: usize, draw: &mut Draw) {
    let mut of = BTreeMap::<usize, Vec<usize>>::new();
    for (index, edge) in edges.iter_mut().enumerate() {
        edge.known = false;
        of.entry(edge.a).or_default().push(index);
        of.entry(edge.b).or_default().push(index);
    }
    for (device, own) in of {
        let free: Vec<usize> = own.into_iter().filter(|edge| !edges[*edge].known).collect();
        for chosen in draw.choose(&free, count) {
            let edge = &mut edges[chosen];
            edge.known = true;
            if edge.b == device {
                (edge.a, edge.b) = (edge.b, edge.a);
                edge.shapes.swap(0, 1);
            }
        }
    }
}

const NO_DELAY: Delay = Delay { least: Duration::ZERO, most: Duration::ZERO };
/// Devices of which each can link with each: half a million edges.
const MOST_IN_FULL: usize = 1_000;
/// Links of a plan: each has a place in memory for either direction.
const MOST_EDGES: usize = 1_000_000;
