//! Attributes: the properties of nodes and edges in files, by their usual names.
//!
//! | of a node | called |
//! |---|---|
//! | its name | `label`, `name` |
//! | its position | `latitude` or `lat` with `longitude`, `lon`, `lng` or `long`; `x` with `y`, in metres |
//! | its role | `group`, `forwarding`, `area` |
//!
//! | of an edge | called |
//! |---|---|
//! | behaviour | `delay`, `jitter`, `loss`, `rate`, `price`, `bearer`, as in a scenario |
//! | bits a second | `LinkSpeedRaw`, `bandwidth` as a plain number |
//! | kilometres | `length`, `dist`, `distance` |
//!
//! Names are not case-sensitive.

use super::{Node, Position};
use crate::scenario::problem::Problem;
use crate::scenario::quantity::{BitRate, Delay, Offset, Quantity, Share, number};
use std::time::Duration;

/// The properties of an edge that a file states.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// The delay.
    pub delay: Option<Delay>,
    /// The greatest variation of the delay.
    pub jitter: Option<Duration>,
    /// The share of pieces that are lost.
    pub loss: Option<f64>,
    /// The rate in bits a second.
    pub rate: Option<u64>,
    /// The price of a megabyte.
    pub price: Option<f64>,
    /// The name of the bearer.
    pub bearer: Option<String>,
    /// The length in kilometres.
    pub length: Option<f64>,
}

/// The attributes of one node or edge.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a> {
    all: Vec<(String, String)>,
    place: &'a str,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(place: &'a str) -> Self {
        Self { all: Vec::new(), place }
    }

    /// Adds an attribute; an empty value is ignored.
    pub(super) fn add(&mut self, key: &str, value: &str) {
        let value = value.trim();
        if !value.is_empty() {
            self.all.push((key.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// Returns the first of these attributes that is given.
    fn get(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.all.iter().find(|(known, _)| known == key)).map(|(_, value)| value.as_str())
    }

    fn wrong(&self, what: String, hint: impl Into<String>) -> Problem {
        Problem::new(format!("{}: {what}", self.place), hint)
    }

    fn number(&self, keys: &[&str]) -> Result<Option<f64>, Problem> {
        let Some(text) = self.get(keys) else { return Ok(None) };
        let key = keys[0];
        let read = number(text).ok_or_else(|| self.wrong(format!("`{key}` is {text:?}"), "write a number"));
        read.map(Some)
    }

    fn quantity<Q: Quantity>(&self, key: &str) -> Result<Option<Q>, Problem> {
        let Some(text) = self.get(&[key]) else { return Ok(None) };
        let read = Q::from_text(text);
        read.map(Some).ok_or_else(|| self.wrong(format!("`{key}` is {text:?}"), format!("write {}", Q::WANTED)))
    }

    /// Makes a node of this name with the attributes.
    pub(super) fn node(&self, name: String) -> Result<Node, Problem> {
        let forwarding = match self.get(&["forwarding"]).map(str::to_ascii_lowercase).as_deref() {
            None => None,
            Some("true" | "yes" | "1") => Some(true),
            Some("false" | "no" | "0") => Some(false),
            Some(other) => return Err(self.wrong(format!("`forwarding` is {other:?}"), "write true or false")),
        };
        let area = match self.get(&["area"]) {
            None => None,
            Some(text) => {
                let area = text.parse().ok();
                Some(area.ok_or_else(|| self.wrong(format!("`area` is {text:?}"), "write a whole number from 0 on"))?)
            }
        };
        Ok(Node {
            name,
            place: self.place.to_owned(),
            position: self.position()?,
            group: self.get(&["group"]).map(str::to_owned),
            forwarding,
            area,
        })
    }

    /// Returns the label of a node.
    pub(super) fn label(&self) -> Option<&str> {
        self.get(&["label", "name"])
    }

    fn position(&self) -> Result<Option<Position>, Problem> {
        let latitude = self.number(&["latitude", "lat"])?;
        let longitude = self.number(&["longitude", "lon", "lng", "long"])?;
        match (latitude, longitude) {
            (Some(latitude), Some(longitude)) => return degrees(latitude, longitude, self.place).map(Some),
            (None, None) => {}
            (given, _) => {
                let (there, lacking) = if given.is_some() { ("lat", "lon") } else { ("lon", "lat") };
                return Err(self.wrong(format!("there is `{there}` and no `{lacking}`"), "write both or none"));
            }
        }
        match (self.number(&["x"])?, self.number(&["y"])?) {
            (Some(x), Some(y)) => metres([x, y], self.place).map(Some),
            (None, None) => Ok(None),
            _ => Err(self.wrong("there is one of `x` and `y` without the other".into(), "write both or none")),
        }
    }

    /// Makes the properties of an edge from the attributes.
    pub(super) fn edge(&self) -> Result<Properties, Problem> {
        let raw = self.number(&["linkspeedraw", "bandwidth"])?.filter(|bits| (1.0..=1e15).contains(bits));
        let rate = self.quantity::<BitRate>("rate")?.map(|rate| rate.0);
        let within = |key: &'static str, value: Option<f64>, most: f64| match value {
            Some(value) if !(0.0..=most).contains(&value) => {
                Err(self.wrong(format!("`{key}` is {value}"), format!("write a number from 0 to {most}")))
            }
            value => Ok(value),
        };
        Ok(Properties {
            delay: self.quantity("delay")?,
            jitter: self.quantity::<Offset>("jitter")?.map(|jitter| jitter.0),
            loss: self.quantity::<Share>("loss")?.map(|loss| loss.0),
            rate: rate.or(raw.map(|bits| bits.round() as u64)),
            price: within("price", self.number(&["price"])?, MOST_PRICE)?,
            bearer: self.get(&["bearer"]).map(str::to_owned),
            length: within("length", self.number(&["length", "dist", "distance"])?, MOST_LENGTH)?,
        })
    }
}

/// Returns a position on the earth.
pub(super) fn degrees(latitude: f64, longitude: f64, place: &str) -> Result<Position, Problem> {
    if latitude.abs() <= 90.0 && longitude.abs() <= 360.0 {
        return Ok(Position::Degrees { latitude, longitude });
    }
    let what = format!("{place}: latitude {latitude} and longitude {longitude} are nowhere on the earth");
    Err(Problem::new(what, "write degrees: -90 to 90 north, -180 to 180 east; or `x` and `y` in metres"))
}

/// Returns a position on a plane.
pub(super) fn metres(point: [f64; 2], place: &str) -> Result<Position, Problem> {
    if point.iter().all(|metres| metres.abs() <= MOST_METRES) {
        return Ok(Position::Metres(point));
    }
    let what = format!("{place}: {}, {} are too far away", point[0], point[1]);
    Err(Problem::new(what, format!("write metres, at most {MOST_METRES}")))
}

/// The greatest price in units of money for a megabyte, which is the greatest that nodes take.
const MOST_PRICE: f64 = 1e6;
/// The greatest length in kilometres: light in fibre takes more than a second for more.
const MOST_LENGTH: f64 = 1e6;
/// The greatest coordinate in metres, which is more than the earth's circumference.
pub const MOST_METRES: f64 = 1e9;
