//! Solitude: whether a node hears any neighbour at all, and how much sooner it dials if not.
//!
//! A node that hears a neighbour can wait for more links. A node that hears none is cut off until it finds one: a
//! vehicle, say, that has left the reach of its mast. Then an address whose dial failed rests for at most an eighth of
//! the time for which the node has been alone, or two seconds if that is more. So solitude lasts little longer than it
//! must, and a long one costs no more than the usual back-off. The same holds for an address where a link was lost,
//! however many other links there are: that neighbour may have been the only connection between two parts of the mesh.

use super::{Discovery, LONGEST, State, draw};
use crate::id::LinkId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The links of a node, those that are silent, and since when the node has been alone.
#[derive(Debug)]
pub(super) struct Solitude {
    links: BTreeSet<LinkId>,
    silent: BTreeSet<LinkId>,
    since: Option<Instant>,
}

impl Solitude {
    /// Starts without links, and so alone.
    pub(super) fn new() -> Self {
        Self { links: BTreeSet::new(), silent: BTreeSet::new(), since: Some(Instant::now()) }
    }

    /// Handles a link that is up, or down. Returns whether the node is alone from now on.
    pub(super) fn handle_link(&mut self, link: LinkId, up: bool) -> bool {
        if up {
            self.links.insert(link);
        } else {
            self.links.remove(&link);
        }
        self.silent.remove(&link);
        self.look()
    }

    /// Handles a link that falls silent, or that is heard again. Returns whether the node is alone from now on.
    pub(super) fn handle_silence(&mut self, link: LinkId, silent: bool) -> bool {
        if silent && self.links.contains(&link) {
            self.silent.insert(link);
        } else {
            self.silent.remove(&link);
        }
        self.look()
    }

    /// Whether a link is silent.
    pub(super) fn is_silent(&self, link: &LinkId) -> bool {
        self.silent.contains(link)
    }

    /// Returns `rest`, shortened if the node is alone or if a link was lost at the address at the time `lost`.
    pub(super) fn hastened(&self, rest: Duration, lost: Option<Instant>) -> Duration {
        let waits = [self.since, lost].into_iter().flatten().map(|since| (since.elapsed() / 8).max(LEAST));
        waits.fold(rest, Duration::min)
    }

    fn look(&mut self) -> bool {
        let (was, is) = (self.since.is_some(), self.links.len() == self.silent.len());
        if was != is {
            self.since = is.then(Instant::now);
        }
        is && !was
    }
}

/// The longest rest at the moment when the node becomes alone, or loses a link at the address.
const LEAST: Duration = Duration::from_secs(2);

impl Discovery {
    /// Shortens rests since the node is alone, except of hearsay, of members without room and where bytes cost money.
    pub(super) fn hasten(&mut self) {
        for entry in self.addresses.values_mut() {
            if let State::Idle(due) = entry.state
                && !entry.full
                && !entry.is_hearsay()
                && !self.sorter.is_metered(entry.bearer)
            {
                let sooner = due.min(Instant::now() + draw(self.solitude.hastened(LONGEST, None), &mut self.rng));
                entry.state = State::Idle(entry.after_rest(sooner));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_nobody_is_alone_and_in_haste() {
        let rest = Duration::from_secs(60);
        let mut solitude = Solitude::new();
        assert_eq!(solitude.hastened(rest, None), LEAST, "nobody yet");
        assert_eq!(solitude.hastened(LEAST / 2, None), LEAST / 2);
        assert!(!solitude.handle_link(LinkId(1), true));
        assert_eq!(solitude.hastened(rest, None), rest);
        assert!(!solitude.handle_link(LinkId(2), true));
        assert!(!solitude.handle_silence(LinkId(1), true));
        assert!(solitude.handle_silence(LinkId(2), true), "both are silent");
        assert!(!solitude.handle_silence(LinkId(2), true), "that is no news");
        assert_eq!(solitude.hastened(rest, None), LEAST);
        assert!(!solitude.handle_silence(LinkId(1), false));
        assert_eq!(solitude.hastened(rest, None), rest);
        assert!(solitude.handle_link(LinkId(1), false), "the other is silent still");
        solitude.since = solitude.since.and_then(|since| since.checked_sub(Duration::from_secs(80)));
        let hastened = solitude.hastened(rest, None);
        assert!((10..11).contains(&hastened.as_secs()), "{hastened:?}");
    }
}
