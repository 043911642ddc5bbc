//! Where devices are: questions that were asked, that are passed on for others, and answers that are remembered.
//!
//! Invariants
//! 1. Of the questions of others [`MAX_QUESTIONS`] are under way; drop policy: the oldest of the link that has asked most
//!    (`locate_dropped`). A link may ask [`BURST`] at once and one in [`PACE`]; drop policy: the newest (`locate_too_often`). This
//!    device's own have places of their own, one for each contact at most.
//! 2. What relayed frames make a router ask is bounded in the same way ([`MAX_SOUGHT`], [`SEEK_BURST`], [`SEEK_PACE`]), and
//!    one handle is sought again after a pause that doubles up to [`SOUGHT`]: frames to nobody are no flood of questions.
//! 3. At most [`MAX_ANSWERS`] answers; drop policy: the one learnt first goes (`locate_forgotten`).

use super::locate::AGAIN;
use crate::engine::share::{Rates, Shares};
use crate::id::{CredentialHash, Handle, LinkId, OuterId};
use crate::identity::credential::PeerCredential;
use crate::time::{Time, Unix};
use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

/// Most questions of others that are under way.
const MAX_QUESTIONS: usize = 1_024;
/// What one link may ask at once, and how often after that.
const BURST: u32 = 256;
const PACE: Duration = Duration::from_millis(25);
/// Most handles that are sought for the sake of frames of others, and how often one link may have another sought.
const MAX_SOUGHT: usize = 1_024;
const SEEK_BURST: u32 = 32;
const SEEK_PACE: Duration = Duration::from_millis(250);
/// Longest pause before such a handle is sought again.
const SOUGHT: Duration = Duration::from_secs(60);
/// Most answers kept.
pub(super) const MAX_ANSWERS: usize = 4_096;

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::engine) struct Locating {
    pub(super) answers: BTreeMap<Handle, Answer>,
    pub(super) learnt: VecDeque<Handle>,
    /// What we want to know.
    pub(super) asked: BTreeMap<Handle, Asked>,
    pub(super) questions: BTreeMap<OuterId, Question>,
    /// Those of others by whom they came from, and how often they come.
    pub(super) shares: Shares<OuterId>,
    pub(super) rates: Rates,
    /// What frames of others made us ask: when it may be asked again, and the pause after that.
    pub(super) sought: BTreeMap<Handle, (Time, Duration)>,
    pub(super) seekers: Shares<Handle>,
    pub(super) seek_rates: Rates,
}

/// A link has had its turns.
pub(super) struct TooOften;

/// A question of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// When it is asked again.
    pub(super) again: Time,
    /// And how long after that the next time.
    pub(super) pause: Duration,
    /// Whether there was anyone to ask.
    pub(super) somebody: bool,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) credential: PeerCredential,
    /// Routers through which it is reached, besides those that list it: borders of this area, or a neighbour in another.
    pub(super) via: Vec<CredentialHash>,
    /// How far it is by the links that the answer took, in microseconds; the most if nobody has answered.
    pub(super) delay: u64,
    pub(super) until: Unix,
}

#[derive(Debug)]
pub(super) struct Question {
    /// The link over which it came, or `None` if this device asks.
    pub(super) from: Option<LinkId>,
    pub(super) handle: Handle,
    pub(super) segments: u64,
    /// The delay of the nearest answer that was handed back.
    pub(super) told: u64,
    pub(super) until: Time,
}

impl Default for Locating {
    fn default() -> Self {
        Self {
            answers: BTreeMap::new(),
            learnt: VecDeque::new(),
            asked: BTreeMap::new(),
            questions: BTreeMap::new(),
            shares: Shares::new(MAX_QUESTIONS),
            rates: Rates::new(BURST, PACE),
            sought: BTreeMap::new(),
            seekers: Shares::new(MAX_SOUGHT),
            seek_rates: Rates::new(SEEK_BURST, SEEK_PACE),
        }
    }
}

impl Locating {
    /// Notes a question that is under way; answers whether another had to go for it.
    pub(super) fn enter(&mut self, id: OuterId, question: Question) -> bool {
        let from = question.from;
        self.questions.insert(id, question);
        let gone = from.and_then(|from| self.shares.enter(from, id));
        gone.is_some_and(|gone| self.questions.remove(&gone).is_some())
    }

    /// Questions end when nobody has answered them in time.
    pub(super) fn end_questions(&mut self, now: Time) {
        let shares = &mut self.shares;
        self.questions.retain(|id, question| {
            let stands = question.until > now;
            if !stands {
                shares.leave(id);
            }
            stands
        });
    }

    /// Whether a handle may be sought now for a frame that came over a link: otherwise it was of late, or the link has
    /// had others sought too often, which is answered as an error.
    pub(super) fn may_seek(&mut self, from: LinkId, handle: Handle, now: Time) -> Result<bool, TooOften> {
        let pause = match self.sought.get(&handle) {
            Some((again, _)) if *again > now => return Ok(false),
            Some((_, pause)) => (*pause * 2).min(SOUGHT),
            None => AGAIN,
        };
        if !self.seek_rates.take(from, now) {
            return Err(TooOften);
        }
        self.sought.insert(handle, (now + pause, pause));
        if let Some(gone) = self.seekers.enter(from, handle) {
            self.sought.remove(&gone);
        }
        Ok(true)
    }

    pub(super) fn keep(&mut self, handle: Handle, answer: Answer) -> bool {
        if self.answers.insert(handle, answer).is_none() {
            self.learnt.push_back(handle);
        }
        let full = self.learnt.len() > MAX_ANSWERS;
        if full && let Some(oldest) = self.learnt.pop_front() {
            self.answers.remove(&oldest);
        }
        full
    }
}
