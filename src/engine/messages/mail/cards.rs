//! Cards: how often new ones are asked for, since a receiver's has no prekey.
//!
//! A device tells its issuer a prekey when it begins to take mail, which nobody else is told. So whoever has something for it asks for
//! new cards from time to time: after [`FIRST`], and after twice as long each time that an answer has brought nothing new, up to [`LONGEST`]. Where
//! nobody takes mail that soon costs next to nothing, also over slow radio.

use crate::time::Time;
use core::time::Duration;

/// The shortest time from one request for cards to the next.
const FIRST: Duration = Duration::from_secs(600);
/// The longest, if nothing new comes.
const LONGEST: Duration = Duration::from_secs(86_400);

/// See the module's documentation.
#[derive(Debug, Default)]
pub(in crate::engine) struct Cards {
    asked: Option<Time>,
    /// Requests since something new came.
    vain: u32,
}

impl Cards {
    /// Whether they are to be asked for now. It is noted if they are.
    pub(super) fn ask(&mut self, now: Time) -> bool {
        let pause = FIRST.saturating_mul(1 << self.vain.saturating_sub(1).min(16)).min(LONGEST);
        let due = self.asked.is_none_or(|asked| asked + pause <= now);
        if due {
            (self.asked, self.vain) = (Some(now), self.vain.saturating_add(1));
        }
        due
    }

    /// An answer has brought something new. Returns whether cards were ever asked for.
    pub(in crate::engine) fn handle_news(&mut self) -> bool {
        self.vain = 0;
        self.asked.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The hours within a week at which cards are asked for, if they are wanted each minute.
    fn asked(cards: &mut Cards, from: u64) -> Vec<u64> {
        let minutes = (from * 60)..(from + 7 * 24) * 60;
        minutes.filter(|minute| cards.ask(Time(minute * 60_000_000))).map(|minute| minute / 60).collect()
    }

    #[test]
    fn who_asks_in_vain_asks_less_and_less_often_until_there_is_news() {
        let mut cards = Cards::default();
        assert!(!cards.handle_news());
        let hours = asked(&mut cards, 0);
        assert_eq!(hours[..8], [0, 0, 0, 1, 2, 5, 10, 21]);
        assert!(hours.len() <= 16, "{hours:?}");
        assert!(cards.handle_news());
        assert_eq!(asked(&mut cards, 200)[..3], [200, 200, 200]);
    }
}
