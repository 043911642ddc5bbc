//! Tests of segments and of groups whose readers are listed, as scenarios write them.

use super::tests::{FLOW, RING, loaded, says, small};
use crate::plan::{Keyed, Layout};

fn layout(more: &str) -> Layout {
    loaded(&small(&format!("{RING}{FLOW}{more}")), &[], &[]).expect("a sound scenario").layout
}

#[test]
fn segments_have_bits_devices_and_others_that_they_reach() {
    let it = "[[segments]]\nname = \"it\"\ndevices = [\"node-1\", \"node-2\"]\nreaches = [\"ot\", \"default\"]\n";
    let ot = "[[segments]]\nname = \"ot\"\ndevices = \"node-3\"\n";
    let found = layout(&format!("{it}{ot}[[segments]]\nname = \"default\"\nreaches = [\"ot\"]\n"));
    let as_written = |segment: &crate::plan::Segment| (segment.bit, segment.devices.len(), segment.reaches);
    let segments: Vec<_> = found.segments.iter().map(as_written).collect();
    assert_eq!(segments, [(1, 2, 0b101), (2, 1, 0), (0, 0, 0b100)]);
    assert_eq!([0, 2, 3].map(|device| found.segments_of(device)), [0b10, 0b100, 1]);
    assert!(layout("").is_plain());
}

#[test]
fn readers_are_all_members_or_those_that_are_named() {
    let found = layout("[[readers]]\ntopics = \"a\"\ndevices = \"node-4\"\n[[readers]]\ntopics = \"b\"\n");
    let groups = vec![
        Keyed { group: "a".into(), readers: Some([3].into_iter().collect()) },
        Keyed { group: "b".into(), readers: None },
    ];
    assert_eq!(found.groups, groups);
}

#[test]
fn segments_and_readers_that_cannot_be_are_named() {
    let problem = |more: &str| loaded(&small(&format!("{RING}{FLOW}{more}")), &[], &[]);
    says(problem("[[segments]]\nname = \"ot\"\n[[segments]]\nname = \"ot\"\n"), &["there is a segment `ot` already"]);
    says(problem("[[segments]]\nname = \"ot\"\nreaches = [\"otto\"]\n"), &["no segment is called `otto`"]);
    says(problem("[[segments]]\nname = \"ot\"\ndevices = \"nodes\"\n"), &["`nodes`", "did you mean `node`?"]);
    says(problem("[[readers]]\ntopics = \"a/b\"\n"), &["`a/b` is not the first level of topics"]);
    says(problem("[[readers]]\ntopics = \"a\"\n[[readers]]\ntopics = \"a\"\n"), &["is listed already"]);
}
