//! Edges: links from files, each with its properties from the file, and otherwise with those of its entry and its
//! bearer.
//!
//! An edge describes both directions, unless the file has another in the opposite direction: then each describes its
//! own. If the file does not state an edge's delay, it is that of the entry plus an amount for each kilometre. The
//! length is that in the file, or otherwise the distance between its devices over the earth; or between their
//! positions, if the entry states the delay of a kilometre.
//!
//! An edge with a price other than its bearer's gets a bearer of its own, since nodes know prices by bearer
//! ([`Tariffs`]).

use super::Planning;
use super::draw::Draw;
use super::files::PER_KM;
use super::links::{Behaviour, Place, Priced};
use crate::plan::Bearer;
use crate::scenario::graph;
use crate::scenario::model::{Line, Links};
use crate::scenario::problem::{Problem, instead};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// The ends of an edge of a file: its devices and bearer.
type Ends = (usize, usize, usize);

impl Planning<'_> {
    pub(super) fn plan_file(
        &self,
        links: &Links,
        span: &Range<usize>,
        draw: &mut Draw,
    ) -> Result<Vec<Priced>, Problem> {
        let name = self.needed(&links.file, "a topology from a file", span, "file = \"site.edges\"")?;
        let graph = self.graph_of(name)?;
        let allowed = match &links.between {
            Some(between) => Some(self.spanned_members(between)?.into_iter().collect::<BTreeSet<_>>()),
            None => None,
        };
        let without = self.without();
        let mut read: Vec<(Ends, &graph::Edge)> = Vec::with_capacity(graph.edges.len());
        for edge in &graph.edges {
            if edge.ends.iter().any(|end| without.contains(end.as_str())) {
                continue;
            }
            let bearer = self.bearer_of(edge, links, span)?;
            let [a, b] = [0, 1].map(|end| self.end(edge, end, bearer, allowed.as_ref(), name));
            read.push(((a?, b?, bearer), edge));
        }
        if read.is_empty() {
            let what = format!("the file {} names no link", name.get_ref());
            let hint = "write a line for each link, as `meter-1 gateway-1`";
            return Err(self.document.problem(&name.span(), what, hint));
        }
        let backwards: BTreeMap<Ends, &graph::Edge> = read.iter().map(|(ends, edge)| (*ends, *edge)).collect();
        let mut edges = Vec::with_capacity(read.len());
        let mut done = BTreeSet::new();
        for ((a, b, bearer), edge) in &read {
            if !done.insert((*a.min(b), *a.max(b), *bearer)) {
                continue;
            }
            let there = self.told(edge, (*a, *b, *bearer), links, span)?;
            let edge = match backwards.get(&(*b, *a, *bearer)) {
                None => self.edge((*a, *b, *bearer), &there, links.back.as_ref(), draw)?,
                Some(other) => {
                    let back = self.told(other, (*b, *a, *bearer), links, span)?;
                    self.edge_of((*a, *b, *bearer), &there, &back, draw)?
                }
            };
            edges.push(edge);
        }
        Ok(edges)
    }

    /// Returns the nodes that groups leave out.
    fn without(&self) -> BTreeSet<&str> {
        let names = self.model.devices.values().filter_map(|group| group.without.as_ref()).flat_map(Spanned::get_ref);
        names.map(String::as_str).filter(|name| self.device(name).is_none()).collect()
    }

    fn bearer_of(&self, edge: &graph::Edge, links: &Links, span: &Range<usize>) -> Result<usize, Problem> {
        let Some(name) = &edge.properties.bearer else { return self.bearer(links.bearer.as_ref(), span) };
        let known = || self.bearers.iter().map(|bearer| bearer.name.as_str());
        known().position(|known| known == name).ok_or_else(|| {
            let what = format!("{}: no bearer is called `{name}`", edge.place);
            Problem::new(what, instead(name, known()))
        })
    }

    /// Returns the device at an end of an edge.
    fn end(
        &self,
        edge: &graph::Edge,
        end: usize,
        bearer: usize,
        allowed: Option<&BTreeSet<usize>>,
        file: &Spanned<String>,
    ) -> Result<usize, Problem> {
        let word = edge.ends[end].as_str();
        let wrong = |what: String, hint: String| Problem::new(format!("{}: {what}", edge.place), hint);
        let device = self.device(word).ok_or_else(|| {
            let known: Vec<&str> = self.devices.iter().map(|device| device.name.as_str()).collect();
            let hint = format!("{}; or give a group file = \"{}\"", instead(word, known), file.get_ref());
            wrong(format!("no device is called `{word}`"), hint)
        })?;
        if !self.carried[device].contains(&bearer) {
            let (group, bearer) = (&self.devices[device].group, &self.bearers[bearer].name);
            let what = format!("`{word}` does not have the bearer `{bearer}`");
            return Err(wrong(what, format!("add it to `bearers` of [devices.{group}], or remove the line")));
        }
        if allowed.is_some_and(|allowed| !allowed.contains(&device)) {
            let hint = "let `between` allow it, or remove the line".to_owned();
            return Err(wrong(format!("`{word}` is not among the devices that this entry links"), hint));
        }
        Ok(device)
    }

    /// Returns the behaviour of an edge from its first device to its second.
    fn told(
        &self,
        edge: &graph::Edge,
        (a, b, bearer): Ends,
        links: &Links,
        span: &Range<usize>,
    ) -> Result<Behaviour, Problem> {
        let mut told = self.behaviour(bearer, links, span)?;
        let own = &edge.properties;
        match own.delay {
            Some(delay) => told.delay = delay,
            None => {
                let more = self.of_length(own.length, (a, b), links);
                told.delay.least += more;
                told.delay.most += more;
            }
        }
        told.jitter = own.jitter.unwrap_or(told.jitter);
        told.loss = own.loss.unwrap_or(told.loss);
        told.rate = own.rate.or(told.rate);
        told.price = own.price;
        told.place = Place::File(edge.place.clone());
        Ok(told)
    }

    /// Returns the delay that its length adds to a link.
    fn of_length(&self, length: Option<f64>, (a, b): (usize, usize), links: &Links) -> Duration {
        let around = || Some(graph::geo::great_circle(self.degrees[a]?, self.degrees[b]?));
        let given = links.per_km.as_ref().map(|per_km| per_km.get_ref().0);
        let straight = || {
            given?;
            let [one, other] = [a, b].map(|device| self.devices[device].track.first());
            let (one, other) = (one?, other?);
            Some((one.x - other.x).hypot(one.y - other.y) / 1_000.0)
        };
        let length = length.or_else(around).or_else(straight).unwrap_or_default();
        // Whole microseconds, since the last digits of distances differ between machines.
        let micros = (given.unwrap_or(PER_KM).as_secs_f64() * length * 1e6).round();
        Duration::from_micros(micros.min(MOST_MICROS) as u64)
    }

    /// Returns the edge if the opposite direction behaves as the line says.
    pub(super) fn edge(
        &self,
        ends: Ends,
        there: &Behaviour,
        back: Option<&Spanned<Line>>,
        draw: &mut Draw,
    ) -> Result<Priced, Problem> {
        let back = back.map(|back| there.overridden(back.get_ref(), back.span()));
        match back {
            Some(back) if back.delay == there.delay => {
                // The opposite direction has the same delay, unless the scenario says otherwise.
                let forth = self.shape(there, draw.unit())?;
                let same = Behaviour { delay: super::links::exactly(forth.delay), ..back };
                Ok(Priced::new(ends, [forth, self.shape(&same, 0.0)?], there.price))
            }
            Some(back) => self.edge_of(ends, there, &back, draw),
            None => Ok(Priced::new(ends, [self.shape(there, draw.unit())?; 2], there.price)),
        }
    }

    /// Returns the edge with each direction's own behaviour.
    fn edge_of(&self, ends: Ends, there: &Behaviour, back: &Behaviour, draw: &mut Draw) -> Result<Priced, Problem> {
        let shapes = [self.shape(there, draw.unit())?, self.shape(back, draw.unit())?];
        if let (Some(one), Some(other), Place::File(place)) = (there.price, back.price, &back.place)
            && one != other
        {
            let what = format!("{place}: the way back costs {other}, the way there {one}");
            return Err(Problem::new(what, "write the same price, or in one of the lines only"));
        }
        Ok(Priced::new(ends, shapes, there.price.or(back.price)))
    }
}

/// The bearers, including those made for links with a price of their own.
pub(super) struct Tariffs {
    /// All bearers, those of the scenario first.
    pub(super) bearers: Vec<Bearer>,
    /// For each bearer after the scenario's, the index of the scenario's bearer from which it was made.
    pub(super) of: Vec<usize>,
    scenarios: usize,
}

impl Tariffs {
    pub(super) fn new(bearers: &[Bearer]) -> Self {
        Self { bearers: bearers.to_vec(), of: Vec::new(), scenarios: bearers.len() }
    }

    /// Returns the bearer for a price, which is this one if it has that price.
    pub(super) fn bearer(&mut self, bearer: usize, price: f64) -> Result<usize, (String, String)> {
        let own = &self.bearers[bearer];
        if price == own.price {
            return Ok(bearer);
        }
        if own.channel.is_some() || own.quota.is_some() {
            let shared = if own.channel.is_some() { "channel" } else { "quota" };
            let what = format!("the bearer `{}` has a {shared}, and some of its links a price of their own", own.name);
            return Err((what, "give those links a bearer of their own, in the column `bearer`".into()));
        }
        let name = format!("{} at {price}", own.name);
        if let Some(known) = self.bearers.iter().position(|known| known.name == name) {
            return Ok(known);
        }
        if self.bearers.len() == MOST_BEARERS {
            let what = format!("there are more than {MOST_BEARERS} bearers, of which each price makes one");
            return Err((what, "let links have fewer prices".into()));
        }
        let metered = if own.metered == (own.price > 0.0) { price > 0.0 } else { own.metered };
        self.bearers.push(Bearer { name, price, metered, ..own.clone() });
        self.of.push(bearer);
        Ok(self.bearers.len() - 1)
    }

    /// Returns the scenario's bearer to which a bearer belongs.
    pub(super) fn scenarios(&self, bearer: usize) -> usize {
        bearer.checked_sub(self.scenarios).and_then(|more| self.of.get(more)).copied().unwrap_or(bearer)
    }
}

/// The largest delay in microseconds: two minutes, which is more than links that come up have.
const MOST_MICROS: f64 = 120e6;
/// The number of bearers, since each has its network of addresses.
const MOST_BEARERS: usize = 200;
