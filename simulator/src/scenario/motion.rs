//! Motion: traces of the positions of devices, as other programs write them.
//!
//! There are three formats, distinguished by their contents:
//!
//! - a table with the columns `at,device,x,y`;
//! - ns-2 commands, `$node_(3) set X_ 12.5` and `$ns_ at 10.0 "$node_(3) setdest 80.0 20.0 1.5"`: from then on towards
//!   that point, with this speed in metres a second;
//! - BonnMotion's `.movements`: a line for each node, with time, x and y of one point after the other.
//!
//! Invariants
//! 1. A track's points are in the order of their times, none before its start.
//! - Coordinates are finite.

use super::graph::rows;
use super::problem::Problem;
use super::quantity::{self, number};
use std::collections::BTreeMap;
use std::time::Duration;

/// A point: the time after the trace's beginning, and the position in metres east and metres north.
pub type Point = (Duration, [f64; 2]);

/// Tracks, each with the line of the file at which it begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Motion {
    /// By the name of a device.
    Named(BTreeMap<String, (usize, Vec<Point>)>),
    /// By the number of a node, from 0 on.
    Numbered(BTreeMap<usize, (usize, Vec<Point>)>),
}

/// Reads a trace; `name` is that of the file.
pub fn read(name: &str, text: &str) -> Result<Motion, Problem> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
    let motion = match first {
        _ if first.starts_with('$') => commands(name, text)?,
        _ if first.contains([',', ';']) || first.starts_with("at") => table(name, text)?,
        _ => movements(name, text)?,
    };
    let empty = match &motion {
        Motion::Named(tracks) => tracks.is_empty(),
        Motion::Numbered(tracks) => tracks.is_empty(),
    };
    if empty {
        let hint = "write lines `at,device,x,y`, or name a trace of ns-2 or BonnMotion";
        return Err(Problem::new(format!("{name}: nobody moves in it"), hint));
    }
    Ok(motion)
}

fn table(name: &str, text: &str) -> Result<Motion, Problem> {
    let mut tracks = BTreeMap::<String, (usize, Vec<Point>)>::new();
    for (place, row) in rows(name, text)?.into_iter().enumerate() {
        let wrong = |what: String| {
            Problem::new(format!("{name}:{}: {what}", row.line), "write at,device,x,y, as `12.5,bus-1,400,80`")
        };
        let [at, device, x, y] = &row.cells[..] else {
            return Err(wrong(format!("the line has {} columns", row.cells.len())));
        };
        if place == 0 && at == "at" {
            continue;
        }
        let time = seconds(at).or_else(|| quantity::duration(at)).ok_or_else(|| wrong(format!("{at:?} is no time")))?;
        let point = [metres(x), metres(y)];
        let [Some(x), Some(y)] = point else { return Err(wrong(format!("{x:?}, {y:?} is no point"))) };
        let (_, track) = tracks.entry(device.clone()).or_insert_with(|| (row.line, Vec::new()));
        if track.last().is_some_and(|(before, _)| *before > time) {
            return Err(wrong(format!("this is before the line of `{device}` above")));
        }
        track.push((time, [x, y]));
    }
    Ok(Motion::Named(tracks))
}

fn movements(name: &str, text: &str) -> Result<Motion, Problem> {
    let mut tracks = BTreeMap::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#'));
    for (node, (number, line)) in lines.enumerate() {
        let wrong = |what: String| {
            let hint = "write time, x and y of one point after the other, as `0.0 10.0 10.0 8.5 40.0 10.0`";
            Problem::new(format!("{name}:{}: {what}", number + 1), hint)
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        if !words.len().is_multiple_of(3) {
            return Err(wrong(format!("{} numbers are not three for each point", words.len())));
        }
        let mut track = Vec::with_capacity(words.len() / 3);
        for point in words.chunks_exact(3) {
            let (Some(at), Some(x), Some(y)) = (seconds(point[0]), metres(point[1]), metres(point[2])) else {
                return Err(wrong(format!("{:?} is no time and point", point.join(" "))));
            };
            if track.last().is_some_and(|(before, _)| *before > at) {
                return Err(wrong(format!("{} s is before the point in front of it", point[0])));
            }
            track.push((at, [x, y]));
        }
        tracks.insert(node, (number + 1, track));
    }
    Ok(Motion::Numbered(tracks))
}

/// A node of ns-2 as far as commands have been read: its first position, and its orders.
#[derive(Default)]
struct Commanded {
    line: usize,
    begins: [Option<f64>; 2],
    orders: Vec<(Duration, [f64; 2], f64)>,
}

fn commands(name: &str, text: &str) -> Result<Motion, Problem> {
    let mut nodes = BTreeMap::<usize, Commanded>::new();
    for (number, line) in text.lines().enumerate() {
        let words: Vec<&str> =
            line.split(|c: char| c.is_whitespace() || c == '"').filter(|word| !word.is_empty()).collect();
        let Some(first) = words.first().filter(|word| !word.starts_with('#')) else { continue };
        // The distances between nodes that ns-2 keeps move no node.
        if words.iter().any(|word| word.starts_with("$god_")) {
            continue;
        }
        let wrong = || {
            let hint = "write `$node_(0) set X_ 10.0` or `$ns_ at 2.0 \"$node_(0) setdest 50.0 10.0 1.5\"`";
            Problem::new(format!("{name}:{}: {line:?} moves nobody", number + 1), hint)
        };
        let index = |word: &str| word.strip_prefix("$node_(")?.strip_suffix(')')?.parse::<usize>().ok();
        match words[..] {
            [node, "set", axis, value] => {
                let (node, value) = index(node).zip(metres(value)).ok_or_else(wrong)?;
                let node = nodes.entry(node).or_insert_with(|| Commanded { line: number + 1, ..Commanded::default() });
                match axis {
                    "X_" => node.begins[0] = Some(value),
                    "Y_" => node.begins[1] = Some(value),
                    "Z_" => {}
                    _ => return Err(wrong()),
                }
            }
            [_, "at", at, node, "setdest", x, y, speed] if first.starts_with('$') => {
                let (at, node) = seconds(at).zip(index(node)).ok_or_else(wrong)?;
                let (Some(x), Some(y), Some(speed)) = (metres(x), metres(y), quantity::number(speed)) else {
                    return Err(wrong());
                };
                let node = nodes.entry(node).or_insert_with(|| Commanded { line: number + 1, ..Commanded::default() });
                node.orders.push((at, [x, y], speed.max(0.0)));
            }
            _ => return Err(wrong()),
        }
    }
    let tracks = nodes.into_iter().map(|(index, node)| {
        let [Some(x), Some(y)] = node.begins else {
            let what = format!("{name}:{}: nothing says where node {index} begins", node.line);
            return Err(Problem::new(what, format!("add `$node_({index}) set X_ …` and the same with Y_")));
        };
        Ok((index, (node.line, carried_out([x, y], node.orders))))
    });
    Ok(Motion::Numbered(tracks.collect::<Result<_, _>>()?))
}

/// Returns the track of a node that follows orders, each until it arrives or gets the next.
fn carried_out(begins: [f64; 2], mut orders: Vec<(Duration, [f64; 2], f64)>) -> Vec<Point> {
    orders.sort_by_key(|(at, ..)| *at);
    let mut track = vec![(Duration::ZERO, begins)];
    let mut here = begins;
    for (number, (at, to, speed)) in orders.iter().enumerate() {
        let far = (to[0] - here[0]).hypot(to[1] - here[1]);
        if *speed <= 0.0 || far <= 0.0 {
            continue;
        }
        track.push((*at, here));
        let takes = (far / speed).min(LONGEST);
        let given = orders.get(number + 1).map_or(f64::INFINITY, |(next, ..)| (*next - *at).as_secs_f64());
        let part = (given / takes).min(1.0);
        here = [0, 1].map(|axis| here[axis] + (to[axis] - here[axis]) * part);
        track.push((*at + Duration::from_secs_f64(takes.min(given)), here));
    }
    track
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = number(text).filter(|seconds| (0.0..=LONGEST).contains(seconds))?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn metres(text: &str) -> Option<f64> {
    number(text).filter(|metres| metres.abs() <= FARTHEST)
}

/// A number of seconds that is longer than any run.
const LONGEST: f64 = 1e10;
/// The greatest coordinate in metres.
const FARTHEST: f64 = 1e9;
