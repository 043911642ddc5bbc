//! Entry: one address, what it is worth, and how long it rests after it was dialled in vain.

use super::*;

impl Entry {
    pub(super) fn new(bootstrap: bool, state: State, bearer: u8) -> Self {
        Self {
            bootstrap,
            reached: false,
            failures: 0,
            lost: None,
            state,
            bearer,
            of: None,
            told_by: None,
            full: false,
            multicast: false,
        }
    }

    /// The larger, the better.
    pub(super) fn rank(&self) -> (bool, bool, bool, Reverse<u32>) {
        (!self.full, self.bootstrap, self.reached, Reverse(self.failures))
    }

    /// A link that leads there has come about, as it was not known to. A bootstrap address is dialled to see.
    pub(super) fn settle(&mut self, link: LinkId) {
        if !self.bootstrap && matches!(self.state, State::Idle(_)) {
            self.state = State::Linked(link, Instant::now());
        }
    }

    /// It stands on a neighbour's word alone: no dial has led to a member there.
    pub(super) fn is_hearsay(&self) -> bool {
        self.told_by.is_some() && !self.bootstrap
    }

    /// A link there was lost so recently that whoever it led to may be back.
    pub(super) fn is_awaited(&self) -> bool {
        self.lost.is_some_and(|lost| lost.elapsed() < AWAITED)
    }

    /// Longest rest of an address that there is hope for.
    pub(super) fn longest(&self) -> Duration {
        if self.reached { LONGEST } else { LONGEST_UNREACHED }
    }

    /// `usual` is its longest rest, where bytes cost nothing.
    pub(super) fn fail(
        &mut self,
        why: Failure,
        usual: Duration,
        bearer: &Profile,
        solitude: &Solitude,
        rng: &mut ChaCha20Rng,
    ) {
        self.full = why == Failure::Full;
        let (shortest, longest) = match why {
            Failure::Full => (SHORTEST_FULL, bearer.longest_rest(LONGEST_FULL)),
            Failure::Usual if bearer.metered => (SHORTEST_METERED, bearer.longest_rest(usual)),
            Failure::Usual if self.is_hearsay() => (SHORTEST_HEARSAY, usual),
            Failure::Usual => (SHORTEST, usual),
        };
        let bound = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        let rest = match shortest == SHORTEST {
            true => draw(solitude.hastened(bound, self.lost), rng),
            // Not so soon that it would be asked, or cost, more often than the bound says.
            false => bound / 2 + draw(bound / 2, rng),
        };
        self.failures = self.failures.saturating_add(1);
        self.state = State::Idle(Instant::now() + rest);
    }
}

/// For so long after a link was lost nobody is given up there: the rests reach [`LONGEST`] by then.
const AWAITED: Duration = Duration::from_secs(240);
/// Bound of the rest between two dials on a neighbour's word: whoever starts anew is back by then.
pub(super) const SHORTEST_HEARSAY: Duration = Duration::from_secs(10);
/// Bounds of the rest of a member that has no room.
pub(super) const SHORTEST_FULL: Duration = Duration::from_secs(30);
pub(super) const LONGEST_FULL: Duration = Duration::from_secs(600);
/// Bound of the rest after a first failure where bytes cost money.
pub(super) const SHORTEST_METERED: Duration = Duration::from_secs(5);
