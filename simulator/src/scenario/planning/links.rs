//! Links: the devices that can link over each bearer, the shapes of these lines, and the addresses that devices know.
//!
//! Each entry of `[[links]]` makes a graph over the devices that it is `between` and that have its bearer. A pair that
//! an earlier entry has linked over the same bearer is redefined by a later one.

use super::Planning;
use super::draw::Draw;
use super::edges::Tariffs;
use super::kinds::Key;
use super::topology::{self, Pairs};
use crate::plan::Edge;
use crate::scenario::choice::Known;
use crate::scenario::model::{Line, Links, LinksKind};
use crate::scenario::problem::Problem;
use crate::scenario::quantity::Delay;
use m2mesh::net::emulation::{Shape, ShapeError};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// The properties of an entry's lines, before delays are drawn.
#[derive(Clone, Debug)]
pub(super) struct Behaviour {
    pub(super) delay: Delay,
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    pub(super) rate: Option<u64>,
    /// The price of a megabyte, if it is not the bearer's.
    pub(super) price: Option<f64>,
    /// The place of the definition.
    pub(super) place: Place,
}

/// A place in the scenario or in another file.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A range of the scenario.
    Scenario(Range<usize>),
    /// A line of another file: `site.edges:3`.
    File(String),
}

/// An edge, and its price if that differs from its bearer's.
pub(super) struct Priced {
    edge: Edge,
    price: Option<f64>,
}

impl Priced {
    pub(super) fn new((a, b, bearer): (usize, usize, usize), shapes: [Shape; 2], price: Option<f64>) -> Self {
        Self { edge: Edge { a, b, bearer, shapes, known: true }, price }
    }
}

impl Planning<'_> {
    pub(super) fn plan_links(&self) -> Result<(Vec<Edge>, Tariffs), Problem> {
        let mut all = BTreeMap::new();
        for (number, links) in self.model.links.iter().enumerate() {
            let mut draw = Draw::new(self.seed, "links", number);
            for Priced { edge, price } in self.plan_entry(links, &mut draw)? {
                all.insert((edge.a.min(edge.b), edge.a.max(edge.b), edge.bearer), (edge, price, links.span()));
            }
        }
        if all.len() > MOST_EDGES {
            let what = format!("there are {} links", all.len());
            let hint = format!("at most {MOST_EDGES} can be: lower a `count` or `degree`, or take another `kind`");
            return Err(self.document.whole(what, hint));
        }
        let mut tariffs = Tariffs::new(&self.bearers);
        let priced = all.into_values().map(|(edge, price, span)| {
            let bearer = price.map_or(Ok(edge.bearer), |price| tariffs.bearer(edge.bearer, price));
            let bearer = bearer.map_err(|(what, hint)| self.document.problem(&span, what, hint))?;
            Ok(Edge { bearer, ..edge })
        });
        let edges = priced.collect::<Result<_, _>>()?;
        Ok((edges, tariffs))
    }

    fn plan_entry(&self, links: &Spanned<Links>, draw: &mut Draw) -> Result<Vec<Priced>, Problem> {
        let (span, links) = (links.span(), links.get_ref());
        self.keys(links)?;
        let mut edges = match links.kind {
            LinksKind::File => self.plan_file(links, &span, draw)?,
            _ => self.plan_graph(links, &span, draw)?,
        };
        match links.known.unwrap_or(Known::All) {
            Known::All => {}
            Known::No => edges.iter_mut().for_each(|priced| priced.edge.known = false),
            Known::Some(count) => know_some(&mut edges, count, draw),
        }
        Ok(edges)
    }

    fn plan_graph(&self, links: &Links, span: &Range<usize>, draw: &mut Draw) -> Result<Vec<Priced>, Problem> {
        let bearer = self.bearer(links.bearer.as_ref(), span)?;
        let between = self.between(links, bearer)?;
        let pairs = self.graph(links, span, &between, bearer, draw)?;
        let there = self.behaviour(bearer, links, span)?;
        let edges = pairs.into_iter().map(|(a, b)| self.edge((a, b, bearer), &there, links.back.as_ref(), draw));
        edges.collect()
    }

    /// Checks that no key is given that the kind does not take.
    fn keys(&self, links: &Links) -> Result<(), Problem> {
        use LinksKind::{File, Grid, Hub, Random, Tree};
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
                Key::new("per_km", &links.per_km, kind == File, "kind = \"file\""),
            ],
        )
    }

    /// Returns the devices that an entry may link: those that it names, all of which must have the bearer, or all that
    /// have it.
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
            // Read elsewhere, since its edges have more properties than their ends.
            File => Ok(Pairs::new()),
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

    /// Returns the behaviour of the bearer's lines, with the changes of the entry.
    pub(super) fn behaviour(&self, bearer: usize, links: &Links, span: &Range<usize>) -> Result<Behaviour, Problem> {
        let spec = self.model.bearers.get(self.bearers[bearer].name.as_str());
        let spec = spec.ok_or_else(|| self.document.problem(span, "its bearer is not there", "name another"))?;
        let of_bearer = Behaviour {
            delay: spec.delay.as_ref().map_or(NO_DELAY, |delay| *delay.get_ref()),
            jitter: spec.jitter.map_or(Duration::ZERO, |jitter| jitter.0),
            loss: spec.loss.map_or(0.0, |loss| loss.0),
            rate: spec.rate.map(|rate| rate.0),
            price: None,
            place: Place::Scenario(span.clone()),
        };
        let Links { delay, jitter, loss, rate, .. } = links;
        let line = Line { delay: delay.clone(), jitter: *jitter, loss: *loss, rate: *rate };
        Ok(of_bearer.overridden(&line, span.clone()))
    }

    /// Returns a line's shape; `part` from 0 to 1 selects a delay from the range of delays.
    pub(super) fn shape(&self, behaviour: &Behaviour, part: f64) -> Result<Shape, Problem> {
        let Behaviour { delay, jitter, loss, rate, price: _, place } = behaviour;
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
                // The price of a line in a scenario is that of its bearer.
                ShapeError::Price => "correct `price` at the bearer",
            };
            let what = error.to_string().replace(';', ",");
            match place {
                Place::Scenario(span) => self.document.problem(span, what, hint),
                Place::File(place) => Problem::new(format!("{place}: {what}"), hint),
            }
        })?;
        Ok(shape)
    }
}

impl Behaviour {
    /// Returns the behaviour of a line that has that shape already.
    pub(super) fn of(shape: &Shape, span: Range<usize>) -> Self {
        let Shape { delay, jitter, loss, rate, price: _ } = *shape;
        let place = Place::Scenario(span);
        Self { delay: exactly(delay), jitter, loss: f64::from(loss) / 1e6, rate, price: None, place }
    }

    /// Returns the behaviour with the given changes.
    pub(super) fn overridden(&self, line: &Line, span: Range<usize>) -> Self {
        Self {
            delay: line.delay.as_ref().map_or(self.delay, |delay| *delay.get_ref()),
            jitter: line.jitter.map_or(self.jitter, |jitter| jitter.0),
            loss: line.loss.map_or(self.loss, |loss| loss.0),
            rate: line.rate.map_or(self.rate, |rate| Some(rate.0)),
            price: self.price,
            place: Place::Scenario(span),
        }
    }
}

/// Draws the devices that each device knows from the start, in order, from those with which it can link; it links with
/// the others only if it hears of them. An edge that one end knows is known: that end dials.
fn know_some(edges: &mut [Priced], count: usize, draw: &mut Draw) {
    let mut of = BTreeMap::<usize, Vec<usize>>::new();
    for (index, Priced { edge, .. }) in edges.iter_mut().enumerate() {
        edge.known = false;
        of.entry(edge.a).or_default().push(index);
        of.entry(edge.b).or_default().push(index);
    }
    for (device, own) in of {
        let free: Vec<usize> = own.into_iter().filter(|edge| !edges[*edge].edge.known).collect();
        for chosen in draw.choose(&free, count) {
            let edge = &mut edges[chosen].edge;
            edge.known = true;
            if edge.b == device {
                (edge.a, edge.b) = (edge.b, edge.a);
                edge.shapes.swap(0, 1);
            }
        }
    }
}

/// Returns a delay that is not drawn.
pub(super) fn exactly(delay: Duration) -> Delay {
    Delay { least: delay, most: delay }
}

const NO_DELAY: Delay = Delay { least: Duration::ZERO, most: Duration::ZERO };
/// The number of devices that may be linked completely, which makes half a million edges.
const MOST_IN_FULL: usize = 1_000;
/// The number of links of a plan: each takes memory for both directions.
const MOST_EDGES: usize = 1_000_000;
