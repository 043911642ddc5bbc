//! Files: devices from files, one for each node, with its position and its motion.
//!
//! A table `[devices.meter]` with a `file` has a device for each node of the file whose group is `meter`, or for each
//! node if no node of the file has a group. Devices have the names of their nodes. Properties in the file take
//! precedence over those in the table.
//!
//! Positions on the earth are projected onto a plane, over all nodes of the file, so that several groups of one file
//! have the right positions relative to each other. A node without a position is placed in the middle of the nodes to
//! which it has a link, if these have one, and otherwise as the group is placed.

use super::Planning;
use super::kinds::Key;
use crate::plan::Waypoint;
use crate::scenario::graph::{Graph, Node, Position, geo};
use crate::scenario::model::{Group, Mobility, MobilityKind};
use crate::scenario::motion::{self, Motion};
use crate::scenario::problem::{Problem, instead};
use m2mesh::id::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use toml::Spanned;

/// A device of a group, before it is planned.
pub(super) struct Member {
    pub(super) name: Name,
    /// The position in metres east and north, if a file states it.
    pub(super) place: Option<[f64; 2]>,
    /// Latitude and longitude, if a file states them.
    pub(super) degrees: Option<[f64; 2]>,
    pub(super) forwarding: Option<bool>,
    pub(super) area: Option<u32>,
}

impl Member {
    pub(super) fn new(name: Name) -> Self {
        Self { name, place: None, degrees: None, forwarding: None, area: None }
    }
}

impl Planning<'_> {
    /// Returns the graph of a file, which was read with the scenario.
    pub(super) fn graph_of(&self, name: &Spanned<String>) -> Result<&Graph, Problem> {
        self.graphs.get(name.get_ref()).ok_or_else(|| {
            let what = format!("the file {} is not with the scenario", name.get_ref());
            let known = self.graphs.keys().map(String::as_str);
            self.document.problem(&name.span(), what, instead(name.get_ref(), known))
        })
    }

    /// Returns the members of a group that has a file.
    pub(super) fn of_file(
        &self,
        name: &Spanned<String>,
        group: &Group,
        file: &Spanned<String>,
    ) -> Result<Vec<Member>, Problem> {
        self.only("`file`", &[Key::new("count", &group.count, false, "a group without a `file`")])?;
        let graph = self.graph_of(file)?;
        let without = self.left_out(group, graph)?;
        let grouped = graph.nodes.iter().any(|node| node.group.is_some());
        if grouped {
            self.every_group_has_its_table(graph, file)?;
        }
        let places = places(graph)
            .map_err(|(place, hint)| Problem::new(format!("{place}: there are positions of both kinds"), hint))?;
        let mut members = Vec::new();
        for (node, place) in graph.nodes.iter().zip(places) {
            let own = !grouped || node.group.as_ref() == Some(name.get_ref());
            if !own || without.contains(node.name.as_str()) {
                continue;
            }
            members.push(self.member(node, place)?);
        }
        if members.is_empty() {
            let what = match grouped {
                true => format!("no node of {} is of the group `{}`", file.get_ref(), name.get_ref()),
                false => format!("the file {} has no nodes", file.get_ref()),
            };
            let groups: BTreeSet<&str> = graph.nodes.iter().filter_map(|node| node.group.as_deref()).collect();
            return Err(self.document.problem(&file.span(), what, instead(name.get_ref(), groups)));
        }
        Ok(members)
    }

    fn member(&self, node: &Node, place: Option<[f64; 2]>) -> Result<Member, Problem> {
        let wrong = |what: String, hint: &str| Problem::new(format!("{}: {what}", node.place), hint);
        let naming = "write letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
        let name = Name::new(node.name.clone())
            .map_err(|error| wrong(format!("{:?} cannot be a device's name: {error}", node.name), naming))?;
        if self.device(&node.name).is_some() || self.by_name.contains_key(&node.name) {
            let what = format!("there is a device `{}` already", node.name);
            return Err(wrong(what, "give one of them another name, or leave this one out with `without`"));
        }
        let degrees = match node.position {
            Some(Position::Degrees { latitude, longitude }) => Some([latitude, longitude]),
            _ => None,
        };
        Ok(Member { name, place, degrees, forwarding: node.forwarding, area: node.area })
    }

    fn left_out<'g>(&self, group: &'g Group, graph: &Graph) -> Result<BTreeSet<&'g str>, Problem> {
        let Some(without) = &group.without else { return Ok(BTreeSet::new()) };
        let known: BTreeSet<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        match without.get_ref().iter().find(|name| !known.contains(name.as_str())) {
            None => Ok(without.get_ref().iter().map(String::as_str).collect()),
            Some(unknown) => {
                let what = format!("no node of the file is called `{unknown}`");
                Err(self.document.problem(&without.span(), what, instead(unknown, known)))
            }
        }
    }

    /// Checks that no node is ignored because its group is mistyped or absent.
    fn every_group_has_its_table(&self, graph: &Graph, file: &Spanned<String>) -> Result<(), Problem> {
        let reads = |group: &Group| group.file.as_ref().is_some_and(|own| own.get_ref() == file.get_ref());
        let tables = self.model.devices.iter().filter(|(_, group)| reads(group));
        let known: BTreeSet<&str> = tables.map(|(name, _)| name.get_ref().as_str()).collect();
        for node in &graph.nodes {
            let (what, hint) = match &node.group {
                Some(group) if known.contains(group.as_str()) => continue,
                Some(group) => (
                    format!("no table [devices.{group}] reads this file"),
                    format!("add one with file = \"{}\"; or {}", file.get_ref(), instead(group, known)),
                ),
                None => (format!("`{}` is of no group, and others of the file are", node.name), "write one".to_owned()),
            };
            return Err(Problem::new(format!("{}: {what}", node.place), hint));
        }
        Ok(())
    }

    /// Returns the tracks of those members of a group that a trace contains.
    pub(super) fn traced(&self, group: &Group, members: &[Member]) -> Result<Vec<Option<Vec<Waypoint>>>, Problem> {
        let mut tracks = vec![None; members.len()];
        let Some(mobility) = group.mobility.as_ref().filter(|own| own.get_ref().kind == MobilityKind::Trace) else {
            return Ok(tracks);
        };
        let Mobility { speed, pause, points, closed, file, .. } = mobility.get_ref();
        let keys = [
            Key::new("speed", speed, false, "kind = \"waypoints\" and \"route\""),
            Key::new("pause", pause, false, "kind = \"waypoints\""),
            Key::new("points", points, false, "kind = \"route\""),
            Key::new("loop", closed, false, "kind = \"route\""),
        ];
        self.only("kind = \"trace\"", &keys)?;
        let file = self.needed(file, "a trace", &mobility.span(), "file = \"walk.csv\"")?;
        let wrong =
            |line: usize, what: String, hint: String| Problem::new(format!("{}:{line}: {what}", file.get_ref()), hint);
        let mut put = |member: usize, line: usize, points: &[motion::Point]| {
            if points.is_empty() {
                return Err(wrong(line, "a track without a point".into(), "write one, or remove the line".into()));
            }
            let origin = group.origin.unwrap_or_default();
            let point = |(at, [x, y]): &motion::Point| Waypoint {
                at: self.model.warmup.0 + *at,
                x: x + origin[0],
                y: y + origin[1],
            };
            let track: Vec<Waypoint> = points.iter().map(point).collect();
            self.bounded(&track, mobility)?;
            tracks[member] = Some(track);
            Ok(())
        };
        match motion::read(file.get_ref(), self.file(file)?)? {
            Motion::Named(by_name) => {
                let known: BTreeMap<&str, usize> =
                    members.iter().enumerate().map(|(index, member)| (member.name.as_str(), index)).collect();
                for (name, (line, points)) in &by_name {
                    let member = known.get(name.as_str()).copied().ok_or_else(|| {
                        let what = format!("no device of the group is called `{name}`");
                        wrong(*line, what, instead(name, known.keys().copied()))
                    })?;
                    put(member, *line, points)?;
                }
            }
            Motion::Numbered(by_number) => {
                for (number, (line, points)) in &by_number {
                    if *number >= members.len() {
                        let what = format!("node {number} moves, and the group has {} devices", members.len());
                        let hint = format!("let it have {}, or remove the line", number.saturating_add(1));
                        return Err(wrong(*line, what, hint));
                    }
                    put(*number, *line, points)?;
                }
            }
        }
        Ok(tracks)
    }
}

/// Returns the positions of nodes in metres; an error names a node whose kind of position differs from that of earlier
/// ones, and says what to do.
fn places(graph: &Graph) -> Result<Vec<Option<[f64; 2]>>, (String, &'static str)> {
    let mut places: Vec<Option<[f64; 2]>> = vec![None; graph.nodes.len()];
    let (mut degrees, mut metres) = (Vec::new(), 0);
    for (index, node) in graph.nodes.iter().enumerate() {
        match node.position {
            Some(Position::Metres(point)) => {
                places[index] = Some(point);
                metres += 1;
            }
            Some(Position::Degrees { latitude, longitude }) => degrees.push((index, [latitude, longitude])),
            None => {}
        }
        if metres > 0 && !degrees.is_empty() {
            return Err((node.place.clone(), "write latitude and longitude of all, or x and y of all"));
        }
    }
    let points: Vec<[f64; 2]> = degrees.iter().map(|(_, point)| *point).collect();
    for ((index, _), point) in degrees.iter().zip(geo::flat(&points)) {
        places[*index] = Some(point);
    }
    let known: BTreeMap<&str, [f64; 2]> =
        graph.nodes.iter().zip(&places).filter_map(|(node, place)| Some((node.name.as_str(), (*place)?))).collect();
    let mut sums = BTreeMap::<&str, [f64; 3]>::new();
    for edge in &graph.edges {
        for (one, other) in [(0, 1), (1, 0)] {
            if let Some(place) = known.get(edge.ends[other].as_str()) {
                let sum = sums.entry(&edge.ends[one]).or_default();
                *sum = [sum[0] + place[0], sum[1] + place[1], sum[2] + 1.0];
            }
        }
    }
    for (node, place) in graph.nodes.iter().zip(&mut places) {
        let middle = sums.get(node.name.as_str()).map(|[x, y, count]| [(x / count).round(), (y / count).round()]);
        *place = place.or(middle);
    }
    Ok(places)
}

/// The time that light takes for a kilometre of fibre.
pub(super) const PER_KM: Duration = Duration::from_micros(5);
