//! Solitude: whether a node hears anybody at all, and how much haste that makes.
//!
//! Who has a link over which something is heard can wait for more. Who has none is of no use to anybody until it finds one,
//! be it a vehicle that has left the reach of its mast: an address that was dialled in vain then rests for no longer
//! than an eighth of the time for which the node has been alone, and two seconds. So solitude lasts little longer than it
//! must, and one that lasts for long costs no more than any back-off. Where a link was lost the same goes for that address, however many
//! others there are: whoever was there may have been the only way between two parts of the mesh.

use crate::id::LinkId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Whom the node hears.
#[derive(Debug)]
pub(super) struct Solitude {
    links: BTreeSet<LinkId>,
    silent: BTreeSet<LinkId>,
    since: Option<Instant>,
}

impl Solitude {
    /// Nobody yet.
    pub(super) fn new() -> Self {
        Self { links: BTreeSet::new(), silent: BTreeSet::new(), since: Some(Instant::now()) }
    }

    /// A link is up, or gone. Answers whether the node is alone from now on.
    pub(super) fn handle_link(&mut self, link: LinkId, up: bool) -> bool {
        if up {
            self.links.insert(link);
        } else {
            self.links.remove(&link);
        }
        self.silent.remove(&link);
        self.look()
    }

    /// Nothing is heard over a link, or something again. Answers whether the node is alone from now on.
    pub(super) fn handle_silence(&mut self, link: LinkId, silent: bool) -> bool {
        if silent && self.links.contains(&link) {
            self.silent.insert(link);
        } else {
            self.silent.remove(&link);
        }
        self.look()
    }

    /// Whether nothing is heard over a link.
    pub(super) fn is_silent(&self, link: &LinkId) -> bool {
        self.silent.contains(link)
    }

    /// How long an address may rest that would else rest for so long, and where a link was lost then.
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

/// Longest rest of somebody who has just come to be alone, or where a link has just been lost.
const LEAST: Duration = Duration::from_secs(2);

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
