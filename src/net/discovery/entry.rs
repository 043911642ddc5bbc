//! Entry: one address, its rank, and how long it rests after a failed dial.

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
            rests_until: None,
        }
    }

    /// Returns the rank of the address: the larger, the better.
    pub(super) fn rank(&self) -> (bool, bool, bool, Reverse<u32>) {
        (!self.full, self.bootstrap, self.reached, Reverse(self.failures))
    }

    /// Notes that a link to the peer at this address is up. A bootstrap address is left as it is: it is dialled to
    /// verify its peer.
    pub(super) fn settle(&mut self, link: LinkId) {
        if !self.bootstrap && matches!(self.state, State::Idle(_)) {
            self.state = State::Linked(link, Instant::now());
        }
    }

    /// Whether the address is known from a neighbour alone, and no dial has led to a member there.
    pub(super) fn is_hearsay(&self) -> bool {
        self.told_by.is_some() && !self.bootstrap
    }

    /// Whether a link was lost there so recently that its peer may come back.
    pub(super) fn is_awaited(&self) -> bool {
        self.lost.is_some_and(|lost| lost.elapsed() < AWAITED)
    }

    /// Returns the bound of the rest of an address that is not hopeless.
    pub(super) fn longest(&self) -> Duration {
        if self.reached { LONGEST } else { LONGEST_UNREACHED }
    }

    /// Notes a failed dial and sets the rest that follows. `usual` is the bound of the rest where bytes cost no money.
    pub(super) fn fail(
        &mut self,
        why: Failure,
        usual: Duration,
        bearer: &Profile,
        solitude: &Solitude,
        rng: &mut ChaCha20Rng,
    ) {
        if let Failure::Later(wait) = why {
            // The member is there: this is no failure of the address.
            self.state = State::Idle(self.after_rest(Instant::now() + wait + draw(LATER, rng)));
            return;
        }
        self.full = why == Failure::Full;
        let (shortest, longest) = match why {
            Failure::Full => (SHORTEST_FULL, bearer.longest_rest(LONGEST_FULL)),
            Failure::Usual if bearer.metered => (SHORTEST_METERED, bearer.longest_rest(usual)),
            Failure::Usual if self.is_hearsay() => (SHORTEST_HEARSAY, usual),
            Failure::Usual | Failure::Later(_) => (SHORTEST, usual),
        };
        let bound = shortest.saturating_mul(1 << self.failures.min(16)).min(longest);
        let rest = match shortest == SHORTEST {
            true => draw(solitude.hastened(bound, self.lost), rng),
            // At least half the bound, so that the peer is not asked, and money not spent, more often than the bound
            // allows.
            false => bound / 2 + draw(bound / 2, rng),
        };
        self.failures = self.failures.saturating_add(1);
        self.state = State::Idle(self.after_rest(Instant::now() + rest));
    }
}

/// For this long after a link was lost, its address is not forgotten: the rests reach [`LONGEST`] by then.
const AWAITED: Duration = Duration::from_secs(240);
/// By how much an address is dialled later than its member said.
const LATER: Duration = Duration::from_millis(50);
/// The bound of the rest between two dials on a neighbour's word: a peer that restarts is back by then.
pub(super) const SHORTEST_HEARSAY: Duration = Duration::from_secs(10);
/// The least bound of the rest of a member that has no room; [`LONGEST_FULL`] is the greatest.
pub(super) const SHORTEST_FULL: Duration = Duration::from_secs(30);
pub(super) const LONGEST_FULL: Duration = Duration::from_secs(600);
/// The bound of the rest after a first failure where bytes cost money.
pub(super) const SHORTEST_METERED: Duration = Duration::from_secs(5);
