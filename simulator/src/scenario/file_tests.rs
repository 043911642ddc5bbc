//! Tests of devices and links from other files.

use super::tests::{loaded, says};
use super::*;
use std::time::Duration;

const NODES: &str =
    "name,lat,lon,group,forwarding\nberlin,52.52,13.405,city,\nvienna,48.2082,16.3738,city,\nfarm,48.3,16.4,field,no\n";

fn scenario(devices: &str, links: &str) -> String {
    format!(
        "question = \"Does it work?\"\nduration = \"1m\"\n[bearers.lan]\ndelay = \"1ms\"\n[bearers.lte]\nprice = 2.0\n{devices}\n[[links]]\nkind = \"file\"\nbearer = \"lan\"\n{links}\n"
    )
}

const CITIES: &str = "[devices.city]\nfile = \"nodes.csv\"\n[devices.field]\nfile = \"nodes.csv\"\n";
const LINKS: &str = "file = \"links.csv\"";

fn planned(devices: &str, links: &str, table: &str) -> Result<Plan, Problem> {
    loaded(&scenario(devices, links), &[], &[("nodes.csv", NODES), ("links.csv", table)])
}

#[test]
fn nodes_of_a_file_are_devices_in_their_groups() {
    let plan = planned(CITIES, LINKS, "berlin vienna\nvienna farm\n").expect("sound");
    let devices: Vec<_> = plan.devices.iter().map(|device| (device.name.as_str(), device.group.as_str())).collect();
    assert_eq!(devices, [("berlin", "city"), ("vienna", "city"), ("farm", "field")]);
    assert_eq!(plan.devices.iter().map(|device| device.forwarding).collect::<Vec<_>>(), [true, true, false]);
    // North is up, west is left, and nodes of different groups keep their distances.
    let place = |device: usize| (plan.devices[device].track[0].x, plan.devices[device].track[0].y);
    assert!(place(0).0 < place(1).0 && place(0).1 > place(1).1);
    let apart = (place(1).0 - place(2).0).hypot(place(1).1 - place(2).1);
    assert!((9_000.0..12_000.0).contains(&apart), "{apart}");
    let edges: Vec<_> = plan.edges.iter().map(|edge| (edge.a, edge.b)).collect();
    assert_eq!(edges, [(0, 1), (1, 2)]);
    let named = planned(CITIES, "file = \"links.csv\"\nbetween = [\"berlin\", \"vienna\"]", "berlin vienna\n");
    assert_eq!(named.expect("devices have their names").edges.len(), 1);
    let without =
        "[devices.city]\nfile = \"nodes.csv\"\nwithout = [\"vienna\"]\n[devices.field]\nfile = \"nodes.csv\"\n";
    let plan = planned(without, LINKS, "berlin vienna\nberlin farm\n").expect("sound");
    assert_eq!((plan.devices.len(), plan.edges.len()), (2, 1));
}

#[test]
fn a_link_takes_as_long_as_light_does_for_its_length() {
    let micros = |links: &str, table: &str| {
        let plan = planned(CITIES, links, table).expect("sound");
        plan.edges[0].shapes.map(|shape| shape.delay.as_micros())
    };
    // 523 km at 5 µs a kilometre, and the bearer's millisecond.
    let [there, back] = micros(LINKS, "berlin vienna\n");
    assert!(there == back && (3_600..3_640).contains(&there), "{there}");
    let [slow, _] = micros("file = \"links.csv\"\nper_km = \"10us\"", "berlin vienna\n");
    assert!((6_200..6_280).contains(&slow), "{slow}");
    assert_eq!(micros("file = \"links.csv\"\nper_km = \"0s\"", "berlin vienna\n"), [1_000; 2]);
    assert_eq!(micros(LINKS, "from to length\nberlin vienna 1000\n"), [6_000; 2]);
    assert_eq!(micros(LINKS, "from to delay\nberlin vienna 7ms\n"), [7_000; 2]);
    // Each direction has its own line, or the scenario states the properties of the opposite direction.
    assert_eq!(micros(LINKS, "from to delay\nberlin vienna 7ms\nvienna berlin 9ms\n"), [7_000, 9_000]);
    assert_eq!(micros("file = \"links.csv\"\nback = { delay = \"30ms\" }", "berlin vienna\n")[1], 30_000);
}

#[test]
fn a_line_of_a_table_has_its_bearer_and_its_price() {
    let table =
        "from,to,bearer,price,loss,rate\nberlin,vienna,lte,2,10%,1Mbit\nvienna,farm,lte,3.5,,\nberlin,farm,,,,\n";
    let plan = planned(CITIES, LINKS, table).expect("sound");
    let bearers: Vec<_> = plan.bearers.iter().map(|bearer| (bearer.name.as_str(), bearer.price)).collect();
    assert_eq!(bearers, [("lan", 0.0), ("lte", 2.0), ("lte at 3.5", 3.5)]);
    let edges: Vec<_> = plan.edges.iter().map(|edge| (edge.a, edge.b, edge.bearer)).collect();
    assert_eq!(edges, [(0, 1, 1), (0, 2, 0), (1, 2, 2)]);
    assert_eq!((plan.edges[0].shapes[1].loss, plan.edges[0].shapes[1].rate), (100_000, Some(1_000_000)));
    // A fault of the bearer strikes its links at every price.
    let cut = "file = \"links.csv\"\n[[faults]]\nkind = \"cut\"\nbearer = \"lte\"\nat = \"1s\"\n";
    let plan = planned(CITIES, cut, table).expect("sound");
    assert!(matches!(&plan.faults[0].what, crate::plan::FaultKind::Cut { edges, .. } if edges[..] == [0, 2]));
}

#[test]
fn devices_follow_a_trace() {
    let moving = |trace: &str, text: &str| {
        let devices = format!(
            "[devices.bus]\ncount = 2\nplacement = {{ at = [5, 5] }}\nmobility = {{ kind = \"trace\", {trace} }}\n"
        );
        let text_of = scenario(&devices, LINKS);
        loaded(&text_of, &[], &[("walk", text), ("links.csv", "bus-1 bus-2\n")])
    };
    let plan = moving("file = \"walk\"", "at,device,x,y\n0,bus-2,0,0\n10,bus-2,50,0\n").expect("sound");
    let track = |device: usize| -> Vec<_> {
        plan.devices[device].track.iter().map(|point| (point.at.as_secs(), point.x, point.y)).collect()
    };
    // Times of traces begin after the warm-up.
    assert_eq!((track(0), track(1)), (vec![(0, 5.0, 5.0)], vec![(30, 0.0, 0.0), (40, 50.0, 0.0)]));
    let plan = moving("file = \"walk\"", "0 1 2 5 6 7\n").expect("sound");
    assert_eq!(plan.devices[0].track[1].at, Duration::from_secs(35));
    for (trace, text, parts) in [
        ("file = \"walk\", speed = 3", "0 1 2\n", &["`speed` does not go with kind = \"trace\""][..]),
        ("speed = 3", "0 1 2\n", &["`speed` does not go"]),
        ("pause = \"1s\"", "", &["`pause` does not go"]),
        ("file = \"walk\"", "0 1 2\n0 1 2\n0 1 2\n", &["walk:3: node 2 moves, and the group has 2 devices"]),
        ("file = \"walk\"", "at,device,x,y\n0,bus-3,0,0\n", &["walk:2: no device of the group is called `bus-3`"]),
    ] {
        says(moving(trace, text), parts);
    }
    let none = scenario("[devices.bus]\nmobility = { kind = \"waypoints\" }\n", LINKS);
    says(loaded(&none, &[], &[]), &["random waypoints needs `speed`"]);
}

#[test]
fn what_does_not_fit_together_is_named_with_its_file_and_line() {
    let city = "[devices.city]\nfile = \"nodes.csv\"\n";
    for (devices, links, table, parts) in [
        (city, LINKS, "a b\n", &["nodes.csv:4: no table [devices.field] reads this file"][..]),
        (CITIES, LINKS, "berlin viena\n", &["links.csv:1: no device is called `viena`", "did you mean `vienna`?"]),
        (CITIES, LINKS, "from to bearer\nberlin vienna lna\n", &["links.csv:2: no bearer is called `lna`", "`lan`"]),
        (CITIES, LINKS, "from to loss\nberlin vienna 95%\n", &["links.csv:2: the loss is", "at most 0.9"]),
        (CITIES, LINKS, "from to jitter\nberlin farm 1s\n", &["links.csv:2: the jitter is at most the delay"]),
        (CITIES, LINKS, "# none\n", &["links.csv names no link"]),
        (
            CITIES,
            LINKS,
            "from to price bearer\nberlin farm 1 lte\nfarm berlin 2 lte\n",
            &["links.csv:3: the way back costs 2"],
        ),
        (CITIES, "file = \"links.csv\"\nbetween = \"city\"", "berlin farm\n", &["links.csv:1: `farm` is not among"]),
        (
            "[devices.city]\nfile = \"nodes.csv\"\ncount = 3\n",
            LINKS,
            "",
            &["x.toml:9: `count` does not go with `file`"],
        ),
        ("[devices.city]\nwithout = [\"a\"]\n", LINKS, "", &["x.toml:8: `without` does not go with"]),
        ("[devices.x]\nfile = \"no.csv\"\n", LINKS, "", &["x.toml:8: the file no.csv is not with the scenario"]),
        (
            "[devices.berlin]\n[devices.city]\nfile = \"nodes.csv\"\n[devices.field]\nfile = \"nodes.csv\"\n",
            LINKS,
            "",
            &["`berlin` would be both"],
        ),
        (
            "[devices.city]\nfile = \"nodes.csv\"\nwithout = [\"vienn\"]\n[devices.field]\nfile = \"nodes.csv\"\n",
            LINKS,
            "",
            &["x.toml:9: no node of the file is called `vienn`", "`vienna`"],
        ),
        (
            "[devices.city]\nfile = \"nodes.csv\"\nbearers = [\"lte\"]\n[devices.field]\nfile = \"nodes.csv\"\n",
            LINKS,
            "berlin vienna\n",
            &["links.csv:1: `berlin` does not have the bearer `lan`"],
        ),
    ] {
        says(planned(devices, links, table), parts);
    }
    let ring = scenario(CITIES, "per_km = \"5us\"").replace("\"file\"", "\"ring\"");
    says(loaded(&ring, &[], &[("nodes.csv", NODES)]), &["`per_km` does not go with kind = \"ring\""]);
}

#[test]
fn channels_and_quotas_have_one_price() {
    let text = scenario(CITIES, LINKS).replace("price = 2.0", "price = 2.0\nchannel = \"1Mbit\"");
    let table = "from to bearer price\nberlin vienna lte 3\n";
    says(
        loaded(&text, &[], &[("nodes.csv", NODES), ("links.csv", table)]),
        &["x.toml:", "the bearer `lte` has a channel", "a bearer of their own"],
    );
}

#[test]
fn an_import_is_a_scenario_that_is_sound_as_it_stands() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("three.gml");
    // Two parts, a node whose name is that of the group, and one without links.
    let text = "graph [ node [ id 1 label \"node\" ] node [ id 2 label \"Zürich\" ] node [ id 3 ] node [ id 4 ] \
                edge [ source 1 target 2 bearer \"a b\" ] edge [ source 2 target 1 ] edge [ source 3 target 3 ] ]";
    std::fs::write(&file, text).expect("a temporary directory takes files");
    let made = import(&file, None, |file| file.display().to_string()).expect("a sound file");
    assert_eq!((made.nodes, made.links), (2, 2));
    let scenario = place.path().join("three.toml");
    std::fs::write(&scenario, &made.text).expect("and this one");
    let loaded = load(&scenario, &[]).expect("it can be read");
    let plan = loaded.plan(None).unwrap_or_else(|problem| panic!("{problem}: {}", made.text));
    assert_eq!((plan.devices.len(), plan.edges.len(), plan.flows.len()), (2, 2, 2));
    assert!(plan.expectations.len() >= 3 && plan.question.ends_with('?'));
    // The record contains the texts, so that neither file is needed again.
    std::fs::remove_file(&file).expect("it is there");
    let again = from_source(&loaded.source()).expect("a record loads").plan(None).expect("and plans");
    assert_eq!(format!("{again:?}"), format!("{plan:?}"));
    says(import(&file, None, |_| String::new()).map(|made| panic!("{made:?}")), &["three.gml", "check the path"]);
    let nodes = place.path().join("nodes.csv");
    std::fs::write(&nodes, NODES).expect("one more");
    says(
        import(&nodes, None, |_| String::new()).map(|made| panic!("{made:?}")),
        &["there are no links in it", "--nodes"],
    );
}
