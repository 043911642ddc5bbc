//! Layout: the segments of the realm, and the groups of topics whose readers are listed.
//!
//! What devices may exchange follows from it by the rules of the protocol, worked out here independently of the nodes:
//! [`Layout::may_send`] and [`Layout::may_hear`] are what a run is judged by.

use std::collections::BTreeSet;

/// The layout of a realm; by default all devices are in one segment, and all topics are everybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The segments, besides that of devices which are in none of these.
    pub segments: Vec<Segment>,
    /// The groups with a key of their own.
    pub groups: Vec<Keyed>,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Its bit in credentials.
    pub bit: u8,
    /// The indices of the devices that are in it.
    pub devices: BTreeSet<usize>,
    /// The segments that it reaches besides itself, as a bit map.
    pub reaches: u64,
}

/// A group of topics with a key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The first level of its topics.
    pub group: String,
    /// The indices of the devices that alone may read and publish; `None` for all members.
    pub readers: Option<BTreeSet<usize>>,
}

impl Layout {
    /// Returns whether there is nothing in it.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the segments of a device as a bit map.
    pub fn segments_of(&self, device: usize) -> u64 {
        let within = self.segments.iter().filter(|segment| segment.devices.contains(&device));
        match within.fold(0, |all, segment| all | (1 << segment.bit)) {
            0 => DEFAULT,
            all => all,
        }
    }

    /// Returns the segments with which a device may exchange frames.
    fn reach_of(&self, device: usize) -> u64 {
        let own = self.segments_of(device);
        let own_ones = self.segments.iter().filter(|segment| own & (1 << segment.bit) != 0);
        own_ones.fold(own, |all, segment| all | segment.reaches)
    }

    /// Returns whether two devices may exchange messages and calls.
    pub fn may_send(&self, one: usize, other: usize) -> bool {
        let (in_one, in_other) = (self.segments_of(one), self.segments_of(other));
        in_one & in_other != 0 || self.reach_of(one) & in_other != 0 || self.reach_of(other) & in_one != 0
    }

    /// Returns whether a device may hear what another publishes under a topic. Publications are of the lowest segment
    /// that their publisher is in.
    pub fn may_hear(&self, publisher: usize, listener: usize, topic: &str) -> bool {
        let lowest = self.segments_of(publisher) & self.segments_of(publisher).wrapping_neg();
        let group = topic.split('/').next().unwrap_or(topic);
        let mut keyed = self.groups.iter().filter(|keyed| keyed.group == group);
        let reads = keyed.all(|keyed| {
            keyed.readers.as_ref().is_none_or(|readers| readers.contains(&publisher) && readers.contains(&listener))
        });
        reads && self.reach_of(listener) & lowest != 0
    }
}

/// The segment of devices that are in no other.
const DEFAULT: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(name: &str, bit: u8, devices: &[usize], reaches: u64) -> Segment {
        Segment { name: name.into(), bit, devices: devices.iter().copied().collect(), reaches }
    }

    #[test]
    fn devices_exchange_what_their_segments_let_pass() {
        // 0 in the first, 1 in the second, 2 in both, 3 in none of them, 4 in one that reaches the first.
        let segments =
            vec![segment("it", 1, &[0, 2], 0), segment("ot", 2, &[1, 2], 0), segment("dmz", 3, &[4], 1 << 1)];
        let layout = Layout { segments, groups: Vec::new() };
        let may: Vec<bool> = [(0, 1), (0, 2), (1, 2), (0, 3), (4, 0), (0, 4), (4, 1)]
            .into_iter()
            .map(|(one, other)| layout.may_send(one, other))
            .collect();
        assert_eq!(may, [false, true, true, false, true, true, false]);
        let hears = |publisher, listener| layout.may_hear(publisher, listener, "plant/alarm");
        assert_eq!((hears(0, 1), hears(0, 2), hears(1, 2)), (false, true, true));
        assert_eq!((hears(2, 0), hears(2, 1)), (true, false), "of both, the lowest");
        assert_eq!((hears(0, 4), hears(4, 0)), (true, false), "who reaches hears, and is not heard");
    }

    #[test]
    fn listed_readers_alone_hear_and_publish_in_a_group() {
        let readers = Some([0, 1].into_iter().collect());
        let groups = vec![Keyed { group: "plant".into(), readers }, Keyed { group: "site".into(), readers: None }];
        let layout = Layout { segments: Vec::new(), groups };
        let hears = |publisher, listener, topic| layout.may_hear(publisher, listener, topic);
        assert!(hears(0, 1, "plant/alarm") && !hears(0, 2, "plant/alarm") && !hears(2, 1, "plant/alarm"));
        assert!(hears(2, 1, "site/news") && hears(2, 1, "plants/alarm"));
        assert!(!layout.is_plain() && Layout::default().is_plain() && Layout::default().may_send(3, 4));
    }
}
