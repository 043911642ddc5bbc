//! Tests of the readers of topologies: the same network in every format, and a problem, not a panic, for any other
//! input.

use super::*;
use crate::scenario::motion;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::time::Duration;

const GRAPHML: &str = r#"<?xml version="1.0" encoding="utf-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns" xmlns:y="http://www.yworks.com/xml/graphml">
  <key attr.name="LinkSpeedRaw" attr.type="double" for="edge" id="d1" />
  <key attr.name="Latitude" attr.type="double" for="node" id="d2" />
  <key attr.name="Longitude" attr.type="double" for="node" id="d3" />
  <key attr.name="label" attr.type="string" for="node" id="d4" />
  <graph edgedefault="directed">
    <node id="0"><data key="d2">52.52</data><data key="d3">13.405</data><data key="d4">Berlin</data></node>
    <node id="1"><data key="d2">48.2082</data><data key="d3">16.3738</data><data key="d4"><![CDATA[Wien & so]]></data></node>
    <node id="2"><data key="d9"><y:ShapeNode><y:NodeLabel>Graz</y:NodeLabel></y:ShapeNode></data></node>
    <edge source="0" target="1"><data key="d1">10000000000.0</data></edge>
    <edge source="1" target="2"/>
    <edge source="1" target="2"/>
    <edge source="2" target="2"/>
  </graph>
</graphml>
"#;
const GML: &str = "graph [\n  directed 0\n  # made by hand\n  node [\n    id 0\n    label \"Berlin\"\n    Longitude 13.405\n    \
                   Latitude 52.52\n  ]\n  node [ id 1 label \"Wien &amp; so\" Longitude 16.3738 Latitude 48.2082 ]\n  \
                   node [ id 2 label \"Graz\" graphics [ x 1 y 2 ] ]\n  edge [\n    source 0\n    target 1\n    \
                   LinkSpeedRaw 10000000000.0\n  ]\n  edge [ source 1 target 2 ]\n  edge [ source 1 target 2 ]\n  \
                   edge [ source 2 target 2 ]\n]\n";
const JSON: &str = r#"{"directed": false, "graph": {"name": "three"}, "nodes": [
  {"id": 0, "name": "Berlin", "pos": [13.405, 52.52]},
  {"id": 1, "name": "Wien & so", "pos": [16.3738, 48.2082], "tags": ["a"]},
  {"id": 2, "name": "Graz"}
], "edges": [
  {"source": 0, "target": 1, "LinkSpeedRaw": 10000000000.0},
  {"source": 1, "target": 2}, {"source": 1, "target": 2}, {"source": 2, "target": 2}
]}"#;
const GEOJSON: &str = r#"{"type": "FeatureCollection", "features": [
  {"type": "Feature", "geometry": {"type": "Point", "coordinates": [13.405, 52.52]}, "properties": {"name": "Berlin"}},
  {"type": "Feature", "geometry": {"type": "Point", "coordinates": [16.3738, 48.2082]}, "properties": {"name": "Wien & so"}},
  {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[13.4051, 52.5201], [14.4, 50.1], [16.3738, 48.2082]]},
   "properties": {"LinkSpeedRaw": 10000000000}},
  {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[16.3738, 48.2082], [15.44, 47.07]]}, "properties": null},
  {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": []}, "properties": {}}
]}"#;
const EDGES: &str = "from,to,delay,jitter,loss,rate,price,bearer,length\n# far ones\na,b,20ms,5ms,1%,10Mbit,2.5,lte,\n\
                     b,a,30ms..40ms,-,0.5,,,lte,\nb,c,,,,,,,12.5\n";
const NODES: &str = "name,lat,lon,group,forwarding,area\nOslo,59.9,10.7,meter,no,3\nRome,41.9,12.5,gateway,,\n";
const TRACE: &str = "at,device,x,y\n0,bus-1,0,0\n10s,bus-1,100,0\n5,bus-2,3.5,-4\n";
const SETDEST: &str = "# made by setdest\n$node_(0) set X_ 10.0\n$node_(0) set Y_ 20.0\n$node_(0) set Z_ 0.0\n\
                       $god_ set-dist 0 1 1\n$ns_ at 2.0 \"$node_(0) setdest 10.0 40.0 2.0\"\n\
                       $ns_ at 5.0 \"$node_(0) setdest 16.0 26.0 1.0\"\n";
const MOVEMENTS: &str = "0.0 1.0 2.0 10.0 3.0 4.0\n0.0 5.0 6.0\n";

fn names(graph: &Graph) -> Vec<&str> {
    graph.nodes.iter().map(|node| node.name.as_str()).collect()
}

fn ends(graph: &Graph) -> Vec<[&str; 2]> {
    graph.edges.iter().map(|edge| [edge.ends[0].as_str(), edge.ends[1].as_str()]).collect()
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T, Problem>, parts: &[&str]) {
    let problem = result.expect_err("this cannot be read");
    assert!(!problem.hint.is_empty());
    let text = problem.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
}

#[test]
fn one_network_is_the_same_in_every_format() {
    for (file, text) in [("x.graphml", GRAPHML), ("x.GML", GML), ("x.json", JSON)] {
        let graph = read(file, text).expect(file);
        assert_eq!(names(&graph), ["Berlin", "Wien-so", "Graz"], "{file}");
        assert_eq!(ends(&graph), [["Berlin", "Wien-so"], ["Wien-so", "Graz"]], "{file}");
        assert_eq!(graph.left_out, 2, "{file}");
        let berlin = Position::Degrees { latitude: 52.52, longitude: 13.405 };
        assert_eq!([graph.nodes[0].position, graph.nodes[2].position], [Some(berlin), None], "{file}");
        let rates: Vec<_> = graph.edges.iter().map(|edge| edge.properties.rate).collect();
        assert_eq!(rates, [Some(10_000_000_000), None], "{file}");
    }
    for file in ["x.geojson", "x.json"] {
        let graph = read(file, GEOJSON).expect(file);
        assert_eq!(names(&graph), ["Berlin", "Wien-so", "point"]);
        assert_eq!(ends(&graph), [["Berlin", "Wien-so"], ["Wien-so", "point"]]);
        // The length of the drawn line, which is longer than the distance of the points.
        let length = graph.edges[0].properties.length.expect("a drawn line has a length");
        assert!((523.0..560.0).contains(&length), "{length}");
        assert_eq!(graph.edges[0].properties.rate, Some(10_000_000_000));
    }
}

#[test]
fn json_goes_by_places_where_nodes_have_no_identifiers_and_by_metres_beyond_degrees() {
    let graph = read(
        "x.json",
        r#"{"nodes": [{"name": "a", "pos": [500, 20]}, {"name": "b", "pos": [1, 2]}], "links": [{"source": 0, "target": 1, "dist": 7}]}"#,
    );
    let graph = graph.expect("sound");
    assert_eq!(graph.nodes[1].position, Some(Position::Metres([1.0, 2.0])));
    assert_eq!((ends(&graph), graph.edges[0].properties.length), (vec![["a", "b"]], Some(7.0)));
}

#[test]
fn a_table_of_links_says_what_its_columns_say() {
    let graph = read("x.csv", EDGES).expect("sound");
    assert_eq!(names(&graph), ["a", "b", "c"]);
    assert_eq!(ends(&graph), [["a", "b"], ["b", "a"], ["b", "c"]]);
    let Properties { delay, jitter, loss, rate, price, bearer, length } = graph.edges[0].properties.clone();
    assert_eq!(delay.map(|delay| delay.most), Some(Duration::from_millis(20)));
    assert_eq!((jitter, loss), (Some(Duration::from_millis(5)), Some(0.01)));
    assert_eq!((rate, price, bearer.as_deref(), length), (Some(10_000_000), Some(2.5), Some("lte"), None));
    assert_eq!(graph.edges[1].place, "x.csv:4");
    assert_eq!(graph.edges[2].properties, Properties { length: Some(12.5), ..Properties::default() });
    // The same as without columns, and as with spaces.
    let spaced = read("x.edges", "a b # near\n\nb c\n").expect("sound");
    assert_eq!(ends(&spaced), [["a", "b"], ["b", "c"]]);
    let columns = read("x.edges", "from to loss\na b 2%\nb c -\n").expect("sound");
    assert_eq!(columns.edges.iter().map(|edge| edge.properties.loss).collect::<Vec<_>>(), [Some(0.02), None]);
}

#[test]
fn a_table_of_nodes_says_who_they_are() {
    let graph = read("x.csv", NODES).expect("sound");
    assert_eq!(names(&graph), ["Oslo", "Rome"]);
    let oslo = &graph.nodes[0];
    assert_eq!((oslo.group.as_deref(), oslo.forwarding, oslo.area), (Some("meter"), Some(false), Some(3)));
    assert_eq!((graph.nodes[1].forwarding, graph.nodes[1].area), (None, None));
    let semicolons = read("x.csv", "\u{feff}name;x;y\na;1;2\n").expect("as spreadsheets write it");
    assert_eq!(semicolons.nodes[0].position, Some(Position::Metres([1.0, 2.0])));
}

/// Invariants 1 and 3.
#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (file, text, parts) in [
        ("x.graphml", "<graphml><node", &["x.graphml:1: this is no XML"][..]),
        ("x.graphml", "<!DOCTYPE a [<!ENTITY b 'c'>]><graphml/>", &["x.graphml:1:"]),
        ("x.graphml", "<svg/>", &["this is no GraphML, but <svg>"]),
        (
            "x.graphml",
            "<graphml>\n<node id='a'/>\n<edge source='a' target='b'/></graphml>",
            &["x.graphml:3: no node has the identifier `b`"],
        ),
        ("x.graphml", "<graphml>\n<node/></graphml>", &["x.graphml:2: the node has no `id`"]),
        (
            "x.graphml",
            "<graphml><node id='a'/>\n<node id='a'/></graphml>",
            &["x.graphml:2: there is a node `a` already"],
        ),
        ("x.gml", "graph [\n node [\n", &["x.gml:2: the list `node` is never closed"]),
        ("x.gml", "graph [\n node ]\n", &["x.gml:2: `node` has no value"]),
        ("x.gml", "graph [\n node [ label \"a ]\n", &["x.gml:2: a text in quotes never ends"]),
        ("x.gml", "graph [\n node [ label 3 ] ]\n", &["x.gml:2: the node has no `id`"]),
        ("x.gml", "creator 3\n", &["this is no GML"]),
        ("x.gml", "graph [ node [ id 0 Latitude 95 Longitude 3 ] ]", &["x.gml:1: latitude 95", "nowhere on the earth"]),
        ("x.gml", "graph [ node [ id 0 Latitude 5 ] ]", &["there is `lat` and no `lon`"]),
        ("x.json", "{\"nodes\": [\n{]", &["x.json:2: this cannot be read"]),
        ("x.json", "{\"nodes\": []}", &["x.json:1:", "links"]),
        (
            "x.json",
            r#"{"nodes": [{"id": 1}], "links": [{"source": 1}]}"#,
            &["x.json: links[0]: the link has no `target`"],
        ),
        (
            "x.geojson",
            r#"{"features": [{"geometry": {"type": "Point", "coordinates": [1]}}]}"#,
            &["features[0]: [1] is no position"],
        ),
        ("x.csv", "from,to,dealy\na,b,3ms\n", &["x.csv:1: there is no column `dealy`", "did you mean `delay`?"]),
        ("x.csv", "from,to,delay,delay\na,b,3ms\n", &["x.csv:1: there are two columns `delay`"]),
        ("x.csv", "from,to,delay\n\na,b,3\n", &["x.csv:3: `delay` is \"3\"", "write a duration"]),
        ("x.csv", "from,to\na,b,3ms\n", &["x.csv:2: \"a b 3ms\" is no link"]),
        ("x.csv", "from,to,loss\na,b,1%\na,b,2%\n", &["x.csv:3: line 2 describes the link from `a` to `b` already"]),
        ("x.csv", "from,to,price\na,b,-1\n", &["x.csv:2: `price` is -1"]),
        ("x.csv", "name,x,y\na,1,2\na,3,4\n", &["x.csv:3: line 2 has a node `a` already"]),
        ("x.csv", "name,x,y\na b,1,2\n", &["x.csv:2: \"a b\" cannot be a device's name"]),
        ("x.csv", "name,x,y\nall,1,2\n", &["x.csv:2: a device cannot be called `all`"]),
        ("x.csv", "name,x,y\na,1,1e300\n", &["x.csv:2: 1, 1", "too far away"]),
        ("x.csv", "name,x,y\na,1,\n", &["x.csv:2: there is one of `x` and `y`"]),
        ("x.csv", "name,forwarding\na,perhaps\n", &["x.csv:2: `forwarding` is \"perhaps\"", "true or false"]),
        ("x.edges", "a b c\n", &["x.edges:1: \"a b c\" is no link", "`meter-1 gateway-1`"]),
        ("x.edges", "a\n", &["x.edges:1: \"a\" is no link"]),
        ("x.edges", "a a\n", &["x.edges:1: a device does not link with itself"]),
    ] {
        says(read(file, text), parts);
    }
    let many = (0..=MOST_NODES).map(|number| format!("n{number}\n")).collect::<String>();
    says(read("x.csv", &format!("name\n{many}")), &["x.csv: it has 20001 nodes", "at most 20000"]);
    let deep = "a [ ".repeat(10_000);
    says(read("x.gml", &deep), &["x.gml:1: lists lie too deep"]);
}

/// Invariant 1 of scenario::motion.
#[test]
fn tracks_are_read_in_every_format() {
    let motion::Motion::Named(named) = motion::read("x.csv", TRACE).expect("sound") else { panic!("by name") };
    let second = Duration::from_secs(1);
    assert_eq!(named["bus-1"], (2, vec![(Duration::ZERO, [0.0, 0.0]), (10 * second, [100.0, 0.0])]));
    assert_eq!(named["bus-2"].1, [(5 * second, [3.5, -4.0])]);
    let motion::Motion::Numbered(nodes) = motion::read("x.movements", MOVEMENTS).expect("sound") else {
        panic!("numbered")
    };
    assert_eq!(nodes[&0], (1, vec![(Duration::ZERO, [1.0, 2.0]), (10 * second, [3.0, 4.0])]));
    assert_eq!(nodes[&1].0, 2);
    // After six metres towards the first goal it gets the second, which is ten metres away.
    let motion::Motion::Numbered(nodes) = motion::read("x.ns2", SETDEST).expect("sound") else { panic!("numbered") };
    let way = [(0, [10.0, 20.0]), (2, [10.0, 20.0]), (5, [10.0, 26.0]), (5, [10.0, 26.0]), (11, [16.0, 26.0])];
    assert_eq!(nodes[&0].1, way.map(|(at, point)| (at * second, point)));
    for (text, parts) in [
        ("at,device,x,y\n1,a,2\n", &["x:2: the line has 3 columns"][..]),
        ("at,device,x,y\nnoon,a,2,3\n", &["x:2: \"noon\" is no time"]),
        ("at,device,x,y\n2,a,2,3\n1,a,2,3\n", &["x:3: this is before the line of `a` above"]),
        ("1 2 3 4\n", &["x:1: 4 numbers are not three for each point"]),
        ("1 2 3 0 2 3\n", &["x:1: 0 s is before the point in front of it"]),
        ("$node_(0) set X_ far\n", &["x:1:", "moves nobody"]),
        ("$ns_ at 1.0 \"$node_(0) setdest 1 2 3\"\n", &["x:1: nothing says where node 0 begins"]),
        ("\n", &["x: nobody moves in it"]),
    ] {
        says(motion::read("x", text), parts);
    }
}

/// Checks files that are cut off or overwritten: each is a graph that keeps its invariants, or a problem with its
/// place.
///
/// Invariants 1 and 2.
#[test]
fn garbled_files_are_problems_and_never_panics() {
    let mut draw = ChaCha20Rng::seed_from_u64(7);
    let files = [
        ("x.graphml", GRAPHML),
        ("x.gml", GML),
        ("x.json", JSON),
        ("x.geojson", GEOJSON),
        ("x.csv", EDGES),
        ("x.csv", NODES),
        ("x.trace", TRACE),
        ("x.trace", SETDEST),
        ("x.trace", MOVEMENTS),
    ];
    let (mut sound, mut wrong) = (0, 0);
    for (file, text) in files {
        let cut = (0..text.len()).filter_map(|end| text.get(..end)).map(str::to_owned);
        let overwritten = (0..400).map(|_| {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=draw.next_u32() % 4 {
                let at = draw.next_u32() as usize % bytes.len();
                match draw.next_u32() % 3 {
                    0 => bytes[at] = b"[]{}<>\"',;:#&-9e\n\0 a$"[draw.next_u32() as usize % 21],
                    1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, b"[]{}<>\"',;:#&-9e\n\0 a$"[draw.next_u32() as usize % 21]),
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        });
        for garbled in cut.chain(overwritten.collect::<Vec<_>>()) {
            let problem = match file {
                "x.trace" => motion::read(file, &garbled).err(),
                _ => match read(file, &garbled) {
                    Ok(graph) => {
                        let known: BTreeSet<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
                        assert_eq!(known.len(), graph.nodes.len(), "{garbled}");
                        let ends = graph.edges.iter().flat_map(|edge| &edge.ends);
                        assert!(ends.into_iter().all(|end| known.contains(end.as_str())), "{garbled}");
                        None
                    }
                    Err(problem) => Some(problem),
                },
            };
            match problem {
                None => sound += 1,
                Some(problem) => {
                    wrong += 1;
                    assert!(problem.error.starts_with(file) && !problem.hint.is_empty(), "{problem}");
                }
            }
        }
    }
    assert!(sound > 100 && wrong > 1_000, "{sound} {wrong}");
}

#[test]
fn many_nodes_of_one_name_are_told_apart_in_time() {
    let nodes: String = (0..MOST_NODES).map(|id| format!("node [ id {id} label \"same\" ]\n")).collect();
    let graph = read("x.gml", &format!("graph [ {nodes} ]")).expect("sound");
    assert_eq!((graph.nodes[0].name.as_str(), graph.nodes[19_999].name.as_str()), ("same", "same-20000"));
}
