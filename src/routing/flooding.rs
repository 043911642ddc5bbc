//! Flooding: what a router has to tell its neighbours about advertisements, and what it requests from them.
//!
//! **News.** New advertisements are gathered for at least [`HOLD`], and until [`GAP`] after the last news was sent.
//! Then each neighbour is told about all of them, except those that it is known to have.
//!
//! **Requests.** An advertisement that a neighbour offers and that is newer than the one here is requested from the
//! neighbour that offered it first. Later offers are kept: if the link to that neighbour goes down, or it has delivered
//! nothing at all for [`PATIENCE`], the best of the other offers is taken up.
//!
//! This is the lazy part of epidemic broadcast trees (Leitão et al., SRDS 2007).
//!
//! Invariants
//! 1. An advertisement is requested from one neighbour at a time.
//! 2. At most [`MAX_ENTRIES`] advertisements are news; when there are that many, they are to be sent at once.
//! 3. At most [`MAX_ENTRIES`] advertisements are requested. Drop policy: no more are requested until they are offered
//!    again. A request that nobody fulfils within [`LONGEST`] is given up until the next offer.
//! 4. For each advertisement, at most [`MAX_KNOWN`] neighbours are remembered that have it. Drop policy: later ones are
//!    not remembered.

use crate::id::{CredentialHash, LinkId, Pseudonym};
use crate::time::Time;
use crate::wire::lsa::{LsaKey, MAX_ENTRIES};
use core::time::Duration;
use std::collections::BTreeMap;

/// How long news is gathered at least: copies that come over several links arrive within the difference of their
/// delays.
pub const HOLD: Duration = Duration::from_millis(10);
/// The least time between two messages with news: while a network starts, there is news every millisecond.
pub const GAP: Duration = Duration::from_millis(50);
/// How long a neighbour may deliver nothing of what was requested: several round trips of a slow link.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long a request may take in all, whichever neighbours are asked.
pub const LONGEST: Duration = Duration::from_secs(30);
/// The most neighbours that are remembered to have an advertisement.
pub const MAX_KNOWN: usize = 32;

/// New advertisements, and which neighbours already have them. See the module's documentation.
#[derive(Debug, Default)]
pub struct News {
    /// For each origin, the neighbours that have its advertisement.
    having: BTreeMap<CredentialHash, Vec<Pseudonym>>,
    /// When the news is to be sent.
    due: Option<Time>,
    /// When news was last sent.
    told: Option<Time>,
}

impl News {
    /// Notes a new advertisement of an origin, and the neighbours that have it. Returns whether there is so much news
    /// that it is to be sent now.
    pub fn note(&mut self, origin: CredentialHash, having: Vec<Pseudonym>, now: Time) -> bool {
        self.having.insert(origin, having);
        let free = self.told.map_or(now, |told| told + GAP);
        self.due.get_or_insert(free.max(now + HOLD));
        self.having.len() >= MAX_ENTRIES
    }

    /// Notes that a neighbour has the new advertisement of an origin.
    pub fn note_having(&mut self, origin: &CredentialHash, neighbour: Pseudonym) {
        if let Some(known) = self.having.get_mut(origin).filter(|known| known.len() < MAX_KNOWN) {
            known.push(neighbour);
        }
    }

    /// Whether there is no news.
    pub fn is_empty(&self) -> bool {
        self.having.is_empty()
    }

    /// When the news is to be sent; `None` if there is none.
    pub fn next_wake(&self) -> Option<Time> {
        self.due
    }

    /// Takes all news, to be sent now: each origin with the neighbours that have its advertisement.
    pub fn take(&mut self, now: Time) -> BTreeMap<CredentialHash, Vec<Pseudonym>> {
        (self.due, self.told) = (None, Some(now));
        core::mem::take(&mut self.having)
    }
}

/// What the caller does with an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// The advertisement is to be requested from the neighbour that offers it.
    Ask,
    /// The advertisement is already requested from another neighbour; this offer is kept for the case that it delivers
    /// nothing.
    Kept,
    /// The bound on requests is reached; nothing is requested.
    Beyond,
}

/// The advertisements that were requested. See the module's documentation.
#[derive(Debug, Default)]
pub struct Requests {
    by_origin: BTreeMap<CredentialHash, Request>,
    /// When to check whether the requested advertisements have arrived.
    look: Option<Time>,
    /// When each link last delivered an advertisement.
    brought: BTreeMap<LinkId, Time>,
}

#[derive(Debug)]
struct Request {
    /// The link that was asked last, the least sequence number it was asked for, and when.
    asked: LinkId,
    sequence: u64,
    asked_at: Time,
    since: Time,
    /// The other offers: sequence number and link.
    offers: Vec<(u64, LinkId)>,
}

impl Request {
    fn take_offer(&mut self, link: LinkId, sequence: u64) {
        if link == self.asked && sequence <= self.sequence {
            return;
        }
        if let Some((known, _)) = self.offers.iter_mut().find(|(_, offering)| *offering == link) {
            *known = sequence.max(*known);
        } else if self.offers.len() < MAX_KNOWN {
            self.offers.push((sequence, link));
        }
    }

    /// Takes out the highest offer; of several, the first.
    fn next_offer(&mut self) -> Option<(u64, LinkId)> {
        let best = self.offers.iter().map(|(sequence, _)| *sequence).max()?;
        let at = self.offers.iter().position(|(sequence, _)| *sequence == best)?;
        Some(self.offers.remove(at))
    }
}

impl Requests {
    /// When [`Self::overdue`] is to be called.
    pub fn next_wake(&self) -> Option<Time> {
        self.look
    }

    /// Handles a neighbour's offer of an advertisement that is newer than the one here.
    pub fn take_offer(&mut self, link: LinkId, key: &LsaKey, now: Time) -> Offer {
        if let Some(request) = self.by_origin.get_mut(&key.origin) {
            request.take_offer(link, key.sequence);
            return Offer::Kept;
        }
        if self.by_origin.len() >= MAX_ENTRIES {
            return Offer::Beyond;
        }
        let (asked, sequence, offers) = (link, key.sequence, Vec::new());
        self.by_origin.insert(key.origin, Request { asked, sequence, asked_at: now, since: now, offers });
        self.look.get_or_insert(now + PATIENCE);
        Offer::Ask
    }

    /// Notes that an open link has delivered an advertisement.
    pub fn note_brought(&mut self, link: LinkId, now: Time) {
        self.brought.insert(link, now);
    }

    /// Handles an advertisement that has arrived. Returns the links whose neighbours are known to have it or a later
    /// one, and whether another offer is to be taken up.
    pub fn arrived(&mut self, from: LinkId, origin: &CredentialHash, sequence: u64) -> (Vec<LinkId>, bool) {
        let Some(request) = self.by_origin.get_mut(origin) else { return (vec![from], false) };
        let offers = request.offers.iter().filter(|(offered, _)| *offered >= sequence);
        let having = [from].into_iter().chain(offers.map(|(_, link)| *link)).collect();
        request.offers.retain(|(offered, _)| *offered > sequence);
        if request.asked != from && request.sequence > sequence {
            return (having, false);
        }
        let more = !request.offers.is_empty();
        if !more {
            self.by_origin.remove(origin);
        }
        (having, more)
    }

    /// Takes up the next offer for an origin and returns its link. `None` if there is no other offer, or if the request
    /// has taken too long: it is given up.
    pub fn ask_next(&mut self, origin: &CredentialHash, now: Time) -> Option<LinkId> {
        let request = self.by_origin.get_mut(origin)?;
        match request.next_offer().filter(|_| request.since + LONGEST > now) {
            Some((sequence, link)) => {
                (request.asked, request.sequence, request.asked_at) = (link, sequence, now);
                Some(link)
            }
            None => {
                self.by_origin.remove(origin);
                None
            }
        }
    }

    /// Forgets a link that went down; returns the origins that were requested over it.
    pub fn forget_link(&mut self, link: LinkId) -> Vec<CredentialHash> {
        self.brought.remove(&link);
        for request in self.by_origin.values_mut() {
            request.offers.retain(|(_, offering)| *offering != link);
        }
        let asked = self.by_origin.iter().filter(|(_, request)| request.asked == link);
        asked.map(|(origin, _)| *origin).collect()
    }

    /// Returns the origins requested from neighbours that deliver nothing. The caller asks others and then calls
    /// [`Self::note_looked`].
    pub fn overdue(&self, now: Time) -> Vec<CredentialHash> {
        let heard = |request: &Request| {
            let brought = self.brought.get(&request.asked).copied().unwrap_or_default();
            brought.max(request.asked_at).min(request.since + LONGEST)
        };
        let late = self.by_origin.iter().filter(|(_, request)| heard(request) + PATIENCE <= now);
        late.map(|(origin, _)| *origin).collect()
    }

    /// Notes that the overdue requests have been handled.
    pub fn note_looked(&mut self, now: Time) {
        self.look = (!self.by_origin.is_empty()).then(|| now + PATIENCE / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(n: u16) -> CredentialHash {
        let mut hash = [0; CredentialHash::LEN];
        hash[..2].copy_from_slice(&n.to_be_bytes());
        CredentialHash(hash)
    }

    fn at(millis: u64) -> Time {
        Time(millis * 1_000)
    }

    fn key(n: u16, sequence: u64) -> LsaKey {
        LsaKey { origin: origin(n), sequence }
    }

    #[test]
    fn news_is_gathered_and_told_with_a_gap() {
        let mut news = News::default();
        assert!(!news.note(origin(1), vec![Pseudonym([1; 32])], at(1_000)));
        news.note(origin(2), Vec::new(), at(1_005));
        assert_eq!(news.next_wake(), Some(at(1_010)));
        news.note_having(&origin(2), Pseudonym([2; 32]));
        news.note_having(&origin(3), Pseudonym([2; 32]));
        let told = news.take(at(1_010));
        assert_eq!(told.values().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
        assert!(news.is_empty() && news.next_wake().is_none());
        news.note(origin(1), Vec::new(), at(1_011));
        assert_eq!(news.next_wake(), Some(at(1_060)));
    }

    /// Invariants 2 and 4.
    #[test]
    fn news_has_bounds() {
        let mut news = News::default();
        let full = (0..MAX_ENTRIES).filter(|n| news.note(origin(*n as u16), Vec::new(), at(0))).count();
        assert_eq!(full, 1, "the last one says that it is time");
        (0..100).for_each(|n| news.note_having(&origin(7), Pseudonym([n; 32])));
        assert_eq!(news.take(at(1))[&origin(7)].len(), MAX_KNOWN);
    }

    /// Invariant 1.
    #[test]
    fn the_first_to_offer_is_asked_and_the_best_of_the_others_when_it_gives_nothing() {
        let mut requests = Requests::default();
        let offers = [(1, 5), (2, 6), (3, 7), (4, 7), (1, 5)];
        let answers = offers.map(|(link, sequence)| requests.take_offer(LinkId(link), &key(1, sequence), at(0)));
        assert_eq!(answers, [Offer::Ask, Offer::Kept, Offer::Kept, Offer::Kept, Offer::Kept]);
        assert_eq!(requests.overdue(at(1_999)), []);
        // The neighbour delivers other advertisements meanwhile.
        requests.note_brought(LinkId(1), at(1_000));
        assert_eq!((requests.overdue(at(2_999)), requests.overdue(at(3_000))), (vec![], vec![origin(1)]));
        assert_eq!(requests.ask_next(&origin(1), at(3_000)), Some(LinkId(3)));
        assert_eq!(requests.forget_link(LinkId(3)), [origin(1)]);
        assert_eq!(requests.ask_next(&origin(1), at(3_001)), Some(LinkId(4)));
        // The advertisement arrives: others are known to have it, and older offers are dropped.
        assert_eq!(requests.arrived(LinkId(4), &origin(1), 7), (vec![LinkId(4)], false));
        assert_eq!(requests.overdue(at(60_000)), []);
    }

    #[test]
    fn what_comes_is_no_end_where_a_later_one_is_offered() {
        let mut requests = Requests::default();
        requests.take_offer(LinkId(1), &key(1, 5), at(0));
        requests.take_offer(LinkId(2), &key(1, 9), at(0));
        assert_eq!(requests.arrived(LinkId(1), &origin(1), 5), (vec![LinkId(1), LinkId(2)], true));
        assert_eq!(requests.ask_next(&origin(1), at(10)), Some(LinkId(2)));
    }

    /// Invariant 3.
    #[test]
    fn requests_have_bounds_and_end() {
        let mut requests = Requests::default();
        for n in 0..MAX_ENTRIES {
            assert_eq!(requests.take_offer(LinkId(1), &key(n as u16, 1), at(0)), Offer::Ask);
        }
        assert_eq!(requests.take_offer(LinkId(1), &key(60_000, 1), at(0)), Offer::Beyond);
        // The neighbour may go on delivering other advertisements for as long as it likes.
        for second in 0..40 {
            requests.take_offer(LinkId(2), &key(1, 1), at(second * 1_000));
            requests.note_brought(LinkId(1), at(second * 1_000));
        }
        assert_eq!(requests.overdue(at(31_999)), []);
        assert_eq!(requests.overdue(at(32_000)).len(), MAX_ENTRIES);
        assert_eq!(requests.ask_next(&origin(1), at(32_000)), None, "offered, and too long ago");
        requests.note_looked(at(32_000));
        assert_eq!(requests.next_wake(), Some(at(33_000)));
    }
}
