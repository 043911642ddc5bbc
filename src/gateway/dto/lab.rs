//! The orders of a node in a lab: the same fields in JSON and in the node's `lab.toml`.

use super::Span;
use crate::id::Name;
use crate::net::emulation as lab;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use utoipa::ToSchema;

/// The orders of a node in a lab.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lab {
    /// Names of the only devices to link with. If absent, the node links with all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<BTreeSet<String>>,
    /// Names of devices not to link with.
    pub cut: BTreeSet<String>,
    /// Names of devices whose links stay up but carry nothing.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub silent: BTreeSet<String>,
    /// How links to other devices behave in the direction away from this node, by name.
    pub shape: BTreeMap<String, Shape>,
}

/// How a link behaves in one direction. What is absent is not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shape {
    /// Delay added in this direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// Largest deviation from the delay, in either direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Span>,
    /// Fraction of what is sent that is lost, from 0 to 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Data rate in bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Price per megabyte (10⁶ bytes), in units of money, as `price` of a `[[bearer]]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<f64>,
}

impl TryFrom<Lab> for lab::Lab {
    type Error = String;

    /// Fails with a text that says what is wrong with which name.
    fn try_from(lab: Lab) -> Result<Self, String> {
        let Lab { only, cut, silent, shape } = lab;
        let name = |text: String| Name::new(text.clone()).map_err(|error| format!("{text:?} is no name: {error}"));
        if shape.len() > lab::MAX_SHAPES {
            return Err(format!("a node has at most {} shapes", lab::MAX_SHAPES));
        }
        let mut shapes = BTreeMap::new();
        for (to, shape) in shape {
            let shape = lab::Shape::try_from(shape).map_err(|error| format!("shape.{to}: {error}"))?;
            shapes.insert(name(to)?, shape);
        }
        Ok(Self {
            only: only.map(|only| only.into_iter().map(name).collect()).transpose()?,
            cut: cut.into_iter().map(name).collect::<Result<_, _>>()?,
            silent: silent.into_iter().map(name).collect::<Result<_, _>>()?,
            shapes,
        })
    }
}

impl From<lab::Lab> for Lab {
    fn from(lab: lab::Lab) -> Self {
        let lab::Lab { only, cut, silent, shapes } = lab;
        let texts = |names: BTreeSet<Name>| names.iter().map(Name::to_string).collect();
        let shape = shapes.into_iter().map(|(name, shape)| (name.to_string(), shape.into())).collect();
        Self { only: only.map(texts), cut: texts(cut), silent: texts(silent), shape }
    }
}

impl TryFrom<Shape> for lab::Shape {
    type Error = lab::ShapeError;

    fn try_from(shape: Shape) -> Result<Self, lab::ShapeError> {
        let Shape { delay, jitter, loss, rate, price } = shape;
        let loss = (loss.unwrap_or_default() * MILLION).round();
        if !(0.0..=MILLION).contains(&loss) {
            return Err(lab::ShapeError::Loss);
        }
        let price = (price.unwrap_or_default() * MILLION).round();
        if !(0.0..=MOST_PRICE).contains(&price) {
            return Err(lab::ShapeError::Price);
        }
        let span = |span: Option<Span>| span.map_or(Duration::ZERO, |Span(duration)| duration);
        let shape = Self {
            delay: span(delay),
            jitter: span(jitter),
            // The value was just checked to be in range.
            loss: loss as u32,
            rate,
            price: price as u64,
        };
        shape.check()?;
        Ok(shape)
    }
}

impl From<lab::Shape> for Shape {
    fn from(shape: lab::Shape) -> Self {
        let lab::Shape { delay, jitter, loss, rate, price } = shape;
        let span = |duration: Duration| (!duration.is_zero()).then_some(Span(duration));
        Self {
            delay: span(delay),
            jitter: span(jitter),
            loss: (loss > 0).then(|| f64::from(loss) / MILLION),
            rate,
            price: (price > 0).then(|| price as f64 / MILLION),
        }
    }
}

/// Loss is counted in millionths, and money in micro-units.
const MILLION: f64 = 1_000_000.0;
/// Largest price per megabyte, in micro-units: a million units.
const MOST_PRICE: f64 = 1e12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked_and_come_back_as_they_were_written() {
        for text in [r#"{"delay":"20ms","jitter":"10ms","loss":0.01,"rate":1000000,"price":2.5}"#, "{}"] {
            let shape: Shape = serde_json::from_str(text).expect("a shape");
            let core = lab::Shape::try_from(shape).expect("in range");
            assert_eq!(serde_json::to_string(&Shape::from(core)).expect("JSON"), text);
        }
        for (text, what) in [
            (r#"{"delay":"61s"}"#, "60 s"),
            (r#"{"delay":"10ms","jitter":"20ms"}"#, "jitter"),
            (r#"{"loss":1.0}"#, "cut the link"),
            (r#"{"loss":-0.1}"#, "cut the link"),
            (r#"{"rate":10}"#, "1000 bit/s"),
            (r#"{"price":-1}"#, "units of money"),
        ] {
            let shape: Shape = serde_json::from_str(text).expect("a shape");
            let error = lab::Shape::try_from(shape).expect_err(text).to_string();
            assert!(error.contains(what), "{text}: {error}");
        }
    }
}
