//! Ranges: a set of numbers that come mostly in sequence, kept as ranges.
//!
//! Invariants
//! 1. Ranges ascend, and neither touch nor overlap.
//! 2. There are at most as many ranges as the caller allows. Drop policy: the lowest gap is closed, as if its numbers
//!    were present.

/// See the module's documentation. A range includes both of its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Whether a number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        self.0.get(at).is_some_and(|(first, _)| *first <= number)
    }

    /// Adds a number; returns whether it is new. At most `most` ranges are kept.
    pub fn insert(&mut self, number: u64, most: usize) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < number);
        if self.0.get(at).is_some_and(|(first, _)| *first <= number) {
            return false;
        }
        let joins_next = self.0.get(at).is_some_and(|(first, _)| number.checked_add(1) == Some(*first));
        let joins_last = at > 0 && self.0[at - 1].1.checked_add(1) == Some(number);
        match (joins_last, joins_next) {
            (true, true) => self.0[at - 1].1 = self.0.remove(at).1,
            (true, false) => self.0[at - 1].1 = number,
            (false, true) => self.0[at].0 = number,
            (false, false) => self.0.insert(at, (number, number)),
        }
        while self.0.len() > most.max(1) {
            let lowest = self.0.remove(0);
            self.0[0].0 = lowest.0;
        }
        true
    }

    /// Returns the numbers from `first` to `last` that are not in the set, as ranges in ascending order.
    pub fn missing(&self, first: u64, last: u64) -> Vec<(u64, u64)> {
        let from = self.0.partition_point(|(_, end)| *end < first);
        let (mut gaps, mut next) = (Vec::new(), Some(first));
        for (start, end) in self.0[from..].iter().take_while(|(start, _)| *start <= last) {
            if let Some(at) = next.filter(|at| at < start) {
                gaps.push((at, start - 1));
            }
            next = end.checked_add(1);
        }
        gaps.extend(next.filter(|at| *at <= last).map(|at| (at, last)));
        gaps
    }

    /// The ranges, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64], most: usize) -> Ranges {
        let mut ranges = Ranges::default();
        numbers.iter().for_each(|number| {
            ranges.insert(*number, most);
        });
        ranges
    }

    /// Invariant 1.
    #[test]
    fn numbers_join_their_neighbours() {
        let ranges = of(&[5, 3, 4, 9, 0, 10, 4], 8);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 0), (3, 5), (9, 10)]);
        for number in 0..12 {
            assert_eq!(ranges.contains(number), [0, 3, 4, 5, 9, 10].contains(&number), "{number}");
        }
    }

    #[test]
    fn what_is_missing_of_a_range_is_named() {
        let ranges = of(&[0, 3, 4, 5, 9], 8);
        let missing = |first, last| ranges.missing(first, last);
        assert_eq!(missing(0, 12), [(1, 2), (6, 8), (10, 12)]);
        assert_eq!(missing(4, 7), [(6, 7)]);
        assert_eq!(missing(3, 5), []);
        assert_eq!(missing(10, 10), [(10, 10)]);
        assert_eq!(Ranges::default().missing(0, u64::MAX), [(0, u64::MAX)]);
        assert_eq!(of(&[u64::MAX], 2).missing(u64::MAX, u64::MAX), []);
        assert_eq!(of(&[u64::MAX], 2).missing(7, u64::MAX), [(7, u64::MAX - 1)]);
    }

    /// Invariant 2.
    #[test]
    fn beyond_the_bound_the_lowest_gap_closes() {
        let ranges = of(&[0, 2, 4, 6], 2);
        assert_eq!(ranges.iter().collect::<Vec<_>>(), [(0, 4), (6, 6)]);
    }

    #[test]
    fn any_numbers_in_any_order_are_what_a_plain_set_has() {
        let mut state = 1_u64;
        for _ in 0..200 {
            let (mut ranges, mut set) = (Ranges::default(), std::collections::BTreeSet::new());
            for _ in 0..60 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let number = (state >> 33) % 80;
                assert_eq!(ranges.insert(number, 100), set.insert(number));
            }
            let missing: Vec<u64> = ranges.missing(10, 70).into_iter().flat_map(|(first, last)| first..=last).collect();
            assert_eq!(missing, (10..=70).filter(|number| !set.contains(number)).collect::<Vec<_>>());
        }
    }
}
