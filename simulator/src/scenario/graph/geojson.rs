//! GeoJSON: points are nodes; lines are links between the points at their ends, with the length of the line.
//!
//! An end of a line belongs to the nearest point within a thousandth of a degree (some hundred metres); if there is
//! none, it is a node of its own, called `point`. A line that names a `source` and a `target` among its properties
//! joins the points that have these as `id`, `name` or `label`, wherever it is drawn. Surfaces are ignored.

use super::attributes::degrees;
use super::json::{scalar, scalars, unreadable};
use super::{Node, Position, Raw, RawEdge, RawNode, geo};
use crate::scenario::problem::Problem;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Collection {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    id: Option<Value>,
    geometry: Option<Geometry>,
    properties: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Geometry {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    coordinates: Value,
}

/// Returns whether a JSON text is a collection of features.
pub(super) fn is_one(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: Option<String>,
    }
    serde_json::from_str::<Kind>(text).is_ok_and(|found| found.kind.as_deref() == Some("FeatureCollection"))
}

pub(super) fn read(name: &str, text: &str) -> Result<Raw, Problem> {
    let collection: Collection = serde_json::from_str(text).map_err(|error| unreadable(name, &error))?;
    let mut raw = Raw::default();
    let mut points = Points::default();
    let none = Map::new();
    let features = || {
        collection.features.iter().enumerate().map(|(number, feature)| {
            (format!("{name}: features[{number}]"), feature, feature.properties.as_ref().unwrap_or(&none))
        })
    };
    for (place, feature, own) in features() {
        let Some(geometry) = feature.geometry.as_ref().filter(|geometry| geometry.kind == "Point") else { continue };
        let at = position(&geometry.coordinates, &place)?;
        let attributes = scalars(own, &place);
        let id = feature.id.as_ref().or(own.get("id")).and_then(scalar);
        let label = attributes.label().map(str::to_owned).or_else(|| id.clone()).unwrap_or_else(|| POINT.to_owned());
        let node = attributes.node(label.clone())?;
        let inner = points.add(at, [id, Some(label)]);
        let position = Some(Position::Degrees { latitude: at[0], longitude: at[1] });
        raw.nodes.push(RawNode { id: inner, node: Node { position, ..node } });
    }
    for (place, feature, own) in features() {
        let Some(geometry) = &feature.geometry else { continue };
        let lines = match geometry.kind.as_str() {
            "LineString" => vec![&geometry.coordinates],
            "MultiLineString" => geometry.coordinates.as_array().into_iter().flatten().collect(),
            _ => continue,
        };
        for line in lines {
            let way: Result<Vec<_>, _> = line.as_array().into_iter().flatten().map(|at| position(at, &place)).collect();
            let way = way?;
            let (Some(first), Some(last)) = (way.first(), way.last()) else {
                return Err(Problem::new(format!("{place}: a line without points"), "draw it, or remove it"));
            };
            let mut end =
                |key: [&str; 2], at: &[f64; 2]| match key.iter().find_map(|key| own.get(*key)).and_then(scalar) {
                    Some(named) => points.named.get(&named).cloned().ok_or_else(|| {
                        let hint = "name points by their `id` or `name`, or leave it out";
                        Problem::new(format!("{place}: no point is called `{named}`"), hint)
                    }),
                    None => Ok(points.near(*at).unwrap_or_else(|| {
                        let position = Some(Position::Degrees { latitude: at[0], longitude: at[1] });
                        let id = points.add(*at, [None, None]);
                        let node = Node { position, ..Node::new(POINT.to_owned(), place.clone()) };
                        raw.nodes.push(RawNode { id: id.clone(), node });
                        id
                    })),
                };
            let ends = [end(["source", "from"], first)?, end(["target", "to"], last)?];
            let mut properties = scalars(own, &place).edge()?;
            let drawn: f64 = way.windows(2).map(|pair| geo::great_circle(pair[0], pair[1])).sum();
            properties.length = properties.length.or(Some(drawn));
            raw.edges.push(RawEdge { ends, place: place.clone(), properties });
        }
    }
    Ok(raw)
}

/// Returns latitude and longitude; the file has them in the opposite order.
fn position(coordinates: &Value, place: &str) -> Result<[f64; 2], Problem> {
    let pair = match coordinates.as_array().map(Vec::as_slice) {
        Some([longitude, latitude, ..]) => latitude.as_f64().zip(longitude.as_f64()),
        _ => None,
    };
    let Some((latitude, longitude)) = pair else {
        let shown: String = coordinates.to_string().chars().take(60).collect();
        let what = format!("{place}: {shown} is no position");
        return Err(Problem::new(what, "write [longitude, latitude] in degrees"));
    };
    degrees(latitude, longitude, place).map(|_| [latitude, longitude])
}

/// The position of a point, and its identifier.
type Point = ([f64; 2], String);

/// The points so far: identifiers by name, and by position.
#[derive(Default)]
struct Points {
    count: usize,
    named: BTreeMap<String, String>,
    cells: BTreeMap<(i64, i64), Vec<Point>>,
}

impl Points {
    /// Adds a point with these names, and returns its identifier; the first point of a name keeps the name.
    fn add(&mut self, at: [f64; 2], names: [Option<String>; 2]) -> String {
        let id = self.count.to_string();
        self.count += 1;
        for name in names.into_iter().flatten() {
            self.named.entry(name).or_insert_with(|| id.clone());
        }
        self.cells.entry(cell(at)).or_default().push((at, id.clone()));
        id
    }

    /// Returns the nearest point within reach.
    fn near(&self, at: [f64; 2]) -> Option<String> {
        let (row, column) = cell(at);
        let around = (-1..=1).flat_map(|north| (-1..=1).map(move |east| (row + north, column + east)));
        let candidates = around.filter_map(|cell| self.cells.get(&cell)).flatten();
        let apart = |point: &[f64; 2]| (point[0] - at[0]).hypot(point[1] - at[1]);
        let nearest = candidates.min_by(|one, other| apart(&one.0).total_cmp(&apart(&other.0)));
        nearest.filter(|(point, _)| apart(point) <= REACH).map(|(_, id)| id.clone())
    }
}

fn cell(at: [f64; 2]) -> (i64, i64) {
    ((at[0] / REACH).floor() as i64, (at[1] / REACH).floor() as i64)
}

/// The degrees within which a line's end belongs to a point.
const REACH: f64 = 0.001;
/// The name of points without one.
const POINT: &str = "point";
