//! What a router has to tell its neighbours of advertisements, and what it asks them for.
//!
//! **News.** What is new is gathered for [`HOLD`], and for [`GAP`] after news was told last; then it is told, to each neighbour but what
//! that is known to have.
//!
//! **Requests.** What a neighbour offers and is newer is asked for where it was offered first. Later offers are kept: if the
//! neighbour that was asked is gone, or has given nothing at all for [`PATIENCE`], the best of the others is asked.
//!
//! It is the lazy part of epidemic broadcast trees (Leitão et al., SRDS 2007).
//!
//! Invariants
//! 1. What is asked for is asked of one neighbour at a time.
//! 2. At most [`MAX_ENTRIES`] advertisements are news; with that many they are to be told at once.
//! 3. At most [`MAX_ENTRIES`] are asked for; drop policy: no more are, until they are offered again. One that nobody gives within
//!    [`LONGEST`] is given up till then.
//! 4. Of each no more than [`MAX_KNOWN`] neighbours are remembered that have it; drop policy: of later ones it is forgotten.

use crate::id::{CredentialHash, LinkId, Pseudonym};
use crate::time::Time;
use crate::wire::lsa::{LsaKey, MAX_ENTRIES};
use core::time::Duration;
use std::collections::BTreeMap;

/// How long news is gathered at least: what comes over several links comes within the difference of their delays.
pub const HOLD: Duration = Duration::from_millis(10);
/// Least time between two tellings of news: while a network starts there is some in each millisecond.
pub const GAP: Duration = Duration::from_millis(50);
/// How long a neighbour may give nothing that it was asked for: several round trips of a slow link.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// How long it may take to get an advertisement, whoever is asked.
pub const LONGEST: Duration = Duration::from_secs(30);
/// Most neighbours of which it is remembered that they have an advertisement.
pub const MAX_KNOWN: usize = 32;

/// What is new, and who has it already. See the module's documentation.
#[derive(Debug, Default)]
pub struct News {
    /// By origin: neighbours that have it.
    having: BTreeMap<CredentialHash, Vec<Pseudonym>>,
    /// When it is told.
    due: Option<Time>,
    /// When news was told last.
    told: Option<Time>,
}

impl News {
    /// An origin has told something that these neighbours have. Answers whether there is so much news that it is to be told now.
    pub fn note(&mut self, origin: CredentialHash, having: Vec<Pseudonym>, now: Time) -> bool {
        self.having.insert(origin, having);
        let free = self.told.map_or(now, |told| told + GAP);
        self.due.get_or_insert(free.max(now + HOLD));
        self.having.len() >= MAX_ENTRIES
    }

    /// A neighbour has what is news of an origin.
    pub fn note_having(&mut self, origin: &CredentialHash, neighbour: Pseudonym) {
        if let Some(known) = self.having.get_mut(origin).filter(|known| known.len() < MAX_KNOWN) {
            known.push(neighbour);
        }
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.having.is_empty()
    }

    /// When it is to be told.
    pub fn next_wake(&self) -> Option<Time> {
        self.due
    }

    /// Takes all of it, to be told now: each origin with the neighbours that have it.
    pub fn take(&mut self, now: Time) -> BTreeMap<CredentialHash, Vec<Pseudonym>> {
        (self.due, self.told) = (None, Some(now));
        core::mem::take(&mut self.having)
    }
}

/// What becomes of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is to be asked for there.
    Ask,
    /// Another was asked for it; this one is, should that give nothing.
    Kept,
    /// As much as may be is asked for already.
    Beyond,
}

/// Advertisements that were asked for. See the module's documentation.
#[derive(Debug, Default)]
pub struct Requests {
    by_origin: BTreeMap<CredentialHash, Request>,
    /// When it is looked whether what is asked for has come.
    look: Option<Time>,
    /// When each link last brought an advertisement.
    brought: BTreeMap<LinkId, Time>,
}

#[derive(Debug)]
struct Request {
    /// Who was asked last, for which number at least, and when.
    asked: LinkId,
    sequence: u64,
    asked_at: Time,
    since: Time,
    /// What else has been offered, by whom.
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

    /// Takes out the highest offer, of several the first.
    fn next_offer(&mut self) -> Option<(u64, LinkId)> {
        let best = self.offers.iter().map(|(sequence, _)| *sequence).max()?;
        let at = self.offers.iter().position(|(sequence, _)| *sequence == best)?;
        Some(self.offers.remove(at))
    }
}

impl Requests {
    /// When [`Self::overdue`] is to be asked.
    pub fn next_wake(&self) -> Option<Time> {
        self.look
    }

    /// A neighbour offers something newer than what is here.
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

    /// A link that stands has brought an advertisement.
    pub fn note_brought(&mut self, link: LinkId, now: Time) {
        self.brought.insert(link, now);
    }

    /// An advertisement has come: over which links there are known to be others that have it, or a later one, and whether another offer of it
    /// is to be taken up.
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

    /// Takes up the next offer of an origin's; answers whose. `None`: there is none, and it is given up.
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

    /// A link is gone; answers what it was asked for.
    pub fn forget_link(&mut self, link: LinkId) -> Vec<CredentialHash> {
        self.brought.remove(&link);
        for request in self.by_origin.values_mut() {
            request.offers.retain(|(_, offering)| *offering != link);
        }
        let asked = self.by_origin.iter().filter(|(_, request)| request.asked == link);
        asked.map(|(origin, _)| *origin).collect()
    }

    /// What was asked for of neighbours that give nothing. [`Self::note_looked`] follows, when others have been asked.
    pub fn overdue(&self, now: Time) -> Vec<CredentialHash> {
        let heard = |request: &Request| {
            let brought = self.brought.get(&request.asked).copied().unwrap_or_default();
            brought.max(request.asked_at).min(request.since + LONGEST)
        };
        let late = self.by_origin.iter().filter(|(_, request)| heard(request) + PATIENCE <= now);
        late.map(|(origin, _)| *origin).collect()
    }

    /// It has been looked for what is overdue.
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
        // It gives other things meanwhile.
        requests.note_brought(LinkId(1), at(1_000));
        assert_eq!((requests.overdue(at(2_999)), requests.overdue(at(3_000))), (vec![], vec![origin(1)]));
        assert_eq!(requests.ask_next(&origin(1), at(3_000)), Some(LinkId(3)));
        assert_eq!(requests.forget_link(LinkId(3)), [origin(1)]);
        assert_eq!(requests.ask_next(&origin(1), at(3_001)), Some(LinkId(4)));
        // It comes: others are known to have it, and what is older there is of no use.
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
        // It goes on giving other things for as long as it likes.
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
